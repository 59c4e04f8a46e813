//! Several inputs as one source of rows, for the engine: the rows of one input after those of another.
//!
//! A first pass looks at every input and decides ([`JoinedInputs`]). In the second, frames and text of the result are open
//! and take the rows of each input ([`JoinedRows`]); matrices of numbers are read where they are ([`Matrices`]). Two doors
//! lead on: [`begin`](JoinedInputs::begin) writes frames and text to the one output of merge, and
//! [`select`](JoinedInputs::select) to a scratch file, whose rows the engine takes in any order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::warn;

use super::agree::Given;
use super::chosen::GeneChoice;
use super::decide::Outline;
use super::input::Input;
use super::input_keys::InputKeys;
use super::join::Joined;
use super::matrices::Matrices;
use super::names::CellNames;
use super::reader::Reader;
use super::reindex::Reindexed;
use super::rows::JoinedRows;
use super::scan::Scan;
use super::stack::Shape;
use super::{Modes, folder_of, is_merged, unlinked};
use crate::anndata::copy::{self, Copy};
use crate::anndata::elements::{Elements, MissingText};
use crate::anndata::select::Selection;
use crate::report::progress::Progress;
use crate::store::spec::Attrs;
use crate::store::{self, Access, Container, Group, Node, Shown};

/// The part of the memory, as 1 in so many, that may hold where rows end. It is for all sparse matrices together; what
/// it does not hold goes to scratch.
const ENDS: u64 = 16;

/// Several inputs that become one source of rows: all are looked at, and what the result will be is decided.
pub struct JoinedInputs<'a> {
    outline: Outline,
    inputs: Inputs<'a>,
    /// Stays open until what is not along the cells is written.
    first: Input,
}

/// What is read of each input.
pub struct InputRead<'a> {
    pub access: Access,
    /// What is taken.
    pub elements: &'a Elements,
    /// Columns of obs that choose cells: they are there, taken or not.
    pub columns: &'a [&'a str],
}

/// The inputs, which are opened one at a time.
struct Inputs<'a> {
    paths: &'a [PathBuf],
    access: Access,
    elements: Arc<Elements>,
    keys: &'a InputKeys,
}

impl Inputs<'_> {
    fn open(&self, at: usize) -> Result<Input> {
        let path = self.paths.get(at).context("There is no such input")?;
        Input::open(path, &self.access, &self.elements)
    }
}

impl<'a> JoinedInputs<'a> {
    /// Looks at all inputs, one after another, some of them twice.
    ///
    /// # Errors
    /// What cannot be put together.
    pub fn look(
        paths: &'a [PathBuf],
        read: &InputRead,
        modes: Modes,
        keys: &'a InputKeys,
        genes: Option<&GeneChoice>,
    ) -> Result<JoinedInputs<'a>> {
        let of_obs = read.columns.iter().map(|name| format!("obs/{name}"));
        let of_var = genes.into_iter().flat_map(GeneChoice::columns);
        let of_var = of_var.map(|name| format!("var/{name}"));
        let inputs = Inputs {
            paths,
            access: read.access,
            elements: Arc::new(read.elements.reading(of_obs.chain(of_var).collect())),
            keys,
        };
        // It stays open: raw/varm of all others is compared with its own, and much of the result comes from it alone.
        let first = inputs.open(0)?;
        let candidates = genes
            .map(|genes| genes.begin(read.access.memory))
            .transpose()?;
        let mut scan = Scan::new(modes, candidates);
        scan.add(&first, &first)?;
        for at in 1..paths.len() {
            scan.add(&inputs.open(at)?, &first)?;
        }
        // Only now is it known that a pattern means nothing in any input.
        inputs.elements.check_used()?;
        let mut outline = Outline::of(scan)?;
        // Types and names did not decide all: the inputs are opened once more, for values.
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

