//! Matrices of several files, one file after another, of which each is opened once for all of them.
//!
//! Sparse ones of a file may share a sparsity there, as matrices of one file do: what is the same is decoded and checked
//! once, and where rows go over as they are, put in order and encoded once too. All other rows come matrix by matrix from
//! a function: how those of one file become rows of the whole is a matter of merging, not of rows.

use std::ops::Range;

use anyhow::{Context, Result};

use super::block::Block;
use super::cost::RowCost;
use super::csr::CsrBlock;
use super::growing::Growing;
use super::leaf::{Leaf, LeafKind};
use super::ranges::batches;
use super::sparse::Sparse;
use super::sparse_writer::SparseWriter;
use super::sparsity::{Sharing, Sparsity};
use super::stacked::{Files, ReadRows, Stacked, Stored, rows_by_file};
use super::writer::LeafWriter;
use crate::report::failure::in_element;

/// Matrices of one file that may have the same sparsity, with their places among those that are asked for.
struct Alike<'a> {
    members: Vec<(usize, &'a Stored<'a>)>,
    sparsity: Sparsity<'a>,
}

impl<'a> Alike<'a> {
    /// All sets of more than one, of those that pass `which`.
    fn among(
        matrices: &'a [Option<Stored<'a>>],
        sharing: Sharing,
        which: impl Fn(&Stored) -> bool,
    ) -> Vec<Alike<'a>> {
        let mut sets: Vec<Alike> = vec![];
        for (at, stored) in matrices.iter().enumerate() {
            let Some(stored) = stored.as_ref().filter(|stored| which(stored)) else {
                continue;
            };
            let matrix = stored.matrix;
            if !sharing.is_worth(matrix) {
                continue;
            }
            let mut those = sets.iter_mut();
            // It joins the first set whose first matrix it is like.
            match those.find_map(|set| set.sparsity.add(matrix).is_ok().then_some(set)) {
                Some(set) => set.members.push((at, stored)),
                None => sets.push(Alike {
                    members: vec![(at, stored)],
                    sparsity: Sparsity::of(matrix),
                }),
            }
        }
        sets.retain(|set| set.members.len() > 1);
        sets
    }

    /// Appends rows of the file to those of its members among `rows`. They are read into the memory of `old`, which the next
    /// file takes: fresh memory costs as much as reading.
    fn read(
        &self,
        ranges: &[Range<u64>],
        rows: &mut [Growing],
        old: &mut Vec<CsrBlock>,
    ) -> Result<()> {
        /// Bytes that are read at a time.
        const BATCH: f64 = (32 << 20) as f64;
        let row = |matrix: &Sparse| {
            let nonzeros = matrix.nnz() as f64 / matrix.rows().max(1) as f64;
            nonzeros * matrix.nonzero_bytes() as f64
        };
        let row: f64 = self.sparsity.matrices().map(row).sum();
        // Others leave out indices only where they are those of the very first matrix: no other is followed.
        let leads = self.members[0].0 == 0;
        for batch in batches(ranges, (BATCH / row.max(1.0)) as u64 + 1) {
            let read = self.sparsity.read_over(&batch, std::mem::take(old))?;
            let converted = self
                .members
                .iter()
                .zip(read)
                .map(|((_, stored), block)| match &stored.convert {
                    Some(convert) => convert(block),
                    None => Ok(block),
                });
            let blocks: Vec<CsrBlock> = converted.collect::<Result<_>>()?;
            // The first comes last: the others follow what it has had before.
            for ((at, _), block) in self.members.iter().zip(&blocks).rev() {
                let alike = leads && block.has_indices_of(&blocks[0]);
                match first_and(rows, *at) {
                    (Some(first), its) => its.push_beside(first, block, alike)?,
                    (None, its) => its.push_sparse(block)?,
                }
            }
            *old = blocks;
        }
        Ok(())
    }
}

/// One of some, and the first if that is another.
fn first_and(rows: &mut [Growing], at: usize) -> (Option<&Growing>, &mut Growing) {
    let (before, rest) = rows.split_at_mut(at);
    (before.first(), &mut rest[0])
}

