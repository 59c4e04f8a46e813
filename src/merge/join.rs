//! The genes of many files as one list, and where the columns of each file go in it.
//!
//! One file is added after another, and each name is held once, with a number. Most files have the genes of the first
//! in its order, which is seen in one pass over the names; for others a table says for each column where it goes.
//!
//! Files with the genes `[b, a]` and `[a, c]` make the numbers b = 0, a = 1, c = 2. An outer join puts them in the
//! order `[a, b, c]`, and the tables are `[1, 0]` and `[0, 2]`. An inner one keeps `[a]`: `[none, 0]` and `[0, none]`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::chosen::{ChosenGenes, Lacking};
use super::mismatch;
use crate::report::failure::Failure;
use crate::report::near::and_more;
use crate::store::spec::Strings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// Which genes the result has.
pub enum Join {
    /// The genes of every file, in the order of the first.
    Inner,
    /// The genes of all files, sorted by code point.
    Outer,
}

impl Join {
    pub fn name(self) -> &'static str {
        match self {
            Join::Inner => "inner",
            Join::Outer => "outer",
        }
    }
}

/// Gathers the genes of files one by one. Each name is held once, whatever number of files have it.
pub struct Joiner {
    how: Join,
    /// In order of first appearance: by name the number, and in `genes` by number the name.
    numbers: HashMap<Arc<[u8]>, u32>,
    genes: Vec<Gene>,
    /// Those of the first file; in the second list by number.
    first: (Strings, Arc<Vec<u32>>),
    /// How many they are, each counted once: they have the first numbers.
    of_first: u32,
    files: u32,
    /// Files with the genes of the first in the order of the first. The first is one of them.
    alike: u32,
    /// Genes of the file that has the fewest, and of the one that has the most.
    fewest: usize,
    most: usize,
    /// What is wrong with the first file that names a gene twice.
    twice: Option<String>,
    /// Genes that any file names twice, and the first such file.
    doubled: HashMap<u32, String>,
}

struct Gene {
    name: Arc<[u8]>,
    /// Files that have it, but for the alike ones, and the last of them. An alike file has all genes of the first: it
    /// is counted in `alike`, not in each gene.
    files: u32,
    last: u32,
}

/// Where the columns of one file go.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnMap {
    Identity,
    To {
        /// For each column of the file the one that it becomes; `None` where its gene is dropped.
        places: Arc<Vec<Option<u32>>>,
        /// Columns that are kept stay in order, so that sorted rows stay sorted.
        monotonic: bool,
    },
}

/// The genes of all files, and where each goes.
pub struct Joined {
    pub index: Strings,
    /// Whether all files have the same genes in the same order; only then may a name occur twice.
    pub identical: bool,
    /// Genes that are in all files, and in any.
    pub in_all: usize,
    pub in_any: usize,
    /// Whether so few are in all that something is likely wrong, and what, where the names show it.
    pub suspicion: Option<Option<&'static str>>,
    /// Whether a gene is new to some file, and whether some file loses one.
    pub fills: bool,
    pub drops: bool,
    /// By name the number of a gene, and by number its place in `index`, if it is kept.
    numbers: HashMap<Arc<[u8]>, u32>,
    places: Vec<Option<u32>>,
}

impl Joiner {
    pub fn new(how: Join) -> Joiner {
        Joiner {
            how,
            numbers: HashMap::new(),
            genes: vec![],
            first: Default::default(),
            of_first: 0,
            files: 0,
            alike: 0,
            fewest: usize::MAX,
            most: 0,
            twice: None,
            doubled: HashMap::new(),
        }
    }

    pub fn how(&self) -> Join {
        self.how
    }

    /// Adds the genes of the next file, whose name is `file`; returns their numbers, by name.
    pub fn add(&mut self, index: &Strings, file: &str) -> Result<Arc<Vec<u32>>> {
        self.files += 1;
        if self.files > 1 && *index == self.first.0 {
            self.alike += 1;
            return Ok(self.first.1.clone());
        }
        let (mut list, mut twice) = (Vec::with_capacity(index.len()), vec![]);
        let mut named = HashSet::new();
        for name in index.iter() {
            let number = self.number(name)?;
            let gene = &mut self.genes[number as usize];
            if gene.last != self.files {
                gene.files += 1;
                gene.last = self.files;
            } else if named.insert(number) {
                twice.push(number);
            }
            list.push(number);
        }
        for number in &twice {
            let first = self.doubled.entry(*number);
            first.or_insert_with(|| file.to_owned());
        }
        if !twice.is_empty() && self.twice.is_none() {
            self.twice = Some(self.told_twice(&twice, file));
        }
        self.fewest = self.fewest.min(list.len());
        self.most = self.most.max(list.len());
        let list = Arc::new(list);
        if self.files == 1 {
            self.alike = 1;
            self.first = (index.clone(), list.clone());
            self.of_first = u32::try_from(self.genes.len())?;
            // The first is counted in `alike`, like the files that equal it.
            self.genes.iter_mut().for_each(|gene| gene.files = 0);
        }
        Ok(list)
    }

