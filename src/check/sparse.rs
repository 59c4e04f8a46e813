//! Sparse matrices: offsets that never decrease, indices in range, and what of rows is sorted and distinct.
//!
//! "Row" means a column where the matrix is CSC. A row of any length is read in blocks.
//!
//! Offsets come in steps of 2^18 rows; of those, rows of about a million non-zeros together are read and looked at on
//! all cores. A longer row is read block by block, and only if its indices are out of order are they read again, to
//! count those that are repeated.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::Result;
use rayon::prelude::*;

use super::values::BLOCK;
use super::{Checker, Expected, below, is_half};
use crate::dtype::ints;
use crate::frame::distinct;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::store::Group;
use crate::store::spec::Attr;

/// Rows whose offsets are held at a time.
const STEP: u64 = 1 << 18;
/// Non-zeros that are looked at together.
const NONZEROS: u64 = BLOCK / size_of::<u64>() as u64;

/// How the indices of rows are ordered.
#[derive(Clone, Copy, Default)]
struct Sorting {
    /// Rows that are not sorted.
    unsorted: u64,
    /// Non-zeros at a place of their row that a non-zero had before.
    /// `[2, 5, 2, 2]` has two of them.
    repeated: u64,
}

impl Sorting {
    fn and(self, other: Sorting) -> Sorting {
        Sorting {
            unsorted: self.unsorted + other.unsorted,
            repeated: self.repeated + other.repeated,
        }
    }
}

