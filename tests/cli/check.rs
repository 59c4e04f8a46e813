//! `annslicer check`: files that are sound, and what is said of files that were damaged.

use std::fs;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{PBMC, done, folder, run};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A folder with `a.h5ad`, damaged.
fn damaged(damage: impl Fn(&File)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5ad");
    fs::copy(PBMC, &path).unwrap();
    damage(&File::open_rw(&path).unwrap());
    folder
}

/// Replaces an array of a group by one that `change` made of its values; attributes are lost.
fn replace<T: hdf5::H5Type + Clone>(group: &Group, name: &str, change: impl Fn(&mut Vec<T>)) {
    let mut values = group.dataset(name).unwrap().read_raw::<T>().unwrap();
    change(&mut values);
    group.unlink(name).unwrap();
    let builder = group.new_dataset_builder().with_data(&values);
    builder.create(name).unwrap();
}

fn set_text(group: &Group, name: &str, text: &str) {
    group.delete_attr(name).unwrap();
    let attr = group.new_attr::<VarLenUnicode>().create(name).unwrap();
    let text: VarLenUnicode = text.parse().unwrap();
    attr.write_scalar(&text).unwrap();
}

fn names(values: &mut [VarLenUnicode]) {
    values[1] = values[0].clone();
}

/// Runs `check`, which must find a line that holds `words`, and nothing else of level error.
fn finds(words: &str, damage: impl Fn(&File)) {
    let folder = damaged(damage);
    let output = run(folder.path(), "check a.h5ad");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{words}: {said}");
    let errors: Vec<&str> = said.lines().filter(|l| l.contains(": error: ")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains(words),
        "{words}: {said}"
    );
    assert!(text(&output.stderr).contains("Not sound: 1 of 1 files"));
}

#[test]
fn a_file_of_anndata_is_sound_and_so_are_its_shards() {
    let folder = folder();
    let good = |files: &str| {
        let output = run(folder.path(), &format!("check {files}"));
        let said = text(&output.stdout);
        assert!(output.status.success() && !said.contains("error"), "{said}");
        let sound = said.lines().filter(|l| l.contains(": sound")).count();
        assert_eq!(sound, files.split(' ').count());
    };
    good("pbmc.h5ad");
    let slice = "slice pbmc.h5ad p --size 400 --compression gzip";
    done(folder.path(), slice);
    done(folder.path(), "merge m.zarr p_shard_0.h5ad p_shard_1.h5ad");
    good("p_shard_0.h5ad p_shard_1.h5ad m.zarr");
}

#[test]
fn each_fault_is_named_once() {
    let group = |file: &File, path: &str| file.group(path).unwrap();
    finds(
        "'X': An index of 'X' is 765, beyond its 765 columns",
        |file| {
            replace::<i32>(&group(file, "X"), "indices", |v| v[10] = 765);
        },
    );
    finds("decreases", |file| {
        replace::<i32>(&group(file, "X"), "indptr", |v| v[3] = v[4] + 1);
    });
    finds("begins at 1", |file| {
        replace::<i32>(&group(file, "X"), "indptr", |v| v[0] = 1);
    });
    finds("has 174399 indices and 174400 values", |file| {
        replace::<i32>(&group(file, "X"), "indices", |v| v.truncate(v.len() - 1));
    });
    finds("'obs/phase': A code is beyond its 3 categories", |file| {
        replace::<i8>(&group(file, "obs/phase"), "codes", |v| v[0] = 3);
    });
    finds("'obs/phase': Categories that came before: 1", |file| {
        replace::<VarLenUnicode>(&group(file, "obs/phase"), "categories", |v| names(v));
    });
    finds(
        "'obs/n_genes': It has 699 rows, but its index has 700",
        |file| {
            replace::<i64>(&group(file, "obs"), "n_genes", |v| v.truncate(v.len() - 1));
        },
    );
    finds(
        "'obs': 'column-order' names 'n_genes', which is missing",
        |file| {
            group(file, "obs").unlink("n_genes").unwrap();
        },
    );
    finds("'obsm/X_pca': It is 'array' of version '9'", |file| {
        let array = file.dataset("obsm/X_pca").unwrap();
        array.delete_attr("encoding-version").unwrap();
        let attr = array
            .new_attr::<VarLenUnicode>()
            .create("encoding-version")
            .unwrap();
        attr.write_scalar(&"9".parse::<VarLenUnicode>().unwrap())
            .unwrap();
    });
    finds(
        "'layers': It is 'array', where 'dict' is expected",
        |file| {
            set_text(&group(file, "layers"), "encoding-type", "array");
            set_text(&group(file, "layers"), "encoding-version", "0.2.0");
        },
    );
}

#[test]
fn what_the_format_allows_is_a_note() {
    let folder = damaged(|file| {
        replace::<VarLenUnicode>(&file.group("obs").unwrap(), "index", |v| names(v));
        let x = file.group("X").unwrap();
        replace::<i32>(&x, "indices", |v| {
            v[1] = v[0];
            v.swap(2, 3);
        });
    });
    let output = run(folder.path(), "check --json a.h5ad");
    assert!(output.status.success(), "{output:?}");
    let files: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[0]["sound"], true);
    let findings = files[0]["findings"].as_array().unwrap();
    let told = |element: &str, words: &str| {
        let of = findings
            .iter()
            .find(|f| f["element"] == element && f["what"].as_str().unwrap().contains(words));
        of.unwrap_or_else(|| panic!("{element}: {words}: {findings:?}"))["level"] == "note"
    };
    assert!(told("obs", "Names that came before: 1, such as '"));
    assert!(told("X", "Rows not sorted by column: 700 of 700"));
    assert!(told("X", "repeat a place: 1 of 174400"));
}

#[test]
fn what_cannot_be_read_is_found_and_the_other_files_are_checked() {
    let folder = folder();
    let mut bytes = fs::read(PBMC).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 4096].fill(0x5a);
    fs::write(folder.path().join("scratched.h5ad"), &bytes).unwrap();
    fs::write(folder.path().join("cut.h5ad"), &bytes[..half]).unwrap();
    let files = "missing.h5ad cut.h5ad scratched.h5ad pbmc.h5ad";
    let output = run(folder.path(), &format!("check --json {files}"));
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sound: Vec<_> = (0..4)
        .map(|i| found[i]["sound"].as_bool().unwrap())
        .collect();
    assert_eq!(sound, [false, false, false, true]);
    assert_eq!(found[0]["findings"].as_array().unwrap().len(), 1);
    assert_eq!(text(&output.stderr), "ERROR: Not sound: 3 of 4 files\n");
}
