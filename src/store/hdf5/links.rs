//! Groups, and the names and paths of what is in them.

use anyhow::Result;
use hdf5::globals::H5P_GROUP_CREATE;

use super::attrs;
use super::ffi::{self, Id};
use super::names::{self, text, utf8};

/// The absolute path of an object in its file.
pub fn path(object: &Id) -> Result<String> {
    Ok(String::from_utf8_lossy(&ffi::object_path(object)?).into_owned())
}

/// The path of an object as messages have it; nothing where the library knows of none.
pub fn path_of(object: &Id) -> String {
    path(object)
        .map(|p| p.trim_start_matches('/').to_string())
        .unwrap_or_default()
}

/// The names of a group's links, sorted by code point.
pub fn list(group: &Id) -> Result<Vec<String>> {
    utf8(ffi::links(group)?.into_iter().map(|(name, _)| name))
}

pub fn create_group(parent: &Id, path: &str, with_large_attrs: bool) -> Result<Id> {
    let (name, links) = (text(path)?, names::creation()?);
    let list = ffi::create_list(&H5P_GROUP_CREATE)?;
    if with_large_attrs {
        ffi::set(&list, &[attrs::large()])?;
    }
    ffi::create_group(parent, &name, &links, &list)
}
