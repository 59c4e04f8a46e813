//! Sizes without compression: what each row of a file takes in an output.

use std::ops::Range;

use anyhow::Result;

use crate::anndata::select::Selection;
use crate::dtype::ints;
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, Source};

/// Bytes of CSC matrices that are read at a time.
const BLOCK: u64 = 8 << 20;
/// What HDF5 stores of a text besides its bytes: a length and a place.
const TEXT: u64 = 16;

pub struct Sizes<'a> {
    leaves: &'a [Leaf],
    /// Bytes of each row in the CSC matrices: these are read by columns, so all of their rows are counted at once.
    swept: Vec<u64>,
}

impl Sizes<'_> {
    pub fn of(selection: &Selection) -> Result<Sizes<'_>> {
        let mut swept = vec![];
        for (_, matrix) in &selection.csc {
            swept.resize(usize::try_from(selection.cells)?, 0);
            for columns in matrix.blocks(BLOCK)? {
                let block = matrix.read(std::slice::from_ref(&columns))?;
                for row in ints::read(&block.indices, &block.index)? {
                    swept[row as usize] += matrix.element_bytes();
                }
            }
        }
        let leaves = &selection.leaves;
        Ok(Sizes { leaves, swept })
    }

    /// Bytes of each of the rows in `ranges` (sorted, disjoint). Of a matrix of cells by cells all columns count.
    pub fn rows(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        let rows = ranges.iter().map(|r| r.end - r.start).sum::<u64>();
        let mut sizes = vec![0u64; usize::try_from(rows)?];
        for leaf in self.leaves {
            leaf_rows(leaf, ranges, &mut sizes)?;
        }
        if !self.swept.is_empty() {
            let rows = ranges.iter().cloned().flatten();
            sizes
                .iter_mut()
                .zip(rows)
                .for_each(|(size, row)| *size += self.swept[row as usize]);
        }
        Ok(sizes)
    }
}

/// Adds what each row of a leaf takes. An awkward array is sampled at its beginning.
fn leaf_rows(leaf: &Leaf, ranges: &[Range<u64>], sizes: &mut [u64]) -> Result<()> {
    match &leaf.source {
        Source::Sparse(s) | Source::SquareSparse(s) => {
            let (element, end) = (s.element_bytes(), s.indptr.spec().row_bytes());
            let counts = s.counts(ranges)?;
            for (size, count) in sizes.iter_mut().zip(counts) {
                *size += count * element + end;
            }
        }
        Source::Fixed(a) | Source::Codes(a, _) | Source::SquareFixed(a) => {
            let row = a.spec().row_bytes();
            sizes.iter_mut().for_each(|size| *size += row);
        }
        Source::Mask(_) => sizes.iter_mut().for_each(|size| *size += 1),
        Source::Stacked(s) => {
            let (cost, counts) = (s.stored(), s.counts(ranges)?);
            for (at, size) in sizes.iter_mut().enumerate() {
                *size += cost.fixed + cost.element * counts.get(at).copied().unwrap_or(0);
            }
        }
        Source::Awkward(_) => {
            let row = leaf.cost()?.fixed;
            sizes.iter_mut().for_each(|size| *size += row);
        }
        Source::Text(_) | Source::Field(..) => match leaf.read(ranges)? {
            Block::Text { width, strings } => {
                let texts = (0..strings.len()).map(|i| strings.get(i).len() as u64 + TEXT);
                for (at, bytes) in texts.enumerate() {
                    sizes[at / width.max(1)] += bytes;
                }
            }
            Block::Fixed { row, .. } => sizes.iter_mut().for_each(|size| *size += row as u64),
            Block::Sparse(_) | Block::Awkward(_) => {}
        },
    }
    Ok(())
}
