//! Text of any length, past the library, which takes each text from the file by itself and on one thread.
//!
//! A dataset of text holds references: a length, the address of a collection in the file's global heap, and the number
//! of an object there (HDF5 file format, "Disk Format: Level 1E - Global Heap"). Whatever is not as the format says is
//! an error here, and the caller asks the library instead.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use crate::store::io::raw;
use crate::store::spec::Strings;

/// Bytes of one reference, and of what stands before a collection and before an object, where addresses and sizes
/// take 8.
pub const REFERENCE: usize = 16;
const HEADER: usize = 16;
/// The smallest collection; writers make larger ones only for larger texts.
const COLLECTION: u64 = 4096;
/// The largest collection that is held; the library reads what lies in larger ones.
const LARGEST: u64 = 256 << 10;
/// The same for what the library would hold too: as large as this program counts in one.
pub const ANY: u64 = u32::MAX as u64;
/// Collections that a thread holds: texts that follow each other lie in few.
const HELD: usize = 8;
/// References of one parallel task.
const TASK: usize = 4096;
/// What small files may hold if they keep one text for many references.
const LEAST: u64 = 64 << 20;

/// The global heap of a file.
pub struct Heap {
    file: Arc<File>,
    /// Where its addresses count from.
    base: u64,
    /// Bytes of the file.
    size: u64,
    /// What the last read of few texts held: the next one mostly begins there.
    held: Mutex<Option<Held>>,
}

/// Text of more bytes than there can be: the library would take as much memory for it.
#[derive(Debug)]
pub struct Claimed(u64);

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claimed(bytes) = self;
        write!(
            f,
            "Its texts, or sequences, take {bytes} bytes, more than the file"
        )
    }
}

impl std::error::Error for Claimed {}

/// 4 bytes for the length, 8 for the address of a collection, 4 for the number of an object in it.
struct Reference {
    len: usize,
    address: u64,
    index: usize,
}

impl Heap {
    pub fn new(file: Arc<File>, base: u64) -> Result<Heap> {
        let size = file.metadata()?.len();
        Ok(Heap {
            file,
            base,
            size,
            held: Mutex::default(),
        })
    }

    /// The texts that `references` lead to. An error of type [`Claimed`] where they take more than the file.
    pub fn read(&self, references: &[u8]) -> Result<Strings> {
        let (references, _) = references.as_chunks::<REFERENCE>();
        let lengths = references.iter().map(|r| Reference::of(r).len as u64);
        let ends: Vec<u64> = lengths
            .scan(0, |end: &mut u64, len| {
                *end = end.saturating_add(len);
                Some(*end)
            })
            .collect();
        let total = ends.last().copied().unwrap_or(0);
        self.check(total)?;
        let mut bytes = vec![0; total as usize];
        if references.len() <= TASK {
            let kept = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let mut held = kept().take().unwrap_or_else(Held::texts);
            self.fill(references, &mut bytes, &mut held)?;
            *kept() = Some(held);
            return Ok(Strings { ends, bytes });
        }
        let mut tasks = vec![];
        let (mut rest, mut start) = (bytes.as_mut_slice(), 0);
        for (references, ends) in references.chunks(TASK).zip(ends.chunks(TASK)) {
            let end = ends.last().copied().unwrap_or(start);
            let (head, tail) = rest.split_at_mut((end - start) as usize);
            tasks.push((references, head));
            (rest, start) = (tail, end);
        }
        tasks
            .into_par_iter()
            .try_for_each_init(Held::texts, |held, (references, out)| {
                self.fill(references, out, held)
            })?;
        Ok(Strings { ends, bytes })
    }

    /// An error of type [`Claimed`] where that is more than the file.
    pub fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.size.max(LEAST) {
            Err(Claimed(bytes).into())
        } else {
            Ok(())
        }
    }

    /// What a reference leads to, whatever length it tells.
    pub fn object(&self, reference: &[u8], held: &mut Held) -> Result<Vec<u8>> {
        let reference = reference.first_chunk().map(Reference::of);
        let reference = reference.context("No reference")?;
        let collection = held.collection(self, reference.address)?;
        Ok(collection.object(reference.index)?.to_vec())
    }

    fn fill(&self, references: &[[u8; REFERENCE]], out: &mut [u8], held: &mut Held) -> Result<()> {
        let mut rest = out;
        for reference in references.iter().map(Reference::of) {
            let (to, tail) = rest.split_at_mut(reference.len);
            rest = tail;
            if reference.address > 0 {
                let text = held.collection(self, reference.address)?;
                to.copy_from_slice(text.text(&reference)?);
            }
        }
        Ok(())
    }

    /// Makes `bytes` the collection at `address`, which takes `most` bytes.
    fn load(&self, address: u64, bytes: &mut Vec<u8>, most: u64) -> Result<()> {
        let at = self.base.checked_add(address);
        let at = at.filter(|at| self.size.checked_sub(*at) >= Some(COLLECTION));
        let at = at.with_context(|| format!("No text lies at {address}"))?;
        bytes.resize(COLLECTION as usize, 0);
        raw::exact(&self.file, bytes, at)?;
        let size = word(&bytes[8..]);
        ensure!(
            bytes.starts_with(b"GCOL\x01")
                && (COLLECTION..=most.min(self.size - at)).contains(&size),
            "What lies at {at} is no collection of text, or is larger than {most} bytes"
        );
        if size > COLLECTION {
            bytes.resize(size as usize, 0);
            raw::exact(&self.file, bytes, at)?;
        }
        Ok(())
    }
}

