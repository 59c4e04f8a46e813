//! How an array that is written is cut into chunks.

use std::ops::Range;

use anyhow::{Context, Result};

use super::dtype::items;
use crate::store::Rows;

/// Bytes of a chunk before compression: small enough to fetch a few rows, large enough for few files.
pub const CHUNK_BYTES: u64 = 2 << 20;
/// Rows of more bytes are cut into several chunks.
pub const MAX_ROW_BYTES: u64 = 64 << 20;

/// How the elements of an array are cut into chunks: `[1, .., 1, n, all, .., all]`, with `n` on axis `axis`.
pub struct Cut {
    pub chunk: Vec<u64>,
    pub axis: usize,
    /// Elements of a chunk.
    pub items: usize,
    /// Elements that lie one after another before the numbers of the axes before `axis` change.
    run: usize,
}

impl Cut {
    /// Chunks of about `chunk_bytes`; rows of more than `max_row_bytes` are cut. `item` is the bytes of an element.
    pub fn new(
        shape: &[u64],
        rows: Rows,
        item: usize,
        chunk_bytes: u64,
        max_row_bytes: u64,
    ) -> Result<Cut> {
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
        if let Some(n) = chunk.get_mut(axis) {
            let most = match rows {
                Rows::Growing if axis == 0 => u64::MAX,
                _ => *n,
            };
            *n = (chunk_bytes / step(axis)).clamp(1, most);
        }
        let count = items(&chunk).and_then(|n| usize::try_from(n).ok());
        let run = match axis {
            0 => Some(usize::MAX),
            _ => items(&shape[axis..]).and_then(|n| usize::try_from(n).ok()),
        };
        let (items, run) = count.zip(run).context("Its shape is too large")?;
        Ok(Cut {
            chunk,
            axis,
            items,
            run,
        })
    }

    /// Cuts `items` elements, the first of which starts a chunk, at the edges of chunks.
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

    /// The file name of the `n`th chunk.
    pub fn key(&self, mut n: u64, shape: &[u64]) -> String {
        let mut at = vec![0; self.chunk.len()];
        for axis in (1..=self.axis).rev() {
            let count = shape[axis].div_ceil(self.chunk[axis]);
            at[axis] = n % count;
            n /= count;
        }
        match at.first_mut() {
            Some(first) => *first = n,
            None => return "0".into(),
        }
        let names: Vec<String> = at.iter().map(u64::to_string).collect();
        names.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_a_useful_size() {
        let cut = |shape: &[u64], rows| {
            Cut::new(shape, rows, 4, CHUNK_BYTES, MAX_ROW_BYTES)
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
