//! How much is read at a time: pure arithmetic on sizes and the memory budget.
//!
//! A budget begins with `--memory-limit` and gives away what is not rows: code and libraries, buffers of threads, the
//! order of the cells, chunks that are kept. What is left is the wave. All sizes are bytes; sums saturate, since files
//! claim them.

use anyhow::Result;

use crate::rows::cost::RowCost;

/// What a process holds besides blocks of rows: code, the libraries' caches, buffers for coding and writing.
const BASE: u64 = 80 << 20;
/// What it holds more for each of its threads.
const THREAD: u64 = 2 << 20;
/// The part of [`BASE`] in which chunks are decoded.
const DECODING: u64 = 48 << 20;
/// What unshuffled work reads at a time: enough to keep every core busy, small enough to stay in a fixed memory.
const SEQUENTIAL: u64 = 40 << 20;
/// What such work keeps of CSC matrices in memory.
const SWEPT: u64 = 24 << 20;
/// Bytes of bookkeeping for each row of a shuffled wave: its place in the file, in the wave and in the output.
pub const PLACE: u64 = 40;
/// A wave smaller than this would read almost row by row.
pub const LEAST: u64 = 32 << 20;

/// The memory that one wave of rows may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub wave: u64,
    /// What may stay in memory of CSC matrices, which are swept once; what is more goes to scratch.
    pub sweep: u64,
    /// The limit of the process that it comes from; `u64::MAX` for rows in the order of the file, or blocks of a given
    /// size.
    pub limit: u64,
}

impl Budget {
    /// For rows that are read in the order of the file.
    pub fn sequential(limit: u64) -> Budget {
        Budget {
            wave: SEQUENTIAL.min(limit / 4).max(1),
            sweep: SWEPT.min(limit / 8).max(1),
            limit: u64::MAX,
        }
    }

    /// For rows in any order: `cells` of them are held as an order of 4 bytes each. A `limit` that leaves less than
    /// [`LEAST`] counts as one that leaves as much.
    pub fn any_order(limit: u64, cells: u64, threads: usize) -> Budget {
        let held = memory(0, cells, threads);
        let wave = limit.saturating_sub(held).max(LEAST);
        Budget {
            wave,
            sweep: wave / 2,
            limit,
        }
    }

    /// Where each row can be read by itself, larger waves read no less, and fresh memory costs time.
    pub fn for_single_rows(self) -> Budget {
        Budget {
            wave: self.wave.min(256 << 20),
            ..self
        }
    }

    /// Where one wave is read while another is written.
    pub fn for_two_waves(self) -> Budget {
        Budget {
            wave: (self.wave / 2).max(1),
            ..self
        }
    }

    /// What is left for rows where chunks take so many bytes, and how many bytes it lacks of the least, which it then is.
    pub fn beside(self, chunks: u64) -> (Budget, u64) {
        let least = LEAST.min(self.wave);
        let taken = chunks.saturating_sub(DECODING).saturating_add(least);
        let wave = self.wave.saturating_sub(taken).saturating_add(least);
        (Budget { wave, ..self }, taken.saturating_sub(self.wave))
    }

    /// For tests: waves as small as wanted.
    pub fn exactly(wave: u64) -> Budget {
        Budget {
            wave: wave.max(1),
            sweep: (wave / 2).max(1),
            limit: u64::MAX,
        }
    }
}

/// What a row costs that has as many non-zeros as the mean.
pub fn mean_row(costs: &[RowCost], means: &[f64]) -> f64 {
    let data = costs.iter().zip(means).map(|(cost, mean)| cost.mean(*mean));
    data.sum::<f64>() + PLACE as f64
}

/// How many rows to try first: as many as fit if each has as many non-zeros as the mean.
pub fn first_guess(budget: Budget, costs: &[RowCost], means: &[f64], left: u64) -> u64 {
    ((budget.wave as f64 / mean_row(costs, means)) as u64).clamp(1, left.max(1))
}

/// Bytes of `rows` rows that hold `counts` non-zeros.
pub fn bytes(costs: &[RowCost], counts: &[u64], rows: u64) -> u64 {
    let data: u64 = costs
        .iter()
        .zip(counts)
        .map(|(cost, count)| data_bytes(cost, *count, rows))
        .fold(0, u64::saturating_add);
    data.saturating_add(PLACE.saturating_mul(rows))
}

/// The same of one array, without bookkeeping.
pub fn data_bytes(cost: &RowCost, count: u64, rows: u64) -> u64 {
    let fixed = cost.fixed.saturating_mul(rows);
    fixed.saturating_add(cost.nonzero.saturating_mul(count))
}

