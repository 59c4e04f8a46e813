//! The rows of many inputs one after another: what one merged array is ([`plan`]), and appending to it.

mod convert;
mod fill;
mod missing;
mod plan;

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

pub use self::convert::Converter;
pub use self::plan::{ArrayPlan, Part, Shape};
use super::join::ColumnMap;
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, Source};
use crate::rows::ranges::parts;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::sparse_writer::SparseWriter;
use crate::rows::turned;
use crate::rows::writer::LeafWriter;
use crate::store::spec::{ArraySpec, Attrs, Dtype};
use crate::store::{Group, Rows, read_ahead};

/// A merged array that is being written.
pub struct Stack {
    plan: ArrayPlan,
    path: String,
    /// Made with the first rows, where those say what it is.
    writer: Option<LeafWriter>,
    out: Group,
    rows: u64,
    /// Rows so far.
    done: u64,
}

/// Bytes that are read at a time.
const BLOCK: u64 = 16 << 20;

/// One input's rows for a [`Stack`].
pub enum Input<'a> {
    Leaf(&'a Leaf),
    Csc(&'a Sparse),
    /// As many rows without values.
    Absent(u64),
}

impl<'a> Input<'a> {
    pub fn of(leaf: &'a Leaf) -> Input<'a> {
        match &leaf.source {
            Source::SquareSparse(matrix) if matrix.layout == SparseFormat::Csc => {
                Input::Csc(matrix)
            }
            _ => Input::Leaf(leaf),
        }
    }

    /// Bytes that are read and appended for a byte of its rows, about.
    pub fn moved_per_byte(&self) -> f64 {
        match self {
            Input::Leaf(leaf) => leaf.moved_per_byte(),
            Input::Csc(_) => 2.0,
            Input::Absent(_) => 1.0,
        }
    }

    pub fn rows(&self) -> u64 {
        match self {
            Input::Leaf(leaf) => leaf.rows(),
            Input::Csc(matrix) => matrix.shape[0],
            Input::Absent(rows) => *rows,
        }
    }
}

impl Stack {
    pub fn create(out: &Group, path: &str, plan: ArrayPlan, rows: u64) -> Result<Stack> {
        let array = |row: &[u64], dtype: &Dtype, attrs: &Attrs| {
            let mut shape = vec![rows];
            shape.extend(row);
            let spec = ArraySpec::new(shape, dtype.clone());
            out.for_matrix(&spec)
                .create_array(path, &spec, Rows::Known, attrs)
                .map(LeafWriter::Array)
        };
        let writer = match &plan {
            ArrayPlan::Dense { dtype, row, .. } => {
                Some(array(row, dtype, &Attrs::encoding("array", "0.2.0"))?)
            }
            ArrayPlan::Text { row } => {
                let attrs = Attrs::encoding("string-array", "0.2.0");
                Some(array(row, &Dtype::String, &attrs)?)
            }
            ArrayPlan::Sparse { spec, count, .. } => Some(LeafWriter::Sparse(
                SparseWriter::create(out, path, spec, *count)?,
            )),
            ArrayPlan::Awkward(None) => None,
            ArrayPlan::Awkward(Some(united)) => {
                Some(LeafWriter::Awkward(united.create(out, path, rows)?))
            }
        };
        Ok(Stack {
            plan,
            path: path.into(),
            writer,
            out: out.clone(),
            rows,
            done: 0,
        })
    }

    /// Appends the rows of one input, its columns moved by `map`; `scratch` is a folder.
    pub fn append(&mut self, input: Input, map: &ColumnMap, scratch: &Path) -> Result<()> {
        let context = format!("Merge '{}'", self.path);
        let rows = input.rows();
        match input {
            Input::Leaf(leaf) => self.append_leaf(leaf, map),
            Input::Csc(matrix) => self.append_csc(matrix, map, scratch),
            Input::Absent(rows) => self.append_missing(rows),
        }
        .context(context)?;
        self.done += rows;
        Ok(())
    }

    /// Appends rows that are as the merged ones.
    pub fn push(&mut self, block: &Block) -> Result<()> {
        match &mut self.writer {
            Some(writer) => writer.append(block),
            None => bail!("It was not created"),
        }
    }

    fn append_leaf(&mut self, leaf: &Leaf, map: &ColumnMap) -> Result<()> {
        if self.writer.is_none() {
            self.writer = Some(LeafWriter::create(leaf, &self.out, self.rows, 0)?);
        }
        let shape = Shape::of_leaf(leaf)?;
        let is_empty = matches!(shape, Shape::Dense { .. }) && shape.width() == 0;
        let converter = Converter::new(&self.plan, map, shape, self.done);
        let keeps_all = converter.keeps_all();
        if is_empty && !keeps_all {
            return self.append_missing(leaf.rows());
        }
        let Some(writer) = &mut self.writer else {
            bail!("It was not created");
        };
        let cost = leaf.cost()?;
        if keeps_all {
            return writer.append_from(leaf, 0..leaf.rows(), None, cost);
        }
        if let (LeafWriter::Sparse(to), Source::Sparse(from)) = (&mut *writer, &leaf.source) {
            let convert = |block| converter.sparse(block);
            if let Some(moves) = converter.moves() {
                return to.append_moved(from, 0..from.rows(), &moves);
            }
            if converter.keeps_counts() && to.append_converted(from, 0..from.rows(), &convert)? {
                return Ok(());
            }
        }
        let read = |rows, old| leaf.read_over(std::slice::from_ref(&rows), old);
        read_ahead(
            blocks(leaf, cost.fixed.max(converter.row_bytes()))?,
            read,
            |block| {
                let block = converter.convert(block)?;
                writer.append(&block)?;
                Ok(block)
            },
        )
    }

    /// A CSC matrix by rows: it is swept once, and turned some rows at a time.
    fn append_csc(&mut self, matrix: &Sparse, map: &ColumnMap, scratch: &Path) -> Result<()> {
        let converter = Converter::new(&self.plan, map, Shape::of_sparse(matrix), self.done);
        let scratch = || Ok(scratch.into());
        let Some(writer) = &mut self.writer else {
            bail!("It was not created");
        };
        turned::rows(matrix, converter.row_bytes(), scratch, |block| {
            writer.append(&converter.convert(Block::Sparse(block))?)
        })
    }

    fn append_missing(&mut self, rows: u64) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            ensure!(rows == 0, "Rows without values cannot be written");
            return Ok(());
        };
        for part in crate::rows::ranges::blocks(rows, self.plan.missing_bytes()) {
            writer.append(&self.plan.missing(part.end - part.start)?)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        match self.writer {
            Some(writer) => writer
                .finish()
                .with_context(|| format!("Merge '{}'", self.path)),
            None => Ok(()),
        }
    }
}

/// Row ranges of one input of about [`BLOCK`] bytes, where a row takes `fixed` beside its elements.
fn blocks(leaf: &Leaf, fixed: u64) -> Result<Vec<Range<u64>>> {
    let cut = |rows| parts(rows, (BLOCK / fixed.max(1)).max(1));
    Ok(match &leaf.source {
        Source::Sparse(matrix) | Source::SquareSparse(matrix) => {
            let blocks = matrix.blocks(BLOCK)?;
            blocks.into_iter().flat_map(cut).collect()
        }
        _ => cut(0..leaf.rows()).collect(),
    })
}
