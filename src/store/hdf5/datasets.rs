//! Datasets: how they are stored, and making them.

use std::ffi::CString;
use std::sync::OnceLock;

use anyhow::{Result, ensure};
use hdf5::globals::{H5P_DATASET_ACCESS, H5P_DATASET_CREATE};
use hdf5_sys::h5d::{H5D_alloc_time_t, H5D_fill_time_t, H5D_layout_t};
use hdf5_sys::h5s::H5S_UNLIMITED;
use hdf5_sys::h5z::H5Z_FLAG_OPTIONAL;

use super::errors::failure;
use super::ffi::{self, Id, Mapping, Property};
use super::{attrs, names, types};
use crate::store::spec::{ArraySpec, items};

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
pub enum StorageClass {
    /// In one piece at this address; `None` while nothing was written.
    Contiguous(Option<u64>),
    Chunked(Vec<u64>),
    /// In other datasets.
    Virtual,
    /// Anything else that only the library reads.
    Other(&'static str),
}

/// One filter of a dataset's pipeline: registered number, parameters, name.
pub type RawFilter = (u32, Vec<u32>, String);

/// Shape and type of a dataset; an error where its chunks have another rank, by which the library divides by zero
/// (CVE-2026-19025).
pub fn spec(dataset: &Id) -> Result<ArraySpec> {
    let of = ffi::type_of(dataset)?;
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let shape = extent.map(|(shape, _)| shape);
    let rank = shape.as_ref().map_or(0, Vec::len);
    let list = ffi::creation_list(dataset)?;
    let is_chunked = ffi::layout(&list) == H5D_layout_t::H5D_CHUNKED;
    ensure!(
        !is_chunked || ffi::chunk_shape(&list)?.len() == rank,
        "Its chunks have another number of axes than its {rank}"
    );
    Ok(ArraySpec {
        null: shape.is_none(),
        shape: shape.unwrap_or_default(),
        dtype: types::dtype(&of)?,
    })
}

/// Where the values of a dataset lie, and through which filters its chunks went.
pub fn storage(dataset: &Id) -> Result<(StorageClass, Vec<RawFilter>)> {
    let list = ffi::creation_list(dataset)?;
    let filters = filters(&list)?;
    let layout = match ffi::layout(&list) {
        H5D_layout_t::H5D_CONTIGUOUS if !ffi::external_files(&list)?.is_empty() => {
            StorageClass::Other("external storage")
        }
        H5D_layout_t::H5D_CONTIGUOUS => StorageClass::Contiguous(ffi::offset(dataset)),
        H5D_layout_t::H5D_CHUNKED => StorageClass::Chunked(ffi::chunk_shape(&list)?),
        H5D_layout_t::H5D_COMPACT => StorageClass::Other("compact storage"),
        H5D_layout_t::H5D_VIRTUAL => StorageClass::Virtual,
        _ => return Err(failure()),
    };
    Ok((layout, filters))
}

/// Whether a dataset went through no filters but those that every reader has: of the library, and lzf of h5py.
pub fn has_own_filters(dataset: &Id) -> Result<bool> {
    const LZF: u32 = 32000;
    let filters = filters(&ffi::creation_list(dataset)?)?;
    Ok(filters.iter().all(|(id, ..)| *id < 256 || *id == LZF))
}

fn filters(list: &Id) -> Result<Vec<RawFilter>> {
    let filters = ffi::filters(list)?.into_iter();
    let named = |(id, values, name): (_, _, CString)| {
        let name = name.to_string_lossy().into_owned();
        (id, values, name)
    };
    Ok(filters.map(named).collect())
}

/// The chunks of a dataset that were written, sorted by number. `chunk` and `shape` are of the same rank. `None` where
/// the library does not tell their places: of an extensible array, which is the index of chunks where one axis alone
/// is unlimited, it tells those that they would have if that axis were the first.
pub fn chunks(dataset: &Id, shape: &[u64], chunk: &[u64]) -> Result<Option<Vec<RawChunk>>> {
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let (_, most) = extent.unwrap_or_default();
    ensure!(most.len() == shape.len(), "Its rank changes");
    let mut unlimited = (0..most.len()).filter(|&axis| most[axis] == H5S_UNLIMITED);
    if unlimited.next().is_some_and(|axis| axis > 0) && unlimited.next().is_none() {
        return Ok(None);
    }
    let count = |(s, c): (&u64, &u64)| s.div_ceil(*c);
    let counts: Vec<u64> = shape.iter().zip(chunk).map(count).collect();
    let (mut found, mut bad) = (vec![], false);
    ffi::chunks(dataset, &mut |origin, address, size, mask| {
        let mut number = 0u64;
        for ((at, side), count) in origin.iter().zip(chunk).zip(&counts) {
            let position = at / side;
            bad |= position >= *count;
            number = number.wrapping_mul(*count).wrapping_add(position);
        }
        bad |= address.is_none();
        found.push(RawChunk {
            number,
            address: address.unwrap_or_default(),
            size,
            mask,
        });
    })?;
    ensure!(!bad, "Its list of chunks is damaged");
    found.sort_unstable_by_key(|c| c.number);
    ensure!(
        found.windows(2).all(|w| w[0].number != w[1].number),
        "Its list of chunks names one chunk twice"
    );
    Ok(Some(found))
}

/// An error where a filter of the library would read past the end of a damaged chunk: `nbit` and `scaleoffset` look
/// at no length (CVE-2026-19026, -19027, -19029), `fletcher32` at none below 4 (CVE-2026-19028).
pub fn check_filters(dataset: &Id, layout: &StorageClass, filters: &[RawFilter]) -> Result<()> {
    const FLETCHER32: u32 = 3;
    if !matches!(layout, StorageClass::Chunked(_)) {
        return Ok(());
    }
    for (id, _, name) in filters {
        let reads_on = matches!(id, 5 | 6);
        ensure!(
            !reads_on,
            "Its filter {name} is not safe to undo; write it anew with `h5repack -f NONE`"
        );
    }
    if filters.iter().any(|(id, ..)| *id == FLETCHER32) {
        ensure!(
            smallest_chunk(dataset)?.is_none_or(|bytes| bytes >= 4),
            "A chunk is too short for its checksum"
        );
    }
    Ok(())
}

/// Bytes of the smallest chunk that was written, as filtered.
fn smallest_chunk(dataset: &Id) -> Result<Option<u64>> {
    let mut least: Option<u64> = None;
    ffi::chunks(dataset, &mut |_, _, size, _| {
        least = Some(least.map_or(size, |least| least.min(size)));
    })?;
    Ok(least)
}

/// The fill value: of what was never written, `size` bytes.
pub fn fill_value(dataset: &Id, size: usize) -> Result<Vec<u8>> {
    let (list, of) = (ffi::creation_list(dataset)?, ffi::type_of(dataset)?);
    let value = if ffi::type_size(&of)? == size {
        ffi::fill_value(&list, &of)?
    } else {
        None
    };
    Ok(value.unwrap_or_else(|| vec![0; size]))
}

/// How a new dataset is to be stored.
#[derive(Default)]
pub struct Creation<'a> {
    /// In one piece, its space taken at once, when there are none.
    pub chunk: Option<&'a [u64]>,
    /// Registered number and parameters.
    pub filters: &'a [(u32, Vec<u32>)],
    pub growing: bool,
    pub large_attrs: bool,
    /// Where its values lie, if in other datasets.
    pub sources: &'a [Mapping],
}

