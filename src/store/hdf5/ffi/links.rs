//! Groups and the links in them: walking paths within the bounds, opening, listing and copying what they lead to.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5::globals::{H5P_GROUP_CREATE, H5P_LINK_ACCESS, H5P_LINK_CREATE, H5P_OBJECT_COPY};
use hdf5_sys::h5::{H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC};
use hdf5_sys::h5d::*;
use hdf5_sys::h5g::*;
use hdf5_sys::h5i::{H5I_type_t, H5Iget_name, H5Iget_type, hid_t};
use hdf5_sys::h5l::{H5L_info2_t, H5L_type_t::H5L_TYPE_HARD, H5Lexists, H5Literate2};
use hdf5_sys::h5o::{
    H5O_COPY_EXPAND_REFERENCE_FLAG, H5O_INFO_BASIC, H5O_info2_t, H5Ocopy, H5Oget_info3, H5Oopen,
};
use hdf5_sys::h5p::*;
use hdf5_sys::h5t::*;

use super::super::external;
use super::super::watch::sync;
use super::attrs::attrs_lead_away;
use super::datasets::has_own_filters;
use super::types::has_references;
use super::{Id, done, id, plist, sized, text};
use crate::store::access::{Bounds, Identity};

pub enum Object {
    Group(Id),
    Dataset(Id),
}

/// The absolute path of an object in its file.
pub fn object_path(object: &Id) -> Result<String> {
    // SAFETY: as in `file_name`.
    let name = sized(|buf, size| unsafe { H5Iget_name(object.0, buf, size) as i64 })?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// What is known while a path is walked that may lead into other files.
struct Walk<'a> {
    bounds: &'a Bounds,
    refused: Option<anyhow::Error>,
}

/// Called before the file of an external link is opened: asks whether it may be.
extern "C" fn before_external(
    from: *const c_char,
    _: *const c_char,
    to: *const c_char,
    _: *const c_char,
    _: *mut c_uint,
    _: hid_t,
    walk: *mut c_void,
) -> c_int {
    // SAFETY: the library gives C strings, and the walk that `walk` made the list for, which outlives the call and
    // which nothing else touches meanwhile.
    let (from, to, walk) = unsafe {
        let path = |name| Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        (path(from), path(to), &mut *walk.cast::<Walk>())
    };
    match external::check(walk.bounds, from, to) {
        Ok(_) => 0,
        Err(refused) => {
            walk.refused = Some(refused);
            -1
        }
    }
}

/// Makes a call that walks links, with an access list that keeps to the bounds.
fn walk<T>(bounds: &Bounds, call: impl FnOnce(hid_t) -> Result<T>) -> Result<T> {
    let mut walk = Walk {
        bounds,
        refused: None,
    };
    let list = plist(&H5P_LINK_ACCESS)?;
    let data: *mut c_void = (&raw mut walk).cast();
    // SAFETY: the walk outlives the list, which is used for this one call.
    sync(|| done(unsafe { H5Pset_elink_cb(list.0, Some(before_external), data) }))?;
    let found = call(list.0);
    drop(list);
    match walk.refused {
        Some(refused) => Err(refused),
        None => found,
    }
}

