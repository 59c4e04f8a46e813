//! Which input gives what is not along the cells, as the strategies of `anndata.concat` say it.
//!
//! The inputs are told one by one. Of each place only the first that has it, how many have it, and a digest of the
//! value are held, so that no two files need be open together.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::anndata::encoding::Encoding;
use crate::frame::digest::{self, Digest};
use crate::store::{Group, Node};

/// Of several values for one place, which is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// That of the first input that has one.
    First,
    /// One that all inputs have, and have alike.
    Same,
    /// One that is alike in all inputs that have one.
    Unique,
    /// One that a single input has.
    Only,
    None,
}

impl Strategy {
    pub fn name(self) -> &'static str {
        match self {
            Strategy::First => "first",
            Strategy::Same => "same",
            Strategy::Unique => "unique",
            Strategy::Only => "only",
            Strategy::None => "none",
        }
    }

    /// Bytes of each array that must be compared; with `First` only to warn of what is lost, so little is enough.
    pub fn compares(self) -> Option<u64> {
        match self {
            Strategy::First => Some(1 << 20),
            Strategy::Same | Strategy::Unique => Some(u64::MAX),
            Strategy::Only | Strategy::None => None,
        }
    }
}

/// What the inputs have at one place.
#[derive(Debug, Default)]
pub struct Votes {
    /// The first input that has a value.
    pub first: usize,
    pub holders: usize,
    /// Of the value that was compared first, `None` where it is equal to nothing.
    digest: Option<Option<Digest>>,
    pub differs: bool,
}

impl Votes {
    /// Input `input` has a value.
    pub fn add(&mut self, input: usize) {
        if self.holders == 0 {
            self.first = input;
        }
        self.holders += 1;
    }

    /// Compares the value of the next input that has one; it is not asked for where that cannot matter any more.
    pub fn compare(&mut self, digest: impl FnOnce() -> Result<Option<Digest>>) -> Result<()> {
        match self.digest {
            _ if self.differs => {}
            None => self.digest = Some(digest()?),
            Some(None) => self.differs = true,
            Some(known) => self.differs = digest()? != known,
        }
        Ok(())
    }

    /// Whether the value of the first holder is kept, of `inputs` inputs.
    pub fn wins(&self, strategy: Strategy, inputs: usize) -> bool {
        match strategy {
            Strategy::First => true,
            Strategy::Same => self.holders == inputs && !self.differs,
            Strategy::Unique => !self.differs,
            Strategy::Only => self.holders == 1,
            Strategy::None => false,
        }
    }
}

/// What the inputs have in a folder, at each depth.
#[derive(Debug, Default)]
pub struct Tree {
    votes: Votes,
    /// Inputs in which it is a folder.
    folders: usize,
    /// Something in it belongs elsewhere.
    partial: bool,
    /// Of all inputs in which it is a folder.
    children: BTreeMap<String, Tree>,
}

/// One node of the result: where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Given {
    pub input: usize,
    pub path: String,
    /// With all that is in it; else the folder alone.
    pub whole: bool,
}

impl Tree {
    /// Adds node `name` of `parent` in input `input`, but what lies at the paths in `hidden`.
    pub fn add(
        &mut self,
        input: usize,
        parent: &Group,
        name: &str,
        hidden: &BTreeSet<String>,
        strategy: Strategy,
    ) -> Result<()> {
        let Some(node) = parent.get(name)? else {
            return Ok(());
        };
        self.votes.add(input);
        let Node::Group(folder) = &node else {
            return self.compare(parent, name, strategy);
        };
        let labels = folder.attrs()?;
        let label = labels.text("encoding-type");
        if Encoding::of(&node)? != Encoding::Dict || !matches!(label, None | Some("dict")) {
            return self.compare(parent, name, strategy);
        }
        self.folders += 1;
        for name in folder.names()? {
            if hidden.contains(&format!("{}/{name}", folder.path())) {
                self.partial = true;
                continue;
            }
            let child = self.children.entry(name.clone()).or_default();
            child.add(input, folder, &name, hidden, strategy)?;
            self.partial |= child.partial;
        }
        Ok(())
    }

    fn compare(&mut self, parent: &Group, name: &str, strategy: Strategy) -> Result<()> {
        match strategy.compares() {
            Some(limit) => self.votes.compare(|| digest::of(parent, name, limit)),
            None => Ok(()),
        }
    }

    /// What is kept, folders before what is in them, of `inputs` inputs. A folder that comes out empty is not, as in
    /// anndata, unless the first of all is kept anyway.
    pub fn given(&self, path: &str, strategy: Strategy, inputs: usize) -> Vec<Given> {
        let mut given = vec![];
        if self.votes.holders > 0 {
            self.give(path, strategy, inputs, &mut given);
        }
        given
    }

