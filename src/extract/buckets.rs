//! The plan of a shuffle in two stages: pure arithmetic on the order of the cells.
//!
//! The rows of the input are cut into blocks that fit in memory. What a part of the outputs takes of a block is a bucket,
//! with its rows in the order of the outputs. To scatter is to read blocks, each once, and to write their buckets; to
//! gather is to take the rows of a part from its buckets.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Context, Result};

use super::plan::{self, Budget};
use super::sizes::RowSizes;
use crate::anndata::select::Selection;
use crate::rows::buckets::{InBucket, is_packed_matrix};
use crate::rows::cost::RowCost;
use crate::rows::leaf::Leaf;
use crate::rows::ranges::steps;

/// What is written of a range of rows.
#[derive(Debug, Default, PartialEq)]
pub struct Scattered {
    /// The rows of all buckets, one bucket after another.
    pub cells: Vec<u32>,
    /// Where each bucket begins among them, and the end of the last.
    pub cuts: Vec<u64>,
    /// The block and the part that each bucket is of. None is empty.
    pub buckets: Vec<(usize, usize)>,
    /// The rows of the input in each block.
    pub blocks: Vec<Range<u64>>,
}

/// The rows of task `number`, of `of` tasks that count from 1.
pub fn rows_of_task(cells: u64, number: u64, of: u64) -> Range<u64> {
    let at = |number: u64| (u128::from(cells) * u128::from(number) / u128::from(of)) as u64;
    at(number - 1)..at(number)
}

/// Bytes that the rows of a block take at the most: one block is read while another is written.
pub fn bytes_of_block(leaves: &[Leaf], budget: Budget) -> u64 {
    let chunks = leaves.iter().map(Leaf::chunks_held);
    let (kept, decoding): (Vec<u64>, Vec<u64>) = chunks.unzip();
    let held = kept.iter().sum::<u64>() + decoding.into_iter().max().unwrap_or(0);
    budget.beside(held).0.for_two_waves().wave
}

/// How many rows fit memory that come in any order, and how many rows a chunk of compressed matrices has in the mean.
pub fn reading(leaves: &[Leaf], budget: Budget) -> Result<(u64, u64)> {
    let costs: Vec<RowCost> = leaves.iter().map(Leaf::cost).collect::<Result<_>>()?;
    let means: Vec<f64> = leaves.iter().map(Leaf::mean_nnz).collect();
    let fits = plan::first_guess(budget, &costs, &means, u64::MAX);
    let each = leaves.iter().zip(costs.iter().zip(&means));
    let packed = each.filter(|(leaf, _)| is_packed_matrix(leaf));
    let rows = packed.map(|(leaf, (cost, mean))| leaf.chunks_held().0 as f64 / cost.mean(*mean));
    Ok((fits, rows.fold(1.0, f64::max) as u64))
}

/// The share of all chunks, of so many rows each, that hold rows of `order`.
pub fn share_of_chunks(order: &[u32], cells: u64, rows: u64) -> f64 {
    let mut touched = vec![false; cells.div_ceil(rows.max(1)) as usize];
    for cell in order {
        touched[(u64::from(*cell) / rows.max(1)) as usize] = true;
    }
    let count = touched.iter().filter(|touched| **touched).count();
    count as f64 / touched.len().max(1) as f64
}

/// Bytes of each of the rows `rows` in memory.
pub fn sizes(selection: &Selection, rows: Range<u64>) -> Result<Vec<u64>> {
    /// Rows that are looked up at a time.
    const STEP: u64 = 1 << 18;
    let (sizes, mut all) = (RowSizes::of(selection)?, vec![]);
    for part in steps(rows, STEP) {
        let bytes = sizes.rows(from_ref(&part))?;
        all.extend(bytes.into_iter().map(|bytes| bytes + plan::PLACE));
    }
    Ok(all)
}

