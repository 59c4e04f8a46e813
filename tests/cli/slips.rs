//! What people type or give by mistake, and the line that answers it: each says what to do instead.

use std::fs;
use std::path::Path;

use hdf5::types::VarLenUnicode;

use crate::harness::{PBMC, folder, run};

/// The messages of a run that ends with this code.
fn said(folder: &Path, args: &str, code: i32) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    said
}

/// The one line with which a run fails; it leaves nothing.
fn refused(folder: &Path, args: &str) -> String {
    let names = || fs::read_dir(folder).unwrap().count();
    let before = names();
    let said = said(folder, &format!("-q {args}"), 1);
    assert_eq!(said.lines().count(), 1, "{args}: {said}");
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
