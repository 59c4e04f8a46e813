//! Appending rows to a new array: blocks, rows picked from a block, or rows as they stand in a file.
//!
//! What can go past memory does: an array or a matrix of one file goes to `store/io/append.rs`, which copies or decodes
//! it in tasks, and all else in blocks of 8 MiB, of which one is read while another is written.

use std::ops::Range;

use anyhow::{Result, bail};

use super::awkward::AwkwardWriter;
use super::block::{Block, CellColumns};
use super::cost::RowCost;
use super::leaf::{BLOCK, Leaf, LeafKind};
use super::nnz::Nnz;
use super::ranges::steps;
use super::sparse::{STEP, SparseSpec};
use super::sparse_writer::SparseWriter;
use super::stacked::{Change, Piece, Stacked, StackedKind};
use crate::store::spec::{ArraySpec, Dtype};
use crate::store::{Appender, Group, Portion, RecordAppender, Rows, read_ahead};

/// A leaf that is being written.
pub enum LeafWriter {
    Array(Appender),
    Sparse(SparseWriter),
    Awkward(AwkwardWriter),
    /// Records with text of any length.
    Records(RecordAppender),
}

impl LeafWriter {
    /// Creates the leaf in a new file, for `rows` rows that hold `nnz` non-zeros (looked at where it is sparse).
    pub fn create(leaf: &Leaf, root: &Group, rows: u64, nnz: u64) -> Result<LeafWriter> {
        let is_linked = leaf.is_stacked() && root.container().is_virtual;
        let how = if is_linked { Rows::Linked } else { Rows::Known };
        // All axes but the first are those of the leaf.
        let array = |shape: &[u64], dtype: &Dtype| {
            let mut shape = shape.to_vec();
            if let Some(first) = shape.first_mut() {
                *first = rows;
            }
            let spec = ArraySpec::new(shape, dtype.clone());
            let root = root.for_matrix(&spec);
            root.create_array(&leaf.path, &spec, how, &leaf.attrs)
        };
        let sparse = |spec: &SparseSpec, known: Nnz| {
            let writer = if is_linked {
                SparseWriter::linked(root, &leaf.path, spec, nnz)
            } else {
                SparseWriter::create(root, &leaf.path, spec, known)
            };
            writer.map(LeafWriter::Sparse)
        };
        Ok(match &leaf.kind {
            LeafKind::Fixed(a) | LeafKind::Codes(a, _) => {
                LeafWriter::Array(array(&a.spec().shape, &a.spec().dtype)?)
            }
            // What was read of it is bools already.
            LeafKind::Mask(a) => LeafWriter::Array(array(&a.spec().shape, &Dtype::BOOL)?),
            LeafKind::Text(a) => LeafWriter::Array(array(&a.spec().shape, &Dtype::String)?),
            LeafKind::Records(r) => {
                LeafWriter::Records(root.create_records(&leaf.path, &r.spec(rows), &leaf.attrs)?)
            }
            LeafKind::SquareFixed(a) => LeafWriter::Array(array(&[rows, rows], &a.spec().dtype)?),
            LeafKind::Sparse(s) => sparse(&s.like([rows, s.shape[1]]), Nnz::Exactly(nnz))?,
            // How many non-zeros are in columns that are taken shows only as rows are read.
            LeafKind::SquareSparse(s) => sparse(&s.like([rows, rows]), Nnz::AtMost(s.nnz()))?,
            LeafKind::Awkward(a) => LeafWriter::Awkward(a.create(root, &leaf.path, rows)?),
            LeafKind::Stacked(Stacked { kind, .. }) => match kind {
                StackedKind::Dense { dtype, row } => {
                    LeafWriter::Array(array(&[&[rows], row.as_slice()].concat(), dtype)?)
                }
                StackedKind::Sparse { spec, nnz: all, .. } => {
                    let mut spec = spec.clone();
                    spec.shape[0] = rows;
                    sparse(&spec, all.of_rows(nnz))?
                }
            },
        })
    }

    /// Appends all rows of a block; an error where it is of another kind than the array.
    pub fn append(&mut self, block: &Block) -> Result<()> {
        match (self, block) {
            (LeafWriter::Array(a), Block::Fixed { bytes, .. }) => a.append(bytes),
            (LeafWriter::Array(a), Block::Text { strings, .. }) => a.append_strings(strings),
            (LeafWriter::Sparse(s), Block::Sparse(block)) => s.append(block),
            (LeafWriter::Awkward(a), Block::Awkward(block)) => a.append(block),
            (LeafWriter::Records(a), Block::Fixed { bytes, .. }) => a.append(bytes),
            _ => bail!("A block of another kind than its array"),
        }
    }

    /// Appends the rows at `picks` of a block, of a matrix of cells by cells only `columns`.
    pub fn append_picked(
        &mut self,
        block: &Block,
        picks: &[u32],
        columns: Option<&CellColumns>,
    ) -> Result<()> {
        match (&mut *self, block, columns) {
            (LeafWriter::Array(to), Block::Fixed { row, bytes }, None) => {
                let row = *row as u64;
                let fill =
                    |range: Range<u64>, out: &mut [u8]| fill_rows(bytes, row, picks, range, out);
                to.append_filled(picks.len() as u64, &fill)
            }
            (LeafWriter::Sparse(to), Block::Sparse(block), None) => to.append_picked(block, picks),
            _ => {
                // Picked rows are a copy here, so that some are copied and appended before the next.
                let row = block.bytes() / (block.rows() as u64).max(1);
                let step = (BLOCK / row.max(1)).max(1) as usize;
                picks.chunks(step).try_for_each(|picks| match columns {
                    Some(columns) => self.append(&block.pick(picks).columns(columns)?),
                    None => self.append(&block.pick(picks)),
                })
            }
        }
    }

