//! Dataspaces: shapes, and the places that are selected in them.

use std::ffi::c_int;

use anyhow::{Context, Result, ensure};
use hdf5_sys::h5s::*;

use super::call::{Id, ask, axes, done, id, number, opened, sync};
use crate::store::hdf5::errors::failure;

/// A space of that shape, a null one without; `growing`: its first axis may grow without end.
pub fn create_space(shape: Option<&[u64]>, growing: bool) -> Result<Id> {
    let mut most = shape.unwrap_or_default().to_vec();
    if growing && let Some(first) = most.first_mut() {
        *first = H5S_UNLIMITED;
    }
    // SAFETY: both arrays hold as many numbers as are announced.
    id(|| unsafe {
        match shape {
            None => H5Screate(H5S_class_t::H5S_NULL),
            Some([]) => H5Screate(H5S_class_t::H5S_SCALAR),
            Some(shape) => H5Screate_simple(shape.len() as c_int, shape.as_ptr(), most.as_ptr()),
        }
    })
}

/// Places at equal distances, by axis (HDF5 manual, `H5Sselect_hyperslab`).
#[derive(Clone)]
pub struct Hyperslab {
    pub start: Vec<u64>,
    pub stride: Vec<u64>,
    pub count: Vec<u64>,
    pub block: Vec<u64>,
}

impl Hyperslab {
    /// The axis along which there is no end.
    pub fn endless_axis(&self) -> Option<usize> {
        let mut sides = self.count.iter().zip(&self.block);
        sides.position(|(&count, &block)| count == H5S_UNLIMITED || block == H5S_UNLIMITED)
    }
}

/// The first and the last place of those that are selected in a space, by axis; some are.
pub fn bounds(space: &Id) -> Result<(Vec<u64>, Vec<u64>)> {
    sync(|| {
        let (mut first, mut last) = (vec![0; rank(space)?], vec![0; rank(space)?]);
        if first.is_empty() {
            return Ok((first, last));
        }
        let (to, last_to) = (first.as_mut_ptr(), last.as_mut_ptr());
        // SAFETY: both arrays have room for a number for each axis.
        done(|| unsafe { H5Sget_select_bounds(space.0, to, last_to) })?;
        Ok((first, last))
    })
}

/// The places that are selected in a space, where they are one hyperslab.
pub fn hyperslab(space: &Id) -> Result<Option<Hyperslab>> {
    sync(|| {
        let is_one = ask(H5Sget_select_type, space) == H5S_sel_type::H5S_SEL_HYPERSLABS;
        if !is_one || number(|| ask(H5Sis_regular_hyperslab, space))? == 0 {
            return Ok(None);
        }
        let zeros = vec![0; rank(space)?];
        let mut slab = Hyperslab {
            start: zeros.clone(),
            stride: zeros.clone(),
            count: zeros.clone(),
            block: zeros,
        };
        // SAFETY: each array has room for a number for each axis.
        done(|| unsafe {
            H5Sget_regular_hyperslab(
                space.0,
                slab.start.as_mut_ptr(),
                slab.stride.as_mut_ptr(),
                slab.count.as_mut_ptr(),
                slab.block.as_mut_ptr(),
            )
        })?;
        Ok(Some(slab))
    })
}

pub fn copy_space(space: &Id) -> Result<Id> {
    opened(H5Scopy, space)
}

/// A space with the places of a hyperslab selected.
pub fn select_hyperslab(space: &Id, slab: &Hyperslab) -> Result<Id> {
    let selected = copy_space(space)?;
    let (start, stride) = (axes(&slab.start)?, axes(&slab.stride)?);
    let (count, block) = (axes(&slab.count)?, axes(&slab.block)?);
    // SAFETY: the arrays have a number for each axis that there can be.
    done(|| unsafe {
        H5Sselect_hyperslab(
            selected.0,
            H5S_seloper_t::H5S_SELECT_SET,
            start.as_ptr(),
            stride.as_ptr(),
            count.as_ptr(),
            block.as_ptr(),
        )
    })?;
    Ok(selected)
}

