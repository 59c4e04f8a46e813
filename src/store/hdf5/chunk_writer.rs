//! Writing chunks: rows are gathered to whole ones, which the pool encodes and the library takes as they are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use rayon::prelude::*;

use super::ffi::{self, Id};
use crate::codec::{self, Filter};
use crate::store::io::assembly::Assembly;
use crate::store::io::{raw, work};
use crate::store::spec::ArraySpec;

pub struct ChunkWriter {
    chunk: Vec<u64>,
    filters: Vec<Filter>,
    pub growing: bool,
    /// Rows that do not fill a chunk yet.
    open: Vec<u8>,
    /// Rows that went into chunks.
    written: u64,
}

/// What comes in about the order of its numbers, put into it.
struct InOrder<T> {
    next: u64,
    /// Those that came before their turn; `None` for what was not kept.
    waiting: BTreeMap<u64, Option<T>>,
    kept: usize,
}

impl<T> Default for InOrder<T> {
    fn default() -> InOrder<T> {
        InOrder {
            next: 0,
            waiting: BTreeMap::new(),
            kept: 0,
        }
    }
}

impl<T> InOrder<T> {
    /// Most that wait: the next goes on at once, for memory counts more than order.
    const MOST: usize = 64;

    fn take(&mut self, number: u64, what: T, put: impl Fn(u64, &T) -> Result<()>) -> Result<()> {
        let waits = number > self.next && self.kept < Self::MOST;
        if !waits {
            put(number, &what)?;
        }
        self.kept += usize::from(waits);
        self.waiting.insert(number, waits.then_some(what));
        while let Some(what) = self.waiting.remove(&self.next) {
            if let Some(what) = what {
                put(self.next, &what)?;
                self.kept -= 1;
            }
            self.next += 1;
        }
        Ok(())
    }
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

    pub fn append(&mut self, id: &Id, spec: &mut ArraySpec, bytes: &[u8]) -> Result<()> {
        let size = self.chunk_bytes(spec);
        let mut rest = bytes;
        if !self.open.is_empty() {
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

    /// As [`Appender::append_parts`](super::write::Appender::append_parts): a chunk is encoded as it is complete, and written after those before it.
    pub fn append_parts(
        &mut self,
        id: &Id,
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
        let complete = end / size as u64 * self.chunk[0];
        if self.growing && complete > 0 {
            spec.shape[0] = self.written + complete;
            ffi::set_extent(id, &spec.shape)?;
        }
        // In their order, so that the same values make the same file; but where too many wait for one before them.
        let order = Mutex::new(InOrder::default());
        let write = |chunk: u64, bytes: &[u8]| {
            let encoded = self.encoded(bytes)?;
            let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
            order.take(chunk, encoded, |chunk, (mask, bytes)| {
                self.write_chunk(id, self.written + chunk * self.chunk[0], *mask, bytes)
            })
        };
        let assembly = Assembly::new(size, head, &write)?;
        let given = give(&|first, bytes| assembly.put(before + first * row, bytes))?;
        let open = assembly.finish(if given { end } else { before })?;
        self.open = open;
        self.written += if given { complete } else { 0 };
        Ok(given)
    }

    /// A whole chunk as it is stored, and which filters it went without.
    fn encoded(&self, chunk: &[u8]) -> Result<(u32, Vec<u8>)> {
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

    /// Writes the last chunk, padded with zeros, and sets the number of rows where it was not known.
    pub fn finish(&mut self, id: &Id, spec: &mut ArraySpec) -> Result<()> {
        let row = spec.row_bytes().max(1);
        let rows = self.written + self.open.len() as u64 / row;
        if !self.open.is_empty() {
            let mut last = std::mem::take(&mut self.open);
            last.resize(self.chunk_bytes(spec), 0);
            self.write(id, spec, &last)?;
        }
        if self.growing {
            spec.shape[0] = rows;
            ffi::set_extent(id, &spec.shape)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn numbers_are_put_in_order_while_few_wait() {
        let most = InOrder::<()>::MOST as u64;
        for count in [most, 2 * most] {
            let (put, mut order) = (RefCell::new(vec![]), InOrder::default());
            for number in (1..=count).chain([0]) {
                let seen = |number, _: &u64| {
                    put.borrow_mut().push(number);
                    Ok(())
                };
                order.take(number, number, seen).unwrap();
            }
            let mut put = put.into_inner();
            assert_eq!(put.is_sorted(), count == most);
            put.sort_unstable();
            assert!(put.into_iter().eq(0..=count));
            assert!(order.waiting.is_empty() && order.kept == 0);
        }
    }
}
