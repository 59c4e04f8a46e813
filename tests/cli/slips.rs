//! What people type or give by mistake, and the line that answers it: each says what to do instead.

use std::fs;
use std::path::Path;
use std::process::Command;

use hdf5::types::VarLenUnicode;

use crate::harness::{PBMC, folder, run};

/// The messages of a run that ends with this code.
fn said(folder: &Path, args: &str, code: i32) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    said
}

/// The messages of a run that fails, in one line besides warnings, and leaves nothing.
fn refused(folder: &Path, args: &str) -> String {
    let names = || fs::read_dir(folder).unwrap().count();
    let before = names();
    let said = said(folder, &format!("-q {args}"), 1);
    let errors = said.lines().filter(|line| line.starts_with("ERROR: "));
    assert_eq!(errors.count(), 1, "{args}: {said}");
    assert_eq!(names(), before, "{args}");
    said
}

/// `pbmc.h5ad` as `name`, with the names of its genes changed.
fn with_genes(folder: &Path, name: &str, change: impl Fn(&str) -> String) {
    let path = folder.join(name);
    fs::copy(PBMC, &path).unwrap();
    let var = hdf5::File::open_rw(&path).unwrap().group("var").unwrap();
    let index: VarLenUnicode = var.attr("_index").unwrap().read_scalar().unwrap();
    let names = var.dataset(&index).unwrap();
    let changed = names.read_1d::<VarLenUnicode>().unwrap();
    let changed = changed.mapv(|name| change(&name).parse::<VarLenUnicode>().unwrap());
    names.write(&changed).unwrap();
}

#[test]
fn files_of_other_kinds_are_named_with_a_way_to_convert_them() {
    let folder = folder();
    let path = folder.path();
    let files: [(&str, &[u8], &str); 8] = [
        ("a.loom", b"\x89HDF", "anndata.io.read_loom"),
        ("a.h5Seurat", b"\x89HDF", "SeuratDisk"),
        ("a.rds", b"\x1f\x8b", "in R"),
        ("a.h5ad.gz", b"\x1f\x8b", "gunzip"),
        ("zipped.h5ad", b"PK\x03\x04", "unzip"),
        ("gzipped.h5ad", b"\x1f\x8b\x08", "gzip"),
        ("page.h5ad", b"<html>", "download it again"),
        ("empty.h5ad", b"", "is empty"),
    ];
    for (name, bytes, hint) in files {
        fs::write(path.join(name), bytes).unwrap();
        for args in [
            "slice FILE p",
            "merge o.h5ad FILE",
            "filter FILE o.h5ad --where x",
        ] {
            let said = refused(path, &args.replace("FILE", name));
            assert!(said.contains(hint) && said.contains(name), "{args}: {said}");
        }
    }
    let said = refused(path, "slice https://host/a.h5ad p");
    assert!(said.contains("is a URL; download the file"), "{said}");
    let said = refused(path, "slice pbmc p");
    assert!(said.contains("did you mean pbmc.h5ad?"), "{said}");
    let said = refused(path, "slice a.dat p");
    assert!(
        said.contains("not a .h5ad or .zarr file") && said.contains("read_10x_h5"),
        "{said}"
    );
}

#[test]
fn a_folder_of_shards_is_no_file() {
    let folder = folder();
    said(folder.path(), "slice pbmc.h5ad out/p --size 400", 0);
    for args in ["info out", "slice out p"] {
        let said = refused(folder.path(), args);
        assert!(
            said.contains("out is a folder of 2 .h5ad files; give them as 'out/*.h5ad'"),
            "{said}"
        );
    }
}

#[test]
fn merge_tells_the_genes_in_common() {
    let folder = folder();
    let path = folder.path();
    fs::copy(PBMC, path.join("b.h5ad")).unwrap();
    let text = said(path, "merge o.h5ad pbmc.h5ad b.h5ad", 0);
    assert!(
        text.contains("INFO: Genes: 765 in all files, 765 in any\n"),
        "{text}"
    );
    assert!(
        text.contains("'obsp/connectivities'") && text.contains("--pairwise"),
        "{text}"
    );
    with_genes(path, "case.h5ad", str::to_lowercase);
    with_genes(path, "version.h5ad", |name| format!("{name}.3"));
    for (name, reason) in [
        ("case.h5ad", "upper and lower case"),
        ("version.h5ad", "have a version"),
    ] {
        let text = said(path, &format!("merge o.h5ad pbmc.h5ad {name}"), 0);
        let warning = text
            .lines()
            .find(|line| line.starts_with("WARNING: ") && line.contains("in all files"));
        assert!(
            warning.is_some_and(|line| line.contains(reason)),
            "{name}: {text}"
        );
        assert!(text.contains(" in any\n"), "{text}");
    }
    let text = said(path, "merge o.h5ad pbmc.h5ad case.h5ad --join inner", 1);
    assert!(
        text.contains("No gene is in every input: their names differ in upper"),
        "{text}"
    );
}

