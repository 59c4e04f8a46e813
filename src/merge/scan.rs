//! The first pass of a merge: each input is looked at, one at a time, and what decides the result is kept.
//!
//! Of each input that is its name, its cells and the shapes of its arrays; all else is united on the way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::agree::Strategy;
use super::chosen::Candidates;
use super::extras::Extras;
use super::genes::Genes;
use super::input::Input;
use super::join::Join;
use super::shared::Shared;
use super::stack::Shape;
use super::{Modes, frames, is_merged};
use crate::anndata::same;
use crate::anndata::select::Selection;
use crate::rows::csc;

/// One input, closed.
pub struct Known {
    pub name: String,
    pub cells: u64,
    /// About what its largest CSC matrix puts into scratch while it is turned.
    pub scratch: u64,
    /// What it puts into scratch at the least where its matrices are read in place: all else that is along the cells,
    /// and its CSC matrices, turned.
    pub beside: u64,
}

/// What is known of the inputs that were added.
pub struct Scan {
    pub modes: Modes,
    pub inputs: Vec<Known>,
    pub obs: frames::FrameScan,
    /// The dataframes in obsm, and which inputs have them.
    pub frames: BTreeMap<String, (frames::FrameScan, BTreeSet<usize>)>,
    /// The arrays over cells: for each input the shape, `None` where it has none.
    pub arrays: BTreeMap<String, Vec<Option<Shape>>>,
    pub genes: Genes,
    /// Which genes are kept, where not all are.
    pub candidates: Option<Candidates>,
    /// The genes of raw, as long as every input has it.
    pub raw_genes: Option<Genes>,
    /// By path, what is wrong with an array that is not as wide as there are genes.
    pub odd: BTreeMap<String, String>,
    /// What lies in raw/varm, and whether all inputs agree on it.
    pub gene_arrays: BTreeMap<String, bool>,
    /// uns, varm and varp.
    pub shared: Shared,
    pub extras: Extras,
    /// Matrices of cells by cells that are not merged.
    pub squares: BTreeSet<String>,
    /// What lies in a dataframe without being one of its columns.
    pub unlisted: BTreeSet<String>,
    /// What anndata does not know.
    pub unknown: BTreeSet<String>,
}

/// Bytes without compression of the columns of dataframes, and of CSC matrices as CSR: see [`Known::beside`].
fn beside(selection: &Selection) -> u64 {
    let leaves = selection.leaves.iter();
    let columns = leaves.filter(|leaf| selection.frame_of(&leaf.path).is_some());
    let columns = columns.map(|leaf| leaf.least_cost().fixed.saturating_mul(leaf.rows()));
    let csc = selection.csc.iter();
    let csc = csc.map(|(_, matrix)| matrix.nnz().saturating_mul(matrix.nonzero_bytes()));
    columns.chain(csc).fold(0, u64::saturating_add)
}

