//! The inputs of a joined source, opened when rows of them are asked for; a few stay open.
//!
//! Rows of a matrix come in one of two ways: read into a block, as they are to be in the whole, or piece by piece for
//! appending, where what is stored can be copied as it is.
//!
//! An input may be closed and opened again at any time. Each time its cells and shapes are compared with those of the
//! scan, so a file that has changed in between is an error.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::genes_of;
use super::input::Input;
use super::join::{ColumnMap, Joined};
use super::stack::{self, ArrayPlan, Converter, Destination, Shape, Take};
use crate::anndata::elements::Elements;
use crate::rows::growing::Growing;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::ranges::{batches, steps};
use crate::rows::sparse::Sparse;
use crate::rows::stacked::{ConvertRows, Stored, TakeStored, rows_by_file};
use crate::rows::turned;
use crate::store::spec::Attrs;
use crate::store::{self, Access, Container};

/// Inputs that stay open. Rows are asked for input by input, so more would be opened again all the same.
pub const OPEN: usize = 4;
/// Bytes that are converted at a time.
const BATCH: f64 = (32 << 20) as f64;

/// The inputs, opened when rows of them are asked for.
pub struct Reader {
    paths: Vec<PathBuf>,
    access: Access,
    elements: Arc<Elements>,
    /// What gives the columns of X and layers their places, and those of raw/X; `None` where raw is not kept.
    genes: Arc<Joined>,
    raw_genes: Option<Arc<Joined>>,
    /// Where the cells of each input begin, and the end. Inputs of 3 and 5 cells: `[0, 3, 8]`.
    starts: Vec<u64>,
    /// The matrices that are read here, by path, and what each input had of them when it was scanned.
    shapes: BTreeMap<String, Vec<Option<Shape>>>,
    /// Where CSC matrices are turned.
    folder: PathBuf,
    /// Whether they are turned when an input is opened, so that any of their rows can be read. Else they are swept where
    /// all rows of an input are appended.
    turns: bool,
    /// By the number of the input; what was asked for longest ago comes first.
    open: Mutex<VecDeque<(usize, Arc<Opened>)>>,
}

/// An input, and where its columns go.
pub struct Opened {
    pub input: Input,
    /// Of X and layers, and of raw/X.
    map: ColumnMap,
    raw_map: ColumnMap,
    /// Where CSC matrices are swept.
    folder: PathBuf,
}

impl Reader {
    pub fn new(
        (paths, access, elements): (Vec<PathBuf>, Access, Arc<Elements>),
        (genes, raw_genes): (Arc<Joined>, Option<Arc<Joined>>),
        cells: &[u64],
        shapes: BTreeMap<String, Vec<Option<Shape>>>,
        (folder, turns): (&Path, bool),
    ) -> Reader {
        let mut starts = vec![0];
        starts.extend(cells.iter().scan(0, |end, cells| {
            *end += cells;
            Some(*end)
        }));
        Reader {
            paths,
            access,
            elements,
            genes,
            raw_genes,
            starts,
            shapes,
            folder: folder.to_owned(),
            turns,
            open: Mutex::default(),
        }
    }

    /// Where the cells of each input begin, and the end.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// Opens an input.
    fn open(&self, at: usize) -> Result<Opened> {
        let path = self.paths.get(at).context("There is no such input")?;
        let mut input = Input::open(path, &self.access, &self.elements)?;
        let cells = self.starts[at + 1] - self.starts[at];
        ensure!(
            input.cells() == cells,
            "{} has changed since it was first read",
            input.name
        );
        for (path, shapes) in &self.shapes {
            ensure!(
                shapes.get(at) == Some(&input.shape(path)?),
                "'{path}' of {} has changed since it was first read",
                input.name
            );
        }
        if self.turns {
            self.turn(at, &mut input)
                .with_context(|| format!("Read {}", input.name))?;
        }
        Ok(Opened {
            map: input.map_to(&self.genes, "var")?,
            raw_map: match &self.raw_genes {
                Some(genes) => input.map_to(genes, "raw/var")?,
                None => ColumnMap::Identity,
            },
            input,
            folder: self.folder.clone(),
        })
    }

    /// Makes CSR matrices of the CSC ones that are read here: in a scratch file, which is made at the first time.
    fn turn(&self, at: usize, input: &mut Input) -> Result<()> {
        // CSC matrices that are not read here stay, to be swept where they are appended.
        let csc = std::mem::take(&mut input.selection.csc);
        let is_read = |(path, _): &(String, Sparse)| self.shapes.contains_key(path);
        let (csc, others): (Vec<_>, _) = csc.into_iter().partition(is_read);
        input.selection.csc = others;
        if csc.is_empty() {
            return Ok(());
        }
        let file = self.folder.join(format!("turned_{at}.h5ad"));
        // Every input is opened once, one after another, before rows are read from many threads (see `Matrices::look`):
        // no thread looks for the file while another writes it.
        if !file.exists() {
            let out = store::create(&file, Container::H5AD)?;
            for (path, matrix) in &csc {
                turned::write(matrix, &out, path, || Ok(self.folder.clone()))?;
            }
            out.finish()?;
        }
        let made = store::open(&file, &Access::default())?;
        for (path, _) in csc {
            input.selection.leaves.push(Leaf {
                kind: LeafKind::Sparse(turned::open(&made, &path)?),
                attrs: Attrs::default(),
                path,
            });
        }
        Ok(())
    }

