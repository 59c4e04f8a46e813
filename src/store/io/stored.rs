//! Chunks as they are stored: bytes of a file that can be compared before they are decoded.
//!
//! Equal chunks under equal filters hold equal values, so that matrices which share their indices are found without
//! decoding them; unequal ones may still hold equal values, and then are read apart, which costs time alone.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;

use super::raw::{self, Extents};
use super::work;
use crate::codec::Filter;

/// What makes values of the stored chunks of a list of numbers: where that is the same, equal bytes are equal values.
#[derive(PartialEq)]
pub struct Recipe {
    /// Rows of a chunk; the last may have fewer.
    pub rows: u64,
    pub filters: Vec<Filter>,
    /// The value of chunks that are missing.
    pub fill: Vec<u8>,
}

/// A piece of a chunk, or all of it.
pub struct Stored {
    pub file: Arc<File>,
    pub at: u64,
    pub len: u64,
    /// HDF5's filter mask: which filters it went without.
    pub mask: u32,
}

/// Whether two chunks, each in its pieces, hold the same bytes; read only as long as they do.
pub fn are_same(one: &[Stored], other: &[Stored]) -> Result<bool> {
    /// Bytes that are compared at a time.
    const STEP: u64 = 128 << 10;
    let alike = |(a, b): (&Stored, &Stored)| a.len == b.len && a.mask == b.mask;
    if one.len() != other.len() || !one.iter().zip(other).all(alike) {
        return Ok(false);
    }
    for (a, b) in one.iter().zip(other) {
        let is_one = Arc::ptr_eq(&a.file, &b.file) && a.at == b.at;
        let mut at = if is_one { a.len } else { 0 };
        while at < a.len {
            let len = STEP.min(a.len - at) as usize;
            let same = raw::with_buffer(2 * len, |buffer| {
                let (left, right) = buffer.split_at_mut(len);
                raw::exact(&a.file, left, a.at + at)?;
                raw::exact(&b.file, right, b.at + at)?;
                anyhow::Ok(left == right)
            })?;
            work::compared(len);
            if !same {
                return Ok(false);
            }
            at += len as u64;
        }
    }
    Ok(true)
}

/// The pieces of a chunk of rows that lie in a file as they are.
pub fn plain(file: &Arc<File>, extents: &Extents, rows: Range<u64>, row: u64) -> Vec<Stored> {
    let pieces = extents.pieces(rows);
    let stored = pieces.map(|(part, at)| Stored {
        file: file.clone(),
        at,
        len: (part.end - part.start) * row,
        mask: 0,
    });
    stored.collect()
}

impl Recipe {
    /// Of rows of so many bytes that lie in a file as they are.
    pub fn plain(row: u64) -> Recipe {
        /// Bytes that count as a chunk.
        const CHUNK: u64 = 1 << 20;
        Recipe {
            rows: (CHUNK / row.max(1)).max(1),
            filters: vec![],
            fill: vec![],
        }
    }

    /// The rows of a chunk of an array of so many rows.
    pub fn rows_of(&self, chunk: u64, rows: u64) -> Range<u64> {
        let start = chunk.saturating_mul(self.rows).min(rows);
        start..start.saturating_add(self.rows).min(rows)
    }
}
