//! Writing a dataset, row after row.
//!
//! Without compression its space is taken at once and the pool writes to its address. With it, rows are gathered to
//! whole chunks, which the pool encodes and the library takes as they are.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::chunk_writer::ChunkWriter;
use super::{Group, Id, datasets, ffi, values};
use crate::codec::Filter;
use crate::codec::compression::Compression;
use crate::store::Rows;
use crate::store::io::raw;
use crate::store::spec::{ArraySpec, Attrs, Dtype, Kind, Strings, items};

/// Raw bytes of a chunk: small enough for the chunk cache that readers have by default (1 MiB), large enough that a
/// chunk's own cost does not count.
pub(super) const CHUNK: u64 = 256 << 10;

/// A dataset that takes rows, of which all that were announced must come.
pub struct Appender {
    id: Id,
    path: String,
    spec: ArraySpec,
    target: Target,
    /// Whether it takes more rows than it was made with.
    growing: bool,
    /// Rows appended so far.
    rows: u64,
}

/// Where rows go.
enum Target {
    /// To this address of the file, past the library.
    Contiguous {
        at: u64,
        file: Arc<File>,
    },
    Chunked(ChunkWriter),
    /// Text, and what has no rows.
    Library,
}

impl Appender {
    /// Creates the dataset: its chunks, filters and place are settled by the container of the file, its type and
    /// `rows`.
    pub(super) fn create(
        group: &Group,
        path: &str,
        spec: &ArraySpec,
        rows: Rows,
        attrs: &Attrs,
    ) -> Result<Appender> {
        let growing = rows == Rows::Growing;
        let mut spec = spec.clone();
        if growing && let Some(first) = spec.shape.first_mut() {
            *first = 0;
        }
        let filters = filters(group.file.container.compression(), &spec.dtype);
        let chunk = chunk_shape(&spec, growing, !filters.is_empty(), group);
        let raw_bytes = items(chunk.as_deref().unwrap_or_default()) * spec.dtype.size() as u64;
        let encoded = filters
            .iter()
            .map(|f| f.to_hdf5(raw_bytes as usize))
            .collect::<Result<Vec<_>>>()?;
        let how = datasets::Creation {
            chunk: chunk.as_deref(),
            filters: &encoded,
            growing,
            large_attrs: super::has_large(attrs),
            ..Default::default()
        };
        let id = datasets::create(&group.id, path, &spec, &how)?;
        super::write_attrs(&id, attrs)?;
        // Text has no bytes that could be put down: the library makes references of it, whatever the layout.
        let target = match chunk {
            Some(chunk) if spec.dtype != Dtype::String => {
                Target::Chunked(ChunkWriter::new(chunk, filters, growing))
            }
            _ => match ffi::offset(&id) {
                Some(at) if spec.dtype != Dtype::String => Target::Contiguous {
                    at,
                    file: group.file.handle(&id)?,
                },
                _ => Target::Library,
            },
        };
        Ok(Appender {
            path: super::join(&group.path(), path),
            id,
            spec,
            target,
            growing,
            rows: 0,
        })
    }

