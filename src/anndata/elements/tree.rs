//! The elements of a file by their paths in the current layout, folders before what is in them.
//!
//! Patterns are held against these paths, whatever the layout of the file: `raw.X` of anndata 0.6 is `raw/X`, and
//! graphs in `uns/neighbors` are in obsp. Columns of frames are elements too, and so is what is in uns, at any depth.

use anyhow::{Context, Result};

use crate::anndata::encoding::Encoding;
use crate::anndata::{columns, older};
use crate::report::failure::in_element;
use crate::store::spec::Dtype;
use crate::store::{Group, Node};

/// One element of a file.
pub struct Element {
    /// Its names from the root on.
    names: Vec<String>,
    /// Which element it is in.
    pub parent: Option<usize>,
    /// Where it is in the file; `None` for a folder that a file has anyway. This is what is hidden:
    /// `uns/neighbors/distances` for `obsp/distances`.
    pub at: Option<String>,
    /// Why it is there as long as what it is in is there. `--drop` says it of what is named, and a `*` passes over it.
    pub needed: Option<&'static str>,
}

impl Element {
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    pub fn path(&self) -> String {
        self.names.join("/")
    }
}

/// The folders that every file has, empty or not.
const FOLDERS: [&str; 6] = ["layers", "obsm", "obsp", "varm", "varp", "uns"];

/// All elements of a file.
pub fn list(root: &Group) -> Result<Vec<Element>> {
    let mut tree = Tree {
        root,
        elements: vec![],
    };
    for name in root.names()? {
        tree.top(&name).with_context(|| in_element("Read", &name))?;
    }
    for folder in FOLDERS {
        tree.folder_of(folder);
    }
    Ok(tree.elements)
}

struct Tree<'a> {
    root: &'a Group,
    elements: Vec<Element>,
}

