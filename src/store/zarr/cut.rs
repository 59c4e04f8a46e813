//! How an array that is written is cut into chunks.
//!
//! A chunk of whole rows lies in the stream of rows in one piece, which is why axis 0 is cut where rows are small.
//! Where a row is larger than 64 MiB a later axis is cut, and a row comes in several chunks. Sizes: what the user asks
//! (`--chunk-cells`, `--zarr-shard-size`), else bytes; at most 256 MiB, since a chunk is encoded in memory.
//!
//! A float32 matrix of 30,000 genes has rows of 120 kB, and chunks of 17 rows; a list of int32 has chunks of 524,288.
//! Rows of 20 million float32 are 80 MB: the second axis is cut, and a chunk is `[1, 524288]`.

use std::ops::Range;

use anyhow::{Context, Result};

use super::dtype::checked_items;
use crate::limits;
use crate::store::Rows;

/// Bytes of a chunk before compression: small enough to fetch a few rows, large enough for few files.
pub const CHUNK_BYTES: u64 = 2 << 20;
/// A chunk is encoded in memory: none is larger, whatever is asked.
const MAX_CHUNK_BYTES: u64 = 256 << 20;
/// Rows of more bytes are cut into several chunks.
pub const MAX_ROW_BYTES: u64 = 64 << 20;

/// How the values of an array are cut into chunks: `[1, .., 1, n, all, .., all]`, with `n` on axis `axis`.
pub struct Cut {
    pub chunk: Vec<u64>,
    pub axis: usize,
    /// Values of a chunk.
    pub items: usize,
    /// Values that lie one after another before the numbers of the axes before `axis` change.
    run: usize,
    /// Chunks of a file, along `axis`: more than 1 are a Zarr shard.
    pub per_file: u64,
}

/// How large chunks and files are to be.
#[derive(Clone, Copy, Debug)]
pub struct ChunkSizes {
    /// Bytes of a chunk.
    pub chunk: u64,
    /// Rows of a chunk, whatever their bytes.
    pub rows: Option<u64>,
    /// Bytes of a Zarr shard.
    pub shard: Option<u64>,
    /// Rows of a Zarr shard, whatever their bytes.
    pub shard_rows: Option<u64>,
}

impl ChunkSizes {
    /// Chunks of useful size, each in a file of its own.
    pub const DEFAULT: ChunkSizes = ChunkSizes {
        chunk: CHUNK_BYTES,
        rows: None,
        shard: None,
        shard_rows: None,
    };
}

impl Cut {
    /// Rows of more than `max_row_bytes` are cut. `item` is the bytes of a value.
    pub fn new(
        shape: &[u64],
        rows: Rows,
        item: usize,
        sizes: &ChunkSizes,
        max_row_bytes: u64,
    ) -> Result<Cut> {
        // Bytes from one value to the next along an axis.
        let step = |axis: usize| {
            let after = shape.iter().skip(axis + 1);
            after.fold(item.max(1) as u64, |n, &d| n.saturating_mul(d.max(1)))
        };
        let last = shape.len().saturating_sub(1);
        let axis = (0..last)
            .find(|&axis| step(axis) <= max_row_bytes)
            .unwrap_or(last);
        let mut chunk: Vec<u64> = shape.iter().map(|&d| d.max(1)).collect();
        chunk.iter_mut().take(axis).for_each(|n| *n = 1);
        let mut per_file = 1;
        if let Some(n) = chunk.get_mut(axis) {
            // No chunk reaches beyond the array, but of one that grows nobody knows its end.
            let most = match rows {
                Rows::Growing if axis == 0 => u64::MAX,
                _ => *n,
            };
            // The user counts in rows, which a later axis does not have.
            let whole_rows = |rows: Option<u64>| rows.filter(|_| axis == 0);
            let by_bytes = sizes.chunk / step(axis);
            let wanted = whole_rows(sizes.rows).unwrap_or(by_bytes);
            *n = wanted.clamp(1, most.min(MAX_CHUNK_BYTES / step(axis)).max(1));
            if let Some(bytes) = sizes.shard {
                let by_bytes = bytes / step(axis);
                let wanted = whole_rows(sizes.shard_rows).unwrap_or(by_bytes) / *n;
                per_file = wanted.clamp(1, most.div_ceil(*n).min(limits::SHARD_CHUNKS));
            }
        }
        let count = checked_items(&chunk).and_then(|n| usize::try_from(n).ok());
        let run = match axis {
            0 => Some(usize::MAX),
            _ => checked_items(&shape[axis..]).and_then(|n| usize::try_from(n).ok()),
        };
        let (items, run) = count.zip(run).context("Its shape is too large")?;
        Ok(Cut {
            chunk,
            axis,
            items,
            run,
            per_file,
        })
    }

