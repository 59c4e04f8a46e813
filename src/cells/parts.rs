//! What the outputs of `slice` are of: a part of the cells for each value of a column or part of a split, or for each
//! combination of such that occurs.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail, ensure};
use tracing::warn;

use super::key::Key;
use super::{NONE, listed, near};
use crate::limits;
use crate::output::manifest::Label;
use crate::report::failure::Failure;
use crate::report::words::{clause, count, thousands};

/// The code of a cell that is in every part.
const EVERYWHERE: u32 = u32::MAX - 1;

/// Cells in parts: 4 bytes a cell.
pub struct Parts {
    /// For each cell its part, [`NONE`] or [`EVERYWHERE`].
    codes: Vec<u32>,
    parts: Vec<Part>,
    /// Cells that are in every part.
    pub shared: u64,
}

#[derive(Default)]
pub struct Part {
    /// The part of the file's name that tells it.
    pub name: String,
    pub label: Label,
    /// Those in every part not counted.
    pub own: u64,
}

/// What the values of a key say of an output.
#[derive(Clone, Copy, PartialEq)]
pub enum Says {
    Split,
    Value,
}

impl Parts {
    /// A part for each value that has cells, in the order of the values, but none for those in `shared`, whose cells are
    /// in every part.
    ///
    /// # Errors
    /// A value in `shared` that is none; two values whose files would have one name.
    pub fn of(key: Key, says: Says, shared: &[String]) -> Result<Parts> {
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
        let mut parts = Parts {
            codes: vec![],
            parts: vec![],
            shared: 0,
        };
        let mut places = vec![];
        for (label, count) in key.labels.iter().zip(counts) {
            if shared.contains(label) {
                parts.shared += count;
                places.push(EVERYWHERE);
            } else if count == 0 {
                places.push(NONE);
            } else {
                places.push(parts.parts.len() as u32);
                parts.parts.push(Part::default().within(label, says, count));
            }
        }
        parts.codes = key.codes;
        for code in &mut parts.codes {
            *code = places.get(*code as usize).copied().unwrap_or(NONE);
        }
        parts.checked()
    }

    /// Each part cut further by the values of another key: one for each combination that occurs, in the order of the
    /// parts and then of the values.
    pub fn within(mut self, key: &Key, says: Says) -> Result<Parts> {
        let (counts, missing) = key.counts();
        warn_of_absent(key, &counts, missing, |_| false);
        let pairs = || {
            self.codes
                .iter()
                .zip(&key.codes)
                .map(|(part, code)| (*part, *code))
        };
        let is_none = |(part, code): (u32, u32)| part == NONE || code == NONE;
        let mut found: HashMap<(u32, u32), u64> = HashMap::new();
        for pair in pairs().filter(|pair| !is_none(*pair)) {
            *found.entry(pair).or_default() += 1;
        }
        let sorted: BTreeMap<(u32, u32), u64> = found.into_iter().collect();
        let numbers: HashMap<(u32, u32), u32> = sorted.keys().copied().zip(0..).collect();
        let parts = sorted.iter().map(|(&(part, code), count)| {
            let part = &self.parts[part as usize];
            part.within(&key.labels[code as usize], says, *count)
        });
        let parts = parts.collect();
        let codes = pairs().map(|pair| numbers.get(&pair).copied().unwrap_or(NONE));
        self.codes = codes.collect();
        self.parts = parts;
        self.checked()
    }

    fn checked(self) -> Result<Parts> {
        let parts = self.parts.len() as u64;
        ensure!(
            parts <= limits::SHARDS,
            "That makes {}, each of which would be a shard; {} are the most",
            count(parts, "value"),
            thousands(limits::SHARDS)
        );
        let mut seen = HashMap::new();
        for part in &self.parts {
            if let Some(other) = seen.insert(&part.name, &part.label) {
                bail!(Failure::value(format!(
                    "Categories '{}' and '{}' would both be written to a file of '{}'; rename one of them",
                    other.text(),
                    part.label.text(),
                    part.name
                )));
            }
        }
        Ok(self)
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The cells of all parts, one after another, each in the order of `cells`; and where each begins, and the end.
    pub fn arrange(&self, cells: impl Iterator<Item = u32>) -> Result<(Vec<u32>, Vec<u64>)> {
        let mut cuts = vec![0];
        for part in &self.parts {
            cuts.push(cuts[cuts.len() - 1] + part.own + self.shared);
        }
        let mut order = vec![0; usize::try_from(cuts[self.parts.len()])?];
        let mut next = cuts[..self.parts.len()].to_vec();
        for cell in cells {
            let places = match self.codes[cell as usize] {
                NONE => &mut [][..],
                EVERYWHERE => &mut next[..],
                part => &mut next[part as usize..=part as usize],
            };
            for at in places {
                order[*at as usize] = cell;
                *at += 1;
            }
        }
        Ok((order, cuts))
    }
}

impl Part {
    /// The cells of this part that have one value more.
    fn within(&self, value: &str, says: Says, own: u64) -> Part {
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
        Part { name, label, own }
    }
}

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

/// A value as a part of a file's name: letters and digits of any script, `_`, `.` and `-` stay.
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

    fn names(parts: &Parts) -> Vec<&str> {
        parts.parts.iter().map(|part| part.name.as_str()).collect()
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
        let error = Parts::of(key("k", &["a b", "c", "a+b"], &[0, 1, 2]), Says::Value, &[]);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("'a b' and 'a+b'") && error.contains("'a_b'"),
            "{error}"
        );
        let parts = Parts::of(key("k", &["a", "a_b"], &[0, 1]), Says::Value, &[]).unwrap();
        let error = parts.within(&key("l", &["b_c", "c"], &[0, 1]), Says::Value);
        assert!(error.err().unwrap().to_string().contains("'a_b_c'"));
    }

    #[test]
    fn each_part_has_its_cells_and_the_shared_ones_in_order() {
        let codes = [1, 0, -1, 2, 1, 0, 3];
        let shared = ["s".to_owned()];
        let parts = Parts::of(
            key("k", &["a", "b", "s", "t"], &codes),
            Says::Value,
            &shared,
        );
        let parts = parts.unwrap();
        assert_eq!(names(&parts), ["a", "b", "t"]);
        let (order, cuts) = parts.arrange((0..7).rev()).unwrap();
        assert_eq!(order, [5, 3, 1, 4, 3, 0, 6, 3]);
        assert_eq!(cuts, [0, 3, 6, 8]);
    }

    #[test]
    fn combinations_that_occur_are_parts() {
        let split = key("split", &["val", "train"], &[1, 0, 1, 1, -1, 1]);
        let parts = Parts::of(split, Says::Split, &[]).unwrap();
        let parts = parts.within(&key("k", &["x", "y z"], &[1, 0, 0, 1, 0, -1]), Says::Value);
        let parts = parts.unwrap();
        assert_eq!(names(&parts), ["val_x", "train_x", "train_y_z"]);
        let label = &parts.parts[2].label;
        assert_eq!(label.split.as_deref(), Some("train"));
        assert_eq!(label.values, ["y z"]);
        let (order, cuts) = parts.arrange(0..6).unwrap();
        assert_eq!((order, cuts), (vec![1, 2, 0, 3], vec![0, 1, 2, 4]));
    }
}
