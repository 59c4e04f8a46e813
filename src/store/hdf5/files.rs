//! Opening, making and closing files.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use hdf5::globals::H5P_FILE_ACCESS;
use hdf5_sys::h5f::{H5F_ACC_EXCL, H5F_ACC_RDONLY, H5F_ACC_RDWR, H5F_close_degree_t, H5F_libver_t};

use super::ffi::{self, Id, Property};
use super::format::heap::Heap;
use crate::store::io::raw;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<Id> {
    ffi::register_filters()?;
    let access = access(H5F_close_degree_t::H5F_CLOSE_WEAK)?;
    uninterrupted(|| ffi::open_file(&text(path)?, H5F_ACC_RDONLY, &access))
}

/// Creates a file that every reader since HDF5 1.8 opens; fails where something stands.
pub fn create(path: &Path) -> Result<Id> {
    let access = writing()?;
    uninterrupted(|| ffi::create_file(&text(path)?, H5F_ACC_EXCL, &access))
}

/// Opens a file for reading and writing.
pub fn extend(path: &Path) -> Result<Id> {
    let access = writing()?;
    uninterrupted(|| ffi::open_file(&text(path)?, H5F_ACC_RDWR, &access))
}

/// Tries again what a signal has interrupted, as open(2) of network file systems may be, which the library does not.
fn uninterrupted(open: impl Fn() -> Result<Id>) -> Result<Id> {
    let is_interrupted = |e: &anyhow::Error| {
        let causes = e.chain();
        let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
        causes.any(|cause| cause.kind() == io::ErrorKind::Interrupted)
    };
    loop {
        match open() {
            Err(e) if is_interrupted(&e) => {}
            opened => return opened,
        }
    }
}

/// A file access list with the plain POSIX driver, so that addresses are positions in the file. The library opens those
/// that links and virtual datasets lead to as weak ones, which stay open as long as objects of them, and no file as
/// weak and strong at once.
fn access(degree: H5F_close_degree_t) -> Result<Id> {
    let list = ffi::create_list(&H5P_FILE_ACCESS)?;
    let properties = [
        Property::DriverSec2,
        Property::FileLocking(false, true),
        Property::CloseDegree(degree),
    ];
    ffi::set(&list, &properties)?;
    Ok(list)
}

/// A file access list that keeps to the oldest format that does. Files are closed whatever objects of them are still
/// open.
fn writing() -> Result<Id> {
    let list = access(H5F_close_degree_t::H5F_CLOSE_STRONG)?;
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

/// A file as it is read past the library.
pub struct Raw {
    pub file: Arc<File>,
    /// Where addresses count from.
    pub base: u64,
    /// Bytes of an address, and of a size.
    pub widths: (usize, usize),
}

impl Raw {
    /// `None` where the file that holds an object is written: the library may keep what is not yet in it.
    pub fn of(object: &Id) -> Result<Option<Raw>> {
        let file = ffi::source(object)?;
        file.map(|file| Raw::new(file.into())).transpose()
    }

    pub fn new(file: Arc<File>) -> Result<Raw> {
        let base = superblock(&file)?.context("It is no HDF5 file, or it is truncated")?;
        let mut block = [0; 16];
        raw::exact(&file, &mut block, base)?;
        let widths = match block {
            [.., 0 | 1, _, _, _, _, address, size, _] => (address, size),
            [_, _, _, _, _, _, _, _, _, address, size, ..] => (address, size),
        };
        Ok(Raw {
            file,
            base,
            widths: (widths.0.into(), widths.1.into()),
        })
    }

    /// Its text; `None` where addresses, or sizes, do not take 8 bytes.
    pub fn heap(&self) -> Result<Option<Heap>> {
        let heap = || Heap::new(self.file.clone(), self.base);
        (self.widths == (8, 8)).then(heap).transpose()
    }
}

/// Where the superblock of a file lies, from which its addresses count: the first of the places 0, 512, 1024, 2048, ...
/// that holds its signature (HDF5 file format, "Disk Format: Level 0A").
pub fn superblock(file: &File) -> Result<Option<u64>> {
    const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
    let size = file.metadata()?.len();
    let mut at = 0;
    while at + 8 <= size {
        let mut found = [0; 8];
        raw::exact(file, &mut found, at)?;
        if &found == SIGNATURE {
            return Ok(Some(at));
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    Ok(None)
}

/// Where a file ends too early, in words: by the end-of-file address of its superblock (HDF5 file format, "Disk Format:
/// Level 0A"), unless it has not even that.
pub fn cut_off(file: &File) -> Result<Option<String>> {
    /// The shortest superblock.
    const LEAST: u64 = 48;
    let (Some(base), size) = (superblock(file)?, file.metadata()?.len()) else {
        return Ok(None);
    };
    if size < base + LEAST {
        return Ok(Some(format!("it was cut off at {size} bytes")));
    }
    let mut block = [0; 16];
    raw::exact(file, &mut block, base)?;
    // Behind the addresses of what the others count from, and of what extends this block.
    let (first, width) = match block {
        [.., 0, _, _, _, _, width, _, _] => (24, width),
        [.., 1, _, _, _, _, width, _, _] => (28, width),
        [_, _, _, _, _, _, _, _, _, width, ..] => (12, width),
    };
    let mut end = [0; 8];
    let width = usize::from(width).min(end.len());
    raw::exact(file, &mut end[..width], base + first + 2 * width as u64)?;
    let whole = u64::from_le_bytes(end);
    Ok((size < whole).then(|| format!("it was cut off at {size} bytes of {whole}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_off_tells_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        for oldest in [
            H5F_libver_t::H5F_LIBVER_EARLIEST,
            H5F_libver_t::H5F_LIBVER_V110,
        ] {
            let list = access(H5F_close_degree_t::H5F_CLOSE_STRONG).unwrap();
            let newest = H5F_libver_t::H5F_LIBVER_V110;
            ffi::set(&list, &[Property::Versions(oldest, newest)]).unwrap();
            let made = ffi::create_file(&text(&path).unwrap(), H5F_ACC_EXCL, &list).unwrap();
            ffi::close_file(made).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let size = file.metadata().unwrap().len();
            assert_eq!(cut_off(&file).unwrap(), None);
            file.set_len(size - 1).unwrap();
            let told = format!("it was cut off at {} bytes of {size}", size - 1);
            assert_eq!(cut_off(&file).unwrap(), Some(told));
            file.set_len(9).unwrap();
            let told = "it was cut off at 9 bytes".to_owned();
            assert_eq!(cut_off(&file).unwrap(), Some(told));
            std::fs::remove_file(&path).unwrap();
        }
    }
}
