//! The matrices of joined inputs, which are read where they are: each is one stacked matrix to the engine.
//!
//! Every input is looked at once, to learn how many elements its rows have ([`Matrices`]). Later an input is opened when
//! rows of it are asked for ([`Reader`]), and a few stay open. CSC matrices are turned into scratch at the first opening.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::extras::Extras;
use super::genes_of;
use super::input::Input;
use super::join::{ColumnMap, Joined};
use super::stack::{self, ArrayPlan, Converter, Shape};
use crate::anndata::elements::Elements;
use crate::rows::block::Block;
use crate::rows::growing::Growing;
use crate::rows::leaf::{Leaf, Source};
use crate::rows::ranges::parts;
use crate::rows::sparse::{STEP, Sparse};
use crate::rows::sparse_writer::Count;
use crate::rows::stacked::{Ends, Stacked, StackedKind};
use crate::rows::turned;
use crate::store::spec::Attrs;
use crate::store::{self, Access, Container, Scratch};

/// Inputs that stay open. Rows are asked for input by input, so more would be opened again all the same.
const OPEN: usize = 4;
/// Bytes that are converted at a time.
const BATCH: f64 = (32 << 20) as f64;

/// The inputs, opened when rows of them are asked for.
pub struct Reader {
    paths: Vec<PathBuf>,
    access: Access,
    elements: Arc<Elements>,
    genes: Arc<Joined>,
    raw_genes: Option<Arc<Joined>>,
    /// Where the cells of each input begin, and the end.
    starts: Vec<u64>,
    /// What is read in place, by path.
    matrices: BTreeSet<String>,
    /// Where CSC matrices are turned.
    folder: PathBuf,
    open: Mutex<VecDeque<(usize, Arc<Opened>)>>,
}

/// An input, and where its columns go.
pub struct Opened {
    pub input: Input,
    map: ColumnMap,
    raw_map: ColumnMap,
}

/// What is known of the matrices before their rows are read.
pub struct Matrices(Vec<Matrix>);

struct Matrix {
    path: String,
    plan: ArrayPlan,
    /// What each input had when it was scanned.
    shapes: Vec<Option<Shape>>,
    /// Of a sparse matrix.
    ends: Option<Ends>,
    packed: bool,
    held: (u64, u64),
}

impl Reader {
    pub fn new(
        (paths, access, elements): (Vec<PathBuf>, Access, Arc<Elements>),
        (genes, raw_genes): (Arc<Joined>, Option<Arc<Joined>>),
        cells: &[u64],
        matrices: BTreeSet<String>,
        folder: &Path,
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
            matrices,
            folder: folder.to_owned(),
            open: Mutex::default(),
        }
    }

    /// Opens an input. Those of its CSC matrices that are read in place are CSR ones here.
    fn open(&self, at: usize) -> Result<Opened> {
        let path = self.paths.get(at).context("There is no such input")?;
        let mut input = Input::open(path, &self.access, &self.elements)?;
        let cells = self.starts[at + 1] - self.starts[at];
        ensure!(
            input.cells() == cells,
            "{} has changed since it was first read",
            input.name
        );
        let csc = std::mem::take(&mut input.selection.csc);
        let is_read = |(path, _): &(String, Sparse)| self.matrices.contains(path);
        let (csc, others) = csc.into_iter().partition(is_read);
        input.selection.csc = others;
        let turned = self
            .turned(at, csc)
            .with_context(|| format!("Read {}", input.name))?;
        input.selection.leaves.extend(turned);
        Ok(Opened {
            map: input.map_to(&self.genes, "var")?,
            raw_map: match &self.raw_genes {
                Some(genes) => input.map_to(genes, "raw/var")?,
                None => ColumnMap::Identity,
            },
            input,
        })
    }

    /// CSC matrices of an input by rows: in a scratch file, which is made when it is opened first.
    fn turned(&self, at: usize, csc: Vec<(String, Sparse)>) -> Result<Vec<Leaf>> {
        if csc.is_empty() {
            return Ok(vec![]);
        }
        let file = self.folder.join(format!("turned_{at}.h5ad"));
        if !file.exists() {
            let out = store::create(&file, Container::H5AD)?;
            for (path, matrix) in &csc {
                turned::write(matrix, &out, path, || Ok(self.folder.clone()))?;
            }
            out.finish()?;
        }
        let made = store::open(&file, &Access::default())?;
        let leaf = |(path, _): (String, Sparse)| {
            Ok(Leaf {
                source: Source::Sparse(turned::open(&made, &path)?),
                attrs: Attrs::default(),
                path,
            })
        };
        csc.into_iter().map(leaf).collect()
    }

    /// An input, which stays open for a while.
    pub fn opened(&self, at: usize) -> Result<Arc<Opened>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, opened)) = lock().iter().find(|(kept, _)| *kept == at) {
            return Ok(opened.clone());
        }
        // Not under the lock: another task of this thread may ask for an input while this one waits for the pool.
        let opened = Arc::new(self.open(at)?);
        let mut kept = lock();
        kept.push_back((at, opened.clone()));
        if kept.len() > OPEN {
            kept.pop_front();
        }
        Ok(opened)
    }

    /// The rows of `ranges` of each input, counted from its first cell.
    fn parts(&self, ranges: &[Range<u64>]) -> Vec<(usize, Vec<Range<u64>>)> {
        let mut found = vec![];
        for at in 0..self.paths.len() {
            let (start, end) = (self.starts[at], self.starts[at + 1]);
            let first = ranges.partition_point(|range| range.end <= start);
            let beyond = ranges.partition_point(|range| range.start < end);
            let here = ranges.get(first..beyond).unwrap_or_default();
            let here = here.iter().map(|range| {
                let (from, to) = (range.start.max(start), range.end.min(end));
                from - start..to - start
            });
            let here: Vec<Range<u64>> = here.collect();
            if !here.is_empty() {
                found.push((at, here));
            }
        }
        found
    }

    /// The rows of `ranges` of the matrix at `path`, which is to be as `plan` says.
    fn read(
        &self,
        (path, plan): (&str, &ArrayPlan),
        ranges: &[Range<u64>],
        mut rows: Growing,
    ) -> Result<Block> {
        for (at, ranges) in self.parts(ranges) {
            let opened = self.opened(at)?;
            opened
                .read(path, plan, &ranges, &mut rows)
                .with_context(|| format!("Read '{path}' of {}", opened.input.name))?;
        }
        Ok(rows.into_block())
    }
}

