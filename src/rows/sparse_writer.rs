//! A sparse matrix that is being written: its three arrays, to which blocks of rows are appended.
//!
//! indptr is written as ends of rows of this matrix, begun with 0, whatever those of the rows were. The arrays are
//! created before the first row with as many values as are announced, or grow where that is not known;
//! [`SparseWriter::finish`] checks that all three agree. Values are bytes of one type; indices are stored as a type of
//! the output, into which those of a block are mapped, with an error for one that does not fit.
//!
//! Ways in: a block in memory, rows picked of one, rows as they lie in another file (values past memory where that can
//! be, indices checked against the width), the same with other columns, and rows that a function converts.

use std::borrow::Cow;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail, ensure};

use super::csr::{CsrBlock, Pieces};
use super::nnz::Nnz;
use super::ranges::steps;
use super::sparse::{STEP, Sparse, SparseFormat, SparseSpec};
use super::sparsity::Sparsity;
use crate::dtype::ints;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
use crate::store::{
    Appender, Buffer, Group, Map, Portion, Rows, Take, in_lanes, lanes_of, read_ahead,
};

/// Bytes of rows that are converted at a time.
const CONVERTED: u64 = 16 << 20;

/// A sparse matrix that is being written.
pub struct SparseWriter {
    path: String,
    data: Appender,
    indices: Appender,
    indptr: Appender,
    /// As wide as the number of non-zeros needs, which may be wider than that of the source.
    indptr_type: Dtype,
    /// Whether indptr has its first entry.
    begun: bool,
    /// Non-zeros so far.
    written: u64,
    /// Rows of a CSR matrix, columns of a CSC one.
    rows: u64,
}

impl SparseWriter {
    /// Creates the matrix at `path` below `group`. With [`Nnz::AtMost`] its arrays grow as rows come.
    pub fn create(group: &Group, path: &str, spec: &SparseSpec, nnz: Nnz) -> Result<SparseWriter> {
        let (how, len) = match nnz {
            Nnz::Exactly(nnz) | Nnz::Counted { nnz, .. } => (Rows::Known, nnz),
            Nnz::AtMost(_) => (Rows::Growing, 0),
        };
        SparseWriter::create_with(group, path, spec, (how, len, nnz.most()))
    }

    /// Creates the matrix so that its `nnz` non-zeros stay in the files from which they are appended.
    pub fn linked(group: &Group, path: &str, spec: &SparseSpec, nnz: u64) -> Result<SparseWriter> {
        SparseWriter::create_with(group, path, spec, (Rows::Linked, nnz, nnz))
    }

    /// Creates the matrix with data and indices of `len` values, so laid out as where there are `most` non-zeros.
    fn create_with(
        group: &Group,
        path: &str,
        spec: &SparseSpec,
        (how, len, most): (Rows, u64, u64),
    ) -> Result<SparseWriter> {
        let attrs = spec.attrs.clone().with("shape", Attr::ints(&spec.shape));
        let node = group.create_group(path, &attrs)?;
        // int32 holds no offset of 2^31 or more.
        let indptr_type = ints::holding(&spec.indptr, most);
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
        // Where chunks are given in cells, data and indices get as many values as so many cells have in the mean;
        // indptr is cut as any other list.
        let (cells, nonzeros) = (spec.shape[0].max(1) as f64, most as f64);
        let nonzero = (spec.data.size() + index.size()) as f64;
        let ends = (rows + 1) as f64 * indptr_type.size() as f64;
        let cut = node.along_cells(nonzeros / cells, (nonzeros * nonzero + ends) / cells);
        let list = |to: &Group, (name, attrs): (&str, &Attrs), dtype: &Dtype, len, how| {
            let spec = ArraySpec::new(vec![len], dtype.clone());
            to.create_array(name, &spec, how, attrs)
        };
        let known = Rows::Known;
        Ok(SparseWriter {
            path: path.into(),
            data: list(&cut, ("data", of_data), &spec.data, len, how)?,
            indices: list(&cut, ("indices", of_indices), &index, len, how)?,
            indptr: list(&node, ("indptr", of_indptr), &indptr_type, rows + 1, known)?,
            indptr_type,
            begun: false,
            written: 0,
            rows,
        })
    }

