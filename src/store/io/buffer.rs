//! Memory that rows are read into.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use anyhow::{Context, Result};
use memmap2::MmapMut;
use rayon::prelude::*;

/// Bytes, zero at first. Many of them lie in huge pages where the kernel grants some (madvise(2), `MADV_HUGEPAGE`):
/// to map a gigabyte in pages of 4 KiB takes longer than to read it, and rows in random order miss the TLB.
#[derive(Default)]
pub struct Buffer {
    memory: Memory,
    /// Bytes that count; those behind them are left from before.
    len: usize,
}

enum Memory {
    /// Its length is the capacity of the buffer.
    Heap(Vec<u8>),
    /// Given back to the kernel as soon as it is dropped, where a heap might keep it.
    Pages(MmapMut),
}

impl Buffer {
    /// An error where the machine has no room for `len` bytes.
    pub fn zeros(len: usize) -> Result<Buffer> {
        /// Two huge pages.
        const LEAST: usize = 4 << 20;
        let memory = if len < LEAST {
            Memory::Heap(vec![0; len])
        } else {
            let pages = MmapMut::map_anon(len).with_context(|| format!("{len} bytes"))?;
            // Elsewhere than Linux there is no such advice, and what the kernel does not grant is no error.
            #[cfg(target_os = "linux")]
            let _ = pages.advise(memmap2::Advice::HugePage);
            Memory::Pages(pages)
        };
        Ok(Buffer { memory, len })
    }

    /// No bytes, with memory for so many; an error as of [`Buffer::zeros`].
    pub fn with_room(len: usize) -> Result<Buffer> {
        let mut buffer = Buffer::zeros(len)?;
        buffer.set_len(0);
        Ok(buffer)
    }

    /// Appends bytes; where there is no room, all of them move to twice the memory.
    pub fn extend(&mut self, more: &[u8]) -> Result<()> {
        /// A huge page: threads share the work of touching fresh ones for the first time.
        const PART: usize = 2 << 20;
        let (before, len) = (self.len, self.len + more.len());
        if len > self.capacity() {
            let mut larger = Buffer::with_room(len.saturating_mul(2))?;
            larger.set_len(before);
            larger.copy_from_slice(self);
            *self = larger;
        }
        self.set_len(len);
        let parts = self[before..].par_chunks_mut(PART);
        let parts = parts.zip(more.par_chunks(PART));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    }

    /// Bytes that it may hold without moving.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.len(),
            Memory::Pages(pages) => pages.len(),
        }
    }

    /// Holds the first `len` bytes of its memory, whatever they are; at most its capacity.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Heap(vec![])
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(bytes) => &bytes[..self.len],
            Memory::Pages(pages) => &pages[..self.len],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap(bytes) => &mut bytes[..self.len],
            Memory::Pages(pages) => &mut pages[..self.len],
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        Buffer {
            len: bytes.len(),
            memory: Memory::Heap(bytes),
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        self.to_vec().into()
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Buffer) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.deref().fmt(f)
    }
}

/// Bytes that several may hold, and none changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedBuffer(Arc<Buffer>);

impl SharedBuffer {
    /// The buffer itself, to be used again; an empty one where others hold it.
    pub fn into_buffer(self) -> Buffer {
        Arc::into_inner(self.0).unwrap_or_default()
    }

    /// Its bytes, of which others keep a copy.
    /// No copy is made where nobody else holds it.
    pub fn to_mut(&mut self) -> &mut [u8] {
        let buffer: &mut Buffer = Arc::make_mut(&mut self.0);
        buffer
    }

    /// Whether both are the same memory.
    pub fn is_of(&self, other: &SharedBuffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Buffer> for SharedBuffer {
    fn from(buffer: Buffer) -> SharedBuffer {
        SharedBuffer(Arc::new(buffer))
    }
}

impl From<Vec<u8>> for SharedBuffer {
    fn from(bytes: Vec<u8>) -> SharedBuffer {
        Buffer::from(bytes).into()
    }
}