/// A space with the places selected that are selected in another one: all, where they are all there.
pub fn select(space: &Id, as_in: &Id) -> Result<Id> {
    sync(|| {
        if ask(H5Sget_select_type, as_in) == H5S_sel_type::H5S_SEL_ALL {
            let (shape, _) = extent(space)?.context("A space without a shape")?;
            let ones = vec![1; shape.len()];
            return if shape.is_empty() || shape.contains(&0) {
                copy_space(space)
            } else {
                select_hyperslab(
                    space,
                    &Hyperslab {
                        start: vec![0; shape.len()],
                        stride: ones.clone(),
                        count: shape,
                        block: ones,
                    },
                )
            };
        }
        ensure!(rank(space)? == rank(as_in)?, "A selection of another rank");
        let selected = copy_space(space)?;
        // SAFETY: is handed no memory.
        done(|| unsafe { H5Sselect_copy(selected.0, as_in.0) })?;
        Ok(selected)
    })
}

pub fn selected(space: &Id) -> Result<u64> {
    Ok(number(|| ask(H5Sget_select_npoints, space))? as u64)
}

/// The places that are selected in both of two hyperslabs, or all of a space without axes; `None` where there are none.
pub fn both(a: &Id, b: &Id) -> Result<Option<Id>> {
    sync(|| {
        ensure!(rank(a)? == rank(b)?, "A mapping of another rank");
        if rank(a)? == 0 {
            return copy_space(a).map(Some);
        }
        let and = H5S_seloper_t::H5S_SELECT_AND;
        // SAFETY: is handed no memory.
        let found = id(|| unsafe { H5Scombine_select(a.0, and, b.0) })?;
        Ok((selected(&found)? > 0).then_some(found))
    })
}

/// Of the places in `onto` that belong, in their order, to those in `from`, the ones that belong to places in `part`
/// too; `None` where there are none. `part` is in the space of `from`.
///
/// The library takes a tree of spans for one of one more axis when it copies it for `onto`, and reads one number beyond a
/// list of its own, which it does not use (2.2.0, `H5S__hyper_proj_int_build_proj`): valgrind tells of it.
pub fn project(from: &Id, onto: &Id, part: &Id) -> Result<Option<Id>> {
    sync(|| {
        ensure!(rank(from)? == rank(part)?, "A mapping of another rank");
        // SAFETY: is handed no memory.
        let found = id(|| unsafe { H5Sselect_project_intersection(from.0, onto.0, part.0) })?;
        Ok((selected(&found)? > 0).then_some(found))
    })
}

/// Takes places out of those that are selected in a space; both are hyperslabs, or all of a space without axes.
pub fn subtract(space: &Id, part: &Id) -> Result<()> {
    if rank(space)? == 0 {
        return done(|| ask(H5Sselect_none, space));
    }
    let without = H5S_seloper_t::H5S_SELECT_NOTB;
    // SAFETY: is handed no memory.
    done(|| unsafe { H5Smodify_select(space.0, without, part.0) })
}

pub(super) fn rank(space: &Id) -> Result<usize> {
    Ok(number(|| ask(H5Sget_simple_extent_ndims, space))? as usize)
}

/// The shape of a space, and the one to which it may grow; `None` of a null one.
pub fn extent(space: &Id) -> Result<Option<(Vec<u64>, Vec<u64>)>> {
    sync(|| {
        match ask(H5Sget_simple_extent_type, space) {
            H5S_class_t::H5S_NULL => return Ok(None),
            H5S_class_t::H5S_NO_CLASS => return Err(failure()),
            H5S_class_t::H5S_SCALAR | H5S_class_t::H5S_SIMPLE => {}
        }
        let rank = rank(space)?;
        let (mut shape, mut most) = (vec![0; rank], vec![0; rank]);
        let (to, most_to) = (shape.as_mut_ptr(), most.as_mut_ptr());
        // SAFETY: both arrays have room for as many numbers as there are axes.
        done(|| unsafe { H5Sget_simple_extent_dims(space.0, to, most_to) })?;
        Ok(Some((shape, most)))
    })
}