/// What a process of so many threads takes that holds a wave of so many bytes and an order of so many rows.
pub fn memory(wave: u64, order: u64, threads: usize) -> u64 {
    BASE + THREAD * threads as u64 + wave + 4 * order
}

/// The least memory in which so many rows, of `bytes` in all, are put in any order, where chunks take `chunks` bytes:
/// few of a small file.
pub fn least(order: u64, threads: usize, bytes: u64, chunks: u64) -> u64 {
    memory(LEAST.min(bytes), order, threads) - DECODING.saturating_sub(chunks)
}

/// How many threads may work in so much memory, two at the least: half of it is for waves, and half of what is left of
/// the other half for the chunks that are decoded.
pub fn threads_in(limit: u64) -> usize {
    let room = (limit / 2).saturating_sub(BASE) / 2;
    usize::try_from(room / THREAD).map_or(usize::MAX, |threads| threads.max(2))
}

/// Fewer rows, after `rows` of them took `taken` bytes, which is too much; at least one.
pub fn fewer(budget: Budget, rows: u64, taken: u64) -> u64 {
    let share = budget.wave as f64 / taken as f64;
    ((rows as f64 * share * 0.95) as u64).clamp(1, rows.saturating_sub(1).max(1))
}

/// Where outputs of `size` rows begin, and the end. 7 rows by 3 are `[0, 3, 6, 7]`, no rows `[0]`: no output.
pub fn cuts_by_size(rows: u64, size: u64) -> Vec<u64> {
    (0..rows)
        .step_by(usize::try_from(size).unwrap_or(usize::MAX))
        .chain([rows])
        .collect()
}

/// Where `parts` outputs of nearly equal size begin, the larger ones first, and the end. None is empty. 7 rows in 3
/// parts are `[0, 3, 5, 7]`.
pub fn cuts_in_parts(rows: u64, parts: u64) -> Vec<u64> {
    let parts = parts.min(rows);
    let (size, larger) = (rows / parts.max(1), rows % parts.max(1));
    (0..=parts).map(|i| i * size + i.min(larger)).collect()
}

/// Which of the outputs that take so many bytes each of `parts` parts writes, about as many bytes as any other: where the
/// outputs of each begin, and those of the last end. A part may have none.
pub fn starts_of_parts(bytes: &[u64], parts: u64) -> Vec<usize> {
    let weights = bytes.iter().map(|bytes| u128::from(*bytes) + 1);
    let total: u128 = weights.clone().sum();
    // An output is where its middle is.
    let middles = weights.scan(0, |end, weight| {
        *end += weight;
        Some(*end - weight / 2)
    });
    let of: Vec<u128> = middles
        .map(|middle| (middle - 1) * u128::from(parts) / total)
        .collect();
    let starts = (0..=parts).map(|part| of.partition_point(|of| *of < u128::from(part)));
    starts.collect()
}

