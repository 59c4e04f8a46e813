//! The cells of all outputs as one long sequence, and the rows of a part of it in the order of the file.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

/// The cells of all outputs, one output after another.
pub enum Order {
    /// All cells of the file, as they come.
    AsIs,
    Cells(Vec<u32>),
    /// Some cells, as they come: one output holds them, or many one after another.
    Sorted(Vec<u32>),
}

/// Rows of the input that are in memory together.
pub struct Wave {
    /// Rows of the file, sorted, disjoint.
    pub ranges: Vec<Range<u64>>,
    /// For each place of the sequence, which of those rows stands there.
    pub picks: Vec<u32>,
}

impl Order {
    /// The cells at places `span` of the sequence.
    pub fn cells(&self, span: Range<u64>) -> Cow<'_, [u32]> {
        match self {
            Order::AsIs => (span.start as u32..span.end as u32).collect(),
            Order::Cells(cells) | Order::Sorted(cells) => {
                cells[span.start as usize..span.end as usize].into()
            }
        }
    }

    /// The cells at places `span` of the sequence, in the order of the file.
    pub fn wave(&self, span: Range<u64>) -> Wave {
        let (Order::Cells(cells) | Order::Sorted(cells)) = self else {
            return Wave {
                picks: (0..(span.end - span.start) as u32).collect(),
                ranges: vec![span],
            };
        };
        let cells = &cells[span.start as usize..span.end as usize];
        let (Some(first), Some(last)) = (cells.iter().min(), cells.iter().max()) else {
            return Wave {
                ranges: vec![],
                picks: vec![],
            };
        };
        // A bit for each cell between, which takes no time beside a sort.
        let word = |cell: u32| (cell / 64 - first / 64) as usize;
        let mut marked = vec![0u64; word(*last) + 1];
        for &cell in cells {
            marked[word(cell)] |= 1 << (cell % 64);
        }
        let before = marked.iter().scan(0, |rows, bits| {
            let before = *rows;
            *rows += bits.count_ones();
            Some(before)
        });
        let before: Vec<u32> = before.collect();
        let place = |&cell: &u32| {
            let lower = (1 << (cell % 64)) - 1;
            before[word(cell)] + (marked[word(cell)] & lower).count_ones()
        };
        let picks = cells.par_iter().map(place).collect();
        let mut ranges: Vec<Range<u64>> = vec![];
        for (start, mut bits) in (u64::from(first / 64 * 64)..).step_by(64).zip(marked) {
            while bits != 0 {
                let low = bits.trailing_zeros();
                let end = low + (bits >> low).trailing_ones();
                let (low, high) = (start + u64::from(low), start + u64::from(end));
                match ranges.last_mut() {
                    Some(last) if last.end == low => last.end = high,
                    _ => ranges.push(low..high),
                }
                bits &= u64::MAX.checked_shl(end).unwrap_or(0);
            }
        }
        Wave { ranges, picks }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wave_holds_each_cell_once_and_knows_its_places(
            cells in prop::collection::vec(0u32..400, 0..200),
            far in 0u32..1 << 20,
        ) {
            let cells: Vec<u32> = cells.into_iter().map(|cell| cell + far).collect();
            let wave = Order::Cells(cells.clone()).wave(0..cells.len() as u64);
            let apart = wave.ranges.windows(2).all(|w| w[0].end < w[1].start);
            prop_assert!(apart && wave.ranges.iter().all(|r| r.start < r.end));
            let rows: Vec<u64> = wave.ranges.iter().cloned().flatten().collect();
            let picked: Vec<u64> = wave.picks.iter().map(|&at| rows[at as usize]).collect();
            prop_assert_eq!(&picked, &cells.iter().map(|&c| u64::from(c)).collect::<Vec<_>>());
            prop_assert!(rows.iter().all(|row| picked.contains(row)));
        }
    }
}