    fn give(&self, path: &str, strategy: Strategy, inputs: usize, given: &mut Vec<Given>) {
        let input = self.votes.first;
        let path = path.to_string();
        let first = strategy == Strategy::First;
        let kept = if self.is_folder() {
            first && self.is_of(input)
        } else {
            self.is_leaf() && self.votes.wins(strategy, inputs) || first
        };
        if kept || !self.is_folder() {
            let whole = true;
            given.extend(kept.then_some(Given { input, path, whole }));
            return;
        }
        let before = given.len();
        let whole = false;
        given.push(Given {
            input,
            path: path.clone(),
            whole,
        });
        for (name, child) in &self.children {
            child.give(&format!("{path}/{name}"), strategy, inputs, given);
        }
        if given.len() == before + 1 && !first {
            given.pop();
        }
    }

    /// In all inputs that have it. Where it is a folder in some and a value in others, it is neither this nor a leaf.
    fn is_folder(&self) -> bool {
        self.folders == self.votes.holders
    }

    fn is_leaf(&self) -> bool {
        self.folders == 0
    }

    /// Whether all of it comes from `input` where the first is taken.
    fn is_of(&self, input: usize) -> bool {
        let mut children = self.children.values();
        self.votes.first == input && !self.partial && children.all(|child| child.is_of(input))
    }

    /// The paths at which inputs have different values.
    pub fn differing(&self, path: &str) -> Vec<String> {
        if !self.is_folder() {
            let differs = self.votes.differs || !self.is_leaf();
            return differs.then(|| path.to_string()).into_iter().collect();
        }
        let children = self.children.iter();
        children
            .flat_map(|(name, child)| child.differing(&format!("{path}/{name}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::spec::{ArraySpec, Attrs, Dtype};
    use crate::store::{Access, Container, Rows, create};

    /// The paths that are kept of inputs whose numbers in uns are given by path; a path that ends in / is an empty
    /// folder.
    fn kept(inputs: &[&[(&str, i64)]], strategy: Strategy) -> Vec<(String, usize)> {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        for (at, values) in inputs.iter().enumerate() {
            let path = dir.path().join(format!("{at}.h5ad"));
            let root = create(&path, Container::H5AD).unwrap();
            root.create_group("uns", &Attrs::encoding("dict", "0.1.0"))
                .unwrap();
            for (name, value) in *values {
                if let Some(name) = name.strip_suffix('/') {
                    let dict = Attrs::encoding("dict", "0.1.0");
                    root.create_group(&format!("uns/{name}"), &dict).unwrap();
                    continue;
                }
                let spec = ArraySpec::new(vec![], Dtype::INT64);
                let attrs = Attrs::encoding("numeric-scalar", "0.2.0");
                let to = format!("uns/{name}");
                let mut array = root.create_array(&to, &spec, Rows::Known, &attrs).unwrap();
                array.append(&value.to_ne_bytes()).unwrap();
                array.finish().unwrap();
            }
            root.finish().unwrap();
            let root = crate::store::open(&path, &Access::default()).unwrap();
            tree.add(at, &root, "uns", &BTreeSet::new(), strategy)
                .unwrap();
        }
        let given = tree.given("uns", strategy, inputs.len()).into_iter();
        given
            .filter(|given| given.whole)
            .map(|given| (given.path, given.input))
            .collect()
    }

    /// The example of the documentation of `anndata.concat`.
    const INPUTS: [&[(&str, i64)]; 3] = [
        &[("a", 1), ("b", 2), ("c/c.a", 3), ("c/c.b", 4)],
        &[("a", 1), ("b", 3), ("c/c.b", 4)],
        &[("a", 1), ("b", 4), ("c/c.a", 3), ("c/c.b", 4), ("c/c.c", 5)],
    ];

    #[test]
    fn strategies_keep_what_anndata_keeps() {
        for (strategy, expected) in [
            (
                Strategy::First,
                &[("a", 0), ("b", 0), ("c/c.a", 0), ("c/c.b", 0), ("c/c.c", 2)][..],
            ),
            (Strategy::Same, &[("a", 0), ("c/c.b", 0)]),
            (
                Strategy::Unique,
                &[("a", 0), ("c/c.a", 0), ("c/c.b", 0), ("c/c.c", 2)],
            ),
            (Strategy::Only, &[("c/c.c", 2)]),
            (Strategy::None, &[]),
        ] {
            let expected = expected.iter().map(|(p, i)| (format!("uns/{p}"), *i));
            let expected: Vec<(String, usize)> = expected.collect();
            assert_eq!(kept(&INPUTS, strategy), expected, "{strategy:?}");
        }
    }

    #[test]
    fn a_folder_that_one_input_gives_is_taken_whole() {
        let alike: [&[(&str, i64)]; 2] = [&[("a", 1), ("d/", 0)], &[("a", 2)]];
        assert_eq!(kept(&alike, Strategy::First), [("uns".to_string(), 0)]);
    }

    #[test]
    fn a_folder_here_and_a_value_there_do_not_agree() {
        let mixed: [&[(&str, i64)]; 3] = [&[("a/x", 1)], &[("a", 1)], &[("b", 1)]];
        let given = |strategy| kept(&mixed, strategy);
        assert_eq!(
            given(Strategy::First),
            [("uns/a".to_string(), 0), ("uns/b".to_string(), 2)]
        );
        for strategy in [Strategy::Unique, Strategy::Only] {
            assert_eq!(given(strategy), [("uns/b".to_string(), 2)]);
        }
        assert_eq!(given(Strategy::Same), []);
    }
}
