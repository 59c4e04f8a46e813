//! What is not along the cells, uns, varm and varp and the columns of var: which input gives it.
//!
//! Rules of anndata.concat (`merge=`, `uns_merge=`): same, unique, first, only. Values are compared by digests of 32
//! bytes, since no two inputs are open together; matrices over genes are put into the order of the joined genes before.
//!
//! [`Shared::add`] takes every input in the first pass. Where what is over genes must be compared in full,
//! [`Shared::look`] takes every input once more, when the joined genes are known. Then [`Shared::keep_columns`] and
//! [`Shared::given`] say what wins.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use tracing::warn;

use super::agree::{Given, Strategy, Tree, Votes};
use super::genes::JoinedGenes;
use super::input::Input;
use super::join::Joined;
use super::reindex::Reindexed;
use super::{Modes, named};
use crate::anndata::older;
use crate::frame::digest;

/// What each input has, and how many have the same.
pub struct Shared {
    modes: Modes,
    inputs: usize,
    uns: Tree,
    /// What lies in varm and varp, by path.
    elements: BTreeMap<String, Votes>,
    /// The columns of var.
    columns: BTreeMap<String, Votes>,
}

impl Shared {
    pub fn new(modes: Modes) -> Shared {
        Shared {
            modes,
            inputs: 0,
            uns: Tree::default(),
            elements: BTreeMap::new(),
            columns: BTreeMap::new(),
        }
    }

    /// Adds input `at`, the next one.
    pub fn add(&mut self, at: usize, input: &Input) -> Result<()> {
        self.inputs = at + 1;
        let hidden = hidden(input)?;
        self.uns
            .add(at, &input.root, "uns", &hidden, self.modes.uns)?;
        for path in elements(input)? {
            let votes = self.elements.entry(path.clone()).or_default();
            votes.add(at);
            // A little of each, in the order of its own genes: enough for the warning of what is lost, which is all
            // that it is for.
            if self.modes.var == Strategy::First
                && let Some(limit) = Strategy::First.compares()
            {
                votes.compare(|| digest::of(&input.root, &path, limit))?;
            }
        }
        for name in input.gene_frame("var")?.columns {
            self.columns.entry(name).or_default().add(at);
        }
        Ok(())
    }

    /// Compares what an input has over genes, put in the order of the joined ones.
    pub fn look(&mut self, input: &Input, joined: &Joined) -> Result<()> {
        // Only same and unique compare whole values.
        if self.modes.var.compares() != Some(u64::MAX) {
            return Ok(());
        }
        let frame = input.gene_frame("var")?;
        let map = joined.map(&frame.index()?)?;
        for path in elements(input)? {
            let element = Reindexed {
                parent: &input.root,
                name: &path,
                square: path.starts_with("varp/"),
                map: &map,
                joined,
            };
            let votes = self.elements.entry(path.clone()).or_default();
            votes
                .compare(|| element.digest())
                .with_context(|| format!("Compare '{path}'"))?;
        }
        let sources = map.sources(joined.index.len());
        for name in &frame.columns {
            let column = frame.find(name)?.context("It is missing")?;
            let votes = self.columns.entry(name.clone()).or_default();
            votes
                .compare(|| digest::series(&column, Some(&sources)).map(Some))
                .with_context(|| format!("Compare 'var/{name}'"))?;
        }
        Ok(())
    }

    /// Names what only the first input that has it gives, where others have other values.
    pub fn warn(&self, joined: &Joined) {
        let mut differing = match self.modes.uns {
            Strategy::First => self.uns.differing("uns"),
            _ => vec![],
        };
        if self.modes.var == Strategy::First {
            let elements = self.elements.iter();
            // Digests of arrays on different genes say nothing, so those of several inputs are named.
            let differ = |votes: &Votes| votes.differs || !joined.identical && votes.holders > 1;
            let named = elements.filter(|(_, votes)| differ(votes));
            differing.extend(named.map(|(path, _)| path.clone()));
        }
        if !differing.is_empty() {
            let differ = if differing.len() == 1 {
                "differs"
            } else {
                "differ"
            };
            let option = if differing.iter().all(|path| path.starts_with("uns")) {
                "--uns-merge"
            } else {
                "--uns-merge and --var-merge"
            };
            warn!(
                "{} {differ} between the files; of each that of the first file is kept (see {option})",
                named(&differing)
            );
        }
    }

    /// Leaves out the columns of var that are not kept.
    pub fn keep_columns(&self, genes: &mut JoinedGenes) {
        let wins = |votes: &Votes| votes.wins(self.modes.var, self.inputs);
        genes.retain(|name| self.columns.get(name).is_some_and(wins));
    }

    /// What each input gives of uns, varm and varp, in order. By input, so that each is opened once; folders of uns
    /// come before what is in them.
    pub fn given(&self) -> BTreeMap<usize, Vec<Given>> {
        let mut given: BTreeMap<usize, Vec<Given>> = BTreeMap::new();
        let uns = self.uns.given("uns", self.modes.uns, self.inputs);
        let elements = self.elements.iter();
        let elements = elements.filter(|(_, votes)| votes.wins(self.modes.var, self.inputs));
        let elements = elements.map(|(path, votes)| Given {
            input: votes.first,
            path: path.clone(),
            whole: true,
        });
        for one in uns.into_iter().chain(elements) {
            given.entry(one.input).or_default().push(one);
        }
        given
    }
}

fn elements(input: &Input) -> Result<Vec<String>> {
    let mut paths = input.gene_arrays("varm")?;
    paths.extend(input.gene_arrays("varp")?);
    Ok(paths)
}

/// What an old layout keeps in uns and the current one elsewhere.
fn hidden(input: &Input) -> Result<BTreeSet<String>> {
    let categories = older::categories_in_uns(&input.root)?.into_iter();
    let graphs = older::graphs_in_uns(&input.root, input.cells())?.into_iter();
    let categories = categories.map(|name| format!("uns/{name}"));
    let graphs = graphs.map(|name| format!("uns/neighbors/{name}"));
    Ok(categories.chain(graphs).collect())
}
