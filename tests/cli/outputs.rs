//! What slice, merge and filter have in common: `--verify`, `--dry-run` and `--manifest`.

use std::fs;
use std::path::Path;

use crate::harness::{PBMC, cells, done, folder, names, run};

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
            "in 1 pass of up to",
        ),
        (
            "filter pbmc.h5ad new/f.zarr --where n_genes<0",
            "0 cells of pbmc.h5ad into 1 file",
        ),
        (
            "merge new/m.h5ad pbmc.h5ad pbmc.h5ad",
            "1,400 cells of 2 inputs into 1 file",
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
