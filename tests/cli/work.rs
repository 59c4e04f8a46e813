//! What runs do, by the counts that `--debug` tells at their end: chunks are decoded once, bytes are read once, and
//! waves keep to the memory that they were given.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{PBMC, annslicer, stdout};

/// Bytes of a wave where a test wants many.
const SMALL: u64 = 4 << 20;

#[derive(Debug, Default)]
struct Work {
    opened: u64,
    chunks: u64,
    encoded: u64,
    compared: u64,
    read: u64,
    written: u64,
    /// Bytes of each wave.
    waves: Vec<u64>,
}

/// Runs the program in `folder`, with waves of [`SMALL`] bytes where `small` is set.
fn run(folder: &Path, args: &str, small: bool) -> Work {
    run_in(folder, args, small.then_some(SMALL))
}

/// Runs the program with waves of so many bytes.
fn run_in(folder: &Path, args: &str, wave: Option<u64>) -> Work {
    let mut command = annslicer(folder, args);
    command.arg("--debug");
    if let Some(bytes) = wave {
        command.args(["--block-bytes", &bytes.to_string()]);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{args}: {said}");
    let mut work = Work::default();
    for line in said.lines() {
        let numbers = line.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u64> = numbers.filter_map(|n| n.parse().ok()).collect();
        if line.contains("Wave: ") {
            work.waves.extend(numbers.last());
        } else if line.contains("Work: ") {
            let [.., opened, chunks, encoded, compared, read, written] = numbers[..] else {
                panic!("{line}");
            };
            work = Work {
                opened,
                chunks,
                encoded,
                compared,
                read,
                written,
                ..work
            };
        }
    }
    assert!(work.written > 0, "{args}: {said}");
    work
}

/// A file of 14 000 cells, `all.h5ad`, in a folder of its own.
fn input(compression: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let merge = format!(
        "merge all.h5ad{}{compression}",
        format!(" {PBMC}").repeat(20)
    );
    run(folder.path(), &merge, false);
    folder
}

/// Chunks of indices and data in the matrices of a file.
fn chunks(folder: &Path, file: &str) -> u64 {
    let told: Value =
        serde_json::from_str(&stdout(folder, &format!("info --json {file}"))).unwrap();
    let elements = told[0]["elements"].as_array().unwrap().iter();
    let counts = elements.filter_map(|element| {
        let chunk = element["storage"]["chunk"][0].as_u64()?;
        Some(2 * element["nonzeros"].as_u64()?.div_ceil(chunk))
    });
    counts.sum()
}

#[test]
fn chunks_are_decoded_once() {
    let folder = input(" --compression gzip");
    let stored = chunks(folder.path(), "all.h5ad");
    assert!(stored > 200, "{stored} chunks");
    for (args, small) in [
        ("slice all.h5ad s --size 3000", false),
        ("slice all.h5ad s --size 3000 --compression gzip", true),
        ("slice all.h5ad s --size 3000 --shuffle --seed 1", false),
        ("slice all.h5ad s --size 3000 --shuffle --seed 1", true),
        ("merge again.h5ad all.h5ad", false),
        ("merge again.zarr all.h5ad", false),
    ] {
        let work = run(folder.path(), args, small);
        // Indices are a half of it, and those of X and raw are the same.
        let once = stored * 3 / 4;
        // A few more hold indptr, obs and what is copied; merge looks at these twice, to decide and to write.
        assert!(
            (once..once + 120).contains(&work.chunks),
            "{args}: {} of {stored}",
            work.chunks
        );
        assert_eq!(
            work.waves.len() > 1,
            small && args.contains("--shuffle"),
            "{args}"
        );
    }
    let work = run(folder.path(), "slice again.zarr s --size 3000", false);
    assert!(work.chunks < 120, "{} larger chunks of Zarr", work.chunks);
}

/// Exchanges two indices of raw in the middle of a file.
fn exchange(path: &Path) {
    let file = hdf5::File::open_rw(path).unwrap();
    let indices = file.dataset("raw/X/indices").unwrap();
    let at = indices.size() / 3;
    let pair = indices.read_slice_1d::<i32, _>(at..at + 2).unwrap();
    let exchanged = [pair[1], pair[0]];
    indices.write_slice(&exchanged, at..at + 2).unwrap();
}

#[test]
fn what_matrices_share_is_decoded_and_encoded_once() {
    let folder = input(" --compression gzip");
    let half = chunks(folder.path(), "all.h5ad") / 4;
    std::fs::copy(
        folder.path().join("all.h5ad"),
        folder.path().join("other.h5ad"),
    )
    .unwrap();
    exchange(&folder.path().join("other.h5ad"));
    run(
        folder.path(),
        "slice all.h5ad more --size 5000 --compression gzip",
        false,
    );
    for (more, args) in [
        ("", "--size 3000"),
        ("", "--size 3000 --compression gzip"),
        ("", "--size 3000 --shuffle --seed 1"),
        ("", "--size 3000 --shuffle --seed 1 --compression gzip"),
        ("more_shard_1.h5ad", "--size 3000"),
        ("more_shard_1.h5ad", "--size 3000 --compression gzip"),
        ("more_shard_1.h5ad", "--size 3000 --shuffle --seed 1"),
        (
            "more_shard_1.h5ad",
            "--size 3000 --shuffle --seed 1 --compression gzip",
        ),
    ] {
        let [same, other] = ["all", "other"].map(|name| {
            let work = run(
                folder.path(),
                &format!("slice {name}.h5ad {more} {name} {args}"),
                false,
            );
            assert!(work.compared > 0, "{name} {more} {args}");
            work
        });
        // One chunk differs, and those that are made of it.
        let decoded = other.chunks - same.chunks;
        assert!(
            (1..4).contains(&decoded),
            "{args}: {decoded} of {half} more"
        );
        let encoded = other.encoded - same.encoded;
        match (args.contains("gzip"), args.contains("shuffle")) {
            (false, _) => assert_eq!(encoded, 0, "{args}"),
            (true, false) => assert!((1..20).contains(&encoded), "{args}: {encoded} of {half}"),
            // A wave that is not the same is written of each by itself.
            (true, true) => assert!(encoded > 0, "{args}"),
        }
        let named = |name: &str| {
            let shards = crate::harness::shards(folder.path(), name).into_iter();
            let files = shards.map(|path| hdf5::File::open(path).unwrap());
            let read = |file: hdf5::File| {
                let read = |of: &str| file.dataset(of).unwrap().read_raw::<i32>().unwrap();
                [read("X/indices"), read("raw/X/indices")]
            };
            files.map(read).collect::<Vec<_>>()
        };
        let (same, other) = (named("all"), named("other"));
        let x = |of: &[[Vec<i32>; 2]]| of.iter().map(|[x, _]| x.clone()).collect::<Vec<_>>();
        assert_eq!(x(&same), x(&other), "{args}");
        let raw = same
            .iter()
            .zip(&other)
            .flat_map(|([_, same], [_, other])| same.iter().zip(other));
        assert_eq!(
            raw.filter(|(same, other)| same != other).count(),
            2,
            "{args}"
        );
    }
}

/// Makes X of a copy of the example a CSC matrix in small compressed chunks; returns how many its indices take.
fn csc(path: &Path) -> u64 {
    const CHUNK: usize = 1000;
    std::fs::copy(PBMC, path).unwrap();
    let file = hdf5::File::open_rw(path).unwrap();
    file.unlink("X").unwrap();
    let x = file.create_group("X").unwrap();
    let (cells, genes) = (700i64, 765i64);
    let rows = |gene: i64| (0..cells).filter(move |cell| (cell * 7 + gene) % 3 == 0);
    let indices: Vec<i32> = (0..genes).flat_map(rows).map(|cell| cell as i32).collect();
    let mut indptr = vec![0i64];
    indptr.extend((0..genes).scan(0, |end, gene| {
        *end += rows(gene).count() as i64;
        Some(*end)
    }));
    let data: Vec<f32> = (0..indices.len()).map(|i| i as f32).collect();
    let chunked = || x.new_dataset_builder().deflate(1).chunk(CHUNK);
    chunked().with_data(&indices).create("indices").unwrap();
    chunked().with_data(&data).create("data").unwrap();
    let plain = x.new_dataset_builder().with_data(&indptr);
    plain.create("indptr").unwrap();
    for (name, text) in [
        ("encoding-type", "csc_matrix"),
        ("encoding-version", "0.1.0"),
    ] {
        let attr = x.new_attr::<VarLenUnicode>().create(name).unwrap();
        attr.write_scalar(&text.parse::<VarLenUnicode>().unwrap())
            .unwrap();
    }
    let shape = [cells, genes];
    let attr = x.new_attr_builder().with_data(&shape);
    attr.create("shape").unwrap();
    indices.len().div_ceil(CHUNK) as u64
}

#[test]
fn csc_matrices_are_swept_once_whatever_the_number_of_shards() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("csc.h5ad");
    let indices = csc(&path);
    // The indices are counted, and then put down with the values; what else is stored is decoded once.
    let once = chunks(folder.path(), "csc.h5ad") + indices;
    for (size, order) in [(350, ""), (10, ""), (10, " --shuffle --seed 1")] {
        let args = format!("slice csc.h5ad s --size {size}{order}");
        let work = run(folder.path(), &args, false);
        assert!(
            (once..once + 120).contains(&work.chunks),
            "{args}: {} chunks, not {once}",
            work.chunks
        );
    }
}

