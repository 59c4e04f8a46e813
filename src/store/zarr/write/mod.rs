//! Writing arrays of Zarr.
//!
//! A chunk is a run of consecutive values, so a stream of rows is cut without being rearranged. Chunks are encoded and
//! written in the thread pool, each to a file of its own or to a Zarr shard; the metadata, which make the array exist,
//! are written last.
//!
//! What does not fill a chunk waits in memory, so an appender holds less than one chunk besides those that are encoded
//! at the moment. Chunks at the edges are filled up with zeros: Zarr stores all chunks of an array in one shape.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use rustix::fs::Advice;
use serde_json::{Map, Value};

use super::codec::Codec;
use super::count::Count;
use super::cut::{Cut, MAX_ROW_BYTES};
use super::describe::{self, Description};
use super::own::Own;
use super::shards::{Shards, Slot, create_file};
use super::text::{self, TEXT_BYTES};
use super::{Group, dtype, meta};
use crate::report::failure::in_element;
use crate::store::io::assembly::Assembly;
use crate::store::io::lanes::Busy;
use crate::store::io::work;
use crate::store::spec::{ArraySpec, Dtype, Strings};
use crate::store::{Rows, Take, ZarrVersion};

/// The threads that encode and write a chunk, which takes its size again, and half of that meanwhile.
static WRITING: Busy = Busy::new();
/// How many of them are enough for any disk; of many threads a fifth.
const WRITERS: usize = 8;

/// An array that takes rows; it does not exist before [`Appender::finish`] writes its metadata.
pub struct Appender {
    pub(super) folder: PathBuf,
    pub(super) path: String,
    version: ZarrVersion,
    pub(super) spec: ArraySpec,
    /// Whether the first entry of the shape counts.
    rows: Rows,
    /// Written with the metadata.
    attrs: Map<String, Value>,
    codec: Codec,
    pub(super) cut: Cut,
    /// Where files hold many chunks.
    pub(super) shards: Option<Shards>,
    /// Where other processes write chunks too.
    pub(super) own: Option<Own>,
    /// Where nothing is written, but files are counted.
    count: Option<Count>,
    /// The start of a chunk that is not complete.
    pub(super) bytes: Vec<u8>,
    /// Texts that do not fill a chunk.
    texts: Strings,
    /// Values that were appended, and chunks that were written.
    pub(super) items: u64,
    pub(super) chunks: u64,
}

impl Appender {
    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    /// For the array at `place`, whose folder is made before the first chunk is written.
    pub(super) fn new(
        place: &Group,
        spec: &ArraySpec,
        rows: Rows,
        attrs: Map<String, Value>,
    ) -> Result<Appender> {
        let container = &place.root.container;
        let (version, folder) = (container.zarr_version, place.folder());
        describe::check(version, spec)?;
        let item = match spec.dtype {
            Dtype::String => TEXT_BYTES,
            _ => spec.dtype.size(),
        };
        let cut = Cut::new(&spec.shape, rows, item, &place.sizes, MAX_ROW_BYTES)?;
        Ok(Appender {
            version,
            attrs,
            codec: Codec::new(container.compression(), &spec.dtype)?,
            shards: (cut.per_file > 1).then(|| Shards::from(&folder, 0)),
            own: None,
            count: place.root.count.clone(),
            cut,
            folder,
            path: place.path(),
            spec: spec.clone(),
            rows,
            bytes: vec![],
            texts: Strings::default(),
            items: 0,
            chunks: 0,
        })
    }

    /// Counts its files, as far as they are known before its rows.
    pub(super) fn count(&self) {
        let Some(count) = &self.count else {
            return;
        };
        if self.rows == Rows::Growing {
            count.begin_unknown();
        } else if !self.spec.null {
            count.chunks(self.cut.files(&self.spec.shape));
        }
    }

