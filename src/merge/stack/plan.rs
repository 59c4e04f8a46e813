//! What a merged array will be, decided from what each input has.
//!
//! Numbers get the type that numpy gives for all of them. If any input has the array sparse, the result is CSR, and
//! dense inputs lose their zeros. Text goes with text alone, and awkward arrays with awkward ones. What cannot be put
//! together is an error; the caller adds the path and the files.
//!
//! Only types and sizes are looked at. So the number of non-zeros is exact where all of them go over, and else an upper
//! bound ([`Nnz`]), by which offsets get their width.

use anyhow::{Context, Result, bail, ensure};

use super::fill;
use crate::dtype::{ints, promote};
use crate::rows::awkward;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::nnz::Nnz;
use crate::rows::sparse::{Sparse, SparseFormat, SparseSpec};
use crate::rows::stacked::StackedKind;
use crate::store::spec::{Attrs, Dtype, Kind, items};

/// One array of one input, as far as it matters for merging.
#[derive(Clone, Debug)]
pub struct Part {
    pub rows: u64,
    /// `None` where the input lacks the array.
    pub shape: Option<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
/// What an array of an input is, as far as merging asks: kind, types, and the sizes of a row.
pub enum Shape {
    Dense {
        dtype: Dtype,
        /// Sizes of all axes but the first.
        row: Vec<u64>,
    },
    /// CSR or CSC, with the types of its three arrays as they are stored.
    Sparse {
        data: Dtype,
        indices: Dtype,
        indptr: Dtype,
        /// Columns, by the attribute `shape`: a claim, as no index is read.
        width: u64,
        nnz: u64,
    },
    Text {
        row: Vec<u64>,
    },
    /// An awkward array; its form.
    Awkward(String),
}

impl Shape {
    /// No value is read. An error for records with text, which are not merged.
    pub fn of_leaf(leaf: &Leaf) -> Result<Shape> {
        Ok(match &leaf.kind {
            LeafKind::Fixed(a) | LeafKind::Codes(a, _) | LeafKind::SquareFixed(a) => Shape::Dense {
                dtype: a.spec().dtype.clone(),
                row: a.spec().shape[1..].to_vec(),
            },
            LeafKind::Records(_) => {
                bail!(
                    "'{0}' holds records with text, which are not merged; leave it out with --drop {0}",
                    leaf.path
                )
            }
            LeafKind::Mask(a) => Shape::Dense {
                dtype: Dtype::BOOL,
                row: a.spec().shape[1..].to_vec(),
            },
            LeafKind::Text(a) => Shape::Text {
                row: a.spec().shape[1..].to_vec(),
            },
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => Shape::of_sparse(s),
            LeafKind::Awkward(a) => Shape::Awkward(a.form()?),
            LeafKind::Stacked(s) => match &s.kind {
                StackedKind::Dense { dtype, row } => Shape::Dense {
                    dtype: dtype.clone(),
                    row: row.clone(),
                },
                StackedKind::Sparse { spec, ends, .. } => Shape::Sparse {
                    data: spec.data.clone(),
                    indices: spec.indices.clone(),
                    indptr: spec.indptr.clone(),
                    width: spec.shape[1],
                    nnz: ends.total(),
                },
            },
        })
    }

    pub fn of_sparse(s: &Sparse) -> Shape {
        Shape::Sparse {
            data: s.data.spec().dtype.clone(),
            indices: s.indices.spec().dtype.clone(),
            indptr: s.indptr.spec().dtype.clone(),
            width: s.shape[1],
            nnz: s.nnz(),
        }
    }

    /// Whether it is dense and has no columns. Then a block of it has no bytes from which its rows could be counted.
    pub fn is_empty(&self) -> bool {
        matches!(self, Shape::Dense { .. }) && self.width() == 0
    }

