//! What runs do, by the counts that `--debug` tells at their end: chunks are decoded once, bytes are read once, and
//! waves keep to the memory that they were given.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const PBMC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pbmc.h5ad");
/// Bytes of a wave where a test wants many.
const SMALL: u64 = 4 << 20;

#[derive(Debug, Default)]
struct Work {
    chunks: u64,
    read: u64,
    written: u64,
    /// Bytes of each wave.
    waves: Vec<u64>,
}

/// Runs the program in `folder`, with waves of [`SMALL`] bytes where `small` is set.
fn run(folder: &Path, args: &str, small: bool) -> Work {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command
        .current_dir(folder)
        .args(args.split(' '))
        .arg("--debug");
    if small {
        command.env("ANNSLICER_TEST_BLOCK_BYTES", SMALL.to_string());
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
            let [.., chunks, read, written] = numbers[..] else {
                panic!("{line}");
            };
            (work.chunks, work.read, work.written) = (chunks, read, written);
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
fn chunks(path: PathBuf) -> u64 {
    let mut info = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    let told = info.arg("info").arg("--json").arg(path).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
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
    let stored = chunks(folder.path().join("all.h5ad"));
    assert!(stored > 200, "{stored} chunks");
    // A few more hold indptr, obs and what is copied; merge looks at these twice, to decide and to write.
    let once = stored..stored + 120;
    for (args, small) in [
        ("slice all.h5ad s --size 3000", false),
        ("slice all.h5ad s --size 3000 --compression gzip", true),
        ("slice all.h5ad s --size 3000 --shuffle --seed 1", false),
        ("slice all.h5ad s --size 3000 --shuffle --seed 1", true),
        ("merge again.h5ad all.h5ad", false),
        ("merge again.zarr all.h5ad", false),
    ] {
        let work = run(folder.path(), args, small);
        assert!(
            once.contains(&work.chunks),
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
        work.waves.iter().all(|&bytes| bytes <= SMALL),
        "{:?}",
        work.waves
    );
    assert!(all > 10 * SMALL, "{:?}", work.waves);
    // Rows between those of a wave are read where a seek would cost more.
    assert!(work.read < 5 * all, "{} of {all} read", work.read);
    // No wave is much smaller than it could be, but those that end with an output.
    assert!(
        work.waves.len() as u64 <= all / SMALL + 10,
        "{:?}",
        work.waves
    );
}