/// Makes a dataset, and the groups on the way to it. An error where something is at `path`.
pub fn create(parent: &Id, path: &str, spec: &ArraySpec, how: &Creation) -> Result<Id> {
    let (name, of) = (names::text(path)?, types::of_dtype(&spec.dtype)?);
    let space = ffi::create_space((!spec.null).then_some(&spec.shape), how.growing)?;
    let is_whole = how.chunk.is_none() && how.sources.is_empty();
    let at_once = is_whole && !types::has_text(&spec.dtype) && !spec.null;
    let made;
    let [list, access] = if is_whole && !how.large_attrs {
        lists_of_whole(at_once)?
    } else {
        made = lists(spec.dtype.size(), how, at_once)?;
        &made
    };
    let lists = [names::creation()?, list, access];
    ffi::create_dataset(parent, &name, (&of, &space), lists)
}

/// The lists for creation of and access to all datasets in one piece: to make and to close them takes the library a
/// third of what the dataset takes.
fn lists_of_whole(at_once: bool) -> Result<&'static [Id; 2]> {
    static LISTS: [OnceLock<[Id; 2]>; 2] = [const { OnceLock::new() }; 2];
    const WHOLE: Creation = Creation {
        chunk: None,
        filters: &[],
        growing: false,
        large_attrs: false,
        sources: &[],
    };
    let kept = &LISTS[usize::from(at_once)];
    if let Some(lists) = kept.get() {
        return Ok(lists);
    }
    let made = lists(0, &WHOLE, at_once)?;
    Ok(kept.get_or_init(|| made))
}

/// The lists for creation of and access to a dataset of values of `size` bytes, whose space is taken `at_once` or when
/// it is written.
fn lists(size: usize, how: &Creation, at_once: bool) -> Result<[Id; 2]> {
    let list = ffi::create_list(&H5P_DATASET_CREATE)?;
    let access = ffi::create_list(&H5P_DATASET_ACCESS)?;
    if let Some(chunk) = how.chunk {
        ffi::set(&list, &[Property::ChunkShape(chunk)])?;
        // Chunks are written in order, so that the library need hold only one (text, whose values are 16 bytes).
        let bytes = items(chunk) as usize * size.max(16);
        ffi::set(&access, &[Property::ChunkCache(1, bytes, 1.0)])?;
        for (filter, values) in how.filters {
            let filter = Property::Filter(*filter, H5Z_FLAG_OPTIONAL, values);
            ffi::set(&list, &[filter])?;
        }
    }
    for mapping in how.sources {
        ffi::add_mapping(&list, mapping)?;
    }
    if at_once {
        let at_once = Property::AllocTime(H5D_alloc_time_t::H5D_ALLOC_TIME_EARLY);
        let never = Property::FillTime(H5D_fill_time_t::H5D_FILL_TIME_NEVER);
        ffi::set(&list, &[at_once, never])?;
    }
    ffi::set(&list, &[Property::ObjectTimes(false)])?;
    if how.large_attrs {
        ffi::set(&list, &[attrs::large()])?;
    }
    Ok([list, access])
}
