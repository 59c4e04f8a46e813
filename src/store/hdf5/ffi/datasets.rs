//! Datasets: what they are, where their values lie, and their chunks.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::slice;

use anyhow::Result;
use hdf5_sys::h5::{haddr_t, hsize_t};
use hdf5_sys::{h5a::*, h5d::*, h5i::*, h5p::H5P_DEFAULT};

use super::call::{Id, answer, ask, axes, done, id, kind, opened, sync};
use super::spaces::rank;

/// The type of the values of a dataset or an attribute.
pub fn type_of(values: &Id) -> Result<Id> {
    match kind(values) {
        H5I_type_t::H5I_ATTR => opened(H5Aget_type, values),
        _ => opened(H5Dget_type, values),
    }
}

/// The dataspace of a dataset or an attribute.
pub fn space_of(values: &Id) -> Result<Id> {
    match kind(values) {
        H5I_type_t::H5I_ATTR => opened(H5Aget_space, values),
        _ => opened(H5Dget_space, values),
    }
}

/// The list that a dataset was created with.
pub fn creation_list(dataset: &Id) -> Result<Id> {
    opened(H5Dget_create_plist, dataset)
}

/// `links`, `how` and `access` are lists for the creation of links and of datasets, and for access to datasets.
pub fn create_dataset(
    parent: &Id,
    name: &CStr,
    (of, space): (&Id, &Id),
    [links, how, access]: [&Id; 3],
) -> Result<Id> {
    let (at, name) = (parent.0, name.as_ptr());
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Dcreate2(at, name, of.0, space.0, links.0, how.0, access.0) })
}

/// Where a contiguous dataset begins in its file; `None` while it has no space, for which the library tells the address
/// of none, to which it adds the bytes before a superblock.
pub fn offset(dataset: &Id) -> Option<u64> {
    address(ask(H5Dget_offset, dataset)).filter(|_| stored_bytes(dataset) > 0)
}

fn address(raw: haddr_t) -> Option<u64> {
    (raw != haddr_t::MAX).then_some(raw)
}

/// What the values of a dataset take in its file, as filtered; 0 while nothing was written.
pub fn stored_bytes(dataset: &Id) -> u64 {
    ask(H5Dget_storage_size, dataset)
}

pub fn set_extent(dataset: &Id, shape: &[u64]) -> Result<()> {
    let shape = axes(shape)?;
    // SAFETY: the array has a number for each axis.
    done(|| unsafe { H5Dset_extent(dataset.0, shape.as_ptr()) })
}

/// Takes, of a chunk that was written: the position of its first value; its address in the file, `None` where it has
/// none; its bytes, as filtered; its mask, of which bit i says that filter i was skipped.
pub type EachChunk<'a> = &'a mut dyn FnMut(&[u64], Option<u64>, u64, u32);

/// Calls `each` with each chunk of a dataset that was written.
pub fn chunks(dataset: &Id, each: EachChunk) -> Result<()> {
    type Visit<'a> = (usize, EachChunk<'a>);
    unsafe extern "C" fn visit(
        origin: *const hsize_t,
        mask: c_uint,
        at: haddr_t,
        size: hsize_t,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: `visit` is the pair given below; the origin has a number for each axis, as many as it says.
        let (origin, each) = unsafe {
            let (rank, each) = &mut *visit.cast::<Visit>();
            (slice::from_raw_parts(origin, *rank), each)
        };
        answer(-1, || {
            each(origin, address(at), size, mask);
            0
        })
    }
    sync(|| {
        let mut pair: Visit = (rank(&space_of(dataset)?)?, each);
        let data = (&raw mut pair).cast();
        // SAFETY: the callback gets the pair, which outlives the iteration and which nothing else touches meanwhile.
        done(|| unsafe { H5Dchunk_iter(dataset.0, H5P_DEFAULT, Some(visit), data) })
    })
}

/// Writes one encoded chunk at `origin`, the position of its first value. Bit i of `mask`: filter i was skipped.
pub fn write_chunk(dataset: &Id, origin: &[u64], mask: u32, bytes: &[u8]) -> Result<()> {
    let origin = axes(origin)?;
    let (at, len, from) = (origin.as_ptr(), bytes.len(), bytes.as_ptr().cast());
    // SAFETY: `origin` has a number for each axis; the buffer is as long as announced.
    done(|| unsafe { H5Dwrite_chunk(dataset.0, H5P_DEFAULT, mask, at, len, from) })
}
