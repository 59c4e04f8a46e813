//! Names of links and attributes, as C strings and back.

use std::ffi::CString;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use hdf5::globals::H5P_LINK_CREATE;
use hdf5_sys::h5t::H5T_cset_t;

use super::ffi::{self, Id, Property};

pub fn text(name: &str) -> Result<CString> {
    CString::new(name)
        .map_err(|_| anyhow!("The name {name:?} holds a NUL, which HDF5 cannot store"))
}

/// Names as text, sorted by code point.
pub fn utf8(names: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<String>> {
    let text = |name| {
        String::from_utf8(name).map_err(|e| {
            let shown = String::from_utf8_lossy(e.as_bytes()).into_owned();
            anyhow!("The name {shown:?} is not UTF-8")
        })
    };
    let mut names = names.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// The link creation list of all links: it makes the groups on the way, names in UTF-8.
pub fn creation() -> Result<&'static Id> {
    static LIST: OnceLock<Id> = OnceLock::new();
    if let Some(list) = LIST.get() {
        return Ok(list);
    }
    let list = ffi::create_list(&H5P_LINK_CREATE)?;
    let utf8 = Property::NameCharset(H5T_cset_t::H5T_CSET_UTF8);
    ffi::set(&list, &[Property::IntermediateGroups(true), utf8])?;
    Ok(LIST.get_or_init(|| list))
}
