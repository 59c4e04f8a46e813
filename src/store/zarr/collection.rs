//! The collection of annbatch: a group that holds AnnData stores, `dataset_0`, `dataset_1`, ...
//!
//! annbatch takes a store for a collection by the attributes of its root, which therefore are written last.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::{consolidated, meta};
use crate::store::ZarrVersion;

const KIND: &str = "annbatch-preshuffled";

/// Whether a collection stands at `path`.
pub fn is_collection(path: &Path) -> bool {
    let root = meta::read_json(&path.join(meta::V3)).ok().flatten();
    root.is_some_and(|root| root["attributes"]["encoding-type"] == KIND)
}

/// The datasets of the collection at `path`; none where it is none.
/// By name, so `dataset_10` comes before `dataset_2`.
pub fn datasets(path: &Path) -> Vec<PathBuf> {
    if !is_collection(path) {
        return vec![];
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("dataset_")) && path.is_dir()
    });
    let mut datasets: Vec<PathBuf> = folders.collect();
    datasets.sort();
    datasets
}

/// Makes the folder `path`, in which the datasets are created.
pub fn begin(path: &Path) -> Result<()> {
    std::fs::create_dir(path)?;
    meta::write_group(path, ZarrVersion::V3)
}

/// Makes of it a collection, once all its datasets are whole.
pub fn end(path: &Path) -> Result<()> {
    let file = path.join(meta::V3);
    let mut root = meta::read_json(&file)?.context("The root is not there")?;
    // Version 0.1.0 of the layout, as annbatch 0.3.1 writes it.
    root["attributes"] = json!({"encoding-type": KIND, "encoding-version": "0.1.0"});
    meta::write_json(&file, &root)?;
    consolidated::write(path, ZarrVersion::V3)
}
