//! Blocks of rows of a compressed sparse matrix, in memory: pure functions on bytes.
//!
//! Indices and values are moved as bytes of their stored width, so every type takes the same code. The order of the
//! non-zeros in a row stays as it is on disk unless a caller asks for sorted rows: h5ad files hold unsorted rows, and
//! non-zeros that repeat a column, and both come through.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::dtype::ints;
use crate::store::spec::Dtype;
use crate::store::{Buffer, SharedBuffer};

/// Rows of a CSR matrix (or columns of a CSC one). Values and indices keep their stored bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CsrBlock {
    /// Where each row begins, counted in non-zeros from the start of the block; one entry more than rows.
    pub ptr: Vec<u64>,
    /// Blocks of matrices with the same sparsity hold them together.
    pub indices: SharedBuffer,
    /// The type of the indices, as they are stored.
    pub index: Dtype,
    /// The values in the order of the indices, each of `item` bytes.
    pub data: Buffer,
    /// Bytes of one value.
    pub item: usize,
}

impl CsrBlock {
    /// Rows of the block.
    pub fn rows(&self) -> usize {
        self.ptr.len() - 1
    }

    /// Non-zeros of the block, zeros that are stored included.
    pub fn nnz(&self) -> u64 {
        self.ptr.last().copied().unwrap_or(0)
    }

    /// Whether both have the same rows of indices, which they hold together.
    pub fn holds_with(&self, other: &CsrBlock) -> bool {
        self.indices.is_of(&other.indices) && self.ptr == other.ptr
    }

    /// Whether both have the same rows of indices.
    pub fn has_indices_of(&self, other: &CsrBlock) -> bool {
        let same = self.ptr == other.ptr && self.index == other.index;
        same && (self.indices.is_of(&other.indices) || *self.indices == *other.indices)
    }

    /// Holds its indices together with another block that has the same. What picks or writes both sees that they are
    /// one, and gathers and encodes them once.
    pub fn hold_with(&mut self, other: &CsrBlock) {
        if self.has_indices_of(other) {
            self.indices = other.indices.clone();
        }
    }

