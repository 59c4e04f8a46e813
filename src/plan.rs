//! How much is read at a time: pure arithmetic on sizes and the memory budget.

use crate::anndata::rows::RowCost;

/// What a process holds besides blocks of rows: code, the libraries' caches, buffers for coding and writing.
const BASE: u64 = 96 << 20;
/// What unshuffled work reads at a time: enough to keep every core busy, small enough to stay in a fixed memory.
const SEQUENTIAL: u64 = 40 << 20;
/// Bytes of bookkeeping for each row of a shuffled wave: its place in the file, in the wave and in the output.
const PLACE: u64 = 40;
/// A wave smaller than this would read almost row by row.
const LEAST: u64 = 32 << 20;

/// The memory that one wave of rows may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub wave: u64,
}

impl Budget {
    /// For rows that are read in the order of the file.
    pub fn sequential(limit: u64) -> Budget {
        Budget {
            wave: SEQUENTIAL.min(limit / 4).max(1),
        }
    }

    /// For rows in any order: `cells` of them are held as an order of 4 bytes each. `Err` holds the least limit
    /// that would do.
    pub fn any_order(limit: u64, cells: u64) -> Result<Budget, u64> {
        let held = BASE + 4 * cells;
        match limit.checked_sub(held) {
            Some(wave) if wave >= LEAST => Ok(Budget { wave }),
            _ => Err(held + LEAST),
        }
    }

    /// For tests: waves as small as wanted.
    pub fn exactly(wave: u64) -> Budget {
        Budget { wave: wave.max(1) }
    }
}

/// How many rows to try first: as many as fit if each has as many elements as the mean.
pub fn first_guess(budget: Budget, costs: &[RowCost], means: &[f64], left: u64) -> u64 {
    let row: f64 = costs
        .iter()
        .zip(means)
        .map(|(cost, mean)| cost.fixed as f64 + cost.element as f64 * mean)
        .sum::<f64>()
        + PLACE as f64;
    ((budget.wave as f64 / row) as u64).clamp(1, left.max(1))
}

/// Bytes of `rows` rows that hold `counts` elements.
pub fn bytes(costs: &[RowCost], counts: &[u64], rows: u64) -> u64 {
    let data: u64 = costs
        .iter()
        .zip(counts)
        .map(|(cost, count)| {
            cost.fixed
                .saturating_mul(rows)
                .saturating_add(cost.element.saturating_mul(*count))
        })
        .fold(0, u64::saturating_add);
    data.saturating_add(PLACE.saturating_mul(rows))
}

/// Fewer rows, after `rows` of them took `taken` bytes, which is too much; at least one.
pub fn fewer(budget: Budget, rows: u64, taken: u64) -> u64 {
    let share = budget.wave as f64 / taken as f64;
    ((rows as f64 * share * 0.95) as u64).clamp(1, rows.saturating_sub(1).max(1))
}

/// Where outputs of `size` rows begin, and the end.
pub fn cuts_by_size(rows: u64, size: u64) -> Vec<u64> {
    (0..rows)
        .step_by(usize::try_from(size).unwrap_or(usize::MAX))
        .chain([rows])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_cut_all_rows() {
        assert_eq!(cuts_by_size(10, 4), [0, 4, 8, 10]);
        assert_eq!(cuts_by_size(8, 4), [0, 4, 8]);
        assert_eq!(cuts_by_size(3, u64::MAX), [0, 3]);
        assert_eq!(cuts_by_size(0, 4), [0]);
    }

    #[test]
    fn a_shuffle_needs_room_for_its_order() {
        assert!(Budget::any_order(256 << 20, 1_000_000).is_ok());
        let least = Budget::any_order(256 << 20, 100_000_000).unwrap_err();
        assert_eq!(
            Budget::any_order(least, 100_000_000),
            Ok(Budget { wave: LEAST })
        );
    }

    proptest! {
        #[test]
        fn guesses_end_at_rows_that_fit(
            wave in 1u64..1 << 40,
            fixed in 0u64..1 << 20,
            element in 0u64..16,
            counts in prop::collection::vec(0u64..1 << 16, 1..200),
        ) {
            let budget = Budget::exactly(wave);
            let costs = [RowCost { fixed, element }];
            let left = counts.len() as u64;
            let mean = counts.iter().sum::<u64>() as f64 / left as f64;
            let mut rows = first_guess(budget, &costs, &[mean], left);
            let taken = |rows: u64| bytes(&costs, &[counts[..rows as usize].iter().sum()], rows);
            let mut tries = 0;
            while rows > 1 && taken(rows) > budget.wave {
                rows = fewer(budget, rows, taken(rows));
                tries += 1;
                prop_assert!(tries < 64);
            }
            prop_assert!(rows >= 1 && rows <= left);
        }
    }
}
