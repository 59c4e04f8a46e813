//! Groups and the links in them: walking paths within the bounds, opening, listing and copying what they lead to.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr, c_int};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5::globals::{H5P_GROUP_CREATE, H5P_LINK_CREATE, H5P_OBJECT_COPY};
use hdf5_sys::h5i::H5I_type_t;
use hdf5_sys::h5l::H5L_type_t::H5L_TYPE_HARD;
use hdf5_sys::h5o::{H5O_COPY_EXPAND_REFERENCE_FLAG, H5O_type_t};
use hdf5_sys::h5p::H5P_CRT_ORDER_TRACKED;
use hdf5_sys::h5t::H5T_cset_t;

use super::ffi::{self, Id, Info, MayOpen, Property};
use super::files::{self, Raw};
use super::format::headers::Claims;
use super::format::heap::Heap;
use super::guard::claims;
use super::guard::external::{self, Elsewhere, Nesting};
use super::{attrs, datasets, types};
use crate::store::access::{Bounds, Identity};

pub enum Object {
    Group(Id),
    Dataset(Id),
}

pub fn text(name: &str) -> Result<CString> {
    CString::new(name)
        .map_err(|_| anyhow!("The name {name:?} holds a NUL, which HDF5 cannot store"))
}

/// The absolute path of an object in its file.
pub fn path(object: &Id) -> Result<String> {
    Ok(String::from_utf8_lossy(&ffi::object_path(object)?).into_owned())
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
            let found = external::check(external::Name::Link, bounds, &from, &to)?;
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
    match info.kind {
        H5O_type_t::H5O_TYPE_DATASET => match file()? {
            Some(file) => claims::of_header(&file, info.address()),
            None => Ok(Claims::default()),
        },
        _ => Ok(Claims::default()),
    }
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

/// Opens the node at `path` below a group or file; an error where it, or what its values come from, is out of bounds,
/// or not safe to be read by the library.
pub fn open(group: &Id, path: &str, bounds: &Bounds) -> Result<Object> {
    Target::of(group, &text(path)?, bounds)?.open(&mut Nesting::default())
}

/// What a path leads to, before it is opened.
pub struct Target<'a> {
    group: &'a Id,
    path: &'a CStr,
    bounds: &'a Bounds,
    info: Info,
    /// Its file, if not that of the group.
    file: Option<PathBuf>,
}

impl<'a> Target<'a> {
    pub fn of(group: &'a Id, path: &'a CStr, bounds: &'a Bounds) -> Result<Target<'a>> {
        let (info, file) = walk(bounds, |may_open| Info::at(group, path, may_open))?;
        Ok(Target {
            group,
            path,
            bounds,
            info,
            file,
        })
    }

    /// Its file, where the group is in `file`, and the number of the object there.
    pub fn place(&self, file: &Path) -> (PathBuf, u128) {
        let file = self.file.as_deref().unwrap_or(file);
        (file.to_path_buf(), self.info.identity.1)
    }

    pub fn open(&self, nesting: &mut Nesting) -> Result<Object> {
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
                claims::check_fill_values(&object, &claims.fill_values)?;
                external::check_values(&object, bounds, nesting)?;
                Ok(Object::Dataset(object))
            }
            _ => bail!(
                "'{}' is neither a group nor a dataset",
                path.to_string_lossy()
            ),
        }
    }
}

/// The names of a group's links, sorted by code point.
pub fn names(group: &Id) -> Result<Vec<String>> {
    utf8(ffi::links(group)?.into_iter().map(|(name, _)| name))
}