#[test]
fn a_forgotten_output_of_merge_is_refused() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 200", 0);
    let shards = "p_shard_0.h5ad p_shard_1.h5ad p_shard_2.h5ad p_shard_3.h5ad";
    let before = fs::read(path.join("p_shard_0.h5ad")).unwrap();
    let text = refused(path, &format!("merge {shards}"));
    assert!(
        text.contains("annslicer merge OUTPUT 'p_shard_*.h5ad'") && text.contains("--overwrite"),
        "{text}"
    );
    assert_eq!(fs::read(path.join("p_shard_0.h5ad")).unwrap(), before);
    let text = refused(
        path,
        "filter p_shard_1.h5ad p_shard_0.h5ad --obs-column n_genes",
    );
    assert!(
        text.contains("annslicer filter p_shard_1.h5ad OUTPUT"),
        "{text}"
    );
    said(path, "slice pbmc.h5ad d --obs-column phase", 0);
    let text = refused(path, "merge d_G1.h5ad d_G2M.h5ad d_S.h5ad");
    assert!(text.contains("annslicer merge OUTPUT 'd_*.h5ad'"), "{text}");
    // The same command again is no slip.
    for _ in 0..2 {
        said(path, &format!("merge whole.h5ad {shards}"), 0);
        said(path, "merge d_A.h5ad d_G1.h5ad d_G2M.h5ad d_S.h5ad", 0);
        said(
            path,
            "filter p_shard_1.h5ad some.h5ad --obs-column n_genes",
            0,
        );
    }
    said(path, &format!("merge --overwrite {shards}"), 0);
    assert_ne!(fs::read(path.join("p_shard_0.h5ad")).unwrap(), before);
}

#[test]
fn shards_of_an_earlier_run_are_named_and_cleaned() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad out/p --size 100", 0);
    fs::write(path.join("out/p_shard_x.h5ad"), "other").unwrap();
    let text = said(path, "slice pbmc.h5ad out/p --size 300", 0);
    let warning = "WARNING: 4 older shards of this prefix remain, which a pattern would merge too: \
                   out/p_shard_3.h5ad to out/p_shard_6.h5ad; --clean removes";
    assert!(text.contains(warning), "{text}");
    let text = said(path, "merge all.h5ad out/p_shard_?.h5ad", 1);
    assert!(text.contains("out/p_shard_x.h5ad"), "{text}");
    fs::remove_file(path.join("out/p_shard_x.h5ad")).unwrap();
    let text = said(path, "merge all.h5ad out/p_shard_*.h5ad", 0);
    assert!(
        text.contains("is a shard given twice, or are shards of an earlier run among them?"),
        "{text}"
    );
    let text = said(path, "slice pbmc.h5ad out/p --size 300 --clean", 0);
    assert!(text.contains("4 older shards of this prefix go"), "{text}");
    assert_eq!(fs::read_dir(path.join("out")).unwrap().count(), 3);
    assert!(!said(path, "slice pbmc.h5ad out/p --size 300 --clean", 0).contains("older"));
}

#[test]
fn shards_that_are_not_among_the_inputs_are_told() {
    let folder = folder();
    said(folder.path(), "slice pbmc.h5ad p --size 100", 0);
    let text = said(
        folder.path(),
        "merge o.h5ad p_shard_0.h5ad p_shard_2.h5ad p_shard_3.h5ad",
        0,
    );
    assert!(
        text.contains("of which number 1 is not among them"),
        "{text}"
    );
}

