//! The cells of each category of a column, as shards: what `slice --obs-column` cuts.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail, ensure};
use tracing::warn;

use super::{listed, near};
use crate::dtype::ints;
use crate::frame::categories::{Categories, Union};
use crate::frame::column::{Column, ColumnKind};
use crate::frame::values::{Data, Values};
use crate::report::failure::Failure;
use crate::report::words::clause;
use crate::store::spec::{Dtype, Kind};

/// The categories of a column and how many cells each has.
pub struct Groups {
    column: Column,
    categories: Categories,
    /// The category of each code of the column; `None` where it is not categorical.
    map: Option<Vec<i32>>,
    labels: Vec<String>,
    counts: Vec<u64>,
    missing: u64,
}

/// One shard for each of some categories.
pub struct Shards {
    /// The category of each.
    pub labels: Vec<String>,
    /// The part of the file's name that tells the category.
    pub names: Vec<String>,
    /// Where each begins in the order, and the end of the last.
    pub cuts: Vec<u64>,
    /// How many cells are in every shard.
    pub shared: u64,
    places: Vec<Destination>,
}

/// Where the cells of a category go.
#[derive(Clone, Copy)]
enum Destination {
    Nowhere,
    Everywhere,
    Shard(usize),
}

impl Groups {
    /// Counts the cells of each category; of a column that is not categorical, of each value in order of appearance.
    ///
    /// # Errors
    /// A column of floats.
    pub fn of(column: Column, name: &str) -> Result<Groups> {
        let dtype = column.dtype();
        let categorical = matches!(column.kind, ColumnKind::Categorical { .. });
        ensure!(
            categorical || !matches!(dtype.kind(), Some(Kind::Float | Kind::Complex)),
            Failure::value(format!(
                "Column '{name}' is {dtype}; give one that is categorical, text, integer or bool"
            ))
        );
        let mut union = Union::default();
        union.add(&column)?;
        let categories = union.unite(&dtype)?;
        let map = categories.map(&column)?;
        let labels: Values = categories.values().clone().into();
        let labels = labels.cast(&Dtype::String)?.data;
        let labels = (0..labels.len()).map(|i| String::from_utf8_lossy(labels.get(i)).into_owned());
        let labels: Vec<String> = labels.collect();
        let mut groups = Groups {
            counts: vec![0; labels.len()],
            missing: 0,
            labels,
            categories,
            map,
            column,
        };
        let (mut counts, mut missing) = (std::mem::take(&mut groups.counts), 0);
        groups.each_cell(|_, code| {
            match code {
                Some(code) => counts[code] += 1,
                None => missing += 1,
            };
        })?;
        (groups.counts, groups.missing) = (counts, missing);
        Ok(groups)
    }

    /// Calls `found` with each cell and the number of its category.
    fn each_cell(&self, mut found: impl FnMut(u32, Option<usize>)) -> Result<()> {
        for rows in self.column.blocks()? {
            let values = self
                .categories
                .encode(self.map.as_deref(), &self.column, rows.clone())?;
            let Data::Numbers { dtype, bytes } = &values.data else {
                bail!("Its codes are text");
            };
            for (cell, code) in rows.zip(ints::read(bytes, dtype)?) {
                let code = usize::try_from(code).ok();
                found(cell as u32, code.filter(|c| *c < self.labels.len()));
            }
        }
        Ok(())
    }

    /// One shard for each category that has cells, but none for those in `shared`, which go into every shard.
    ///
    /// # Errors
    /// A value in `shared` that is no category; two categories whose shards would have one name.
    pub fn shards(&self, name: &str, shared: &[String]) -> Result<Shards> {
        for value in shared {
            ensure!(
                self.labels.contains(value),
                Failure::value(format!(
                    "Column '{name}' has no category '{value}' for --always-include{}",
                    near(value, &self.labels)
                ))
            );
        }
        let shared: HashSet<&String> = shared.iter().collect();
        let is_shared = |label: &String| shared.contains(label);
        let counted = || self.labels.iter().zip(&self.counts);
        let empty = || counted().filter(|(label, n)| **n == 0 && !is_shared(label));
        match empty().count() {
            0 => {}
            count => warn!(
                "Categories of '{name}' without cells get no shard ({count}): {}",
                listed(empty().map(|(label, _)| label.as_str()), count)
            ),
        }
        if self.missing > 0 {
            warn!(
                "{} no value in '{name}', and so no shard",
                clause(self.missing, "cell", ("has", "have"))
            );
        }
        let of_shared: u64 = counted()
            .filter(|(l, _)| is_shared(l))
            .map(|(_, n)| n)
            .sum();
        let mut shards = Shards {
            labels: vec![],
            names: vec![],
            cuts: vec![0],
            shared: of_shared,
            places: vec![],
        };
        let mut end = 0;
        for (label, count) in counted() {
            shards.places.push(match (is_shared(label), count) {
                (true, _) => Destination::Everywhere,
                (false, 0) => Destination::Nowhere,
                (false, _) => Destination::Shard(shards.labels.len()),
            });
            if let Some(Destination::Shard(_)) = shards.places.last() {
                end += count + of_shared;
                shards.cuts.push(end);
                shards.names.push(file_name(label));
                shards.labels.push(label.clone());
            }
        }
        shards.check_names()?;
        Ok(shards)
    }

    /// The cells of all shards, one after another, each in the order of the file.
    pub fn order(&self, shards: &Shards) -> Result<Vec<u32>> {
        let total = shards.cuts.last().copied().unwrap_or(0);
        let mut order = vec![0; usize::try_from(total)?];
        let mut next = shards.cuts.clone();
        next.pop();
        self.each_cell(|cell, code| {
            let place = code.map_or(Destination::Nowhere, |code| shards.places[code]);
            let to = match place {
                Destination::Nowhere => &mut [][..],
                Destination::Everywhere => &mut next[..],
                Destination::Shard(shard) => &mut next[shard..=shard],
            };
            for at in to {
                order[*at as usize] = cell;
                *at += 1;
            }
        })?;
        Ok(order)
    }
}

impl Shards {
    fn check_names(&self) -> Result<()> {
        let mut seen = HashMap::new();
        for (name, label) in self.names.iter().zip(&self.labels) {
            if let Some(other) = seen.insert(name, label) {
                bail!(Failure::value(format!(
                    "Categories '{other}' and '{label}' would both be written to a file of '{name}'; rename one of them"
                )));
            }
        }
        Ok(())
    }
}

/// A category as a part of a file's name: letters and digits of any script, `_`, `.` and `-` stay.
fn file_name(label: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    label
        .chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn categories_of_one_name_are_refused_by_both_names() {
        let labels = ["a b", "c", "a+b"].map(String::from).to_vec();
        let shards = Shards {
            names: labels.iter().map(|l| file_name(l)).collect(),
            labels,
            cuts: vec![],
            shared: 0,
            places: vec![],
        };
        let error = shards.check_names().unwrap_err().to_string();
        assert!(
            error.contains("'a b' and 'a+b'") && error.contains("'a_b'"),
            "{error}"
        );
    }
}