    /// An input, which stays open for a while.
    pub fn opened(&self, at: usize) -> Result<Arc<Opened>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |kept: &mut VecDeque<(usize, Arc<Opened>)>| {
            let found = kept.iter().position(|(kept, _)| *kept == at)?;
            let found = kept.remove(found)?;
            // The one that was asked for last is closed last.
            kept.push_back(found.clone());
            Some(found.1)
        };
        if let Some(opened) = find(&mut lock()) {
            return Ok(opened);
        }
        // Not under the lock: another task of this thread may ask for an input while this one waits for the pool. Two
        // tasks may so open the same input, which costs time and is right all the same.
        let opened = Arc::new(self.open(at)?);
        let mut kept = lock();
        kept.push_back((at, opened.clone()));
        if kept.len() > OPEN {
            kept.pop_front();
        }
        Ok(opened)
    }

    /// Calls `take` with matrices of an input: each sparse one that it has rows of. The engine compares these, and
    /// decodes once what they share. A matrix that is absent, or dense here or in the result, is `None`.
    pub fn with_stored(
        &self,
        at: usize,
        matrices: &[&(String, ArrayPlan)],
        take: TakeStored,
    ) -> Result<()> {
        let opened = self.opened(at)?;
        let stored = matrices
            .iter()
            .map(|(path, plan)| opened.stored(path, plan));
        let stored = stored.collect::<Result<Vec<_>>>();
        stored
            .and_then(|stored| take(&stored))
            .with_context(|| format!("Read {}", opened.input.name))
    }

    /// Appends rows that an input has of the matrix at `path`, which is to be as `plan` says.
    pub fn append(
        &self,
        (path, plan): (&str, &ArrayPlan),
        (at, ranges): (usize, &[Range<u64>]),
        rows: &mut Growing,
    ) -> Result<()> {
        let opened = self.opened(at)?;
        opened
            .append(path, plan, ranges, rows)
            .with_context(|| format!("Read '{path}' of {}", opened.input.name))
    }

    /// Gives the rows of a range of the matrix at `path`, which is to be as `plan` says, to `take`.
    pub fn pieces(
        &self,
        (path, plan): (&str, &ArrayPlan),
        rows: Range<u64>,
        take: Take,
    ) -> Result<()> {
        for (at, ranges) in rows_by_file(&self.starts, &[rows]) {
            let opened = self.opened(at)?;
            for rows in ranges {
                opened
                    .pieces(path, plan, rows, take)
                    .with_context(|| format!("Read '{path}' of {}", opened.input.name))?;
            }
        }
        Ok(())
    }
}

impl Opened {
    /// Where the columns of the array at `path` go.
    pub fn map(&self, path: &str) -> &ColumnMap {
        match genes_of(path) {
            Some("raw/var") => &self.raw_map,
            Some(_) => &self.map,
            None => &ColumnMap::Identity,
        }
    }

    /// The matrix at `path`, if it is a sparse one of rows.
    fn stored<'a>(&'a self, path: &str, plan: &'a ArrayPlan) -> Result<Option<Stored<'a>>> {
        let stack::InputRows::Leaf(leaf) = self.input.rows_of(path) else {
            return Ok(None);
        };
        let (LeafKind::Sparse(matrix), shape) = (&leaf.kind, Shape::of_leaf(leaf)?) else {
            return Ok(None);
        };
        if shape.is_empty() || !matches!(plan, ArrayPlan::Sparse { .. }) {
            return Ok(None);
        }
        // Rows before those of this input matter on a diagonal alone, and obsp is not read here.
        let converter = Converter::new(plan, self.map(path), shape, 0);
        Ok(Some(Stored {
            matrix,
            convert: (!converter.keeps_all())
                .then(|| Box::new(move |block| converter.sparse(block)) as Box<ConvertRows>),
        }))
    }

    /// Appends rows of the matrix at `path` to `rows`.
    fn append(
        &self,
        path: &str,
        plan: &ArrayPlan,
        ranges: &[Range<u64>],
        rows: &mut Growing,
    ) -> Result<()> {
        let leaf = match self.input.rows_of(path) {
            stack::InputRows::Leaf(leaf) => leaf,
            stack::InputRows::Csc(_) => bail!("It was not turned"),
            stack::InputRows::Absent(_) => return missing(plan, ranges, rows),
        };
        let shape = Shape::of_leaf(leaf)?;
        if shape.is_empty() {
            return missing(plan, ranges, rows);
        }
        let converter = Converter::new(plan, self.map(path), shape, 0);
        // By the larger of what is read of a row in the mean, and what it becomes.
        let row = leaf.cost()?.mean(leaf.mean_nnz());
        let row = row.max(converter.row_bytes() as f64).max(1.0);
        let mut old = None; // whose memory the next batch is read into
        for batch in batches(ranges, (BATCH / row) as u64 + 1) {
            let block = leaf.read_over(&batch, old.take())?;
            if converter.keeps_all() {
                rows.push(&block)?;
                old = Some(block);
            } else {
                rows.push(&converter.convert(block)?)?;
            }
        }
        Ok(())
    }

    /// Gives rows of the matrix at `path` to `take`.
    pub fn pieces(&self, path: &str, plan: &ArrayPlan, rows: Range<u64>, take: Take) -> Result<()> {
        let to = Destination {
            plan,
            map: self.map(path),
            before: 0,
        };
        let input = self.input.rows_of(path);
        input.pieces(&to, rows, &self.folder, take)
    }
}

/// Appends rows without values, as many as there are in `ranges`.
fn missing(plan: &ArrayPlan, ranges: &[Range<u64>], rows: &mut Growing) -> Result<()> {
    let most = (BATCH as u64 / plan.missing_bytes().max(1)).max(1);
    for part in ranges.iter().flat_map(|range| steps(range.clone(), most)) {
        rows.push(&plan.missing(part.end - part.start)?)?;
    }
    Ok(())
}
