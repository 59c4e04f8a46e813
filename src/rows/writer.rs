//! Appending rows to a new array: blocks, rows picked from a block, or rows as they stand in a file.

use std::ops::Range;

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::awkward::AwkwardWriter;
use super::block::{Block, CellColumns};
use super::cost::RowCost;
use super::leaf::{BLOCK, Leaf, Source};
use super::sparse::{Sparse, SparseFormat};
use super::sparse_writer::{Count, SparseWriter};
use super::stacked::{Stacked, StackedKind};
use crate::store::spec::{ArraySpec, Dtype};
use crate::store::{self, Access, Appender, Container, Group, Node, Rows, read_ahead};

/// A leaf that is being written.
pub enum LeafWriter {
    Array(Appender),
    Sparse(SparseWriter),
    Awkward(AwkwardWriter),
}

impl LeafWriter {
    /// Creates the leaf in a new file, for `rows` rows that hold `nnz` elements (looked at where it is sparse).
    pub fn create(leaf: &Leaf, root: &Group, rows: u64, nnz: u64) -> Result<LeafWriter> {
        let array = |shape: &[u64], dtype: &Dtype| {
            let mut shape = shape.to_vec();
            if let Some(first) = shape.first_mut() {
                *first = rows;
            }
            let spec = ArraySpec::new(shape, dtype.clone());
            let root = root.for_matrix(&spec);
            root.create_array(&leaf.path, &spec, Rows::Known, &leaf.attrs)
        };
        Ok(match &leaf.source {
            Source::Fixed(a) | Source::Codes(a, _) => {
                LeafWriter::Array(array(&a.spec().shape, &a.spec().dtype)?)
            }
            Source::Mask(a) => LeafWriter::Array(array(&a.spec().shape, &Dtype::BOOL)?),
            Source::Text(a) => LeafWriter::Array(array(&a.spec().shape, &Dtype::String)?),
            Source::Field(_, field) => {
                let mut shape = vec![rows];
                shape.extend(&field.shape);
                let dtype = if field.dtype.is_string() {
                    Dtype::String
                } else {
                    field.dtype.clone()
                };
                LeafWriter::Array(array(&shape, &dtype)?)
            }
            Source::SquareFixed(a) => LeafWriter::Array(array(&[rows, rows], &a.spec().dtype)?),
            Source::Sparse(s) => {
                let spec = s.like([rows, s.shape[1]]);
                let count = Count::Exactly(nnz);
                LeafWriter::Sparse(SparseWriter::create(root, &leaf.path, &spec, count)?)
            }
            Source::SquareSparse(s) => {
                let count = Count::AtMost(s.nnz());
                LeafWriter::Sparse(SparseWriter::create(
                    root,
                    &leaf.path,
                    &s.like([rows, rows]),
                    count,
                )?)
            }
            Source::Awkward(a) => LeafWriter::Awkward(a.create(root, &leaf.path, rows)?),
            Source::Stacked(Stacked { kind, .. }) => match kind {
                StackedKind::Dense { dtype, row } => {
                    LeafWriter::Array(array(&[&[rows], row.as_slice()].concat(), dtype)?)
                }
                StackedKind::Sparse { spec, exact, .. } => {
                    let mut spec = spec.clone();
                    spec.shape[0] = rows;
                    let count = if *exact {
                        Count::Exactly(nnz)
                    } else {
                        Count::AtMost(nnz)
                    };
                    let writer = SparseWriter::create(root, &leaf.path, &spec, count)?;
                    LeafWriter::Sparse(writer)
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
        match (&mut *self, &leaf.source) {
            (LeafWriter::Array(to), Source::Fixed(from)) => to.append_from(from, rows, None),
            (LeafWriter::Sparse(to), Source::Sparse(from)) => to.append_from(from, rows),
            _ => {
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

    /// Writes what is buffered and closes the array, which is whole after this alone.
    pub fn finish(self) -> Result<()> {
        match self {
            LeafWriter::Array(a) => a.finish().map(drop),
            LeafWriter::Sparse(s) => s.finish().map(drop),
            LeafWriter::Awkward(a) => a.finish(),
        }
    }
}

/// Writes a leaf to a file in the folder `scratch`, and returns it as it is there: any row can be read by itself.
pub fn unpacked(leaf: &Leaf, scratch: &Path) -> Result<Leaf> {
    let path = scratch.join(format!("{}.h5ad", leaf.path.replace('/', ".")));
    let out = store::create(&path, Container::H5AD)?;
    let rows = 0..leaf.rows();
    let nnz = leaf.count(std::slice::from_ref(&rows))?;
    let mut writer = LeafWriter::create(leaf, &out, rows.end, nnz)?;
    writer.append_from(leaf, rows, None, leaf.cost()?)?;
    writer.finish()?;
    out.finish()?;
    let node = store::open(&path, &Access::default())?.get(&leaf.path)?;
    let source = match node.context("It was not written")? {
        Node::Array(array) => Source::Fixed(array),
        Node::Group(group) => Source::Sparse(Sparse::open(&group, SparseFormat::Csr)?),
    };
    Ok(Leaf {
        path: leaf.path.clone(),
        attrs: leaf.attrs.clone(),
        source,
    })
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
