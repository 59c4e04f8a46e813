//! A matrix whose rows are in several files, one file after another, and are read in place.
//!
//! What a row is, and where rows lie among the non-zeros, is settled when the matrix is made. The rows themselves come
//! from a function: how those of one file become rows of the whole is a matter of merging, not of rows.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::block::Block;
use super::cost::RowCost;
use super::csr::CsrBlock;
use super::growing::Growing;
use super::nnz::Nnz;
use super::ranges::steps;
use super::sparse::{STEP, Sparse, SparseSpec};
use crate::store::spec::{Dtype, items};
use crate::store::{Array, Buffer, Spill};

/// A matrix whose rows come from a function: those of several files, or of buckets.
pub struct Stacked {
    pub rows: u64,
    pub kind: StackedKind,
    /// Whether a part of any file must be decoded to reach a row.
    pub packed: bool,
    /// Whether rows that come together lie together, so that large reads are few.
    pub scattered: bool,
    /// The matrix of the input that rows were scattered from: it tells which others share its sparsity.
    pub origin: Option<Box<Sparse>>,
    /// Bytes of decoded chunks that are kept from one read to the next, and that a read takes while it decodes.
    pub held: (u64, u64),
    pub reading: ReadRows,
    /// Gives rows in their order, for appending: as they are in a file, where that can be.
    pub pieces: Box<GivePieces>,
}

/// How the rows of ranges (sorted, disjoint) are read.
pub enum ReadRows {
    /// At once, as a block of the kind of the matrix.
    AtOnce(Box<ReadBlock>),
    /// One file after another: the matrix of that number.
    ByFile(Arc<Files>, usize),
}

pub type ReadBlock = dyn Fn(&[Range<u64>]) -> Result<Block> + Send + Sync;

/// Several files, which have rows of the same matrices. These are told by numbers.
pub struct Files {
    /// Where the rows of each begin, and the end of the last.
    pub starts: Vec<u64>,
    pub with_stored: Box<WithStored>,
    pub append: Box<AppendRows>,
}

/// Opens a file and calls a function with some of its matrices: each sparse one that it has rows of.
pub type WithStored = dyn Fn(usize, &[usize], TakeStored) -> Result<()> + Send + Sync;
pub type TakeStored<'a> = &'a mut dyn FnMut(&[Option<Stored>]) -> Result<()>;

/// A sparse matrix of one file, and what makes rows of the whole of its rows, where they do not go over as they are.
pub struct Stored<'a> {
    pub matrix: &'a Sparse,
    pub convert: Option<Box<ConvertRows<'a>>>,
}

pub type ConvertRows<'a> = dyn Fn(CsrBlock) -> Result<CsrBlock> + Sync + 'a;

/// Appends rows that a file has of a matrix, counted from its first.
pub type AppendRows = dyn Fn(usize, usize, &[Range<u64>], &mut Growing) -> Result<()> + Send + Sync;