impl Opened {
    fn map(&self, path: &str) -> &ColumnMap {
        match genes_of(path) {
            Some("raw/var") => &self.raw_map,
            Some(_) => &self.map,
            None => &ColumnMap::Identity,
        }
    }

    /// Appends rows of the matrix at `path` to `rows`.
    fn read(
        &self,
        path: &str,
        plan: &ArrayPlan,
        ranges: &[Range<u64>],
        rows: &mut Growing,
    ) -> Result<()> {
        let leaf = match self.input.rows_of(path) {
            stack::Input::Leaf(leaf) => leaf,
            stack::Input::Csc(_) => bail!("It was not turned"),
            stack::Input::Absent(_) => return missing(plan, ranges, rows),
        };
        let shape = Shape::of_leaf(leaf)?;
        if matches!(shape, Shape::Dense { .. }) && shape.width() == 0 {
            return missing(plan, ranges, rows);
        }
        let converter = Converter::new(plan, self.map(path), shape, 0);
        let row = leaf.cost()?.mean(leaf.mean_elements());
        let row = row.max(converter.row_bytes() as f64).max(1.0);
        for batch in batches(ranges, (BATCH / row) as u64 + 1) {
            let block = leaf.read(&batch)?;
            if converter.keeps_all() {
                rows.push(&block)?
            } else {
                rows.push(&converter.convert(block)?)?
            }
        }
        Ok(())
    }
}

/// Appends rows without values, as many as there are in `ranges`.
fn missing(plan: &ArrayPlan, ranges: &[Range<u64>], rows: &mut Growing) -> Result<()> {
    let most = (BATCH as u64 / plan.missing_bytes().max(1)).max(1);
    for part in ranges.iter().flat_map(|range| parts(range.clone(), most)) {
        rows.push(&plan.missing(part.end - part.start)?)?;
    }
    Ok(())
}

/// The same rows in groups of ranges with at most `most` rows each.
fn batches(ranges: &[Range<u64>], most: u64) -> Vec<Vec<Range<u64>>> {
    let mut batches = vec![vec![]];
    let mut room = most;
    for range in ranges {
        let mut range = range.clone();
        while range.start < range.end {
            if room == 0 {
                batches.push(vec![]);
                room = most;
            }
            let end = range.end.min(range.start + room);
            if let Some(batch) = batches.last_mut() {
                batch.push(range.start..end);
            }
            room -= end - range.start;
            range.start = end;
        }
    }
    batches
}

impl Matrices {
    /// Those of `arrays` that are read in place, taken out of it: numbers, dense or sparse, but not of cells by cells.
    /// `memory` bytes may hold where their rows end.
    pub fn of(
        arrays: &mut BTreeMap<String, (ArrayPlan, Vec<Option<Shape>>)>,
        cells: u64,
        memory: u64,
        folder: &Path,
    ) -> Result<Matrices> {
        let is_matrix = |plan: &ArrayPlan| match plan {
            ArrayPlan::Dense { .. } => true,
            ArrayPlan::Sparse { diagonal, .. } => !diagonal,
            ArrayPlan::Text { .. } | ArrayPlan::Awkward(_) => false,
        };
        let taken = arrays.extract_if(.., |_, (plan, _)| is_matrix(plan));
        let taken: Vec<_> = taken.collect();
        let most = memory / (taken.len() as u64).max(1);
        let matrices = taken.into_iter().map(|(path, (plan, shapes))| {
            let room = || Scratch::of(Ends::bytes(cells), most, || Ok(folder.to_owned()));
            let is_sparse = matches!(plan, ArrayPlan::Sparse { .. });
            Ok(Matrix {
                ends: is_sparse.then(room).transpose()?.map(Ends::new),
                path,
                plan,
                shapes,
                packed: false,
                held: (0, 0),
            })
        });
        matrices.collect::<Result<_>>().map(Matrices)
    }

