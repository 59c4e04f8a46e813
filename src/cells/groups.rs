//! `--split-by`: whole groups of cells to parts, as near to what each part should have as groups allow.
//!
//! Groups are taken in a random order, and each goes to the part that lacks most. The last [`LAST`] of them are tried in
//! every way, the most promising first, and the way that leaves the fewest cells in a wrong part is kept; the search
//! ends after [`STEPS`] steps. So up to a dozen groups in three parts are as near as any way to deal them, and many
//! groups are within a few cells.

use anyhow::{Result, ensure};
use tracing::warn;

use super::NONE;
use super::key::Key;
use super::random::Random;
use crate::report::failure::Failure;
use crate::report::words::{clause, count};

/// Groups that are tried in every way.
const LAST: usize = 16;
/// A part that one of them is tried in is a step.
const STEPS: u32 = 1 << 20;

/// The part of each cell, where part `i` should have `wanted[i]` cells. Cells without a value are one group.
///
/// # Errors
/// Fewer groups than parts.
pub fn deal(key: Key, wanted: &[u32], random: &mut Random) -> Result<Vec<u32>> {
    let (mut sizes, missing) = key.counts();
    // The last group is that of the cells without a value.
    sizes.push(missing);
    if missing > 0 {
        warn!(
            "{} no value in '{}'; they stay together",
            clause(missing, "cell", ("has", "have")),
            key.name
        );
    }
    let groups: Vec<u32> = random.order(sizes.len() as u32);
    let groups = groups
        .into_iter()
        .filter(|group| sizes[*group as usize] > 0);
    let groups: Vec<usize> = groups.map(|group| group as usize).collect();
    ensure!(
        groups.len() >= wanted.len(),
        Failure::value(format!(
            "Column '{}' has {}, too few for {} parts of whole groups",
            key.name,
            count(groups.len() as u64, "value"),
            wanted.len()
        ))
    );
    let ordered: Vec<u64> = groups.iter().map(|group| sizes[*group]).collect();
    let wanted: Vec<u64> = wanted.iter().map(|n| u64::from(*n)).collect();
    let mut part_of = vec![NONE; sizes.len()];
    for (group, part) in groups.iter().zip(nearest(&ordered, &wanted)) {
        part_of[*group] = part as u32;
    }
    let last = sizes.len() - 1;
    let mut codes = key.codes;
    for code in &mut codes {
        // `NONE` is larger than any code, so it becomes the last group.
        *code = part_of[(*code as usize).min(last)];
    }
    Ok(codes)
}

/// The part of each group; every part gets one at the least.
fn nearest(sizes: &[u64], wanted: &[u64]) -> Vec<usize> {
    let mut parts = PartsFilled {
        wanted,
        has: vec![0; wanted.len()],
        groups: vec![0; wanted.len()],
    };
    // As many groups are left for the search as there are parts, or more, so that each part can get one.
    let first = sizes.len().saturating_sub(LAST.max(wanted.len()));
    let mut dealt = vec![];
    for (at, &size) in sizes[..first].iter().enumerate() {
        let part = parts.candidates(sizes.len() - at)[0];
        parts.add(part, size);
        dealt.push(part);
    }
    let mut search = Search {
        sizes: &sizes[first..],
        best: None,
        steps: 0,
        path: vec![],
    };
    search.deeper(&mut parts);
    dealt.extend(search.best.map(|(_, path)| path).unwrap_or_default());
    dealt
}

struct PartsFilled<'a> {
    /// Cells of each part.
    wanted: &'a [u64],
    has: Vec<u64>,
    /// Groups of each.
    groups: Vec<usize>,
}

impl PartsFilled<'_> {
    fn add(&mut self, part: usize, size: u64) {
        self.has[part] += size;
        self.groups[part] += 1;
    }

    fn remove(&mut self, part: usize, size: u64) {
        self.has[part] -= size;
        self.groups[part] -= 1;
    }

    /// Cells beyond what parts should have: as many are lacking elsewhere when all are dealt.
    fn beyond(&self) -> u64 {
        let both = self.has.iter().zip(self.wanted);
        both.map(|(has, wanted)| has.saturating_sub(*wanted)).sum()
    }

    /// Where a group may go when `left` are left, what lacks most first; only parts without a group where as many lack
    /// one.
    fn candidates(&self, left: usize) -> Vec<usize> {
        let is_empty = |part: &usize| self.groups[*part] == 0;
        let all = 0..self.wanted.len();
        let mut parts: Vec<usize> = if all.clone().filter(is_empty).count() >= left {
            all.filter(is_empty).collect()
        } else {
            all.collect()
        };
        parts.sort_by_key(|part| {
            let lacks = i128::from(self.wanted[*part]) - i128::from(self.has[*part]);
            std::cmp::Reverse(lacks)
        });
        parts
    }
}

