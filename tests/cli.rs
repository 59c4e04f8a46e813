//! The program as a user runs it: exit codes, messages, and what stands in the folder afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use hdf5::types::VarLenUnicode;
use tempfile::TempDir;

const PBMC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pbmc.h5ad");
const CELLS: usize = 700;

/// `annslicer ARGS` in `folder`; arguments are split at blanks.
fn annslicer(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command.current_dir(folder).args(args.split_whitespace());
    command
}

fn run(folder: &Path, args: &str) -> Output {
    annslicer(folder, args).output().unwrap()
}

/// A folder that holds `pbmc.h5ad` and nothing else.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(PBMC, folder.path().join("pbmc.h5ad")).unwrap();
    folder
}

/// Runs what must succeed; returns its messages.
fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args}: {said}");
    said
}

/// All names in a folder, hidden ones too.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn shards(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let shard = |i| folder.join(format!("{prefix}_shard_{i}.h5ad"));
    (0..).map(shard).take_while(|path| path.exists()).collect()
}

/// The names of the cells of a file.
fn cells(path: &Path) -> Vec<String> {
    let obs = hdf5::File::open(path).unwrap().group("obs").unwrap();
    let index: VarLenUnicode = obs.attr("_index").unwrap().read_scalar().unwrap();
    let names = obs.dataset(&index).unwrap();
    let names = names.read_1d::<VarLenUnicode>().unwrap();
    names.iter().map(ToString::to_string).collect()
}

fn sizes(paths: &[PathBuf]) -> u64 {
    paths.iter().map(|p| p.metadata().unwrap().len()).sum()
}

#[test]
fn the_version_goes_to_stdout() {
    let output = run(Path::new("."), "--version");
    let version = concat!("annslicer ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_readme_names_every_option() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for command in [
        "slice",
        "merge",
        "filter",
        "info",
        "check",
        "completions",
        "man",
    ] {
        let help = run(Path::new("."), &format!("{command} --help")).stdout;
        let help = String::from_utf8(help).unwrap();
        let options = help.split([' ', '\n', '[', ']', '(', ')', ',', ';']);
        for option in options.filter(|word| word.starts_with("--")) {
            assert!(readme.contains(option), "{command} {option}");
        }
    }
}

