//! Every call into the HDF5 C library, each under the library's lock, as safe functions over owned identifiers.
//!
//! All `unsafe` stands here and where blosc is called. Two arguments hold for all of its blocks and are not repeated:
//! every call is made inside [`sync`], the lock that the library needs; and every identifier that is passed comes from
//! an [`Id`] that is borrowed for the whole call, so it is open. The C library checks identifiers and answers with an
//! error.

mod attrs;
mod datasets;
mod filters;
mod links;
mod types;
mod values;

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use anyhow::{Result, anyhow};
use hdf5::globals::{H5GlobalConstant, H5P_FILE_ACCESS};
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5f::*;
use hdf5_sys::h5i::{H5Idec_ref, H5Iget_file_id, H5Iinc_ref, hid_t};
use hdf5_sys::h5p::*;
use hdf5_sys::h5s::*;

use super::watch::sync;

pub use attrs::{ByHeap, attr_names, read_attr, write_attr};
pub use datasets::{
    Creation, Layout, RawChunk, RawFilter, chunks, create_dataset, fill_value, offset, set_extent,
    smallest_chunk, spec, storage, stored_bytes,
};
pub use links::{
    Elsewhere, Object, copy_object, create_group, elsewhere, exists, identity, is_plain, names,
    object_path, open_object,
};
pub use values::{
    copy_records, read_field, read_rows, read_strings, unpad, write_chunk, write_records,
    write_strings,
};

/// An open identifier of the library, closed when dropped.
pub struct Id(hid_t);

impl Id {
    /// Closes it, where that may write: the library keeps some values until then.
    pub fn close(self) -> Result<()> {
        let raw = self.0;
        std::mem::forget(self);
        // SAFETY: the identifier is owned, and this is its last use.
        sync(|| done(unsafe { H5Idec_ref(raw) }))
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the identifier is owned, and this is its last use.
        sync(|| unsafe { H5Idec_ref(self.0) });
    }
}

impl Clone for Id {
    fn clone(&self) -> Id {
        // SAFETY: counts one more owner of an open identifier.
        sync(|| unsafe { H5Iinc_ref(self.0) });
        Id(self.0)
    }
}

/// The library's explanation of its last error, innermost frame first; where that is an error of the operating
/// system, it is the cause.
fn failure() -> anyhow::Error {
    let error = match hdf5::Error::query() {
        Ok(error) | Err(error) => error,
    };
    let Some(stack) = error.stack() else {
        return anyhow!("HDF5: {error}");
    };
    let mut told: Vec<_> = stack.iter().map(|f| f.desc().to_string()).collect();
    if let Some((frame, cause)) = told
        .iter()
        .find_map(|frame| Some((frame, os_error(frame)?)))
    {
        let what = frame.split([':', ',']).next().unwrap_or_default();
        return anyhow::Error::from(cause).context(format!("HDF5: {what}"));
    }
    told.dedup();
    told.reverse();
    told.truncate(3);
    anyhow!("HDF5: {}", told.join(": "))
}

/// The number that the library's file driver puts into its text, among addresses and times.
fn os_error(frame: &str) -> Option<std::io::Error> {
    let (number, _) = frame.split_once("errno = ")?.1.split_once(',')?;
    Some(std::io::Error::from_raw_os_error(number.parse().ok()?))
}

fn id(raw: hid_t) -> Result<Id> {
    if raw < 0 { Err(failure()) } else { Ok(Id(raw)) }
}

fn done(code: impl Into<i64>) -> Result<()> {
    let code: i64 = code.into();
    if code < 0 { Err(failure()) } else { Ok(()) }
}

fn text(name: &str) -> Result<CString> {
    CString::new(name)
        .map_err(|_| anyhow!("The name {name:?} holds a NUL, which HDF5 cannot store"))
}

fn path_text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| anyhow!("The path {} holds a NUL", path.display()))
}

fn plist(class: &H5GlobalConstant) -> Result<Id> {
    // SAFETY: a class identifier of the library itself.
    sync(|| id(unsafe { H5Pcreate(**class) }))
}

/// A file access list with the plain POSIX driver, so that addresses are positions in the file.
fn access() -> Result<Id> {
    let list = plist(&H5P_FILE_ACCESS)?;
    // SAFETY: sets properties of a list made above.
    sync(|| unsafe {
        done(H5Pset_fapl_sec2(list.0))?;
        done(H5Pset_file_locking(list.0, 0, 1))?;
        done(H5Pset_fclose_degree(
            list.0,
            H5F_close_degree_t::H5F_CLOSE_STRONG,
        ))
    })?;
    Ok(list)
}

