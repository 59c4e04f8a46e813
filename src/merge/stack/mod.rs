//! The rows of many inputs one after another: what one merged array is ([`plan`]), what becomes of the rows of an input
//! ([`pieces`]), and appending those that are not matrices of numbers.
//!
//! An [`ArrayPlan`] is made of the [`Shape`]s of all inputs, when no row is read yet. A [`Converter`] is made for each
//! input and plan; it is what knows the map of columns. A [`Stack`] writes one array: text, awkward arrays and obsp of
//! a merge, and dense arrays and text of varm and varp that are put on other genes. In memory is a block of one input,
//! and another that is read ahead.

mod convert;
mod fill;
mod missing;
mod pieces;
mod plan;

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use self::convert::Converter;
pub use self::pieces::{Destination, Take};
pub use self::plan::{ArrayPlan, Part, Shape};
use super::join::ColumnMap;
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::sparse_writer::SparseWriter;
use crate::rows::stacked::Piece;
use crate::rows::writer::LeafWriter;
use crate::store::spec::{ArraySpec, Attrs, Dtype};
use crate::store::{Group, Rows};

/// A merged array that is being written.
pub struct Stack {
    plan: ArrayPlan,
    path: String,
    /// Made with the first rows, where those say what it is. That is so for awkward arrays of one form. It is `None` to
    /// the end where no input with the array has been appended.
    writer: Option<LeafWriter>,
    out: Group,
    /// Rows of the whole array.
    rows: u64,
    /// Rows so far.
    done: u64,
}

/// One input's rows for a [`Stack`].
pub enum InputRows<'a> {
    Leaf(&'a Leaf),
    /// Its rows are read all together, in one sweep: each has values in many columns.
    Csc(&'a Sparse),
    /// As many rows without values.
    Absent(u64),
}

impl<'a> InputRows<'a> {
    /// A matrix of cells by cells may be CSC, and then is swept.
    pub fn of(leaf: &'a Leaf) -> InputRows<'a> {
        match &leaf.kind {
            LeafKind::SquareSparse(matrix) if matrix.layout == SparseFormat::Csc => {
                InputRows::Csc(matrix)
            }
            _ => InputRows::Leaf(leaf),
        }
    }

    pub fn rows(&self) -> u64 {
        match self {
            InputRows::Leaf(leaf) => leaf.rows(),
            InputRows::Csc(matrix) => matrix.shape[0],
            InputRows::Absent(rows) => *rows,
        }
    }
}

impl Stack {
    /// The array at `path` of `rows` rows; one that is as the first input has it is made with the first rows.
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
            ArrayPlan::Sparse { spec, nnz, .. } => Some(LeafWriter::Sparse(SparseWriter::create(
                out, path, spec, *nnz,
            )?)),
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
    pub fn append(&mut self, input: InputRows, map: &ColumnMap, scratch: &Path) -> Result<()> {
        let context = || format!("Merge '{}'", self.path);
        if let (InputRows::Leaf(leaf), None) = (&input, &self.writer) {
            let writer = LeafWriter::create(leaf, &self.out, self.rows, 0);
            self.writer = Some(writer.with_context(context)?);
        }
        let Some(writer) = &mut self.writer else {
            ensure!(input.rows() == 0, "Rows without values cannot be written");
            return Ok(());
        };
        let to = Destination {
            plan: &self.plan,
            map,
            before: self.done,
        };
        let mut take = |piece: Piece| writer.append_piece(piece);
        input
            .pieces(&to, 0..input.rows(), scratch, &mut take)
            .with_context(context)?;
        self.done += input.rows();
        Ok(())
    }

    /// Appends rows that are as the merged ones. For varm and varp, which are converted and put in order elsewhere.
    pub fn push(&mut self, block: &Block) -> Result<()> {
        let writer = self.writer.as_mut().context("It was not created")?;
        writer.append(block)
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