    fn number(&mut self, name: &[u8]) -> Result<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.genes.len())?;
        let name: Arc<[u8]> = name.into();
        self.numbers.insert(name.clone(), number);
        self.genes.push(Gene {
            name,
            files: 0,
            last: 0,
        });
        Ok(number)
    }

    /// Whether all files have the same genes in the same order.
    pub fn identical(&self) -> bool {
        self.alike == self.files
    }

    /// Joins the genes of all files, or those that are `chosen` of them.
    pub fn join(mut self, chosen: Option<&ChosenGenes>) -> Result<Joined> {
        let identical = self.identical() && chosen.is_none();
        // Of two columns of one name it is not known which is which in another file. Where nothing moves, nothing has
        // to be known: pandas and anndata allow such names.
        if !identical
            && chosen.is_none()
            && let Some(twice) = self.twice
        {
            bail!(Failure::value(twice));
        }
        let (in_all, in_any) = (self.in_all(), self.genes.len());
        let suspicion =
            (!identical && mismatch::is_suspicious(in_all, self.fewest)).then(|| self.reason());
        // Genes of the list that no file has get numbers too, so `in_any` is counted before.
        let listed = chosen.and_then(|chosen| chosen.list.as_ref());
        let listed = listed.map(|list| self.listed(list)).transpose()?;
        let first = self.first.1.clone();
        let mut kept = match self.how {
            _ if listed.is_some() => listed.unwrap_or_default(),
            _ if self.identical() => first.to_vec(),
            Join::Outer => {
                let mut all: Vec<u32> = (0..self.genes.len() as u32).collect();
                let name = |number: &u32| &self.genes[*number as usize].name;
                all.sort_unstable_by(|a, b| name(a).cmp(name(b)));
                all
            }
            Join::Inner => {
                // The first has all of them.
                let kept = first.iter().filter(|number| self.is_in_all(**number));
                kept.copied().collect()
            }
        };
        if let Some(chosen) = chosen {
            self.settle_lacking(&kept, chosen)?;
            kept.retain(|number| chosen.lacking != Lacking::Skip || self.is_in_all(*number));
            kept.retain(|number| chosen.passes(&self.genes[*number as usize].name));
            self.refuse_doubled(&kept)?;
        }
        if kept.is_empty() && !self.genes.is_empty() {
            bail!(none_left(chosen.is_some(), suspicion.flatten()));
        }
        let mut places = vec![None; self.genes.len()];
        for (number, at) in kept.iter().zip(0..) {
            places[*number as usize] = Some(at);
        }
        let names = kept.iter().map(|n| &*self.genes[*n as usize].name);
        Ok(Joined {
            index: names.collect(),
            identical,
            in_all: if identical { kept.len() } else { in_all },
            in_any: if identical { kept.len() } else { in_any },
            suspicion,
            // Names are unique here, so a file that has fewer genes than the result lacks one of them.
            fills: match chosen {
                None => !identical && self.how == Join::Outer && self.fewest < kept.len(),
                Some(_) => kept.iter().any(|number| !self.is_in_all(*number)),
            },
            drops: match chosen {
                None => !identical && self.how == Join::Inner && self.most > kept.len(),
                Some(_) => kept.len() < self.genes.len(),
            },
            numbers: self.numbers,
            places,
        })
    }

    /// Genes that all files have. The first has all of them.
    fn in_all(&self) -> usize {
        let first = self.first.1.iter();
        first.filter(|number| self.is_in_all(**number)).count()
    }

    /// The alike files have all genes of the first; each other file has counted itself in its genes.
    fn is_in_all(&self, number: u32) -> bool {
        number < self.of_first && self.genes[number as usize].files == self.files - self.alike
    }

    /// Whether only a list names it.
    fn is_in_none(&self, number: u32) -> bool {
        number >= self.of_first && self.genes[number as usize].files == 0
    }

    /// The numbers of listed genes; those that no file has get one too.
    fn listed(&mut self, list: &Strings) -> Result<Vec<u32>> {
        list.iter().map(|name| self.number(name)).collect()
    }

    /// An error for chosen genes of which it is not clear which column is meant. Of genes that are not chosen, doubled
    /// names do no harm.
    fn refuse_doubled(&self, kept: &[u32]) -> Result<()> {
        let Some((number, file)) = kept.iter().find_map(|n| self.doubled.get_key_value(n)) else {
            return Ok(());
        };
        bail!(Failure::value(format!(
            "{file}: '{}' is there twice in var; choose by a column in which each gene has a name of its own \
             (--gene-column), or call var_names_make_unique() first",
            String::from_utf8_lossy(&self.genes[*number as usize].name)
        )))
    }

    /// Settles what becomes of listed genes that are not in all files.
    fn settle_lacking(&self, listed: &[u32], chosen: &ChosenGenes) -> Result<()> {
        if chosen.list.is_none() {
            return Ok(());
        }
        let lacking = listed.iter().filter(|number| match chosen.lacking {
            // What some inputs lack is what is asked for; what all of them lack may be misspelt.
            Lacking::Fill => self.is_in_none(**number),
            Lacking::Refuse | Lacking::Skip => !self.is_in_all(**number),
        });
        let lacking: Vec<&[u8]> = lacking
            .map(|number| &*self.genes[*number as usize].name)
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let known = (0..).zip(&self.genes).filter(|(n, _)| self.is_in_all(*n));
        let known = known.map(|(_, gene)| String::from_utf8_lossy(&gene.name).into_owned());
        let known: Vec<String> = known.collect();
        chosen.lacking.settle(&lacking, listed.len(), &known)
    }

    /// What makes the names of the first file differ from those that it lacks, which were numbered after them.
    fn reason(&self) -> Option<&'static str> {
        let names: Vec<&[u8]> = self.genes.iter().map(|gene| &*gene.name).collect();
        let (first, others) = names.split_at(self.of_first as usize);
        mismatch::reason(first, others)
    }

    fn told_twice(&self, twice: &[u32], file: &str) -> String {
        let name = |n: &u32| String::from_utf8_lossy(&self.genes[*n as usize].name).into_owned();
        let shown: Vec<String> = twice
            .iter()
            .take(5)
            .map(|n| format!("{:?}", name(n)))
            .collect();
        let more = and_more(twice.len() - shown.len());
        format!(
            "{file}: gene names in var occur twice: {}{more}; the genes of the inputs differ, so each must be unique: \
             call var_names_make_unique() on that file first",
            shown.join(", ")
        )
    }
}

