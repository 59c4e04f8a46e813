//! Several inputs as one source of rows, for the engine: the rows of one input after those of another.
//!
//! A first pass looks at every input and decides ([`JoinedInputs`]); in the second all arrays of the result are open and
//! take the rows of each input ([`JoinedRows`]). One input is open at a time, besides the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tracing::warn;

use super::agree::Given;
use super::chosen::GeneChoice;
use super::decide::Outline;
use super::extras::Extras;
use super::frames::{FrameScan, MergedRows, Origin};
use super::input::Input;
use super::join::{ColumnMap, Joined};
use super::matrices::{Matrices, Reader};
use super::names::Names;
use super::reindex::Reindexed;
use super::scan::Scan;
use super::sources::Sources;
use super::stack::{Shape, Stack};
use super::{Modes, folder_of, genes_of, is_merged};
use crate::anndata::copy::{self, Copy};
use crate::anndata::elements::{Elements, MissingText};
use crate::anndata::select::Selection;
use crate::output;
use crate::report::progress::Progress;
use crate::report::words::clause;
use crate::store::spec::{Attrs, Strings};
use crate::store::{self, Access, Container, Group, Node};

/// Bytes that all columns of dataframes together hold back for chunks that are not full, and the least for one.
const COLUMNS: u64 = 48 << 20;
const LEAST: u64 = 16 << 10;
/// The part of the memory, as 1 in so many, that may hold where rows end.
const ENDS: u64 = 16;

/// Several inputs that become one source of rows: all are looked at, and what the result will be is decided.
pub struct JoinedInputs<'a> {
    outline: Outline,
    inputs: Inputs<'a>,
    /// Stays open until what is not along the cells is written.
    first: Input,
}

/// The inputs, which are opened one at a time.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    paths: &'a [PathBuf],
    access: Access,
    elements: &'a Arc<Elements>,
    sources: &'a Sources,
}

/// The result, as far as it is written.
pub struct JoinedRows<'a> {
    inputs: Inputs<'a>,
    frames: Vec<(String, MergedRows)>,
    arrays: Vec<Merged>,
    genes: Arc<Joined>,
    raw_genes: Option<Arc<Joined>>,
    names: Names,
    extras: Extras,
    /// Cells of each input when it was scanned.
    cells: Vec<u64>,
    /// Inputs that were appended.
    done: usize,
    /// A folder of this run's own.
    scratch: PathBuf,
}

struct Merged {
    path: String,
    stack: Stack,
    /// Bytes of a row in the mean, and 1: what it counts in the progress.
    weight: u64,
    /// What each input had when it was scanned.
    shapes: Vec<Option<Shape>>,
}

impl Inputs<'_> {
    fn open(&self, at: usize) -> Result<Input> {
        let path = self.paths.get(at).context("There is no such input")?;
        Input::open(path, &self.access, self.elements)
    }
}

impl<'a> JoinedInputs<'a> {
    /// Looks at all inputs, one after another, some of them twice.
    ///
    /// # Errors
    /// What cannot be put together.
    pub fn look(
        paths: &'a [PathBuf],
        (access, elements): (Access, &'a Arc<Elements>),
        modes: Modes,
        sources: &'a Sources,
        genes: Option<&GeneChoice>,
    ) -> Result<JoinedInputs<'a>> {
        let inputs = Inputs {
            paths,
            access,
            elements,
            sources,
        };
        let first = inputs.open(0)?;
        let candidates = genes.map(|genes| genes.begin(access.memory)).transpose()?;
        let mut scan = Scan::new(modes, candidates);
        scan.add(&first, &first)?;
        for at in 1..paths.len() {
            scan.add(&inputs.open(at)?, &first)?;
        }
        elements.check_used()?;
        let mut outline = Outline::of(scan)?;
        if outline.reopen() {
            for at in 0..paths.len() {
                outline.look(&inputs.open(at)?)?;
            }
        }
        Ok(JoinedInputs {
            outline,
            inputs,
            first,
        })
    }

