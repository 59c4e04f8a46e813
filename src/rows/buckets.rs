//! Matrices whose rows were scattered to buckets: small files, each with rows that lay together in the input and come
//! together in the order of the outputs. They are read by the rows of the input, as if the matrix were in one piece.
//!
//! A wave of the outputs takes a run of rows of each bucket, so it is read in few pieces, whatever order the rows have
//! in the input.
//!
//! A bucket is an `.h5ad` without compression that holds matrices called `0`, `1`, ... and nothing else: one for each
//! block of rows of the input and each part, written by `commands/stages.rs` by the plan in `extract/buckets.rs`. In
//! memory: 12 bytes for each cell of the part and 8 more for each of its matrices; in a read the block, and 16 pieces
//! of about 2 MiB.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::block::Block;
use super::csr::CsrBlock;
use super::growing::Growing;
use super::leaf::{Leaf, LeafKind};
use super::nnz::Nnz;
use super::ranges::steps;
use super::sparse::{STEP, Sparse, SparseFormat};
use super::stacked::{Ends, Stacked, StackedKind};
use crate::store::{self, Access, Buffer, Node, Spill};

/// Where a row of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InBucket {
    /// The row, counted over the whole input.
    pub cell: u32,
    /// The place of its file among those of [`Buckets`], which is the number of its block.
    pub bucket: u32,
    /// The row in that file, whose rows are in the order of the outputs.
    pub row: u32,
}

/// The buckets that hold some rows of some matrices, which are called 0, 1, ... there.
pub struct Buckets {
    /// By block; an empty path, which is never opened, where the part takes no row of it.
    files: Vec<PathBuf>,
    /// By cell, each once.
    places: Vec<InBucket>,
    /// Of each matrix the non-zeros of the row at each place; 0 of a dense one.
    lengths: Vec<Vec<u64>>,
}

/// Rows of one bucket, by row, each with its place in a block.
struct Run<'a> {
    file: &'a Path,
    /// The row in the bucket, and its place in the block.
    rows: Vec<(u32, u32)>,
}

/// Whether rows of a leaf are worth to be scattered: those of a matrix that must be decoded.
pub fn is_packed_matrix(leaf: &Leaf) -> bool {
    let is_matrix = matches!(
        leaf.kind,
        LeafKind::Fixed(_) | LeafKind::Sparse(_) | LeafKind::Stacked(_)
    );
    is_matrix && !leaf.is_narrow() && leaf.unpacked_bytes() > 0
}

impl Buckets {
    /// Looks at the buckets in `files`, which hold the rows of so many matrices at `places` (by cell, each once).
    pub fn open(files: Vec<PathBuf>, places: Vec<InBucket>, matrices: usize) -> Result<Buckets> {
        // Non-zeros are counted before any are read: rows come bucket by bucket, and each must find its place in a
        // block.
        let mut lengths = vec![vec![0; places.len()]; matrices];
        let mut rows: Vec<Vec<(u32, usize)>> = vec![vec![]; files.len()];
        for (at, place) in places.iter().enumerate() {
            rows[place.bucket as usize].push((place.row, at));
        }
        for (file, rows) in files.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty()) {
            for (number, lengths) in lengths.iter_mut().enumerate() {
                let found = open(file, number)?;
                let last = rows.iter().map(|(row, _)| row).max();
                ensure!(
                    last.is_none_or(|row| u64::from(*row) < found.rows()),
                    "Bucket {} has {} rows, which are too few; scatter again",
                    file.display(),
                    found.rows()
                );
                if let LeafKind::Sparse(matrix) = &found.kind {
                    let counts = matrix.counts(from_ref(&(0..matrix.rows())))?;
                    for (row, at) in rows {
                        lengths[*at] = counts[*row as usize];
                    }
                }
            }
        }
        Ok(Buckets {
            files,
            places,
            lengths,
        })
    }

    /// The rows in `ranges` (sorted, disjoint) of a matrix, in a block like `empty`.
    fn read(&self, number: usize, ranges: &[Range<u64>], empty: &Growing) -> Result<Block> {
        /// Runs that are in memory together.
        const TOGETHER: usize = 16;
        let at = self.at(ranges)?;
        let lengths = self
            .lengths
            .get(number)
            .context("There is no such matrix")?;
        let lengths: Vec<u64> = at.iter().map(|at| lengths[*at]).collect();
        let mut rows = Unordered::new(empty, &lengths)?;
        let runs = self.runs(&at, |rank| rows.bytes_of(rank));
        for runs in runs.chunks(TOGETHER) {
            // Many small files are read at once; putting their rows in place is a copy, and waits for nothing.
            let blocks = runs.par_iter().map(|run| run.read(number));
            for (run, block) in runs.iter().zip(blocks.collect::<Result<Vec<_>>>()?) {
                rows.put(run, &block)
                    .with_context(|| format!("Read bucket {}", run.file.display()))?;
            }
        }
        Ok(rows.into_block())
    }

    /// Which places hold the rows in `ranges`.
    fn at(&self, ranges: &[Range<u64>]) -> Result<Vec<usize>> {
        let mut found = vec![];
        for range in ranges {
            // Places are sorted by cell, so the rows of a range are a stretch of them, if none is missing.
            let bound = |cell| {
                self.places
                    .partition_point(|place| u64::from(place.cell) < cell)
            };
            let here = bound(range.start)..bound(range.end);
            ensure!(
                here.len() as u64 == range.end - range.start,
                "No bucket has all rows from {} to {}; scatter again",
                range.start,
                range.end
            );
            found.extend(here);
        }
        Ok(found)
    }

    /// The rows at these places by bucket, in the order that they have there, as many together as are read at a time.
    fn runs(&self, at: &[usize], bytes_of: impl Fn(usize) -> u64) -> Vec<Run<'_>> {
        /// Bytes of a run.
        const BYTES: u64 = 2 << 20;
        let ranked = at.iter().zip(0..);
        let mut rows: Vec<(u32, u32, u32)> = ranked
            .map(|(at, rank)| {
                let InBucket { bucket, row, .. } = self.places[*at];
                (bucket, row, rank)
            })
            .collect();
        rows.par_sort_unstable();
        let (mut runs, mut last, mut bytes): (Vec<Run>, _, _) = (vec![], None, 0);
        for (bucket, row, rank) in rows {
            if last != Some(bucket) || bytes >= BYTES {
                let file = &self.files[bucket as usize];
                runs.push(Run { file, rows: vec![] });
                // A run ends with its bucket, and where it is as long as is read at a time.
                (last, bytes) = (Some(bucket), 0);
            }
            if let Some(run) = runs.last_mut() {
                run.rows.push((row, rank));
            }
            bytes += bytes_of(rank as usize);
        }
        runs
    }
}

