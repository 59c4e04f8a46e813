//! Datasets: how they are stored, and making them.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;

use anyhow::{Result, ensure};
use hdf5::globals::{H5P_DATASET_ACCESS, H5P_DATASET_CREATE};
use hdf5_sys::h5::{haddr_t, hsize_t};
use hdf5_sys::h5d::*;
use hdf5_sys::h5p::*;
use hdf5_sys::h5s::*;
use hdf5_sys::h5t::*;

use super::super::watch::sync;
use super::links::link_creation;
use super::types::{dtype, has_text, type_of};
use super::{Id, dims, done, failure, id, plist, space, text};
use crate::store::spec::ArraySpec;

/// What a chunk of a dataset is in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawChunk {
    /// Its position in the chunk grid, last axis fastest.
    pub number: u64,
    /// From the start of the file.
    pub address: u64,
    pub size: u64,
    /// Bit i set: filter i was skipped.
    pub mask: u32,
}

/// Where the values of a dataset lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// In one piece at this address; `None` while nothing was written.
    Contiguous(Option<u64>),
    Chunked(Vec<u64>),
    /// Anything that only the library reads.
    Other(&'static str),
}

/// One filter of a dataset's pipeline: registered number, parameters, name.
pub type RawFilter = (u32, Vec<u32>, String);

/// Shape and type of a dataset; an error where its chunks have another rank, by which the library divides by zero
/// (CVE-2026-19025).
pub fn spec(dataset: &Id) -> Result<ArraySpec> {
    // SAFETY: asks for type, space and properties of an open dataset; no room for dimensions is given.
    let (of, space, chunk_rank) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        let space = id(H5Dget_space(dataset.0))?;
        let list = id(H5Dget_create_plist(dataset.0))?;
        let chunk_rank = match H5Pget_layout(list.0) {
            H5D_layout_t::H5D_CHUNKED => Some(H5Pget_chunk(list.0, 0, null_mut())),
            _ => None,
        };
        Ok::<_, anyhow::Error>((of, space, chunk_rank))
    })?;
    let shape = dims(&space)?;
    let rank = shape.as_ref().map_or(0, Vec::len);
    ensure!(
        chunk_rank.is_none_or(|chunk| usize::try_from(chunk) == Ok(rank)),
        "Its chunks have another number of axes than its {rank}"
    );
    Ok(ArraySpec {
        null: shape.is_none(),
        shape: shape.unwrap_or_default(),
        dtype: dtype(&of)?,
    })
}

/// Where the values of a dataset lie, and through which filters its chunks went.
pub fn storage(dataset: &Id, rank: usize) -> Result<(Layout, Vec<RawFilter>)> {
    // SAFETY: asks for properties of an open dataset; the array of dimensions has room for its rank.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        let filters = filters(&list)?;
        let layout = match H5Pget_layout(list.0) {
            H5D_layout_t::H5D_CONTIGUOUS if H5Pget_external_count(list.0) > 0 => {
                Layout::Other("external storage")
            }
            H5D_layout_t::H5D_CONTIGUOUS => {
                let at = H5Dget_offset(dataset.0);
                Layout::Contiguous((at != haddr_t::MAX).then_some(at))
            }
            H5D_layout_t::H5D_CHUNKED => {
                let mut dims = vec![0 as hsize_t; rank];
                done(H5Pget_chunk(list.0, rank as c_int, dims.as_mut_ptr()))?;
                Layout::Chunked(dims)
            }
            H5D_layout_t::H5D_COMPACT => Layout::Other("compact storage"),
            H5D_layout_t::H5D_VIRTUAL => Layout::Other("a virtual dataset"),
            _ => return Err(failure()),
        };
        Ok((layout, filters))
    })
}

/// Whether a dataset went through no filters but those that every reader has: of the library, and lzf of h5py.
pub(super) fn has_own_filters(dataset: &Id) -> Result<bool> {
    const LZF: u32 = 32000;
    // SAFETY: asks for properties of an open dataset.
    let filters = sync(|| unsafe { filters(&id(H5Dget_create_plist(dataset.0))?) })?;
    Ok(filters.iter().all(|(id, ..)| *id < 256 || *id == LZF))
}

