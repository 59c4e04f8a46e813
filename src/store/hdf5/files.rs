//! Opening, making and closing files.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use hdf5::globals::H5P_FILE_ACCESS;
use hdf5_sys::h5f::{H5F_ACC_EXCL, H5F_ACC_RDONLY, H5F_ACC_RDWR, H5F_close_degree_t, H5F_libver_t};

use super::ffi::{self, Id, Property};
use super::filters;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<Id> {
    filters::register()?;
    ffi::open_file(&text(path)?, H5F_ACC_RDONLY, &access()?)
}

/// Creates a file that every reader since HDF5 1.8 opens; fails where something stands.
pub fn create(path: &Path) -> Result<Id> {
    ffi::create_file(&text(path)?, H5F_ACC_EXCL, &writing()?)
}

/// Opens a file for reading and writing.
pub fn extend(path: &Path) -> Result<Id> {
    ffi::open_file(&text(path)?, H5F_ACC_RDWR, &writing()?)
}

/// A file access list with the plain POSIX driver, so that addresses are positions in the file. Files are closed
/// whatever objects of them are still open.
fn access() -> Result<Id> {
    let list = ffi::create_list(&H5P_FILE_ACCESS)?;
    let properties = [
        Property::DriverSec2,
        Property::FileLocking(false, true),
        Property::CloseDegree(H5F_close_degree_t::H5F_CLOSE_STRONG),
    ];
    ffi::set(&list, &properties)?;
    Ok(list)
}

/// A file access list that keeps to the oldest format that does.
fn writing() -> Result<Id> {
    let list = access()?;
    let (oldest, newest) = (
        H5F_libver_t::H5F_LIBVER_EARLIEST,
        H5F_libver_t::H5F_LIBVER_V110,
    );
    ffi::set(&list, &[Property::Versions(oldest, newest)])?;
    Ok(list)
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| anyhow!("The path {} holds a NUL", path.display()))
}

/// The path of the file that holds an object.
pub fn name(object: &Id) -> Result<PathBuf> {
    Ok(OsString::from_vec(ffi::file_name(object)?).into())
}

/// How a file tells where things lie in it.
#[derive(Clone, Copy)]
pub struct Addressing {
    /// Bytes of an address, and of a size.
    pub widths: (usize, usize),
    /// Where addresses count from.
    pub base: u64,
}

impl Addressing {
    /// Of the file that holds an object.
    pub fn of(object: &Id) -> Result<Addressing> {
        /// What was told of the file that was asked about last, by the number that no other file gets: each answer is
        /// a property list to the library.
        static LAST: Mutex<Option<(u64, Addressing)>> = Mutex::new(None);
        let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, _) = ffi::identity(object)?;
        let known = last().filter(|(known, _)| *known == file);
        if let Some((_, addressing)) = known {
            return Ok(addressing);
        }
        // Not while the answer is locked: whoever waits for it may hold the lock of the library.
        let (address, size, base) = ffi::addressing(object)?;
        let widths = (address, size);
        let addressing = Addressing { widths, base };
        *last() = Some((file, addressing));
        Ok(addressing)
    }
}

/// Where the addresses in the file that holds an object count from; `None` where they, or sizes, do not take 8 bytes.
pub fn base_address(object: &Id) -> Result<Option<u64>> {
    let Addressing { widths, base } = Addressing::of(object)?;
    Ok((widths == (8, 8)).then_some(base))
}
