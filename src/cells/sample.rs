//! `filter --sample` and `--per-value`: some of the chosen cells, at random. A sample is a split in two parts, of which
//! the first is kept.

use anyhow::Result;
use tracing::warn;

use super::key::Key;
use super::random::{Choosing, Random};
use super::shares::{Share, Weights};
use super::split;
use crate::permutation::Seed;
use crate::report::words;

/// How many cells are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Of all; of each stratum in the same share.
    Of(Share),
    /// Of each stratum, where it has more.
    Most(u32),
}

/// Those of `cells` that are in the sample, in their order; `strata` has the value that each cell is taken by. `cells`
/// are rows of obs, those that the other conditions have left.
pub fn sample(cells: &[u32], how: Sample, strata: Option<&Key>, seed: &Seed) -> Result<Vec<u32>> {
    let mut random = Random::new(seed, Choosing::Sample);
    let stratum = |cell: &u32| strata.map_or(0, |key| key.stratum(*cell));
    let strata_of = cells.iter().map(stratum);
    let mut sizes = vec![0; strata.map_or(1, Key::strata)];
    strata_of.clone().for_each(|stratum| sizes[stratum] += 1);
    // For each stratum how many of its cells are kept, and how many are not.
    let room = match how {
        Sample::Of(share) => {
            let weights = Weights::of(
                &[within(share, cells.len()), Share::Rest],
                cells.len() as u64,
            )?;
            split::room(&sizes, &weights, &mut random)
        }
        Sample::Most(most) => {
            let room = sizes
                .iter()
                .map(|size| [most.min(*size), size.saturating_sub(most)]);
            room.collect::<Vec<_>>().concat()
        }
    };
    let parts = split::deal(strata_of, room, 2, &mut random);
    let kept = cells.iter().zip(parts).filter(|(_, part)| *part == 0);
    Ok(kept.map(|(cell, _)| *cell).collect())
}

/// No more than there are.
fn within(share: Share, cells: usize) -> Share {
    match share {
        Share::Count(count) if count > cells as u64 => {
            let there = words::count(cells as u64, "cell");
            warn!("--sample {count} is more than there is, {there}: all are kept");
            Share::Count(cells as u64)
        }
        share => share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::shares::ONE;

    fn key() -> Key {
        Key {
            name: "k".into(),
            labels: vec!["a".into(), "b".into()],
            codes: (0..30).map(|cell| [0, 0, 1, 7][cell % 4]).collect(),
        }
    }

    /// An interface: the same cells on every machine and in every release.
    #[test]
    fn samples_are_golden() {
        let (seed, cells) = ("0".parse().unwrap(), (0..30).collect::<Vec<u32>>());
        let key = key();
        let of = |how, strata| sample(&cells, how, strata, &seed).unwrap();
        assert_eq!(
            of(Sample::Of(Share::Count(6)), None),
            [4, 7, 11, 12, 17, 19]
        );
        let fifth = Sample::Of(Share::Fraction(ONE / 5));
        assert_eq!(of(fifth, Some(&key)), [0, 10, 18, 23, 25, 29]);
        assert_eq!(of(Sample::Most(2), Some(&key)), [2, 10, 15, 23, 25, 29]);
    }

    #[test]
    fn more_than_there_are_is_all() {
        let seed = "0".parse().unwrap();
        let all = |how| sample(&[3, 4, 9], how, None, &seed).unwrap();
        assert_eq!(all(Sample::Of(Share::Count(4))), [3, 4, 9]);
        assert_eq!(all(Sample::Most(9)), [3, 4, 9]);
        assert!(
            sample(&[], Sample::Of(Share::Fraction(1)), None, &seed)
                .unwrap()
                .is_empty()
        );
    }
}
