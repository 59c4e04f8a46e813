//! Which other files an HDF5 file leads to, as the library finds them: by external links, as the source of a virtual
//! dataset, or as the place of a dataset's values.
//!
//! Unless all are followed, they must lie in the folder of the file that was opened, or below it.

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5d::H5D_layout_t;

use super::claims;
use crate::store::access::{Bounds, Refused};
use crate::store::hdf5::ffi::{self, External, Id};
use crate::store::hdf5::{datasets, files, links};
use crate::store::spec::element_count;

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

/// Of which kind a name of another file is: the library looks for each in folders that a variable of its own names.
#[derive(Clone, Copy)]
pub enum Name {
    /// Of an external link.
    Link,
    /// Of the source of a virtual dataset.
    Source,
    /// Of a file without structure.
    Raw,
}

impl Name {
    /// The folders that the variable names for the file `from`, whose own folder is `${ORIGIN}` (HDF5 manual,
    /// `H5Pset_virtual_prefix`).
    fn folders(self, from: &Path) -> Vec<PathBuf> {
        let variable = match self {
            Name::Link => "HDF5_EXT_PREFIX",
            Name::Source => "HDF5_VDS_PREFIX",
            Name::Raw => "HDF5_EXTFILE_PREFIX",
        };
        let value = env::var_os(variable).unwrap_or_default();
        let folders = value.as_bytes().split(|&byte| byte == b':');
        let folder = |named: &[u8]| match named.strip_prefix(b"${ORIGIN}") {
            Some(below) => {
                let origin = from.parent().unwrap_or(from).as_os_str().as_bytes();
                as_path([origin, below].concat())
            }
            None => as_path(named.to_vec()),
        };
        let named = folders.filter(|named| !named.is_empty());
        named.map(folder).collect()
    }

    /// Where the library looks for `name`, met in the file `from`, in its order: an absolute name, then, with the last
    /// part of one alone, in the folders of the variable, beside `from`, in the working folder, and beside what `from`
    /// leads to where it is a symbolic link (2.2.0, `H5F_prefix_open_file`). For a file without structure in one place
    /// only (2.2.0, `H5_combine_path`).
    fn places(self, from: &Path, name: &Path) -> Vec<PathBuf> {
        let folders = self.folders(from);
        if let Name::Raw = self {
            let folder = folders.into_iter().next();
            return vec![folder.unwrap_or_default().join(name)];
        }
        let rest = if name.is_absolute() {
            Path::new(name.file_name().unwrap_or_default())
        } else {
            name
        };
        let real = from.canonicalize().ok();
        let beside = |file: &Path| file.parent().map(|folder| folder.join(rest));
        let absolute = name.is_absolute().then(|| name.to_path_buf());
        let named = folders.iter().map(|folder| folder.join(rest));
        let places = absolute.into_iter().chain(named).chain(beside(from));
        let places = places.chain([rest.to_path_buf()]);
        places.chain(real.as_deref().and_then(beside)).collect()
    }
}

/// An error where `name`, met in the file `from`, leads out of the bounds, or to what is no file: the library would wait
/// for ever for what comes through a pipe, and take values from a device. Else the file that it leads to.
pub fn check(kind: Name, bounds: &Bounds, from: &Path, name: &Path) -> Result<Option<PathBuf>> {
    let shown = name.display();
    for place in kind.places(from, name) {
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
    Sources(Vec<Source>),
}

/// What a virtual dataset takes values from, as its names are written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Source {
    file: Vec<u8>,
    path: Vec<u8>,
}

/// Virtual datasets whose values come from one another.
pub const DEPTH: usize = 8;

/// Where among virtual datasets, of which one is a source of the next, the one stands that is looked at.
#[derive(Default)]
pub struct Nesting {
    depth: usize,
    /// The sources that were looked at, each with the depth at which it was: where each level has some, the ways through
    /// them are a power of that.
    seen: HashSet<(PathBuf, u128, usize)>,
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
    let mut known = HashSet::new();
    let mut found = vec![];
    for mapping in ffi::mappings(&list)? {
        let source = Source::new(mapping.file, mapping.path);
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

fn as_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// An error where the values of a dataset, or what they come from, lie out of the bounds, or where the library is not
/// safe to read a dataset that they come from.
pub fn check_values(dataset: &Id, bounds: &Bounds, nesting: &mut Nesting) -> Result<()> {
    let elsewhere = elsewhere(dataset)?;
    if let Elsewhere::Nowhere = elsewhere {
        return Ok(());
    }
    ensure!(
        nesting.depth < DEPTH,
        "Virtual datasets lie deeper than {DEPTH} in one another"
    );
    let from = files::name(dataset)?;
    match elsewhere {
        Elsewhere::Nowhere => Ok(()),
        Elsewhere::Raw(parts) => {
            let mut left = bytes(dataset)?;
            parts.iter().try_for_each(|raw| {
                let here = left.min(raw.size);
                left -= here;
                check_raw(raw, here, bounds, &from)
            })
        }
        Elsewhere::Sources(sources) => {
            let mut sources = sources.iter();
            sources.try_for_each(|source| source.check(&from, bounds, nesting))
        }
    }
}

/// What the values of a dataset take as they are.
fn bytes(dataset: &Id) -> Result<u64> {
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let count = element_count(&extent.unwrap_or_default().0)? as u64;
    Ok(count.saturating_mul(ffi::type_size(&ffi::type_of(dataset)?)? as u64))
}

/// An error where a file without structure is out of bounds, or ends before `bytes` do: the library reads zeros then
/// (2.2.0, `H5D__efl_read`).
fn check_raw(raw: &External, bytes: u64, bounds: &Bounds, from: &Path) -> Result<()> {
    let name = as_path(raw.name.to_bytes().to_vec());
    let Some(place) = check(Name::Raw, bounds, from, &name)? else {
        return Ok(());
    };
    let len = place.metadata()?.len();
    ensure!(
        bytes == 0 || u64::try_from(raw.offset)?.saturating_add(bytes) <= len,
        "Its values lie in the file {}, which ends before they do",
        name.display()
    );
    Ok(())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [path, file] = [&self.path, &self.file].map(|name| String::from_utf8_lossy(name));
        write!(f, "'{path}' in {file}")
    }
}

impl Source {
    pub fn new(file: Vec<u8>, path: Vec<u8>) -> Source {
        Source { file, path }
    }

