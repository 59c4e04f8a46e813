//! Opening what paths lead to: links are walked within the bounds, and what the library is not safe to read is refused
//! before it is asked to. All guards are called from here, and where text is read or copied.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5i::H5I_type_t;
use hdf5_sys::h5o::H5O_type_t;

use super::ffi::{self, Id, Info, MayOpen};
use super::files::{self, Raw};
use super::format::headers::Claims;
use super::guard::claims;
use super::guard::external::{self, Elsewhere, VirtualSource};
use super::names::text;
use super::{datasets, types};
use crate::limits;
use crate::store::access::Bounds;

pub enum Object {
    Group(Id),
    Dataset(Id),
}

/// Where among virtual datasets, of which one is a source of the next, the one stands that is looked at.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The sources that were looked at, each with the depth at which it was: where each level has some, the ways through
    /// them are a power of that.
    seen: HashSet<(PathBuf, u128, usize)>,
}

/// Opens the node at `path` below a group or file; an error where it, or what its values come from, is out of bounds,
/// or not safe to be read by the library.
pub fn open(group: &Id, path: &str, bounds: &Bounds) -> Result<Object> {
    Target::of(group, &text(path)?, bounds)?.open(&mut Nesting::default())
}

/// Whether each link on the way to `path` exists; a soft link to nowhere does.
pub fn exists(group: &Id, path: &str, bounds: &Bounds) -> Result<bool> {
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let part = text(&path[..end])?;
        let (exists, _) = walk(bounds, |may_open| ffi::link_exists(group, &part, may_open))?;
        if !exists {
            return Ok(false);
        }
        // Nothing lies below what is no group; the library fails to say so.
        let on_the_way = end < path.len();
        if on_the_way && Target::of(group, &part, bounds)?.info.kind != H5O_type_t::H5O_TYPE_GROUP {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens the source of a virtual dataset in the file `from`, which may be virtual itself or lie behind an external link.
pub fn open_source(source: &VirtualSource, from: &Path, bounds: &Bounds) -> Result<Id> {
    let found = source.find(from, bounds)?;
    let file = files::open(&found.context("Its file is not there")?)?;
    dataset_of(open(&file, &source.path_from_root()?, bounds)?)
}

/// Makes a call that walks links, which looks before an external one is followed: the library opens what that leads to
/// on the way. It keeps to the bounds. Tells the file that the last one led to, too.
fn walk<T>(
    bounds: &Bounds,
    call: impl FnOnce(MayOpen) -> Result<T>,
) -> Result<(T, Option<PathBuf>)> {
    let path = |name: &CStr| Path::new(OsStr::from_bytes(name.to_bytes())).to_path_buf();
    let (mut refused, mut led_to) = (None, None);
    let found = call(&mut |from, to, object| {
        let (from, to) = (path(from), path(to));
        let look = || {
            let found = external::find(bounds, &from, &to)?;
            let found = found.with_context(|| format!("The file {} is not there", to.display()))?;
            look_at(&found, object)?;
            Ok(found)
        };
        look()
            .map(|file| led_to = Some(file))
            .map_err(|why| refused = Some(why))
            .is_ok()
    });
    match refused {
        Some(why) => Err(why),
        None => found.map(|found| (found, led_to)),
    }
}

/// An error where what an external link leads to is not safe to be opened. Where that lies behind another such link, the
/// library asks again.
fn look_at(file: &Path, object: &CStr) -> Result<()> {
    let mut leads_on = false;
    let info = Info::at(&files::open(file)?, object, &mut |_, _, _| {
        leads_on = true;
        false
    });
    match info {
        Err(_) if leads_on => Ok(()),
        info => header_claims(&info?, || Raw::new(File::open(file)?.into()).map(Some)).map(drop),
    }
}

/// What the header of a dataset claims; nothing of other objects, and in a file that is written.
fn header_claims(info: &Info, file: impl FnOnce() -> Result<Option<Raw>>) -> Result<Claims> {
    if info.kind != H5O_type_t::H5O_TYPE_DATASET {
        return Ok(Claims::default());
    }
    let claims = file()?.map(|file| claims::of_header(&file, info.address()));
    claims.transpose().map(Option::unwrap_or_default)
}

/// What a path leads to, before it is opened.
struct Target<'a> {
    group: &'a Id,
    path: &'a CStr,
    bounds: &'a Bounds,
    info: Info,
    /// Its file, if not that of the group.
    file: Option<PathBuf>,
}

impl<'a> Target<'a> {
    fn of(group: &'a Id, path: &'a CStr, bounds: &'a Bounds) -> Result<Target<'a>> {
        let (info, file) = walk(bounds, |may_open| Info::at(group, path, may_open))?;
        Ok(Target {
            group,
            path,
            bounds,
            info,
            file,
        })
    }

    fn open(&self, nesting: &mut Nesting) -> Result<Object> {
        // Before the library opens it: that alone takes memory for sources that the header claims.
        let claims = header_claims(&self.info, || match &self.file {
            Some(path) => Raw::new(File::open(path)?.into()).map(Some),
            None => Raw::of(self.group),
        })?;
        let (group, path, bounds) = (self.group, self.path, self.bounds);
        let (object, _) = walk(bounds, |may_open| ffi::open_object(group, path, may_open))?;
        match ffi::kind(&object) {
            H5I_type_t::H5I_GROUP => Ok(Object::Group(object)),
            H5I_type_t::H5I_DATASET => {
                let of = ffi::type_of(&object)?;
                types::check_depth(&of)?;
                if let Some(size) = claims.value {
                    claims::check_size(&of, size)?;
                }
                // Before its creation list is asked for, as below, which reads a fill value.
                claims::check_fill_values(&object, &claims.fill_values)?;
                check_elsewhere(&object, bounds, nesting)?;
                Ok(Object::Dataset(object))
            }
            _ => bail!(
                "'{}' is neither a group nor a dataset",
                path.to_string_lossy()
            ),
        }
    }
}

/// An error where the values of a dataset, or what they come from, lie out of the bounds, or where the library is not
/// safe to read a dataset that they come from.
fn check_elsewhere(dataset: &Id, bounds: &Bounds, nesting: &mut Nesting) -> Result<()> {
    match external::elsewhere(dataset)? {
        Elsewhere::Nowhere => Ok(()),
        Elsewhere::Raw(parts) => external::check_raw(dataset, &parts, bounds),
        Elsewhere::Sources(sources) => {
            ensure!(
                nesting.depth < limits::VIRTUAL,
                "Virtual datasets lie deeper than {} in one another",
                limits::VIRTUAL
            );
            let from = files::name(dataset)?;
            let mut sources = sources.iter();
            sources.try_for_each(|source| check_sources(source, &from, bounds, nesting))
        }
    }
}

/// Checks a source of a virtual dataset in the file `from`, or all there are of a series.
fn check_sources(
    source: &VirtualSource,
    from: &Path,
    bounds: &Bounds,
    nesting: &mut Nesting,
) -> Result<()> {
    let is_series = source.is_series(bounds)?;
    let mut number = 0;
    while check_source(&source.block(number), from, bounds, nesting)
        .with_context(|| format!("In {}", source.block(number).file()))?
    {
        if !is_series {
            return Ok(());
        }
        number += 1;
    }
    // The library looks no further than the first that is missing (HDF5 manual, `H5Pset_virtual_printf_gap`).
    ensure!(
        is_series,
        "Its source {source} is not there, without which the library takes the fill value for values"
    );
    Ok(())
}

/// Checks a dataset, which may be virtual itself or lie behind an external link; false where there is none.
fn check_source(
    source: &VirtualSource,
    from: &Path,
    bounds: &Bounds,
    nesting: &mut Nesting,
) -> Result<bool> {
    let Some(found) = source.find(from, bounds)? else {
        return Ok(false);
    };
    let (file, path) = (files::open(&found)?, source.path_from_root()?);
    if !exists(&file, &path, bounds)? {
        return Ok(false);
    }
    let path = text(&path)?;
    let target = Target::of(&file, &path, bounds)?;
    nesting.depth += 1;
    let place = target.file.as_deref().unwrap_or(&found).to_path_buf();
    if nesting
        .seen
        .insert((place, target.info.identity.1, nesting.depth))
    {
        let id = dataset_of(target.open(nesting)?)?;
        datasets::spec(&id)?;
        let (layout, filters) = datasets::storage(&id)?;
        datasets::check_filters(&id, &layout, &filters)?;
        claims::check_values(&id)?;
    }
    nesting.depth -= 1;
    Ok(true)
}

fn dataset_of(source: Object) -> Result<Id> {
    match source {
        Object::Dataset(id) => Ok(id),
        Object::Group(_) => bail!("A group is no source of values"),
    }
}
