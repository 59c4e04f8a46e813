//! `annslicer info`, as text and as JSON.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{PBMC, done, folder, run, stdout};

#[test]
fn text_fits_a_terminal_and_has_a_line_for_each_element() {
    let text = stdout(folder().path(), "info pbmc.h5ad");
    let wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(text.lines().find(wide), None);
    for told in [
        "700 cells × 765 genes",
        "AnnData format 0.1.0",
        "700 × 765, 174,400 non-zeros",
        "10 categories (CD4+/CD25 T Reg,",
        "3 categories (G1, G2M, S)",
        "rank_genes_groups",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn json_tells_all_of_each_element() {
    let files: Value =
        serde_json::from_str(&stdout(folder().path(), "info pbmc.h5ad pbmc.h5ad --json")).unwrap();
    assert_eq!(files.as_array().unwrap().len(), 2);
    assert_eq!(files[0], files[1]);
    let file = &files[0];
    assert_eq!(file["shape"], json!([700, 765]));
    let bytes = std::fs::metadata(PBMC).unwrap().len();
    assert_eq!(file["bytes"], json!(bytes));
    let elements = file["elements"].as_array().unwrap();
    let of = |path: &str| elements.iter().find(|e| e["path"] == path).unwrap();
    assert!(elements.iter().all(|e| e["error"].is_null()));

    let x = of("X");
    assert_eq!(x["encoding"], "csr_matrix");
    assert_eq!(x["dtype"], "float32");
    assert_eq!(x["nonzeros"], 174_400);
    let held = 174_400 * (4 + 4) + 701 * 4;
    assert_eq!(x["memory"], held);
    assert_eq!(x["storage"]["raw_bytes"], held);
    assert!(x["storage"]["ratio"].as_f64().unwrap() > 0.0);

    let labels = of("obs/bulk_labels");
    assert_eq!(labels["encoding"], "categorical");
    assert_eq!(labels["categories"], 10);
    assert_eq!(labels["first_categories"].as_array().unwrap().len(), 10);
    assert!(x["first_categories"].is_null());
    assert_eq!(
        of("obs/phase")["first_categories"],
        json!(["G1", "G2M", "S"])
    );
    assert_eq!(labels["shape"], json!([700]));
    assert_eq!(of("obs")["shape"], json!([700, 8]));
    assert_eq!(of("obsm/X_pca")["shape"], json!([700, 50]));
    assert_eq!(of("uns/pca/variance")["dtype"], "float32");
}

#[test]
fn what_compression_saves_is_told() {
    let folder = folder();
    stdout(folder.path(), "-q slice pbmc.h5ad p --compression gzip");
    let files = stdout(folder.path(), "info p_shard_0.h5ad --json");
    let files: Value = serde_json::from_str(&files).unwrap();
    let elements = files[0]["elements"].as_array().unwrap();
    let x = elements.iter().find(|e| e["path"] == "X").unwrap();
    assert!(x["storage"]["ratio"].as_f64().unwrap() < 0.8, "{x}");
    assert_eq!(
        x["storage"]["filters"].as_array().unwrap().last().unwrap(),
        "gzip"
    );
    assert!(x["storage"]["chunk"][0].as_u64().unwrap() > 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let output = run(folder().path(), "info pbmc.h5ad missing.h5ad");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("missing.h5ad"), "{said}");
    assert_eq!(run(folder().path(), "info").status.code(), Some(2));
}

#[test]
fn a_file_is_named_where_something_in_it_is_damaged() {
    let folder = folder();
    done(folder.path(), "filter pbmc.h5ad d.zarr --where n_genes>0");
    fs::write(folder.path().join("d.zarr/.zattrs"), "{").unwrap();
    let output = run(folder.path(), "info d.zarr");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Cannot read d.zarr: "), "{said}");
}