    pub fn cells(&self) -> u64 {
        self.outline.cells()
    }

    /// What the arrays take in an HDF5 file without compression, at the least.
    pub fn least_bytes(&self) -> u64 {
        self.outline.least_bytes()
    }

    /// About what is put into scratch at a time.
    pub fn scratch_bytes(&self) -> u64 {
        self.outline.scratch_bytes()
    }

    /// What [`JoinedInputs::select`] puts into scratch at the least.
    pub fn bytes_beside(&self) -> u64 {
        let inputs = self.outline.inputs.iter();
        inputs
            .map(|input| input.beside)
            .fold(0, u64::saturating_add)
    }

    /// About what the result takes without compression, but for matrices of cells by cells. Opens all inputs.
    pub fn bytes(&self) -> Result<u64> {
        let mut bytes = self.first.selection.skeleton_bytes()?;
        for at in 0..self.inputs.paths.len() {
            let selection = self.inputs.open(at)?.selection;
            for leaf in selection.leaves.iter().filter(|leaf| !leaf.is_square()) {
                let (cost, rows) = (leaf.cost()?, leaf.rows());
                let count = leaf.count(std::slice::from_ref(&(0..rows)))?;
                bytes += cost.fixed * rows + cost.element * count;
            }
            let csc = selection.csc.iter();
            bytes += csc.map(|(_, m)| m.nnz() * m.element_bytes()).sum::<u64>();
        }
        Ok(bytes)
    }

    /// The inputs as one file, but for its matrices, which are read where they are. All else is written to `scratch`.
    ///
    /// Returns the file and what is selected of it, which is everything.
    pub fn select(mut self, scratch: &Path) -> Result<(Group, Selection)> {
        let (cells, memory) = (self.outline.cells(), self.inputs.access.memory);
        let most = memory / ENDS;
        let mut matrices = Matrices::of(&mut self.outline.arrays, cells, most, scratch)?;
        let path = scratch.join("joined.h5ad");
        let out = store::create(&path, Container::H5AD)?;
        let mut rows = self.create(&out, scratch)?;
        let progress = Progress::new("Joining", cells, true, store::moved);
        let reader = Arc::new(rows.reader(matrices.paths()));
        for at in 0..rows.cells.len() {
            let opened = reader.opened(at)?;
            rows.append(at, &opened.input, &progress)?;
            matrices.look(at, &opened)?;
        }
        let leaves = matrices.into_leaves(&reader, &mut rows.extras)?;
        if let Some(warning) = rows.finish(&out)? {
            warn!("{warning}");
        }
        out.finish()?;
        let root = store::open(&path, &Access::default())?;
        let mut selection = Selection::of(&root)?;
        selection.leaves.splice(0..0, leaves);
        Ok((root, selection))
    }