impl Tree<'_> {
    fn top(&mut self, name: &str) -> Result<()> {
        const X: &str =
            "it is what readers take for the matrix; --x-from puts another in its place";
        const OBS: &str = "it has the names of the cells; 'obs/*' is its other columns";
        const VAR: &str = "it has the names of the genes; 'var/*' is its other columns";
        match name {
            "X" => drop(self.add(None, name, Some(name), Some(X))),
            "obs" | "var" => {
                let why = if name == "obs" { OBS } else { VAR };
                let frame = self.add(None, name, Some(name), Some(why));
                self.columns(frame, name)?;
            }
            "uns" => self.uns()?,
            "raw" => self.raw("raw", "raw/X", "raw/var", "raw/varm")?,
            // anndata 0.6 and before.
            "raw.X" => self.raw("", "raw.X", "raw.var", "raw.varm")?,
            "raw.var" | "raw.varm" | "raw.cat" => {}
            _ if FOLDERS.contains(&name) => {
                let parent = self.folder_of(name);
                self.folder(parent, name)?;
            }
            _ => drop(self.add(None, name, Some(name), None)),
        }
        Ok(())
    }

    /// Adds an element; returns its place in the list.
    fn add(
        &mut self,
        parent: Option<usize>,
        name: &str,
        at: Option<&str>,
        needed: Option<&'static str>,
    ) -> usize {
        let above = parent.and_then(|parent| self.elements.get(parent));
        let mut names = above.map_or(vec![], |above| above.names.clone());
        names.push(name.into());
        self.elements.push(Element {
            names,
            parent,
            at: at.map(String::from),
            needed,
        });
        self.elements.len() - 1
    }

    /// The place of a folder of the root, which is added where it is not there yet.
    fn folder_of(&mut self, name: &str) -> usize {
        let known = self.elements.iter().position(|e| e.names == [name]);
        known.unwrap_or_else(|| self.add(None, name, None, None))
    }

    /// What is in the folder at `path`: arrays, and frames with their columns.
    fn folder(&mut self, parent: usize, path: &str) -> Result<()> {
        let group = match self.root.get(path)? {
            Some(Node::Group(group)) => group,
            Some(Node::Array(array)) => {
                self.elements[parent].at = Some(path.into());
                // A compound dataset, before anndata 0.6.
                if let Dtype::Record { fields, .. } = &array.spec().dtype {
                    for name in fields.iter().map(|field| &field.name) {
                        self.add(Some(parent), name, Some(&format!("{path}/{name}")), None);
                    }
                }
                return Ok(());
            }
            None => return Ok(()),
        };
        for name in group.names()? {
            let at = format!("{path}/{name}");
            let element = self.add(Some(parent), &name, Some(&at), None);
            if let Some(Node::Group(below)) = group.get(&name)?
                && is_frame(&below)?
            {
                self.columns(element, &at)?;
            }
        }
        Ok(())
    }

    /// The columns of the frame at `path`, and what else is in its group.
    fn columns(&mut self, frame: usize, path: &str) -> Result<()> {
        const INDEX: &str = "it has the names of the rows";
        let (listed, others) = match self.root.get(path)? {
            Some(Node::Array(array)) => (older::record_names(&array)?, vec![]),
            Some(Node::Group(group)) if is_frame(&group)? => {
                let listed = columns::columns(&group)?;
                let others = match Encoding::of_group(&group)? {
                    Encoding::DataFrame => columns::unlisted(&group, &listed)?,
                    _ => vec![],
                };
                (listed, others)
            }
            // What is no frame is refused where rows are taken.
            _ => return Ok(()),
        };
        // The index comes first, and alone is needed.
        let mut needed = Some(INDEX);
        for name in listed.iter().chain(&others) {
            let at = format!("{path}/{name}");
            self.add(Some(frame), name, Some(&at), needed.take());
        }
        Ok(())
    }

    /// raw and its parts, which are at these paths; `at` is empty where they are at the root.
    fn raw(&mut self, at: &str, x: &str, var: &str, varm: &str) -> Result<()> {
        const PART: &str = "raw is nothing without it; 'raw' is all of it";
        let raw = self.add(None, "raw", (!at.is_empty()).then_some(at), None);
        for (name, at) in [("X", x), ("var", var), ("varm", varm)] {
            if self.root.get(at)?.is_none() {
                continue;
            }
            if name == "varm" {
                let varm = self.add(Some(raw), name, None, None);
                self.folder(varm, at)?;
                continue;
            }
            let part = self.add(Some(raw), name, Some(at), Some(PART));
            if name == "var" {
                self.columns(part, at)?;
            }
        }
        Ok(())
    }

    /// Everything in uns, but what an old layout keeps there and the current one elsewhere.
    fn uns(&mut self) -> Result<()> {
        let cells = columns::length(self.root, "obs")?;
        let graphs = older::graphs_in_uns(self.root, cells)?;
        let mut hidden = older::categories_in_uns(self.root)?;
        let uns = self.folder_of("uns");
        if !graphs.is_empty() {
            let (obsp, neighbors) = (
                self.folder_of("obsp"),
                self.add(Some(uns), "neighbors", None, None),
            );
            for name in &graphs {
                self.add(
                    Some(obsp),
                    name,
                    Some(&format!("uns/neighbors/{name}")),
                    None,
                );
            }
            self.dict(neighbors, "uns/neighbors", &graphs)?;
            hidden.push("neighbors".into());
        }
        self.dict(uns, "uns", &hidden)
    }

    /// What is in a folder of any depth, without `hidden`.
    fn dict(&mut self, parent: usize, path: &str, hidden: &[String]) -> Result<()> {
        let Some(Node::Group(group)) = self.root.get(path)? else {
            return self.folder(parent, path);
        };
        for name in group.names()?.iter().filter(|name| !hidden.contains(name)) {
            let at = format!("{path}/{name}");
            let element = self.add(Some(parent), name, Some(&at), None);
            match group.get(name)? {
                Some(Node::Group(below)) if Encoding::of_group(&below)? == Encoding::Dict => {
                    self.dict(element, &at, &[])?;
                }
                Some(Node::Group(below)) if is_frame(&below)? => self.columns(element, &at)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_frame(group: &Group) -> Result<bool> {
    let encoding = Encoding::of_group(group)?;
    Ok(matches!(encoding, Encoding::DataFrame))
}