/// Gives the rows of a range piece by piece to a function.
pub type GivePieces =
    dyn Fn(Range<u64>, &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> + Send + Sync;

/// Some rows of one file.
pub enum Piece<'a> {
    /// As an array has them.
    Array(&'a Array, Range<u64>),
    /// As a matrix has them, but for a change.
    Sparse(&'a Sparse, Range<u64>, Change<'a>),
    Block(&'a Block),
}

impl Piece<'_> {
    /// Non-zeros of each of its rows; none for dense ones.
    pub fn counts(&self) -> Result<Vec<u64>> {
        match self {
            Piece::Sparse(matrix, rows, _) => {
                let mut counts = vec![];
                for part in steps(rows.clone(), STEP) {
                    counts.extend(matrix.counts(from_ref(&part))?);
                }
                Ok(counts)
            }
            Piece::Block(Block::Sparse(block)) => {
                Ok(block.ptr.windows(2).map(|end| end[1] - end[0]).collect())
            }
            Piece::Array(..) | Piece::Block(_) => Ok(vec![]),
        }
    }
}

/// What becomes of rows of a sparse matrix. None of them gets more or fewer non-zeros.
pub enum Change<'a> {
    Nothing,
    /// Each non-zero gets another column.
    Columns(&'a (dyn Fn(u64) -> Option<u64> + Sync)),
    /// Columns, types and the order of non-zeros are as the function makes them.
    Rows(&'a (dyn Fn(CsrBlock) -> Result<CsrBlock> + Sync)),
}

impl Stacked {
    /// A matrix that has nothing to decode, and rows that lie as they come.
    pub fn scattered(
        rows: u64,
        kind: StackedKind,
        origin: Option<Box<Sparse>>,
        read: impl Fn(&[Range<u64>]) -> Result<Block> + Send + Sync + 'static,
    ) -> Stacked {
        /// Rows that are given in one piece.
        const PIECE: u64 = 1 << 10;
        let read = Arc::new(read);
        let also = Arc::clone(&read);
        Stacked {
            rows,
            kind,
            packed: false,
            scattered: true,
            origin,
            held: (0, 0),
            reading: ReadRows::AtOnce(Box::new(move |ranges| read(ranges))),
            pieces: Box::new(move |rows, take| {
                steps(rows, PIECE).try_for_each(|part| take(Piece::Block(&also(from_ref(&part))?)))
            }),
        }
    }

    /// From now on rows are read with `read`, which has nothing to decode.
    pub fn read_from(
        &mut self,
        read: impl Fn(&[Range<u64>]) -> Result<Block> + Send + Sync + 'static,
    ) {
        // `pieces` still goes to the inputs: where rows are unpacked, no more are appended in their order.
        self.reading = ReadRows::AtOnce(Box::new(read));
        self.packed = false;
        self.held = (0, 0);
    }

    /// The rows in `ranges` (sorted, disjoint).
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Block> {
        match &self.reading {
            ReadRows::AtOnce(read) => read(ranges),
            ReadRows::ByFile(files, number) => {
                let mut rows = self.no_rows(ranges)?;
                for (file, ranges) in rows_by_file(&files.starts, ranges) {
                    (files.append)(*number, file, &ranges, &mut rows)?;
                }
                Ok(rows.into_block())
            }
        }
    }

    /// No rows, with room for those in `ranges`.
    pub fn no_rows(&self, ranges: &[Range<u64>]) -> Result<Growing> {
        let rows = ranges.iter().map(|range| range.end - range.start).sum();
        self.kind.no_rows().with_room(rows, self.count(ranges)?)
    }

    /// What a row takes in memory: bytes beside its non-zeros, and for each of these.
    pub fn cost(&self) -> RowCost {
        match &self.kind {
            StackedKind::Dense { dtype, row } => RowCost {
                fixed: items(row).saturating_mul(dtype.size() as u64),
                nonzero: 0,
            },
            StackedKind::Sparse { spec, .. } => RowCost {
                fixed: 16,
                nonzero: (spec.data.size() + spec.indices.size()) as u64,
            },
        }
    }

    /// What a row takes in a file without compression.
    pub fn stored(&self) -> RowCost {
        let mut cost = self.cost();
        if let StackedKind::Sparse { spec, .. } = &self.kind {
            cost.fixed = spec.indptr.size() as u64;
        }
        cost
    }

    /// The same at the least, by [`Stacked::count`], which may be too many.
    pub fn least(&self) -> RowCost {
        let mut cost = self.stored();
        if !self.is_exact() {
            cost.nonzero = 0;
        }
        cost
    }

    /// Whether rows have no fewer non-zeros than [`Stacked::count`] tells.
    fn is_exact(&self) -> bool {
        let nnz = match self.kind {
            StackedKind::Sparse { nnz, .. } => nnz,
            StackedKind::Dense { .. } => Nnz::Exactly(0),
        };
        !matches!(nnz, Nnz::AtMost(_))
    }

    /// Non-zeros of all rows, or more; 0 for a dense matrix.
    pub fn nnz(&self) -> u64 {
        match &self.kind {
            StackedKind::Dense { .. } => 0,
            StackedKind::Sparse { ends, .. } => ends.total(),
        }
    }

    /// Non-zeros in the rows of `ranges` (sorted, disjoint), or more; 0 for a dense matrix.
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        match &self.kind {
            StackedKind::Dense { .. } => Ok(0),
            StackedKind::Sparse { ends, .. } => ends.count(ranges),
        }
    }

    /// The rows that have non-zeros of this range.
    ///
    /// # Errors
    /// A matrix of which is not known how many non-zeros a row has.
    pub fn rows_of(&self, nonzeros: Range<u64>) -> Result<Range<u64>> {
        match &self.kind {
            StackedKind::Sparse { ends, .. } if self.is_exact() => ends.rows_of(nonzeros),
            _ => bail!("It is not known where the elements of a row begin"),
        }
    }

    /// Non-zeros in each of the rows of `ranges`, or more; none for a dense matrix.
    pub fn counts(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        match &self.kind {
            StackedKind::Dense { .. } => Ok(vec![]),
            StackedKind::Sparse { ends, .. } => ends.counts(ranges),
        }
    }

    /// Non-zeros of a row in the mean; 0 for a dense matrix.
    pub fn mean_nnz(&self) -> f64 {
        self.nnz() as f64 / self.rows.max(1) as f64
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> u64 {
        (self.cost().mean(self.mean_nnz()) * self.rows as f64) as u64
    }
}

/// The rows of `ranges` that each file has, counted from its first, where it has any. Files that begin at `[0, 4, 9]`
/// have of `[2..6]` the rows `(0, [2..4])` and `(1, [0..2])`.
pub fn rows_by_file(starts: &[u64], ranges: &[Range<u64>]) -> Vec<(usize, Vec<Range<u64>>)> {
    let mut found = vec![];
    for (at, ends) in starts.windows(2).enumerate() {
        let (start, end) = (ends[0], ends[1]);
        let first = ranges.partition_point(|range| range.end <= start);
        let beyond = ranges.partition_point(|range| range.start < end);
        let here = ranges.get(first..beyond).unwrap_or_default();
        let here = here.iter().map(|range| {
            let (from, to) = (range.start.max(start), range.end.min(end));
            from - start..to - start
        });
        let here: Vec<Range<u64>> = here.collect();
        if !here.is_empty() {
            found.push((at, here));
        }
    }
    found
}

/// What the rows are, settled when the matrix is made: one kind for all files.
pub enum StackedKind {
    /// `row`: the sizes of all axes but the first.
    Dense { dtype: Dtype, row: Vec<u64> },
    Sparse {
        spec: Box<SparseSpec>,
        ends: Ends,
        /// Of all rows: whether `ends` are exact.
        nnz: Nnz,
    },
}

impl StackedKind {
    /// No rows of such a matrix.
    pub fn no_rows(&self) -> Growing {
        match self {
            StackedKind::Dense { dtype, row } => Growing::Dense {
                row: items(row) as usize * dtype.size(),
                bytes: Buffer::default(),
            },
            StackedKind::Sparse { spec, .. } => Growing::Sparse {
                ptr: vec![0],
                indices: Buffer::default(),
                index: spec.indices.clone(),
                data: Buffer::default(),
                item: spec.data.size(),
            },
        }
    }
}

/// Where each row ends among the non-zeros, in memory or in a scratch file: 8 bytes a row. Where rows are only appended
/// in their order, the number of all non-zeros is enough.
pub struct Ends {
    spill: Option<Spill>,
    rows: u64,
    last: u64,
}

/// Bytes of an end.
const END: u64 = 8;
const UNKNOWN: &str = "Only the number of all elements is known";

impl Ends {
    /// Bytes for so many rows.
    pub fn bytes(rows: u64) -> u64 {
        (rows + 1) * END
    }

    /// The ends of no rows, in `spill`, which has room for [`Ends::bytes`].
    pub fn new(spill: Spill) -> Ends {
        Ends {
            spill: Some(spill),
            rows: 0,
            last: 0,
        }
    }

    /// Of rows that have so many non-zeros together, where those of some rows are not asked for.
    pub fn of_all(rows: u64, nonzeros: u64) -> Ends {
        Ends {
            spill: None,
            rows,
            last: nonzeros,
        }
    }

    /// Appends rows with so many non-zeros each.
    pub fn append(&mut self, counts: impl Iterator<Item = u64>) -> Result<()> {
        let mut bytes = vec![];
        let first = self.rows + 1;
        for count in counts {
            self.last = self.last.saturating_add(count);
            self.rows += 1;
            bytes.extend(self.last.to_le_bytes());
        }
        let spill = self.spill.as_mut().context(UNKNOWN)?;
        spill.write(&bytes, first * END)
    }

    /// Non-zeros of all rows.
    pub fn total(&self) -> u64 {
        self.last
    }

    /// The rows that have non-zeros of this range, and those without any between them.
    pub fn rows_of(&self, nonzeros: Range<u64>) -> Result<Range<u64>> {
        if nonzeros.is_empty() {
            return Ok(0..0);
        }
        let first = self.rows_to(nonzeros.start)?;
        Ok(first..self.rows_to(nonzeros.end - 1)? + 1)
    }

    /// Rows before the one that has the non-zero of that number.
    fn rows_to(&self, nonzero: u64) -> Result<u64> {
        let (mut from, mut to) = (0, self.rows);
        while from < to {
            let row = from + (to - from) / 2;
            let ends = self.read(&(row..row + 1))?;
            if ends.last().is_some_and(|end| *end <= nonzero) {
                from = row + 1;
            } else {
                to = row;
            }
        }
        ensure!(from < self.rows, "Element {nonzero} beyond the last");
        Ok(from)
    }

    /// Non-zeros in each of the rows of `ranges` (sorted, disjoint).
    pub fn counts(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        let mut counts = vec![];
        self.each(ranges, |ends| {
            counts.extend(ends.windows(2).map(|pair| pair[1] - pair[0]));
        })?;
        Ok(counts)
    }

    /// Non-zeros in the rows of `ranges` (sorted, disjoint).
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        let mut count = 0;
        self.each(ranges, |ends| {
            if let (Some(first), Some(last)) = (ends.first(), ends.last()) {
                count += last - first;
            }
        })?;
        Ok(count)
    }

    /// Gives the ends before and in each range, or in each part of a range where it is long.
    fn each(&self, ranges: &[Range<u64>], mut take: impl FnMut(&[u64])) -> Result<()> {
        let end = ranges.last().map_or(0, |range| range.end);
        ensure!(end <= self.rows, "Rows beyond the {} there are", self.rows);
        for part in steps(0..end, STEP) {
            let first = ranges.partition_point(|range| range.end <= part.start);
            let beyond = ranges.partition_point(|range| range.start < part.end);
            if first == beyond {
                continue;
            }
            let ends = self.read(&part)?;
            for range in &ranges[first..beyond] {
                let start = range.start.max(part.start) - part.start;
                let end = range.end.min(part.end) - part.start;
                take(&ends[start as usize..=end as usize]);
            }
        }
        Ok(())
    }

    /// The end before the first row of `rows`, and that of each.
    fn read(&self, rows: &Range<u64>) -> Result<Vec<u64>> {
        let bytes = (rows.end - rows.start + 1) * END;
        let spill = self.spill.as_ref().context(UNKNOWN)?;
        let bytes = spill.read(bytes, rows.start * END)?;
        let (ends, _) = bytes.as_chunks();
        Ok(ends.iter().map(|end| u64::from_le_bytes(*end)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_say_how_many_elements_rows_have(
            counts in prop::collection::vec(0u64..5, 0..40),
            cuts in prop::collection::btree_set(0u64..40, 0..10),
        ) {
            let rows = counts.len() as u64;
            let spill = Spill::of(Ends::bytes(rows), u64::MAX, || unreachable!()).unwrap();
            let mut ends = Ends::new(spill);
            for part in counts.chunks(3) {
                ends.append(part.iter().copied()).unwrap();
            }
            let cuts: Vec<u64> = cuts.into_iter().filter(|cut| *cut <= rows).collect();
            let ranges: Vec<_> = cuts.chunks_exact(2).map(|cut| cut[0]..cut[1]).collect();
            let meant: Vec<u64> =
                ranges.iter().cloned().flatten().map(|row| counts[row as usize]).collect();
            prop_assert_eq!(ends.count(&ranges).unwrap(), meant.iter().sum::<u64>());
            prop_assert_eq!(ends.counts(&ranges).unwrap(), meant);
            prop_assert_eq!(ends.total(), counts.iter().sum::<u64>());
            let held: Vec<u64> =
                (0..rows).flat_map(|row| vec![row; counts[row as usize] as usize]).collect();
            for nonzeros in [0..ends.total(), 0..1, ends.total() / 2..ends.total()] {
                if let Some([first, .., last] | [first @ last]) =
                    held.get(nonzeros.start as usize..nonzeros.end as usize)
                {
                    prop_assert_eq!(ends.rows_of(nonzeros).unwrap(), *first..last + 1);
                }
            }
            prop_assert_eq!(ends.rows_of(0..0).unwrap(), 0..0);
        }
    }
}
