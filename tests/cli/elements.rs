//! Which elements are taken: what people type for `--keep`, `--drop` and `--x-from`, and what answers it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{done, folder, names, run, stdout};

/// The messages of a run that ends with this code.
fn said(folder: &Path, args: &str, code: i32) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    said
}

/// The paths of the elements of a file.
fn elements(folder: &Path, file: &str) -> Vec<String> {
    let told: Value =
        serde_json::from_str(&stdout(folder, &format!("info --json {file}"))).unwrap();
    let elements = told[0]["elements"].as_array().unwrap().iter();
    let paths = elements.map(|e| e["path"].as_str().unwrap().to_owned());
    paths.collect()
}

#[test]
fn what_matches_nothing_lists_near_names() {
    let folder = folder();
    let path = folder.path();
    for command in [
        "slice pbmc.h5ad p",
        "filter pbmc.h5ad f.h5ad --where n_genes>0",
        "merge m.h5ad pbmc.h5ad",
    ] {
        for (option, pattern, near) in [
            ("--drop", "obs/n_gene", "similar are 'obs/n_genes'"),
            ("--keep", "obsm/X_ump", "'obsm/X_umap'"),
            ("--drop", "X_umap", "'obsm/X_umap'"),
            ("--drop", "layers/x*", ""),
            ("--drop", "X/data", ""),
        ] {
            let text = said(path, &format!("-q {command} {option} {pattern}"), 1);
            let what = format!("{option} '{pattern}' matches no element");
            assert!(text.contains(&what) && text.contains(near), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
    assert_eq!(names(path).len(), 1);
}

#[test]
fn what_a_file_needs_is_not_dropped() {
    let folder = folder();
    let path = folder.path();
    for (pattern, why) in [
        ("X", "--x-from puts another in its place"),
        ("obs", "'obs/*' is its other columns"),
        ("var", "'var/*' is its other columns"),
        ("obs/index", "it has the names of the rows"),
        ("raw/X", "'raw' is all of it"),
        ("raw/var", "'raw' is all of it"),
    ] {
        let text = said(path, &format!("-q slice pbmc.h5ad p --drop {pattern}"), 1);
        let what = format!("'{pattern}' cannot be dropped: ");
        assert!(text.contains(&what) && text.contains(why), "{text}");
    }
}

#[test]
fn patterns_are_refused_where_they_mean_nothing() {
    let folder = folder();
    let path = folder.path();
    for (args, word) in [
        ("slice pbmc.h5ad p --drop /", "give the path of an element"),
        (
            "slice pbmc.h5ad p --x-from counts",
            "give raw or layers/NAME",
        ),
        (
            "slice pbmc.h5ad p --x-from layers/",
            "give raw or layers/NAME",
        ),
        ("slice pbmc.h5ad p --x-to layers/old", "--x-from"),
        (
            "slice pbmc.h5ad p --x-from raw --x-to old",
            "give layers/NAME",
        ),
        ("slice --drop raw pbmc.h5ad p", "slice needs"),
        (
            "info pbmc.h5ad --drop raw",
            "slice and merge and filter has",
        ),
    ] {
        let text = said(path, args, 2);
        assert!(text.contains(word), "{args}: {text}");
    }
    for (args, word) in [
        (
            "slice pbmc.h5ad p --x-from layers/counts",
            "there is no such layer",
        ),
        (
            "slice pbmc.h5ad p --x-from layers/X --x-to layers/old",
            "no such layer",
        ),
    ] {
        let text = said(path, &format!("-q {args}"), 1);
        assert!(text.contains(word), "{args}: {text}");
    }
    assert_eq!(names(path).len(), 1);
}

#[test]
fn what_is_kept_comes_with_x_and_names() {
    let folder = folder();
    let path = folder.path();
    done(
        path,
        "slice pbmc.h5ad p --size 1000 --keep obs/n_genes obsm/X_umap",
    );
    let kept = elements(path, "p_shard_0.h5ad");
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    for element in ["X", "obs/index", "obs/n_genes", "obsm/X_umap", "var/index"] {
        assert!(kept.contains(&element), "{element}: {kept:?}");
    }
    assert!(
        !kept.contains(&"raw") && !kept.contains(&"obs/percent_mito"),
        "{kept:?}"
    );
    let below = |folder: &str| kept.iter().filter(|path| path.starts_with(folder)).count();
    assert_eq!(
        (below("obs/"), below("var/"), below("obsm/"), below("uns/")),
        (2, 1, 1, 0)
    );
}

#[test]
fn a_dry_run_knows_what_is_dropped() {
    let folder = folder();
    let size = |options: &str| {
        let args = format!("-q slice pbmc.h5ad p --size 1000 --dry-run --json {options}");
        let told: Value = serde_json::from_str(&stdout(folder.path(), &args)).unwrap();
        told["outputs"][0]["bytes"].as_u64().unwrap()
    };
    let (all, some) = (size(""), size("--drop raw obsp"));
    assert!(some < all * 3 / 4, "{some} of {all}");
}

#[test]
fn a_run_is_not_resumed_with_other_elements() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("p_shard_1.h5ad")).unwrap();
    fs::write(path.join("p_shard_1.h5ad/in the way"), "").unwrap();
    said(path, "slice pbmc.h5ad p --size 400 --resume --drop raw", 1);
    fs::remove_dir_all(path.join("p_shard_1.h5ad")).unwrap();
    let text = done(path, "slice pbmc.h5ad p --size 400 --resume --drop obsp");
    assert!(!text.contains("are kept"), "{text}");
    assert!(elements(path, "p_shard_0.h5ad").contains(&"raw".into()));
}
