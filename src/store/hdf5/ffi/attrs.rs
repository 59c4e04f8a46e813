//! Attributes.

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;

use anyhow::Result;
use hdf5_sys::h5::{H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC};
use hdf5_sys::{h5a::*, h5p::H5P_DEFAULT};

use super::call::{Id, ask, done, id, number};
use super::links::name;

/// The names of an object's attributes.
pub fn attr_names(object: &Id) -> Result<Vec<Vec<u8>>> {
    let mut found: Vec<(Vec<u8>, c_int)> = vec![];
    let (by, order, to) = (H5_INDEX_NAME, H5_ITER_INC, (&raw mut found).cast());
    let each = Some(name::<H5A_info_t, false> as _);
    // SAFETY: the callback gets the list.
    done(|| unsafe { H5Aiterate2(object.0, by, order, null_mut(), each, to) })?;
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

pub fn open_attr(object: &Id, name: &CStr) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Aopen(object.0, name.as_ptr(), H5P_DEFAULT) })
}

/// Creates an attribute, in place of one of that name.
pub fn create_attr(object: &Id, name: &CStr, of: &Id, space: &Id) -> Result<Id> {
    let (name, how) = (name.as_ptr(), H5P_DEFAULT);
    // SAFETY: the name is a C string.
    if number(|| unsafe { H5Aexists(object.0, name) })? > 0 {
        // SAFETY: the name is a C string.
        done(|| unsafe { H5Adelete(object.0, name) })?;
    }
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Acreate2(object.0, name, of.0, space.0, how, how) })
}

/// Bytes that the values of an attribute take in the file.
pub fn attr_bytes(attr: &Id) -> u64 {
    ask(H5Aget_storage_size, attr)
}
