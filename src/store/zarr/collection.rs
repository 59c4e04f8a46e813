//! The collection of annbatch: a group that holds AnnData stores, `dataset_0`, `dataset_1`, ...
//!
//! annbatch takes a store for a collection by the attributes of its root, which therefore are written last.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{consolidated, meta, write_group};
use crate::store::ZarrVersion;

/// Makes the folder `path`, in which the datasets are created.
pub fn begin(path: &Path) -> Result<()> {
    std::fs::create_dir(path)?;
    write_group(path, ZarrVersion::V3)
}

/// Makes of it a collection, once all its datasets are whole.
pub fn end(path: &Path) -> Result<()> {
    let file = path.join(meta::V3);
    let mut root = meta::read_json(&file)?.context("The root is not there")?;
    // Version 0.1.0 of the layout, as annbatch 0.3.1 writes it.
    root["attributes"] =
        json!({"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"});
    meta::write_json(&file, &root)?;
    consolidated::write(path, ZarrVersion::V3)
}
