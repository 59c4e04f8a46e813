//! A sparse matrix on disk: rows read as blocks, blocks appended.
//!
//! CSR and CSC are the same three arrays; "row" here means a row of a CSR matrix and a column of a CSC one.

use std::borrow::Cow;
use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Context, Result, bail, ensure};

use super::copy::parts;
use super::csr::{CsrBlock, Pieces};
use super::ints;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
use crate::store::{Appender, Array, Buffer, Group, Map, Node, Rows, Take, in_lanes, lanes_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Csr,
    Csc,
}

/// Rows whose indptr is held at a time.
const STEP: u64 = 1 << 20;

/// A sparse matrix that is read by rows.
pub struct Sparse {
    path: String,
    pub layout: Layout,
    /// Rows and columns, whatever the layout.
    pub shape: [u64; 2],
    /// Those of its group, in the current format, without `shape`.
    attrs: Attrs,
    part_attrs: Box<[Attrs; 3]>,
    pub data: Array,
    pub indices: Array,
    pub indptr: Array,
}

impl Sparse {
    /// Opens a group that says it is a sparse matrix; an error where its parts do not fit together.
    pub fn open(group: &Group, layout: Layout) -> Result<Sparse> {
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
        open().with_context(|| format!("Open sparse matrix '{path}'"))
    }

