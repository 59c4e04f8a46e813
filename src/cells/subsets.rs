//! What the outputs of `slice` are of: a subset of the cells for each value of a column or part of a split, or for each
//! combination of such that occurs.
//!
//! `within` goes on where `of` ended: parts `val` and `train`, cut by a column of `x` and `y`, give `val_x`, `train_x`
//! and `train_y` where no cell of `val` has `y`. `arrange` then puts cells in the order of the subsets, each where the
//! next free place of its subset is (a counting sort).

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail, ensure};
use tracing::warn;

use super::key::Key;
use super::{NONE, listed, near};
use crate::limits;
use crate::output::manifest::Label;
use crate::report::failure::Failure;
use crate::report::words::{clause, count, thousands};

/// The code of a cell that is in every subset.
const EVERYWHERE: u32 = u32::MAX - 1;

/// Cells in subsets: 4 bytes a cell.
pub struct Subsets {
    /// For each cell its subset, [`NONE`] or [`EVERYWHERE`].
    codes: Vec<u32>,
    all: Vec<Subset>,
    /// Cells that are in every subset.
    pub shared: u64,
}

/// One output of slice, or what is cut further into several.
#[derive(Default)]
pub struct Subset {
    /// The part of the file's name that tells it.
    pub name: String,
    pub label: Label,
    /// Those in every subset not counted.
    pub own: u64,
}

/// What the values of a key say of an output.
#[derive(Clone, Copy, PartialEq)]
pub enum Says {
    /// It is the part of a split: `split` of the label.
    Split,
    /// It is one of the values of columns: `values` of the label.
    Value,
}

impl Subsets {
    /// A subset for each value that has cells, in the order of the values, but none for those in `shared`, whose cells are
    /// in every subset.
    ///
    /// # Errors
    /// A value in `shared` that is none; two values whose files would have one name.
    pub fn of(key: Key, says: Says, shared: &[String]) -> Result<Subsets> {
        for value in shared {
            ensure!(
                key.labels.contains(value),
                Failure::value(format!(
                    "Column '{}' has no category '{value}' for --always-include{}",
                    key.name,
                    near(value, &key.labels)
                ))
            );
        }
        let shared: HashSet<&String> = shared.iter().collect();
        let (counts, missing) = key.counts();
        warn_of_absent(&key, &counts, missing, |label| shared.contains(label));
        let mut subsets = Subsets {
            codes: vec![],
            all: vec![],
            shared: 0,
        };
        let mut places = vec![];
        for (label, count) in key.labels.iter().zip(counts) {
            if shared.contains(label) {
                subsets.shared += count;
                places.push(EVERYWHERE);
            } else if count == 0 {
                places.push(NONE);
            } else {
                places.push(subsets.all.len() as u32);
                subsets
                    .all
                    .push(Subset::default().within(label, says, count));
            }
        }
        subsets.codes = key.codes;
        for code in &mut subsets.codes {
            *code = places.get(*code as usize).copied().unwrap_or(NONE);
        }
        subsets.checked()
    }

    /// Each subset cut further by the values of another key: one for each combination that occurs, in the order of the
    /// subsets and then of the values. No cell is [`EVERYWHERE`] here: --always-include goes with one column and
    /// without a split.
    pub fn within(mut self, key: &Key, says: Says) -> Result<Subsets> {
        let (counts, missing) = key.counts();
        warn_of_absent(key, &counts, missing, |_| false);
        let pairs = || {
            self.codes
                .iter()
                .zip(&key.codes)
                .map(|(subset, code)| (*subset, *code))
        };
        let is_none = |(subset, code): (u32, u32)| subset == NONE || code == NONE;
        let mut found: HashMap<(u32, u32), u64> = HashMap::new();
        for pair in pairs().filter(|pair| !is_none(*pair)) {
            *found.entry(pair).or_default() += 1;
        }
        // Numbers go by the pairs, not by which comes first among the cells.
        let sorted: BTreeMap<(u32, u32), u64> = found.into_iter().collect();
        let numbers: HashMap<(u32, u32), u32> = sorted.keys().copied().zip(0..).collect();
        let subsets = sorted.iter().map(|(&(subset, code), count)| {
            let subset = &self.all[subset as usize];
            subset.within(&key.labels[code as usize], says, *count)
        });
        let subsets = subsets.collect();
        let codes = pairs().map(|pair| numbers.get(&pair).copied().unwrap_or(NONE));
        self.codes = codes.collect();
        self.all = subsets;
        self.checked()
    }

    /// What `of` and `within` end with: an error for too many subsets, and for two whose files would have one name, as
    /// `a b` and `a_b` have.
    fn checked(self) -> Result<Subsets> {
        let subsets = self.all.len() as u64;
        ensure!(
            subsets <= limits::SHARDS,
            "That makes {}, each of which would be a shard; {} are the most",
            count(subsets, "value"),
            thousands(limits::SHARDS)
        );
        let mut seen = HashMap::new();
        for subset in &self.all {
            if let Some(other) = seen.insert(&subset.name, &subset.label) {
                bail!(Failure::value(format!(
                    "Categories '{}' and '{}' would both be written to a file of '{}'; rename one of them",
                    other.text(),
                    subset.label.text(),
                    subset.name
                )));
            }
        }
        Ok(self)
    }

    pub fn all(&self) -> &[Subset] {
        &self.all
    }

