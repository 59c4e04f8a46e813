//! The rows of many inputs one after another: what one merged array is ([`plan`]), and appending to it.

mod convert;
mod plan;

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::csc::{Runs, Sweeper};
use super::csr::CsrBlock;
use super::join::ColumnMap;
use super::matrix::{Sparse, SparseWriter};
use super::promote;
use super::rows::{Block, Leaf, LeafWriter, Source};
use crate::store::spec::{ArraySpec, Attrs, Dtype};
use crate::store::{Group, Rows, read_ahead};
use convert::Converter;
pub use plan::{Part, Plan, Shape};

/// A merged array that is being written.
pub struct Stack {
    plan: Plan,
    path: String,
    /// Made with the first rows, where those say what it is.
    writer: Option<LeafWriter>,
    out: Group,
    rows: u64,
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

impl Stack {
    pub fn create(out: &Group, path: &str, plan: Plan, rows: u64) -> Result<Stack> {
        let array = |row: &[u64], dtype: &Dtype, attrs: &Attrs| {
            let mut shape = vec![rows];
            shape.extend(row);
            let spec = ArraySpec::new(shape, dtype.clone());
            out.create_array(path, &spec, Rows::Known, attrs)
                .map(LeafWriter::Array)
        };
        let writer = match &plan {
            Plan::Dense { dtype, row } => {
                Some(array(row, dtype, &Attrs::encoding("array", "0.2.0"))?)
            }
            Plan::Text { row } => {
                let attrs = Attrs::encoding("string-array", "0.2.0");
                Some(array(row, &Dtype::String, &attrs)?)
            }
            Plan::Sparse { spec, count } => Some(LeafWriter::Sparse(SparseWriter::create(
                out, path, spec, *count,
            )?)),
            Plan::Awkward => None,
        };
        Ok(Stack {
            plan,
            path: path.into(),
            writer,
            out: out.clone(),
            rows,
        })
    }

    /// Appends the rows of one input, its columns moved by `map`.
    pub fn append(&mut self, input: Input, map: &ColumnMap, budget: u64) -> Result<()> {
        let context = format!("Merge '{}'", self.path);
        match input {
            Input::Leaf(leaf) => self.append_leaf(leaf, map),
            Input::Csc(matrix) => self.append_csc(matrix, map, budget),
            Input::Absent(rows) => self.append_missing(rows),
        }
        .context(context)
    }

    fn append_leaf(&mut self, leaf: &Leaf, map: &ColumnMap) -> Result<()> {
        if self.writer.is_none() {
            self.writer = Some(leaf.create(&self.out, self.rows, 0)?);
        }
        let converter = Converter {
            plan: &self.plan,
            map,
            leaf: Shape::of_leaf(leaf)?,
        };
        let Some(writer) = &mut self.writer else {
            bail!("It was not created");
        };
        let cost = leaf.cost()?;
        if converter.keeps_all() {
            return writer.append_from(leaf, 0..leaf.rows(), None, cost);
        }
        let read = |rows, old| leaf.read_over(std::slice::from_ref(&rows), old);
        read_ahead(sparse_blocks(leaf, cost.fixed)?, read, |block| {
            let block = converter.convert(block)?;
            writer.append(&block)?;
            Ok(block)
        })
    }

    /// A CSC matrix by rows: as many of them at a time as the budget holds, each time sweeping all of it.
    fn append_csc(&mut self, matrix: &Sparse, map: &ColumnMap, budget: u64) -> Result<()> {
        let runs = Runs::of(matrix, budget / 4)?;
        let mut sweeper = Sweeper::of_runs(matrix, &runs, budget / 2);
        let converter = Converter {
            plan: &self.plan,
            map,
            leaf: Shape::of_sparse(matrix),
        };
        for (part, cut) in runs.cuts.windows(2).enumerate() {
            let columns = sweeper.take(part)?;
            let block = columns.transpose((cut[1] - cut[0]) as usize)?;
            let Some(writer) = &mut self.writer else {
                bail!("It was not created");
            };
            writer.append(&converter.convert(Block::Sparse(block))?)?;
        }
        Ok(())
    }

    fn append_missing(&mut self, rows: u64) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            ensure!(rows == 0, "Rows without values cannot be written");
            return Ok(());
        };
        let row = match &self.plan {
            Plan::Dense { dtype, row } => row.iter().product::<u64>() * dtype.size() as u64,
            _ => 8,
        };
        for part in super::copy::blocks(rows, row) {
            let count = (part.end - part.start) as usize;
            writer.append(&match &self.plan {
                Plan::Dense { dtype, row } => Block::Fixed {
                    row: row.iter().product::<u64>() as usize * dtype.size(),
                    bytes: promote::nan(dtype)?
                        .repeat(count * row.iter().product::<u64>() as usize),
                },
                Plan::Sparse { spec, .. } => Block::Sparse(CsrBlock {
                    ptr: vec![0; count + 1],
                    indices: vec![],
                    index: spec.indices.clone(),
                    data: vec![],
                    item: spec.data.size(),
                }),
                Plan::Text { .. } | Plan::Awkward => bail!("Rows without values cannot be written"),
            })?;
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

/// Row ranges of about [`BLOCK`] bytes of one input.
fn sparse_blocks(leaf: &Leaf, fixed: u64) -> Result<Vec<Range<u64>>> {
    let rows = leaf.rows();
    let Source::Sparse(matrix) = &leaf.source else {
        let step = (BLOCK / fixed.max(1)).max(1);
        return Ok((0..rows.div_ceil(step))
            .map(|i| i * step..((i + 1) * step).min(rows))
            .collect());
    };
    matrix.blocks(BLOCK)
}