    /// Columns of a matrix; 1 for a list.
    pub fn width(&self) -> u64 {
        match self {
            Shape::Dense { row, .. } | Shape::Text { row } => items(row),
            Shape::Sparse { width, .. } => *width,
            Shape::Awkward(_) => 1,
        }
    }
}

/// What the merged array will be.
#[derive(Clone, Debug)]
pub enum ArrayPlan {
    Dense {
        dtype: Dtype,
        /// Sizes of all axes but the first, as in [`Shape`].
        row: Vec<u64>,
        /// The bytes of what stands where an input has nothing. One item in type `dtype`; empty where every input has
        /// all.
        fill: Vec<u8>,
    },
    Sparse {
        spec: Box<SparseSpec>,
        /// Of all inputs together, with what is filled in.
        nnz: Nnz,
        /// As in dense arrays; `None` is 0, which takes no place.
        fill: Option<Vec<u8>>,
        /// Each input has columns of its own, after those of the inputs before it.
        diagonal: bool,
    },
    Text {
        row: Vec<u64>,
    },
    /// As the first input has it, or of a type that holds all of theirs.
    Awkward(Option<Box<awkward::Type>>),
}

impl ArrayPlan {
    /// Decides from all inputs. `width` is the number of merged columns where columns are genes; `fills` says
    /// whether any of them is new to an input, and `drops` whether any is lost to one. `fill` stands where an input
    /// has nothing; without it that is NaN in dense arrays and 0 in sparse ones.
    pub fn new(
        parts: &[Part],
        width: Option<u64>,
        fills: bool,
        drops: bool,
        fill: Option<f64>,
    ) -> Result<ArrayPlan> {
        let known: Vec<&Shape> = parts.iter().filter_map(|p| p.shape.as_ref()).collect();
        // An input without cells lacks nothing.
        let absent = parts.iter().any(|p| p.shape.is_none() && p.rows > 0);
        let first = known.first().context("It is in no input")?;
        let missing = fills || absent;
        if known.iter().any(|s| matches!(s, Shape::Sparse { .. })) {
            // 0 is what a sparse matrix has where it stores nothing.
            let fill = fill.filter(|value| missing && *value != 0.0);
            return ArrayPlan::sparse(parts, width, drops, fill);
        }
        match first {
            Shape::Text { row } => {
                // The first axis of a row is the genes, where there are such: inputs may have other numbers of them.
                let alike = |shape: &&Shape| match shape {
                    Shape::Text { row: other } => {
                        other == row || width.is_some() && other.get(1..) == row.get(1..)
                    }
                    _ => false,
                };
                ensure!(
                    known.iter().all(alike) && !missing,
                    "Text and other kinds, or rows without text, cannot be put together"
                );
                Ok(ArrayPlan::Text {
                    row: joined_row(row, width),
                })
            }
            Shape::Awkward(_) => {
                ensure!(!absent, "Rows without an awkward array cannot be put to it");
                ArrayPlan::awkward(&known)
            }
            // Where nothing is missing the fill value has no say in the type.
            _ => ArrayPlan::dense(&known, width, missing.then(|| fill.unwrap_or(f64::NAN))),
        }
    }

    /// The non-zeros of a sparse matrix, as the shapes of all inputs tell; none of others.
    pub fn nnz(&self) -> Nnz {
        match self {
            ArrayPlan::Sparse { nnz, .. } => *nnz,
            _ => Nnz::Exactly(0),
        }
    }

    /// A matrix of cells by cells: that of one input as it is, those of several on the diagonal, and sparse. Inputs of
    /// 2 and 3 cells: 5 rows and columns; the second has rows and columns 2 to 4. One that lacks it has empty rows.
    pub fn pairwise(parts: &[Part]) -> Result<ArrayPlan> {
        let shapes: Vec<_> = parts.iter().map(|part| part.shape.as_ref()).collect();
        // A single input, as where genes of it are chosen: its block is the whole.
        if let [Some(dense @ Shape::Dense { .. })] = shapes[..] {
            return ArrayPlan::dense(&[dense], None, None);
        }
        let mut spec = ArrayPlan::spec(parts)?;
        let cells = parts.iter().map(|p| p.rows).sum();
        spec.shape = [cells, cells];
        spec.indices = ints::holding(&spec.indices, cells.saturating_sub(1));
        Ok(ArrayPlan::Sparse {
            nnz: nnz(parts),
            spec: Box::new(spec),
            fill: None,
            diagonal: true,
        })
    }

