//! Blocks of rows of a compressed sparse matrix, in memory: pure functions on bytes.

use std::ops::Range;

use anyhow::Result;
use rayon::prelude::*;

use super::ints;
use crate::store::spec::Dtype;

/// Rows of a CSR matrix (or columns of a CSC one). Values and indices keep their stored bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CsrBlock {
    /// Where each row begins, counted in elements from the start of the block; one entry more than rows.
    pub ptr: Vec<u64>,
    pub indices: Vec<u8>,
    pub index: Dtype,
    pub data: Vec<u8>,
    /// Bytes of one value.
    pub item: usize,
}

impl CsrBlock {
    pub fn rows(&self) -> usize {
        self.ptr.len() - 1
    }

    pub fn nnz(&self) -> u64 {
        self.ptr.last().copied().unwrap_or(0)
    }

    /// The rows at `picks`, in that order, repeats allowed.
    pub fn pick(&self, picks: &[u32]) -> CsrBlock {
        let ptr = self.picked_ptr(picks);
        let gather = |from: &[u8], item: usize| {
            let pieces = Pieces {
                ptr: &ptr,
                starts: &self.ptr,
                picks,
                from,
                item,
            };
            let mut to = vec![0; self::end(&ptr) as usize * item];
            to.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
                let at = (i * PART) as u64;
                pieces.fill(at..at + part.len() as u64, part);
            });
            to
        };
        CsrBlock {
            indices: gather(&self.indices, self.index.size()),
            data: gather(&self.data, self.item),
            index: self.index.clone(),
            item: self.item,
            ptr,
        }
    }

    /// Where each of the rows at `picks` begins among them.
    pub fn picked_ptr(&self, picks: &[u32]) -> Vec<u64> {
        let mut ptr = Vec::with_capacity(picks.len() + 1);
        ptr.push(0);
        let mut end = 0;
        for &row in picks {
            end += self.ptr[row as usize + 1] - self.ptr[row as usize];
            ptr.push(end);
        }
        ptr
    }

    /// Keeps the elements whose index `map` knows, at their new index; rows are sorted by it where `sort` is set.
    pub fn map_indices(
        &self,
        index: &Dtype,
        sort: bool,
        map: impl Fn(u64) -> Option<u64> + Sync,
    ) -> Result<CsrBlock> {
        let old = ints::read(&self.indices, &self.index)?;
        let rows: Vec<(Vec<u64>, Vec<u8>)> = (0..self.rows())
            .into_par_iter()
            .with_min_len(64)
            .map(|row| {
                let span = self.ptr[row] as usize..self.ptr[row + 1] as usize;
                let mut kept: Vec<(u64, usize)> =
                    span.filter_map(|i| Some((map(old[i])?, i))).collect();
                if sort && !kept.is_sorted_by_key(|k| k.0) {
                    kept.sort_by_key(|k| k.0);
                }
                let mut data = Vec::with_capacity(kept.len() * self.item);
                for (_, i) in &kept {
                    data.extend_from_slice(&self.data[i * self.item..(i + 1) * self.item]);
                }
                (kept.into_iter().map(|k| k.0).collect(), data)
            })
            .collect();
        let mut block = CsrBlock {
            ptr: Vec::with_capacity(rows.len() + 1),
            indices: vec![],
            index: index.clone(),
            data: vec![],
            item: self.item,
        };
        block.ptr.push(0);
        let mut indices = Vec::new();
        for (row, data) in rows {
            indices.extend(row);
            block.data.extend(data);
            block.ptr.push(indices.len() as u64);
        }
        block.indices = ints::write(&indices, index)?;
        Ok(block)
    }
}

/// Bytes that are gathered at a time.
const PART: usize = 1 << 20;

fn end(ptr: &[u64]) -> u64 {
    ptr.last().copied().unwrap_or(0)
}

/// Rows of different lengths, gathered from anywhere.
pub struct Pieces<'a> {
    /// Where each row begins in the result, in elements, and the end.
    pub ptr: &'a [u64],
    /// Where each row of the source begins, in elements.
    pub starts: &'a [u64],
    /// Which row of the source each row of the result is.
    pub picks: &'a [u32],
    pub from: &'a [u8],
    /// Bytes of one element.
    pub item: usize,
}

impl Pieces<'_> {
    /// Gives the bytes of the result in `range`.
    pub fn fill(&self, range: Range<u64>, out: &mut [u8]) {
        let item = self.item as u64;
        let mut row = self.ptr.partition_point(|&p| p * item <= range.start) - 1;
        let (mut at, mut done) = (range.start, 0);
        while done < out.len() {
            let end = (self.ptr[row + 1] * item).min(range.end);
            if end > at {
                let within = at - self.ptr[row] * item;
                let from = (self.starts[self.picks[row] as usize] * item + within) as usize;
                let len = (end - at) as usize;
                out[done..done + len].copy_from_slice(&self.from[from..from + len]);
                (at, done) = (end, done + len);
            }
            row += 1;
        }
    }
}

impl CsrBlock {
    /// The same elements by their index: of columns, the `rows` rows. Elements of a row stay in order of columns.
    pub fn transpose(&self, rows: usize) -> Result<CsrBlock> {
        let old = ints::read(&self.indices, &self.index)?;
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
            indices: ints::write(&indices, &Dtype::INT64)?,
            index: Dtype::INT64,
            data,
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
            indices: ints::write(&indices, &index).unwrap(),
            index,
            data: (0..nnz as u32).flat_map(|v| v.to_le_bytes()).collect(),
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
            let map = |i: u64| (!i.is_multiple_of(3)).then(|| 20 - i);
            let index = Dtype::native(Kind::Uint, 2);
            let mapped = block.map_indices(&index, true, map).unwrap();
            for r in 0..lengths.len() {
                let mut want: Vec<_> =
                    row(&block, r).into_iter().filter_map(|(i, v)| Some((map(i)?, v))).collect();
                want.sort_by_key(|w| w.0);
                prop_assert_eq!(row(&mapped, r), want);
            }
        }
    }
}