impl Joined {
    /// Where the gene of a number goes, if it is kept.
    pub fn place(&self, number: u32) -> Option<usize> {
        let place = self.places.get(number as usize)?;
        place.map(|at| at as usize)
    }

    /// The numbers of the genes `index`; an error for one that no file had.
    pub fn numbers(&self, index: &Strings) -> Result<Vec<u32>> {
        let number = |name: &[u8]| {
            let number = self.numbers.get(name).with_context(|| {
                let name = String::from_utf8_lossy(name);
                format!("Gene {name:?} was not there when the file was first read")
            })?;
            Ok(*number)
        };
        index.iter().map(number).collect()
    }

    /// Where the columns of a file with the genes `index` go; an error for a gene that no file had.
    pub fn map(&self, index: &Strings) -> Result<ColumnMap> {
        if *index == self.index {
            return Ok(ColumnMap::Identity);
        }
        let numbers = self.numbers(index)?.into_iter();
        let places: Vec<Option<u32>> = numbers.map(|n| self.places[n as usize]).collect();
        let monotonic = places.iter().flatten().is_sorted();
        Ok(ColumnMap::To {
            places: Arc::new(places),
            monotonic,
        })
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

    /// The column that goes to each of `kept` places.
    pub fn sources(&self, kept: usize) -> Vec<Option<u32>> {
        let mut sources = vec![None; kept];
        for (column, place) in (0..).zip(self.places(kept as u64)) {
            if let Some(source) = place.and_then(|at| sources.get_mut(at as usize)) {
                *source = Some(column);
            }
        }
        sources
    }
}

/// The error where no gene is left.
fn none_left(are_chosen: bool, reason: Option<&str>) -> Failure {
    if are_chosen {
        return Failure::value("No gene is left by --genes and --var-where".into());
    }
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    let what = "No gene is in every input";
    Failure::value(format!(
        "{what}{reason}; use --join outer to keep those of any"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where each of `width` columns goes.
    fn places(map: &ColumnMap, width: usize) -> Vec<Option<u32>> {
        match map {
            ColumnMap::Identity => (0..width as u32).map(Some).collect(),
            ColumnMap::To { places, .. } => places.to_vec(),
        }
    }

    fn joined(lists: &[Vec<&str>], how: Join) -> Result<(Vec<String>, Vec<ColumnMap>)> {
        let mut joiner = Joiner::new(how);
        let indexes = lists
            .iter()
            .map(|l| l.iter().map(|n| n.as_bytes()).collect());
        let indexes: Vec<Strings> = indexes.collect();
        for (i, index) in indexes.iter().enumerate() {
            joiner.add(index, &format!("{i}.h5ad"))?;
        }
        let joined = joiner.join(None)?;
        let maps: Vec<ColumnMap> = indexes
            .iter()
            .map(|i| joined.map(i))
            .collect::<Result<_>>()?;
        let kept = maps
            .iter()
            .zip(&indexes)
            .map(|(m, i)| places(m, i.len()).into_iter().flatten().count());
        assert_eq!(joined.fills, kept.clone().any(|n| n < joined.index.len()));
        assert_eq!(
            joined.drops,
            kept.zip(&indexes).any(|(n, index)| n < index.len())
        );
        let index = joined
            .index
            .iter()
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect();
        Ok((index, maps))
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
                for (name, place) in list.iter().zip(places(map, list.len())) {
                    match place {
                        Some(at) => prop_assert_eq!(&index[at as usize], name),
                        None => prop_assert!(lists.iter().any(|l| !l.contains(name))),
                    }
                }
            }
        }
    }
}