/// SAFETY of the caller: under the lock, with an open creation list.
unsafe fn filters(list: &Id) -> Result<Vec<RawFilter>> {
    // SAFETY: both buffers are as long as announced.
    unsafe {
        let count = H5Pget_nfilters(list.0);
        done(count)?;
        (0..count as c_uint)
            .map(|i| {
                let (mut flags, mut len, mut config) = (0, 64, 0);
                let mut values = vec![0; len];
                let mut name = [0u8; 128];
                let filter = H5Pget_filter2(
                    list.0,
                    i,
                    &mut flags,
                    &mut len,
                    values.as_mut_ptr(),
                    name.len() - 1,
                    name.as_mut_ptr().cast(),
                    &mut config,
                );
                done(filter)?;
                values.truncate(len);
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                Ok((
                    filter as u32,
                    values,
                    String::from_utf8_lossy(name).into_owned(),
                ))
            })
            .collect()
    }
}

/// The chunks of a dataset that were written, sorted by number. `chunk` and `shape` are of the same rank. `None` where
/// the library does not tell their places: of an extensible array, which is the index of chunks where one axis alone
/// is unlimited, it tells those that they would have if that axis were the first.
pub fn chunks(dataset: &Id, shape: &[u64], chunk: &[u64]) -> Result<Option<Vec<RawChunk>>> {
    let unlimited = unlimited(dataset, shape.len())?;
    if matches!(unlimited[..], [axis] if axis > 0) {
        return Ok(None);
    }
    let count = |(s, c): (&u64, &u64)| s.div_ceil(*c);
    let counts: Vec<u64> = shape.iter().zip(chunk).map(count).collect();
    let (mut found, mut bad) = (vec![], false);
    each_chunk(dataset, shape.len(), &mut |offset, mut raw| {
        for (axis, &at) in offset.iter().enumerate() {
            let position = at / chunk[axis];
            bad |= position >= counts[axis];
            raw.number = raw.number.wrapping_mul(counts[axis]);
            raw.number = raw.number.wrapping_add(position);
        }
        bad |= raw.address == haddr_t::MAX;
        found.push(raw);
    })?;
    ensure!(!bad, "Its list of chunks is damaged");
    found.sort_unstable_by_key(|c| c.number);
    ensure!(
        found.windows(2).all(|w| w[0].number != w[1].number),
        "Its list of chunks names one chunk twice"
    );
    Ok(Some(found))
}

/// Bytes of the smallest chunk that was written, as filtered.
pub fn smallest_chunk(dataset: &Id, rank: usize) -> Result<Option<u64>> {
    let mut least = None;
    each_chunk(dataset, rank, &mut |_, raw| {
        least = Some(least.map_or(raw.size, |least: u64| least.min(raw.size)));
    })?;
    Ok(least)
}

/// The axes of a dataset that may grow without end.
fn unlimited(dataset: &Id, rank: usize) -> Result<Vec<usize>> {
    let mut most = vec![0; rank];
    // SAFETY: the array has room for the rank of the dataset.
    sync(|| unsafe {
        let space = id(H5Dget_space(dataset.0))?;
        ensure!(
            H5Sget_simple_extent_ndims(space.0) == rank as c_int,
            "Its rank changes"
        );
        done(H5Sget_simple_extent_dims(
            space.0,
            null_mut(),
            most.as_mut_ptr(),
        ))
    })?;
    Ok((0..rank)
        .filter(|&axis| most[axis] == H5S_UNLIMITED)
        .collect())
}

/// Calls `each` with the position of the first element of each chunk that was written, as the library tells it, and
/// the chunk, its number 0.
fn each_chunk(dataset: &Id, rank: usize, each: &mut dyn FnMut(&[u64], RawChunk)) -> Result<()> {
    struct Visit<'a> {
        rank: usize,
        each: &'a mut dyn FnMut(&[u64], RawChunk),
    }
    unsafe extern "C" fn visit(
        offset: *const hsize_t,
        mask: c_uint,
        address: haddr_t,
        size: hsize_t,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: `data` is the visit given below; `offset` has as many entries as the dataset has axes.
        let (visit, offset) = unsafe {
            let visit = &mut *data.cast::<Visit>();
            (
                &mut *visit.each,
                std::slice::from_raw_parts(offset, visit.rank),
            )
        };
        let chunk = RawChunk {
            number: 0,
            address,
            size,
            mask,
        };
        visit(offset, chunk);
        0
    }
    let mut visited = Visit { rank, each };
    let data: *mut c_void = (&raw mut visited).cast();
    // SAFETY: the callback gets `data`, which outlives the iteration and which nothing else touches meanwhile.
    sync(|| done(unsafe { H5Dchunk_iter(dataset.0, H5P_DEFAULT, Some(visit), data) }))
}