/// Ways to deal the last groups, depth first.
struct Search<'a> {
    sizes: &'a [u64],
    /// Cells beyond, and the part of each group.
    best: Option<(u64, Vec<usize>)>,
    steps: u32,
    path: Vec<usize>,
}

impl Search<'_> {
    /// Tries each place for the next group, and all after it. What is beyond never shrinks when a group is added, so a
    /// way that is no better than the best by now is given up.
    fn deeper(&mut self, parts: &mut PartsFilled) {
        let beyond = parts.beyond();
        if self.best.as_ref().is_some_and(|(best, _)| *best <= beyond) {
            return;
        }
        let Some(&size) = self.sizes.get(self.path.len()) else {
            self.best = Some((beyond, self.path.clone()));
            return;
        };
        for part in parts.candidates(self.sizes.len() - self.path.len()) {
            self.steps += 1;
            if self.steps > STEPS && self.best.is_some() {
                return;
            }
            parts.add(part, size);
            self.path.push(part);
            self.deeper(parts);
            self.path.pop();
            parts.remove(part, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cells::random::Choosing;

    /// Cells beyond in the best of all ways.
    fn least(sizes: &[u64], wanted: &[u64]) -> u64 {
        let parts = wanted.len();
        let ways = (0..parts.pow(sizes.len() as u32)).filter_map(|mut way| {
            let mut filled = PartsFilled {
                wanted,
                has: vec![0; parts],
                groups: vec![0; parts],
            };
            for &size in sizes {
                filled.add(way % parts, size);
                way /= parts;
            }
            filled
                .groups
                .iter()
                .all(|n| *n > 0)
                .then(|| filled.beyond())
        });
        ways.min().unwrap()
    }

    /// An interface: the same parts on every machine and in every release. tests/interop/choosing.py gives these.
    #[test]
    fn parts_of_groups_are_golden() {
        let dealt = |seed: &str, wanted: &[u32]| {
            let key = Key {
                name: "k".into(),
                labels: ('a'..='j').map(String::from).collect(),
                codes: (0..40u32)
                    .map(|cell| cell * cell % 11 * cell % 11)
                    .collect(),
            };
            let mut random = Random::new(&seed.parse().unwrap(), Choosing::Split);
            deal(key, wanted, &mut random).unwrap()
        };
        assert_eq!(
            dealt("0", &[30, 10])[..12],
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]
        );
        assert_eq!(
            dealt("1", &[20, 10, 10])[..12],
            [2, 0, 0, 0, 0, 1, 0, 2, 1, 2, 1, 2]
        );
        assert!(
            dealt("0", &[30, 10])
                .iter()
                .filter(|part| **part == 1)
                .count()
                == 10
        );
    }

    proptest! {
        #[test]
        fn few_groups_are_as_near_as_any_way(
            sizes in prop::collection::vec(1u64..100, 3..9),
            shares in (1u64..100, 1u64..100),
        ) {
            let all: u64 = sizes.iter().sum();
            let first = all * shares.0 / 200;
            let second = all * shares.1 / 200;
            let wanted = [first, second, all - first - second];
            let dealt = nearest(&sizes, &wanted);
            let mut filled = PartsFilled { wanted: &wanted, has: vec![0; 3], groups: vec![0; 3] };
            dealt.iter().zip(&sizes).for_each(|(part, size)| filled.add(*part, *size));
            prop_assert!(filled.groups.iter().all(|n| *n > 0));
            prop_assert_eq!(filled.beyond(), least(&sizes, &wanted));
        }
    }

    proptest! {
        // Each may search to its end.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn many_groups_are_within_a_few_cells(
            sizes in prop::collection::vec(1u64..1000, 60..200),
        ) {
            let all: u64 = sizes.iter().sum();
            let wanted = [all - 2 * (all / 10), all / 10, all / 10];
            let dealt = nearest(&sizes, &wanted);
            let mut filled = PartsFilled { wanted: &wanted, has: vec![0; 3], groups: vec![0; 3] };
            dealt.iter().zip(&sizes).for_each(|(part, size)| filled.add(*part, *size));
            prop_assert_eq!(dealt.len(), sizes.len());
            prop_assert!(filled.beyond() * 1000 <= all * 2, "{} of {all}", filled.beyond());
        }
    }
}