    /// About what the result takes without compression, but for matrices of cells by cells. Opens all inputs. Rows
    /// count as the inputs have them: genes that an outer join adds, or an inner one drops, are not seen here.
    pub fn bytes(&self) -> Result<u64> {
        let mut bytes = self.first.selection.skeleton_bytes()?;
        for at in 0..self.inputs.paths.len() {
            let selection = self.inputs.open(at)?.selection;
            for leaf in selection.leaves.iter().filter(|leaf| !leaf.is_square()) {
                let cost = leaf.cost()?;
                bytes += cost.fixed * leaf.rows() + cost.nonzero * leaf.nnz();
            }
            let csc = selection.csc.iter();
            bytes += csc.map(|(_, m)| m.nnz() * m.nonzero_bytes()).sum::<u64>();
        }
        Ok(bytes)
    }

    /// An error where some of the matrices cannot stay in the inputs, as linked rows.
    pub fn refuse_unlinked(&self) -> Result<()> {
        unlinked::refuse(&self.outline, |at| self.inputs.open(at))
    }

    /// The inputs as one file, but for its matrices, which are read where they are. All else is written to `scratch`.
    ///
    /// Returns the file and what is selected of it, which is everything but columns that are only read.
    pub fn select(self, scratch: &Path) -> Result<(Group, Selection)> {
        let elements = self.inputs.elements.clone();
        let path = scratch.join("joined.h5ad");
        let out = store::create(&path, Container::H5AD)?;
        let (mut rows, matrices) = self.put_together(&out, scratch, false)?;
        let leaves = matrices.into_leaves(&mut rows)?;
        let files = rows.inputs().into_iter().map(|input| input.start);
        let files = files.collect();
        if let Some(warning) = rows.finish(&out)? {
            warn!("{warning}");
        }
        out.finish()?;
        let root = store::open(&path, &Access::default())?;
        let mut taken = Shown::default();
        // A column that only chooses cells was put together like the others; from here on it is hidden.
        let only_read = elements.only_read();
        only_read.iter().for_each(|column| taken.hide(column));
        let mut selection = Selection::of(&root.showing(taken))?;
        selection.leaves.splice(0..0, leaves);
        selection.files = files;
        Ok((root, selection))
    }

    /// Begins the result in `out`: writes what is not along the cells, and creates what is, but for matrices. Those are
    /// selected, to be written input by input; `scratch` is a folder.
    pub fn begin(mut self, out: &Group, scratch: &Path) -> Result<(JoinedRows<'a>, Selection)> {
        let (cells, root) = (self.outline.cells(), self.first.root.clone());
        let matrices = Matrices::of(&mut self.outline.arrays, &self.first, cells);
        let mut rows = self.create(out, matrices.shapes(), (scratch, false))?;
        let selection = matrices.select(&mut rows, &root)?;
        Ok((rows, selection))
    }

    /// As [`JoinedInputs::begin`], with the rows of all inputs, but for matrices: any rows of these may be written, and
    /// it is known how many non-zeros each has.
    pub fn begin_any(self, out: &Group, scratch: &Path) -> Result<(JoinedRows<'a>, Selection)> {
        let root = self.first.root.clone();
        let (mut rows, matrices) = self.put_together(out, scratch, true)?;
        let selection = matrices.select(&mut rows, &root)?;
        Ok((rows, selection))
    }

    /// The matrices of [`JoinedInputs::begin_any`] alone; `scratch` is a folder. For a task of `--part` that writes a
    /// portion of them. All else goes to a scratch file that nobody reads: the task with the metadata writes it to the
    /// output.
    pub fn matrices(self, scratch: &Path) -> Result<Selection> {
        let root = self.first.root.clone();
        let out = store::create(&scratch.join("rest.h5ad"), Container::H5AD)?;
        let (mut rows, mut matrices) = self.create_any(&out, scratch, true)?;
        for at in 0..rows.inputs().len() {
            matrices.look(&*rows.reader.opened(at)?)?;
        }
        matrices.select(&mut rows, &root)
    }

    /// Writes all but the matrices to `out`, and looks at these, so that rows are read in any order.
    fn put_together(
        self,
        out: &Group,
        scratch: &Path,
        exactly: bool,
    ) -> Result<(JoinedRows<'a>, Matrices)> {
        let progress = Progress::new("Joining", self.cells(), true, store::moved);
        let (mut rows, mut matrices) = self.create_any(out, scratch, exactly)?;
        for (at, input) in rows.inputs().into_iter().enumerate() {
            progress.begin(input.end - input.start, 1);
            matrices.look(&*rows.append(at)?)?;
            progress.end();
        }
        Ok((rows, matrices))
    }

