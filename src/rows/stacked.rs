//! A matrix whose rows are in several files, one file after another, and are read in place.
//!
//! What a row is, and where rows lie among the elements, is settled when the matrix is made. The rows themselves come
//! from a function: how those of one file become rows of the whole is a matter of merging, not of rows.

use std::ops::Range;

use anyhow::{Result, ensure};

use super::block::Block;
use super::cost::RowCost;
use super::ranges::parts;
use super::sparse::{STEP, SparseSpec};
use crate::store::Scratch;
use crate::store::spec::{Dtype, elements};

/// A matrix of several files.
pub struct Stacked {
    pub rows: u64,
    pub kind: StackedKind,
    /// Whether a part of any file must be decoded to reach a row.
    pub packed: bool,
    /// Bytes of decoded chunks that are kept from one read to the next, and that a read takes while it decodes.
    pub held: (u64, u64),
    pub read: Box<ReadRows>,
}

/// Reads the rows of ranges (sorted, disjoint) as a block of the kind of the matrix.
pub type ReadRows = dyn Fn(&[Range<u64>]) -> Result<Block> + Send + Sync;

impl Stacked {
    /// From now on its rows come from `read`, which has nothing to decode.
    pub fn read_from(
        &mut self,
        read: impl Fn(&[Range<u64>]) -> Result<Block> + Send + Sync + 'static,
    ) {
        self.read = Box::new(read);
        self.packed = false;
        self.held = (0, 0);
    }

    pub fn cost(&self) -> RowCost {
        match &self.kind {
            StackedKind::Dense { dtype, row } => RowCost {
                fixed: elements(row).saturating_mul(dtype.size() as u64),
                element: 0,
            },
            StackedKind::Sparse { spec, .. } => RowCost {
                fixed: 16,
                element: (spec.data.size() + spec.indices.size()) as u64,
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

    /// Elements in the rows of `ranges` (sorted, disjoint), or more; 0 for a dense matrix.
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        match &self.kind {
            StackedKind::Dense { .. } => Ok(0),
            StackedKind::Sparse { ends, .. } => ends.count(ranges),
        }
    }

    /// Elements in each of the rows of `ranges`, or more; none for a dense matrix.
    pub fn counts(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        match &self.kind {
            StackedKind::Dense { .. } => Ok(vec![]),
            StackedKind::Sparse { ends, .. } => ends.counts(ranges),
        }
    }

    /// Elements of a row in the mean; 0 for a dense matrix.
    pub fn mean_elements(&self) -> f64 {
        match &self.kind {
            StackedKind::Dense { .. } => 0.0,
            StackedKind::Sparse { ends, .. } => ends.total() as f64 / self.rows.max(1) as f64,
        }
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> u64 {
        (self.cost().mean(self.mean_elements()) * self.rows as f64) as u64
    }
}

pub enum StackedKind {
    /// `row`: the sizes of all axes but the first.
    Dense { dtype: Dtype, row: Vec<u64> },
    Sparse {
        spec: Box<SparseSpec>,
        ends: Ends,
        /// Whether rows have as many elements as `ends` says; else they have no more.
        exact: bool,
    },
}

/// Where each row ends among the elements, in memory or in a scratch file: 8 bytes a row.
pub struct Ends {
    scratch: Scratch,
    rows: u64,
    last: u64,
}

/// Bytes of an end.
const END: u64 = 8;

impl Ends {
    /// Bytes for so many rows.
    pub fn bytes(rows: u64) -> u64 {
        (rows + 1) * END
    }

    /// The ends of no rows, in `scratch`, which has room for [`Ends::bytes`].
    pub fn new(scratch: Scratch) -> Ends {
        Ends {
            scratch,
            rows: 0,
            last: 0,
        }
    }

    /// Appends rows with so many elements each.
    pub fn append(&mut self, counts: impl Iterator<Item = u64>) -> Result<()> {
        let mut bytes = vec![];
        let first = self.rows + 1;
        for count in counts {
            self.last = self.last.saturating_add(count);
            self.rows += 1;
            bytes.extend(self.last.to_le_bytes());
        }
        self.scratch.write(&bytes, first * END)
    }

    /// Elements of all rows.
    pub fn total(&self) -> u64 {
        self.last
    }

    /// Elements in each of the rows of `ranges` (sorted, disjoint).
    pub fn counts(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        let mut counts = vec![];
        self.each(ranges, |ends| {
            counts.extend(ends.windows(2).map(|pair| pair[1] - pair[0]));
        })?;
        Ok(counts)
    }

    /// Elements in the rows of `ranges` (sorted, disjoint).
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
        for part in parts(0..end, STEP) {
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
        let bytes = self.scratch.read(bytes, rows.start * END)?;
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
            let scratch = Scratch::of(Ends::bytes(rows), u64::MAX, || unreachable!()).unwrap();
            let mut ends = Ends::new(scratch);
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
        }
    }
}
