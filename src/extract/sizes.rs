//! Sizes without compression: what each row of a file takes in an output.
//!
//! Lengths of sparse rows come from indptr, of text from the texts, of CSC matrices from all their indices, read once.

use std::ops::Range;

use anyhow::Result;

use crate::anndata::select::Selection;
use crate::dtype::ints;
use crate::rows::leaf::{Leaf, LeafKind};

/// Bytes of CSC matrices that are read at a time.
const BLOCK: u64 = 8 << 20;
/// What HDF5 stores of a text besides its bytes: a length and a place.
const TEXT: u64 = 16;

/// What rows take, to be asked in ranges.
pub struct RowSizes<'a> {
    leaves: &'a [Leaf],
    /// Bytes of each row in the CSC matrices: these are read by columns, so all of their rows are counted at once.
    swept: Vec<u64>,
}

impl RowSizes<'_> {
    /// Reads the indices of CSC matrices, 8 MiB at a time: 8 bytes a cell are held for them.
    pub fn of(selection: &Selection) -> Result<RowSizes<'_>> {
        let mut swept = vec![];
        for (_, matrix) in &selection.csc {
            swept.resize(usize::try_from(selection.cells)?, 0);
            for columns in matrix.blocks(0..matrix.rows(), BLOCK)? {
                let block = matrix.read(std::slice::from_ref(&columns))?;
                for row in ints::read(&block.indices, &block.index)? {
                    swept[row as usize] += matrix.nonzero_bytes();
                }
            }
        }
        let leaves = &selection.leaves;
        Ok(RowSizes { leaves, swept })
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

/// Adds what each row of a leaf takes. An awkward array is sampled, and each of its rows counts as the mean does in
/// memory.
fn leaf_rows(leaf: &Leaf, ranges: &[Range<u64>], sizes: &mut [u64]) -> Result<()> {
    match &leaf.kind {
        LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => {
            let (nonzero, end) = (s.nonzero_bytes(), s.indptr.spec().row_bytes());
            let counts = s.counts(ranges)?;
            for (size, count) in sizes.iter_mut().zip(counts) {
                *size += count * nonzero + end;
            }
        }
        LeafKind::Fixed(a) | LeafKind::Codes(a, _) | LeafKind::SquareFixed(a) => {
            let row = a.spec().row_bytes();
            sizes.iter_mut().for_each(|size| *size += row);
        }
        LeafKind::Records(r) => sizes.iter_mut().for_each(|size| *size += r.row_bytes()),
        LeafKind::Mask(_) => sizes.iter_mut().for_each(|size| *size += 1),
        LeafKind::Stacked(s) => {
            let (cost, counts) = (s.stored(), s.counts(ranges)?);
            for (at, size) in sizes.iter_mut().enumerate() {
                *size += cost.fixed + cost.nonzero * counts.get(at).copied().unwrap_or(0);
            }
        }
        LeafKind::Awkward(_) => {
            let row = leaf.cost()?.fixed;
            sizes.iter_mut().for_each(|size| *size += row);
        }
        LeafKind::Text(a) => {
            let (texts, width) = (a.read_strings(ranges)?, a.spec().row_items().max(1));
            for at in 0..texts.len() {
                sizes[at / width as usize] += texts.get(at).len() as u64 + TEXT;
            }
        }
    }
    Ok(())
}