    /// Cuts `items` values, the first of which starts a chunk, at the edges of chunks.
    /// With chunks of 4 in runs of 10, 20 values are 0..4, 4..8, 8..10, 10..14, 14..18 and 18..20.
    pub fn pieces(&self, items: usize) -> Vec<Range<usize>> {
        let mut pieces = vec![];
        let mut start = 0;
        while start < items {
            let run_end = (start / self.run)
                .saturating_add(1)
                .saturating_mul(self.run);
            let end = items.min(run_end).min(start + self.items);
            pieces.push(start..end);
            start = end;
        }
        pieces
    }

    /// Where the `n`th chunk stands in the grid of chunks.
    fn place(&self, mut n: u64, shape: &[u64]) -> Vec<u64> {
        let mut at = vec![0; self.chunk.len()];
        for axis in (1..=self.axis).rev() {
            let count = shape[axis].div_ceil(self.chunk[axis]);
            at[axis] = n % count;
            n /= count;
        }
        if let Some(first) = at.first_mut() {
            *first = n;
        }
        at
    }

    /// The file of the `n`th chunk, by its place in the grid of files.
    pub fn file(&self, n: u64, shape: &[u64]) -> Vec<u64> {
        let mut at = self.place(n, shape);
        if let Some(along) = at.get_mut(self.axis) {
            *along /= self.per_file;
        }
        at
    }

    /// Which chunk of its file the `n`th is, and how many chunks come into that file. The number of rows is not looked
    /// at where they are `growing`.
    pub fn in_file(&self, n: u64, shape: &[u64], growing: bool) -> (u64, u64) {
        let along = self.place(n, shape).get(self.axis).copied().unwrap_or(0);
        let first = along - along % self.per_file;
        let all = match shape.get(self.axis) {
            Some(len) if !(growing && self.axis == 0) => len.div_ceil(self.chunk[self.axis]),
            _ => u64::MAX,
        };
        (along - first, self.per_file.min(all - first))
    }

    /// Files of an array of this shape.
    pub fn files(&self, shape: &[u64]) -> u64 {
        let sizes = shape.iter().zip(self.file_shape());
        sizes.fold(1, |n, (len, file)| n.saturating_mul(len.div_ceil(file)))
    }

    /// The shape of what a file holds.
    pub fn file_shape(&self) -> Vec<u64> {
        let mut shape = self.chunk.clone();
        if let Some(along) = shape.get_mut(self.axis) {
            *along *= self.per_file;
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_a_useful_size() {
        let cut = |shape: &[u64], rows| {
            Cut::new(shape, rows, 4, &ChunkSizes::DEFAULT, MAX_ROW_BYTES)
                .unwrap()
                .chunk
        };
        assert!(cut(&[], Rows::Known).is_empty());
        assert_eq!(cut(&[0], Rows::Known), [1]);
        assert_eq!(cut(&[100], Rows::Known), [100]);
        assert_eq!(cut(&[0], Rows::Growing), [1 << 19]);
        assert_eq!(cut(&[1 << 30], Rows::Known), [1 << 19]);
        assert_eq!(cut(&[1 << 20, 1 << 10], Rows::Known), [512, 1 << 10]);
        assert_eq!(cut(&[5, 1 << 24], Rows::Known), [1, 1 << 24]);
        assert_eq!(cut(&[5, 1 << 25], Rows::Known), [1, 1 << 19]);
        assert_eq!(cut(&[2, 3, 1 << 25], Rows::Growing), [1, 1, 1 << 19]);
        assert_eq!(cut(&[5, 0], Rows::Known), [5, 1]);
    }
}