impl Checker<'_> {
    /// A sparse matrix. That offsets and lengths fit at both ends is checked as it is opened; if not, nothing else is.
    pub fn sparse(&mut self, path: &str, group: &Group, layout: SparseFormat, place: Expected) {
        let sparse = match Sparse::open(group, layout) {
            Ok(sparse) => sparse,
            Err(error) => return self.findings.failed(path, &error),
        };
        self.agrees(path, "rows", sparse.shape[0], place.rows());
        self.agrees(path, "columns", sparse.shape[1], place.columns());
        let dtype = &sparse.data.spec().dtype;
        if dtype.is_string() {
            let what = format!("Its values are {dtype}");
            self.findings.error(path, what);
        }
        if is_half(dtype) {
            let what = "Its values are float16, of which today's scipy makes no sparse matrix";
            self.findings.note(path, what);
        }
        if sparse.data.layout().is_ok_and(|layout| layout.big_endian) {
            let what = "Its values are big-endian, of which today's scipy makes no sparse matrix";
            self.findings.note(path, what);
        }
        let shape = group
            .attrs()
            .ok()
            .and_then(|attrs| attrs.get("shape").cloned());
        if matches!(&shape, Some(Attr::Bytes { dtype, .. }) if !dtype.is_integer()) {
            self.findings.note(path, "Its 'shape' is not of integers");
        }
        if matches!(&shape, Some(Attr::Bytes { shape, .. }) if shape.len() != 1) {
            self.findings
                .error(path, "Its 'shape' is not a list of two sizes");
        }
        // Values are read like those of any array. Indices and offsets are read here, once, as what they are.
        self.values(&below(path, "data"), &sparse.data);
        let indices = self.may_read(&below(path, "indices"), &sparse.indices);
        if !indices || !self.may_read(&below(path, "indptr"), &sparse.indptr) {
            return;
        }
        let mut order = Sorting::default();
        let mut start = 0;
        while start < sparse.rows() {
            let end = sparse.rows().min(start.saturating_add(STEP));
            match sparse.spans(from_ref(&(start..end))) {
                Ok((spans, ptr)) => {
                    let first = spans.first().map_or(0, |span| span.start);
                    order = order.and(self.rows(path, &sparse, first, &ptr));
                }
                // Offsets that decrease are told for each step, and the other steps are looked at.
                Err(error) => self.findings.failed(path, &error),
            }
            start = end;
        }
        let (row, by) = match layout {
            SparseFormat::Csr => ("Rows", "column"),
            SparseFormat::Csc => ("Columns", "row"),
        };
        let (Sorting { unsorted, repeated }, rows) = (order, sparse.rows());
        if unsorted > 0 {
            let what = format!("{row} not sorted by {by}: {unsorted} of {rows}");
            self.findings.note(path, what);
        }
        if repeated > 0 {
            let nnz = sparse.nnz();
            let what =
                format!("Elements that repeat a place: {repeated} of {nnz}; scipy adds them up");
            self.findings.note(path, what);
        }
    }

    /// Rows whose non-zeros begin at `first`, each at its entry of `ptr` from there.
    ///
    /// `ptr` begins with 0 and has one entry more than there are rows: `[0, 2, 5]` are rows of 2 and 3 non-zeros.
    fn rows(&mut self, path: &str, sparse: &Sparse, first: u64, ptr: &[u64]) -> Sorting {
        let mut order = Sorting::default();
        let mut row = 0;
        while row + 1 < ptr.len() {
            // Rows before `end` have so many non-zeros at most; it is `row` where that one alone has more.
            let end = ptr.partition_point(|&p| p <= ptr[row] + NONZEROS) - 1;
            let found = if end == row {
                self.long_row(sparse, first + ptr[row]..first + ptr[row + 1])
            } else {
                order_of(sparse, first, &ptr[row..=end])
            };
            match found {
                Ok(found) => order = order.and(found),
                Err(error) => self.findings.failed(path, &error),
            }
            row = end.max(row + 1);
        }
        order
    }

    /// One row that is too long for a block.
    fn long_row(&self, sparse: &Sparse, row: Range<u64>) -> Result<Sorting> {
        let blocks = || {
            let starts = row.clone().step_by(NONZEROS as usize);
            starts.map(|start| start..row.end.min(start + NONZEROS))
        };
        // Where blocks meet, the last index of one is compared with the first of the next.
        let (mut order, mut last) = (Sorting::default(), None);
        for block in blocks() {
            let indices = read(sparse, block)?;
            let here = order_of_row(&indices);
            let (first, before) = (indices.first().copied(), last);
            order.repeated += here.repeated + u64::from(before.is_some() && before == first);
            order.unsorted |= here.unsorted | u64::from(before > first);
            last = indices.last().copied();
        }
        // Equal indices need not be neighbours there: what was counted so far is not all.
        if order.unsorted > 0 {
            let count = row.end - row.start;
            let found = distinct::repeats(count, self.budget / 2, |see| {
                blocks().try_for_each(|block| {
                    see(read(sparse, block)?);
                    Ok(())
                })
            })?;
            order.repeated = found.count;
        }
        Ok(order)
    }
}

/// Indices of some non-zeros, each in range.
fn read(sparse: &Sparse, nonzeros: Range<u64>) -> Result<Vec<u64>> {
    let bytes = sparse.indices.read(from_ref(&nonzeros))?;
    sparse.check_indices(&bytes)?;
    ints::read(&bytes, &sparse.indices.spec().dtype)
}

/// The same of whole rows that are short enough to be read together; `ptr` are their offsets, counted as in `rows`.
fn order_of(sparse: &Sparse, first: u64, ptr: &[u64]) -> Result<Sorting> {
    let (start, end) = (ptr[0], ptr[ptr.len() - 1]);
    let indices = read(sparse, first + start..first + end)?;
    let rows = ptr.par_windows(2).with_min_len(64);
    let rows = rows.map(|row| &indices[(row[0] - start) as usize..(row[1] - start) as usize]);
    Ok(rows
        .map(order_of_row)
        .reduce(Sorting::default, Sorting::and))
}

/// Of one row, or a part of it.
fn order_of_row(indices: &[u64]) -> Sorting {
    let equal = |sorted: &[u64]| sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if indices.is_sorted() {
        return Sorting {
            unsorted: 0,
            repeated: equal(indices) as u64,
        };
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    Sorting {
        unsorted: 1,
        repeated: equal(&sorted) as u64,
    }
}