/// Scatters the rows `rows`, which take `sizes` bytes. `order` has the rows of all outputs, `parts` where those of each
/// part begin in it, and the end of the last. A block takes `most` bytes, each row as often as it is in the order, or is
/// one row.
pub fn scatter(
    order: &[u32],
    parts: &[u64],
    rows: Range<u64>,
    sizes: &[u64],
    most: u64,
) -> Scattered {
    let is_here = |cell: &&u32| rows.contains(&u64::from(**cell));
    let mut bytes = vec![0u64; sizes.len()];
    for &cell in order.iter().filter(is_here) {
        // A row that goes to several places is written as often, so it counts as often.
        let row = (u64::from(cell) - rows.start) as usize;
        bytes[row] = bytes[row].saturating_add(sizes[row]);
    }
    let blocks = blocks(&bytes, rows.start, most);
    let mut cells: Vec<Vec<u32>> = vec![vec![]; blocks.len()];
    // Parts come in their order, so the cells of a block are grouped by part as they are found.
    // Where the cells of each part end among those of each block.
    let mut ends: Vec<Vec<usize>> = vec![vec![]; blocks.len()];
    for part in parts.windows(2) {
        let here = &order[part[0] as usize..part[1] as usize];
        for &cell in here.iter().filter(is_here) {
            let block = blocks.partition_point(|block| block.end <= u64::from(cell));
            cells[block].push(cell);
        }
        let all = ends.iter_mut().zip(&cells);
        all.for_each(|(ends, cells)| ends.push(cells.len()));
    }
    let mut scattered = Scattered {
        cuts: vec![0],
        blocks,
        ..Scattered::default()
    };
    for (block, (cells, ends)) in cells.into_iter().zip(ends).enumerate() {
        let (first, mut before) = (scattered.cells.len(), 0);
        for (part, end) in ends.into_iter().enumerate().filter(|(_, end)| *end > 0) {
            if end > before {
                scattered.cuts.push((first + end) as u64);
                scattered.buckets.push((block, part));
                before = end;
            }
        }
        scattered.cells.extend(cells);
    }
    scattered
}

/// Cuts rows from `start` on, which take so many bytes each, into blocks.
fn blocks(bytes: &[u64], start: u64, most: u64) -> Vec<Range<u64>> {
    let (mut blocks, mut first, mut held) = (vec![], start, 0u64);
    for (row, bytes) in (start..).zip(bytes) {
        if held > 0 && held.saturating_add(*bytes) > most {
            blocks.push(first..row);
            (first, held) = (row, 0);
        }
        held = held.saturating_add(*bytes);
    }
    let end = start + bytes.len() as u64;
    if first < end {
        blocks.push(first..end);
    }
    blocks
}

impl Scattered {
    /// Where among the cells those of each block end.
    pub fn waves(&self) -> Vec<u64> {
        let ends = self.buckets.iter().zip(&self.cuts[1..]);
        let mut waves: Vec<(usize, u64)> = ends.map(|((block, _), end)| (*block, *end)).collect();
        waves.reverse();
        waves.dedup_by_key(|(block, _)| *block);
        waves.reverse();
        waves.into_iter().map(|(_, end)| end).collect()
    }
}

