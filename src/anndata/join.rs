//! The genes of many files as one list, and where the columns of each file go in it.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};

use crate::store::spec::Strings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The genes of every file, in the order of the first.
    Inner,
    /// The genes of all files, sorted by code point.
    Outer,
}

/// Gathers the indexes of files one by one. Equal ones are held once.
#[derive(Default)]
pub struct Joiner {
    numbers: HashMap<Rc<[u8]>, u32>,
    names: Vec<Rc<[u8]>>,
    lists: Vec<Rc<Vec<u32>>>,
}

/// Where the columns of one file go.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnMap {
    Identity,
    To {
        places: Rc<Vec<Option<u32>>>,
        /// Columns that are kept stay in order, so that sorted rows stay sorted.
        monotonic: bool,
    },
}

pub struct Joined {
    pub index: Strings,
    pub maps: Vec<ColumnMap>,
}

impl Joiner {
    pub fn add(&mut self, index: &Strings) -> Result<()> {
        let mut list = Vec::with_capacity(index.len());
        for name in index.iter() {
            let number = match self.numbers.get(name) {
                Some(&number) => number,
                None => {
                    let number = u32::try_from(self.names.len())?;
                    let name: Rc<[u8]> = name.into();
                    self.names.push(name.clone());
                    self.numbers.insert(name, number);
                    number
                }
            };
            list.push(number);
        }
        let same = self.lists.iter().rev().take(1).chain(self.lists.first());
        let list = same
            .into_iter()
            .find(|l| ***l == list)
            .cloned()
            .unwrap_or_else(|| Rc::new(list));
        self.lists.push(list);
        Ok(())
    }

    /// Whether all files have the same genes in the same order.
    pub fn identical(&self) -> bool {
        self.lists
            .windows(2)
            .all(|w| Rc::ptr_eq(&w[0], &w[1]) || w[0] == w[1])
    }

    /// Joins the indexes; `files` are their names for messages.
    pub fn join(&self, how: Join, files: &[String]) -> Result<Joined> {
        if self.identical() {
            let first = self.lists.first().cloned().unwrap_or_default();
            return Ok(Joined {
                index: first.iter().map(|&n| &*self.names[n as usize]).collect(),
                maps: vec![ColumnMap::Identity; self.lists.len()],
            });
        }
        for (list, file) in self.lists.iter().zip(files) {
            self.refuse_duplicates(list, file)?;
        }
        let kept = match how {
            Join::Outer => {
                let mut all: Vec<u32> = (0..self.names.len() as u32).collect();
                all.sort_unstable_by(|&a, &b| self.names[a as usize].cmp(&self.names[b as usize]));
                all
            }
            Join::Inner => self.shared(),
        };
        ensure!(
            !kept.is_empty() || self.names.is_empty(),
            "No gene is in every input; use --join outer to keep those of any"
        );
        let mut place = vec![None; self.names.len()];
        for (at, &number) in kept.iter().enumerate() {
            place[number as usize] = Some(at as u32);
        }
        let maps = self
            .lists
            .iter()
            .map(|list| map(list, &place, kept.len()))
            .collect();
        Ok(Joined {
            index: kept.iter().map(|&n| &*self.names[n as usize]).collect(),
            maps,
        })
    }

    fn shared(&self) -> Vec<u32> {
        let mut seen = vec![0u32; self.names.len()];
        for list in &self.lists {
            list.iter().for_each(|&n| seen[n as usize] += 1);
        }
        let files = self.lists.len() as u32;
        let first = self.lists.first().cloned().unwrap_or_default();
        first
            .iter()
            .copied()
            .filter(|&n| seen[n as usize] == files)
            .collect()
    }

    fn refuse_duplicates(&self, list: &[u32], file: &str) -> Result<()> {
        let mut seen = vec![0u8; self.names.len()];
        let mut twice = vec![];
        for &number in list {
            let count = &mut seen[number as usize];
            *count = count.saturating_add(1);
            if *count == 2 {
                twice.push(number);
            }
        }
        if twice.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = twice
            .iter()
            .take(5)
            .map(|&n| format!("{:?}", String::from_utf8_lossy(&self.names[n as usize])))
            .collect();
        let more = match twice.len() {
            0..=5 => String::new(),
            n => format!(" and {} more", n - 5),
        };
        bail!(
            "{file}: gene names in var occur twice: {}{more}; the genes of the inputs differ, so each must be unique: \
             call var_names_make_unique() on that file first",
            shown.join(", ")
        )
    }
}