    /// The rows at `picks`, in that order, repeats allowed.
    pub fn pick(&self, picks: &[u32]) -> CsrBlock {
        let picked = self.picked(picks);
        let gather = |from: &[u8], item: usize| {
            let pieces = Pieces {
                picked: &picked,
                from,
                item,
            };
            let mut to = vec![0; self::end(&picked.ptr) as usize * item];
            // In parts of the same number of bytes, wherever that cuts a row, as rows are of any length.
            to.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
                let at = (i * PART) as u64;
                pieces.fill(at..at + part.len() as u64, part);
            });
            to
        };
        CsrBlock {
            indices: gather(&self.indices, self.index.size()).into(),
            data: gather(&self.data, self.item).into(),
            index: self.index.clone(),
            item: self.item,
            ptr: picked.ptr,
        }
    }

    /// Where the rows at `picks` lie, looked up once.
    pub fn picked(&self, picks: &[u32]) -> Picked {
        let (mut ptr, mut starts) = (Vec::with_capacity(picks.len() + 1), vec![]);
        starts.reserve_exact(picks.len());
        ptr.push(0);
        let mut end = 0;
        for &row in picks {
            let start = self.ptr[row as usize];
            end += self.ptr[row as usize + 1] - start;
            starts.push(start);
            ptr.push(end);
        }
        Picked { ptr, starts }
    }

    /// Keeps the non-zeros whose index `map` knows, at their new index; rows are sorted by it where `sort` is set.
    /// Where `map` knows every index, only the indices are made anew, and the values stay where they are.
    pub fn map_indices(
        self,
        index: &Dtype,
        sort: bool,
        map: impl Fn(u64) -> Option<u64> + Sync,
    ) -> Result<CsrBlock> {
        let mut block = match ints::map(&self.indices, &self.index, index, &map)? {
            Some(indices) => CsrBlock {
                indices: indices.into(),
                index: index.clone(),
                ..self
            },
            None => self.kept(index, &map)?,
        };
        if sort {
            block.sort_rows()?;
        }
        Ok(block)
    }

    /// The non-zeros whose index `map` knows, at their new index.
    fn kept(&self, index: &Dtype, map: impl Fn(u64) -> Option<u64> + Sync) -> Result<CsrBlock> {
        let old = ints::read(&self.indices, &self.index)?;
        // Each part of the rows is filtered by itself; its ends count from its own beginning until all are put
        // together.
        let parts = self.ptr.windows(2).collect::<Vec<_>>();
        let parts = parts.par_chunks(ROWS).map(|rows| {
            let (mut ends, mut indices, mut data) = (vec![], vec![], vec![]);
            for row in rows {
                let span = row[0] as usize..row[1] as usize;
                let values = self.data[span.start * self.item..].chunks_exact(self.item);
                for (&column, value) in old[span].iter().zip(values) {
                    if let Some(new) = map(column) {
                        indices.push(new);
                        data.extend_from_slice(value);
                    }
                }
                ends.push(indices.len() as u64);
            }
            (ends, indices, data)
        });
        let parts: Vec<_> = parts.collect();
        let (mut ptr, mut indices, mut data) = (vec![0], vec![], vec![]);
        for (ends, new, values) in parts {
            let before = indices.len() as u64;
            ptr.extend(ends.iter().map(|end| before + end));
            indices.extend(new);
            data.extend(values);
        }
        Ok(CsrBlock {
            ptr,
            indices: ints::write(&indices, index)?.into(),
            index: index.clone(),
            data: data.into(),
            item: self.item,
        })
    }

    /// Its indices as a type that may be another; an error where one has no place in that.
    pub fn indices_as(&self, stored: &Dtype) -> Result<Cow<'_, [u8]>> {
        if self.index == *stored {
            return Ok(Cow::Borrowed(&self.indices));
        }
        let narrow = ints::map(&self.indices, &self.index, stored, Some)?;
        Ok(Cow::Owned(narrow.context("An index has no place")?))
    }

    /// Sorts the non-zeros of each row by their index; those of the same index stay in their order.
    pub fn sort_rows(&mut self) -> Result<()> {
        let (size, item, index) = (self.index.size(), self.item, &self.index);
        let (mut indices, mut data) = (self.indices.to_mut(), &mut self.data[..]);
        // Some rows for each task, with the bytes that are theirs alone.
        let mut tasks = vec![];
        for start in (0..self.ptr.len() - 1).step_by(ROWS) {
            let ptr = &self.ptr[start..self.ptr.len().min(start + ROWS + 1)];
            let count = (self::end(ptr) - ptr[0]) as usize;
            let (here, rest) = indices.split_at_mut(count * size);
            let (values, others) = data.split_at_mut(count * item);
            tasks.push((ptr, here, values));
            (indices, data) = (rest, others);
        }
        tasks.into_par_iter().try_for_each_init(
            || (vec![], vec![]),
            |(order, copy), (ptr, indices, data)| {
                ptr.windows(2).try_for_each(|row| {
                    let (start, end) = ((row[0] - ptr[0]) as usize, (row[1] - ptr[0]) as usize);
                    let indices = &mut indices[start * size..end * size];
                    if !ints::sorting(indices, index, order)? {
                        permute(indices, size, order, copy);
                        permute(&mut data[start * item..end * item], item, order, copy);
                    }
                    Ok(())
                })
            },
        )
    }
}

/// Rows of one parallel task.
const ROWS: usize = 256;

/// Puts the item at `order[i]` at `i`; `copy` is scratch.
fn permute(bytes: &mut [u8], item: usize, order: &[u32], copy: &mut Vec<u8>) {
    fn fixed<const N: usize>(to: &mut [u8], order: &[u32], from: &[u8]) {
        let (from, _) = from.as_chunks::<N>();
        for (to, &at) in to.as_chunks_mut::<N>().0.iter_mut().zip(order) {
            *to = from[at as usize];
        }
    }
    copy.clear();
    copy.extend_from_slice(bytes);
    match item {
        4 => fixed::<4>(bytes, order, copy),
        8 => fixed::<8>(bytes, order, copy),
        _ => {
            for (to, &at) in bytes.chunks_exact_mut(item).zip(order) {
                to.copy_from_slice(&copy[at as usize * item..][..item]);
            }
        }
    }
}

/// Bytes that are gathered at a time.
const PART: usize = 1 << 20;

fn end(ptr: &[u64]) -> u64 {
    ptr.last().copied().unwrap_or(0)
}

/// Rows that are picked from a block. Of rows that begin at `[0, 3, 5, 9]`, the picks `[2, 0]` have `ptr` `[0, 4, 7]`
/// and `starts` `[5, 0]`.
pub struct Picked {
    /// Where each row begins among them, in non-zeros, and the end.
    pub ptr: Vec<u64>,
    /// Where each row begins in the block, in non-zeros.
    starts: Vec<u64>,
}

/// Rows of different lengths, gathered from anywhere.
pub struct Pieces<'a> {
    pub picked: &'a Picked,
    /// The indices of all rows of the block, or their values.
    pub from: &'a [u8],
    /// Bytes of one non-zero.
    pub item: usize,
}