    /// Appends whole rows of a fixed width, as they are stored. An error where more come than were announced.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let context = || format!("Write '{}'", self.path);
        let row = self.spec.row_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        ensure!(
            row > 0 && (bytes.len() as u64).is_multiple_of(row),
            "Write '{}': {} bytes are no whole rows",
            self.path,
            bytes.len()
        );
        let count = bytes.len() as u64 / row;
        self.room(count)?;
        match &mut self.target {
            Target::Contiguous { at, file } => {
                raw::write(file, bytes, *at + self.rows * row).with_context(context)?;
            }
            Target::Chunked(chunked) => {
                chunked
                    .append(&self.id, &mut self.spec, bytes)
                    .with_context(context)?;
            }
            Target::Library => {
                ensure!(self.spec.dtype != Dtype::String, "'{}' is text", self.path);
                anyhow::bail!("Write '{}': it has no room for values", self.path);
            }
        }
        self.rows += count;
        Ok(())
    }

    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    /// Whether rows of another array may be [copied](Appender::append_pieces) as they lie in its file.
    pub fn takes(&self, spec: &ArraySpec) -> bool {
        self.is_placed()
            && spec.dtype == self.spec.dtype
            && spec.row_bytes() == self.spec.row_bytes()
    }

    /// Appends so many rows of each piece, as they lie in another file. False, and nothing was appended, where the
    /// kernel cannot copy them.
    pub fn append_pieces<'a>(
        &mut self,
        pieces: impl Iterator<Item = (raw::FileSpan<'a>, u64)>,
    ) -> Result<bool> {
        let row = self.spec.row_bytes();
        let Target::Contiguous { at, file } = &self.target else {
            return Ok(false);
        };
        // They count when all are copied: where one fails, other ways write the same rows to the same places again.
        let mut rows = 0;
        for (from, count) in pieces {
            self.room(rows + count)?;
            let at = *at + (self.rows + rows) * row;
            let copied = raw::transfer(&from, &raw::FileSpan { file, at }, count * row);
            if !copied.with_context(|| format!("Copy to '{}'", self.path))? {
                return Ok(false);
            }
            rows += count;
        }
        self.rows += rows;
        Ok(true)
    }

    /// Whether each value has its place in the file before it is written.
    pub fn is_placed(&self) -> bool {
        matches!(self.target, Target::Contiguous { .. })
    }

    /// Whether what comes next is stored in the same way here and there.
    pub fn is_as(&self, other: &Appender) -> bool {
        let same = match (&self.target, &other.target) {
            (Target::Contiguous { .. }, Target::Contiguous { .. }) => true,
            (Target::Chunked(one), Target::Chunked(other)) => one.is_as(other),
            _ => false,
        };
        same && self.spec == other.spec && self.rows == other.rows
    }

    /// Appends `count` rows to this array and to `others`, each of which [is as](Appender::is_as) this one. `give` hands
    /// them to what it is called with, in parts and from many threads. False, and nothing was appended, where the library
    /// writes them or `give` says so.
    pub fn append_parts(
        &mut self,
        others: &mut [&mut Appender],
        count: u64,
        give: impl FnOnce(raw::Take) -> Result<bool>,
    ) -> Result<bool> {
        self.room(count)?;
        let row = self.spec.row_bytes();
        let path = &self.path;
        let context = || format!("Write '{path}'");
        let given = match &mut self.target {
            Target::Contiguous { at, file } => {
                let first = self.rows * row;
                let mut places = vec![(&*file, *at + first)];
                for other in &*others {
                    if let Target::Contiguous { at, file } = &other.target {
                        places.push((file, *at + first));
                    }
                }
                // What is missing is seen by the sum alone: `give` hands over each row once.
                let given = AtomicU64::new(0);
                let write = |start: u64, bytes: &[u8]| {
                    given.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    let mut places = places.iter();
                    places
                        .try_for_each(|(file, at)| raw::write(file, bytes, at + start * row))
                        .with_context(context)
                };
                let done = give(&write)?;
                let given = given.into_inner();
                ensure!(
                    !done || given == count * row,
                    "Write '{path}': {given} bytes of {count} rows"
                );
                done
            }
            Target::Chunked(chunked) => {
                let ids: Vec<&Id> = others.iter().map(|other| &other.id).collect();
                let ids = [&[&self.id], ids.as_slice()].concat();
                let write = |write: raw::Take| {
                    give(&|first, bytes| write(first, bytes).with_context(context))
                };
                chunked.append_parts(&ids, &mut self.spec, count, write)?
            }
            Target::Library => false,
        };
        if given {
            self.rows += count;
            others.iter_mut().for_each(|other| other.catch_up(self));
        }
        Ok(given)
    }

    /// Goes on where another is.
    fn catch_up(&mut self, other: &Appender) {
        if let (Target::Chunked(to), Target::Chunked(from)) = (&mut self.target, &other.target) {
            to.catch_up(from);
        }
        self.rows = other.rows;
        self.spec.clone_from(&other.spec);
    }

    /// An error when more rows come than were announced.
    fn room(&self, count: u64) -> Result<()> {
        ensure!(
            self.growing || self.rows + count <= self.spec.rows(),
            "Write '{}': more than the {} rows that were announced",
            self.path,
            self.spec.rows()
        );
        Ok(())
    }

    /// Appends rows of text through the library.
    pub fn append_strings(&mut self, strings: &Strings) -> Result<()> {
        ensure!(
            self.spec.dtype == Dtype::String,
            "Append text to '{}', which holds {}",
            self.path,
            self.spec.dtype
        );
        let width = self.spec.row_items().max(1);
        ensure!(
            (strings.len() as u64).is_multiple_of(width),
            "Write '{}': {} texts are no whole rows",
            self.path,
            strings.len()
        );
        let count = strings.len() as u64 / width;
        self.room(count)?;
        if self.growing {
            self.spec.shape[0] = self.rows + count;
            ffi::set_extent(&self.id, &self.spec.shape)?;
        }
        values::write_strings(&self.id, &self.spec.shape, self.rows, strings)
            .with_context(|| format!("Write '{}'", self.path))?;
        self.rows += count;
        Ok(())
    }

    /// Writes the last chunk and closes the dataset; returns its rows. An error where some are missing.
    pub fn finish(mut self) -> Result<u64> {
        if let Target::Chunked(chunked) = &mut self.target {
            chunked
                .finish(&self.id, &mut self.spec)
                .with_context(|| format!("Write '{}'", self.path))?;
        }
        // Of rows without a value, as those of shape `[5, 0]`, none need come.
        let empty = self.spec.null || self.spec.shape.contains(&0);
        let rows = if empty { self.spec.rows() } else { self.rows };
        ensure!(
            rows == self.spec.rows(),
            "Write '{}': {} rows of the {} that were announced",
            self.path,
            self.rows,
            self.spec.rows()
        );
        self.id
            .close()
            .with_context(|| format!("Write '{}'", self.path))?;
        Ok(rows)
    }
}

