//! How many cells go to each part: fractions of all, counts, and the rest.
//!
//! All is arithmetic on integers. A part of weight w out of W has n w / W of n cells, rounded up or down; the parts whose
//! debts are largest are rounded up. What a part lost or won by that in one stratum is its debt in the next, so that
//! the parts are near their shares in all, too.

use anyhow::{Result, ensure};

use crate::report::failure::Failure;
use crate::report::words::count;

/// The parts of a fraction: as many digits after the point are read.
pub const ONE: u64 = 1_000_000_000_000;

/// What a part has of the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Of [`ONE`].
    Fraction(u64),
    Count(u64),
    /// What the others leave.
    Rest,
}

/// The parts of a split as they are asked for: the name of each and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(pub Vec<(String, Share)>);

/// The weight of each part, which add up to `whole`. In units of 1 / [`ONE`] cells: `80%` and `*` of 10 cells are 8 and
/// 2 times `ONE`, of 10 times `ONE`.
#[derive(Debug, PartialEq)]
pub struct Weights {
    pub parts: Vec<u128>,
    pub whole: u128,
}

/// What numbers of cells may have been meant as, where they are a hundred together.
fn of_percentages(shares: &[Share]) -> &'static str {
    let counts = shares.iter().map(|share| match share {
        Share::Count(count) => *count,
        _ => 0,
    });
    let is_rest = shares.contains(&Share::Rest);
    match counts.fold(0, u64::saturating_add) {
        100 if !is_rest => "; percentages are written as 80%",
        _ => "",
    }
}

impl Weights {
    /// Of shares in so many cells.
    ///
    /// # Errors
    /// Parts that take more cells than there are, or leave some.
    pub fn of(shares: &[Share], cells: u64) -> Result<Weights> {
        let whole = u128::from(cells) * u128::from(ONE);
        let fixed = |share: &Share| match *share {
            Share::Fraction(part) => u128::from(part) * u128::from(cells),
            Share::Count(count) => u128::from(count) * u128::from(ONE),
            Share::Rest => 0,
        };
        let taken: u128 = shares.iter().map(fixed).sum();
        let has_rest = shares.contains(&Share::Rest);
        let is = if cells == 1 { "is" } else { "are" };
        let there = format!("there {is} {}", count(cells, "cell"));
        let taken_cells = || count(taken.div_ceil(u128::from(ONE)) as u64, "cell");
        ensure!(
            taken <= whole,
            Failure::value(format!(
                "The parts take {}, and {there}{}",
                taken_cells(),
                of_percentages(shares)
            ))
        );
        ensure!(
            taken == whole || has_rest,
            Failure::value(format!(
                "The parts take {}, and {there}; give one of them * for the rest{}",
                taken_cells(),
                of_percentages(shares)
            ))
        );
        let weight = |share: &Share| match share {
            Share::Rest => whole - taken,
            share => fixed(share),
        };
        Ok(Weights {
            parts: shares.iter().map(weight).collect(),
            whole,
        })
    }

    /// How many of `cells` each part has, rounded up or down. `debts`, one for each part, is what each has lost by
    /// rounding so far (or won, where it is negative), out of the whole: half, a quarter and a quarter of 7 cells are
    /// 3.5, 1.75 and 1.75, and become 3, 2 and 2 where there are no debts; then the first part lacks half a cell, and
    /// each other has a quarter too much.
    pub fn round(&self, cells: u32, debts: &mut [i128]) -> Vec<u32> {
        if self.whole == 0 {
            return vec![0; self.parts.len()];
        }
        // No more than 2^104: 2^32 cells, each 2^40 units, times 2^32 cells of the stratum.
        let exact: Vec<u128> = self.parts.iter().map(|w| w * u128::from(cells)).collect();
        let mut counts: Vec<u32> = exact.iter().map(|e| (e / self.whole) as u32).collect();
        let mut broken: Vec<usize> = (0..exact.len())
            .filter(|part| !exact[*part].is_multiple_of(self.whole))
            .collect();
        for &part in &broken {
            debts[part] += (exact[part] % self.whole) as i128;
        }
        // Equal ones stay in order.
        broken.sort_by_key(|part| std::cmp::Reverse(debts[*part]));
        let missing = cells - counts.iter().sum::<u32>();
        for part in broken.into_iter().take(missing as usize) {
            counts[part] += 1;
            debts[part] -= self.whole as i128;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(shares: &[Share], cells: u32) -> Vec<u32> {
        let weights = Weights::of(shares, cells.into()).unwrap();
        weights.round(cells, &mut vec![0; shares.len()])
    }

    #[test]
    fn shares_are_exact_to_one_cell() {
        use Share::{Count, Fraction, Rest};
        let tenths = |n| Fraction(n * ONE / 10);
        let thirds = [Fraction(333_333_333_333), Fraction(333_333_333_333), Rest];
        assert_eq!(
            counts(&[tenths(8), tenths(1), tenths(1)], 1000),
            [800, 100, 100]
        );
        assert_eq!(counts(&[tenths(8), tenths(1), tenths(1)], 7), [5, 1, 1]);
        assert_eq!(counts(&[tenths(8), Count(3), Rest], 100), [80, 3, 17]);
        assert_eq!(counts(&thirds, 10), [3, 3, 4]);
        assert_eq!(counts(&[tenths(5), tenths(5)], 1), [1, 0]);
        assert_eq!(counts(&[Rest], 0), [0]);
        for (shares, told) in [
            (
                [Count(8), tenths(5)],
                "take 13 cells, and there are 10 cells",
            ),
            (
                [Count(1), tenths(5)],
                "take 6 cells, and there are 10 cells; give one",
            ),
        ] {
            let error = Weights::of(&shares, 10).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_stratum_is_exact_and_all_are_near(
            parts in prop::collection::vec(0u64..1000, 1..6),
            strata in prop::collection::vec(0u32..50, 0..60),
        ) {
            let cells: u64 = strata.iter().map(|n| u64::from(*n)).sum();
            let left = ONE - parts.iter().sum::<u64>() * (ONE / 10_000);
            let fractions = parts.iter().map(|part| Share::Fraction(part * (ONE / 10_000)));
            let shares: Vec<Share> = fractions.chain([Share::Fraction(left)]).collect();
            let weights = Weights::of(&shares, cells).unwrap();
            let mut debts = vec![0; shares.len()];
            let mut all = vec![0u64; shares.len()];
            for n in strata {
                let counts = weights.round(n, &mut debts);
                prop_assert_eq!(counts.iter().sum::<u32>(), n);
                for (part, count) in counts.iter().enumerate() {
                    let exact = weights.parts[part] as f64 * f64::from(n) / weights.whole.max(1) as f64;
                    prop_assert!((f64::from(*count) - exact).abs() < 1.0);
                    all[part] += u64::from(*count);
                }
            }
            for (part, count) in all.iter().enumerate() {
                let exact = weights.parts[part] as f64 * cells as f64 / weights.whole.max(1) as f64;
                prop_assert!((*count as f64 - exact).abs() <= shares.len() as f64);
            }
        }
    }
}