impl Run<'_> {
    /// The rows of a matrix.
    fn read(&self, number: usize) -> Result<Block> {
        let mut ranges: Vec<Range<u64>> = vec![];
        for row in self.rows.iter().map(|(row, _)| u64::from(*row)) {
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end += 1,
                _ => ranges.push(row..row + 1),
            }
        }
        open(self.file, number)?.read(&ranges)
    }
}

/// The matrix of that number in a bucket. It is opened again for each run, so that no more files are open than are read
/// at the same time.
fn open(file: &Path, number: usize) -> Result<Leaf> {
    let open = || -> Result<Leaf> {
        let root = store::open(file, &Access::default())?;
        let path = number.to_string();
        let kind = match root.get(&path)?.context("It lacks a matrix")? {
            Node::Array(array) => LeafKind::Fixed(array),
            Node::Group(group) => LeafKind::Sparse(Sparse::open(&group, SparseFormat::Csr)?),
        };
        Ok(Leaf {
            path,
            attrs: Default::default(),
            kind,
        })
    };
    open().with_context(|| format!("Open bucket {}", file.display()))
}

/// A block whose rows come in any order. It has its full size from the beginning; of a sparse one the first part says
/// where each row begins.
enum Unordered {
    Dense { row: usize, bytes: Buffer },
    Sparse(Vec<u64>, CsrBytes),
}

struct CsrBytes {
    indices: Buffer,
    data: Buffer,
    /// A block of no rows, which has the types.
    empty: CsrBlock,
}

impl Unordered {
    /// Room for rows with so many non-zeros each, in a block like `empty`.
    fn new(empty: &Growing, lengths: &[u64]) -> Result<Unordered> {
        let ptr = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let ptr: Vec<u64> = [0].into_iter().chain(ptr).collect();
        let nonzeros = ptr[lengths.len()] as usize;
        Ok(match empty.clone().into_block() {
            Block::Sparse(empty) => Unordered::Sparse(
                ptr,
                CsrBytes {
                    indices: Buffer::zeros(nonzeros * empty.index.size())?,
                    data: Buffer::zeros(nonzeros * empty.item)?,
                    empty,
                },
            ),
            Block::Fixed { row, .. } => Unordered::Dense {
                row,
                bytes: Buffer::zeros(lengths.len() * row)?,
            },
            // Matrices are of these two kinds.
            Block::Text { .. } | Block::Awkward(_) => Unordered::Dense {
                row: 0,
                bytes: Buffer::default(),
            },
        })
    }

