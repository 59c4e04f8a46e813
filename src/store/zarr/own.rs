//! The chunks of an array that one of several processes writes.
//!
//! Two tasks that write into one file lose what one of them wrote, so the borders are those of files: chunks, or Zarr
//! shards.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

/// Which chunks of an array a process writes.
pub struct Own {
    pub chunks: Range<u64>,
    written: AtomicU64,
    /// Whether it writes the metadata, which make the array exist.
    pub describes: bool,
}

impl Own {
    pub fn new(chunks: Range<u64>, describes: bool) -> Own {
        Own {
            chunks,
            written: AtomicU64::new(0),
            describes,
        }
    }

    pub fn has(&self, chunk: u64) -> bool {
        self.chunks.contains(&chunk)
    }

    /// Notes that a chunk was written.
    pub fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// An error where a chunk is missing.
    pub fn check(&self, path: &str) -> Result<()> {
        let (all, written) = (
            self.chunks.end - self.chunks.start,
            self.written.load(Ordering::Relaxed),
        );
        ensure!(
            all == written,
            "Wrote {written} of {all} chunks of '{path}'"
        );
        Ok(())
    }
}