impl Reference {
    /// Text of which the address is 0 is none; it reads as empty.
    fn of(bytes: &[u8; REFERENCE]) -> Reference {
        let address = word(&bytes[4..]);
        let len = if address == 0 { 0 } else { half(bytes) };
        Reference {
            len: len as usize,
            address,
            index: half(&bytes[12..]) as usize,
        }
    }
}

/// How many items there are, as it says, where a reference at the start of `bytes` leads to.
pub fn claim(bytes: &[u8]) -> u64 {
    let reference = bytes.first_chunk().map(Reference::of);
    reference.map_or(0, |reference| reference.len as u64)
}

/// The collections that one thread read last.
pub struct Held {
    collections: Vec<Collection>,
    latest: usize,
    /// Bytes of the largest collection that is read.
    most: u64,
}

impl Held {
    fn texts() -> Held {
        Held::up_to(LARGEST)
    }

    pub fn up_to(most: u64) -> Held {
        Held {
            collections: vec![],
            latest: 0,
            most,
        }
    }

    fn collection(&mut self, heap: &Heap, address: u64) -> Result<&Collection> {
        let is_held = |c: &Collection| c.address == address;
        if !self.collections.get(self.latest).is_some_and(is_held) {
            let known = self.collections.iter().position(is_held);
            self.latest = match known {
                Some(at) => at,
                None => self.load(heap, address)?,
            };
        }
        Ok(&self.collections[self.latest])
    }

    /// Reads a collection in place of the one that was read longest ago.
    fn load(&mut self, heap: &Heap, address: u64) -> Result<usize> {
        if self.collections.len() < HELD {
            self.collections.insert(0, Collection::default());
        } else {
            self.collections.rotate_right(1);
        }
        let collection = &mut self.collections[0];
        collection.address = 0;
        heap.load(address, &mut collection.bytes, self.most)?;
        collection.find_objects()?;
        collection.address = address;
        Ok(0)
    }
}

#[derive(Default)]
struct Collection {
    address: u64,
    bytes: Vec<u8>,
    /// Where each object lies, by its number; at 0 where there is none.
    objects: Vec<Range<u32>>,
}

impl Collection {
    fn find_objects(&mut self) -> Result<()> {
        self.objects.clear();
        let mut at = HEADER;
        while let Some(header) = self.bytes.get(at..at + HEADER) {
            let index = usize::from(u16::from_le_bytes([header[0], header[1]]));
            // What is free stands last.
            if index == 0 {
                break;
            }
            let start = (at + HEADER) as u64;
            let end = start.checked_add(word(&header[8..]));
            let end = end.filter(|&end| end <= self.bytes.len() as u64);
            let end = end.context("A text is larger than its collection")?;
            if self.objects.len() <= index {
                self.objects.resize(index + 1, 0..0);
            }
            self.objects[index] = start as u32..end as u32;
            at = (end as usize).next_multiple_of(8);
        }
        Ok(())
    }

    fn object(&self, index: usize) -> Result<&[u8]> {
        let found = self.objects.get(index).filter(|at| at.start > 0);
        let found = found.context("A text, or sequence, is not where it should be")?;
        Ok(&self.bytes[found.start as usize..found.end as usize])
    }

    fn text(&self, reference: &Reference) -> Result<&[u8]> {
        let text = self.object(reference.index)?;
        ensure!(text.len() == reference.len, "A text is of another length");
        // The library ends a text there.
        ensure!(!text.contains(&0), "A text holds a NUL");
        Ok(text)
    }
}

/// The first 8 bytes, and the first 4, as a number. The format is little-endian on every machine.
fn word(bytes: &[u8]) -> u64 {
    u64::from(half(bytes)) | u64::from(half(&bytes[4..])) << 32
}

fn half(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests;