/// Where the rows of a part are, whose order is `order`: by cell, each once; and how many rows the part has in each of
/// the blocks, which are sorted.
///
/// # Errors
/// A cell that is in no block.
pub fn gather(order: &[u32], blocks: &[Range<u64>]) -> Result<(Vec<InBucket>, Vec<u64>)> {
    let mut counts = vec![0u64; blocks.len()];
    let mut places = Vec::with_capacity(order.len());
    for &cell in order {
        let block = blocks.partition_point(|block| block.end <= u64::from(cell));
        let found = blocks
            .get(block)
            .filter(|rows| rows.contains(&u64::from(cell)));
        found.with_context(|| format!("Row {cell} was not scattered"))?;
        places.push(InBucket {
            cell,
            bucket: block as u32,
            row: counts[block] as u32,
        });
        counts[block] += 1;
    }
    // A cell that is in the order twice is in its bucket twice; the first is read.
    places.sort_unstable();
    places.dedup_by_key(|place| place.cell);
    Ok((places, counts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the order, rows are found where they were put.
        #[test]
        fn what_is_scattered_is_gathered(
            rows in 1u64..60,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            tasks in 1u64..7,
            most in 1u64..30,
        ) {
            let order: Vec<u32> = picks.iter().map(|pick| pick.index(rows as usize) as u32).collect();
            let mut parts: Vec<u64> = cuts.iter().map(|cut| cut.index(order.len() + 1) as u64).collect();
            parts.extend([0, order.len() as u64]);
            parts.sort();
            let all: Vec<Scattered> = (1..=tasks)
                .map(|task| {
                    let rows = rows_of_task(rows, task, tasks);
                    let sizes: Vec<u64> = rows.clone().map(|row| row % 3 + 1).collect();
                    scatter(&order, &parts, rows, &sizes, most)
                })
                .collect();
            let blocks: Vec<Range<u64>> = all.iter().flat_map(|one| one.blocks.clone()).collect();
            let ends: Vec<u64> = blocks.iter().map(|block| block.end).collect();
            prop_assert!(ends.is_sorted() && ends.last() == Some(&rows));
            // The cells of each bucket, by block of all tasks and part.
            let mut buckets = std::collections::BTreeMap::new();
            let mut before = 0;
            for one in &all {
                prop_assert_eq!(one.cuts.len(), one.buckets.len() + 1);
                prop_assert_eq!(one.waves().last().copied().unwrap_or(0), one.cells.len() as u64);
                let mut start = 0;
                for end in one.waves() {
                    let wave = &one.cells[start as usize..end as usize];
                    let once = wave.iter().collect::<std::collections::BTreeSet<_>>().len() == 1;
                    let bytes: u64 = wave.iter().map(|cell| u64::from(cell % 3) + 1).sum();
                    prop_assert!(bytes <= most || once);
                    start = end;
                }
                for ((block, part), cut) in one.buckets.iter().zip(one.cuts.windows(2)) {
                    prop_assert!(cut[0] < cut[1]);
                    let cells = one.cells[cut[0] as usize..cut[1] as usize].to_vec();
                    buckets.insert((before + block, *part), cells);
                }
                before += one.blocks.len();
            }
            for (part, span) in parts.windows(2).enumerate() {
                let wanted = &order[span[0] as usize..span[1] as usize];
                let (places, counts) = gather(wanted, &blocks).unwrap();
                for (block, count) in counts.iter().enumerate() {
                    let found = buckets.get(&(block, part)).map_or(0, Vec::len);
                    prop_assert_eq!(found as u64, *count);
                }
                for place in &places {
                    let bucket = &buckets[&(place.bucket as usize, part)];
                    prop_assert_eq!(bucket[place.row as usize], place.cell);
                }
                let mut distinct = wanted.to_vec();
                distinct.sort();
                distinct.dedup();
                let cells: Vec<u32> = places.iter().map(|place| place.cell).collect();
                prop_assert_eq!(cells, distinct);
            }
        }
    }

    #[test]
    fn scattered_rows_are_in_many_chunks() {
        assert_eq!(share_of_chunks(&[0, 1, 2, 3], 100, 10), 0.1);
        assert_eq!(share_of_chunks(&[0, 95, 50, 5], 100, 10), 0.3);
        assert_eq!(share_of_chunks(&[], 0, 10), 0.0);
    }

    #[test]
    fn tasks_share_all_rows() {
        assert_eq!(rows_of_task(10, 1, 3), 0..3);
        assert_eq!(rows_of_task(10, 3, 3), 6..10);
        assert_eq!(rows_of_task(1, 1, 2), 0..0);
    }

    #[test]
    fn a_row_that_was_not_scattered_is_an_error() {
        assert!(gather(&[3], &[0..2, 2..3]).is_err());
    }
}