    fn awkward(known: &[&Shape]) -> Result<ArrayPlan> {
        // Forms are compared as text. The same form everywhere needs no type: buffers are appended as they are.
        if known.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok(ArrayPlan::Awkward(None));
        }
        let united = known
            .iter()
            .try_fold(awkward::Type::Empty, |united, shape| {
                let Shape::Awkward(form) = shape else {
                    bail!("Awkward arrays and other kinds cannot be put together");
                };
                united.united(awkward::Type::of(&serde_json::from_str(form)?)?)
            });
        let united = united.context(
            "Awkward arrays of these forms cannot be put together; remove the array from one of the inputs, or give \
             both the same type",
        )?;
        Ok(ArrayPlan::Awkward(Some(Box::new(united))))
    }

    fn dense(known: &[&Shape], width: Option<u64>, missing: Option<f64>) -> Result<ArrayPlan> {
        let mut dtypes = vec![];
        for shape in known {
            let Shape::Dense { dtype, row } = shape else {
                bail!("Numbers and other kinds cannot be put together");
            };
            let Shape::Dense { row: first, .. } = known[0] else {
                bail!("Numbers and other kinds cannot be put together");
            };
            ensure!(
                row == first || width.is_some() && row.get(1..) == first.get(1..),
                "Rows of shape {row:?} and of shape {first:?} cannot be put together"
            );
            dtypes.push(dtype.clone());
        }
        let dtype = common(&dtypes)?;
        let (dtype, fill) = match missing {
            Some(value) => fill::among(&dtype, value)?,
            None => (dtype, vec![]),
        };
        let row = match known[0] {
            Shape::Dense { row, .. } => joined_row(row, width),
            _ => vec![],
        };
        Ok(ArrayPlan::Dense { dtype, row, fill })
    }

    fn sparse(
        parts: &[Part],
        width: Option<u64>,
        drops: bool,
        missing: Option<f64>,
    ) -> Result<ArrayPlan> {
        let mut spec = ArrayPlan::spec(parts)?;
        let first = parts.iter().find_map(|p| p.shape.as_ref());
        let columns = width.or(first.map(Shape::width)).unwrap_or(0);
        for shape in parts.iter().filter_map(|p| p.shape.as_ref()) {
            ensure!(
                width.is_some() || shape.width() == columns,
                "A width of {} and one of {columns} cannot be put together",
                shape.width()
            );
        }
        spec.shape[1] = columns;
        spec.indices = ints::holding(&spec.indices, columns.saturating_sub(1));
        let mut nnz = match (nnz(parts), drops) {
            // Columns that are dropped take an unknown number of non-zeros along.
            (nnz, true) => Nnz::AtMost(nnz.most()),
            (nnz, false) => nnz,
        };
        let mut fill = None;
        if let Some(value) = missing {
            let (dtype, bytes) = fill::among(&spec.data, value)?;
            (spec.data, fill) = (dtype, Some(bytes));
            // Every place may be filled: the matrix is as large as a dense one then.
            let all = spec.shape[0].saturating_mul(columns);
            nnz = Nnz::AtMost(nnz.most().saturating_add(all));
        }
        spec.indptr = ints::holding(&spec.indptr, nnz.most());
        Ok(ArrayPlan::Sparse {
            spec: Box::new(spec),
            nnz,
            fill,
            diagonal: false,
        })
    }