/// Names as text, sorted by code point.
pub fn utf8(names: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<String>> {
    let text = |name| {
        String::from_utf8(name).map_err(|e| {
            let shown = String::from_utf8_lossy(e.as_bytes()).into_owned();
            anyhow!("The name {shown:?} is not UTF-8")
        })
    };
    let mut names = names.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// A link creation list that makes the groups on the way, names in UTF-8.
pub fn creation() -> Result<Id> {
    let list = ffi::create_list(&H5P_LINK_CREATE)?;
    let utf8 = Property::NameCharset(H5T_cset_t::H5T_CSET_UTF8);
    ffi::set(&list, &[Property::IntermediateGroups(true), utf8])?;
    Ok(list)
}

/// Makes a new object keep attributes that are large apart from its header, which tracking their order asks for.
pub fn large_attrs() -> Property<'static> {
    Property::AttrOrder(H5P_CRT_ORDER_TRACKED)
}

pub fn create_group(parent: &Id, path: &str, with_large_attrs: bool) -> Result<Id> {
    let (name, links) = (text(path)?, creation()?);
    let list = ffi::create_list(&H5P_GROUP_CREATE)?;
    if with_large_attrs {
        ffi::set(&list, &[large_attrs()])?;
    }
    ffi::create_group(parent, &name, &links, &list)
}

/// Whether what is below a node is joined by hard links alone, has its values in its own file, needs no plugin to be
/// read, has no text as fill value and refers to nothing that is not below it too, so that the library copies it without
/// being led elsewhere. An error where its text claims more than the file that `heap` is of.
pub fn is_plain(node: &Object, bounds: &Bounds, heap: Option<&Heap>) -> Result<bool> {
    // Where addresses take other bytes than in the target, the library copies references wrong (2.2.0).
    let Some(heap) = heap else { return Ok(false) };
    let (Object::Group(id) | Object::Dataset(id)) = node;
    let mut walk = Plain {
        bounds,
        heap,
        base: path(id)?,
        seen: HashSet::new(),
    };
    match node {
        Object::Group(id) => walk.group(id, 0),
        Object::Dataset(id) => walk.dataset(id),
    }
}

struct Plain<'a> {
    bounds: &'a Bounds,
    heap: &'a Heap,
    base: String,
    /// The groups that were looked at.
    seen: HashSet<Identity>,
}

impl Plain<'_> {
    /// A group at a `depth` below the node.
    fn group(&mut self, group: &Id, depth: usize) -> Result<bool> {
        /// The library's copy goes down as deep, on the stack.
        const GROUPS: usize = 64;
        ensure!(depth < GROUPS, "It lies deeper than {GROUPS} groups");
        if !self.seen.insert(ffi::identity(group)?) {
            return Ok(true);
        }
        if !self.attrs(group)? {
            return Ok(false);
        }
        let (names, kinds): (Vec<_>, Vec<_>) = ffi::links(group)?.into_iter().unzip();
        let names = utf8(names)?;
        if kinds.iter().any(|&kind| kind != H5L_TYPE_HARD as c_int) {
            return Ok(false);
        }
        for name in names {
            let node = open(group, &name, self.bounds);
            let plain = match node.with_context(|| format!("Open '{name}'"))? {
                Object::Group(id) => self.group(&id, depth + 1)?,
                Object::Dataset(id) => self.dataset(&id)?,
            };
            if !plain {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn dataset(&self, dataset: &Id) -> Result<bool> {
        datasets::spec(dataset)?;
        let plain = !types::has_references(&ffi::type_of(dataset)?)
            && datasets::has_own_filters(dataset)?
            && matches!(external::elsewhere(dataset)?, Elsewhere::Nowhere)
            && !claims::fills_with_references(dataset)?
            && self.attrs(dataset)?;
        if plain {
            self.checked(dataset, claims::check_dataset)?;
        }
        Ok(plain)
    }

    fn attrs(&self, object: &Id) -> Result<bool> {
        self.checked(object, claims::check_attrs)?;
        Ok(!attrs::lead_away(object, &self.base)?)
    }

    fn checked(&self, object: &Id, check: fn(&Id, &Heap) -> Result<()>) -> Result<()> {
        check(object, self.heap).with_context(|| format!("Read '{}'", super::path_of(object)))
    }
}

/// Copies a node, what it refers to included. Links other than hard ones stay what they are.
pub fn copy(node: &Object, to: &Id, new_name: &str) -> Result<()> {
    let (Object::Group(from) | Object::Dataset(from)) = node;
    let (new_name, links) = (text(new_name)?, creation()?);
    let list = ffi::create_list(&H5P_OBJECT_COPY)?;
    ffi::set(
        &list,
        &[Property::CopyFlags(H5O_COPY_EXPAND_REFERENCE_FLAG)],
    )?;
    ffi::copy_object(from, to, &new_name, &list, &links)
}