/// Whether each link on the way to `path` exists; a soft link to nowhere does.
pub fn exists(group: &Id, path: &str, bounds: &Bounds) -> Result<bool> {
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let part = text(&path[..end])?;
        let found = walk(bounds, |links| {
            // SAFETY: the name is a C string.
            let found = sync(|| unsafe { H5Lexists(group.0, part.as_ptr(), links) });
            done(found)?;
            Ok(found > 0)
        })?;
        if !found {
            return Ok(false);
        }
        // Nothing lies below what is no group; the library fails to say so.
        let on_the_way = end < path.len();
        if on_the_way
            && !matches!(
                open_object(group, &path[..end], bounds, 0)?,
                Object::Group(_)
            )
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens the node at `path` below a group or file; an error where it, or what its values come from, is out of bounds.
/// `depth` counts the virtual datasets that this one is a source of, one in another.
pub fn open_object(group: &Id, path: &str, bounds: &Bounds, depth: usize) -> Result<Object> {
    let name = text(path)?;
    let object = walk(bounds, |links| {
        // SAFETY: the name is a C string.
        sync(|| id(unsafe { H5Oopen(group.0, name.as_ptr(), links) }))
    })?;
    // SAFETY: asks for the type of an open identifier.
    match sync(|| unsafe { H5Iget_type(object.0) }) {
        H5I_type_t::H5I_GROUP => Ok(Object::Group(object)),
        H5I_type_t::H5I_DATASET => {
            external::check_values(&object, bounds, depth)?;
            Ok(Object::Dataset(object))
        }
        _ => bail!("'{path}' is neither a group nor a dataset"),
    }
}

/// Which object of which file this is.
pub fn identity(object: &Id) -> Result<Identity> {
    let mut info = MaybeUninit::<H5O_info2_t>::uninit();
    let at = info.as_mut_ptr();
    // SAFETY: the library fills the structure where it succeeds; a token is 16 bytes.
    sync(|| unsafe {
        done(H5Oget_info3(object.0, at, H5O_INFO_BASIC))?;
        let token = (&raw const (*at).token).cast::<[u8; 16]>().read();
        Ok(((*at).fileno, u128::from_ne_bytes(token)))
    })
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
    // SAFETY: asks for properties of an open dataset; the callbacks write at most as many bytes as they are told.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        if H5Pget_layout(list.0) != H5D_layout_t::H5D_VIRTUAL {
            return (0..H5Pget_external_count(list.0).max(0) as c_uint)
                .map(|i| raw_file(&list, i).map(Elsewhere::Raw))
                .collect();
        }
        let mut count = 0;
        done(H5Pget_virtual_count(list.0, &mut count))?;
        let mut known = HashSet::new();
        let mut found = vec![];
        for i in 0..count {
            let file = sized(|buf, size| H5Pget_virtual_filename(list.0, i, buf, size) as i64)?;
            let path = sized(|buf, size| H5Pget_virtual_dsetname(list.0, i, buf, size) as i64)?;
            if known.insert((file.clone(), path.clone())) {
                found.push(Elsewhere::Source {
                    file: std::ffi::OsString::from_vec(file).into(),
                    path: String::from_utf8_lossy(&path).into_owned(),
                });
            }
        }
        Ok(found)
    })
}

/// The name of one file of external storage, as long as a path can be.
fn raw_file(list: &Id, number: c_uint) -> Result<PathBuf> {
    let mut name = vec![0u8; 4097];
    let (mut offset, mut size) = (0, 0);
    // SAFETY: at most one byte less is written than the buffer holds.
    sync(|| {
        done(unsafe {
            H5Pget_external(
                list.0,
                number,
                name.len() - 1,
                name.as_mut_ptr().cast(),
                &mut offset,
                &mut size,
            )
        })
    })?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    Ok(Path::new(OsStr::from_bytes(name)).into())
}

pub(super) fn utf8(names: Vec<Vec<u8>>) -> Result<Vec<String>> {
    let mut names = names
        .into_iter()
        .map(|n| {
            String::from_utf8(n).map_err(|e| {
                let shown = String::from_utf8_lossy(e.as_bytes()).into_owned();
                anyhow!("The name {shown:?} is not UTF-8")
            })
        })
        .collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// The names of a group's links, sorted by code point.
pub fn names(group: &Id) -> Result<Vec<String>> {
    links(group, |_| ())
}

/// As [`names`]; `kind` is called with the type of each link as the file has it, which may be none that is known.
fn links(group: &Id, mut kind: impl FnMut(c_int)) -> Result<Vec<String>> {
    struct Found<'a> {
        names: Vec<Vec<u8>>,
        kind: &'a mut dyn FnMut(c_int),
    }
    unsafe extern "C" fn each(
        _: hid_t,
        name: *const c_char,
        info: *const H5L_info2_t,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: `found` is the value given below, which outlives the iteration; the type comes first in `info`.
        unsafe {
            let found = &mut *found.cast::<Found>();
            found.names.push(CStr::from_ptr(name).to_bytes().to_vec());
            (found.kind)(info.cast::<c_int>().read());
        }
        0
    }
    let mut found = Found {
        names: vec![],
        kind: &mut kind,
    };
    let out: *mut c_void = (&raw mut found).cast();
    // SAFETY: the callback gets `out`, a live value that nothing else touches meanwhile.
    sync(|| {
        done(unsafe {
            H5Literate2(
                group.0,
                H5_INDEX_NAME,
                H5_ITER_INC,
                null_mut(),
                Some(each),
                out,
            )
        })
    })?;
    utf8(found.names)
}

