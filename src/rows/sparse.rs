//! A sparse matrix on disk: rows read as blocks, blocks appended.
//!
//! CSR and CSC are the same three arrays (anndata format, "Sparse arrays"); "row" here means a row of a CSR matrix and
//! a column of a CSC one. `indptr` has one entry more than there are rows, begins at 0 and never decreases; `indices` and
//! `data` have as many entries as its last. That is checked at the ends when a matrix is opened, and in between as rows
//! are read, so a damaged indptr is an error before it becomes an address.
//!
//! `[[0, 5, 6], [0, 0, 0], [7, 0, 0]]` is `data` `[5, 6, 7]`, `indices` `[1, 2, 0]` and `indptr` `[0, 2, 2, 3]` in CSR.
//! The shape is an attribute of the group, as the width is nowhere else.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Context, Result, bail, ensure};

use super::csr::CsrBlock;
use crate::dtype::ints;
use crate::report::failure::in_element;
use crate::rows::ranges::steps;
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{Array, Buffer, Group, Node};

/// Which axis indptr runs along: rows (CSR) or columns (CSC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparseFormat {
    Csr,
    Csc,
}

/// Rows whose indptr is held at a time.
pub const STEP: u64 = 1 << 20;

/// A sparse matrix that is read by rows.
pub struct Sparse {
    pub path: String,
    pub layout: SparseFormat,
    /// Rows and columns, whatever the layout.
    pub shape: [u64; 2],
    /// Those of its group, in the current format, without `shape`.
    attrs: Attrs,
    /// Those of data, indices and indptr; the format has none, but they are kept.
    part_attrs: Box<[Attrs; 3]>,
    /// The values, one for each non-zero.
    pub data: Array,
    /// Of each non-zero the column in CSR, the row in CSC.
    pub indices: Array,
    /// Where the non-zeros of each row (column in CSC) begin, and the end of the last.
    pub indptr: Array,
}

impl Sparse {
    /// Opens a group that says it is a sparse matrix; an error where its parts do not fit together.
    pub fn open(group: &Group, layout: SparseFormat) -> Result<Sparse> {
        let path = group.path();
        let open = || -> Result<Sparse> {
            let part = |name: &str| match group.get(name)? {
                Some(Node::Array(array)) if array.spec().shape.len() == 1 => Ok(array),
                _ => bail!("it has no list '{name}'"),
            };
            let (shape, attrs) = describe(group)?;
            let (data, indices, indptr) = (part("data")?, part("indices")?, part("indptr")?);
            let sparse = Sparse {
                path: path.clone(),
                layout,
                shape,
                attrs,
                part_attrs: Box::new([data.attrs()?, indices.attrs()?, indptr.attrs()?]),
                data,
                indices,
                indptr,
            };
            sparse.check()?;
            Ok(sparse)
        };
        open().with_context(|| in_element("Open sparse matrix", path))
    }

    fn check(&self) -> Result<()> {
        let rows = self.rows();
        ensure!(
            self.indptr.spec().rows().checked_sub(1) == Some(rows),
            "its indptr has {} entries, which is not one more than the {rows} of its shape",
            self.indptr.spec().rows()
        );
        // Of a matrix without rows the first entry is the last one too.
        let ends = [0..1, rows..rows + 1];
        let ends = &ends[..1 + usize::from(rows > 0)];
        let ends = ints::read(&self.indptr.read(ends)?, &self.indptr.spec().dtype)?;
        let (first, last) = (ends[0], ends[ends.len() - 1]);
        let nnz = self.data.spec().rows();
        ensure!(first == 0, "its indptr begins at {first}, not at 0");
        ensure!(
            self.indices.spec().rows() == nnz && last == nnz,
            "its indptr ends at {last}, but it has {} indices and {nnz} values",
            self.indices.spec().rows()
        );
        ensure!(
            self.indices.spec().dtype.is_integer(),
            "its indices are {}",
            self.indices.spec().dtype
        );
        ensure!(
            self.data.spec().dtype.size() > 0,
            "its values are {}",
            self.data.spec().dtype
        );
        Ok(())
    }