    /// The cells of all subsets, one after another, each in the order of `cells`; and where each begins, and the end.
    /// `cells` are all cells of obs, each once, in any order: room is counted from all of them.
    pub fn arrange(&self, cells: impl Iterator<Item = u32>) -> Result<(Vec<u32>, Vec<u64>)> {
        let mut cuts = vec![0];
        for subset in &self.all {
            cuts.push(cuts[cuts.len() - 1] + subset.own + self.shared);
        }
        let mut order = vec![0; usize::try_from(cuts[self.all.len()])?];
        let mut next = cuts[..self.all.len()].to_vec();
        for cell in cells {
            let places = match self.codes[cell as usize] {
                NONE => &mut [][..],
                EVERYWHERE => &mut next[..],
                subset => &mut next[subset as usize..=subset as usize],
            };
            for at in places {
                order[*at as usize] = cell;
                *at += 1;
            }
        }
        Ok((order, cuts))
    }
}

impl Subset {
    /// The cells of this subset that have one value more. Its name is `b_c` for value `c` in subset `b`; for the first
    /// key it is `c` alone.
    fn within(&self, value: &str, says: Says, own: u64) -> Subset {
        let mut label = self.label.clone();
        match says {
            Says::Split => label.split = Some(value.into()),
            Says::Value => label.values.push(value.into()),
        }
        let name = file_name(value);
        let name = if self.label == Label::default() {
            name
        } else {
            format!("{}_{name}", self.name)
        };
        Subset { name, label, own }
    }
}

/// Warns of values that get no shard because no cell has them, and of cells that get into none.
fn warn_of_absent(key: &Key, counts: &[u64], missing: u64, is_shared: impl Fn(&String) -> bool) {
    let empty = || {
        let counted = key.labels.iter().zip(counts);
        counted.filter(|(label, n)| **n == 0 && !is_shared(label))
    };
    match empty().count() {
        0 => {}
        count => warn!(
            "Categories of '{}' without cells get no shard ({count}): {}",
            key.name,
            listed(empty().map(|(label, _)| label.as_str()), count)
        ),
    }
    if missing > 0 {
        warn!(
            "{} no value in '{}', and so no shard",
            clause(missing, "cell", ("has", "have")),
            key.name
        );
    }
}

/// A value as a part of a file's name: letters and digits of any script, `_`, `.` and `-` stay. `CD4+ T/NK` becomes
/// `CD4__T_NK`.
pub fn file_name(label: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    label
        .chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, labels: &[&str], codes: &[i32]) -> Key {
        Key {
            name: name.into(),
            labels: labels.iter().map(|label| label.to_string()).collect(),
            codes: codes.iter().map(|code| *code as u32).collect(),
        }
    }

    fn names(subsets: &Subsets) -> Vec<&str> {
        subsets
            .all
            .iter()
            .map(|subset| subset.name.as_str())
            .collect()
    }

    #[test]
    fn letters_of_any_script_stay_in_names() {
        let cases = [
            ("CD4+ T", "CD4__T"),
            ("a/b\\c", "a_b_c"),
            ("täxt-1.5_x", "täxt-1.5_x"),
            ("細胞", "細胞"),
            ("🧬", "_"),
            ("", ""),
        ];
        for (label, name) in cases {
            assert_eq!(file_name(label), name);
        }
    }

    #[test]
    fn values_of_one_name_are_refused_by_both() {
        let error = Subsets::of(key("k", &["a b", "c", "a+b"], &[0, 1, 2]), Says::Value, &[]);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("'a b' and 'a+b'") && error.contains("'a_b'"),
            "{error}"
        );
        let subsets = Subsets::of(key("k", &["a", "a_b"], &[0, 1]), Says::Value, &[]).unwrap();
        let error = subsets.within(&key("l", &["b_c", "c"], &[0, 1]), Says::Value);
        assert!(error.err().unwrap().to_string().contains("'a_b_c'"));
    }

    #[test]
    fn each_subset_has_its_cells_and_the_shared_ones_in_order() {
        let codes = [1, 0, -1, 2, 1, 0, 3];
        let shared = ["s".to_owned()];
        let subsets = Subsets::of(
            key("k", &["a", "b", "s", "t"], &codes),
            Says::Value,
            &shared,
        );
        let subsets = subsets.unwrap();
        assert_eq!(names(&subsets), ["a", "b", "t"]);
        let (order, cuts) = subsets.arrange((0..7).rev()).unwrap();
        assert_eq!(order, [5, 3, 1, 4, 3, 0, 6, 3]);
        assert_eq!(cuts, [0, 3, 6, 8]);
    }

    #[test]
    fn combinations_that_occur_are_subsets() {
        let split = key("split", &["val", "train"], &[1, 0, 1, 1, -1, 1]);
        let subsets = Subsets::of(split, Says::Split, &[]).unwrap();
        let subsets = subsets.within(&key("k", &["x", "y z"], &[1, 0, 0, 1, 0, -1]), Says::Value);
        let subsets = subsets.unwrap();
        assert_eq!(names(&subsets), ["val_x", "train_x", "train_y_z"]);
        let label = &subsets.all[2].label;
        assert_eq!(label.split.as_deref(), Some("train"));
        assert_eq!(label.values, ["y z"]);
        let (order, cuts) = subsets.arrange(0..6).unwrap();
        assert_eq!((order, cuts), (vec![1, 2, 0, 3], vec![0, 1, 2, 4]));
    }
}
