//! Types of values.

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::ptr::null_mut;

use anyhow::{Result, bail, ensure};
use hdf5::globals::H5T_STD_REF_OBJ;
use hdf5_sys::{h5::H5free_memory, h5i::hid_t, h5t::*};

use super::call::{Constant, Id, ask, done, id, number, opened, sync};
use crate::store::hdf5::errors::failure;

pub fn copy_type(of: &Constant) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tcopy(**of) })
}

/// A compound without members, or an opaque type, of `size` bytes.
pub fn create_type(class: H5T_class_t, size: usize) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tcreate(class, size) })
}

pub fn class(of: &Id) -> H5T_class_t {
    ask(H5Tget_class, of)
}

/// The bytes of one value in memory.
pub fn type_size(of: &Id) -> Result<usize> {
    sync(|| {
        let size = ask(H5Tget_size, of);
        ensure!(size > 0, failure());
        Ok(size)
    })
}

pub fn order(of: &Id) -> H5T_order_t {
    ask(H5Tget_order, of)
}

pub fn sign(of: &Id) -> H5T_sign_t {
    ask(H5Tget_sign, of)
}

pub fn charset(of: &Id) -> H5T_cset_t {
    ask(H5Tget_cset, of)
}

pub fn same_type(a: &Id, b: &Id) -> bool {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tequal(a.0, b.0) > 0 })
}

/// Whether a type, or one inside it, is of that class.
pub fn has_class(of: &Id, class: H5T_class_t) -> bool {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tdetect_class(of.0, class) > 0 })
}

pub fn is_variable_text(of: &Id) -> bool {
    ask(H5Tis_variable_str, of) > 0
}

/// Members of a compound or an enumeration.
pub fn member_count(of: &Id) -> Result<c_uint> {
    Ok(number(|| ask(H5Tget_nmembers, of))? as c_uint)
}

pub fn member_index(of: &Id, name: &CStr) -> Result<c_uint> {
    // SAFETY: the name is a C string.
    Ok(number(|| unsafe { H5Tget_member_index(of.0, name.as_ptr()) })? as c_uint)
}

pub fn member_name(of: &Id, at: c_uint) -> Result<CString> {
    // SAFETY: the name is the caller's, who copies and frees it.
    sync(|| unsafe {
        let raw = H5Tget_member_name(of.0, at);
        ensure!(!raw.is_null(), failure());
        let name = CStr::from_ptr(raw).to_owned();
        H5free_memory(raw.cast());
        Ok(name)
    })
}

/// The byte of a record at which a member begins.
pub fn member_offset(of: &Id, at: c_uint) -> usize {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tget_member_offset(of.0, at) })
}

pub fn member_type(of: &Id, at: c_uint) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tget_member_type(of.0, at) })
}

pub fn insert_member(of: &Id, name: &CStr, offset: usize, member: &Id) -> Result<()> {
    // SAFETY: the name is a C string.
    done(|| unsafe { H5Tinsert(of.0, name.as_ptr(), offset, member.0) })
}

pub fn create_enum(base: &Id) -> Result<Id> {
    opened(H5Tenum_create, base)
}

/// The bytes of a value that an enumeration names.
pub fn enum_value(of: &Id, at: c_uint) -> Result<Vec<u8>> {
    sync(|| {
        let mut value = vec![0u8; type_size(of)?];
        // SAFETY: the buffer holds one value of the type.
        done(|| unsafe { H5Tget_member_value(of.0, at, value.as_mut_ptr().cast()) })?;
        Ok(value)
    })
}

pub fn insert_enum_value(of: &Id, name: &CStr, value: &[u8]) -> Result<()> {
    sync(|| {
        ensure!(value.len() == type_size(of)?, "A value of another size");
        // SAFETY: the name is a C string; the buffer holds one value of the type.
        done(|| unsafe { H5Tenum_insert(of.0, name.as_ptr(), value.as_ptr().cast()) })
    })
}

/// The type that an enumeration or an array is made of.
pub fn base_type(of: &Id) -> Result<Id> {
    opened(H5Tget_super, of)
}

pub fn array_shape(of: &Id) -> Result<Vec<u64>> {
    let rank = number(|| ask(H5Tget_array_ndims, of))?;
    let mut shape = vec![0; rank as usize];
    // SAFETY: the array has room for as many dimensions as the library says there are.
    done(|| unsafe { H5Tget_array_dims2(of.0, shape.as_mut_ptr()) })?;
    Ok(shape)
}

pub fn create_array(base: &Id, shape: &[u64]) -> Result<Id> {
    // SAFETY: the shape is as long as announced.
    id(|| unsafe { H5Tarray_create2(base.0, shape.len() as c_uint, shape.as_ptr()) })
}

/// A type as bytes, for [`decode_type`].
pub fn encode_type(of: &Id) -> Result<Vec<u8>> {
    let mut len = 0;
    // SAFETY: without a buffer, the size alone is written.
    done(|| unsafe { H5Tencode(of.0, null_mut(), &mut len) })?;
    let mut buf = vec![0u8; len];
    // SAFETY: the buffer is as long as announced.
    done(|| unsafe { H5Tencode(of.0, buf.as_mut_ptr().cast(), &mut len) })?;
    Ok(buf)
}

pub fn decode_type(encoded: &[u8]) -> Result<Id> {
    // SAFETY: the buffer is as long as announced.
    id(|| unsafe { H5Tdecode2(encoded.as_ptr().cast(), encoded.len()) })
}

/// From now on values of the class of `from` are read as opaque bytes by what they are in the file, where `to`, an
/// opaque type, takes as many.
pub fn read_as_opaque(name: &CStr, from: &Id, to: &Id) -> Result<()> {
    extern "C" fn keep(
        from: hid_t,
        to: hid_t,
        _: *mut H5T_cdata_t,
        _: usize,
        _: usize,
        _: usize,
        _: *mut c_void,
        _: *mut c_void,
        _: hid_t,
    ) -> c_int {
        // SAFETY: hands over no memory.
        let same = unsafe { H5Tget_size(from) == H5Tget_size(to) };
        if same { 0 } else { -1 }
    }
    // As another type they might be taken for pointers.
    ensure!(class(to) == H5T_class_t::H5T_OPAQUE, "Not opaque");
    let (soft, name) = (H5T_pers_t::H5T_PERS_SOFT, name.as_ptr());
    // SAFETY: the name is a C string, which is copied; values of as many bytes take no more room.
    done(|| unsafe { H5Tregister(soft, name, from.0, to.0, Some(keep)) })
}

/// The bytes of a value in memory at which pointers to text stand. An error where it has other pointers.
pub fn pointers(of: &Id) -> Result<Vec<usize>> {
    let mut found = vec![];
    match class(of) {
        H5T_class_t::H5T_STRING if is_variable_text(of) => found.push(0),
        H5T_class_t::H5T_COMPOUND => {
            for at in 0..member_count(of)? {
                let (offset, inside) = (member_offset(of, at), pointers(&member_type(of, at)?)?);
                found.extend(inside.iter().map(|at| offset + at));
            }
        }
        H5T_class_t::H5T_ARRAY => {
            let inside = pointers(&base_type(of)?)?;
            ensure!(inside.is_empty(), "Text of any length in an array");
        }
        // Of an address in the file; other references are of pointers.
        H5T_class_t::H5T_REFERENCE if same_type(of, &copy_type(&H5T_STD_REF_OBJ)?) => {}
        H5T_class_t::H5T_REFERENCE | H5T_class_t::H5T_VLEN => bail!("Values with pointers"),
        _ => {}
    }
    Ok(found)
}
