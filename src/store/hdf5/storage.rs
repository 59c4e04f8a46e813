//! How the values of a dataset are reached: past the library where its storage allows, else through it.
//!
//! It is decided once for a dataset, when it is first asked: chunks whose filters are known are decoded here, one piece
//! or chunks without filters are read by position, and all else goes through the library, one thread at a time. The
//! list of chunks takes 32 bytes for each.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::datasets::{self, RawChunk, RawFilter, StorageClass};
use super::ffi::{self, Id, Sources};
use super::format::heap;
use super::{OpenFile, types, virtual_dataset};
use crate::codec::{self, Filter};
use crate::store::io::chunks::{Grid, KeptChunks};
use crate::store::io::raw;
use crate::store::io::stored::{Recipe, Stored};
use crate::store::spec::{ArraySpec, Dtype};

/// Why the library reads what lies in [`Storage::Virtual`].
pub const VIRTUAL: &str = "a virtual dataset";

/// How the values are reached.
pub enum Storage {
    /// Chunks, by their list.
    Direct(Box<ChunkReader>),
    /// As they are, in one piece or in chunks without filters.
    Plain(raw::Extents, Arc<File>),
    /// By the library, from one dataset after the other that has some of them.
    Virtual(Box<Sources>),
    /// By the library, and why.
    Library(String),
}

/// The chunks of a dataset, found by their numbers, and what the last read has kept.
pub struct ChunkReader {
    pub grid: Grid,
    filters: Vec<Filter>,
    /// Sorted by number; what is missing was never written, and is `fill`, one value, all over.
    pub index: Vec<RawChunk>,
    fill: Vec<u8>,
    file: Arc<File>,
    kept: KeptChunks,
}

impl Storage {
    /// Looks at how a dataset is stored. An error where its filters are not safe.
    pub fn find(id: &Id, spec: &ArraySpec, file: &OpenFile) -> Result<Storage> {
        let (layout, filters) = datasets::storage(id)?;
        datasets::check_filters(id, &layout, &filters)?;
        let by_library = |why: &str| Ok(Storage::Library(why.into()));
        // The first that fits counts: values that are no rows of plain bytes go to the library, however they are
        // stored.
        match layout {
            StorageClass::Virtual => {
                let sources = virtual_dataset::sources(&file.spread);
                Ok(Storage::Virtual(sources))
            }
            _ if spec.shape.is_empty() || spec.null => by_library("a scalar"),
            _ if !types::is_as_in_memory(&ffi::type_of(id)?, &spec.dtype)? => {
                by_library("bools of several bytes")
            }
            _ if item(spec) == 0 || spec.dtype.is_record_with_text() => {
                by_library("records with text")
            }
            StorageClass::Contiguous(Some(at)) => Storage::contiguous(id, spec, file, at),
            StorageClass::Contiguous(None) => by_library("nothing was written"),
            StorageClass::Other(why) => by_library(why),
            StorageClass::Chunked(chunk) => Storage::chunked(id, spec, file, (&chunk, &filters)),
        }
    }

    /// Of values in one piece from `at`.
    fn contiguous(id: &Id, spec: &ArraySpec, file: &OpenFile, at: u64) -> Result<Storage> {
        let file = file.handle(id)?;
        let row = spec.row_items().saturating_mul(item(spec) as u64);
        ensure!(
            at.saturating_add(row.saturating_mul(spec.rows())) <= file.metadata()?.len(),
            "The file ends before its values do: it is truncated"
        );
        Ok(Storage::Plain(raw::Extents::one(at, row), file))
    }

