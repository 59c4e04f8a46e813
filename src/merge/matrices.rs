//! The matrices of joined inputs, which are read where they are: each is one stacked matrix to the engine, whose rows a
//! [`Reader`] reads.
//!
//! Where rows are taken in any order, every input is looked at once, to learn how many non-zeros its rows have.
//!
//! What comes in are the plans of [`Outline::arrays`](super::decide::Outline); what goes out are leaves that share one
//! [`Files`], in which a matrix is known by its number, so that an input is opened once for all of them. Where each row
//! of a sparse matrix ends takes 8 bytes, in memory or in scratch. These ends are upper bounds where genes are dropped
//! or dense rows become sparse, unless rows are converted to be counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::extras::Extras;
use super::input::Input;
use super::reader::{OPEN, Opened, Reader};
use super::rows::JoinedRows;
use super::stack::{self, ArrayPlan, Converter, Shape};
use crate::anndata::select::Selection;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::nnz::Nnz;
use crate::rows::ranges::steps;
use crate::rows::sparse::STEP;
use crate::rows::stacked::{Ends, Files, ReadRows, Stacked, StackedKind};
use crate::store::spec::Attrs;
use crate::store::{Group, Spill};

/// What is known of the matrices before their rows are read.
pub struct Matrices(Vec<Matrix>);

struct Matrix {
    path: String,
    plan: ArrayPlan,
    /// What each input had when it was scanned.
    shapes: Vec<Option<Shape>>,
    /// Until [`Matrices::note_ends`] only how many non-zeros there are in all, which is enough for appending in order.
    ends: Ends,
    /// Whether non-zeros are counted of which some may be left out.
    counts: bool,
    /// Whether a part of a file must be decoded to reach a row.
    packed: bool,
    /// As [`Stacked::held`].
    held: (u64, u64),
}

impl Matrices {
    /// Those of `arrays` that are read in place, taken out of it: numbers, dense or sparse, but not of cells by cells.
    /// Text, awkward arrays and obsp remain in `arrays`; [`JoinedRows`] appends those.
    pub fn of(
        arrays: &mut BTreeMap<String, (ArrayPlan, Vec<Option<Shape>>)>,
        first: &Input,
        cells: u64,
    ) -> Matrices {
        let of_numbers =
            |plan: &ArrayPlan| matches!(plan, ArrayPlan::Dense { .. } | ArrayPlan::Sparse { .. });
        let taken = arrays.extract_if(.., |path, (plan, _)| {
            of_numbers(plan) && !path.starts_with("obsp/")
        });
        let matrices = taken.map(|(path, (plan, shapes))| Matrix {
            ends: Ends::of_all(cells, plan.nnz().most()),
            counts: false,
            packed: is_packed(&first.rows_of(&path)),
            held: (0, 0),
            path,
            plan,
            shapes,
        });
        Matrices(matrices.collect())
    }

    /// From now on notes where rows end, in `memory` bytes or in the folder `scratch`. `exactly` has non-zeros counted of
    /// which some may be left out: all rows of such a matrix are read for that.
    pub fn note_ends(
        &mut self,
        cells: u64,
        (memory, scratch): (u64, &Path),
        exactly: bool,
    ) -> Result<()> {
        let most = memory / (self.0.len() as u64).max(1);
        let sparse = self.0.iter_mut().filter(|matrix| matrix.is_sparse());
        for matrix in sparse {
            let room = Spill::of(Ends::bytes(cells), most, || Ok(scratch.to_owned()));
            matrix.ends = Ends::new(room?);
            matrix.counts = exactly && matches!(matrix.plan.nnz(), Nnz::AtMost(_));
        }
        Ok(())
    }

    /// What each input had of each when it was scanned, by path.
    pub fn shapes(&self) -> BTreeMap<String, Vec<Option<Shape>>> {
        let matrices = self.0.iter();
        matrices
            .map(|matrix| (matrix.path.clone(), matrix.shapes.clone()))
            .collect()
    }

    /// Looks at the matrices of the next input. Inputs come in their order, each once, after [`Matrices::note_ends`].
    /// CSC matrices were turned when the input was opened.
    pub fn look(&mut self, opened: &Opened) -> Result<()> {
        let mut matrices = self.0.iter_mut();
        matrices
            .try_for_each(|matrix| matrix.look(opened))
            .with_context(|| format!("Read {}", opened.input.name))
    }

    /// The matrices as leaves, with the reader of the other rows and the attributes that are theirs.
    pub fn into_leaves(self, rows: &mut JoinedRows) -> Result<Vec<Leaf>> {
        let plans = self.0.iter();
        let plans = plans.map(|matrix| (matrix.path.clone(), matrix.plan.clone()));
        let files = Arc::new(files(rows.reader.clone(), plans.collect()));
        let matrices = self.0.into_iter().enumerate();
        matrices
            .map(|(number, matrix)| {
                let of = (files.clone(), number);
                matrix.into_leaf(of, rows.reader.clone(), &mut rows.extras)
            })
            .collect()
    }

