//! A sparsity: the offsets and indices of a sparse matrix, which other matrices may share.
//!
//! X, its layers and raw mostly have values at the same places. A [`Sparsity`] is one matrix and those that may be so.
//! Their offsets are compared as they are read, and their indices as they are stored, chunk by chunk: what is the same
//! is decoded, checked and gathered once. What is not the same is read of each matrix by itself.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Result, ensure};

use super::csr::CsrBlock;
use super::ranges::steps;
use super::sparse::{Sparse, SparseFormat};
use crate::store::{Buffer, Container, SharedBuffer, Twin};

/// Which matrices of one file are read and written together, where they may share a sparsity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// None, as they stay where they are.
    Nothing,
    /// Those of which less is decoded for it; a collection stores indices as a type of its own.
    Decoding,
    /// All, as less is encoded for it.
    Encoding,
}

impl Sharing {
    /// For outputs in such a container.
    pub fn into(container: &Container) -> Sharing {
        if container.is_virtual {
            Sharing::Nothing
        } else if container.is_plain() || container.is_collection {
            Sharing::Decoding
        } else {
            Sharing::Encoding
        }
    }

    /// Whether a matrix is looked at for that.
    pub fn is_worth(self, matrix: &Sparse) -> bool {
        match self {
            Sharing::Nothing => false,
            Sharing::Decoding => !matrix.indices.is_placed(),
            Sharing::Encoding => true,
        }
    }
}

/// Matrices that may have the same offsets and indices.
pub struct Sparsity<'a> {
    first: &'a Sparse,
    /// Those like it, and what compares their indices with those of the first.
    others: Vec<(&'a Sparse, Twin<'a>)>,
}

/// Where rows of a matrix lie among its non-zeros, as [`Sparse::spans`] tells.
#[derive(PartialEq)]
pub struct Located {
    /// Non-zeros that are to be read, in runs.
    pub spans: Vec<Range<u64>>,
    /// Where each row begins among them, and the end of the last.
    pub ptr: Vec<u64>,
}

impl<'a> Sparsity<'a> {
    pub fn of(first: &'a Sparse) -> Sparsity<'a> {
        Sparsity {
            first,
            others: vec![],
        }
    }

    /// Adds a matrix if it is like the first; the error says why not.
    pub fn add(&mut self, other: &'a Sparse) -> Result<()> {
        let of = |s: &Sparse| (s.shape, s.layout == SparseFormat::Csr);
        ensure!(of(self.first) == of(other), "Its shape is another");
        let twin = Twin::of(&self.first.indices, &other.indices)?;
        self.others.push((other, twin));
        Ok(())
    }

    /// The first matrix, then the others. Numbers of matrices, as in [`Sparsity::each_part`], count in this order.
    pub fn matrices(&self) -> impl Iterator<Item = &'a Sparse> {
        let others = self.others.iter().map(|(other, _)| *other);
        [self.first].into_iter().chain(others)
    }

    /// Whether each of the others has all indices of the first.
    pub fn are_same(&self) -> Result<Vec<bool>> {
        let all = 0..self.first.nnz();
        let others = self.others.iter();
        others
            .map(|(_, twin)| twin.is_same(from_ref(&all)))
            .collect()
    }

    /// Where the rows in `ranges` (sorted, disjoint) lie in each matrix.
    pub fn places(&self, ranges: &[Range<u64>]) -> Result<Vec<Located>> {
        let places = |matrix: &Sparse| {
            let (spans, ptr) = matrix.spans(ranges)?;
            Ok(Located { spans, ptr })
        };
        self.matrices().map(places).collect()
    }

    /// Calls `take` for the non-zeros at `places`, part after part of each matrix: with a matrix to read the indices from,
    /// the numbers of all matrices that have the same, and the part.
    pub fn each_part(
        &self,
        places: &[Located],
        mut take: impl FnMut(&Sparse, &[usize], Range<u64>) -> Result<()>,
    ) -> Result<()> {
        /// Non-zeros that are compared before they are read: few enough to be still in memory then.
        const STEP: u64 = 4 << 20;
        let others = 1..places.len();
        let (like, alone): (Vec<usize>, Vec<usize>) =
            others.partition(|at| places[*at] == places[0]);
        let spans = places[0].spans.iter();
        for part in spans.flat_map(|span| steps(span.clone(), STEP)) {
            self.each_same(&like, part, &mut take)?;
        }
        for at in alone {
            for span in &places[at].spans {
                take(self.others[at - 1].0, &[at], span.clone())?;
            }
        }
        Ok(())
    }