/// Shuffling bytes helps integers (indices, codes, counts) and hurts floats. At the lowest level, which is the default,
/// each has an encoder that looks for no more than there is in them.
fn filters(compression: Compression, dtype: &Dtype) -> Vec<Filter> {
    let mut filters = vec![];
    match compression {
        // The last two are Zarr's: `Container::check` refuses them here.
        Compression::None | Compression::Lz4 | Compression::Zstd(_) => return filters,
        Compression::Gzip(level) => {
            let shuffles = dtype.is_integer() && dtype.size() > 1;
            if shuffles {
                filters.push(Filter::Shuffle(dtype.size()));
            }
            filters.push(match level {
                1 if shuffles => Filter::DeflatePlanes,
                1 if dtype.kind() == Some(Kind::Float) && dtype.size() == 4 => Filter::DeflateWords,
                _ => Filter::Deflate(level.into()),
            });
        }
        Compression::Lzf => filters.push(Filter::Lzf),
    }
    filters
}

/// The chunks of a new dataset: whole rows, of the group's number or bytes. `None` where it is stored in one piece.
fn chunk_shape(spec: &ArraySpec, growing: bool, filtered: bool, group: &Group) -> Option<Vec<u64>> {
    /// Bytes of the largest chunk: HDF5 has none of 4 GiB, and one is encoded in memory.
    const MOST: u64 = 256 << 20;
    if spec.shape.is_empty() || spec.null || !(growing || filtered || group.rows.is_some()) {
        return None;
    }
    if !growing && spec.shape.contains(&0) {
        return None;
    }
    // A reference to text takes 16 bytes.
    let item = spec
        .dtype
        .size()
        .max(16 * usize::from(spec.dtype == Dtype::String)) as u64;
    let row = spec.row_items().saturating_mul(item).max(1);
    let mut chunk: Vec<u64> = spec.shape.iter().map(|&d| d.max(1)).collect();
    let rows = group.rows.unwrap_or(group.chunk / row);
    let rows = rows.clamp(1, (MOST / row).max(1));
    chunk[0] = if growing { rows } else { rows.min(chunk[0]) };
    Some(chunk)
}