    /// Ends an array that is counted; of one that grows only now the rows are known.
    fn end_count(&mut self, count: &Count) -> u64 {
        let per_row = self.spec.row_items();
        if self.rows == Rows::Known {
            return self.spec.rows();
        }
        let rows = self.items.checked_div(per_row).unwrap_or(0);
        if let Some(first) = self.spec.shape.first_mut() {
            *first = rows;
        }
        count.end_unknown();
        count.chunks(self.cut.files(&self.spec.shape));
        rows
    }

    /// Appends values of a fixed width. What does not fill a chunk waits in memory.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.spec.dtype.size();
        ensure!(size > 0, "Append bytes to text '{}'", self.path);
        let whole = bytes.len().is_multiple_of(size);
        ensure!(whole, "Append a part of an element to '{}'", self.path);
        self.room((bytes.len() / size) as u64)?;
        self.items += (bytes.len() / size) as u64;
        if self.count.is_some() {
            return Ok(());
        }
        let chunk = self.cut.items.saturating_mul(size);
        // First what completes the chunk that waits, then whole chunks straight from `bytes`, then a new start of one.
        let missing = match self.bytes.len() {
            0 => 0,
            held => bytes.len().min(chunk - held),
        };
        let (head, rest) = bytes.split_at(missing);
        self.bytes.extend_from_slice(head);
        let mut pieces = vec![];
        if self.bytes.len() == chunk {
            pieces.push(self.bytes.as_slice());
        }
        let mut tail: &[u8] = &[];
        for piece in self.cut.pieces(rest.len() / size) {
            let piece = &rest[piece.start * size..piece.end * size];
            // A short piece at the end waits for more rows; where rows are cut it ends its row, and is a chunk.
            if self.cut.axis == 0 && piece.len() < chunk {
                tail = piece
            } else {
                pieces.push(piece)
            }
        }
        self.write(pieces.len(), |i| padded(pieces[i], chunk))?;
        self.chunks += pieces.len() as u64;
        if self.bytes.len() == chunk {
            self.bytes.clear();
        }
        if self.bytes.capacity() < chunk && !tail.is_empty() {
            self.bytes.reserve_exact(chunk);
        }
        self.bytes.extend_from_slice(tail);
        Ok(())
    }

    /// Whether what comes next is stored in the same way here and there.
    /// If so, a chunk is encoded once and written to both.
    pub fn is_as(&self, other: &Appender) -> bool {
        let how = |a: &Appender| (a.rows, a.items, a.chunks, a.cut.per_file, a.codec.v2());
        how(self) == how(other)
            && self.own.is_none()
            && other.own.is_none()
            && self.spec == other.spec
            && self.cut.chunk == other.cut.chunk
            && self.bytes == other.bytes
    }

    /// Appends `count` rows to this array and to `others`, each of which [is as](Appender::is_as) this one. `give` hands
    /// them to what it is called with, in parts and from many threads. False, and nothing was appended, where chunks are
    /// no whole rows or `give` says so.
    pub fn append_parts(
        &mut self,
        others: &mut [&mut Appender],
        count: u64,
        give: impl FnOnce(Take) -> Result<bool>,
    ) -> Result<bool> {
        let (size, row) = (
            self.cut.items * self.spec.dtype.size(),
            self.spec.row_bytes(),
        );
        if size == 0 || row == 0 || self.cut.axis > 0 || self.count.is_some() {
            return Ok(false);
        }
        let items = count * self.spec.row_items();
        self.room(items)?;
        let head = std::mem::take(&mut self.bytes);
        let before = head.len() as u64;
        let end = before + count * row;
        let all: Vec<&Appender> = others.iter().map(|other| &**other).collect();
        let write =
            |chunk: u64, bytes: &[u8]| self.write_to_all(&all, self.chunks + chunk, bytes.into());
        let assembly = Assembly::new(size, head, &write)?;
        let most = (rayon::current_num_threads() / 5).max(WRITERS);
        let given = give(&|first, bytes| {
            // While it waits a thread holds its part alone, else it may come to hold a chunk.
            WRITING.wait(most);
            assembly.put(before + first * row, bytes)
        })?;
        let open = assembly.finish(if given { end } else { before });
        self.bytes = open.with_context(|| in_element("Write", &self.path))?;
        if given {
            self.items += items;
            self.chunks += end / size as u64;
            for other in others {
                (other.items, other.chunks) = (self.items, self.chunks);
                other.bytes.clone_from(&self.bytes);
            }
        }
        Ok(given)
    }

    /// Appends texts; of these up to a chunk waits.
    pub fn append_strings(&mut self, strings: &Strings) -> Result<()> {
        ensure!(
            self.spec.dtype == Dtype::String,
            "Append text to '{}', which holds {}",
            self.path,
            self.spec.dtype
        );
        self.room(strings.len() as u64)?;
        self.items += strings.len() as u64;
        if self.count.is_some() {
            return Ok(());
        }
        strings.iter().for_each(|text| self.texts.push(text));
        let mut pieces = self.cut.pieces(self.texts.len());
        let incomplete = |p: &mut Range<usize>| self.cut.axis == 0 && p.len() < self.cut.items;
        let tail = pieces.pop_if(incomplete);
        self.write(pieces.len(), |i| {
            text::vlen(&self.texts, pieces[i].clone(), self.cut.items)
        })?;
        self.chunks += pieces.len() as u64;
        let tail = tail.unwrap_or(0..0);
        if !pieces.is_empty() {
            self.texts = tail.map(|i| self.texts.get(i)).collect();
        }
        Ok(())
    }

    /// Writes the last chunk, padded where there are others, and the metadata; returns the rows. An error where some
    /// are missing.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(count) = self.count.take() {
            return Ok(self.end_count(&count));
        }
        let per_row = self.spec.row_items();
        let rows = match self.items.checked_div(per_row) {
            Some(rows) => rows,
            // Rows of no width cannot be counted.
            None => self.spec.rows(),
        };
        let growing = self.rows == Rows::Growing;
        ensure!(
            per_row > 0 || !growing,
            "Rows of no width cannot grow: '{}'",
            self.path
        );
        let whole = rows * per_row == self.items;
        let done = self.spec.null || (whole && (growing || rows == self.spec.rows()));
        ensure!(
            done,
            "Wrote {} elements to '{}', not {} rows",
            self.items,
            self.path,
            self.spec.rows()
        );
        if growing
            && let (Some(n), Some(chunk)) =
                (self.spec.shape.first_mut(), self.cut.chunk.first_mut())
        {
            *n = rows;
            // The only chunk needs no padding.
            if self.chunks == 0 && self.cut.axis == 0 {
                *chunk = rows.clamp(1, *chunk);
                self.cut.items =
                    usize::try_from(dtype::checked_items(&self.cut.chunk).unwrap_or(0))?;
            }
        }
        if !self.bytes.is_empty() {
            let chunk = self.cut.items * self.spec.dtype.size();
            self.write(1, |_| padded(&self.bytes, chunk))?;
            self.chunks += 1;
        }
        if self.texts.len() > 0 {
            self.write(1, |_| {
                text::vlen(&self.texts, 0..self.texts.len(), self.cut.items)
            })?;
            self.chunks += 1;
        }
        self.describe(growing)?;
        Ok(rows)
    }

    /// Ends what is not full and writes the metadata.
    fn describe(&mut self, growing: bool) -> Result<()> {
        let shards = self.shards.take();
        let is_sharded = shards.is_some();
        // A growing array that ended within its first shard: the shard is as small as the array, with no places for
        // chunks that do not exist.
        let is_short = growing && self.cut.axis == 0 && self.chunks <= self.cut.per_file;
        if is_short {
            self.cut.per_file = self.chunks.max(1);
        }
        if let Some(shards) = shards {
            shards.finish(is_short.then_some(self.cut.per_file))?;
        }
        // One process writes the metadata, all others their chunks.
        if let Some(own) = &self.own {
            own.check(&self.path)?;
            if !own.describes {
                return Ok(());
            }
        }
        let shard = is_sharded.then(|| self.cut.file_shape());
        let description = Description {
            spec: &self.spec,
            chunk: &self.cut.chunk,
            shard: shard.as_deref(),
            codec: &self.codec,
        };
        match self.version {
            ZarrVersion::V2 => {
                if !self.attrs.is_empty() {
                    let attrs = Value::Object(std::mem::take(&mut self.attrs));
                    meta::write_json(&self.folder.join(meta::ATTRS), &attrs)?;
                }
                meta::write_json(&self.folder.join(meta::ARRAY), &description.v2()?)
            }
            ZarrVersion::V3 => {
                meta::write_json(&self.folder.join(meta::V3), &description.v3(&self.attrs)?)
            }
        }
    }

    /// An error when more values come than were announced.
    pub(super) fn room(&self, items: u64) -> Result<()> {
        ensure!(
            !self.spec.null,
            "Append to '{}', which holds no value",
            self.path
        );
        if self.rows == Rows::Known {
            let most = dtype::checked_items(&self.spec.shape).context("Its shape is too large")?;
            let all = self.items + items;
            ensure!(
                all <= most,
                "Append {all} elements to '{}', which has {most}",
                self.path
            );
        }
        Ok(())
    }

    /// Encodes and writes the next `count` chunks.
    fn write<'a, F>(&'a self, count: usize, chunk: F) -> Result<()>
    where
        F: Fn(usize) -> Result<Cow<'a, [u8]>> + Sync,
    {
        (0..count)
            .into_par_iter()
            .try_for_each(|i| self.write_to_all(&[], self.chunks + i as u64, chunk(i)?))
    }

    /// Encodes chunk `number` and writes it to this array and to others.
    fn write_to_all(&self, others: &[&Appender], number: u64, chunk: Cow<[u8]>) -> Result<()> {
        if self.own.as_ref().is_some_and(|own| !own.has(number)) {
            return Ok(());
        }
        let write = || -> Result<()> {
            work::encoded();
            let bytes = self.codec.encode(chunk)?;
            let mut others = others.iter();
            others.try_for_each(|other| other.store(number, Cow::Borrowed(&bytes)))?;
            self.store(number, bytes)
        };
        let written = WRITING.with(write);
        written.with_context(|| {
            format!(
                "Write chunk {number}, in {}, of '{}'",
                self.key(number),
                self.path
            )
        })
    }

    /// The file of chunk `number`, or the Zarr shard that it is in.
    fn key(&self, number: u64) -> String {
        let file = self.cut.file(number, &self.spec.shape);
        describe::key(self.version, &file)
    }

    fn slot(&self, number: u64, key: String) -> Slot {
        let growing = self.rows == Rows::Growing;
        let (at, come) = self.cut.in_file(number, &self.spec.shape, growing);
        let of = self.cut.per_file;
        Slot { key, at, of, come }
    }

    /// Writes chunk `number` as it is encoded.
    fn store(&self, number: u64, encoded: Cow<[u8]>) -> Result<()> {
        let key = self.key(number);
        self.own.iter().for_each(Own::wrote);
        if let Some(shards) = &self.shards {
            return shards.put(number, self.slot(number, key), encoded);
        }
        work::written(encoded.len());
        let mut file = create_file(&self.folder.join(&key))?;
        file.write_all(&encoded)?;
        // A hint, so that what flushes the folder at the end waits less: the kernel begins to write what is dirty.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }
}

/// A chunk at an edge is stored whole, its end filled with zeros.
fn padded(piece: &[u8], chunk: usize) -> Result<Cow<'_, [u8]>> {
    let mut piece = Cow::Borrowed(piece);
    if piece.len() < chunk {
        piece.to_mut().resize(chunk, 0);
    }
    Ok(piece)
}

#[cfg(test)]
mod tests;
