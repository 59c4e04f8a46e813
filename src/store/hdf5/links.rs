//! Groups, and the names and paths of what is in them.

use std::ffi::{CString, c_int};

use anyhow::Result;
use hdf5::globals::H5P_GROUP_CREATE;
use hdf5_sys::h5l::H5L_type_t::H5L_TYPE_HARD;
use hdf5_sys::h5o::H5O_type_t;

use super::attrs;
use super::ffi::{self, Id, Info};
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

/// The names of a group's links, sorted by code point; those of named datatypes apart, which are no nodes.
pub fn list(group: &Id) -> Result<(Vec<String>, Vec<String>)> {
    let (mut nodes, mut types) = (vec![], vec![]);
    for (name, kind) in ffi::links(group)? {
        let is_type = kind == H5L_TYPE_HARD as c_int && {
            let path = CString::new(name.clone())?;
            Info::at(group, &path, &mut |_, _, _| false)?.kind
                == H5O_type_t::H5O_TYPE_NAMED_DATATYPE
        };
        if is_type { &mut types } else { &mut nodes }.push(name);
    }
    Ok((utf8(nodes)?, utf8(types)?))
}

/// Makes a group, and those on the way to it. Attributes beyond 64 KiB have no place in it unless that is said here.
pub fn create_group(parent: &Id, path: &str, with_large_attrs: bool) -> Result<Id> {
    let (name, links) = (text(path)?, names::creation()?);
    let list = ffi::create_list(&H5P_GROUP_CREATE)?;
    if with_large_attrs {
        ffi::set(&list, &[attrs::large()])?;
    }
    ffi::create_group(parent, &name, links, &list)
}