    /// The same as all that is selected; `root` is that of the first input.
    pub fn select(self, rows: &mut JoinedRows, root: &Group) -> Result<Selection> {
        let leaves = self.into_leaves(rows)?;
        Ok(Selection::of_leaves(root, rows.cells(), leaves))
    }
}

/// Whether a part of it must be decoded to reach a row.
fn is_packed(rows: &stack::InputRows) -> bool {
    matches!(rows, stack::InputRows::Leaf(leaf) if leaf.unpacked_bytes() > 0)
}

/// The inputs, as the engine reads rows of these matrices.
fn files(reader: Arc<Reader>, plans: Vec<(String, ArrayPlan)>) -> Files {
    let plans = Arc::new(plans);
    let (also, those) = (reader.clone(), plans.clone());
    Files {
        starts: reader.starts().to_vec(),
        with_stored: Box::new(move |file, numbers, take| {
            let matrices: Vec<_> = numbers.iter().map(|number| &those[*number]).collect();
            also.with_stored(file, &matrices, take)
        }),
        append: Box::new(move |number, file, ranges, rows| {
            let (path, plan) = &plans[number];
            reader.append((path, plan), (file, ranges), rows)
        }),
    }
}

impl Matrix {
    fn is_sparse(&self) -> bool {
        matches!(self.plan, ArrayPlan::Sparse { .. })
    }

    fn look(&mut self, opened: &Opened) -> Result<()> {
        let rows = opened.input.rows_of(&self.path);
        self.packed |= is_packed(&rows);
        if let stack::InputRows::Leaf(leaf) = &rows {
            // Every input that stays open keeps its decoded chunks, but one decodes at a time.
            let (kept, decoding) = leaf.chunks_held();
            self.held.0 = self.held.0.max(kept.saturating_mul(OPEN as u64));
            self.held.1 = self.held.1.max(decoding);
        }
        if !self.is_sparse() {
            return Ok(());
        }
        let ends = &mut self.ends;
        if self.counts {
            let all = 0..rows.rows();
            return opened.pieces(&self.path, &self.plan, all, &mut |piece| {
                ends.append(piece.counts()?.into_iter())
            });
        }
        let repeated = |count: u64, rows: u64| std::iter::repeat_n(count, rows as usize);
        match rows {
            stack::InputRows::Leaf(leaf) => {
                let shape = Shape::of_leaf(leaf)?;
                let map = opened.map(&self.path);
                let added = Converter::new(&self.plan, map, shape.clone(), 0).added();
                // A dense matrix that becomes sparse: how many of its values are 0 is not known, so none is.
                let LeafKind::Sparse(matrix) = &leaf.kind else {
                    return ends.append(repeated(shape.width() + added, leaf.rows()));
                };
                for part in steps(0..leaf.rows(), STEP) {
                    let counts = matrix.counts(std::slice::from_ref(&part))?;
                    ends.append(counts.into_iter().map(|count| count + added))?;
                }
                Ok(())
            }
            // An input without the matrix.
            rows => ends.append(repeated(self.plan.missing_nnz(), rows.rows())),
        }
    }

    fn into_leaf(
        self,
        (files, number): (Arc<Files>, usize),
        reader: Arc<Reader>,
        extras: &mut Extras,
    ) -> Result<Leaf> {
        let Matrix {
            path,
            plan,
            ends,
            counts,
            packed,
            held,
            shapes: _,
        } = self;
        let mut attrs = Attrs::default();
        let kind = match &plan {
            ArrayPlan::Sparse { spec, .. } => {
                let mut spec = spec.clone();
                // The engine makes this element, so it takes the attributes along that all inputs agree on.
                extras.give(&path, &mut spec.attrs);
                for (name, attrs) in ["data", "indices", "indptr"]
                    .iter()
                    .zip(&mut *spec.part_attrs)
                {
                    extras.give(&format!("{path}/{name}"), attrs);
                }
                let mut nnz = plan.nnz();
                if counts {
                    let most = nnz.most();
                    nnz = Nnz::Counted {
                        nnz: ends.total(),
                        most,
                    };
                }
                StackedKind::Sparse { spec, ends, nnz }
            }
            ArrayPlan::Dense { dtype, row, .. } => {
                attrs = Attrs::encoding("array", "0.2.0");
                extras.give(&path, &mut attrs);
                StackedKind::Dense {
                    dtype: dtype.clone(),
                    row: row.clone(),
                }
            }
            _ => bail!("'{path}' is no matrix of numbers"),
        };
        let rows = files.starts.last().copied().unwrap_or(0);
        Ok(Leaf {
            path: path.clone(),
            attrs,
            kind: LeafKind::Stacked(Stacked {
                rows,
                kind,
                packed,
                scattered: false,
                origin: None,
                held,
                reading: ReadRows::ByFile(files, number),
                pieces: Box::new(move |rows, take| reader.pieces((&path, &plan), rows, take)),
            }),
        })
    }
}