    /// Whether its names are those of many, numbered.
    pub fn is_series(&self) -> bool {
        self.block(0) != self.block(1)
    }

    /// Checks what there is of it for a virtual dataset in the file `from`.
    fn check(&self, from: &Path, bounds: &Bounds, nesting: &mut Nesting) -> Result<()> {
        let is_series = self.is_series();
        if is_series && matches!(bounds, Bounds::Within(_)) {
            let shown = String::from_utf8_lossy(&self.file);
            bail!(Refused(format!(
                "It takes its values from a series of files {shown}"
            )));
        }
        // The library looks no further than the first that is missing (HDF5 manual, `H5Pset_virtual_printf_gap`).
        let mut block = 0;
        while self.block(block).check_one(from, bounds, nesting)? {
            if !is_series {
                return Ok(());
            }
            block += 1;
        }
        ensure!(
            is_series,
            "Its source {self} is not there, without which the library takes the fill value for values"
        );
        Ok(())
    }

    /// The names in one block of a series (HDF5 manual, `H5Pset_virtual`).
    pub fn block(&self, number: u64) -> Source {
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
        Source {
            file: named(&self.file),
            path: named(&self.path),
        }
    }

    /// Opens the dataset, which may be virtual itself or lie behind an external link, for a virtual one in the file
    /// `from`.
    pub fn open(&self, from: &Path, bounds: &Bounds) -> Result<Id> {
        let (found, path) = (self.place(from, bounds)?, self.path_from_root()?);
        let file = files::open(&found.context("Its file is not there")?)?;
        dataset_of(links::open(&file, &path, bounds)?)
    }

    fn place(&self, from: &Path, bounds: &Bounds) -> Result<Option<PathBuf>> {
        match self.file.as_slice() {
            // Its own.
            b"." => Ok(Some(from.to_path_buf())),
            name => check(Name::Source, bounds, from, &as_path(name.to_vec())),
        }
    }

    /// Its path without what leads nowhere else.
    fn path_from_root(&self) -> Result<String> {
        let parts = str::from_utf8(&self.path)?.split('/');
        let parts: Vec<_> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
        Ok(parts.join("/"))
    }

    /// Checks a dataset, which may be virtual itself or lie behind an external link; false where there is none.
    fn check_one(&self, from: &Path, bounds: &Bounds, nesting: &mut Nesting) -> Result<bool> {
        let Some(found) = self.place(from, bounds)? else {
            return Ok(false);
        };
        let shown = || format!("In {}", String::from_utf8_lossy(&self.file));
        let file = files::open(&found).with_context(shown)?;
        let path = &self.path_from_root().with_context(shown)?;
        if !links::exists(&file, path, bounds).with_context(shown)? {
            return Ok(false);
        }
        let name = links::text(path)?;
        let target = links::Target::of(&file, &name, bounds).with_context(shown)?;
        nesting.depth += 1;
        let (file, object) = target.place(&found);
        if nesting.seen.insert((file, object, nesting.depth)) {
            check_source(&target, nesting).with_context(shown)?;
        }
        nesting.depth -= 1;
        Ok(true)
    }
}

fn dataset_of(source: links::Object) -> Result<Id> {
    match source {
        links::Object::Dataset(id) => Ok(id),
        links::Object::Group(_) => bail!("A group is no source of values"),
    }
}

/// An error where the library is not safe to read a source of a virtual dataset.
fn check_source(target: &links::Target, nesting: &mut Nesting) -> Result<()> {
    let id = dataset_of(target.open(nesting)?)?;
    datasets::spec(&id)?;
    let (layout, filters) = datasets::storage(&id)?;
    datasets::check_filters(&id, &layout, &filters)?;
    claims::check_values(&id)
}