#[test]
fn bytes_are_read_once_and_written_once() {
    let folder = input("");
    let size = folder.path().join("all.h5ad").metadata().unwrap().len();
    // Offsets and the index are looked at before they are copied.
    let once = size * 8 / 10..size * 12 / 10;
    for args in [
        "slice all.h5ad s --size 3000",
        "slice all.h5ad s --size 3000 --shuffle --seed 1",
        "merge again.h5ad all.h5ad",
    ] {
        let work = run(folder.path(), args, false);
        assert!(
            once.contains(&work.read),
            "{args}: {} of {size} read",
            work.read
        );
        assert!(
            once.contains(&work.written),
            "{args}: {} of {size} written",
            work.written
        );
    }
}

#[test]
fn waves_keep_to_their_memory() {
    let folder = input("");
    let work = run(
        folder.path(),
        "slice all.h5ad s --size 3000 --shuffle --seed 1",
        true,
    );
    let all: u64 = work.waves.iter().sum();
    assert!(
        work.waves.iter().all(|&bytes| bytes <= SMALL / 2),
        "{:?}",
        work.waves
    );
    assert!(all > 10 * SMALL, "{:?}", work.waves);
    // Two waves are held. Rows between those of a wave are read where a seek would cost more.
    assert!(work.read < 5 * all, "{} of {all} read", work.read);
    // No wave is much smaller than it could be, but those that end with an output.
    assert!(
        work.waves.len() as u64 <= all / (SMALL / 2) + 10,
        "{:?}",
        work.waves
    );
}

