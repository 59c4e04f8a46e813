//! `--split`: cells dealt at random to parts of given shares, one by one, in the same shares of each value of a column,
//! or in whole groups.
//!
//! Cells are dealt in the order of the file: a cell goes to a part with the chance that the part's room has among all room
//! that is left for cells of its value, so that every way to fill the parts is equally likely. What is held besides
//! the codes is a number for each value and part.

use anyhow::Result;
use tracing::info;

use super::Obs;
use super::groups;
use super::key::Key;
use super::random::{Choosing, Random};
use super::shares::{Share, Shares, Weights};
use crate::permutation::Seed;
use crate::report::words::thousands;

/// What stays together, or is cut alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    Cells,
    /// Cells with the same value of this column stay together.
    Groups(String),
    /// Cells of each value of this column are split in the same shares.
    Strata(String),
}

impl Unit {
    /// The column of obs that decides.
    pub fn column(&self) -> Option<&String> {
        match self {
            Unit::Cells => None,
            Unit::Groups(column) | Unit::Strata(column) => Some(column),
        }
    }
}

/// A code for each cell of obs, the number of its part; the names of the parts are the labels.
///
/// # Errors
/// Parts that do not take all cells, a column that cannot be used, fewer groups than parts.
pub fn split(obs: &Obs, Shares(parts): &Shares, unit: &Unit, seed: &Seed) -> Result<Key> {
    let cells = obs.frame.rows() as u32; // as many as can be numbered
    let shares: Vec<Share> = parts.iter().map(|(_, share)| *share).collect();
    let weights = Weights::of(&shares, cells.into())?;
    let mut random = Random::new(seed, Choosing::Split);
    let codes = match unit {
        // All cells are one stratum, of number 0.
        Unit::Cells => {
            let room = room(&[cells], &weights, &mut random);
            deal((0..cells).map(|_| 0), room, parts.len(), &mut random)
        }
        Unit::Strata(column) => {
            let key = Key::of(obs, column)?;
            let mut sizes = vec![0; key.strata()];
            (0..cells).for_each(|cell| sizes[key.stratum(cell)] += 1);
            let room = room(&sizes, &weights, &mut random);
            let strata = (0..cells).map(|cell| key.stratum(cell));
            deal(strata, room, parts.len(), &mut random)
        }
        Unit::Groups(column) => {
            // A single stratum, so that there are no debts to begin with.
            let wanted = weights.round(cells, &mut vec![0; parts.len()]);
            groups::deal(Key::of(obs, column)?, &wanted, &mut random)?
        }
    };
    let key = Key {
        name: "--split".into(),
        labels: parts.iter().map(|(name, _)| name.clone()).collect(),
        codes,
    };
    tell(&key, &weights, cells);
    Ok(key)
}

/// Says how near to the shares the parts are.
fn tell(key: &Key, weights: &Weights, cells: u32) {
    let percent = |n: f64| format!("{:.2}%", 100.0 * n);
    let (counts, _) = key.counts();
    let each = key.labels.iter().zip(counts).zip(&weights.parts);
    let told = each.map(|((name, count), weight)| {
        format!(
            "{name} {} ({} of {} asked)",
            thousands(count),
            percent(count as f64 / f64::from(cells.max(1))),
            percent(*weight as f64 / weights.whole.max(1) as f64)
        )
    });
    info!("Split: {}", told.collect::<Vec<_>>().join(", "));
}

/// How many cells of each stratum, of these sizes, go to each part: in the shares that all have, exact to one cell.
/// Part `p` of stratum `s` is at `s * parts + p`.
pub fn room(sizes: &[u32], weights: &Weights, random: &mut Random) -> Vec<u32> {
    let parts = weights.parts.len();
    let (mut room, mut debts) = (vec![0; sizes.len() * parts], vec![0; parts]);
    // In a random order, so that those with few cells do not go by their names.
    for stratum in random.order(sizes.len() as u32) {
        let stratum = stratum as usize;
        let counts = weights.round(sizes[stratum], &mut debts);
        room[stratum * parts..][..parts].copy_from_slice(&counts);
    }
    room
}

/// The part of each of some cells: `room` has for each stratum and part how many of its cells go there.
pub fn deal(
    strata: impl Iterator<Item = usize>,
    mut room: Vec<u32>,
    parts: usize,
    random: &mut Random,
) -> Vec<u32> {
    let dealt = strata.map(|stratum| {
        // A number below all room that is left falls to a part by how much of it the part has: of room [2, 0, 3], 0 and
        // 1 are part 0, and 2 to 4 are part 2.
        let room = &mut room[stratum * parts..][..parts];
        let mut drawn = random.below(room.iter().sum());
        let mut part = 0;
        while drawn >= room[part] {
            drawn -= room[part];
            part += 1;
        }
        room[part] -= 1;
        part as u32
    });
    dealt.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::shares::ONE;

    /// An interface: the same parts on every machine and in every release. tests/interop/choosing.py gives these.
    #[test]
    fn splits_are_golden() {
        let shares = [
            Share::Fraction(ONE / 2),
            Share::Fraction(ONE / 4),
            Share::Rest,
        ];
        let weights = Weights::of(&shares, 20).unwrap();
        let dealt = |sizes: &[u32]| {
            let mut random = Random::new(&"0".parse().unwrap(), Choosing::Split);
            let room = room(sizes, &weights, &mut random);
            let strata = (0..20).map(|cell| cell % sizes.len().min(3));
            deal(strata, room, 3, &mut random)
        };
        let plain = [1, 0, 2, 0, 0, 0, 2, 2, 1, 0, 0, 1, 0, 0, 0, 0, 2, 1, 1, 2];
        assert_eq!(dealt(&[20]), plain);
        let stratified = [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 1, 0, 1, 0, 2, 2, 1, 1, 0, 0];
        assert_eq!(dealt(&[7, 7, 6, 0]), stratified);
    }
}
