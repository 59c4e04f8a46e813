//! Reading arrays of text of any length: chunk rows decoded in parallel, of which only the texts asked for are kept.
//!
//! Where chunks hold parts of rows, texts must be put into their order. The grid does so for values of a fixed width,
//! so it is given a number for each text, its place among all texts of the chunk row: the numbers come out in order,
//! and then the texts are taken by them. So only texts that were asked for are copied.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::decoder::ChunkDecoder;
use super::text::{PLACE, Texts};
use crate::store::io::chunks::KeptChunks;
use crate::store::io::work;
use crate::store::spec::Strings;

impl ChunkDecoder {
    /// The texts of the rows in `ranges`: as many chunk rows at a time as there are threads, and of these only the
    /// texts asked for are kept.
    pub fn texts(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        let jobs = by_chunk_row(ranges, self.grid.chunk_rows());
        let mut all = Strings::default();
        for batch in jobs.chunks(rayon::current_num_threads()) {
            let parts: Vec<_> = batch
                .par_iter()
                .map(|(row, ranges)| self.texts_of_chunk_row(*row, ranges))
                .collect::<Result<_>>()?;
            parts
                .iter()
                .for_each(|(texts, _)| texts.iter().for_each(|text| all.push(text)));
            // As the grid does for numbers: a read that ends inside a chunk is likely to be continued.
            let ends_inside = |r: &Range<u64>| !r.end.is_multiple_of(self.grid.chunk_rows());
            let last = batch.last().zip(parts.into_iter().last());
            *lock(&self.texts) = last
                .filter(|((_, ranges), _)| ranges.last().is_some_and(ends_inside))
                .map(|((row, _), (_, texts))| (*row, texts));
        }
        Ok(all)
    }

    /// The texts of `ranges`, which lie in chunk row `row`, and all texts of that chunk row.
    fn texts_of_chunk_row(&self, row: u64, ranges: &[Range<u64>]) -> Result<(Strings, Arc<Texts>)> {
        let texts = self.decode_texts(row)?;
        // The grid places numbers that stand for the texts: their position among those of the chunk row.
        let per_chunk = self.grid.chunk_bytes() / PLACE;
        let rows: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        let items = self
            .shape
            .iter()
            .skip(1)
            .fold(rows, |n, &d| n.saturating_mul(d));
        let len = usize::try_from(items)
            .ok()
            .and_then(|n| n.checked_mul(PLACE));
        let mut places = vec![0; len.context("Its shape is too large")?];
        self.grid.read(
            ranges,
            &mut places,
            &KeptChunks::default(),
            |_, column, chunk| {
                let numbers = column * per_chunk..;
                for (place, number) in chunk.chunks_exact_mut(PLACE).zip(numbers) {
                    place.copy_from_slice(&number.to_ne_bytes());
                }
                Ok(())
            },
        )?;
        let mut out = Strings::default();
        for place in places.chunks_exact(PLACE) {
            let place = place.try_into().map(usize::from_ne_bytes)?;
            let (bytes, offsets) = &texts[place / per_chunk];
            let i = place % per_chunk;
            out.push(&bytes[offsets[i]..offsets[i + 1]]);
        }
        Ok((out, texts))
    }

    /// Texts and offsets as zarrs checked them: as many as there are places, in order and within the bytes.
    fn decode_texts(&self, row: u64) -> Result<Arc<Texts>> {
        if let Some((kept, texts)) = lock(&self.texts).as_ref()
            && *kept == row
        {
            return Ok(texts.clone());
        }
        let decode = |column| {
            work::decoded();
            let (bytes, offsets) = self.decode(row, column)?.into_variable()?.into_parts();
            let want = self.grid.chunk_bytes() / PLACE;
            ensure!(
                offsets.len() == want + 1,
                "A chunk of {} texts, not {want}",
                offsets.len() - 1
            );
            Ok((bytes.into_owned(), offsets.to_vec()))
        };
        // The chunks that hold the same rows, side by side.
        let columns = 0..self.grid.chunks_per_row();
        let texts = columns
            .into_par_iter()
            .map(decode)
            .collect::<Result<Texts>>()?;
        Ok(Arc::new(texts))
    }
}

/// A poisoned cache is only a cache: its content is used as it stands.
fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The ranges that lie in each chunk row, cut at its edges.
/// `[3..12]` in chunks of 5 rows are `(0, [3..5])`, `(1, [5..10])` and `(2, [10..12])`.
fn by_chunk_row(ranges: &[Range<u64>], rows: u64) -> Vec<(u64, Vec<Range<u64>>)> {
    let mut jobs: Vec<(u64, Vec<Range<u64>>)> = vec![];
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            let row = start / rows;
            let end = range.end.min((row + 1).saturating_mul(rows));
            if jobs.last().is_none_or(|(last, _)| *last != row) {
                jobs.push((row, vec![]));
            }
            if let Some((_, pieces)) = jobs.last_mut() {
                pieces.push(start..end);
            }
            start = end;
        }
    }
    jobs
}