#[test]
fn lists_in_the_order_of_a_shell_are_warned_of() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 60", 0);
    let list = "p_shard_0.h5ad p_shard_1.h5ad p_shard_10.h5ad p_shard_11.h5ad p_shard_2.h5ad p_shard_3.h5ad";
    let text = said(path, &format!("merge o.h5ad {list}"), 0);
    assert!(
        text.contains("--natural-sort") && text.contains("10 comes before 2"),
        "{text}"
    );
    let text = said(path, &format!("merge o.h5ad {list} --natural-sort"), 0);
    assert!(!text.contains("--natural-sort"), "{text}");
    let text = refused(
        path,
        &format!("merge q.h5ad {list} --natural-sort --label l --keys a b c d e f"),
    );
    assert!(text.contains("--keys"), "{text}");
}

#[test]
fn a_prefix_that_is_hardly_meant_keeps_its_names_and_is_told() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("shards")).unwrap();
    for (prefix, first, better) in [
        ("shards", "shards_shard_0.h5ad", "shards/pbmc"),
        ("shards/", "shards/_shard_0.h5ad", "shards/pbmc"),
        (".", "._shard_0.h5ad", "./pbmc"),
        ("p.h5ad", "p.h5ad_shard_0.h5ad", "p"),
    ] {
        let text = said(path, &format!("slice pbmc.h5ad {prefix}"), 0);
        let warning = format!(
            "WARNING: The shards are called {first} and so on; for {better}_shard_0.h5ad give the prefix {better}\n"
        );
        assert!(text.contains(&warning), "{prefix}: {text}");
        assert!(path.join(first).exists(), "{prefix}");
    }
    let text = said(path, "slice pbmc.h5ad new/p --size 400", 0);
    assert!(!text.contains("WARNING: The shards"), "{text}");
    let end = text
        .lines()
        .find(|line| line.contains("successfully created"))
        .unwrap();
    assert!(
        end.contains("All 2 shards")
            && end.contains("): new/p_shard_0.h5ad (")
            && end.contains(") to new/p_shard_1.h5ad ("),
        "{end}"
    );
    assert!(
        text.contains("Without compression: ") && text.contains("--compression gzip writes about"),
        "{text}"
    );
    assert!(
        !said(path, "slice pbmc.h5ad z/p --compression gzip", 0).contains("Without compression")
    );
}

#[test]
fn a_value_that_no_cell_has_is_told_with_what_is_like_it() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command.args(["filter", "pbmc.h5ad", "o.h5ad", "--where", "phase == 'g1'"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("WARNING: No cell has 'g1' in column 'phase'; there is 'G1'"),
        "{text}"
    );
    assert!(text.contains("WARNING: No cell is kept"), "{text}");
}

#[test]
fn patterns_are_patterns_for_every_command() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 60", 0);
    let output = run(path, "info --json p_shard_*.h5ad");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths: Vec<_> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 12);
    assert_eq!(paths[2], "p_shard_2.h5ad", "numbers count as numbers");
    assert_eq!(files[0]["schema"], 1);
    let output = run(path, "check --json p_shard_1*.h5ad");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (files.as_array().unwrap().len(), &files[0]["schema"]),
        (3, &1.into())
    );
    said(path, "slice pb*.h5ad q", 0);
    said(path, "slice p_shard_*.h5ad r --size 700 --natural-sort", 0);
    assert!(path.join("r_shard_0.h5ad").exists() && !path.join("r_shard_1.h5ad").exists());
    let text = said(
        path,
        "slice p_shard_0.h5ad p_shard_1.h5ad p_shard_2.h5ad",
        2,
    );
    assert!(text.contains("was the prefix forgotten?"), "{text}");
    assert!(refused(path, "info none_*.h5ad").contains("matches no file"));
}

#[test]
fn scripts_read_plans_and_manifests() {
    let folder = folder();
    let path = folder.path();
    let output = run(path, "slice pbmc.h5ad p --size 300 --dry-run --json");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["schema"], 1);
    assert_eq!(plan["outputs"][2]["path"], "p_shard_2.h5ad");
    assert_eq!(plan["outputs"][2]["rows"], 100);
    assert!(plan["outputs"][0]["bytes"].as_u64().unwrap() > 0);
    said(
        path,
        "slice pbmc.h5ad d --obs-column phase --manifest m.json",
        0,
    );
    let manifest = fs::read_to_string(path.join("m.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["schema"], 1);
    assert_eq!(manifest["outputs"][0]["value"], "G1");
    assert_eq!(manifest["outputs"][0]["path"], "d_G1.h5ad");
    assert!(manifest["started"].as_str().unwrap().ends_with('Z'));
    assert!(manifest["seconds"].as_f64().unwrap() > 0.0);
}