/// Opens a file for reading.
pub fn open_file(path: &Path) -> Result<Id> {
    filters::register()?;
    let (name, access) = (path_text(path)?, access()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, access.0) }))
}

/// Creates a file that every reader since HDF5 1.8 opens; fails where something stands.
pub fn create_file(path: &Path) -> Result<Id> {
    let (name, access) = (path_text(path)?, writing()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fcreate(name.as_ptr(), H5F_ACC_EXCL, H5P_DEFAULT, access.0) }))
}

/// Opens a file for reading and writing.
pub fn extend_file(path: &Path) -> Result<Id> {
    let (name, access) = (path_text(path)?, writing()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDWR, access.0) }))
}

/// A file access list that keeps to the oldest format that does.
fn writing() -> Result<Id> {
    let list = access()?;
    // SAFETY: sets properties of a list made above.
    sync(|| {
        done(unsafe {
            H5Pset_libver_bounds(
                list.0,
                H5F_libver_t::H5F_LIBVER_EARLIEST,
                H5F_libver_t::H5F_LIBVER_V110,
            )
        })
    })?;
    Ok(list)
}

/// Hands everything to the file system and closes the file, whatever objects of it are still open.
pub fn close_file(file: Id) -> Result<()> {
    let raw = file.0;
    std::mem::forget(file);
    // SAFETY: the identifier is owned, and this is its last use.
    sync(|| done(unsafe { H5Fclose(raw) }))
}

/// The path of the file that holds an object.
pub fn file_name(object: &Id) -> Result<PathBuf> {
    // SAFETY: the callback writes at most `size` bytes into a buffer of that size.
    let name = sized(|buf, size| unsafe { H5Fget_name(object.0, buf, size) as i64 })?;
    Ok(std::ffi::OsString::from_vec(name).into())
}

/// Where the addresses in the file that holds an object count from; `None` where they, or sizes, do not take 8 bytes.
pub fn base_address(object: &Id) -> Result<Option<u64>> {
    // SAFETY: asks for properties of an open file.
    sync(|| unsafe {
        let file = id(H5Iget_file_id(object.0))?;
        let list = id(H5Fget_create_plist(file.0))?;
        let (mut address, mut size, mut base) = (0, 0, 0);
        done(H5Pget_sizes(list.0, &mut address, &mut size))?;
        done(H5Pget_userblock(list.0, &mut base))?;
        Ok(((address, size) == (8, 8)).then_some(base))
    })
}

/// Calls a function that reports a length and fills a buffer with that many bytes and a NUL.
fn sized(call: impl Fn(*mut c_char, usize) -> i64) -> Result<Vec<u8>> {
    sync(|| {
        let len = call(null_mut(), 0);
        done(len)?;
        let mut buf = vec![0u8; len as usize + 1];
        done(call(buf.as_mut_ptr().cast(), buf.len()))?;
        buf.truncate(len as usize);
        Ok(buf)
    })
}

/// The dimensions of a dataspace; `None` for a null one.
fn dims(space: &Id) -> Result<Option<Vec<u64>>> {
    // SAFETY: the array has room for as many dimensions as the library says there are.
    sync(|| unsafe {
        match H5Sget_simple_extent_type(space.0) {
            H5S_class_t::H5S_NULL => return Ok(None),
            H5S_class_t::H5S_SCALAR => return Ok(Some(vec![])),
            H5S_class_t::H5S_SIMPLE => {}
            _ => return Err(failure()),
        }
        let rank = H5Sget_simple_extent_ndims(space.0);
        done(rank)?;
        let mut dims = vec![0 as hsize_t; rank as usize];
        done(H5Sget_simple_extent_dims(
            space.0,
            dims.as_mut_ptr(),
            null_mut(),
        ))?;
        Ok(Some(dims))
    })
}

fn space(shape: &[u64], growing: bool) -> Result<Id> {
    let mut most = shape.to_vec();
    if growing && let Some(first) = most.first_mut() {
        *first = H5S_UNLIMITED;
    }
    // SAFETY: both arrays hold as many dimensions as are announced.
    sync(|| unsafe {
        if shape.is_empty() {
            return id(H5Screate(H5S_class_t::H5S_SCALAR));
        }
        id(H5Screate_simple(
            shape.len() as c_int,
            shape.as_ptr(),
            most.as_ptr(),
        ))
    })
}
