//! One file to be merged, open: what it has, by path.
//!
//! Paths are those of the current layout (`raw/X`, `layers/counts`), whatever the file has. Only elements that are
//! taken are seen; all else is hidden in `root`. Values are read later, by the leaves and frames that are given out
//! here.

use std::path::Path;

use anyhow::{Context, Result};

use super::join::{ColumnMap, Joined};
use super::stack::{self, Shape};
use crate::anndata::elements::Elements;
use crate::anndata::select::Selection;
use crate::frame::dataframe::Frame;
use crate::report::failure::InFile;
use crate::rows::leaf::Leaf;
use crate::store::spec::Dtype;
use crate::store::{self, Access, Group, Node};

/// One of the inputs, of which a few are open at a time.
pub struct Input {
    /// As the user gave it.
    pub name: String,
    pub root: Group,
    pub selection: Selection,
}

impl Input {
    /// Opens a file as far as its `elements` are taken.
    pub fn open(path: &Path, access: &Access, elements: &Elements) -> Result<Input> {
        let name = path.display().to_string();
        let open = || -> Result<_> {
            let root = elements.of(&store::open(path, access)?)?;
            let selection = Selection::of(&root)?;
            Ok((root, selection))
        };
        let (root, selection) = open().with_context(|| InFile("Cannot merge", path.to_owned()))?;
        Ok(Input {
            name,
            root,
            selection,
        })
    }

    pub fn cells(&self) -> u64 {
        self.selection.cells
    }

    /// The arrays over cells that are merged: all but obs and dataframes, and obsp only where it is `pairwise`.
    pub fn arrays(&self, pairwise: bool) -> Vec<String> {
        let leaves = self.selection.leaves.iter();
        let leaves = leaves.filter(|leaf| pairwise || !leaf.is_square());
        leaves
            .map(|leaf| leaf.path.clone())
            .chain(self.selection.csc.iter().map(|(path, _)| path.clone()))
            // Columns of dataframes are leaves too; frames are read as a whole.
            .filter(|path| self.selection.frame_of(path).is_none())
            .collect()
    }

    fn leaf(&self, path: &str) -> Option<&Leaf> {
        self.selection.leaves.iter().find(|leaf| leaf.path == path)
    }

    /// What the array at `path` is; `None` where there is none.
    pub fn shape(&self, path: &str) -> Result<Option<Shape>> {
        if let Some(leaf) = self.leaf(path) {
            return Shape::of_leaf(leaf)
                .map(Some)
                .with_context(|| format!("Read '{path}' of {}", self.name));
        }
        let csc = self.selection.csc.iter().find(|(p, _)| p == path);
        Ok(csc.map(|(_, matrix)| Shape::of_sparse(matrix)))
    }

    /// The rows of the array at `path`, or as many without values where there is none.
    pub fn rows_of(&self, path: &str) -> stack::InputRows<'_> {
        if let Some(leaf) = self.leaf(path) {
            return stack::InputRows::of(leaf);
        }
        match self.selection.csc.iter().find(|(p, _)| p == path) {
            Some((_, matrix)) => stack::InputRows::Csc(matrix),
            None => stack::InputRows::Absent(self.cells()),
        }
    }

    /// The dataframes in obsm.
    pub fn frames(&self) -> Vec<String> {
        self.selection.frames("obsm")
    }

    pub fn frame(&self, path: &str) -> Result<Frame> {
        Frame::open(&self.root, path).with_context(|| format!("Read '{path}' of {}", self.name))
    }

    /// A frame of genes, wherever an old layout keeps it.
    pub fn gene_frame(&self, path: &str) -> Result<Frame> {
        let old = path.replace('/', ".");
        self.frame(match self.root.get(&old)? {
            Some(_) => &old,
            None => path,
        })
    }

    /// Where its genes, which are in the frame `path`, go among those of all inputs. No name is read where all inputs
    /// have the same genes in the same order.
    pub fn map_to(&self, genes: &Joined, path: &str) -> Result<ColumnMap> {
        if genes.identical {
            return Ok(ColumnMap::Identity);
        }
        genes
            .map(&self.gene_frame(path)?.index()?)
            .with_context(|| format!("Read '{path}' of {}", self.name))
    }

    /// Everything in a folder of elements over genes: "varm", "varp" or "raw/varm". Paths are as the file has them:
    /// `varm/PCs`, of an old file `raw.varm/PCs`.
    pub fn gene_arrays(&self, folder: &str) -> Result<Vec<String>> {
        let mut found = vec![];
        let mut paths = vec![folder.to_string(), folder.replace('/', ".")];
        // `raw/varm` has an old name, `raw.varm`; `varm` has none.
        paths.dedup();
        for path in paths {
            match self.root.get(&path)? {
                Some(Node::Group(group)) => {
                    let names = group.names()?.into_iter();
                    found.extend(names.map(|name| format!("{path}/{name}")));
                }
                // A compound dataset, before anndata 0.6; that of raw is taken or left as a whole.
                Some(Node::Array(array)) => match &array.spec().dtype {
                    Dtype::Record { .. } if folder.starts_with("raw") => found.push(path),
                    Dtype::Record { fields, .. } => {
                        let named = fields.iter().map(|field| format!("{path}/{}", field.name));
                        found.extend(named.filter(|path| !self.root.hides(path)));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(found)
    }
}