    /// As [`Sparsity::each_part`], of the first matrix and those of `like`, whose non-zeros lie at the same places.
    ///
    /// Where matrix 1 has the same only in 0..8 of 0..12, and matrix 2 in all of it, `take` gets: the first for `[0, 1,
    /// 2]` and 0..8, the first for `[0, 2]` and 8..12, matrix 1 for `[1]` and 8..12.
    fn each_same(
        &self,
        like: &[usize],
        span: Range<u64>,
        take: &mut impl FnMut(&Sparse, &[usize], Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let parts = like
            .iter()
            .map(|at| self.others[at - 1].1.parts(span.clone()));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        // Where any of them begins to be the same as the first, or ends to be.
        let ends = parts.iter().flatten().map(|(part, _)| part.end);
        let mut ends: Vec<u64> = ends.chain([span.end]).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut start = span.start;
        for end in ends {
            let is_same = |parts: &[(Range<u64>, bool)]| {
                parts
                    .iter()
                    .any(|(part, same)| *same && part.contains(&start))
            };
            let each = like.iter().zip(&parts);
            let (same, differing): (Vec<_>, Vec<_>) = each.partition(|(_, parts)| is_same(parts));
            let same = same.iter().map(|(at, _)| **at);
            let together: Vec<usize> = [0].into_iter().chain(same).collect();
            take(self.first, &together, start..end)?;
            for (at, _) in differing {
                take(self.others[at - 1].0, &[*at], start..end)?;
            }
            start = end;
        }
        Ok(())
    }

    /// The rows of `ranges` (sorted, disjoint) of each matrix, into the memory of blocks that are no longer needed. Blocks
    /// hold their indices together where these are the same.
    pub fn read_over(&self, ranges: &[Range<u64>], old: Vec<CsrBlock>) -> Result<Vec<CsrBlock>> {
        let places = self.places(ranges)?;
        // Taken apart from the last on: the first is left with what all of them held.
        let apart = |block: CsrBlock| (block.indices.into_buffer(), block.data);
        let mut old: Vec<_> = old.into_iter().rev().map(apart).collect();
        let mut blocks: Vec<CsrBlock> = vec![];
        for (at, (matrix, its)) in self.matrices().zip(&places).enumerate() {
            let (indices, data) = old.pop().unwrap_or_default();
            let index = matrix.indices.spec().dtype.clone();
            let indices = match blocks.first().filter(|_| *its == places[0]) {
                Some(first) => self.indices_like(at, first, its)?,
                None => matrix.read_indices(&its.spans, indices)?.into(),
            };
            blocks.push(CsrBlock {
                ptr: its.ptr.clone(),
                indices,
                index,
                data: matrix.data.read_over(&its.spans, data)?,
                item: matrix.data.spec().dtype.size(),
            });
        }
        Ok(blocks)
    }

    /// The indices of matrix `at`, whose non-zeros lie at the same places as those of `first`: these, but for what differs.
    fn indices_like(&self, at: usize, first: &CsrBlock, places: &Located) -> Result<SharedBuffer> {
        let (matrix, twin) = &self.others[at - 1];
        let mut indices = first.indices.clone();
        if twin.is_same(&places.spans)? {
            return Ok(indices);
        }
        // A copy of those of the first, over which the parts are read that differ.
        let (own, size) = (indices.to_mut(), first.index.size());
        let mut done = 0;
        for span in &places.spans {
            for (part, same) in twin.parts(span.clone())? {
                let len = (part.end - part.start) as usize * size;
                if !same {
                    let part = matrix.read_indices(from_ref(&part), Buffer::default())?;
                    own[done..done + len].copy_from_slice(&part);
                }
                done += len;
            }
        }
        Ok(indices)
    }
}