fn map(list: &[u32], place: &[Option<u32>], width: usize) -> ColumnMap {
    let places: Vec<Option<u32>> = list.iter().map(|&n| place[n as usize]).collect();
    if places.len() == width && places.iter().zip(0..).all(|(p, at)| *p == Some(at)) {
        return ColumnMap::Identity;
    }
    let monotonic = places.iter().flatten().is_sorted();
    ColumnMap::To {
        places: Rc::new(places),
        monotonic,
    }
}

impl ColumnMap {
    /// Where each of `width` columns goes.
    pub fn places(&self, width: u64) -> Vec<Option<u32>> {
        match self {
            ColumnMap::Identity => (0..width as u32).map(Some).collect(),
            ColumnMap::To { places, .. } => places.to_vec(),
        }
    }

    /// Whether columns are left out.
    pub fn drops(&self) -> bool {
        match self {
            ColumnMap::Identity => false,
            ColumnMap::To { places, .. } => places.contains(&None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(lists: &[Vec<&str>], how: Join) -> Result<(Vec<String>, Vec<ColumnMap>)> {
        let mut joiner = Joiner::default();
        let mut files = vec![];
        for (i, list) in lists.iter().enumerate() {
            joiner.add(&list.iter().map(|n| n.as_bytes()).collect())?;
            files.push(format!("{i}.h5ad"));
        }
        let joined = joiner.join(how, &files)?;
        let index = joined
            .index
            .iter()
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect();
        Ok((index, joined.maps))
    }

    #[test]
    fn equal_lists_stay_as_they_are() {
        let lists = [vec!["b", "a", "b"], vec!["b", "a", "b"]];
        let (index, maps) = joined(&lists, Join::Outer).unwrap();
        assert_eq!(index, ["b", "a", "b"]);
        assert_eq!(maps, [ColumnMap::Identity, ColumnMap::Identity]);
    }

    #[test]
    fn outer_sorts_by_code_point_and_inner_keeps_the_first_order() {
        let lists = [vec!["z", "é", "B", "a"], vec!["a", "🧬", "z"]];
        assert_eq!(
            joined(&lists, Join::Outer).unwrap().0,
            ["B", "a", "z", "é", "🧬"]
        );
        assert_eq!(joined(&lists, Join::Inner).unwrap().0, ["z", "a"]);
    }

    #[test]
    fn duplicates_are_refused_only_where_columns_move() {
        let error = joined(&[vec!["a", "a"], vec!["b", "a"]], Join::Outer).unwrap_err();
        assert!(
            error.to_string().starts_with("0.h5ad: gene names"),
            "{error}"
        );
    }

    #[test]
    fn an_inner_join_of_nothing_is_an_error() {
        assert!(joined(&[vec!["a"], vec!["b"]], Join::Inner).is_err());
    }

    proptest! {
        #[test]
        fn every_gene_goes_to_its_name(
            lists in prop::collection::vec(prop::collection::hash_set("[a-e]{1,2}", 0..8), 2..5),
            inner in any::<bool>(),
        ) {
            let lists: Vec<Vec<&str>> =
                lists.iter().map(|l| l.iter().map(String::as_str).collect()).collect();
            let how = if inner { Join::Inner } else { Join::Outer };
            let Ok((index, maps)) = joined(&lists, how) else {
                prop_assert!(inner);
                return Ok(());
            };
            for (list, map) in lists.iter().zip(&maps) {
                for (name, place) in list.iter().zip(map.places(list.len() as u64)) {
                    match place {
                        Some(at) => prop_assert_eq!(&index[at as usize], name),
                        None => prop_assert!(lists.iter().any(|l| !l.contains(name))),
                    }
                }
            }
        }
    }
}