/// A file of so many cells with three columns of text, the names among them, and an empty matrix.
fn names(path: &Path, cells: usize) {
    let file = hdf5::File::create(path).unwrap();
    let text = |of: &hdf5::Location, name: &str, text: &str| {
        let attr = of.new_attr::<VarLenUnicode>().create(name).unwrap();
        attr.write_scalar(&text.parse::<VarLenUnicode>().unwrap())
            .unwrap();
    };
    let encode = |of: &hdf5::Location, encoding: &str, version: &str| {
        text(of, "encoding-type", encoding);
        text(of, "encoding-version", version);
    };
    encode(&file, "anndata", "0.1.0");
    let frame = |name: &str, columns: &[&str], rows: usize| {
        let frame = file.create_group(name).unwrap();
        encode(&frame, "dataframe", "0.2.0");
        text(&frame, "_index", "_index");
        let order: Vec<VarLenUnicode> = columns.iter().map(|c| c.parse().unwrap()).collect();
        let order = frame.new_attr_builder().with_data(&order);
        order.create("column-order").unwrap();
        for column in [&["_index"], columns].concat() {
            let values = (0..rows).map(|i| format!("{column} of number {i}").parse().unwrap());
            let values: Vec<VarLenUnicode> = values.collect();
            let values = frame.new_dataset_builder().with_data(&values);
            encode(&values.create(column).unwrap(), "string-array", "0.2.0");
        }
    };
    frame("obs", &["a", "b"], cells);
    frame("var", &[], 1);
    let x = file
        .new_dataset::<u8>()
        .shape([cells, 1])
        .create("X")
        .unwrap();
    encode(&x, "array", "0.2.0");
}

