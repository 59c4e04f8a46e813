//! A sparse matrix that is being written: its three arrays, to which blocks of rows are appended.

use std::borrow::Cow;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::csr::{CsrBlock, Pieces};
use super::pattern::Pattern;
use super::ranges::parts;
use super::sparse::{STEP, Sparse, SparseFormat, SparseSpec};
use crate::dtype::ints;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
use crate::store::{Appender, Buffer, Group, Map, Rows, Take, in_lanes, lanes_of};

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
        let (rows, places) = match spec.layout {
            SparseFormat::Csr => (spec.shape[0], spec.shape[1]),
            SparseFormat::Csc => (spec.shape[1], spec.shape[0]),
        };
        let index = if group.container().is_collection {
            ints::narrowest(places)
        } else {
            spec.indices.clone()
        };
        let [of_data, of_indices, of_indptr] = &*spec.part_attrs;
        let (cells, mean) = (spec.shape[0].max(1) as f64, most as f64);
        let element = (spec.data.size() + index.size()) as f64;
        let ends = (rows + 1) as f64 * indptr_type.size() as f64;
        let elements_of = node.along_cells(mean / cells, (mean * element + ends) / cells);
        let list = |node: &Group, name: &str, dtype: &Dtype, len, rows, attrs: &Attrs| {
            let spec = ArraySpec::new(vec![len], dtype.clone());
            node.create_array(name, &spec, rows, attrs)
        };
        let mut writer = SparseWriter {
            path: path.into(),
            data: list(&elements_of, "data", &spec.data, nnz, elements, of_data)?,
            indices: list(&elements_of, "indices", &index, nnz, elements, of_indices)?,
            indptr: list(
                &node,
                "indptr",
                &indptr_type,
                rows + 1,
                Rows::Known,
                of_indptr,
            )?,
            indptr_type,
            written: 0,
            rows,
        };
        writer
            .indptr
            .append(&ints::write(&[0], &writer.indptr_type)?)?;
        Ok(writer)
    }

    /// Appends whole rows. Values must have the type that the writer was made with.
    pub fn append(&mut self, block: &CsrBlock) -> Result<()> {
        self.data.append(&block.data)?;
        self.append_indices(block)?;
        self.append_ends(&block.ptr)
    }

    /// Appends the elements of a block to a row that ends with later ones.
    pub fn append_elements(&mut self, block: &CsrBlock) -> Result<()> {
        self.data.append(&block.data)?;
        self.append_indices(block)?;
        self.written += (block.data.len() / block.item) as u64;
        Ok(())
    }

    /// Appends the rows at `picks` of a block.
    pub fn append_picked(&mut self, block: &CsrBlock, picks: &[u32]) -> Result<()> {
        if self.takes(&block.index) {
            return SparseWriter::append_picked_to(&mut [self], &[block], picks);
        }
        let picked = block.picked(picks);
        let nnz = picked.ptr.last().copied().unwrap_or(0);
        let pieces = |from, item| Pieces {
            picked: &picked,
            from,
            item,
        };
        let data = pieces(&block.data, block.item);
        let fill = |range, out: &mut [u8]| data.fill(range, out);
        self.data.append_filled(nnz, &fill)?;
        let indices = pieces(&block.indices, block.index.size());
        let (old, new) = (&block.index, self.indices.spec().dtype.clone());
        let lost = AtomicBool::new(false);
        let fill = |range: Range<u64>, out: &mut [u8]| {
            let wide = |at: u64| at / new.size() as u64 * old.size() as u64;
            let (start, end) = (wide(range.start), wide(range.end));
            let mut read = vec![0; (end - start) as usize];
            indices.fill(start..end, &mut read);
            match ints::map(&read, old, &new, Some) {
                Ok(Some(narrow)) => out.copy_from_slice(&narrow),
                _ => lost.store(true, Ordering::Relaxed),
            }
        };
        self.indices.append_filled(nnz, &fill)?;
        ensure!(
            !lost.into_inner(),
            "An index of '{}' has no place",
            self.path
        );
        self.append_ends(&picked.ptr)
    }

    /// Appends the rows at `picks` of blocks to a matrix each, which store indices as they are. Indices that blocks hold
    /// together are gathered once.
    pub fn append_picked_to(
        to: &mut [&mut SparseWriter],
        blocks: &[&CsrBlock],
        picks: &[u32],
    ) -> Result<()> {
        let (Some(first), false) = (blocks.first(), to.len() != blocks.len()) else {
            bail!("{} blocks for {} matrices", blocks.len(), to.len());
        };
        ensure!(
            blocks.iter().all(|block| block.holds_with(first))
                && to.iter().all(|to| to.takes(&first.index)),
            "Blocks with indices of their own"
        );
        let picked = first.picked(picks);
        let nnz = picked.ptr.last().copied().unwrap_or(0);
        let pieces = |from, item| Pieces {
            picked: &picked,
            from,
            item,
        };
        for (to, block) in to.iter_mut().zip(blocks) {
            let data = pieces(&block.data, block.item);
            let fill = |range, out: &mut [u8]| data.fill(range, out);
            to.data.append_filled(nnz, &fill)?;
        }
        let indices = pieces(&first.indices, first.index.size());
        let fill = |range, out: &mut [u8]| indices.fill(range, out);
        Appender::append_filled_to(SparseWriter::indices_of(to), nnz, &fill)?;
        to.iter_mut().try_for_each(|to| to.append_ends(&picked.ptr))
    }

    fn indices_of<'a>(to: &'a mut [&mut SparseWriter]) -> Vec<&'a mut Appender> {
        to.iter_mut().map(|to| &mut to.indices).collect()
    }

    /// Whether indices of that type are stored as they are.
    fn takes(&self, index: &Dtype) -> bool {
        self.indices.spec().dtype == *index
    }

    fn append_indices(&mut self, block: &CsrBlock) -> Result<()> {
        let stored = as_stored(block, &self.indices.spec().dtype)?;
        self.indices.append(&stored)
    }

    /// Appends rows of a matrix with the same type of values, as they are stored.
    pub fn append_from(&mut self, from: &Sparse, rows: Range<u64>) -> Result<()> {
        if !self.takes(&from.indices.spec().dtype) {
            return self.append_moved(from, rows, &Some);
        }
        let check = |bytes: &[u8]| from.check_indices(bytes);
        self.append_rows(from, rows, |indices, span| {
            indices.append_from(&from.indices, span, Some(&check))
        })
    }

    /// As [`SparseWriter::append_from`], of matrices that may have the same pattern to a matrix each.
    pub fn append_pattern(
        to: &mut [&mut SparseWriter],
        pattern: &Pattern,
        rows: Range<u64>,
    ) -> Result<()> {
        for rows in parts(rows, STEP) {
            let places = pattern.places(from_ref(&rows))?;
            for (to, (from, places)) in to.iter_mut().zip(pattern.matrices().zip(&places)) {
                for span in &places.spans {
                    to.data.append_from(&from.data, span.clone(), None)?;
                }
                to.append_ends(&places.ptr)?;
            }
            pattern.each_part(&places, |from, together, span| {
                let checked: Map = &|bytes| {
                    from.check_indices(bytes)?;
                    Ok(Cow::Borrowed(bytes))
                };
                let indices = to.iter_mut().enumerate();
                let indices = indices.filter(|(at, _)| together.contains(at));
                let indices = indices.map(|(_, to)| &mut to.indices).collect();
                Appender::append_mapped_to(indices, &from.indices, span, checked)
            })?;
        }
        Ok(())
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
        let stored = self.indices.spec().dtype.clone();
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
                    indices(start, &as_stored(&block, &stored)?)?;
                    *old = (block.indices.into_buffer(), block.data);
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

/// The indices of a block as a type that may be another.
fn as_stored<'a>(block: &'a CsrBlock, stored: &Dtype) -> Result<Cow<'a, [u8]>> {
    if block.index == *stored {
        return Ok(Cow::Borrowed(&block.indices));
    }
    let narrow = ints::map(&block.indices, &block.index, stored, Some)?;
    Ok(Cow::Owned(narrow.context("An index has no place")?))
}
