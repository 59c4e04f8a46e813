//! Whether a file is a sound AnnData file: every element is looked at and every value read, in blocks.
//!
//! Nothing stops at the first fault. The rules themselves are those of the readers in this folder; here is what an
//! element must agree with, and what of it is told.

mod element;
mod findings;
mod frame;
mod label;
mod sparse;
mod values;

use crate::store::{Group, Node};

use super::encoding::Encoding;
use super::frame as frames;
pub use findings::{Finding, Findings, Level};
use label::{Label, label};

/// An axis of the file, and how long its frame is.
#[derive(Clone, Copy, Debug)]
struct Axis {
    name: &'static str,
    len: u64,
}

/// What rows and columns of an element must agree with.
type Shape = [Option<Axis>; 2];

const ANY: Shape = [None, None];

/// Nodes that are looked at. Links may make a small file a tree without end.
const MOST_NODES: u64 = 1 << 20;
/// Bytes of values that any file may hold, and for each byte on disk: no filter packs more.
const VALUES: u64 = 8 << 30;
const VALUES_PER_BYTE: u64 = 4096;

/// A file that is being checked.
struct Checker<'a> {
    root: &'a Group,
    findings: Findings,
    /// Memory to work in.
    budget: u64,
    /// Nodes and bytes of values that may still come.
    nodes: u64,
    values: u64,
    /// Bytes of values that the whole file may hold.
    most: u64,
    /// Elements without `encoding-type`, and the first of them.
    unlabelled: u64,
    first_unlabelled: String,
}

/// Checks an open file of `size` bytes on disk.
pub fn check(root: &Group, size: u64, budget: u64) -> Findings {
    let most = size.saturating_mul(VALUES_PER_BYTE).saturating_add(VALUES);
    let mut checker = Checker {
        root,
        findings: Findings::default(),
        budget,
        nodes: MOST_NODES,
        values: most,
        most,
        unlabelled: 0,
        first_unlabelled: String::new(),
    };
    checker.file();
    checker.findings
}

impl Checker<'_> {
    fn file(&mut self) {
        let root = self.root;
        self.label("", &Node::Group(root.clone()));
        let obs = self.axis("obs", &["obs"]);
        let var = self.axis("var", &["var"]);
        // A raw of `None` is an array.
        let has_raw = matches!(root.get("raw"), Ok(Some(Node::Group(_)))) || self.has("raw.X");
        let raw = match has_raw {
            true => self.axis("raw/var", &["raw/var", "raw.var"]),
            false => None,
        };
        for name in self.names(root, "") {
            match name.as_str() {
                "X" => self.child(root, "", &name, [obs, var]),
                "obs" => self.child(root, "", &name, [obs, None]),
                "var" => self.child(root, "", &name, [var, None]),
                "layers" => self.folder(&name, [obs, var]),
                "obsm" => self.folder(&name, [obs, None]),
                "varm" => self.folder(&name, [var, None]),
                "obsp" => self.folder(&name, [obs, obs]),
                "varp" => self.folder(&name, [var, var]),
                "raw" => self.raw(obs, raw),
                "raw.X" => self.child(root, "", &name, [obs, raw]),
                "raw.var" => self.child(root, "", &name, [raw, None]),
                "raw.varm" => self.folder(&name, [raw, None]),
                _ => self.child(root, "", &name, ANY),
            }
        }
        if self.unlabelled > 0 {
            let what = format!(
                "Elements without 'encoding-type', as in files of anndata 0.7 and before: {}, the first '{}'",
                self.unlabelled, self.first_unlabelled
            );
            self.findings.note("", what);
        }
    }

    fn has(&self, name: &str) -> bool {
        matches!(self.root.get(name), Ok(Some(_)))
    }

    /// The length of the frame that stands at one of `paths`.
    fn axis(&mut self, name: &'static str, paths: &[&str]) -> Option<Axis> {
        let path = paths.iter().copied().find(|path| self.has(path));
        let Some(path) = path else {
            self.findings.error(name, "It is missing");
            return None;
        };
        match frames::length(self.root, path) {
            Ok(len) => Some(Axis { name, len }),
            Err(error) => {
                self.findings.failed(name, &error);
                None
            }
        }
    }

    /// The elements of a folder of the root, each over the same axes.
    fn folder(&mut self, name: &str, shape: Shape) {
        match self.root.get(name) {
            Ok(Some(node @ Node::Group(_)))
                if matches!(
                    Encoding::of(&node),
                    Ok(Encoding::Dict | Encoding::Unknown(_))
                ) =>
            {
                self.label(name, &node);
                let Node::Group(group) = node else { return };
                for child in self.names(&group, name) {
                    self.child(&group, name, &child, shape);
                }
            }
            // A compound dataset, before anndata 0.6, or nothing that belongs here.
            _ => self.child(self.root, "", name, [shape[0], None]),
        }
    }

    fn raw(&mut self, obs: Option<Axis>, genes: Option<Axis>) {
        let Ok(Some(Node::Group(raw))) = self.root.get("raw") else {
            return self.child(self.root, "", "raw", ANY);
        };
        self.label("raw", &Node::Group(raw.clone()));
        for name in self.names(&raw, "raw") {
            match name.as_str() {
                "X" => self.child(&raw, "raw", &name, [obs, genes]),
                "var" => self.child(&raw, "raw", &name, [genes, None]),
                "varm" => self.folder("raw/varm", [genes, None]),
                _ => self.child(&raw, "raw", &name, ANY),
            }
        }
    }

    /// The names in a group; none where they cannot be listed.
    fn names(&mut self, group: &Group, path: &str) -> Vec<String> {
        group.names().unwrap_or_else(|error| {
            self.findings.failed(path, &error);
            vec![]
        })
    }

    /// Whether what a node says of itself is right.
    fn label(&mut self, path: &str, node: &Node) {
        let attrs = match node {
            Node::Group(group) => group.attrs(),
            Node::Array(array) => array.attrs(),
        };
        match attrs.map(|attrs| label(node, &attrs)) {
            Ok(Label::Good) => {}
            Ok(Label::Missing) => {
                if self.unlabelled == 0 {
                    self.first_unlabelled = match path {
                        "" => "/".into(),
                        path => path.into(),
                    };
                }
                self.unlabelled += 1;
            }
            Ok(Label::Unknown(what)) => self.findings.note(path, what),
            Ok(Label::Wrong(what)) => self.findings.error(path, what),
            Err(error) => self.findings.failed(path, &error),
        }
    }

    /// Whether `found` rows or columns are as many as their axis has.
    fn agrees(&mut self, path: &str, what: &str, found: u64, axis: Option<Axis>) {
        if let Some(Axis { name, len }) = axis.filter(|axis| axis.len != found) {
            let what = format!("It has {found} {what}, but {name} has {len}");
            self.findings.error(path, what);
        }
    }
}

/// The path of node `name` in the group at `path`.
fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.into(),
        _ => format!("{path}/{name}"),
    }
}
