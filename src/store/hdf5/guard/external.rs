//! Which other files an HDF5 file leads to, as the library finds them: by external links, as the source of a virtual
//! dataset, or as the place of a dataset's values.
//!
//! Unless all are followed, they must lie in the folder of the file that was opened, or below it. The variables by which
//! the library looks in other folders are unset when the program starts.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use hdf5_sys::h5d::H5D_layout_t;

use crate::store::access::{self, Bounds, Refused};
use crate::store::hdf5::ffi::{self, External, Id};
use crate::store::spec::item_count;

/// The bounds of a file: its folder, and that of what its name leads to where it is a symbolic link.
pub fn bounds(file: &Path) -> Result<Bounds> {
    let folder =
        |file: &Path| -> Result<PathBuf> { Ok(access::folder_above(file).canonicalize()?) };
    let folders = vec![folder(file)?, folder(&file.canonicalize()?)?];
    Ok(Bounds::Within(folders))
}

/// Where the library looks for the HDF5 file `name`, met in the file `from`, in its order: an absolute name, then, with
/// the last part of one alone, beside `from`, in the working folder, and beside what `from` leads to where it is a
/// symbolic link (2.2.0, `H5F_prefix_open_file`).
fn places(from: &Path, name: &Path) -> Vec<PathBuf> {
    let rest = if name.is_absolute() {
        Path::new(name.file_name().unwrap_or_default())
    } else {
        name
    };
    let real = from.canonicalize().ok();
    let beside = |file: &Path| file.parent().map(|folder| folder.join(rest));
    let absolute = name.is_absolute().then(|| name.to_path_buf());
    let places = absolute.into_iter().chain(beside(from));
    let places = places.chain([rest.to_path_buf()]);
    places.chain(real.as_deref().and_then(beside)).collect()
}

/// The HDF5 file that `name`, met in the file `from`, leads to; an error where that lies out of the bounds, or is no file.
pub fn find(bounds: &Bounds, from: &Path, name: &Path) -> Result<Option<PathBuf>> {
    first_of(places(from, name), bounds, name)
}

/// The first of some places, where there is a file that can be opened. An error where it lies out of the bounds, or where
/// it is no file: the library would wait for ever for what comes through a pipe, and take values from a device.
fn first_of(places: Vec<PathBuf>, bounds: &Bounds, name: &Path) -> Result<Option<PathBuf>> {
    let shown = name.display();
    for place in places {
        if !place.exists() {
            continue;
        }
        bounds.check(&place, || {
            format!("It leads to the file {shown}, which is not below its own folder")
        })?;
        ensure!(place.is_file(), "It leads to {shown}, which is no file");
        if File::open(&place).is_ok() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Where values of a dataset lie, if not in its own place in its own file.
pub enum Elsewhere {
    Nowhere,
    /// In parts of files without structure, one after another.
    Raw(Vec<External>),
    /// In other datasets, or in series of them, each told once.
    Sources(Vec<VirtualSource>),
}

/// What a virtual dataset takes values from, as its names are written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VirtualSource {
    file: Vec<u8>,
    path: Vec<u8>,
}

/// All places outside a dataset that its values come from.
pub fn elsewhere(dataset: &Id) -> Result<Elsewhere> {
    let list = ffi::creation_list(dataset)?;
    if ffi::layout(&list) != H5D_layout_t::H5D_VIRTUAL {
        let files = ffi::external_files(&list)?;
        return Ok(if files.is_empty() {
            Elsewhere::Nowhere
        } else {
            Elsewhere::Raw(files)
        });
    }
    let (mut known, mut found) = (HashSet::new(), vec![]);
    for mapping in ffi::mappings(&list)? {
        let source = VirtualSource::new(mapping.file, mapping.path);
        if known.insert(source.clone()) {
            found.push(source);
        }
    }
    Ok(if found.is_empty() {
        Elsewhere::Nowhere
    } else {
        Elsewhere::Sources(found)
    })
}

/// An error where a file without structure, in which values of a dataset lie, is out of bounds, or ends before they do:
/// the library reads zeros then (2.2.0, `H5D__efl_read`). Such a name counts from the working folder (`H5_combine_path`).
pub fn check_raw(dataset: &Id, parts: &[External], bounds: &Bounds) -> Result<()> {
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let count = item_count(&extent.unwrap_or_default().0)? as u64;
    let mut left = count.saturating_mul(ffi::type_size(&ffi::type_of(dataset)?)? as u64);
    for part in parts {
        let bytes = left.min(part.size);
        left -= bytes;
        let name = as_path(part.name.to_bytes().to_vec());
        let Some(place) = first_of(vec![name.clone()], bounds, &name)? else {
            continue;
        };
        let len = place.metadata()?.len();
        ensure!(
            bytes == 0 || u64::try_from(part.offset)?.saturating_add(bytes) <= len,
            "Its values lie in the file {}, which ends before they do",
            name.display()
        );
    }
    Ok(())
}

fn as_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// How many files a virtual dataset takes its values from.
pub fn source_files(dataset: &Id) -> Result<u64> {
    let Elsewhere::Sources(sources) = elsewhere(dataset)? else {
        return Ok(0);
    };
    let files: HashSet<Vec<u8>> = sources.into_iter().map(|source| source.file).collect();
    Ok(files.len() as u64)
}

impl fmt::Display for VirtualSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "'{path}' in {}", self.file())
    }
}

impl VirtualSource {
    pub fn new(file: Vec<u8>, path: Vec<u8>) -> VirtualSource {
        VirtualSource { file, path }
    }

    /// The name of its file, for people.
    pub fn file(&self) -> String {
        String::from_utf8_lossy(&self.file).replace("%%", "%")
    }

    /// Whether its names are those of many, numbered. An error where it is, and not all files are followed: the library
    /// looks for as many as there are.
    pub fn is_series(&self, bounds: &Bounds) -> Result<bool> {
        let is_series = self.block(0) != self.block(1);
        if is_series && matches!(bounds, Bounds::Within(_)) {
            bail!(Refused(format!(
                "It takes its values from a series of files {}",
                self.file()
            )));
        }
        Ok(is_series)
    }

    /// The names in one block of a series (HDF5 manual, `H5Pset_virtual`).
    pub fn block(&self, number: u64) -> VirtualSource {
        let named = |name: &[u8]| {
            let (mut out, mut rest) = (vec![], name);
            loop {
                rest = match rest {
                    [b'%', b'b', after @ ..] => {
                        out.extend_from_slice(number.to_string().as_bytes());
                        after
                    }
                    [first @ b'%', b'%', after @ ..] | [first, after @ ..] => {
                        out.push(*first);
                        after
                    }
                    [] => return out,
                };
            }
        };
        VirtualSource {
            file: named(&self.file),
            path: named(&self.path),
        }
    }

    /// Its file, for a virtual dataset in the file `from`.
    pub fn find(&self, from: &Path, bounds: &Bounds) -> Result<Option<PathBuf>> {
        match self.file.as_slice() {
            // Its own.
            b"." => Ok(Some(from.to_path_buf())),
            name => find(bounds, from, &as_path(name.to_vec())),
        }
    }

    /// Its path without what leads nowhere else.
    pub fn path_from_root(&self) -> Result<String> {
        let parts = str::from_utf8(&self.path)?.split('/');
        let parts: Vec<_> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
        Ok(parts.join("/"))
    }
}
