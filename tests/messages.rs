//! `--error-format json`: the interface that docs/python.md describes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const PBMC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pbmc.h5ad");

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command.current_dir(folder).args(args);
    command.args(["--error-format", "json"]).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(PBMC, folder.path().join("pbmc.h5ad")).unwrap();
    folder
}

#[test]
fn a_run_is_told_in_objects() {
    let folder = folder();
    let output = run(folder.path(), &["slice", "pbmc.h5ad", "p", "--size", "400"]);
    assert!(output.status.success());
    let lines = lines(&output);
    assert!(lines.iter().all(|line| line["version"] == 1));
    let of_kind = |kind: &str| -> Vec<&Value> {
        let of_kind = lines.iter().filter(|line| line["kind"] == kind);
        of_kind.collect()
    };
    let files: Vec<_> = of_kind("output").iter().map(|line| &line["file"]).collect();
    assert_eq!(files, ["p_shard_0.h5ad", "p_shard_1.h5ad"]);
    let first = of_kind("progress").remove(0);
    assert_eq!(first["what"], "Slicing");
    assert_eq!((&first["done"], &first["total"]), (&json!(0), &json!(700)));
    let told = of_kind("message");
    assert!(told.iter().any(|line| line["level"] == "info"
        && line["message"] == "Total cells: 700. Generating shards of 400..."));
}

#[test]
fn an_error_tells_its_kind() {
    let folder = folder();
    fs::write(folder.path().join("text.h5ad"), "text").unwrap();
    for (args, code, kind) in [
        ("slice none.h5ad p", 1, "missing"),
        ("slice text.h5ad p", 1, "unreadable"),
        ("slice pbmc.h5ad p --obs-column nothing", 1, "key"),
        (
            "filter pbmc.h5ad o.h5ad --obs-column bulk_labels",
            1,
            "value",
        ),
        ("merge o.h5ad none*.h5ad", 1, "missing"),
        ("check text.h5ad", 1, "unsound"),
        ("slice pbmc.h5ad p --size 0", 2, "usage"),
        ("slice pbmc.h5ad text.h5ad/p", 1, "io"),
    ] {
        let args: Vec<_> = args.split(' ').collect();
        let output = run(folder.path(), &args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let told = lines(&output).pop().unwrap();
        assert_eq!(told["level"], "error", "{told}");
        assert_eq!(told["kind"], kind, "{told}");
        assert!(!told["message"].as_str().unwrap().is_empty());
    }
}
