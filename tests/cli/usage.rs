//! The command line itself: exit codes, messages, options of all commands, completions and the manual.

use std::fs;
use std::path::Path;

use crate::harness::{cells, done, folder, names, run, shards, stdout};

#[test]
fn the_version_goes_to_stdout() {
    let output = run(Path::new("."), "--version");
    let version = concat!("annslicer ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_option_that_took_the_files_is_named() {
    for (args, told) in [
        (
            "merge out.h5ad --keys a b x.h5ad y.h5ad",
            "--keys takes all that follows it; give it last, as in annslicer merge OUTPUT INPUT... --keys KEY...",
        ),
        (
            "merge out.h5ad --label source --keys a b x.h5ad y.h5ad",
            "merge needs <INPUT>...: --keys takes all that follows it",
        ),
        (
            "slice --drop raw pbmc.h5ad p",
            "--drop takes all that follows it; give it last, as in annslicer slice INPUT... PREFIX --drop PATTERN...",
        ),
    ] {
        let output = run(Path::new("."), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {said}");
        assert!(
            said.contains(told) && said.lines().count() == 1,
            "{args}: {said}"
        );
    }
}

#[test]
fn filter_needs_a_choice_of_anything() {
    let folder = folder();
    let output = run(folder.path(), "filter pbmc.h5ad f.h5ad --jobs 1");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("needs to know what to keep: cells by --where"));
    done(folder.path(), "filter pbmc.h5ad f.h5ad --drop raw obsp");
    let cells = |name| cells(&folder.path().join(name));
    assert_eq!(cells("f.h5ad"), cells("pbmc.h5ad"));
}

#[test]
fn a_usage_error_is_one_line_and_exits_with_2() {
    let folder = folder();
    for args in [
        "slice",
        "slice pbmc.h5ad",
        "slice pbmc.h5ad p --size 0",
        "slice pbmc.h5ad p --size=-3",
        "slice pbmc.h5ad p --compression brotli",
        "slice pbmc.h5ad p --seed one --shuffle",
        "slice pbmc.h5ad p --jobs 0",
        "slice pbmc.h5ad p --memory-limit much",
        "slice pbmc.h5ad p --format h5mu",
        "slice pbmc.h5ad p --zarr-format 3",
        "slice pbmc.h5ad p --zarr-shard-size 1MB",
        "slice pbmc.h5ad p --compression lz4",
        "slice pbmc.h5ad p --chunk-cells 0",
        "slice pbmc.h5ad p --format zarr --zarr-format 4",
        "slice pbmc.h5ad p --format zarr --zarr-format 2 --zarr-shard-size 1MB",
        "slice pbmc.h5ad p --format zarr --compression lzf",
        "slice pbmc.h5ad p --format annbatch --zarr-format 2",
        "slice pbmc.h5ad p --format annbatch --obs-column a",
        "slice pbmc.h5ad p --format annbatch --resume",
        "slice pbmc.h5ad p --format annbatch --part 1/2",
        "slice pbmc.h5ad p --part 9/8",
        "slice pbmc.h5ad p --part 0/8",
        "slice pbmc.h5ad p --part 1/0",
        "slice pbmc.h5ad p --part 3",
        "slice pbmc.h5ad p --part 1/2 --finish",
        "slice pbmc.h5ad p --part 1/2 --names names.txt",
        "slice pbmc.h5ad p --part 1/2 --shuffle",
        "slice pbmc.h5ad p --part 1/2 --split a=0.5,b=*",
        "slice pbmc.h5ad p --finish --shuffle",
        "slice pbmc.h5ad p --shuffle --seed 0 --stage scatter",
        "slice pbmc.h5ad p --shuffle --seed 0 --part 1/2 --stage both",
        "slice pbmc.h5ad p --finish --dry-run",
        "filter pbmc.h5ad f.h5ad --part 1/2",
        "merge m.h5ad pbmc.h5ad --finish",
        "merge m.h5ad pbmc.h5ad --part 1/2",
        "merge m.zarr pbmc.h5ad --part 3/2",
        "merge m.zarr pbmc.h5ad --part 1/2 --finish",
        "merge m.zarr pbmc.h5ad --part 1/2 --verify",
        "merge m.zarr pbmc.h5ad --finish --dry-run",
        "merge out.zarr pbmc.h5ad --compression lzf",
        "filter pbmc.h5ad out.h5ad --obs-column a --zarr-format 3",
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
fn completions_and_the_manual_are_printed() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        assert!(
            stdout(Path::new("."), &format!("completions {shell}")).contains(word),
            "{shell}"
        );
    }
    assert!(stdout(Path::new("."), "man").contains(".TH annslicer-merge 1"));
    let folder = tempfile::tempdir().unwrap();
    stdout(folder.path(), "-q man --dir man1");
    let page = folder.path().join("man1/annslicer-slice.1");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(".TH annslicer-slice 1"));
}