impl Scan {
    pub fn new(modes: Modes, candidates: Option<Candidates>) -> Scan {
        // A gene that is filled in may have its values in any input.
        let fills = candidates.as_ref().is_some_and(Candidates::fills);
        let join = if fills { Join::Outer } else { modes.join };
        Scan {
            modes,
            shared: Shared::new(modes),
            extras: Extras::default(),
            inputs: vec![],
            obs: frames::FrameScan::with_limit(modes.categories),
            frames: BTreeMap::new(),
            arrays: BTreeMap::new(),
            genes: Genes::new(join, modes.var != Strategy::First),
            candidates,
            raw_genes: Some(Genes::new(modes.join, false)),
            odd: BTreeMap::new(),
            gene_arrays: BTreeMap::new(),
            squares: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Adds the next input; `first` is the first of all.
    pub fn add(&mut self, input: &Input, first: &Input) -> Result<()> {
        let at = self.inputs.len();
        let cells = input.cells();
        let add = |to: &mut frames::FrameScan, path: &str| {
            let frame = input.frame(path)?;
            to.add(&frame, cells)
                .with_context(|| format!("Read '{path}' of {}", input.name))
        };
        add(&mut self.obs, "obs")?;
        for path in input.frames() {
            let (scan, who) = self.frames.entry(path.clone()).or_default();
            add(scan, &path)?;
            who.insert(at);
        }
        self.add_arrays(at, input)?;
        self.add_genes(input)?;
        self.compare(at, input, first)?;
        self.shared
            .add(at, input)
            .with_context(|| format!("Read {}", input.name))?;
        self.extras
            .add(input)
            .with_context(|| format!("Read {}", input.name))?;
        let leaves = input.selection.leaves.iter();
        let squares = leaves.filter(|leaf| leaf.is_square() && !self.modes.pairwise);
        self.squares.extend(squares.map(|leaf| leaf.path.clone()));
        self.unlisted
            .extend(input.selection.unlisted.iter().cloned());
        let names = input.root.names()?.into_iter();
        self.unknown
            .extend(names.filter(|n| !is_merged(n) && n != "uns"));
        let turned = input.selection.csc.iter();
        let turned = turned.map(|(_, matrix)| csc::turned_bytes(matrix));
        self.inputs.push(Known {
            name: input.name.clone(),
            cells,
            scratch: turned.max().unwrap_or(0),
            beside: beside(&input.selection),
        });
        Ok(())
    }

    fn add_arrays(&mut self, at: usize, input: &Input) -> Result<()> {
        for path in input.arrays(self.modes.pairwise) {
            let shapes = self.arrays.entry(path.clone()).or_default();
            shapes.resize(at, None);
            shapes.push(input.shape(&path)?);
        }
        for shapes in self.arrays.values_mut() {
            shapes.resize(at + 1, None);
        }
        Ok(())
    }

    fn add_genes(&mut self, input: &Input) -> Result<()> {
        // The first input without it ends raw for all.
        if self.shape("raw/X").is_none() {
            self.raw_genes = None;
        }
        let of_raw = self.raw_genes.as_mut().map(|raw| ("raw/var", raw));
        let mut widths = BTreeMap::new();
        for (path, genes) in [("var", &mut self.genes)].into_iter().chain(of_raw) {
            let frame = input.gene_frame(path)?;
            if let Some(candidates) = self.candidates.as_mut().filter(|_| path == "var") {
                candidates
                    .look(input.gene_frame(path)?, &frame.index()?)
                    .with_context(|| format!("Read '{path}' of {}", input.name))?;
            }
            genes
                .add(&frame, &input.name)
                .with_context(|| format!("Read '{path}' of {}", input.name))?;
            widths.insert(path, frame.rows());
        }
        for (path, shapes) in &self.arrays {
            let genes = super::genes_of(path).and_then(|var| widths.get(var));
            // Matrices were compared with var when the file was opened. What is found here is text, or has more than
            // two axes: its width counts all of them.
            if let (Some(genes), Some(Some(shape))) = (genes, shapes.last())
                && shape.width() != *genes
            {
                let (name, columns) = (&input.name, shape.width());
                let odd = format!(
                    "'{path}' of {name} has {columns} columns, but its var has {genes} genes"
                );
                self.odd.entry(path.clone()).or_insert(odd);
            }
        }
        Ok(())
    }

    /// The shape of an array of the input that was added last.
    fn shape(&self, path: &str) -> Option<&Shape> {
        self.arrays.get(path)?.last()?.as_ref()
    }

    /// What the inputs do not agree on is not compared again.
    fn compare(&mut self, at: usize, input: &Input, first: &Input) -> Result<()> {
        for path in input.gene_arrays("raw/varm")? {
            self.gene_arrays.entry(path).or_insert(at == 0);
        }
        for (path, agrees) in &mut self.gene_arrays {
            let genes = self.raw_genes.as_ref();
            *agrees &= genes.is_some_and(Genes::identical)
                && (at == 0 || same::at(&first.root, &input.root, path)?);
        }
        Ok(())
    }
}
