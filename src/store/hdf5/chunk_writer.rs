//! Writing chunks: rows are gathered to whole ones, which the pool encodes and the library takes as they are.
//!
//! Rows that do not fill a chunk wait in memory: one chunk of a dataset. Chunks are encoded by all threads; the
//! library, of which one thread at a time can be inside, gets them in their order, and writes them without a look.
//! Where the order would hold up too many, it is given up (`store/io/order.rs`).

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use rayon::prelude::*;

use super::ffi::{self, Id};
use crate::codec::{self, Filter};
use crate::store::io::assembly::Assembly;
use crate::store::io::order::InOrder;
use crate::store::io::{raw, work};
use crate::store::spec::ArraySpec;

/// The chunks of one dataset: whole rows, so a chunk is a run of bytes of the stream of rows.
pub struct ChunkWriter {
    /// Its sides in values: some rows, and all of the other axes.
    chunk: Vec<u64>,
    filters: Vec<Filter>,
    pub growing: bool,
    /// Rows that do not fill a chunk yet.
    open: Vec<u8>,
    /// Rows that went into chunks.
    written: u64,
}

impl ChunkWriter {
    pub fn new(chunk: Vec<u64>, filters: Vec<Filter>, growing: bool) -> ChunkWriter {
        ChunkWriter {
            chunk,
            filters,
            growing,
            open: vec![],
            written: 0,
        }
    }

    /// Takes whole rows, in order; writes the chunks that are full then.
    pub fn append(&mut self, id: &Id, spec: &mut ArraySpec, bytes: &[u8]) -> Result<()> {
        let size = self.chunk_bytes(spec);
        let mut rest = bytes;
        if !self.open.is_empty() {
            // What was begun is filled up first.
            let missing = (size - self.open.len()).min(rest.len());
            self.open.extend_from_slice(&rest[..missing]);
            rest = &rest[missing..];
            if self.open.len() < size {
                return Ok(());
            }
            let full = std::mem::take(&mut self.open);
            self.write(id, spec, &full)?;
            self.open = full;
            self.open.clear();
        }
        let whole = rest.len() - rest.len() % size;
        self.write(id, spec, &rest[..whole])?;
        if self.open.capacity() < size && whole < rest.len() {
            self.open.reserve_exact(size);
        }
        self.open.extend_from_slice(&rest[whole..]);
        Ok(())
    }

    /// As [`Appender::append_parts`](super::write::Appender::append_parts), to all datasets with these `ids`: a chunk is
    /// encoded as it is complete, and written after those before it.
    pub fn append_parts(
        &mut self,
        ids: &[&Id],
        spec: &mut ArraySpec,
        count: u64,
        give: impl FnOnce(raw::Take) -> Result<bool>,
    ) -> Result<bool> {
        let (size, row) = (self.chunk_bytes(spec), spec.row_bytes());
        if row == 0 {
            return Ok(false);
        }
        let head = std::mem::take(&mut self.open);
        let before = head.len() as u64;
        let end = before + count * row;
        // Rows of chunks that are whole when all have come. The rest is the next head.
        let complete = end / size as u64 * self.chunk[0];
        if self.growing && complete > 0 {
            spec.shape[0] = self.written + complete;
            ids.iter()
                .try_for_each(|id| ffi::set_extent(id, &spec.shape))?;
        }
        // In their order, so that the same values make the same file; but where too many wait for one before them.
        let order = Mutex::new(InOrder::default());
        let write = |chunk: u64, bytes: &[u8]| {
            let encoded = self.encoded(bytes)?;
            let len = encoded.1.len();
            let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
            order.take(chunk, encoded, len, |chunk, (mask, bytes)| {
                let first = self.written + chunk * self.chunk[0];
                let write = |id: &&Id| self.write_chunk(id, first, *mask, bytes);
                ids.iter().try_for_each(write)
            })
        };
        let assembly = Assembly::new(size, head, &write)?;
        let given = give(&|first, bytes| assembly.put(before + first * row, bytes))?;
        let open = assembly.finish(if given { end } else { before })?;
        self.open = open;
        self.written += if given { complete } else { 0 };
        Ok(given)
    }

    /// Whether what comes next makes the same chunks here and there.
    pub fn is_as(&self, other: &ChunkWriter) -> bool {
        let how = |writer: &ChunkWriter| (writer.growing, writer.written);
        how(self) == how(other)
            && self.chunk == other.chunk
            && self.filters == other.filters
            && self.open == other.open
    }

    /// Goes on where another is.
    pub fn catch_up(&mut self, other: &ChunkWriter) {
        self.written = other.written;
        self.open.clone_from(&other.open);
    }

    /// A whole chunk as it is stored, and which filters it went without.
    fn encoded(&self, chunk: &[u8]) -> Result<(u32, Vec<u8>)> {
        work::encoded();
        let mut out = Vec::new();
        let mask = codec::encode(&self.filters, chunk, &mut out)?;
        Ok((mask, out))
    }

    /// Writes a chunk whose first row is `first`.
    fn write_chunk(&self, id: &Id, first: u64, mask: u32, chunk: &[u8]) -> Result<()> {
        let mut origin = vec![0; self.chunk.len()];
        origin[0] = first;
        ffi::write_chunk(id, &origin, mask, chunk)?;
        work::written(chunk.len());
        Ok(())
    }

    fn chunk_bytes(&self, spec: &ArraySpec) -> usize {
        (self.chunk[0] * spec.row_bytes()) as usize
    }

    /// Encodes and writes whole chunks.
    fn write(&mut self, id: &Id, spec: &mut ArraySpec, bytes: &[u8]) -> Result<()> {
        let size = self.chunk_bytes(spec);
        // The library takes no chunk beyond the shape.
        if self.growing && !bytes.is_empty() {
            spec.shape[0] = self.written + (bytes.len() / size) as u64 * self.chunk[0];
            ffi::set_extent(id, &spec.shape)?;
        }
        let batch = size * 4 * rayon::current_num_threads();
        for batch in bytes.chunks(batch) {
            let encoded = batch.par_chunks(size).map(|chunk| self.encoded(chunk));
            for (mask, chunk) in encoded.collect::<Result<Vec<_>>>()? {
                self.write_chunk(id, self.written, mask, &chunk)?;
                self.written += self.chunk[0];
            }
        }
        Ok(())
    }

    /// Sets the number of rows where it was not known, and writes the last chunk, padded with zeros.
    pub fn finish(&mut self, id: &Id, spec: &mut ArraySpec) -> Result<()> {
        // Before the chunk: where it shrinks a dataset, the library decodes the last chunk, and fails where that is
        // stored without one of its filters.
        if self.growing {
            spec.shape[0] = self.written + self.open.len() as u64 / spec.row_bytes().max(1);
            ffi::set_extent(id, &spec.shape)?;
        }
        if self.open.is_empty() {
            return Ok(());
        }
        let mut last = std::mem::take(&mut self.open);
        last.resize(self.chunk_bytes(spec), 0);
        let (mask, chunk) = self.encoded(&last)?;
        self.write_chunk(id, self.written, mask, &chunk)
    }
}