/// The value of elements that were never written, `size` bytes.
pub fn fill_value(dataset: &Id, size: usize) -> Result<Vec<u8>> {
    let mut value = vec![0; size];
    // SAFETY: the buffer holds one value of the dataset's own type, which is `size` bytes wide.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        let of = id(H5Dget_type(dataset.0))?;
        if H5Tget_size(of.0) == size {
            let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_DEFAULT;
            done(H5Pfill_value_defined(list.0, &mut defined))?;
            if defined == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED {
                done(H5Pget_fill_value(list.0, of.0, value.as_mut_ptr().cast()))?;
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(value)
}

/// How a new dataset is to be stored.
pub struct Creation<'a> {
    /// In one piece, its space taken at once, when there are none.
    pub chunk: Option<&'a [u64]>,
    /// Registered number and parameters.
    pub filters: &'a [(u32, Vec<u32>)],
    pub growing: bool,
}

pub fn create_dataset(parent: &Id, path: &str, spec: &ArraySpec, how: &Creation) -> Result<Id> {
    let (name, links, list) = (text(path)?, link_creation()?, plist(&H5P_DATASET_CREATE)?);
    let access = plist(&H5P_DATASET_ACCESS)?;
    let of = type_of(&spec.dtype)?;
    let space = match spec.null {
        // SAFETY: makes a null dataspace.
        true => sync(|| id(unsafe { H5Screate(H5S_class_t::H5S_NULL) }))?,
        false => space(&spec.shape, how.growing)?,
    };
    // SAFETY: the name is a C string; arrays are as long as announced.
    sync(|| unsafe {
        if let Some(chunk) = how.chunk {
            done(H5Pset_chunk(list.0, chunk.len() as c_int, chunk.as_ptr()))?;
            // Chunks are written in order, so that the library need hold only one (text, whose values are 16 bytes).
            let bytes = chunk.iter().product::<u64>() as usize * spec.dtype.size().max(16);
            done(H5Pset_chunk_cache(access.0, 1, bytes, 1.0))?;
            for (filter, values) in how.filters {
                done(H5Pset_filter(
                    list.0,
                    *filter as c_int,
                    hdf5_sys::h5z::H5Z_FLAG_OPTIONAL,
                    values.len(),
                    values.as_ptr(),
                ))?;
            }
        } else if !has_text(&spec.dtype) && !spec.null {
            done(H5Pset_alloc_time(
                list.0,
                H5D_alloc_time_t::H5D_ALLOC_TIME_EARLY,
            ))?;
            done(H5Pset_fill_time(
                list.0,
                H5D_fill_time_t::H5D_FILL_TIME_NEVER,
            ))?;
        }
        done(H5Pset_obj_track_times(list.0, 0))?;
        id(H5Dcreate2(
            parent.0,
            name.as_ptr(),
            of.0,
            space.0,
            links.0,
            list.0,
            access.0,
        ))
    })
}

/// Where a contiguous dataset begins in its file; `None` while it has no space.
pub fn offset(dataset: &Id) -> Option<u64> {
    // SAFETY: asks for the address of an open dataset.
    let at = sync(|| unsafe { H5Dget_offset(dataset.0) });
    (at != haddr_t::MAX).then_some(at)
}

/// What the values of a dataset take in its file, as filtered; 0 while nothing was written.
pub fn stored_bytes(dataset: &Id) -> u64 {
    // SAFETY: asks for a property of an open dataset.
    sync(|| unsafe { H5Dget_storage_size(dataset.0) })
}

pub fn set_extent(dataset: &Id, shape: &[u64]) -> Result<()> {
    // SAFETY: the shape has the rank of the dataset, which was made with it.
    sync(|| done(unsafe { H5Dset_extent(dataset.0, shape.as_ptr()) }))
}
