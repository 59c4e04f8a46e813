//! The rows of many inputs one after another: what one merged array is, and appending to it.

use std::ops::Range;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::csc::{Sweeper, Targets};
use super::csr::CsrBlock;
use super::ints;
use super::join::ColumnMap;
use super::matrix::{Count, Layout, Sparse, SparseSpec, SparseWriter};
use super::promote;
use super::rows::{Block, Leaf, LeafWriter, Source};
use crate::store::spec::{ArraySpec, Attrs, Dtype, Kind, Order};
use crate::store::{Group, Rows};

/// One array of one input, as far as it matters for merging.
#[derive(Clone, Debug)]
pub struct Part {
    pub rows: u64,
    /// `None` where the input lacks the array.
    pub shape: Option<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Dense {
        dtype: Dtype,
        /// Sizes of all axes but the first.
        row: Vec<u64>,
    },
    Sparse {
        data: Dtype,
        indices: Dtype,
        indptr: Dtype,
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
    pub fn of_leaf(leaf: &Leaf) -> Result<Shape> {
        Ok(match &leaf.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::SquareFixed(a) => Shape::Dense {
                dtype: a.spec().dtype.clone(),
                row: a.spec().shape[1..].to_vec(),
            },
            Source::Text(a) => Shape::Text {
                row: a.spec().shape[1..].to_vec(),
            },
            Source::Field(_, field) if field.dtype.is_string() => Shape::Text {
                row: field.shape.clone(),
            },
            Source::Field(_, field) => Shape::Dense {
                dtype: field.dtype.clone(),
                row: field.shape.clone(),
            },
            Source::Sparse(s) | Source::SquareSparse(s) => Shape::of_sparse(s),
            Source::Awkward(a) => Shape::Awkward(a.form()?),
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

    /// Columns of a matrix; 1 for a list.
    pub fn width(&self) -> u64 {
        match self {
            Shape::Dense { row, .. } | Shape::Text { row } => row.iter().product(),
            Shape::Sparse { width, .. } => *width,
            Shape::Awkward(_) => 1,
        }
    }
}

/// What the merged array will be.
#[derive(Clone, Debug)]
pub enum Plan {
    Dense { dtype: Dtype, row: Vec<u64> },
    Sparse { spec: Box<SparseSpec>, count: Count },
    Text { row: Vec<u64> },
    Awkward,
}

impl Plan {
    /// Decides from all inputs. `width` is the number of merged columns where columns are genes; `fills` says
    /// whether any of them is new to an input, and `drops` whether any is lost to one.
    pub fn new(parts: &[Part], width: Option<u64>, fills: bool, drops: bool) -> Result<Plan> {
        let known: Vec<&Shape> = parts.iter().filter_map(|p| p.shape.as_ref()).collect();
        let absent = parts.iter().any(|p| p.shape.is_none() && p.rows > 0);
        let first = known.first().context("It is in no input")?;
        if known.iter().any(|s| matches!(s, Shape::Sparse { .. })) {
            return Plan::sparse(&known, parts, width, drops);
        }
        match first {
            Shape::Text { row } => {
                ensure!(
                    known.iter().all(|s| s == first) && !absent && width.is_none(),
                    "Text and other kinds, or rows without text, cannot be put together"
                );
                Ok(Plan::Text { row: row.clone() })
            }
            Shape::Awkward(_) => {
                ensure!(
                    known.iter().all(|s| s == first) && !absent,
                    "Awkward arrays of different forms cannot be put together"
                );
                Ok(Plan::Awkward)
            }
            _ => Plan::dense(&known, width, fills || absent),
        }
    }

    fn dense(known: &[&Shape], width: Option<u64>, missing: bool) -> Result<Plan> {
        let mut dtypes = vec![];
        for shape in known {
            let Shape::Dense { dtype, row } = shape else {
                bail!("Numbers and other kinds cannot be put together");
            };
            let Shape::Dense { row: first, .. } = known[0] else {
                bail!("Numbers and other kinds cannot be put together");
            };
            ensure!(
                row.len() == first.len() && (width.is_some() || row == first),
                "Rows of shape {row:?} and of shape {first:?} cannot be put together"
            );
            dtypes.push(dtype.clone());
        }
        let mut dtype = common(&dtypes)?;
        if missing {
            dtype = with_missing(&dtype)?;
        }
        let mut row = match known[0] {
            Shape::Dense { row, .. } => row.clone(),
            _ => vec![],
        };
        if let (Some(width), Some(columns)) = (width, row.first_mut()) {
            *columns = width;
        }
        Ok(Plan::Dense { dtype, row })
    }

    fn sparse(known: &[&Shape], parts: &[Part], width: Option<u64>, drops: bool) -> Result<Plan> {
        let (mut data, mut indices, mut indptr) = (vec![], vec![], vec![]);
        let mut exact = !drops;
        let mut most = 0u64;
        let columns = width.unwrap_or(known[0].width());
        for part in parts {
            let Some(shape) = &part.shape else {
                continue;
            };
            ensure!(
                width.is_some() || shape.width() == columns,
                "A width of {} and one of {columns} cannot be put together",
                shape.width()
            );
            most = most.saturating_add(match shape {
                Shape::Sparse {
                    data: d,
                    indices: i,
                    indptr: p,
                    nnz,
                    ..
                } => {
                    data.push(d.clone());
                    indices.push(i.clone());
                    indptr.push(p.clone());
                    *nnz
                }
                Shape::Dense { dtype, row } if row.len() == 1 => {
                    data.push(dtype.clone());
                    exact = false;
                    part.rows.saturating_mul(row[0])
                }
                _ => bail!("A sparse matrix and another kind cannot be put together"),
            });
        }
        let spec = SparseSpec {
            layout: Layout::Csr,
            shape: [parts.iter().map(|p| p.rows).sum(), columns],
            attrs: Attrs::encoding("csr_matrix", "0.1.0"),
            data: common(&data)?,
            indices: widest(&indices, columns.saturating_sub(1)),
            indptr: widest(&indptr, most),
        };
        let count = match exact {
            true => Count::Exactly(most),
            false => Count::AtMost(most),
        };
        Ok(Plan::Sparse {
            spec: Box::new(spec),
            count,
        })
    }
}

/// numpy's common type; types that are no numbers must be equal.
fn common(dtypes: &[Dtype]) -> Result<Dtype> {
    if dtypes.windows(2).all(|w| w[0] == w[1]) {
        return dtypes.first().cloned().context("It is in no input");
    }
    promote::result_type(dtypes).with_context(|| {
        let names: Vec<String> = dtypes.iter().map(Dtype::to_string).collect();
        format!("Values of {} cannot be put together", names.join(" and "))
    })
}

/// A type that holds NaN beside the values of `dtype`, as pandas chooses it.
fn with_missing(dtype: &Dtype) -> Result<Dtype> {
    match dtype.kind() {
        Some(Kind::Float | Kind::Complex) => Ok(dtype.clone()),
        Some(_) => Ok(Dtype::FLOAT64),
        None => bail!("{dtype} cannot be missing"),
    }
}

/// One of the integer types that holds `most` and every one of them; int32 or int64 where they differ.
fn widest(dtypes: &[Dtype], most: u64) -> Dtype {
    let first = dtypes
        .first()
        .cloned()
        .unwrap_or(Dtype::native(Kind::Int, 4));
    let same = dtypes.iter().all(|d| *d == first);
    let int32 = Dtype::native(Kind::Int, 4);
    match same {
        true => ints::holding(&first, most),
        false => ints::holding(&int32, most),
    }
}

/// A merged array that is being written.
pub struct Stack {
    plan: Plan,
    path: String,
    /// Made with the first rows, where those say what it is.
    writer: Option<LeafWriter>,
    out: Group,
    rows: u64,
}

/// Bytes that are read at a time.
const BLOCK: u64 = 24 << 20;

/// One input's rows for a [`Stack`].
pub enum Input<'a> {
    Leaf(&'a Leaf),
    Csc(&'a Sparse),
    /// As many rows without values.
    Absent(u64),
}

impl Stack {
    pub fn create(out: &Group, path: &str, plan: Plan, rows: u64) -> Result<Stack> {
        let array = |row: &[u64], dtype: &Dtype, attrs: &Attrs| {
            let mut shape = vec![rows];
            shape.extend(row);
            let spec = ArraySpec::new(shape, dtype.clone());
            out.create_array(path, &spec, Rows::Known, attrs)
                .map(LeafWriter::Array)
        };
        let writer = match &plan {
            Plan::Dense { dtype, row } => {
                Some(array(row, dtype, &Attrs::encoding("array", "0.2.0"))?)
            }
            Plan::Text { row } => {
                let attrs = Attrs::encoding("string-array", "0.2.0");
                Some(array(row, &Dtype::String, &attrs)?)
            }
            Plan::Sparse { spec, count } => Some(LeafWriter::Sparse(SparseWriter::create(
                out, path, spec, *count,
            )?)),
            Plan::Awkward => None,
        };
        Ok(Stack {
            plan,
            path: path.into(),
            writer,
            out: out.clone(),
            rows,
        })
    }

    /// Appends the rows of one input, its columns moved by `map`.
    pub fn append(&mut self, input: Input, map: &ColumnMap, budget: u64) -> Result<()> {
        let context = format!("Merge '{}'", self.path);
        match input {
            Input::Leaf(leaf) => self.append_leaf(leaf, map),
            Input::Csc(matrix) => self.append_csc(matrix, map, budget),
            Input::Absent(rows) => self.append_missing(rows),
        }
        .context(context)
    }

    fn append_leaf(&mut self, leaf: &Leaf, map: &ColumnMap) -> Result<()> {
        if self.writer.is_none() {
            self.writer = Some(leaf.create(&self.out, self.rows, 0)?);
        }
        let converter = Converter {
            plan: &self.plan,
            map,
            leaf: Shape::of_leaf(leaf)?,
        };
        let Some(writer) = &mut self.writer else {
            bail!("It was not created");
        };
        if converter.keeps_all() {
            return writer.append_from(leaf, 0..leaf.rows(), None);
        }
        let cost = leaf.cost()?;
        for rows in sparse_blocks(leaf, cost.fixed)? {
            let block = leaf.read(std::slice::from_ref(&rows))?;
            writer.append(&converter.convert(block)?)?;
        }
        Ok(())
    }

    /// A CSC matrix by rows: as many of them at a time as the budget holds, each time sweeping all of it.
    fn append_csc(&mut self, matrix: &Sparse, map: &ColumnMap, budget: u64) -> Result<()> {
        let rows = matrix.shape[0];
        let element = 8 + matrix.element_bytes();
        let mean = matrix.nnz() * element / rows.max(1) + 1;
        let step = (budget / 4 / mean).clamp(1, rows.max(1));
        let cuts: Vec<u64> = (0..rows).step_by(step as usize).chain([rows]).collect();
        let order: Vec<u32> = (0..rows as u32).collect();
        let targets = Rc::new(Targets::new(rows, &order, &cuts));
        drop(order);
        let lengths = cuts.windows(2).map(|c| c[1] - c[0]).collect();
        let mut sweeper = Sweeper::new("", matrix, targets, lengths, budget / 2)?;
        let converter = Converter {
            plan: &self.plan,
            map,
            leaf: Shape::of_sparse(matrix),
        };
        for (part, cut) in cuts.windows(2).enumerate() {
            let columns = sweeper.take(part)?;
            let block = columns.transpose((cut[1] - cut[0]) as usize)?;
            let Some(writer) = &mut self.writer else {
                bail!("It was not created");
            };
            writer.append(&converter.convert(Block::Sparse(block))?)?;
        }
        Ok(())
    }

    fn append_missing(&mut self, rows: u64) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            ensure!(rows == 0, "Rows without values cannot be written");
            return Ok(());
        };
        let row = match &self.plan {
            Plan::Dense { dtype, row } => row.iter().product::<u64>() * dtype.size() as u64,
            _ => 8,
        };
        for part in super::copy::blocks(rows, row) {
            let count = (part.end - part.start) as usize;
            writer.append(&match &self.plan {
                Plan::Dense { dtype, row } => Block::Fixed {
                    row: row.iter().product::<u64>() as usize * dtype.size(),
                    bytes: promote::nan(dtype)?
                        .repeat(count * row.iter().product::<u64>() as usize),
                },
                Plan::Sparse { spec, .. } => Block::Sparse(CsrBlock {
                    ptr: vec![0; count + 1],
                    indices: vec![],
                    index: spec.indices.clone(),
                    data: vec![],
                    item: spec.data.size(),
                }),
                Plan::Text { .. } | Plan::Awkward => bail!("Rows without values cannot be written"),
            })?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        match self.writer {
            Some(writer) => writer
                .finish()
                .with_context(|| format!("Merge '{}'", self.path)),
            None => Ok(()),
        }
    }
}

/// Row ranges of about [`BLOCK`] bytes of one input.
fn sparse_blocks(leaf: &Leaf, fixed: u64) -> Result<Vec<Range<u64>>> {
    let rows = leaf.rows();
    let Source::Sparse(matrix) = &leaf.source else {
        let step = (BLOCK / fixed.max(1)).max(1);
        return Ok((0..rows.div_ceil(step))
            .map(|i| i * step..((i + 1) * step).min(rows))
            .collect());
    };
    matrix.blocks(BLOCK)
}

/// Turns the blocks of one input into those of the merged array.
struct Converter<'a> {
    plan: &'a Plan,
    map: &'a ColumnMap,
    leaf: Shape,
}

impl Converter<'_> {
    /// Whether rows go over as they are.
    fn keeps_all(&self) -> bool {
        let same = match (self.plan, &self.leaf) {
            (Plan::Dense { dtype: to, row }, Shape::Dense { dtype, row: from }) => {
                dtype == to && row == from
            }
            (Plan::Sparse { spec, .. }, Shape::Sparse { data, indices, .. }) => {
                *data == spec.data && *indices == spec.indices
            }
            _ => false,
        };
        same && *self.map == ColumnMap::Identity
    }

    fn convert(&self, block: Block) -> Result<Block> {
        match (self.plan, block, &self.leaf) {
            (Plan::Sparse { spec, .. }, Block::Sparse(block), Shape::Sparse { data, .. }) => {
                Ok(Block::Sparse(self.sparse(block, data, spec)?))
            }
            (
                Plan::Sparse { spec, .. },
                Block::Fixed { bytes, .. },
                Shape::Dense { dtype, row },
            ) => {
                let columns = row.first().copied().unwrap_or(0);
                let block = to_sparse(&bytes, dtype, columns)?;
                Ok(Block::Sparse(self.sparse(block, dtype, spec)?))
            }
            (
                Plan::Dense { dtype: to, row },
                Block::Fixed { bytes, .. },
                Shape::Dense { dtype, row: from },
            ) => {
                let bytes = match dtype == to {
                    true => bytes,
                    false => promote::convert(&bytes, dtype, to)?,
                };
                self.dense(bytes, to, from, row)
            }
            (Plan::Text { .. } | Plan::Awkward, block, _) => Ok(block),
            _ => bail!("A block of another kind than the merged array"),
        }
    }

    fn sparse(&self, mut block: CsrBlock, data: &Dtype, spec: &SparseSpec) -> Result<CsrBlock> {
        if *data != spec.data {
            block.data = promote::convert(&block.data, data, &spec.data)?;
            block.item = spec.data.size();
        }
        match self.map {
            ColumnMap::Identity if block.index == spec.indices => Ok(block),
            ColumnMap::Identity => {
                block.indices =
                    ints::write(&ints::read(&block.indices, &block.index)?, &spec.indices)?;
                block.index = spec.indices.clone();
                Ok(block)
            }
            ColumnMap::To { places, monotonic } => {
                let places = places.as_slice();
                block.map_indices(&spec.indices, !monotonic, |column| {
                    places
                        .get(column as usize)
                        .copied()
                        .flatten()
                        .map(u64::from)
                })
            }
        }
    }

    fn dense(&self, bytes: Vec<u8>, dtype: &Dtype, from: &[u64], to: &[u64]) -> Result<Block> {
        let item = dtype.size();
        let (old, new) = (
            from.iter().product::<u64>() as usize * item,
            to.iter().product::<u64>() as usize * item,
        );
        let ColumnMap::To { places, .. } = self.map else {
            return Ok(Block::Fixed { row: new, bytes });
        };
        let places = places.as_slice();
        let rows = bytes.len().checked_div(old).unwrap_or(0);
        let fills = places.iter().flatten().count() * item < new;
        let mut moved = match fills {
            true => promote::nan(dtype)?.repeat(rows * new / item),
            false => vec![0; rows * new],
        };
        moved
            .par_chunks_mut(new.max(1))
            .zip(bytes.par_chunks(old.max(1)))
            .for_each(|(to, from)| {
                for (value, place) in from.chunks_exact(item).zip(places.iter()) {
                    if let Some(at) = place {
                        to[*at as usize * item..][..item].copy_from_slice(value);
                    }
                }
            });
        Ok(Block::Fixed {
            row: new,
            bytes: moved,
        })
    }
}

/// The values of dense rows that are not zero.
fn to_sparse(bytes: &[u8], dtype: &Dtype, columns: u64) -> Result<CsrBlock> {
    let item = dtype.size();
    let index = Dtype::INT64;
    let row = columns as usize * item;
    let rows: Vec<(Vec<u64>, Vec<u8>)> = bytes
        .par_chunks(row.max(1))
        .map(|values| {
            let (mut indices, mut data) = (vec![], vec![]);
            for (column, value) in values.chunks_exact(item).enumerate() {
                if !is_zero(value, dtype) {
                    indices.push(column as u64);
                    data.extend_from_slice(value);
                }
            }
            (indices, data)
        })
        .collect();
    let mut block = CsrBlock {
        ptr: vec![0],
        indices: vec![],
        index: index.clone(),
        data: vec![],
        item,
    };
    let mut indices = vec![];
    for (row, data) in rows {
        indices.extend(row);
        block.data.extend(data);
        block.ptr.push(indices.len() as u64);
    }
    block.indices = ints::write(&indices, &index)?;
    Ok(block)
}

/// Whether a number is 0; for floats -0 is.
fn is_zero(value: &[u8], dtype: &Dtype) -> bool {
    let Dtype::Number { kind, size, order } = dtype else {
        return false;
    };
    let part = match kind {
        Kind::Float => *size,
        Kind::Complex => size / 2,
        _ => return value.iter().all(|&b| b == 0),
    };
    value.chunks_exact(part).all(|float| {
        let (first, sign) = match order {
            Order::Little => (&float[..part - 1], float[part - 1]),
            Order::Big => (&float[1..], float[0]),
        };
        sign & 0x7f == 0 && first.iter().all(|&b| b == 0)
    })
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
    fn more_than_two_to_the_31_elements_get_an_int64_indptr() {
        let half = 1 << 30;
        for (parts, wide) in [
            ([sparse(1, half), sparse(1, half - 1)], false),
            ([sparse(1, half), sparse(1, half)], true),
        ] {
            let Plan::Sparse { spec, count } = Plan::new(&parts, None, false, false).unwrap()
            else {
                panic!("not sparse");
            };
            assert_eq!(spec.indptr == Dtype::INT64, wide);
            assert!(matches!(count, Count::Exactly(n) if (n > i32::MAX as u64) == wide));
            assert_eq!(spec.indices, Dtype::native(Kind::Int, 4));
        }
    }

    #[test]
    fn dense_numbers_that_are_missing_are_floats() {
        let int = || dense(Dtype::native(Kind::Int, 4));
        let dtype = |parts: &[Part], fills| match Plan::new(parts, Some(9), fills, false).unwrap() {
            Plan::Dense { dtype, row } => {
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
    fn only_zero_is_left_out_of_a_sparse_matrix() {
        let float = Dtype::native(Kind::Float, 4);
        for (value, zero) in [
            (0.0f32, true),
            (-0.0, true),
            (f32::NAN, false),
            (1e-45, false),
        ] {
            assert_eq!(is_zero(&value.to_ne_bytes(), &float), zero, "{value}");
        }
        let values: Vec<u8> = [1f32, 0.0, f32::NAN]
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect();
        let block = to_sparse(&values, &float, 3).unwrap();
        assert_eq!(block.ptr, [0, 2]);
        assert_eq!(ints::read(&block.indices, &block.index).unwrap(), [0, 2]);
    }
}