    /// The paths of all.
    pub fn paths(&self) -> BTreeSet<String> {
        let paths = self.0.iter().map(|matrix| matrix.path.clone());
        paths.collect()
    }

    /// Looks at the matrices of the next input, which is number `at`.
    pub fn look(&mut self, at: usize, opened: &Opened) -> Result<()> {
        let Input { name, .. } = &opened.input;
        for matrix in &mut self.0 {
            let (path, shape) = (&matrix.path, opened.input.shape(&matrix.path)?);
            ensure!(
                matrix.shapes.get(at).map(Option::is_some) == Some(shape.is_some()),
                "'{path}' of {name} has changed since it was first read"
            );
            matrix
                .look(opened)
                .with_context(|| format!("Read {name}"))?;
        }
        Ok(())
    }

    /// The matrices as leaves whose rows `reader` reads, with the attributes that `extras` has for them.
    pub fn into_leaves(self, reader: &Arc<Reader>, extras: &mut Extras) -> Result<Vec<Leaf>> {
        let matrices = self.0.into_iter();
        matrices
            .map(|matrix| matrix.into_leaf(reader.clone(), extras))
            .collect()
    }
}

impl Matrix {
    fn look(&mut self, opened: &Opened) -> Result<()> {
        let rows = opened.input.rows_of(&self.path);
        if let stack::Input::Leaf(leaf) = &rows {
            let (kept, decoding) = leaf.chunks_held();
            self.packed |= leaf.unpacked_bytes() > 0;
            self.held.0 = self.held.0.max(kept.saturating_mul(OPEN as u64));
            self.held.1 = self.held.1.max(decoding);
        }
        let Some(ends) = &mut self.ends else {
            return Ok(());
        };
        let repeated = |count: u64, rows: u64| std::iter::repeat_n(count, rows as usize);
        match rows {
            stack::Input::Leaf(leaf) => {
                let shape = Shape::of_leaf(leaf)?;
                let map = opened.map(&self.path);
                let added = Converter::new(&self.plan, map, shape.clone(), 0).added();
                let Source::Sparse(matrix) = &leaf.source else {
                    return ends.append(repeated(shape.width() + added, leaf.rows()));
                };
                for part in parts(0..leaf.rows(), STEP) {
                    let counts = matrix.counts(std::slice::from_ref(&part))?;
                    ends.append(counts.into_iter().map(|count| count + added))?;
                }
                Ok(())
            }
            rows => ends.append(repeated(self.plan.missing_elements(), rows.rows())),
        }
    }

    fn into_leaf(self, reader: Arc<Reader>, extras: &mut Extras) -> Result<Leaf> {
        let Matrix {
            path,
            plan,
            ends,
            packed,
            held,
            shapes: _,
        } = self;
        let mut attrs = Attrs::default();
        let kind = match (&plan, ends) {
            (ArrayPlan::Sparse { spec, count, .. }, Some(ends)) => {
                let mut spec = spec.clone();
                extras.give(&path, &mut spec.attrs);
                for (name, attrs) in ["data", "indices", "indptr"]
                    .iter()
                    .zip(&mut *spec.part_attrs)
                {
                    extras.give(&format!("{path}/{name}"), attrs);
                }
                StackedKind::Sparse {
                    spec,
                    ends,
                    exact: matches!(count, Count::Exactly(_)),
                }
            }
            (ArrayPlan::Dense { dtype, row, .. }, _) => {
                attrs = Attrs::encoding("array", "0.2.0");
                extras.give(&path, &mut attrs);
                StackedKind::Dense {
                    dtype: dtype.clone(),
                    row: row.clone(),
                }
            }
            _ => bail!("'{path}' is no matrix of numbers"),
        };
        let empty = Growing::of(&kind);
        let rows = reader.starts.last().copied().unwrap_or(0);
        let of = path.clone();
        let read = move |ranges: &[Range<u64>]| reader.read((&of, &plan), ranges, empty.clone());
        Ok(Leaf {
            path,
            attrs,
            source: Source::Stacked(Stacked {
                rows,
                kind,
                packed,
                held,
                read: Box::new(read),
            }),
        })
    }
}
