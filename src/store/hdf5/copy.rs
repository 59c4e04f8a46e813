//! Copying a node as a whole by the library, where that keeps all of it and leads nowhere else.
//!
//! The library copies bytes as they are stored (H5Ocopy), sooner than values can be read and written, but follows what
//! it finds: so everything below the node is looked at first, and what is not plain is copied value by value instead.

use std::collections::HashSet;
use std::ffi::c_int;

use anyhow::{Context, Result, ensure};
use hdf5::globals::H5P_OBJECT_COPY;
use hdf5_sys::h5l::H5L_type_t::H5L_TYPE_HARD;
use hdf5_sys::h5o::H5O_COPY_EXPAND_REFERENCE_FLAG;

use super::ffi::{self, Id, Property};
use super::format::heap::Heap;
use super::guard::claims;
use super::guard::external::{self, Elsewhere};
use super::names::{self, text};
use super::open::{Object, open};
use super::{attrs, datasets, links, types};
use crate::limits;
use crate::store::access::{Bounds, Identity};

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
        base: links::path(id)?,
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
        // The library's copy goes down as deep, on the stack.
        let deepest = limits::DEPTH;
        ensure!(depth < deepest, "It lies deeper than {deepest} groups");
        if !self.seen.insert(ffi::identity(group)?) {
            return Ok(true);
        }
        if !self.attrs(group)? {
            return Ok(false);
        }
        let mut kinds = ffi::links(group)?.into_iter().map(|(_, kind)| kind);
        let all_hard = kinds.all(|kind| kind == H5L_TYPE_HARD as c_int);
        let (names, types) = links::list(group)?;
        if !all_hard || !types.is_empty() {
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
            && !fills_with_references(dataset)?
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
        check(object, self.heap).with_context(|| format!("Read '{}'", links::path_of(object)))
    }
}

/// Whether the fill value of a dataset refers to its file: in a copy by the library it would lead nowhere (2.2.0,
/// `H5Ofill.c`).
fn fills_with_references(dataset: &Id) -> Result<bool> {
    let pointers = ffi::pointers(&ffi::type_of(dataset)?);
    let stays = pointers.is_ok_and(|pointers| pointers.is_empty());
    Ok(!stays && ffi::has_fill_value(&ffi::creation_list(dataset)?)?)
}

/// Copies a node, what it refers to included. Links other than hard ones stay what they are.
pub fn copy(node: &Object, to: &Id, new_name: &str) -> Result<()> {
    let (Object::Group(from) | Object::Dataset(from)) = node;
    let (new_name, links) = (text(new_name)?, names::creation()?);
    let list = ffi::create_list(&H5P_OBJECT_COPY)?;
    ffi::set(
        &list,
        &[Property::CopyFlags(H5O_COPY_EXPAND_REFERENCE_FLAG)],
    )?;
    ffi::copy_object(from, to, &new_name, &list, links)
}