    fn check(&self) -> Result<()> {
        let rows = self.rows();
        ensure!(
            self.indptr.spec().rows().checked_sub(1) == Some(rows),
            "its indptr has {} entries, which is not one more than the {rows} of its shape",
            self.indptr.spec().rows()
        );
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
            Layout::Csr => self.shape[0],
            Layout::Csc => self.shape[1],
        }
    }

    /// What every index is smaller than.
    pub fn width(&self) -> u64 {
        match self.layout {
            Layout::Csr => self.shape[1],
            Layout::Csc => self.shape[0],
        }
    }

    pub fn nnz(&self) -> u64 {
        self.data.spec().rows()
    }

    /// Bytes of one stored element.
    pub fn element_bytes(&self) -> u64 {
        (self.data.spec().dtype.size() + self.indices.spec().dtype.size()) as u64
    }

    /// Where the rows in `ranges` (sorted, disjoint) lie among the elements, and where each row begins among those.
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

    /// All rows in runs of about `bytes` bytes; a row that is larger stands alone.
    pub fn blocks(&self, bytes: u64) -> Result<Vec<Range<u64>>> {
        let most = (bytes / (self.element_bytes() + 1)).max(1);
        let (mut blocks, mut start, mut held) = (vec![], 0, 0);
        for part in parts(0..self.rows(), STEP) {
            let (_, ptr) = self.spans(from_ref(&part))?;
            for (row, ends) in part.zip(ptr.windows(2)) {
                let more = ends[1] - ends[0];
                if row > start && (held + more > most || row - start >= most) {
                    blocks.push(start..row);
                    (start, held) = (row, 0);
                }
                held += more;
            }
        }
        if start < self.rows() {
            blocks.push(start..self.rows());
        }
        Ok(blocks)
    }

    /// Elements in the rows of `ranges` (sorted, disjoint).
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        Ok(self.spans(ranges)?.1.last().copied().unwrap_or(0))
    }

    /// Elements in each of the rows of `ranges` (sorted, disjoint).
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
        self.elements(&spans, ptr, old)
    }

    /// The elements in `spans`, of rows that begin at `ptr` among them.
    fn elements(
        &self,
        spans: &[Range<u64>],
        ptr: Vec<u64>,
        old: (Buffer, Buffer),
    ) -> Result<CsrBlock> {
        let index = self.indices.spec().dtype.clone();
        let indices = self.indices.read_over(spans, old.0)?;
        self.check_indices(&indices)?;
        Ok(CsrBlock {
            ptr,
            indices,
            index,
            data: self.data.read_over(spans, old.1)?,
            item: self.data.spec().dtype.size(),
        })
    }

    /// An error unless all of these indices are in range.
    pub fn check_indices(&self, bytes: &[u8]) -> Result<()> {
        let most = ints::largest(bytes, &self.indices.spec().dtype)?;
        ensure!(
            bytes.is_empty() || most < self.width(),
            "An index of '{}' is {}, beyond its {} {}",
            self.path,
            most as i64,
            self.width(),
            if self.layout == Layout::Csr {
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

/// Shape and attributes of a sparse group, as written today or by anndata before 0.7.
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
    pub layout: Layout,
    pub shape: [u64; 2],
    pub attrs: Attrs,
    /// Of data, indices and indptr, which AnnData gives none.
    pub part_attrs: Box<[Attrs; 3]>,
    pub data: Dtype,
    pub indices: Dtype,
    /// Becomes int64 where it cannot hold the number of elements.
    pub indptr: Dtype,
}

/// How many elements a matrix will have.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    Exactly(u64),
    /// Only the writing will tell.
    AtMost(u64),
}

/// A sparse matrix that is being written.
pub struct SparseWriter {
    path: String,
    data: Appender,
    indices: Appender,
    indptr: Appender,
    indptr_type: Dtype,
    /// Elements so far.
    written: u64,
    rows: u64,
}

impl SparseWriter {
    /// Creates the matrix at `path` below `group`.
    pub fn create(
        group: &Group,
        path: &str,
        spec: &SparseSpec,
        nnz: Count,
    ) -> Result<SparseWriter> {
        let attrs = spec.attrs.clone().with("shape", Attr::ints(&spec.shape));
        let node = group.create_group(path, &attrs)?;
        let (Count::Exactly(most) | Count::AtMost(most)) = nnz;
        let indptr_type = ints::holding(&spec.indptr, most);
        let (elements, nnz) = match nnz {
            Count::Exactly(nnz) => (Rows::Known, nnz),
            Count::AtMost(_) => (Rows::Growing, 0),
        };
        let rows = match spec.layout {
            Layout::Csr => spec.shape[0],
            Layout::Csc => spec.shape[1],
        };
        let [of_data, of_indices, of_indptr] = &*spec.part_attrs;
        let list = |name: &str, dtype: &Dtype, len, rows, attrs: &Attrs| {
            let spec = ArraySpec::new(vec![len], dtype.clone());
            node.create_array(name, &spec, rows, attrs)
        };
        let mut writer = SparseWriter {
            path: path.into(),
            data: list("data", &spec.data, nnz, elements, of_data)?,
            indices: list("indices", &spec.indices, nnz, elements, of_indices)?,
            indptr: list("indptr", &indptr_type, rows + 1, Rows::Known, of_indptr)?,
            indptr_type,
            written: 0,
            rows,
        };
        writer
            .indptr
            .append(&ints::write(&[0], &writer.indptr_type)?)?;
        Ok(writer)
    }

    pub fn append(&mut self, block: &CsrBlock) -> Result<()> {
        self.data.append(&block.data)?;
        self.indices.append(&block.indices)?;
        self.append_ends(&block.ptr)
    }

    /// Appends the elements of a block to a row that ends with later ones.
    pub fn append_elements(&mut self, block: &CsrBlock) -> Result<()> {
        self.data.append(&block.data)?;
        self.indices.append(&block.indices)?;
        self.written += (block.data.len() / block.item) as u64;
        Ok(())
    }

    /// Appends the rows at `picks` of a block.
    pub fn append_picked(&mut self, block: &CsrBlock, picks: &[u32]) -> Result<()> {
        let picked = block.picked(picks);
        let ptr = &picked.ptr;
        let nnz = ptr.last().copied().unwrap_or(0);
        let pieces = |from, item| Pieces {
            picked: &picked,
            from,
            item,
        };
        let data = pieces(&block.data, block.item);
        let fill = |range, out: &mut [u8]| data.fill(range, out);
        self.data.append_filled(nnz, &fill)?;
        let indices = pieces(&block.indices, block.index.size());
        let fill = |range, out: &mut [u8]| indices.fill(range, out);
        self.indices.append_filled(nnz, &fill)?;
        self.append_ends(ptr)
    }

    /// Appends rows of a matrix of the same types, as they are stored.
    pub fn append_from(&mut self, from: &Sparse, rows: Range<u64>) -> Result<()> {
        let check = |bytes: &[u8]| from.check_indices(bytes);
        self.append_rows(from, rows, |indices, span| {
            indices.append_from(&from.indices, span, Some(&check))
        })
    }

    /// Appends rows of a matrix with the same type of values, each element at the index that `to` gives for its own.
    pub fn append_moved(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        to: &(dyn Fn(u64) -> Option<u64> + Sync),
    ) -> Result<()> {
        let (old, new) = (
            &from.indices.spec().dtype,
            self.indices.spec().dtype.clone(),
        );
        let map: Map = &|bytes| {
            from.check_indices(bytes)?;
            match ints::map(bytes, old, &new, to)? {
                Some(moved) => Ok(Cow::Owned(moved)),
                None => bail!("A column of '{}' has no place", from.path),
            }
        };
        self.append_rows(from, rows, |indices, span| {
            indices.append_mapped(&from.indices, span, map)
        })
    }

    /// Appends rows as `convert` makes them, each with as many elements as it had: it is called with some rows at a
    /// time, from many threads. False, and nothing was appended, where rows are not read by themselves, or where the
    /// file would hold values and indices in an order of chance.
    pub fn append_converted(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        convert: &(dyn Fn(CsrBlock) -> Result<CsrBlock> + Sync),
    ) -> Result<bool> {
        /// Elements of some rows: they stay in the processor's cache meanwhile.
        const ELEMENTS: u64 = 1 << 16;
        let from_place = from.data.is_placed() && from.indices.is_placed();
        if !from_place || !self.data.is_placed() || !self.indices.is_placed() {
            return Ok(false);
        }
        for part in parts(rows.clone(), STEP) {
            let (spans, ptr) = from.spans(from_ref(&part))?;
            let first = spans.first().map_or(0, |span| span.start);
            let nnz = ptr.last().copied().unwrap_or(0);
            let mut cuts = vec![0];
            while let Some(&row) = cuts.last()
                && row + 1 < ptr.len()
            {
                let end = ptr.partition_point(|&p| p <= ptr[row] + ELEMENTS) - 1;
                cuts.push(end.max(row + 1));
            }
            let run = |data: Take, indices: Take| {
                let run = |old: &mut (Buffer, Buffer), task: u64| {
                    let ptr = &ptr[cuts[task as usize]..=cuts[task as usize + 1]];
                    let (start, end) = (ptr[0], ptr[ptr.len() - 1]);
                    let span = first + start..first + end;
                    let ptr = ptr.iter().map(|p| p - start).collect();
                    let block =
                        convert(from.elements(from_ref(&span), ptr, std::mem::take(old))?)?;
                    ensure!(
                        block.nnz() == end - start,
                        "Elements of '{}' were lost",
                        from.path
                    );
                    data(start, &block.data)?;
                    indices(start, &block.indices)?;
                    *old = (block.indices, block.data);
                    Ok(())
                };
                in_lanes(
                    lanes_of(ELEMENTS * from.element_bytes()),
                    cuts.len() as u64 - 1,
                    run,
                )
                .map(|()| true)
            };
            let done = self.data.append_parts(nnz, |data| {
                self.indices.append_parts(nnz, |indices| run(data, indices))
            })?;
            if !done {
                ensure!(part.start == rows.start, "'{}' takes no parts", self.path);
                return Ok(false);
            }
            self.append_ends(&ptr)?;
        }
        Ok(true)
    }

    /// Appends rows whose values stay as they are; `append` sees to the indices of a span of elements.
    fn append_rows(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        append: impl Fn(&mut Appender, Range<u64>) -> Result<()>,
    ) -> Result<()> {
        for part in parts(rows, STEP) {
            let (spans, ptr) = from.spans(from_ref(&part))?;
            for span in spans {
                self.data.append_from(&from.data, span.clone(), None)?;
                append(&mut self.indices, span)?;
            }
            self.append_ends(&ptr)?;
        }
        Ok(())
    }

    /// Appends where rows end whose elements were appended; the first begins at 0 in `ptr`.
    fn append_ends(&mut self, ptr: &[u64]) -> Result<()> {
        let ends: Vec<u64> = ptr[1..].iter().map(|end| self.written + end).collect();
        self.written += ptr.last().copied().unwrap_or(0);
        self.indptr.append(&ints::write(&ends, &self.indptr_type)?)
    }

    /// Checks that as many elements were written as indptr says; returns their number.
    pub fn finish(self) -> Result<u64> {
        let (data, indices) = (self.data.finish()?, self.indices.finish()?);
        let rows = self.indptr.finish()?;
        ensure!(
            data == self.written && indices == self.written && rows == self.rows + 1,
            "Write '{}': {data} values and {indices} indices for an indptr that ends at {}",
            self.path,
            self.written
        );
        Ok(self.written)
    }
}
