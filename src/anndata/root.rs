//! What a file is, by its root: `encoding-type` decides, and where there is none the names of what it holds.
//!
//! Programs of the field share the endings `.h5`, `.h5ad` and `.zarr`; what is no AnnData file is refused by its name,
//! with the way to one.

use anyhow::{Result, bail, ensure};

use crate::store::spec::{Attr, Attrs};
use crate::store::{Group, Node};

/// The attributes of the root of an AnnData file, as today's anndata writes them.
///
/// # Errors
/// What the file is, where it is another, and where that cannot be read.
pub fn attrs(root: &Group) -> Result<Attrs> {
    let found = root.attrs()?;
    match found.get("encoding-type") {
        // MuDataSeurat writes 'AnnData'.
        Some(Attr::Text(kind)) if kind.is_empty() || kind.eq_ignore_ascii_case("anndata") => {}
        Some(Attr::Text(kind)) => bail!("{}", of_another_kind(kind)),
        Some(_) => bail!("The 'encoding-type' of its root is no text"),
        None => {}
    }
    let names = root.names()?;
    let has = |name: &str| names.iter().any(|n| n == name);
    for needed in ["obs", "var"] {
        if !has(needed) {
            let other = unlabelled(root, &found, has)?;
            ensure!(other.is_none(), "{}", other.unwrap_or_default());
            bail!("It has no '{needed}', so it is no AnnData file");
        }
    }
    // A MuData file has obs and var of its own.
    ensure!(!has("mod"), "{}", of_another_kind("MuData"));
    let mut attrs = Attrs::encoding("anndata", "0.1.0");
    for (name, value) in found.iter() {
        // The label is today's, but a version that the file gives is kept, and so is what a user noted.
        let is_empty = matches!(value, Attr::Text(text) if text.is_empty());
        let is_ours = name == "encoding-type" || name == "encoding-version" && is_empty;
        if !is_ours {
            attrs.set(name, value.clone());
        }
    }
    Ok(attrs)
}

/// What a root is that says so itself, and what to do.
fn of_another_kind(kind: &str) -> String {
    match kind {
        "MuData" => "It is a MuData file, which holds an AnnData for each of its modalities; write the one that you \
                     mean to a file of its own, in Python: mudata.read_h5mu(FILE).mod[NAME].write_h5ad(NEW)"
            .into(),
        "annbatch-preshuffled" => {
            "It is a collection of annbatch; give its datasets, as FILE/dataset_0, one by one".into()
        }
        _ => format!("It is no AnnData file: its root is of the encoding '{kind}'"),
    }
}

/// The same of files that do not say so; `None` for what is not known.
fn unlabelled(root: &Group, attrs: &Attrs, has: impl Fn(&str) -> bool) -> Result<Option<String>> {
    Ok(Some(if has("mod") {
        of_another_kind("MuData")
    } else if has("assays") && (has("cell.names") || has("meta.data")) {
        "It is an h5Seurat file, of SeuratDisk in R; convert it there: SeuratDisk::Convert(FILE, dest = \"h5ad\")"
            .into()
    } else if has("matrix") && has("row_attrs") && has("col_attrs") {
        "It is a loom file; convert it in Python: anndata.io.read_loom(FILE).write_h5ad(NEW)".into()
    } else if is_10x(root)? {
        "It is a 10x matrix of Cell Ranger; convert it in Python: scanpy.read_10x_h5(FILE).write_h5ad(NEW)".into()
    } else if has("tables") || attrs.get("spatialdata_attrs").is_some() {
        match tables(root)?.as_slice() {
            [] => "It is a SpatialData store without tables".into(),
            tables => format!(
                "It is a SpatialData store; give one of its tables, which are AnnData: {}",
                tables.join(", ")
            ),
        }
    } else {
        return Ok(None);
    }))
}

/// Whether it is a matrix of Cell Ranger: of version 3 in `matrix`, of version 2 in a group for each genome.
fn is_10x(root: &Group) -> Result<bool> {
    for name in root.names()? {
        if let Some(Node::Group(group)) = root.get(&name)? {
            let parts = group.names()?;
            let is_part = |part: &&str| parts.iter().any(|p| p == part);
            if ["barcodes", "data", "indices", "indptr", "shape"]
                .iter()
                .all(is_part)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn tables(root: &Group) -> Result<Vec<String>> {
    let mut found = vec![];
    for folder in ["tables", "table"] {
        if let Some(Node::Group(group)) = root.get(folder)? {
            let names = group.names()?;
            found.extend(names.iter().map(|name| format!("FILE/{folder}/{name}")));
        }
    }
    Ok(found)
}