    /// Writes what is not along the cells, and creates what is; `scratch` is a folder.
    pub fn create(self, out: &Group, scratch: &Path) -> Result<JoinedRows<'a>> {
        let JoinedInputs {
            mut outline,
            inputs,
            first,
        } = self;
        let cells = outline.cells();
        out.set_attrs("", &Attrs::encoding("anndata", "0.1.0"))?;
        let of_first = |path: &str| {
            let top = path.split('/').next().unwrap_or_default();
            !matches!(top, "" | "uns") && !is_merged(top)
        };
        let of = || format!("Read {}", first.name);
        first.selection.write_part(out, of_first).with_context(of)?;
        outline.shared.keep_columns(&mut outline.genes);
        let texts = inputs.elements.plain_strings();
        let genes = outline.genes.write(out, "var", texts);
        let genes = genes.context("Merge 'var'")?;
        let raw_genes = match outline.raw_genes {
            None => None,
            Some(genes) => {
                out.create_group("raw", &Attrs::encoding("raw", "0.1.0"))?;
                Some(
                    genes
                        .write(out, "raw/var", texts)
                        .context("Merge 'raw/var'")?,
                )
            }
        };
        for path in &outline.gene_arrays {
            let copy = Copy::new(&first.root, path, &folder_of(path));
            copy::run(&copy, out).with_context(of)?;
        }
        for (at, given) in outline.shared.given() {
            match at {
                0 => write_given(&given, &first, &genes, texts, out)?,
                at => write_given(&given, &inputs.open(at)?, &genes, texts, out)?,
            }
        }
        make_folders(out, raw_genes.is_some())?;
        let mut rows = JoinedRows {
            inputs,
            frames: vec![],
            arrays: vec![],
            genes: Arc::new(genes),
            raw_genes: raw_genes.map(Arc::new),
            names: Names::new(cells, inputs.access.memory / 64, scratch)?,
            extras: outline.extras,
            cells: outline.inputs.iter().map(|input| input.cells).collect(),
            done: 0,
            scratch: scratch.to_owned(),
        };
        rows.create_frames(outline.frames, out, cells)?;
        for (path, (plan, shapes)) in outline.arrays {
            rows.arrays.push(Merged {
                weight: plan.least_bytes(cells) / cells.max(1) + 1,
                stack: Stack::create(out, &path, plan, cells)?,
                path,
                shapes,
            });
        }
        Ok(rows)
    }
}

impl JoinedRows<'_> {
    fn create_frames(
        &mut self,
        frames: BTreeMap<String, FrameScan>,
        out: &Group,
        cells: u64,
    ) -> Result<()> {
        let labels = self.inputs.sources.labels.as_ref();
        if let Some(labels) = labels {
            self.extras.forget(&format!("obs/{}", labels.column));
        }
        let columns: usize = frames.values().map(FrameScan::width).sum();
        let each = COLUMNS / (columns as u64 + 1);
        let small = out.with_chunks_of(each.max(LEAST));
        for (path, mut frame) in frames {
            if self.inputs.sources.rename() {
                frame.rename();
            }
            let merged = frame
                .create(
                    &small,
                    &path,
                    cells,
                    labels.filter(|_| path == "obs"),
                    self.inputs.elements.plain_strings(),
                )
                .with_context(|| format!("Merge '{path}'"))?;
            self.frames.push((path, merged));
        }
        Ok(())
    }

    /// What reads the rows of the inputs in place.
    fn reader(&self, matrices: BTreeSet<String>) -> Reader {
        let Inputs {
            paths,
            access,
            elements,
            ..
        } = self.inputs;
        let inputs = (paths.to_vec(), access, elements.clone());
        let genes = (self.genes.clone(), self.raw_genes.clone());
        Reader::new(inputs, genes, &self.cells, matrices, &self.scratch)
    }

    /// What all arrays are, in the units of the progress.
    pub fn work(&self) -> u64 {
        let cells: u64 = self.cells.iter().sum();
        let weights = self.arrays.iter().map(|array| array.weight);
        weights.sum::<u64>().saturating_mul(cells)
    }

    /// Appends the rows of the next input; false where there is none.
    pub fn append_next(&mut self, progress: &Progress) -> Result<bool> {
        let at = self.done;
        if at == self.inputs.paths.len() {
            return Ok(false);
        }
        let input = self.inputs.open(at)?;
        self.append(at, &input, progress)?;
        self.done += 1;
        Ok(true)
    }

    fn append(&mut self, at: usize, input: &Input, progress: &Progress) -> Result<()> {
        ensure!(
            self.cells.get(at) == Some(&input.cells()),
            "{} has changed since it was first read",
            input.name
        );
        let (obs, has) = (input.frame("obs")?, input.frames());
        let origin = Origin {
            obs: &obs,
            input: at,
            suffix: self.inputs.sources.suffix(at),
        };
        for (path, rows) in &mut self.frames {
            let frame = if path == "obs" || has.contains(path) {
                Some(input.frame(path)?)
            } else {
                None
            };
            let told = |names: &Strings| {
                if path == "obs" {
                    self.names.add(names)
                } else {
                    Ok(())
                }
            };
            rows.append(frame.as_ref(), &origin, told)
                .with_context(|| format!("Read {}", input.name))?;
        }
        let map = input.map_to(&self.genes, "var")?;
        let raw_map = match &self.raw_genes {
            Some(genes) => input.map_to(genes, "raw/var")?,
            None => ColumnMap::Identity,
        };
        for array in &mut self.arrays {
            let map = match genes_of(&array.path) {
                Some("raw/var") => &raw_map,
                Some(_) => &map,
                None => &ColumnMap::Identity,
            };
            let path = &array.path;
            ensure!(
                array.shapes.get(at) == Some(&input.shape(path)?),
                "'{path}' of {} has changed since it was first read",
                input.name
            );
            let (rows, units) = (input.rows_of(path), array.weight * input.cells());
            progress.begin(units, (units as f64 * rows.moved_per_byte()) as u64);
            array
                .stack
                .append(rows, map, &self.scratch)
                .with_context(|| format!("Read {}", input.name))?;
            progress.end();
        }
        Ok(())
    }

    /// Makes all arrays whole. `out` is the result. Returns a warning for when it stands, where cells have the name of
    /// another one.
    pub fn finish(self, out: &Group) -> Result<Option<String>> {
        for (path, rows) in self.frames {
            rows.finish().with_context(|| format!("Merge '{path}'"))?;
        }
        let mut arrays = self.arrays.into_iter();
        arrays.try_for_each(|array| array.stack.finish())?;
        self.extras.write(out)?;
        let doubled = self.names.doubled()?;
        let advice = if output::are_shards(self.inputs.paths) {
            "is a shard given twice, or are shards of an earlier run among them?"
        } else if self.inputs.sources.rename() {
            "call obs_names_make_unique() on the result or on the inputs"
        } else {
            "if that is meant, --index-unique - adds the file's name to each; if not, is a file given twice?"
        };
        let cells = clause(doubled, "cell", ("has", "have"));
        Ok((doubled > 0).then(|| format!("{cells} the name of another cell; {advice}")))
    }
}

