//! The rows of one input as pieces of the merged array: as they are stored where nothing but columns or types changes,
//! else in blocks, of which one is read while another is written.

use std::ops::Range;
use std::path::Path;
use std::slice::from_ref;

use anyhow::{Result, ensure};

use super::{ArrayPlan, Converter, InputRows, Shape};
use crate::merge::join::ColumnMap;
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::ranges::{blocks, steps};
use crate::rows::stacked::{Change, Piece};
use crate::rows::turned;
use crate::store::read_ahead;

/// Takes the pieces of an array, one after another.
pub type Take<'a> = &'a mut dyn FnMut(Piece) -> Result<()>;

/// What the rows of an input are to become.
pub struct Destination<'a> {
    pub plan: &'a ArrayPlan,
    /// Of the columns of this input. Rows keep their order.
    pub map: &'a ColumnMap,
    /// Rows of the inputs before this one.
    pub before: u64,
}

impl<'a> Destination<'a> {
    fn converter(&self, shape: Shape) -> Converter<'a> {
        Converter::new(self.plan, self.map, shape, self.before)
    }
}

impl InputRows<'_> {
    /// Gives rows of this input to `take`; of a CSC matrix all, which is swept in the folder `scratch`.
    pub fn pieces(
        &self,
        target: &Destination,
        rows: Range<u64>,
        scratch: &Path,
        take: Take,
    ) -> Result<()> {
        match self {
            InputRows::Absent(_) => missing(target.plan, rows, take),
            InputRows::Leaf(leaf) => {
                let shape = Shape::of_leaf(leaf)?;
                // A block without bytes has no rows that could be counted, so they are made as if the input lacked the
                // array.
                let is_empty = shape.is_empty();
                let converter = target.converter(shape);
                if is_empty && !converter.keeps_all() {
                    return missing(target.plan, rows, take);
                }
                of_leaf(&converter, leaf, rows, take)
            }
            InputRows::Csc(matrix) => {
                ensure!(rows == (0..matrix.shape[0]), "A part of a CSC matrix");
                let converter = target.converter(Shape::of_sparse(matrix));
                let folder = || Ok(scratch.to_owned());
                turned::rows(matrix, converter.row_bytes(), folder, |block| {
                    take(Piece::Block(&converter.convert(Block::Sparse(block))?))
                })
            }
        }
    }
}

fn missing(plan: &ArrayPlan, rows: Range<u64>, take: Take) -> Result<()> {
    let parts = blocks(rows.end - rows.start, plan.missing_bytes());
    let mut rows = parts.map(|part| plan.missing(part.end - part.start));
    rows.try_for_each(|block| take(Piece::Block(&block?)))
}

/// From the cheapest way to the dearest: the writer copies what is stored; it maps indices and copies values; it
/// converts rows in many tasks, as it knows where each begins in the result; blocks are read, converted and appended in
/// turn.
fn of_leaf(converter: &Converter, leaf: &Leaf, rows: Range<u64>, take: Take) -> Result<()> {
    let convert = |block| converter.sparse(block);
    match &leaf.kind {
        LeafKind::Fixed(array) if converter.keeps_all() => {
            return take(Piece::Array(array, rows));
        }
        LeafKind::Sparse(matrix) if converter.keeps_all() => {
            return take(Piece::Sparse(matrix, rows, Change::Nothing));
        }
        LeafKind::Sparse(matrix) => {
            if let Some(places) = converter.moves() {
                return take(Piece::Sparse(matrix, rows, Change::Columns(&places)));
            }
            if converter.keeps_counts() {
                return take(Piece::Sparse(matrix, rows, Change::Rows(&convert)));
            }
        }
        _ => {}
    }
    let read = |rows: Range<u64>, old| leaf.read_over(from_ref(&rows), old);
    // Non-zeros come on top: they are counted row by row in `row_ranges`.
    let row = leaf.cost()?.fixed.max(converter.row_bytes());
    read_ahead(row_ranges(leaf, rows, row)?, read, |block| {
        let block = converter.convert(block)?;
        take(Piece::Block(&block))?;
        Ok(block)
    })
}

/// Row ranges of about [`BLOCK`] bytes, where a row takes `fixed` beside its non-zeros.
fn row_ranges(leaf: &Leaf, rows: Range<u64>, fixed: u64) -> Result<Vec<Range<u64>>> {
    /// Bytes that are read at a time.
    const BLOCK: u64 = 16 << 20;
    let cut = |rows| steps(rows, (BLOCK / fixed.max(1)).max(1));
    Ok(match &leaf.kind {
        LeafKind::Sparse(matrix) | LeafKind::SquareSparse(matrix) => {
            let blocks = matrix.blocks(rows, BLOCK)?;
            blocks.into_iter().flat_map(cut).collect()
        }
        _ => cut(rows).collect(),
    })
}
