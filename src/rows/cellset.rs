//! A set of cells, and the place of each among them: a bit for each cell of a file, which takes no time beside a sort.
//!
//! A bit for each cell between the first and the last of the set, and 4 bytes for each 64 of them: a set of 10 million
//! cells of a file of as many takes 2 MB.

use std::ops::Range;

/// Cells of one output or wave. Membership and rank take constant time: a bit, and a count of the bits before it.
pub struct CellSet {
    /// The first cell of the first word; a multiple of 64.
    first: u32,
    bits: Vec<u64>,
    /// Cells of the set before each word.
    before: Vec<u32>,
}

impl CellSet {
    /// Of cells in any order, repeats allowed.
    pub fn of(cells: &[u32]) -> CellSet {
        let (least, most) = (cells.iter().min(), cells.iter().max());
        let first = least.map_or(0, |least| least / 64 * 64);
        let words = most.map_or(0, |most| (most - first) as usize / 64 + 1);
        let mut bits = vec![0u64; words];
        for cell in cells {
            bits[(cell - first) as usize / 64] |= 1 << (cell % 64);
        }
        let before = bits.iter().scan(0, |cells, word| {
            let before = *cells;
            *cells += word.count_ones();
            Some(before)
        });
        CellSet {
            before: before.collect(),
            first,
            bits,
        }
    }

    /// Cells of the set before this one; `None` if it is not in the set.
    pub fn rank(&self, cell: u32) -> Option<u32> {
        let at = cell.checked_sub(self.first)? as usize / 64;
        let (word, bit) = (self.bits.get(at)?, 1u64 << (cell % 64));
        let lower = word & (bit - 1);
        (word & bit != 0).then(|| self.before[at] + lower.count_ones())
    }

    /// The cells as ranges, sorted, none of which touches the next. Of the cells 3, 4 and 9 that is `[3..5, 9..10]`.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = vec![];
        let starts = (u64::from(self.first)..).step_by(64);
        for (start, mut word) in starts.zip(self.bits.iter().copied()) {
            while word != 0 {
                let low = word.trailing_zeros();
                let end = low + (word >> low).trailing_ones();
                let (low, high) = (start + u64::from(low), start + u64::from(end));
                match ranges.last_mut() {
                    Some(last) if last.end == low => last.end = high,
                    _ => ranges.push(low..high),
                }
                // A run that reaches the end of its word leaves nothing of it, and a shift by 64 is none.
                word &= u64::MAX.checked_shl(end).unwrap_or(0);
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_its_cells(
            cells in prop::collection::vec(0u32..400, 0..200),
            far in 0u32..1 << 20,
        ) {
            let cells: Vec<u32> = cells.into_iter().map(|cell| cell + far).collect();
            let (set, want) = (CellSet::of(&cells), BTreeSet::from_iter(cells.iter().copied()));
            for cell in (far.saturating_sub(100)..far + 500).chain([0, u32::MAX]) {
                let rank = want.contains(&cell).then(|| want.range(..cell).count() as u32);
                prop_assert_eq!(set.rank(cell), rank);
            }
            let ranges = set.ranges();
            prop_assert!(ranges.windows(2).all(|w| w[0].end < w[1].start));
            let all: Vec<u64> = ranges.into_iter().flatten().collect();
            prop_assert_eq!(all, want.iter().map(|cell| u64::from(*cell)).collect::<Vec<_>>());
        }
    }
}
