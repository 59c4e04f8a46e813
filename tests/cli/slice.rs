//! `annslicer slice`: its shards, and what is in the folder when it fails or is stopped.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::harness::{CELLS, PBMC, annslicer, cells, done, folder, names, run, shards, sizes};

#[test]
fn a_seed_without_shuffle_is_a_warning() {
    let said = done(folder().path(), "slice pbmc.h5ad p --seed 1");
    assert!(said.contains("WARNING: --seed"), "{said}");
}

#[test]
fn shards_hold_all_cells_once_and_nothing_else_is_left() {
    let folder = folder();
    let whole = cells(Path::new(PBMC));
    assert_eq!(whole.len(), CELLS);
    for (prefix, options) in [("new/plain", ""), ("new/mixed", "--shuffle --seed 0")] {
        let args = format!("slice pbmc.h5ad {prefix} --size 200 {options}");
        done(folder.path(), &args);
        let shards = shards(folder.path(), prefix);
        let parts: Vec<_> = shards.iter().map(|path| cells(path)).collect();
        let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
        assert_eq!(sizes, [200, 200, 200, 100]);
        let mut all = parts.concat();
        assert_eq!(all == whole, options.is_empty(), "{options}");
        let mut sorted = whole.clone();
        sorted.sort();
        all.sort();
        assert_eq!(all, sorted);
    }
    assert_eq!(names(&folder.path().join("new")).len(), 8);
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn compressed_shards_are_smaller() {
    let folder = folder();
    let mut taken = vec![];
    for filter in ["gzip:9", "gzip", "lzf"] {
        let prefix = filter.replace(':', "");
        let args = format!("slice pbmc.h5ad {prefix} --compression {filter}");
        done(folder.path(), &args);
        taken.push(sizes(&shards(folder.path(), &prefix)));
    }
    done(folder.path(), "slice pbmc.h5ad plain");
    taken.push(sizes(&shards(folder.path(), "plain")));
    assert!(taken.is_sorted(), "{taken:?}");
}

#[test]
fn outputs_are_replaced_only_by_whole_ones() {
    let folder = folder();
    let shard = folder.path().join("p_shard_0.h5ad");
    fs::write(&shard, "older").unwrap();
    fs::write(
        folder.path().join("bad.h5ad"),
        &fs::read(PBMC).unwrap()[..99_999],
    )
    .unwrap();
    assert_eq!(
        run(folder.path(), "slice bad.h5ad p").status.code(),
        Some(1)
    );
    assert_eq!(fs::read(&shard).unwrap(), b"older");
    done(folder.path(), "slice pbmc.h5ad p");
    assert_eq!(cells(&shard).len(), CELLS);
}

/// Wherever the signal comes, all shards are there or none, and nothing else.
#[test]
fn a_terminated_run_leaves_nothing() {
    let folder = folder();
    let slice = |prefix: usize| {
        let args = format!("slice pbmc.h5ad {prefix}/p --size 10 --compression gzip");
        let mut command = annslicer(folder.path(), &args);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let began = Instant::now();
    assert!(slice(0).wait().unwrap().success());
    let whole = began.elapsed();
    let mut told = 0;
    for tenths in 1..=10 {
        let mut child = slice(tenths);
        thread::sleep(whole * u32::try_from(tenths).unwrap() / 11);
        let kill = ["-TERM", &child.id().to_string()].map(str::to_owned);
        Command::new("kill").args(kill).output().unwrap();
        let status = child.wait().unwrap();
        let out = folder.path().join(tenths.to_string());
        let left = if out.exists() { names(&out).len() } else { 0 };
        let expected = if status.success() { CELLS / 10 } else { 0 };
        assert_eq!(left, expected, "{tenths} tenths of {whole:?}: {status}");
        told += usize::from(status.code() == Some(143));
    }
    assert!(told > 0, "no run was terminated in the middle");
}

/// The limit is in kB. The library keeps some of what it is to write until a file is closed, so the error comes from
/// many places.
#[test]
fn a_file_that_may_not_grow_is_an_error_wherever_it_ends() {
    let folder = folder();
    let program = env!("CARGO_BIN_EXE_annslicer");
    for options in ["", "--compression gzip:1", "--shuffle --seed 1"] {
        for limit in (0..20).chain((20..400).step_by(20)) {
            let slice = format!("{program} -q slice pbmc.h5ad p --size 300 {options}");
            let limited = format!("ulimit -f {limit}; exec {slice}");
            let mut command = Command::new("bash");
            let output = command.current_dir(folder.path()).args(["-c", &limited]);
            let output = output.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let context = format!("{limit} kB, {options}: {}: {said}", output.status);
            assert_eq!(output.status.code(), Some(1), "{context}");
            assert_eq!(said.lines().count(), 1, "{context}");
            assert!(said.contains("File too large"), "{context}");
            assert_eq!(names(folder.path()).len(), 1, "{context}");
        }
    }
}

#[test]
fn shards_may_have_names_of_their_own() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("names"), "a.h5ad\nsub/b c.h5ad\n").unwrap();
    done(path, "slice pbmc.h5ad p --size 400 --names names");
    done(path, "slice pbmc.h5ad p --size 400");
    for (own, usual) in [
        ("a.h5ad", "p_shard_0.h5ad"),
        ("sub/b c.h5ad", "p_shard_1.h5ad"),
    ] {
        assert_eq!(
            fs::read(path.join(own)).unwrap(),
            fs::read(path.join(usual)).unwrap()
        );
    }
    let before = names(path);
    let output = run(path, "slice pbmc.h5ad q --size 100 --names names");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("--names has 2, but there are 7 shards"),
        "{said}"
    );
    assert_eq!(names(path), before);
}

/// An input may be called like a shard of the prefix; `--clean` removes what earlier runs left, and no input.
#[test]
fn clean_leaves_inputs_alone() {
    let folder = folder();
    let path = folder.path();
    let left = |args: &str| {
        fs::rename(path.join("pbmc.h5ad"), path.join("pbmc_shard_12.h5ad")).unwrap();
        done(
            path,
            "filter pbmc_shard_12.h5ad pbmc_shard_13.zarr --where n_genes>0 --overwrite",
        );
        fs::write(path.join("pbmc_shard_14.h5ad"), "older").unwrap();
        for args in args.split(';') {
            let said = done(path, args);
            let is_part = args.contains("--part");
            assert!(is_part || said.contains("--clean: 1 older shard"), "{said}");
        }
        let shards = [
            "pbmc_shard_12.h5ad",
            "pbmc_shard_13.zarr",
            "pbmc_shard_14.h5ad",
        ];
        let shards = shards.map(|name| path.join(name).exists());
        fs::rename(path.join("pbmc_shard_12.h5ad"), path.join("pbmc.h5ad")).unwrap();
        shards
    };
    let slice = "slice pbmc_shard_12.h5ad pbmc_shard_13.zarr pbmc --size 700";
    assert_eq!(left(&format!("{slice} --clean")), [true, true, false]);
    let part = |number: u64| format!("{slice} --part {number}/2");
    let parts = [part(1), part(2), format!("{slice} --finish --clean")];
    assert_eq!(left(&parts.join(";")), [true, true, false]);
}