    /// Rows of a CSR matrix, columns of a CSC one.
    pub fn rows(&self) -> u64 {
        match self.layout {
            SparseFormat::Csr => self.shape[0],
            SparseFormat::Csc => self.shape[1],
        }
    }

    /// What every index is smaller than.
    pub fn width(&self) -> u64 {
        match self.layout {
            SparseFormat::Csr => self.shape[1],
            SparseFormat::Csc => self.shape[0],
        }
    }

    /// Non-zeros of the whole matrix.
    pub fn nnz(&self) -> u64 {
        self.data.spec().rows()
    }

    /// Bytes of one non-zero.
    pub fn nonzero_bytes(&self) -> u64 {
        (self.data.spec().dtype.size() + self.indices.spec().dtype.size()) as u64
    }

    /// Where the rows in `ranges` (sorted, disjoint) lie among the non-zeros, and where each row begins among those.
    ///
    /// Of `indptr` `[0, 2, 2, 5, 9]` and ranges `[0..2, 3..4]` that is `[0..2, 5..9]` and `[0, 2, 2, 6]`. Spans that
    /// meet become one, and empty ones are left out.
    pub fn spans(&self, ranges: &[Range<u64>]) -> Result<(Vec<Range<u64>>, Vec<u64>)> {
        let with_ends: Vec<_> = ranges.iter().map(|r| r.start..r.end + 1).collect();
        let bytes = self.indptr.read(&with_ends)?;
        let offsets = ints::read(&bytes, &self.indptr.spec().dtype)?;
        let nnz = self.nnz();
        let mut spans: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        let mut ptr = Vec::with_capacity(offsets.len() + 1 - ranges.len());
        ptr.push(0);
        let (mut at, mut total, mut before) = (0, 0, 0);
        for range in ranges {
            let count = (range.end - range.start) as usize;
            let here = &offsets[at..=at + count];
            ensure!(
                // Offsets between ranges are not read, so the first of a range is held against the last before it.
                before <= here[0] && here.is_sorted() && here[count] <= nnz,
                "The indptr of '{}' decreases or overruns its {nnz} elements in rows {} to {}",
                self.path,
                range.start,
                range.end
            );
            ptr.extend(here[1..].iter().map(|end| total + end - here[0]));
            total += here[count] - here[0];
            before = here[count];
            at += count + 1;
            match spans.last_mut() {
                Some(last) if last.end == here[0] => last.end = here[count],
                _ if here[0] < here[count] => spans.push(here[0]..here[count]),
                _ => {}
            }
        }
        Ok((spans, ptr))
    }

    /// Rows in runs of about `bytes` bytes; a row that is larger stands alone.
    pub fn blocks(&self, rows: Range<u64>, bytes: u64) -> Result<Vec<Range<u64>>> {
        let most = (bytes / (self.nonzero_bytes() + 1)).max(1);
        let (mut blocks, mut start, mut held) = (vec![], rows.start, 0);
        for part in steps(rows.clone(), STEP) {
            let (_, ptr) = self.spans(from_ref(&part))?;
            for (row, ends) in part.zip(ptr.windows(2)) {
                let more = ends[1] - ends[0];
                // Rows without non-zeros count too: each takes memory for its offset.
                if row > start && (held + more > most || row - start >= most) {
                    blocks.push(start..row);
                    (start, held) = (row, 0);
                }
                held += more;
            }
        }
        if start < rows.end {
            blocks.push(start..rows.end);
        }
        Ok(blocks)
    }

