//! The folder of an array as zarrs sees it: where the compressor is one that it does not know, chunks are decompressed
//! on the way to it.
//!
//! zarrs is then told that there is no compressor. A chunk is decompressed as a whole, whatever part of it is asked
//! for.

use std::path::Path;

use anyhow::Result;
use zarrs::filesystem::FilesystemStore;
use zarrs::storage::byte_range::{ByteRangeIterator, extract_byte_ranges};
use zarrs::storage::{Bytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey};

use crate::codec::{self, Filter};

pub struct Decoded {
    folder: FilesystemStore,
    filter: Option<Filter>,
    /// Bytes that a chunk may have.
    most: u64,
}

impl Decoded {
    pub fn new(folder: &Path, filter: Option<Filter>, most: u64) -> Result<Decoded> {
        Ok(Decoded {
            folder: FilesystemStore::new(folder)?,
            filter,
            most,
        })
    }
}

impl ReadableStorageTraits for Decoded {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(filter) = &self.filter else {
            return self.folder.get_partial_many(key, ranges);
        };
        let Some(stored) = self.folder.get(key)? else {
            return Ok(None);
        };
        let bytes = codec::decode_alone(filter, &stored, self.most);
        let bytes = bytes.map_err(|e| StorageError::Other(format!("{e:#}")))?;
        let parts = extract_byte_ranges(&bytes, ranges)?;
        let parts = parts.into_iter().map(|part| Ok(Bytes::from(part)));
        Ok(Some(Box::new(parts.collect::<Vec<_>>().into_iter())))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        self.folder.size_key(key)
    }

    fn supports_get_partial(&self) -> bool {
        self.filter.is_none() && self.folder.supports_get_partial()
    }
}