    /// Appends whole rows. Values must have the type that the writer was made with.
    pub fn append(&mut self, block: &CsrBlock) -> Result<()> {
        self.data.append(&block.data)?;
        self.append_indices(block)?;
        self.append_ends(&block.ptr)
    }

    /// Appends the non-zeros of a block to a row that ends with later ones.
    pub fn append_nonzeros(&mut self, block: &CsrBlock) -> Result<()> {
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
        // Indices change their type on the way: each part is gathered as it was, and mapped into its place.
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
                // `fill` returns no error, so one is noted and told after.
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
        // Offsets that are looked up once serve the values of all blocks, and the one set of indices.
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
    pub fn takes(&self, index: &Dtype) -> bool {
        self.indices.spec().dtype == *index
    }

    fn append_indices(&mut self, block: &CsrBlock) -> Result<()> {
        let stored = block.indices_as(&self.indices.spec().dtype)?;
        self.indices.append(&stored)
    }

    /// Appends rows of a matrix with the same type of values, as they are stored.
    pub fn append_from(&mut self, from: &Sparse, rows: Range<u64>) -> Result<()> {
        if !self.takes(&from.indices.spec().dtype) {
            // Each index stays what it is, in another type.
            return self.append_moved(from, rows, &Some);
        }
        let check = |bytes: &[u8]| from.check_indices(bytes);
        self.append_rows(from, rows, |indices, span| {
            indices.append_from(&from.indices, span, Some(&check))
        })
    }

    /// As [`SparseWriter::append_from`], of matrices that may have the same sparsity to a matrix each.
    pub fn append_shared(
        to: &mut [&mut SparseWriter],
        sparsity: &Sparsity,
        rows: Range<u64>,
    ) -> Result<()> {
        // Where an index changes its type, each matrix is appended by itself.
        let mut each = to.iter().zip(sparsity.matrices());
        if !each.all(|(to, from)| to.takes(&from.indices.spec().dtype)) {
            let mut each = to.iter_mut().zip(sparsity.matrices());
            return each.try_for_each(|(to, from)| to.append_from(from, rows.clone()));
        }
        for rows in steps(rows, STEP) {
            let places = sparsity.places(from_ref(&rows))?;
            for (to, (from, places)) in to.iter_mut().zip(sparsity.matrices().zip(&places)) {
                // Values and offsets are each matrix's own; indices may be shared, below.
                for span in &places.spans {
                    to.data.append_from(&from.data, span.clone(), None)?;
                }
                to.append_ends(&places.ptr)?;
            }
            sparsity.each_part(&places, |from, together, span| {
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

    /// Appends rows of a matrix with the same type of values, each non-zero at the index that `to` gives for its own.
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

    /// Appends rows as `convert` makes them, each with as many non-zeros as it had: it is called with some rows at a
    /// time, from many threads.
    pub fn append_converted(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        convert: &(dyn Fn(CsrBlock) -> Result<CsrBlock> + Sync),
    ) -> Result<()> {
        // Else the file would hold values and indices in an order of chance, or chunks would be decoded for a few rows.
        let placed = [&from.data, &from.indices].iter().all(|a| a.is_placed())
            && [&self.data, &self.indices].iter().all(|a| a.is_placed());
        if placed && self.append_converted_rows(from, rows.clone(), convert)? {
            return Ok(());
        }
        let read = |rows, old: Option<CsrBlock>| {
            let old = old.map(|block| (block.indices.into_buffer(), block.data));
            from.read_over(from_ref(&rows), old.unwrap_or_default())
        };
        read_ahead(from.blocks(rows, CONVERTED)?, read, |block| {
            let block = convert(block)?;
            self.append(&block)?;
            Ok(block)
        })
    }

    /// As [`SparseWriter::append_converted`], a few rows in each task. False, and nothing was appended, where the file
    /// cannot be written so.
    fn append_converted_rows(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        convert: &(dyn Fn(CsrBlock) -> Result<CsrBlock> + Sync),
    ) -> Result<bool> {
        /// Non-zeros of some rows: they stay in the processor's cache meanwhile.
        const NONZEROS: u64 = 1 << 16;
        let stored = self.indices.spec().dtype.clone();
        for part in steps(rows.clone(), STEP) {
            let (spans, ptr) = from.spans(from_ref(&part))?;
            // Rows that follow each other have one span, or none where they have no non-zeros.
            let first = spans.first().map_or(0, |span| span.start);
            let nnz = ptr.last().copied().unwrap_or(0);
            // Tasks of whole rows: as many as have `NONZEROS` together, or one that has more.
            let mut cuts = vec![0];
            while let Some(&row) = cuts.last()
                && row + 1 < ptr.len()
            {
                let end = ptr.partition_point(|&p| p <= ptr[row] + NONZEROS) - 1;
                cuts.push(end.max(row + 1));
            }
            let run = |data: Take, indices: Take| {
                let run = |old: &mut (Buffer, Buffer), task: u64| {
                    let ptr = &ptr[cuts[task as usize]..=cuts[task as usize + 1]];
                    let (start, end) = (ptr[0], ptr[ptr.len() - 1]);
                    let span = first + start..first + end;
                    let ptr = ptr.iter().map(|p| p - start).collect();
                    let block =
                        convert(from.nonzeros(from_ref(&span), ptr, std::mem::take(old))?)?;
                    ensure!(
                        // Every task has its place before any is done, so none may get more or fewer non-zeros.
                        block.nnz() == end - start,
                        "Elements of '{}' were lost",
                        from.path
                    );
                    data(start, &block.data)?;
                    indices(start, &block.indices_as(&stored)?)?;
                    *old = (block.indices.into_buffer(), block.data);
                    Ok(())
                };
                in_lanes(
                    lanes_of(NONZEROS * from.nonzero_bytes()),
                    cuts.len() as u64 - 1,
                    run,
                )
                .map(|()| true)
            };
            let done = self.data.append_parts(nnz, |data| {
                self.indices.append_parts(nnz, |indices| run(data, indices))
            })?;
            if !done {
                // After some rows it is too late for another way.
                ensure!(part.start == rows.start, "'{}' takes no parts", self.path);
                return Ok(false);
            }
            self.append_ends(&ptr)?;
        }
        Ok(true)
    }

    /// From now on writes those non-zeros alone that come into the files of this process; where rows end goes with the
    /// metadata. Returns the non-zeros.
    pub fn own(&mut self, portion: Portion) -> Result<Range<u64>> {
        let (data, indices) = (self.data.own(portion)?, self.indices.own(portion)?);
        if portion != Portion::Metadata {
            self.indptr.own(Portion::Nothing)?;
        }
        Ok(match (data.is_empty(), indices.is_empty()) {
            (true, _) => indices,
            (_, true) => data,
            // Values and indices differ in width, so their files may be cut at other places: rows of either are needed.
            _ => data.start.min(indices.start)..data.end.max(indices.end),
        })
    }

    /// Passes over rows whose non-zeros other processes write; `counts` has the non-zeros of each.
    pub fn skip(&mut self, counts: &[u64]) -> Result<()> {
        let mut end = 0;
        let ends = counts.iter().map(|count| {
            end += count;
            end
        });
        let ptr: Vec<u64> = std::iter::once(0).chain(ends).collect();
        self.data.skip(end)?;
        self.indices.skip(end)?;
        self.append_ends(&ptr)
    }

    /// Appends rows whose values stay as they are; `append` sees to the indices of a span of non-zeros.
    fn append_rows(
        &mut self,
        from: &Sparse,
        rows: Range<u64>,
        append: impl Fn(&mut Appender, Range<u64>) -> Result<()>,
    ) -> Result<()> {
        for part in steps(rows, STEP) {
            let (spans, ptr) = from.spans(from_ref(&part))?;
            for span in spans {
                self.data.append_from(&from.data, span.clone(), None)?;
                append(&mut self.indices, span)?;
            }
            self.append_ends(&ptr)?;
        }
        Ok(())
    }

    /// Appends the ends of rows whose non-zeros were appended; `ptr` begins with 0.
    fn append_ends(&mut self, ptr: &[u64]) -> Result<()> {
        let ends: Vec<u64> = ptr[1..].iter().map(|end| self.written + end).collect();
        self.begin()?;
        self.written += ptr.last().copied().unwrap_or(0);
        self.indptr.append(&ints::write(&ends, &self.indptr_type)?)
    }

    /// Writes where the first row begins, once. Not as the matrix is created: who writes it is told after that.
    fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        self.indptr.append(&ints::write(&[0], &self.indptr_type)?)
    }

    /// Checks that as many non-zeros were written as indptr says; returns their number.
    pub fn finish(mut self) -> Result<u64> {
        self.begin()?;
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