/// The matrix, if its rows are read one file after another: its files, and its number among their matrices.
pub fn of_files(leaf: &Leaf) -> Option<(&Stacked, &Files, usize)> {
    let LeafKind::Stacked(stacked) = &leaf.kind else {
        return None;
    };
    match &stacked.reading {
        ReadRows::AtOnce(_) => None,
        ReadRows::ByFile(files, number) => Some((stacked, files, *number)),
    }
}

/// The rows in `ranges` (sorted, disjoint) of matrices of `files`, of these numbers. Blocks hold their indices together
/// with the first where all are the same.
pub fn read_together(
    files: &Files,
    matrices: &[(&Stacked, usize)],
    ranges: &[Range<u64>],
    sharing: Sharing,
) -> Result<Vec<Block>> {
    let empty = matrices.iter().map(|(matrix, _)| matrix.no_rows(ranges));
    let mut rows = empty.collect::<Result<Vec<_>>>()?;
    let numbers: Vec<usize> = matrices.iter().map(|(_, number)| *number).collect();
    let mut old = vec![];
    for (file, ranges) in rows_by_file(&files.starts, ranges) {
        // Matrices that share nothing in this file, dense ones, and those that the file lacks.
        let mut alone = vec![true; matrices.len()];
        if matrices.len() > 1 {
            (files.with_stored)(file, &numbers, &mut |stored| {
                for alike in Alike::among(stored, sharing, |_| true) {
                    alike.read(&ranges, &mut rows, &mut old)?;
                    alike.members.iter().for_each(|(at, _)| alone[*at] = false);
                }
                Ok(())
            })?;
        }
        for at in (0..rows.len()).filter(|at| alone[*at]) {
            let (first, its) = first_and(&mut rows, at);
            // Its rows of this file have indices of their own, and those before must be there first.
            first.map_or(Ok(()), |first| its.part_from(first))?;
            (files.append)(numbers[at], file, &ranges, its)?;
        }
    }
    let mut rows = rows.into_iter();
    let first = rows.next().map(Growing::into_block);
    let first = first.context("There are no matrices")?;
    let others: Vec<Block> = rows.map(|rows| rows.into_block_like(&first)).collect();
    Ok(std::iter::once(first).chain(others).collect())
}

/// Appends rows of matrices of `files` to a writer each; `costs` are what [`Leaf::cost`] gives.
pub fn append_together(
    files: &Files,
    leaves: &[(&Leaf, RowCost)],
    writers: &mut [&mut LeafWriter],
    rows: Range<u64>,
    sharing: Sharing,
) -> Result<()> {
    let numbers = leaves
        .iter()
        .filter_map(|(leaf, _)| Some(of_files(leaf)?.2));
    let numbers: Vec<usize> = numbers.collect();
    for (file, ranges) in rows_by_file(&files.starts, &[rows]) {
        let mut left: Vec<_> = writers
            .iter_mut()
            .map(|writer| Some(&mut **writer))
            .collect();
        if leaves.len() > 1 {
            (files.with_stored)(file, &numbers, &mut |stored| {
                // What is converted gets other indices or types, and is encoded matrix by matrix.
                let as_they_are = |stored: &Stored| stored.convert.is_none();
                Alike::among(stored, sharing, as_they_are)
                    .iter()
                    .try_for_each(|alike| {
                        let members = alike.members.iter();
                        // These writers are done with the file; those that are left append by themselves.
                        let theirs = members.filter_map(|(at, _)| left[*at].take());
                        let mut theirs =
                            theirs.map(LeafWriter::sparse).collect::<Result<Vec<_>>>()?;
                        let path = &leaves[alike.members[0].0].0.path;
                        let appended = ranges.iter().try_for_each(|rows| {
                            SparseWriter::append_shared(&mut theirs, &alike.sparsity, rows.clone())
                        });
                        appended.with_context(|| in_element("Write", path))
                    })
            })?;
        }
        let start = files.starts[file];
        for (writer, (leaf, cost)) in left.into_iter().zip(leaves) {
            let Some(writer) = writer else { continue };
            for rows in &ranges {
                writer
                    .append_from(leaf, start + rows.start..start + rows.end, None, *cost)
                    .with_context(|| in_element("Write", &leaf.path))?;
            }
        }
    }
    Ok(())
}