impl Pieces<'_> {
    /// Gives the bytes of the result in `range`. `range` counts bytes, and may begin and end within a row or a value.
    pub fn fill(&self, range: Range<u64>, out: &mut [u8]) {
        let item = self.item as u64;
        let Picked { ptr, starts } = self.picked;
        // Of rows that begin at one place all but the last are empty.
        let mut row = ptr.partition_point(|&p| p * item <= range.start) - 1;
        let (mut at, mut done) = (range.start, 0);
        while done < out.len() {
            let end = (ptr[row + 1] * item).min(range.end);
            if end > at {
                let within = at - ptr[row] * item;
                let from = (starts[row] * item + within) as usize;
                let len = (end - at) as usize;
                out[done..done + len].copy_from_slice(&self.from[from..from + len]);
                (at, done) = (end, done + len);
            }
            row += 1;
        }
    }
}

impl CsrBlock {
    /// The same non-zeros by their index: of columns, the `rows` rows. Non-zeros of a row stay in order of columns.
    /// Every index must be below `rows`.
    pub fn transpose(&self, rows: usize) -> Result<CsrBlock> {
        let old = ints::read(&self.indices, &self.index)?;
        // A counting sort: how many each row has, where each begins, then each non-zero to its place.
        let mut ptr = vec![0u64; rows + 1];
        for &row in &old {
            ptr[row as usize + 1] += 1;
        }
        for i in 1..ptr.len() {
            ptr[i] += ptr[i - 1];
        }
        let mut next = ptr.clone();
        let mut indices = vec![0; old.len()];
        let mut data = vec![0; self.data.len()];
        for (column, span) in self.ptr.windows(2).enumerate() {
            for i in span[0] as usize..span[1] as usize {
                let at = &mut next[old[i] as usize];
                indices[*at as usize] = column as u64;
                data[*at as usize * self.item..][..self.item]
                    .copy_from_slice(&self.data[i * self.item..][..self.item]);
                *at += 1;
            }
        }
        Ok(CsrBlock {
            ptr,
            indices: ints::write(&indices, &Dtype::INT64)?.into(),
            index: Dtype::INT64,
            data: data.into(),
            item: self.item,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::spec::Kind;

    /// A block whose values are their own positions.
    fn block(lengths: &[usize], columns: u64) -> CsrBlock {
        let index = Dtype::native(Kind::Int, 4);
        let mut ptr = vec![0];
        for len in lengths {
            ptr.push(ptr[ptr.len() - 1] + *len as u64);
        }
        let nnz = ptr[ptr.len() - 1];
        let indices: Vec<u64> = (0..nnz).map(|i| (i * 7) % columns).collect();
        CsrBlock {
            indices: ints::write(&indices, &index).unwrap().into(),
            index,
            data: (0..nnz as u32)
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
            item: 4,
            ptr,
        }
    }

    fn row(block: &CsrBlock, row: usize) -> Vec<(u64, Vec<u8>)> {
        let indices = ints::read(&block.indices, &block.index).unwrap();
        (block.ptr[row] as usize..block.ptr[row + 1] as usize)
            .map(|i| (indices[i], block.data[i * 4..i * 4 + 4].to_vec()))
            .collect()
    }

    proptest! {
        #[test]
        fn picked_rows_are_those_rows(
            lengths in prop::collection::vec(0usize..9, 1..30),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let block = block(&lengths, 11);
            let picks: Vec<u32> = picks.iter().map(|p| p.index(lengths.len()) as u32).collect();
            let picked = block.pick(&picks);
            prop_assert_eq!(picked.rows(), picks.len());
            for (to, &from) in picks.iter().enumerate() {
                prop_assert_eq!(row(&picked, to), row(&block, from as usize));
            }
        }

        #[test]
        fn mapped_indices_keep_their_values(lengths in prop::collection::vec(0usize..9, 1..30)) {
            let block = block(&lengths, 11);
            let index = Dtype::native(Kind::Uint, 2);
            for (drops, sort) in [(true, true), (true, false), (false, true), (false, false)] {
                // Several columns become one, whose non-zeros keep their order.
                let map = |i: u64| (!drops || !i.is_multiple_of(3)).then(|| (20 - i) / 2);
                let mapped = block.clone().map_indices(&index, sort, map).unwrap();
                prop_assert_eq!(mapped.rows(), lengths.len());
                for r in 0..lengths.len() {
                    let mut want: Vec<_> =
                        row(&block, r).into_iter().filter_map(|(i, v)| Some((map(i)?, v))).collect();
                    if sort {
                        want.sort_by_key(|w| w.0);
                    }
                    prop_assert_eq!(row(&mapped, r), want);
                }
            }
        }
    }
}