/// Where outputs of as many rows as fit `most` bytes begin, and the end; a row that is larger stands alone. `blocks`
/// gives the bytes of each row, some rows at a time.
pub fn cuts_by_bytes(
    blocks: impl Iterator<Item = Result<Vec<u64>>>,
    most: u64,
) -> Result<Vec<u64>> {
    let (mut cuts, mut row, mut taken) = (vec![0], 0, 0u64);
    for block in blocks {
        for bytes in block? {
            taken = taken.saturating_add(bytes);
            if taken > most && cuts.last() != Some(&row) {
                cuts.push(row);
                taken = bytes;
            }
            row += 1;
        }
    }
    if row > 0 {
        cuts.push(row);
    }
    Ok(cuts)
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
    fn parts_are_those_of_numpys_array_split() {
        assert_eq!(cuts_in_parts(10, 3), [0, 4, 7, 10]);
        assert_eq!(cuts_in_parts(2, 3), [0, 1, 2]);
        assert_eq!(cuts_in_parts(0, 3), [0]);
        assert_eq!(cuts_in_parts(u64::MAX, 1), [0, u64::MAX]);
    }

    #[test]
    fn a_shuffle_needs_room_for_its_order() {
        let least = |cells, threads| least(cells, threads, u64::MAX, DECODING);
        assert!(least(1_000_000, 4) < 256 << 20);
        let (cells, limit) = (100_000_000, least(100_000_000, 4));
        for limit in [limit, limit / 2, 1] {
            let budget = Budget::any_order(limit, cells, 4);
            assert_eq!((budget.wave, budget.sweep), (LEAST, LEAST / 2));
        }
        assert_eq!(Budget::any_order(limit + 10, cells, 4).wave, LEAST + 10);
    }

    #[test]
    fn a_small_file_needs_little() {
        assert!(least(100, 2, 10_000, 0) < 40 << 20);
        let large = least(100, 2, u64::MAX, DECODING);
        assert_eq!(least(100, 2, u64::MAX, u64::MAX), large);
        assert_eq!(large, memory(LEAST, 100, 2));
    }

    #[test]
    fn chunks_beside_the_rows_leave_the_least() {
        let budget = Budget::exactly(2 * LEAST);
        assert_eq!(budget.beside(DECODING), (budget, 0));
        let (left, lacking) = budget.beside(DECODING + LEAST / 2);
        assert_eq!((left.wave, lacking), (LEAST + LEAST / 2, 0));
        let (left, lacking) = budget.beside(DECODING + 3 * LEAST);
        assert_eq!((left.wave, lacking), (LEAST, 2 * LEAST));
    }

    #[test]
    fn threads_leave_room_for_waves() {
        assert!((8..64).contains(&threads_in(256 << 20)));
        for limit in [1, 128 << 20, 256 << 20, 2 << 30] {
            let threads = threads_in(limit);
            assert!(threads == 2 || memory(LEAST, 1_000_000, threads) <= limit);
        }
    }

    proptest! {
        #[test]
        fn outputs_hold_as_many_rows_as_fit(
            sizes in prop::collection::vec(0u64..20, 0..100),
            block in 1usize..10,
            most in 1u64..60,
        ) {
            let blocks = sizes.chunks(block).map(|b| Ok(b.to_vec()));
            let cuts = cuts_by_bytes(blocks, most).unwrap();
            prop_assert_eq!(cuts[0], 0);
            prop_assert_eq!(*cuts.last().unwrap(), sizes.len() as u64);
            let taken = |a: u64, b: u64| sizes[a as usize..b as usize].iter().sum::<u64>();
            for cut in cuts.windows(2) {
                prop_assert!(cut[0] < cut[1]);
                prop_assert!(taken(cut[0], cut[1]) <= most || cut[1] - cut[0] == 1);
                if cut[1] < sizes.len() as u64 {
                    prop_assert!(taken(cut[0], cut[1] + 1) > most);
                }
            }
        }

        #[test]
        fn parts_of_a_run_share_its_bytes(
            bytes in prop::collection::vec(0u64..1000, 0..60),
            parts in 1u64..20,
        ) {
            let starts = starts_of_parts(&bytes, parts);
            prop_assert_eq!(starts.len() as u64, parts + 1);
            prop_assert_eq!((starts[0], starts[parts as usize]), (0, bytes.len()));
            prop_assert!(starts.is_sorted());
            let weight = |outputs: &[u64]| outputs.iter().map(|bytes| bytes + 1).sum::<u64>();
            let most = bytes.iter().max().map_or(0, |bytes| bytes + 1);
            for part in starts.windows(2) {
                let share = weight(&bytes) / parts;
                prop_assert!(weight(&bytes[part[0]..part[1]]) <= share + most + 1);
            }
        }

        #[test]
        fn equal_outputs_leave_no_part_idle(outputs in 1usize..60, parts in 1u64..60, bytes in 0u64..1000) {
            let starts = starts_of_parts(&vec![bytes; outputs], parts);
            let sizes: Vec<usize> = starts.windows(2).map(|part| part[1] - part[0]).collect();
            let least = outputs / parts as usize;
            prop_assert!(sizes.iter().all(|size| [least, least + 1].contains(size)), "{:?}", sizes);
        }

        #[test]
        fn parts_hold_all_rows(rows in 0u64..1000, parts in 1u64..50) {
            let cuts = cuts_in_parts(rows, parts);
            prop_assert_eq!(cuts.len() as u64 - 1, parts.min(rows));
            prop_assert_eq!(*cuts.last().unwrap(), rows);
            let sizes: Vec<u64> = cuts.windows(2).map(|c| c[1] - c[0]).collect();
            let spread = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0);
            prop_assert!(spread <= 1);
        }

        #[test]
        fn guesses_end_at_rows_that_fit(
            wave in 1u64..1 << 40,
            fixed in 0u64..1 << 20,
            nonzero in 0u64..16,
            counts in prop::collection::vec(0u64..1 << 16, 1..200),
        ) {
            let budget = Budget::exactly(wave);
            let costs = [RowCost { fixed, nonzero }];
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
