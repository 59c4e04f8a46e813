//! Which other files an HDF5 file leads to, as the library finds them: by external links, as the source of a virtual
//! dataset, or as the place of a dataset's values.
//!
//! Unless all are followed, they must lie in the folder of the file that was opened, or below it.

use std::collections::HashSet;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5d::H5D_layout_t;

use super::super::access::{Bounds, Refused};
use super::ffi::{self, Id};
use super::{files, links};

/// The bounds of a file: its folder, and that of what its name leads to where it is a symbolic link.
pub fn bounds(file: &Path) -> Result<Bounds> {
    let folder = |file: &Path| -> Result<PathBuf> {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        Ok(folder.unwrap_or(Path::new(".")).canonicalize()?)
    };
    let folders = vec![folder(file)?, folder(&file.canonicalize()?)?];
    Ok(Bounds::Within(folders))
}

/// The file that the library opens for `name`, met in the file `from`: an absolute name, then one beside `from`, then
/// one in the working folder (HDF5 manual, `H5Lcreate_external`).
fn target(from: &Path, name: &Path) -> Option<PathBuf> {
    let beside = |name: &Path| from.parent().map(|folder| folder.join(name));
    let places = match name.is_absolute() {
        true => [
            Some(name.into()),
            name.file_name().and_then(|n| beside(n.as_ref())),
        ],
        false => [beside(name), Some(name.into())],
    };
    let mut places = places.into_iter().flatten();
    places.find(|place| place.exists())
}

/// An error where `name`, met in the file `from`, leads out of the bounds; else the file that it leads to.
pub fn check(bounds: &Bounds, from: &Path, name: &Path) -> Result<Option<PathBuf>> {
    let found = target(from, name);
    if let Some(found) = &found {
        bounds.check(found, || {
            format!(
                "It leads to the file {}, which is not below its own folder",
                name.display()
            )
        })?;
    }
    Ok(found)
}

/// Where values of a dataset lie, if not in its own place in its own file.
pub enum Elsewhere {
    /// In a file without structure.
    Raw(PathBuf),
    /// In another dataset; the file `.` is its own.
    Source { file: PathBuf, path: String },
}

/// All places outside a dataset that its values come from, each once.
pub fn elsewhere(dataset: &Id) -> Result<Vec<Elsewhere>> {
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    let list = ffi::creation_list(dataset)?;
    if ffi::layout(&list) != H5D_layout_t::H5D_VIRTUAL {
        let files = ffi::external_files(&list)?.into_iter();
        let raw = |name: CString| Elsewhere::Raw(path(name.into_bytes()));
        return Ok(files.map(raw).collect());
    }
    let mut known = HashSet::new();
    let mut found = vec![];
    for source in ffi::virtual_sources(&list)? {
        if known.insert(source.clone()) {
            found.push(Elsewhere::Source {
                file: path(source.0),
                path: String::from_utf8_lossy(&source.1).into_owned(),
            });
        }
    }
    Ok(found)
}

/// An error where the values of a dataset, or what they come from, lie out of the bounds.
pub fn check_values(dataset: &Id, bounds: &Bounds, depth: usize) -> Result<()> {
    /// Virtual datasets whose values come from one another.
    const DEPTH: usize = 8;
    if matches!(bounds, Bounds::Anywhere) {
        return Ok(());
    }
    let elsewhere = elsewhere(dataset)?;
    if elsewhere.is_empty() {
        return Ok(());
    }
    ensure!(
        depth < DEPTH,
        "Virtual datasets lie deeper than {DEPTH} in one another"
    );
    let from = files::name(dataset)?;
    for part in elsewhere {
        match part {
            // Found from the working folder (HDF5 manual, `H5Pset_efile_prefix`).
            Elsewhere::Raw(name) => drop(check(bounds, Path::new(""), &name)?),
            Elsewhere::Source { file, path } => {
                check_source(bounds, (&from, &file), &path, depth)?;
            }
        }
    }
    Ok(())
}

/// Checks the source of a virtual dataset, which may be virtual itself or lie behind an external link.
fn check_source(
    bounds: &Bounds,
    (from, name): (&Path, &Path),
    path: &str,
    depth: usize,
) -> Result<()> {
    let shown = name.display();
    if shown.to_string().contains("%b") || path.contains("%b") {
        bail!(Refused(format!(
            "It takes its values from a series of files {shown}"
        )));
    }
    let found = match name == Path::new(".") {
        true => Some(from.to_path_buf()),
        false => check(bounds, from, name)?,
    };
    let Some(found) = found else {
        return Ok(());
    };
    let open = || links::open(&files::open(&found)?, path, bounds, depth + 1);
    match open() {
        // What cannot be opened is fill value to the library.
        Err(error) if error.is::<Refused>() => Err(error).with_context(|| format!("In {shown}")),
        _ => Ok(()),
    }
}