    /// Non-zeros in the rows of `ranges` (sorted, disjoint).
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        Ok(self.spans(ranges)?.1.last().copied().unwrap_or(0))
    }

    /// Non-zeros in each of the rows of `ranges` (sorted, disjoint).
    pub fn counts(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        let ptr = self.spans(ranges)?.1;
        Ok(ptr.windows(2).map(|ends| ends[1] - ends[0]).collect())
    }

    /// The rows of `ranges` (sorted, disjoint); every index is checked against the width.
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<CsrBlock> {
        self.read_over(ranges, Default::default())
    }

    /// As [`Sparse::read`], into the memory of indices and data that are no longer needed.
    pub fn read_over(&self, ranges: &[Range<u64>], old: (Buffer, Buffer)) -> Result<CsrBlock> {
        let (spans, ptr) = self.spans(ranges)?;
        self.nonzeros(&spans, ptr, old)
    }

    /// The non-zeros in `spans`, of rows that begin at `ptr` among them.
    pub fn nonzeros(
        &self,
        spans: &[Range<u64>],
        ptr: Vec<u64>,
        old: (Buffer, Buffer),
    ) -> Result<CsrBlock> {
        Ok(CsrBlock {
            ptr,
            indices: self.read_indices(spans, old.0)?.into(),
            index: self.indices.spec().dtype.clone(),
            data: self.data.read_over(spans, old.1)?,
            item: self.data.spec().dtype.size(),
        })
    }

    /// The indices in `spans`, into the memory of some that are no longer needed.
    pub fn read_indices(&self, spans: &[Range<u64>], old: Buffer) -> Result<Buffer> {
        let indices = self.indices.read_over(spans, old)?;
        self.check_indices(&indices)?;
        Ok(indices)
    }

    /// An error unless all of these indices are in range.
    pub fn check_indices(&self, bytes: &[u8]) -> Result<()> {
        let most = ints::largest(bytes, &self.indices.spec().dtype)?;
        ensure!(
            bytes.is_empty() || most < self.width(),
            "An index of '{}' is {}, beyond its {} {}",
            self.path,
            // A negative index is read as a number above all others, and shown as what it was.
            most as i64,
            self.width(),
            if self.layout == SparseFormat::Csr {
                "columns"
            } else {
                "rows"
            }
        );
        Ok(())
    }

    /// What a matrix needs that holds the same types; `shape` is its own.
    pub fn like(&self, shape: [u64; 2]) -> SparseSpec {
        SparseSpec {
            layout: self.layout,
            shape,
            attrs: self.attrs.clone(),
            part_attrs: self.part_attrs.clone(),
            data: self.data.spec().dtype.clone(),
            indices: self.indices.spec().dtype.clone(),
            indptr: self.indptr.spec().dtype.clone(),
        }
    }
}

/// Shape and attributes of a sparse group, as written today or by anndata before 0.7. `shape` is not among the
/// attributes: each output has its own. An error where it has no two sizes.
pub fn describe(group: &Group) -> Result<([u64; 2], Attrs)> {
    let mut attrs = group.attrs()?;
    let shape = ["shape", "h5sparse_shape"]
        .iter()
        .find_map(|name| attrs.remove(name))
        .and_then(|shape| <[u64; 2]>::try_from(shape.as_ints()?).ok())
        .context("it has no attribute 'shape' of two sizes")?;
    let old = attrs.remove("h5sparse_format");
    if attrs.get("encoding-type").is_none() {
        let kind = match old.as_ref().and_then(Attr::as_text) {
            Some("csc") => "csc_matrix",
            _ => "csr_matrix",
        };
        attrs = Attrs::encoding(kind, "0.1.0");
    }
    Ok((shape, attrs))
}

/// What a sparse matrix is before it is written.
#[derive(Clone, Debug)]
pub struct SparseSpec {
    pub layout: SparseFormat,
    /// Rows and columns, whatever the layout.
    pub shape: [u64; 2],
    pub attrs: Attrs,
    /// Of data, indices and indptr, which AnnData gives none.
    pub part_attrs: Box<[Attrs; 3]>,
    pub data: Dtype,
    pub indices: Dtype,
    /// Becomes int64 where it cannot hold the number of non-zeros.
    pub indptr: Dtype,
}