    fn bytes_of(&self, rank: usize) -> u64 {
        match self {
            Unordered::Dense { row, .. } => *row as u64,
            Unordered::Sparse(ptr, CsrBytes { empty, .. }) => {
                (ptr[rank + 1] - ptr[rank]) * (empty.item + empty.index.size()) as u64
            }
        }
    }

    /// Puts the rows of a block to their places.
    fn put(&mut self, run: &Run, block: &Block) -> Result<()> {
        ensure!(block.rows() == run.rows.len(), "It has other rows");
        match (self, block) {
            (
                Unordered::Dense { row, bytes },
                Block::Fixed {
                    row: other,
                    bytes: more,
                },
            ) if row == other => {
                let rows = more.chunks_exact((*row).max(1));
                for ((_, rank), from) in run.rows.iter().zip(rows) {
                    bytes[*rank as usize * *row..][..*row].copy_from_slice(from);
                }
            }
            (Unordered::Sparse(ptr, to), Block::Sparse(block))
                if to.empty.index == block.index && to.empty.item == block.item =>
            {
                for ((_, rank), from) in run.rows.iter().zip(block.ptr.windows(2)) {
                    let rank = *rank as usize;
                    let nonzeros = (ptr[rank], ptr[rank + 1]);
                    ensure!(
                        nonzeros.1 - nonzeros.0 == from[1] - from[0],
                        "Its rows have changed"
                    );
                    copy(
                        &mut to.indices,
                        nonzeros.0,
                        &block.indices,
                        from,
                        block.index.size(),
                    );
                    copy(&mut to.data, nonzeros.0, &block.data, from, block.item);
                }
            }
            _ => bail!("It has a matrix of another kind"),
        }
        Ok(())
    }

    fn into_block(self) -> Block {
        match self {
            Unordered::Dense { row, bytes } => Block::Fixed { row, bytes },
            Unordered::Sparse(
                ptr,
                CsrBytes {
                    indices,
                    data,
                    empty,
                },
            ) => Block::Sparse(CsrBlock {
                ptr,
                indices: indices.into(),
                data,
                ..empty
            }),
        }
    }
}

/// Copies the non-zeros in `span`, of `item` bytes each, to where non-zero `at` is.
fn copy(to: &mut [u8], at: u64, from: &[u8], span: &[u64], item: usize) {
    let from = &from[span[0] as usize * item..span[1] as usize * item];
    to[at as usize * item..][..from.len()].copy_from_slice(from);
}

/// A matrix whose rows come from buckets, where it has this number; where there are none yet, no row will be asked for.
/// Where its rows end goes to `folder` if that is much.
pub fn scattered(
    leaf: Leaf,
    number: usize,
    buckets: Option<Arc<Buckets>>,
    folder: impl FnOnce() -> Result<PathBuf>,
) -> Result<Leaf> {
    let rows = leaf.rows();
    let (kind, origin) = match leaf.kind {
        LeafKind::Fixed(array) => {
            let (dtype, row) = (array.spec().dtype.clone(), array.spec().shape[1..].to_vec());
            (StackedKind::Dense { dtype, row }, None)
        }
        LeafKind::Sparse(matrix) => {
            let kind = StackedKind::Sparse {
                spec: Box::new(matrix.like(matrix.shape)),
                ends: ends(&matrix, folder)?,
                nnz: Nnz::Exactly(matrix.nnz()),
            };
            // Kept for its indices: they say which other matrices may be alike, as buckets cannot be asked.
            (kind, Some(Box::new(matrix)))
        }
        // Where its rows end is known already, as several files are taken in any order.
        LeafKind::Stacked(stacked) => (stacked.kind, None),
        _ => bail!("'{}' is no matrix that is scattered", leaf.path),
    };
    let empty = kind.no_rows();
    let read = move |ranges: &[Range<u64>]| match &buckets {
        Some(buckets) => buckets.read(number, ranges, &empty),
        None => bail!("There are no buckets yet"),
    };
    Ok(Leaf {
        kind: LeafKind::Stacked(Stacked::scattered(rows, kind, origin, read)),
        ..leaf
    })
}

/// Where the rows of a matrix end.
fn ends(matrix: &Sparse, folder: impl FnOnce() -> Result<PathBuf>) -> Result<Ends> {
    /// Bytes that stay in memory.
    const MOST: u64 = 16 << 20;
    let rows = matrix.rows();
    let mut ends = Ends::new(Spill::of(Ends::bytes(rows), MOST, folder)?);
    for part in steps(0..rows, STEP) {
        ends.append(matrix.counts(from_ref(&part))?.into_iter())?;
    }
    Ok(ends)
}