/// Writes what one input gives of uns, varm and varp.
fn write_given(
    given: &[Given],
    input: &Input,
    genes: &Joined,
    texts: Option<&MissingText>,
    out: &Group,
) -> Result<()> {
    let map = input.map_to(genes, "var")?;
    let mut lost = vec![];
    for Given { path, whole, .. } in given {
        let write = || -> Result<bool> {
            if let Some((folder @ ("varm" | "varp"), _)) = path.split_once('/') {
                let element = Reindexed {
                    parent: &input.root,
                    name: path,
                    square: folder == "varp",
                    map: &map,
                    joined: genes,
                };
                return element.write(out, path, texts);
            }
            match input.root.get(path)? {
                Some(Node::Group(folder)) if !whole => copy::folder(&folder, out, path)?,
                _ => copy::run(&Copy::new(&input.root, path, path), out)?,
            }
            Ok(true)
        };
        if !write().with_context(|| format!("Read '{path}' of {}", input.name))? {
            lost.push(format!("'{path}' of {}", input.name));
        }
    }
    if !lost.is_empty() {
        warn!(
            "Left out: {}, which cannot be put on other genes",
            lost.join(", ")
        );
    }
    Ok(())
}

/// The folders that anndata writes, empty or not.
fn make_folders(out: &Group, raw: bool) -> Result<()> {
    let raw = raw.then_some("raw/varm");
    let folders = ["layers", "obsm", "obsp", "varm", "varp", "uns"];
    for folder in folders.into_iter().chain(raw) {
        let dict = Attrs::encoding("dict", "0.1.0");
        match out.get(folder)? {
            None => drop(out.create_group(folder, &dict)?),
            // Made on the way to what was copied into it.
            Some(Node::Group(group)) if group.attrs()?.get("encoding-type").is_none() => {
                out.set_attrs(folder, &dict)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