#[test]
fn columns_are_read_once_whatever_the_number_of_waves() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("names.h5ad");
    names(&path, 100_000);
    let size = path.metadata().unwrap().len();
    for (wave, least) in [(4 << 20, 10), (1 << 20, 40)] {
        let args = "slice names.h5ad s --size 20000 --shuffle --seed 1";
        let work = run_in(folder.path(), args, Some(wave));
        assert!(work.waves.len() >= least, "{:?}", work.waves);
        // Once in the file and once in scratch, and some of it to see what it takes.
        assert!(work.read < 3 * size, "{} of {size} read", work.read);
    }
}

#[test]
fn inputs_are_opened_a_few_times_whatever_is_in_them() {
    /// More than stay open.
    const INPUTS: u64 = 12;
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    // X, raw, and matrices in obsm; and the same in chunks that are unpacked where there are several waves.
    run(
        path,
        &format!("merge gzip.h5ad --compression gzip {PBMC}"),
        false,
    );
    std::fs::copy(PBMC, path.join("plain.h5ad")).unwrap();
    for kind in ["plain", "gzip"] {
        for i in 0..INPUTS {
            std::fs::copy(
                path.join(format!("{kind}.h5ad")),
                path.join(format!("{kind}_{i}.h5ad")),
            )
            .unwrap();
        }
        let inputs = format!("{kind}_[0-9]*.h5ad");
        let opened = |args: &str, wave: Option<u64>| {
            let args = args.replace("INPUTS", &inputs);
            let work = run_in(path, &args, wave);
            (work.opened, work.waves.len() as u64)
        };
        // To look at each, and to take its rows. Files of the run's own are opened beside.
        let (looks, few) = (INPUTS, 8);
        for args in ["merge m.h5ad INPUTS", "slice INPUTS s --size 700"] {
            let (opened, _) = opened(args, None);
            let passes = if args.starts_with("merge") { 1 } else { 2 };
            assert!(
                opened <= looks + passes * INPUTS + few,
                "{args}: {opened} of {kind}"
            );
        }
        for wave in [None, Some(SMALL)] {
            let (opened, waves) = opened("slice INPUTS s --size 2000 --shuffle --seed 1", wave);
            assert_eq!(waves > 1, wave.is_some());
            // What is unpacked is opened once for all waves.
            let passes = if kind == "gzip" { 2 } else { 1 + waves };
            assert!(
                opened <= looks + passes * INPUTS + few,
                "{opened} of {kind} in {waves} waves"
            );
        }
    }
}

#[test]
fn text_is_read_once_whatever_the_number_of_shards() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("names.h5ad");
    names(&path, 2_000);
    let size = path.metadata().unwrap().len();
    let work = run(folder.path(), "slice names.h5ad s --size 5", false);
    assert!(work.read < 2 * size, "{} of {size} read", work.read);
}
