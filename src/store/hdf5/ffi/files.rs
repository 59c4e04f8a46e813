//! Files: opening, making, closing, and the descriptor below one.

use std::ffi::{CStr, c_int, c_uint};
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::ptr::null_mut;

use anyhow::Result;
use hdf5_sys::{h5f::*, h5i::H5Iget_file_id, h5p::H5P_DEFAULT};

use super::call::{Id, done, id, opened, sized, sync};

pub fn open_file(name: &CStr, flags: c_uint, access: &Id) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Fopen(name.as_ptr(), flags, access.0) })
}

pub fn create_file(name: &CStr, flags: c_uint, access: &Id) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Fcreate(name.as_ptr(), flags, H5P_DEFAULT, access.0) })
}

/// Hands everything to the file system and closes the file; where its [`Property::CloseDegree`] is strong, whatever is
/// still open of it.
pub fn close_file(file: Id) -> Result<()> {
    let raw = file.0;
    std::mem::forget(file);
    // SAFETY: the identifier is owned, and this is its last use.
    done(|| unsafe { H5Fclose(raw) })
}

/// The path of the file that holds an object.
pub fn file_name(object: &Id) -> Result<Vec<u8>> {
    // SAFETY: the buffer has room for `size` bytes.
    sized(|buf, size| unsafe { H5Fget_name(object.0, buf, size) })
}

/// A handle of the file that holds an object; `None` of one that is written, where the library may keep what is not yet
/// in it.
pub fn source(object: &Id) -> Result<Option<File>> {
    sync(|| {
        let file = opened(H5Iget_file_id, object)?;
        let (mut intent, mut descriptor) = (0, null_mut());
        // SAFETY: writes one number.
        done(|| unsafe { H5Fget_intent(file.0, &mut intent) })?;
        if intent & H5F_ACC_RDWR > 0 {
            return Ok(None);
        }
        // SAFETY: writes one pointer.
        done(|| unsafe { H5Fget_vfd_handle(file.0, H5P_DEFAULT, &mut descriptor) })?;
        // SAFETY: for [`Property::DriverSec2`], which all files are opened with, that is where the descriptor stands,
        // and the file is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor.cast::<c_int>()) };
        Ok(Some(descriptor.try_clone_to_owned()?.into()))
    })
}
