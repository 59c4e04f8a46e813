//! Chunks put together from parts of a stream of bytes, which come in any order and from many threads.
//!
//! A chunk begins when its first part comes, so as many are in memory as threads are at work on, and no two threads
//! wait for each other but to copy into the same chunk. Locks: the list of open chunks, for a look; then the chunk,
//! while a part is copied, and while it is written, when nobody else has a part of it. A part that is a whole chunk
//! goes by both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

/// Writes a chunk: its number from the start of the stream, and its bytes.
type Write<'a> = &'a (dyn Fn(u64, &[u8]) -> Result<()> + Sync);

/// A stream that is cut into chunks of `size` bytes. The thread that completes a chunk writes it.
pub struct Assembly<'a> {
    size: usize,
    write: Write<'a>,
    /// Chunks that have some of their bytes.
    open: Mutex<BTreeMap<u64, Arc<Mutex<Open>>>>,
    /// Memory of chunks that were written.
    spare: Mutex<Vec<Vec<u8>>>,
    put: AtomicU64,
}

#[derive(Default)]
struct Open {
    bytes: Vec<u8>,
    filled: usize,
}

impl<'a> Assembly<'a> {
    /// `head` is the start of the first chunk, shorter than one.
    pub fn new(size: usize, head: Vec<u8>, write: Write<'a>) -> Result<Assembly<'a>> {
        ensure!(head.len() < size, "A head of {} bytes", head.len());
        let put = AtomicU64::new(head.len() as u64);
        let first = Open {
            filled: head.len(),
            bytes: head,
        };
        let open = match first.filled {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([(0, Arc::new(Mutex::new(first)))]),
        };
        Ok(Assembly {
            size,
            write,
            open: Mutex::new(open),
            spare: Mutex::default(),
            put,
        })
    }

    /// Takes the bytes that lie at `at` of the stream; none comes twice.
    pub fn put(&self, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        self.put.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let size = self.size as u64;
        while !bytes.is_empty() {
            let (chunk, within) = (at / size, (at % size) as usize);
            let (part, rest) = bytes.split_at(bytes.len().min(self.size - within));
            if part.len() == self.size {
                (self.write)(chunk, part)?
            } else {
                self.fill(chunk, within, part)?
            }
            at += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn fill(&self, chunk: u64, within: usize, part: &[u8]) -> Result<()> {
        let open = lock(&self.open).entry(chunk).or_default().clone();
        let mut open = lock(&open);
        if open.bytes.capacity() == 0 {
            open.bytes = lock(&self.spare).pop().unwrap_or_default();
            open.bytes.clear();
        }
        let end = within + part.len();
        if open.bytes.len() < end {
            let missing = self.size - open.bytes.len();
            open.bytes.reserve_exact(missing);
            open.bytes.resize(end, 0);
        }
        open.bytes[within..end].copy_from_slice(part);
        open.filled += part.len();
        if open.filled == self.size {
            lock(&self.open).remove(&chunk);
            (self.write)(chunk, &open.bytes)?;
            lock(&self.spare).push(std::mem::take(&mut open.bytes));
        }
        Ok(())
    }

    /// The start of the last chunk, which is not complete. An error unless `len` bytes came, one after another.
    pub fn finish(self, len: u64) -> Result<Vec<u8>> {
        let put = self.put.into_inner();
        ensure!(put == len, "{put} bytes came of {len}");
        let mut open = lock(&self.open);
        let (last, filled) = (len / self.size as u64, (len % self.size as u64) as usize);
        let tail = open.remove(&last).map(|chunk| {
            let mut chunk = lock(&chunk);
            (std::mem::take(&mut chunk.bytes), chunk.filled)
        });
        let (tail, found) = tail.unwrap_or_default();
        let whole = found == filled && tail.len() == filled;
        ensure!(open.is_empty() && whole, "Bytes are missing");
        Ok(tail)
    }
}

/// What a thread that panicked has left is not used: its panic ends the run.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rayon::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_any_order_make_the_chunks_of_the_stream(
            size in 1usize..9,
            head in 0usize..8,
            cuts in prop::collection::vec(1usize..20, 0..12),
            seed: u64,
        ) {
            let head = head.min(size - 1);
            let mut parts = vec![];
            let mut end = head;
            for cut in cuts {
                parts.push(end..end + cut);
                end += cut;
            }
            let stream: Vec<u8> = (0..end).map(|i| i as u8).collect();
            let written = Mutex::new(BTreeMap::new());
            let write = |chunk: u64, bytes: &[u8]| {
                assert!(written.lock().unwrap().insert(chunk, bytes.to_vec()).is_none());
                Ok(())
            };
            let assembly = Assembly::new(size, stream[..head].to_vec(), &write).unwrap();
            parts.sort_by_key(|part| (part.start as u64).wrapping_mul(seed | 1));
            parts.par_iter().try_for_each(|part| assembly.put(part.start as u64, &stream[part.clone()])).unwrap();
            let tail = assembly.finish(end as u64).unwrap();
            let chunks = written.into_inner().unwrap();
            prop_assert!(chunks.keys().copied().eq(0..(end / size) as u64));
            let all: Vec<u8> = chunks.into_values().flatten().chain(tail).collect();
            prop_assert_eq!(all, stream);
        }
    }

    #[test]
    fn a_gap_is_an_error() {
        let write = |_: u64, _: &[u8]| Ok(());
        let assembly = Assembly::new(4, vec![1], &write).unwrap();
        assembly.put(2, &[0; 4]).unwrap();
        assert!(assembly.finish(6).is_err());
        let assembly = Assembly::new(4, vec![], &write).unwrap();
        assembly.put(4, &[0; 2]).unwrap();
        assembly.put(0, &[0; 2]).unwrap();
        assert!(assembly.finish(4).is_err());
    }
}
