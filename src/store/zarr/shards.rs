//! Zarr shards that are written: a file holds many encoded chunks and, at its end, an index that says where each lies
//! (Zarr v3, "Sharding codec", "Binary shard format").
//!
//! Chunks are appended as they come, so that a shard of any size takes no more memory than its index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::fs::Advice;
use zarrs::array::codec::Crc32cCodec;
use zarrs::array::{BytesToBytesCodecTraits, CodecOptions};

use crate::store::io::order::InOrder;
use crate::store::io::work;

/// Offset and length of a chunk that is not there.
const MISSING: [u64; 2] = [u64::MAX; 2];
/// Bytes after which the kernel is asked to begin to write them.
const FLUSH: u64 = 8 << 20;

/// Where a chunk goes.
pub struct Slot {
    /// The file, below the folder of the array.
    pub key: String,
    /// Its place in the index.
    pub at: u64,
    /// Places in the index.
    pub of: u64,
    /// Chunks that come into the file.
    pub come: u64,
}

/// The shards of one array.
pub struct Shards {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    order: InOrder<(Slot, Vec<u8>)>,
    /// By key: one, or two where a chunk did not wait for those before it.
    open: BTreeMap<String, Shard>,
}

struct Shard {
    file: File,
    /// Bytes so far: where the next chunk goes.
    end: u64,
    /// What the kernel was asked to write.
    flushed: u64,
    /// Offset and length of each chunk.
    index: Vec<[u64; 2]>,
    /// Chunks that are still to come.
    missing: u64,
}

impl Shards {
    /// Those of the array in `folder`, of which chunk `first` comes first.
    pub fn from(folder: &Path, first: u64) -> Shards {
        let state = State {
            order: InOrder::from(first),
            open: BTreeMap::new(),
        };
        Shards {
            folder: folder.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// Appends the encoded chunk of that number, after those before it as far as these do not keep it waiting.
    pub fn put(&self, number: u64, slot: Slot, encoded: Cow<[u8]>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { order, open } = &mut *state;
        let (len, encoded) = (encoded.len(), encoded.into_owned());
        order.take(number, (slot, encoded), len, |_, (slot, encoded)| {
            append(&self.folder, open, slot, encoded)
        })
    }

    /// Ends what is not full, as more was to come. There are `of` places in the index, if that is given.
    pub fn finish(self, of: Option<u64>) -> Result<()> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(
            state.order.is_empty(),
            "A chunk of a shard waits for one that did not come"
        );
        for (_, mut shard) in state.open {
            if let Some(of) = of {
                shard.index.truncate(usize::try_from(of)?);
            }
            shard.finish()?;
        }
        Ok(())
    }
}

fn append(
    folder: &Path,
    open: &mut BTreeMap<String, Shard>,
    slot: &Slot,
    encoded: &[u8],
) -> Result<()> {
    if !open.contains_key(&slot.key) {
        let shard = Shard::create(&folder.join(&slot.key), slot)?;
        open.insert(slot.key.clone(), shard);
    }
    let shard = open.get_mut(&slot.key).context("It is open")?;
    shard.append(slot.at, encoded)?;
    if shard.missing == 0
        && let Some(shard) = open.remove(&slot.key)
    {
        shard.finish()?;
    }
    Ok(())
}

/// Creates a file, and the folders below that of its array: version 3 has some for each axis.
pub fn create_file(path: &Path) -> std::io::Result<File> {
    match File::create(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            File::create(path)
        }
        created => created,
    }
}

impl Shard {
    fn create(path: &Path, slot: &Slot) -> Result<Shard> {
        Ok(Shard {
            file: create_file(path)?,
            end: 0,
            flushed: 0,
            index: vec![MISSING; usize::try_from(slot.of)?],
            missing: slot.come,
        })
    }

    fn append(&mut self, at: u64, encoded: &[u8]) -> Result<()> {
        let entry = self.index.get_mut(usize::try_from(at)?);
        let entry = entry.filter(|entry| **entry == MISSING);
        let entry = entry.with_context(|| format!("Chunk {at} of a shard has no place"))?;
        self.file.write_all(encoded)?;
        work::written(encoded.len());
        *entry = [self.end, encoded.len() as u64];
        self.end += encoded.len() as u64;
        self.missing = self.missing.saturating_sub(1);
        if self.end - self.flushed >= FLUSH {
            // A hint, so that what flushes the folder at the end waits less: the kernel begins to write what is dirty.
            let len = (self.end - self.flushed).try_into().ok();
            let _ = rustix::fs::fadvise(&self.file, self.flushed, len, Advice::DontNeed);
            self.flushed = self.end;
        }
        Ok(())
    }

    /// Writes the index, with its checksum.
    /// Little-endian, and CRC-32C: the index codecs that the metadata name.
    fn finish(mut self) -> Result<()> {
        let index = self.index.iter().flatten();
        let index: Vec<u8> = index.flat_map(|number| number.to_le_bytes()).collect();
        let len = index.len();
        let index = Crc32cCodec::new().encode(index.into(), &CodecOptions::default())?;
        ensure!(index.len() == len + 4, "A checksum of the index is missing");
        self.file.write_all(&index)?;
        work::written(index.len());
        let _ = rustix::fs::fadvise(&self.file, self.flushed, None, Advice::DontNeed);
        Ok(())
    }
}