    /// Creates all but the matrices in `out`, of which rows will be read in any order; `exactly` as
    /// [`Matrices::note_ends`] has it.
    fn create_any(
        mut self,
        out: &Group,
        scratch: &Path,
        exactly: bool,
    ) -> Result<(JoinedRows<'a>, Matrices)> {
        let (cells, memory) = (self.outline.cells(), self.inputs.access.memory);
        let mut matrices = Matrices::of(&mut self.outline.arrays, &self.first, cells);
        matrices.note_ends(cells, (memory / ENDS, scratch), exactly)?;
        let rows = self.create(out, matrices.shapes(), (scratch, true))?;
        Ok((rows, matrices))
    }

    /// Writes to `out` what is not along the cells, and creates what is, but for the matrices, which each input has in
    /// these `shapes`. `scratch` is a folder, and says whether CSC matrices are turned there.
    fn create(
        self,
        out: &Group,
        shapes: BTreeMap<String, Vec<Option<Shape>>>,
        scratch: (&Path, bool),
    ) -> Result<JoinedRows<'a>> {
        let JoinedInputs {
            mut outline,
            inputs,
            first,
        } = self;
        out.set_attrs("", &Attrs::encoding("anndata", "0.1.0"))?;
        // Elements that anndata does not know: no rule says how to join them, so those of the first input are copied.
        // Attributes of the root are not: `Extras` unites those.
        let of_first = |path: &str| {
            let top = path.split('/').next().unwrap_or_default();
            !matches!(top, "" | "uns") && !is_merged(top)
        };
        let of = || format!("Read {}", first.name);
        first.selection.write_part(out, of_first).with_context(of)?;
        outline.shared.keep_columns(&mut outline.genes);
        let only_read = inputs.elements.only_read();
        // Columns of var that only `--gene-column` or `--var-where` asked for.
        let is_taken = |name: &str| !only_read.contains(&format!("var/{name}"));
        outline.genes.retain(is_taken);
        let texts = inputs.elements.plain_strings();
        let genes = outline.genes.write(out, "var", texts);
        let genes = genes.context("Merge 'var'")?;
        let raw_genes = match outline.raw_genes {
            None => None,
            Some(genes) => {
                // Before what is in it: a group that is made on the way to `raw/var` has no encoding.
                out.create_group("raw", &Attrs::encoding("raw", "0.1.0"))?;
                let genes = genes.write(out, "raw/var", texts);
                Some(genes.context("Merge 'raw/var'")?)
            }
        };
        for path in &outline.gene_arrays {
            let copy = Copy::new(&first.root, path, &folder_of(path));
            copy::run(&copy, out).with_context(of)?;
        }
        // Each input is opened once for all that it gives; the first is open already.
        for (at, given) in outline.shared.given() {
            match at {
                0 => write_given(&given, &first, &genes, texts, out)?,
                at => write_given(&given, &inputs.open(at)?, &genes, texts, out)?,
            }
        }
        make_folders(out, raw_genes.is_some())?;
        let cells: Vec<u64> = outline.inputs.iter().map(|input| input.cells).collect();
        let all = cells.iter().sum();
        let reader = Reader::new(
            (
                inputs.paths.to_vec(),
                inputs.access,
                inputs.elements.clone(),
            ),
            (Arc::new(genes), raw_genes.map(Arc::new)),
            &cells,
            shapes,
            scratch,
        );
        // 8 bytes a name: with a limit of 4 GiB, memory holds 8 million names.
        let names = CellNames::new(all, inputs.access.memory / 64, scratch.0)?;
        let from = (inputs.paths, inputs.keys);
        let mut rows = JoinedRows::new(reader, outline.extras, names, from, scratch.0.to_owned());
        rows.create_frames(outline.frames, out, texts)?;
        rows.create_arrays(outline.arrays, out)?;
        Ok(rows)
    }
}

/// Writes what one input gives of uns, varm and varp. `given` is in an order in which folders come before what is in
/// them. What is over genes goes through the input's map to the joined ones; what has no such form (awkward arrays,
/// records, text with gaps) is left out and named in one warning.
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