/// A link creation list that makes the groups on the way, names in UTF-8.
pub(super) fn link_creation() -> Result<Id> {
    let list = plist(&H5P_LINK_CREATE)?;
    // SAFETY: sets properties of a list made above.
    sync(|| unsafe {
        done(H5Pset_create_intermediate_group(list.0, 1))?;
        done(H5Pset_char_encoding(list.0, H5T_cset_t::H5T_CSET_UTF8))
    })?;
    Ok(list)
}

/// Creates a group. `many_attrs`: room for attributes beyond the 64 KiB that an object header of the oldest format
/// takes (HDF5 manual, "Large Attributes"), which tracking their order asks for.
pub fn create_group(parent: &Id, path: &str, many_attrs: bool) -> Result<Id> {
    let (name, links, list) = (text(path)?, link_creation()?, plist(&H5P_GROUP_CREATE)?);
    // SAFETY: the name is a C string.
    sync(|| unsafe {
        if many_attrs {
            done(H5Pset_attr_creation_order(list.0, H5P_CRT_ORDER_TRACKED))?;
        }
        id(H5Gcreate2(
            parent.0,
            name.as_ptr(),
            links.0,
            list.0,
            H5P_DEFAULT,
        ))
    })
}

/// Whether what is below a node is joined by hard links alone, has its values in its own file, needs no plugin to be
/// read and refers to nothing that is not below it too, so that the library copies it without being led elsewhere.
/// `seen` are the groups that were looked at.
pub fn is_plain(node: &Object, bounds: &Bounds, seen: &mut HashSet<Identity>) -> Result<bool> {
    /// The library's copy goes down as deep, on the stack.
    const GROUPS: usize = 64;
    fn below(
        group: &Id,
        bounds: &Bounds,
        base: &str,
        seen: &mut HashSet<Identity>,
        depth: usize,
    ) -> Result<bool> {
        ensure!(depth < GROUPS, "It lies deeper than {GROUPS} groups");
        if !seen.insert(identity(group)?) {
            return Ok(true);
        }
        if attrs_lead_away(group, base)? {
            return Ok(false);
        }
        let mut soft = false;
        for name in links(group, |kind| soft |= kind != H5L_TYPE_HARD as c_int)? {
            if soft {
                return Ok(false);
            }
            let node = open_object(group, &name, bounds, 0);
            let plain = match node.with_context(|| format!("Open '{name}'"))? {
                Object::Group(id) => below(&id, bounds, base, seen, depth + 1)?,
                Object::Dataset(id) => stays(&id, base)?,
            };
            if !plain {
                return Ok(false);
            }
        }
        Ok(true)
    }
    fn stays(dataset: &Id, base: &str) -> Result<bool> {
        // SAFETY: asks for the type of an open dataset.
        let of = sync(|| id(unsafe { H5Dget_type(dataset.0) }))?;
        Ok(!has_references(&of)
            && has_own_filters(dataset)?
            && elsewhere(dataset)?.is_empty()
            && !attrs_lead_away(dataset, base)?)
    }
    let (Object::Group(id) | Object::Dataset(id)) = node;
    let base = object_path(id)?;
    match node {
        Object::Group(id) => below(id, bounds, &base, seen, 0),
        Object::Dataset(id) => stays(id, &base),
    }
}

/// Copies a node, what it refers to included. Links other than hard ones stay what they are.
pub fn copy_object(node: &Object, to: &Id, new_name: &str) -> Result<()> {
    let (Object::Group(from) | Object::Dataset(from)) = node;
    let (new_name, links) = (text(new_name)?, self::link_creation()?);
    let list = plist(&H5P_OBJECT_COPY)?;
    // SAFETY: the names are C strings.
    sync(|| unsafe {
        done(H5Pset_copy_object(list.0, H5O_COPY_EXPAND_REFERENCE_FLAG))?;
        done(H5Ocopy(
            from.0,
            c".".as_ptr(),
            to.0,
            new_name.as_ptr(),
            list.0,
            links.0,
        ))
    })
}