    fn chunked(
        id: &Id,
        spec: &ArraySpec,
        file: &OpenFile,
        (chunk, filters): (&[u64], &[RawFilter]),
    ) -> Result<Storage> {
        ensure!(!chunk.contains(&0), "A side of its chunks is 0");
        let (shape, item) = (&spec.shape, item(spec));
        let filter = |(number, values, name): &RawFilter| {
            Filter::from_hdf5(*number, values, item).map_err(|why| match name.as_str() {
                "" => why.to_string(),
                name => format!("{why} ('{name}')"),
            })
        };
        let filters = match filters.iter().map(filter).collect::<Result<Vec<_>, _>>() {
            Ok(filters) => filters,
            Err(why) => return Ok(Storage::Library(why)),
        };
        let Some(index) = datasets::chunks(id, shape, chunk)? else {
            let why = "chunks whose places it alone knows";
            return Ok(Storage::Library(why.into()));
        };
        let raw = file.handle(id)?;
        let ends = index.iter().map(|c| c.address.saturating_add(c.size));
        ensure!(
            ends.max().unwrap_or(0) <= raw.metadata()?.len(),
            "The file ends before its chunks do: it is truncated"
        );
        if filters.is_empty()
            && let Some(extents) = extents(shape, chunk, item, &index)
        {
            return Ok(Storage::Plain(extents, raw));
        }
        Ok(Storage::Direct(Box::new(ChunkReader {
            grid: Grid::new(shape, chunk, item, file.memory)?,
            filters,
            index,
            fill: datasets::fill_value(id, item)?,
            file: raw,
            kept: KeptChunks::default(),
        })))
    }
}

/// Bytes of a value as it is stored.
fn item(spec: &ArraySpec) -> usize {
    match &spec.dtype {
        Dtype::String => heap::REFERENCE,
        dtype => dtype.size(),
    }
}

/// Where the rows of chunks without filters lie; `None` if a chunk is missing or holds parts of rows.
fn extents(shape: &[u64], chunk: &[u64], item: usize, index: &[RawChunk]) -> Option<raw::Extents> {
    let row = shape[1..]
        .iter()
        .try_fold(item as u64, |n, &d| n.checked_mul(d))?;
    let bytes = chunk[0].checked_mul(row)?;
    let whole = chunk[1..] == shape[1..]
        && index.len() as u64 == shape[0].div_ceil(chunk[0])
        && index.iter().all(|c| c.size == bytes);
    whole.then(|| raw::Extents::of(index.iter().map(|c| c.address), chunk[0], row))
}

impl ChunkReader {
    pub fn read(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        let decode = |row, column, out: &mut [u8]| self.chunk(row, column, out);
        self.grid.read(ranges, dst, &self.kept, decode)
    }

    pub fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        let decode = |row, column, out: &mut [u8]| self.chunk(row, column, out);
        self.grid.each(rows, &self.kept, decode, take)
    }

    /// Whether every chunk of an array of so many rows was written.
    pub fn has_all(&self, rows: u64) -> bool {
        let all = rows.div_ceil(self.grid.chunk_rows());
        self.index.len() as u64 == all.saturating_mul(self.grid.chunks_per_row() as u64)
    }

    pub fn recipe(&self) -> Recipe {
        Recipe {
            rows: self.grid.chunk_rows(),
            filters: self.filters.clone(),
            fill: self.fill.clone(),
        }
    }

    /// A chunk of a list; nothing where it was not written.
    pub fn stored(&self, number: u64) -> Vec<Stored> {
        let found = self.index.binary_search_by_key(&number, |c| c.number).ok();
        let stored = found.map(|at| &self.index[at]).map(|chunk| Stored {
            file: self.file.clone(),
            at: chunk.address,
            len: chunk.size,
            mask: chunk.mask,
        });
        stored.into_iter().collect()
    }

    /// Makes `out` a whole chunk, from its chunk row and its place in it.
    fn chunk(&self, row: u64, column: usize, out: &mut [u8]) -> Result<()> {
        let number = row * self.grid.chunks_per_row() as u64 + column as u64;
        match self.index.binary_search_by_key(&number, |c| c.number) {
            Ok(at) => self.decode(&self.index[at], out),
            Err(_) => {
                raw::repeat(&self.fill, out);
                Ok(())
            }
        }
    }

    fn decode(&self, chunk: &RawChunk, out: &mut [u8]) -> Result<()> {
        let size = chunk.size as usize;
        let mut decode = || {
            // Its size is a claim of the file, for which memory is taken below.
            codec::check_stored(chunk.size, out.len() as u64)?;
            if self.filters.is_empty() {
                ensure!(size == out.len(), "Its size is wrong");
                return raw::exact(&self.file, out, chunk.address);
            }
            raw::with_buffer(size, |encoded| {
                raw::exact(&self.file, encoded, chunk.address)?;
                codec::decode(&self.filters, chunk.mask, encoded, out)
            })
        };
        decode().with_context(|| format!("Chunk {} at byte {}", chunk.number, chunk.address))
    }
}
