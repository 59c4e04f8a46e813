//! A CSC matrix as a CSR one. It is swept once into runs of rows that fit in memory, and each run is turned.
//!
//! A row of the result comes from all columns, so what is swept waits: in memory where it is small, else in scratch,
//! where it takes about as much as the matrix.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::csc::{self, Runs, Swept};
use super::csr::CsrBlock;
use super::nnz::Nnz;
use super::sparse::{Sparse, SparseFormat, SparseSpec};
use super::sparse_writer::SparseWriter;
use super::targets::Targets;
use crate::dtype::ints;
use crate::store::spec::Attrs;
use crate::store::{Group, Node};

/// Hands on all rows of `matrix` in order, some at a time: each takes `row` bytes more than its non-zeros do. Non-zeros
/// come in the order of columns, with indices of 64 bits. What memory does not hold meanwhile goes to a file in
/// `folder`.
pub fn rows(
    matrix: &Sparse,
    row: u64,
    folder: impl FnOnce() -> Result<PathBuf>,
    mut take: impl FnMut(CsrBlock) -> Result<()>,
) -> Result<()> {
    let runs = Runs::of(matrix, csc::run_bytes(matrix), row)?;
    // Runs of cells are swept as outputs are.
    let targets = Targets::Runs(None, runs.cuts.clone());
    let swept = Swept::counted(matrix, &targets, &runs.counts, csc::TURNED, folder)?;
    for (run, cut) in runs.cuts.windows(2).enumerate() {
        take(swept.take(run)?.transpose((cut[1] - cut[0]) as usize)?)?;
    }
    Ok(())
}

/// Writes `matrix` by rows to `path` in `to`; `folder` as for [`rows`].
pub fn write(
    matrix: &Sparse,
    to: &Group,
    path: &str,
    folder: impl FnOnce() -> Result<PathBuf>,
) -> Result<()> {
    let spec = spec(matrix);
    let nnz = Nnz::Exactly(matrix.nnz());
    let mut writer = SparseWriter::create(to, path, &spec, nnz)?;
    rows(matrix, 0, folder, |block| writer.append(&block))?;
    writer.finish().map(drop)
}

/// A matrix that was written to `path` in `made` by [`write`].
pub fn open(made: &Group, path: &str) -> Result<Sparse> {
    match made.get(path)? {
        Some(Node::Group(group)) => Sparse::open(&group, SparseFormat::Csr),
        _ => bail!("'{path}' was not turned"),
    }
}

/// The same matrix by rows: with the types that it has, unless columns need a wider one.
fn spec(matrix: &Sparse) -> SparseSpec {
    let mut spec = matrix.like(matrix.shape);
    spec.layout = SparseFormat::Csr;
    spec.indices = ints::holding(&spec.indices, matrix.shape[1]);
    for (name, value) in Attrs::encoding("csr_matrix", "0.1.0").iter() {
        spec.attrs.set(name, value.clone());
    }
    spec
}

/// What a matrix takes by rows, and what is put down beside that meanwhile.
pub fn scratch_bytes(matrix: &Sparse) -> u64 {
    let end = matrix.indptr.spec().row_bytes();
    let rows = matrix.width().saturating_mul(end);
    let nonzeros = matrix.nnz().saturating_mul(matrix.nonzero_bytes());
    csc::turned_bytes(matrix)
        .saturating_add(nonzeros)
        .saturating_add(rows)
}