#[test]
fn a_usage_error_is_one_line_and_exits_with_2() {
    let folder = folder();
    for args in [
        "slice",
        "slice pbmc.h5ad",
        "slice pbmc.h5ad p --size 0",
        "slice pbmc.h5ad p --size=-3",
        "slice pbmc.h5ad p --compression zstd",
        "slice pbmc.h5ad p --seed one --shuffle",
        "slice pbmc.h5ad p --jobs 0",
        "slice pbmc.h5ad p --memory-limit much",
        "slice pbmc.h5ad p extra",
        "merge out.h5ad",
        "merge out.h5ad pbmc.h5ad --join left",
        "cut pbmc.h5ad",
        "--verbose slice pbmc.h5ad p",
    ] {
        let output = run(folder.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {said}");
        assert_eq!(said.lines().count(), 1, "{args}: {said}");
        assert!(said.starts_with("ERROR: "), "{args}: {said}");
    }
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn a_failure_is_one_line_and_exits_with_1() {
    let folder = folder();
    fs::write(folder.path().join("text.h5ad"), "no HDF5").unwrap();
    for (args, word) in [
        ("slice missing.h5ad p", "missing.h5ad"),
        ("slice text.h5ad p", "text.h5ad"),
        ("slice pbmc.loom p", "pbmc.loom"),
        ("merge out.h5ad none_*.h5ad", "none_*.h5ad"),
        ("merge ./pbmc.h5ad pbmc.h5ad", "pbmc.h5ad"),
    ] {
        let output = run(folder.path(), &format!("-q {args}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args}: {said}");
        assert_eq!(said.lines().count(), 1, "{args}: {said}");
        assert!(said.contains(word), "{args}: {said}");
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn debug_and_quiet_stand_before_or_after_the_subcommand() {
    let folder = folder();
    for args in ["--debug slice pbmc.h5ad p", "slice pbmc.h5ad p --debug"] {
        assert!(done(folder.path(), args).contains("DEBUG: "), "{args}");
    }
    assert!(!done(folder.path(), "slice pbmc.h5ad p").contains("DEBUG: "));
    assert_eq!(done(folder.path(), "slice pbmc.h5ad p --quiet"), "");
}

#[test]
fn long_options_may_be_shortened() {
    let folder = folder();
    done(
        folder.path(),
        "slice pbmc.h5ad out/p --si 400 --shuf --see 1 --comp gzip --mem 1GB",
    );
    assert_eq!(shards(&folder.path().join("out"), "p").len(), 2);
}

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
fn merged_shards_are_the_cells_of_the_file_again() {
    let folder = folder();
    done(folder.path(), "slice pbmc.h5ad out/p --size 150");
    done(folder.path(), "merge back.h5ad out/p_shard_*.h5ad");
    assert_eq!(
        cells(&folder.path().join("back.h5ad")),
        cells(Path::new(PBMC))
    );
}

#[test]
fn verified_outputs_hold_what_was_meant() {
    let folder = folder();
    for options in ["", "--compression gzip", "--shuffle --seed 1"] {
        let args = format!("slice pbmc.h5ad out/p --size 150 --verify {options}");
        done(folder.path(), &args);
    }
    done(folder.path(), "slice pbmc.h5ad out/p --size 150 --verify");
    done(folder.path(), "merge back.zarr out/p_shard_*.h5ad --verify");
    done(
        folder.path(),
        "filter back.zarr back.h5ad --obs-column n_genes --verify",
    );
    assert_eq!(
        cells(&folder.path().join("back.h5ad")),
        cells(Path::new(PBMC))
    );
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
fn a_dry_run_tells_the_plan_and_makes_nothing() {
    let folder = folder();
    let before = names(folder.path());
    let runs = [
        (
            "slice pbmc.h5ad new/p --size 200 -j 2",
            "700 cells of pbmc.h5ad into 4 files",
        ),
        (
            "slice pbmc.h5ad new/p --shuffle --manifest m.json",
            "in 1 wave of up to",
        ),
        (
            "filter pbmc.h5ad new/f.zarr --where n_genes<0",
            "0 cells of pbmc.h5ad into 1 file",
        ),
        (
            "merge new/m.h5ad pbmc.h5ad pbmc.h5ad",
            "1400 cells of 2 inputs into 1 file",
        ),
    ];
    for (args, told) in runs {
        let output = run(folder.path(), &format!("{args} --dry-run"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains(told),
            "{args}: {text}"
        );
        assert!(text.ends_with("Nothing was written.\n"), "{text}");
        assert_eq!(names(folder.path()), before, "{args}");
    }
    let failed = run(folder.path(), "merge m.h5ad pbmc.h5ad none.h5ad --dry-run");
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn a_manifest_stands_with_the_outputs_and_replaces_an_older_one() {
    let folder = folder();
    let path = folder.path().join("made.json");
    fs::write(&path, "old").unwrap();
    let failed = run(
        folder.path(),
        "slice pbmc.h5ad out/p --obs-column none --manifest made.json",
    );
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    let said = done(
        folder.path(),
        "slice pbmc.h5ad out/p --size 300 --manifest made.json",
    );
    assert!(said.contains("All 3 shards"), "{said}");
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(told["limits"], serde_json::json!([300, 600, 700]));
    assert_eq!(told["outputs"][2]["path"], "out/p_shard_2.h5ad");
    assert_eq!(
        told["outputs"][2]["sha256"].as_str().map(str::len),
        Some(64)
    );
    assert_eq!(told["seed"], serde_json::Value::Null);
}

#[test]
fn a_manifest_may_not_stand_on_an_input_or_an_output() {
    let folder = folder();
    fs::write(folder.path().join("cells"), "c").unwrap();
    for (args, told) in [
        (
            "slice pbmc.h5ad p --manifest pbmc.h5ad",
            "no name for a JSON file",
        ),
        (
            "merge m.zarr pbmc.h5ad --manifest m.zarr/made.json",
            "in each other's place",
        ),
        (
            "filter pbmc.h5ad f.h5ad --cells cells --missing-ok --manifest cells",
            "the input cells",
        ),
        ("slice pbmc.h5ad p --manifest .", "no name for a JSON file"),
    ] {
        let output = run(folder.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args}: {said}");
        assert!(said.contains(told), "{args}: {said}");
    }
    assert!(!folder.path().join("m.zarr").exists());
}