    /// The types that hold the non-zeros of all inputs, for as many rows as these have. The caller sets the columns,
    /// which are 0 here, and widens the indices for them.
    fn spec(parts: &[Part]) -> Result<SparseSpec> {
        let (mut data, mut indices, mut indptr) = (vec![], vec![], vec![]);
        let mut data_of_dense = false;
        for shape in parts.iter().filter_map(|p| p.shape.as_ref()) {
            match shape {
                Shape::Sparse {
                    data: d,
                    indices: i,
                    indptr: p,
                    ..
                } => {
                    data.push(d.clone());
                    indices.push(i.clone());
                    indptr.push(p.clone());
                }
                Shape::Dense { dtype, row } if row.len() == 1 => {
                    data.push(dtype.clone());
                    data_of_dense = true;
                }
                _ => bail!("A sparse matrix and another kind cannot be put together"),
            }
        }
        // scipy has no sparse matrices of float16, or of another byte order than the machine's.
        let mut data = common(&data)?.in_native_order();
        if (data.kind(), data.size()) == (Some(Kind::Float), 2) && data_of_dense {
            data = Dtype::native(Kind::Float, 4);
        }
        Ok(SparseSpec {
            layout: SparseFormat::Csr,
            shape: [parts.iter().map(|p| p.rows).sum(), 0],
            attrs: Attrs::encoding("csr_matrix", "0.1.0"),
            part_attrs: Default::default(),
            data,
            indices: widest(&indices, 0),
            indptr: widest(&indptr, nnz(parts).most()),
        })
    }
}

/// The row of an input with as many columns as the merged one has, where these are genes. `[7, 3]`, of an array of
/// cells, genes and 3 more, with 9 merged genes -> `[9, 3]`.
fn joined_row(row: &[u64], width: Option<u64>) -> Vec<u64> {
    match (width, row) {
        (Some(width), [_, rest @ ..]) => [&[width], rest].concat(),
        _ => row.to_vec(),
    }
}

/// How many non-zeros the inputs have; those of a dense one are known when they are read.
fn nnz(parts: &[Part]) -> Nnz {
    let mut exact = true;
    let held = parts.iter().map(|part| match &part.shape {
        Some(Shape::Sparse { nnz, .. }) => *nnz,
        Some(shape) => {
            exact = false;
            part.rows.saturating_mul(shape.width())
        }
        None => 0,
    });
    let held = held.fold(0, u64::saturating_add);
    if exact {
        Nnz::Exactly(held)
    } else {
        Nnz::AtMost(held)
    }
}

/// numpy's common type.
fn common(dtypes: &[Dtype]) -> Result<Dtype> {
    if dtypes.windows(2).all(|w| w[0] == w[1]) {
        return dtypes.first().cloned().context("It is in no input");
    }
    promote::result_type(dtypes).with_context(|| {
        let names: Vec<String> = dtypes.iter().map(Dtype::to_string).collect();
        format!("Values of {} cannot be put together", names.join(" and "))
    })
}

