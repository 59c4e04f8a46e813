//! Two arrays that may hold the same values, compared chunk by chunk as they are stored, before either is decoded.
//!
//! Values are never taken to be the same on trust: where bytes differ, or cannot be compared, they count as differing.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::array::Array;
use super::io::stored::are_same;
use crate::limits;

/// Two lists of the same type and length, in chunks of the same shape and filters.
pub struct Twin<'a> {
    one: &'a Array,
    other: &'a Array,
    /// Rows of a chunk.
    step: u64,
    /// What is known of each chunk.
    chunks: Vec<AtomicU8>,
}

const UNKNOWN: u8 = 0;
const SAME: u8 = 1;
const DIFFERS: u8 = 2;

impl<'a> Twin<'a> {
    /// The error says why they are not compared: some of their chunks were looked at.
    pub fn of(one: &'a Array, other: &'a Array) -> Result<Twin<'a>> {
        let (spec, rows) = (one.spec(), one.spec().rows());
        ensure!(spec.shape.len() == 1, "It is no list");
        ensure!(spec == other.spec(), "Its length or type is another");
        let (recipe, its) = (one.recipe()?, other.recipe()?);
        ensure!(recipe == its, "Its chunks or filters are others");
        let step = recipe.rows;
        let count = rows.div_ceil(step);
        ensure!(
            count <= limits::COMPARED_CHUNKS,
            "It has {count} chunks, too many to compare"
        );
        let chunks = (0..count).map(|_| AtomicU8::new(UNKNOWN));
        let twin = Twin {
            one,
            other,
            step,
            chunks: chunks.collect(),
        };
        // Of matrices with other indices nearly any chunk differs: after the first, the middle and the last they are
        // given up.
        for chunk in [0, count / 2, count.saturating_sub(1)] {
            ensure!(
                count == 0 || twin.is_same_chunk(chunk)?,
                "Its chunk {chunk} differs"
            );
        }
        Ok(twin)
    }

    /// The parts of `rows` that are the same in both, and those that are not, one after another.
    ///
    /// With chunks of 10 rows, of which the third differs, rows 5 to 35 are
    /// `[(5..20, true), (20..30, false), (30..35, true)]`.
    pub fn parts(&self, rows: Range<u64>) -> Result<Vec<(Range<u64>, bool)>> {
        // All threads compare; what they find is looked up below.
        self.is_same(from_ref(&rows))?;
        let mut parts: Vec<(Range<u64>, bool)> = vec![];
        for chunk in self.chunks_of(&rows) {
            let same = self.is_same_chunk(chunk)?;
            let (start, end) = (chunk * self.step, (chunk + 1) * self.step);
            let here = start.max(rows.start)..end.min(rows.end);
            match parts.last_mut() {
                Some((part, is)) if *is == same => part.end = here.end,
                _ => parts.push((here, same)),
            }
        }
        Ok(parts)
    }

    /// Whether all of the rows in `ranges` (sorted, disjoint) are the same in both.
    pub fn is_same(&self, ranges: &[Range<u64>]) -> Result<bool> {
        let mut chunks: Vec<u64> = vec![];
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            // A chunk in which one range ends and the next begins is taken once.
            let next = chunks.last().map_or(0, |last| last + 1);
            let here = self.chunks_of(range);
            chunks.extend(here.start.max(next)..here.end);
        }
        let same = chunks
            .into_par_iter()
            .map(|chunk| self.is_same_chunk(chunk));
        same.try_reduce(|| true, |a, b| Ok(a & b))
    }

    fn chunks_of(&self, rows: &Range<u64>) -> Range<u64> {
        rows.start / self.step..rows.end.div_ceil(self.step)
    }

    fn is_same_chunk(&self, chunk: u64) -> Result<bool> {
        let known = &self.chunks[chunk as usize];
        if known.load(Ordering::Relaxed) == UNKNOWN {
            let (one, other) = (self.one.stored(chunk)?, self.other.stored(chunk)?);
            let same = match (one, other) {
                (Some(one), Some(other)) => are_same(&one, &other)?,
                _ => false,
            };
            let found = if same { SAME } else { DIFFERS };
            known.store(found, Ordering::Relaxed);
        }
        Ok(known.load(Ordering::Relaxed) == SAME)
    }
}