    /// Appends rows as they stand in the file, in a fixed amount of memory; `cost` is what [`Leaf::cost`] gives.
    pub fn append_from(
        &mut self,
        leaf: &Leaf,
        rows: Range<u64>,
        columns: Option<&CellColumns>,
        cost: RowCost,
    ) -> Result<()> {
        match (&mut *self, &leaf.kind) {
            (LeafWriter::Array(to), LeafKind::Fixed(from)) => to.append_from(from, rows, None),
            (LeafWriter::Sparse(to), LeafKind::Sparse(from)) => to.append_from(from, rows),
            (_, LeafKind::Stacked(stacked)) => {
                (stacked.pieces)(rows, &mut |piece| self.append_piece(piece))
            }
            _ => {
                // All else goes through memory: text, records, codes, masks, awkward arrays, and matrices of which
                // columns are taken.
                let read = |rows, old| leaf.read_over(std::slice::from_ref(&rows), old);
                read_ahead(leaf.blocks(rows, cost), read, |block| {
                    let block = match columns {
                        Some(columns) => block.columns(columns)?,
                        None => block,
                    };
                    self.append(&block)?;
                    Ok(block)
                })
            }
        }
    }

    /// Appends those rows of a stacked leaf of which some non-zero comes into the files of this process, and passes over
    /// the others.
    ///
    /// # Errors
    /// A leaf of one file.
    pub fn append_portion(&mut self, leaf: &Leaf, cost: RowCost, portion: Portion) -> Result<()> {
        let LeafKind::Stacked(stacked) = &leaf.kind else {
            bail!("Only rows of several files are written in parts");
        };
        let all = stacked.rows;
        match &mut *self {
            LeafWriter::Array(array) => {
                // Its chunks begin where those of other processes end, so what comes before is passed over unread.
                let own = array.own(portion)?;
                array.skip(own.start)?;
                self.append_from(leaf, own.clone(), None, cost)?;
                self.skip(stacked, own.end..all)
            }
            LeafWriter::Sparse(matrix) => {
                let nonzeros = matrix.own(portion)?;
                // A row that lies on a border is read by both, and each writes what comes into its files.
                let own = stacked.rows_of(nonzeros)?;
                self.skip(stacked, 0..own.start)?;
                self.append_from(leaf, own.clone(), None, cost)?;
                self.skip(stacked, own.end..all)
            }
            LeafWriter::Awkward(_) | LeafWriter::Records(_) => {
                bail!("Only matrices of numbers are written in parts")
            }
        }
    }

    fn skip(&mut self, stacked: &Stacked, rows: Range<u64>) -> Result<()> {
        match self {
            LeafWriter::Array(array) => array.skip(rows.end - rows.start),
            LeafWriter::Sparse(matrix) => steps(rows, STEP)
                .try_for_each(|rows| matrix.skip(&stacked.counts(std::slice::from_ref(&rows))?)),
            LeafWriter::Awkward(_) | LeafWriter::Records(_) => {
                bail!("Only matrices of numbers are written in parts")
            }
        }
    }

    /// Appends rows of one of several files.
    pub fn append_piece(&mut self, piece: Piece) -> Result<()> {
        match (self, piece) {
            (LeafWriter::Array(to), Piece::Array(from, rows)) => to.append_from(from, rows, None),
            (LeafWriter::Sparse(to), Piece::Sparse(from, rows, change)) => match change {
                Change::Nothing => to.append_from(from, rows),
                Change::Columns(places) => to.append_moved(from, rows, places),
                Change::Rows(convert) => to.append_converted(from, rows, convert),
            },
            (to, Piece::Block(block)) => to.append(block),
            _ => bail!("Rows of another kind than their array"),
        }
    }

    /// The writer of a sparse matrix; an error if it is another.
    pub fn sparse(&mut self) -> Result<&mut SparseWriter> {
        match self {
            LeafWriter::Sparse(writer) => Ok(writer),
            _ => bail!("A writer of another kind than its leaf"),
        }
    }

    /// Writes what is buffered and closes the array, which is whole after this alone.
    pub fn finish(self) -> Result<()> {
        match self {
            LeafWriter::Array(a) => a.finish().map(drop),
            LeafWriter::Sparse(s) => s.finish().map(drop),
            LeafWriter::Awkward(a) => a.finish(),
            LeafWriter::Records(a) => a.finish(),
        }
    }
}

/// Gives the bytes in `range` of the rows at `picks`, each of `row` bytes.
fn fill_rows(from: &[u8], row: u64, picks: &[u32], range: Range<u64>, out: &mut [u8]) {
    let (mut at, mut done) = (range.start, 0);
    while at < range.end {
        let within = at % row;
        let start = (u64::from(picks[(at / row) as usize]) * row + within) as usize;
        let len = (row - within).min(range.end - at);
        out[done..done + len as usize].copy_from_slice(&from[start..start + len as usize]);
        (at, done) = (at + len, done + len as usize);
    }
}