/// One of the integer types that holds `most` and every one of them; int32 or int64 where they differ.
/// `[uint32, uint32]` -> uint32; `[uint32, int64]` -> int32, as long as that holds `most`.
fn widest(dtypes: &[Dtype], most: u64) -> Dtype {
    let int32 = Dtype::native(Kind::Int, 4);
    let mut dtypes = dtypes.iter().cloned().map(Dtype::in_native_order);
    let first = dtypes.next().unwrap_or(int32.clone());
    let same = dtypes.all(|d| d == first);
    if same {
        ints::holding(&first, most)
    } else {
        ints::holding(&int32, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(rows: u64, nnz: u64) -> Part {
        let int32 = Dtype::native(Kind::Int, 4);
        Part {
            rows,
            shape: Some(Shape::Sparse {
                data: Dtype::native(Kind::Float, 4),
                indices: int32.clone(),
                indptr: int32,
                width: 7,
                nnz,
            }),
        }
    }

    fn dense(dtype: Dtype) -> Part {
        Part {
            rows: 3,
            shape: Some(Shape::Dense {
                dtype,
                row: vec![7],
            }),
        }
    }

    #[test]
    fn dense_float16_becomes_float32_where_it_is_made_sparse() {
        let float16 = dense(Dtype::native(Kind::Float, 2));
        let mut int8 = sparse(3, 2);
        if let Some(Shape::Sparse { data, .. }) = &mut int8.shape {
            *data = Dtype::native(Kind::Int, 1);
        }
        let data = |plan| match plan {
            ArrayPlan::Sparse { spec, .. } => spec.data,
            _ => panic!("it is dense"),
        };
        let float32 = Dtype::native(Kind::Float, 4);
        assert_eq!(
            data(ArrayPlan::pairwise(&[float16.clone(), float16.clone()]).unwrap()),
            float32
        );
        let alone = ArrayPlan::pairwise(std::slice::from_ref(&float16)).unwrap();
        let ArrayPlan::Dense { dtype, row, .. } = alone else {
            panic!("it is sparse");
        };
        assert_eq!((dtype, row), (Dtype::native(Kind::Float, 2), vec![7]));
        let both = [float16, int8];
        assert_eq!(
            data(ArrayPlan::new(&both, Some(7), false, false, None).unwrap()),
            float32
        );
    }

    #[test]
    fn more_than_two_to_the_31_non_zeros_get_an_int64_indptr() {
        let half = 1 << 30;
        for (parts, wide) in [
            ([sparse(1, half), sparse(1, half - 1)], false),
            ([sparse(1, half), sparse(1, half)], true),
        ] {
            let ArrayPlan::Sparse { spec, nnz, .. } =
                ArrayPlan::new(&parts, None, false, false, None).unwrap()
            else {
                panic!("not sparse");
            };
            assert_eq!(spec.indptr == Dtype::INT64, wide);
            assert!(matches!(nnz, Nnz::Exactly(n) if (n > i32::MAX as u64) == wide));
            assert_eq!(spec.indices, Dtype::native(Kind::Int, 4));
        }
    }

    #[test]
    fn dense_numbers_that_are_missing_are_floats() {
        let int = || dense(Dtype::native(Kind::Int, 4));
        let dtype = |parts: &[Part], fills| match ArrayPlan::new(parts, Some(9), fills, false, None)
            .unwrap()
        {
            ArrayPlan::Dense { dtype, row, .. } => {
                assert_eq!(row, [9]);
                dtype
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(dtype(&[int(), int()], false), Dtype::native(Kind::Int, 4));
        assert_eq!(dtype(&[int(), int()], true), Dtype::FLOAT64);
        let float = dense(Dtype::native(Kind::Float, 4));
        assert_eq!(
            dtype(&[float.clone(), float], true),
            Dtype::native(Kind::Float, 4)
        );
    }

    #[test]
    fn what_a_sparse_matrix_is_filled_with_takes_places() {
        let parts = [
            sparse(2, 5),
            Part {
                rows: 3,
                shape: None,
            },
        ];
        for (value, most) in [(None, 5), (Some(0.0), 5), (Some(0.5), 5 + 5 * 9)] {
            let plan = ArrayPlan::new(&parts, Some(9), true, false, value).unwrap();
            let ArrayPlan::Sparse { nnz, fill, .. } = plan else {
                panic!("not sparse");
            };
            assert_eq!((nnz.most(), fill.is_some()), (most, most > 5));
        }
    }

    #[test]
    fn pairs_of_cells_are_wide_enough_for_all_cells() {
        let square = |cells| {
            let mut part = sparse(cells, 4);
            if let Some(Shape::Sparse { width, .. }) = &mut part.shape {
                *width = cells;
            }
            part
        };
        for (cells, wide) in [(1 << 30, false), ((1 << 30) + 1, true)] {
            let absent = Part {
                rows: 1 << 30,
                shape: None,
            };
            let plan = ArrayPlan::pairwise(&[square(cells), absent]).unwrap();
            let ArrayPlan::Sparse { spec, .. } = plan else {
                panic!("not sparse");
            };
            assert_eq!(spec.shape, [cells + (1 << 30); 2]);
            assert_eq!(spec.indices == Dtype::INT64, wide);
            assert_eq!(spec.data, Dtype::native(Kind::Float, 4));
        }
    }
}
