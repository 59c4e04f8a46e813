//! The blocks of one input as blocks of the merged array: columns moved, types widened, dense turned sparse.
//!
//! A block is converted in the pool, rows at a time: columns first (a table says where each goes), then the type, by
//! numpy's rules of promotion, then what an outer join fills. Where none of that changes, rows never come here: see
//! [`super::pieces`].

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::{ArrayPlan, Shape, fill};
use crate::dtype::{ints, promote};
use crate::merge::join::ColumnMap;
use crate::rows::awkward;
use crate::rows::block::Block;
use crate::rows::csr::CsrBlock;
use crate::store::Buffer;
use crate::store::spec::{ByteOrder, Dtype, Kind, Strings, items};

/// Turns the blocks of one input into those of the merged array.
pub struct Converter<'a> {
    /// What goes in is of shape `leaf`, what comes out is as `plan` says, and `map` says where columns go.
    pub plan: &'a ArrayPlan,
    pub map: &'a ColumnMap,
    pub leaf: Shape,
    /// Where its columns begin among the merged ones. That is not 0 only on a diagonal (obsp): it is the number of
    /// cells before those of this input.
    shift: u64,
    /// The merged columns that get the value of what is missing. Where the input has the columns `[3, 0]` of 5 merged
    /// ones: `[1, 2, 4]`. Empty where that value is 0, as it is stored nowhere then, and in dense arrays.
    filled: Vec<u64>,
}

impl<'a> Converter<'a> {
    /// `rows` have been written before.
    pub fn new(plan: &'a ArrayPlan, map: &'a ColumnMap, leaf: Shape, rows: u64) -> Converter<'a> {
        let (mut shift, mut filled) = (0, vec![]);
        if let ArrayPlan::Sparse {
            spec,
            fill,
            diagonal,
            ..
        } = plan
        {
            shift = if *diagonal { rows } else { 0 };
            if fill.is_some() {
                let mut is_new = vec![true; spec.shape[1] as usize];
                for at in map.places(leaf.width()).into_iter().flatten() {
                    is_new[at as usize] = false;
                }
                filled = (0..).zip(is_new).filter(|c| c.1).map(|c| c.0).collect();
            }
        }
        Converter {
            plan,
            map,
            leaf,
            shift,
            filled,
        }
    }

    /// Non-zeros that each sparse row gets beside its own.
    pub fn added(&self) -> u64 {
        self.filled.len() as u64
    }

    /// Bytes of a merged row beside those that a sparse one brings along.
    pub fn row_bytes(&self) -> u64 {
        match self.plan {
            ArrayPlan::Dense { dtype, row, .. } => items(row).saturating_mul(dtype.size() as u64),
            ArrayPlan::Sparse { spec, .. } => {
                let nonzero = spec.data.size() + spec.indices.size();
                8 + self.filled.len() as u64 * nonzero as u64
            }
            _ => 0,
        }
    }

    /// Whether rows go over as they are.
    pub fn keeps_all(&self) -> bool {
        let same = match (self.plan, &self.leaf) {
            (ArrayPlan::Dense { dtype: to, row, .. }, Shape::Dense { dtype, row: from }) => {
                dtype == to && row == from
            }
            (ArrayPlan::Sparse { spec, .. }, Shape::Sparse { data, indices, .. }) => {
                *data == spec.data && *indices == spec.indices
            }
            _ => false,
        };
        same && *self.map == ColumnMap::Identity && self.shift == 0
    }

    /// Where the columns of a sparse matrix go, if nothing else changes in its rows. Indices are mapped one by one
    /// then, without their values. That must not disturb the order in a row: columns that change places need their rows
    /// sorted, and dropped ones take values along. An index may get another type.
    pub fn moves(&self) -> Option<Box<dyn Fn(u64) -> Option<u64> + Sync + '_>> {
        let same = match (self.plan, &self.leaf) {
            (ArrayPlan::Sparse { spec, .. }, Shape::Sparse { data, .. }) => *data == spec.data,
            _ => false,
        };
        if !same || !self.filled.is_empty() {
            return None;
        }
        match self.map {
            ColumnMap::Identity => Some(Box::new(|column| Some(column + self.shift))),
            ColumnMap::To {
                places,
                monotonic: true,
            } if places.iter().all(Option::is_some) => {
                Some(Box::new(|column| place(places, column)))
            }
            ColumnMap::To { .. } => None,
        }
    }

    /// Whether each sparse row keeps all its non-zeros and gets no others. Then it is known where each row begins in
    /// the result before it is converted.
    pub fn keeps_counts(&self) -> bool {
        let places = match self.map {
            ColumnMap::Identity => true,
            ColumnMap::To { places, .. } => places.iter().all(Option::is_some),
        };
        places && self.filled.is_empty()
    }

    /// Rows of a sparse matrix as rows of the merged one.
    pub fn sparse(&self, block: CsrBlock) -> Result<CsrBlock> {
        match &self.leaf {
            Shape::Sparse { data, .. } => self.sparse_of(block, data),
            _ => bail!("A sparse block of an array that is not"),
        }
    }

    /// A block of the input as one of the merged array, rows and their order kept.
    pub fn convert(&self, block: Block) -> Result<Block> {
        match (self.plan, block, &self.leaf) {
            (ArrayPlan::Sparse { .. }, Block::Sparse(block), _) => {
                Ok(Block::Sparse(self.sparse(block)?))
            }
            (ArrayPlan::Sparse { .. }, Block::Fixed { bytes, .. }, Shape::Dense { dtype, row }) => {
                // `ArrayPlan` refuses dense arrays of other than two axes where another input is sparse.
                let columns = row.first().copied().unwrap_or(0);
                let block = to_sparse(&bytes, dtype, columns)?;
                Ok(Block::Sparse(self.sparse_of(block, dtype)?))
            }
            (
                ArrayPlan::Dense {
                    dtype: to,
                    row,
                    fill,
                },
                Block::Fixed { bytes, .. },
                Shape::Dense { dtype, row: from },
            ) => {
                let bytes = if dtype == to {
                    bytes
                } else {
                    promote::convert(&bytes, dtype, to)?.into()
                };
                Ok(self.dense(bytes, to.size(), from, row, fill))
            }
            (ArrayPlan::Text { row }, Block::Text { strings, .. }, Shape::Text { row: from }) => {
                Ok(self.texts(strings, from, row))
            }
            (ArrayPlan::Awkward(None), block, _) => Ok(block),
            (ArrayPlan::Awkward(Some(to)), Block::Awkward(block), Shape::Awkward(form)) => {
                let from = awkward::Type::of(&serde_json::from_str(form)?)?;
                Ok(Block::Awkward(from.fit(block, to)?))
            }
            _ => bail!("A block of another kind than the merged array"),
        }
    }

    fn sparse_of(&self, mut block: CsrBlock, data: &Dtype) -> Result<CsrBlock> {
        let ArrayPlan::Sparse { spec, fill, .. } = self.plan else {
            bail!("A sparse block for a merged array that is not");
        };
        if *data != spec.data {
            block.data = promote::convert(&block.data, data, &spec.data)?.into();
            block.item = spec.data.size();
        }
        let block = match self.map {
            // Only values change their type.
            ColumnMap::Identity if block.index == spec.indices && self.shift == 0 => block,
            ColumnMap::Identity => {
                block.map_indices(&spec.indices, false, |column| Some(column + self.shift))?
            }
            ColumnMap::To { places, monotonic } => {
                // Rows are sorted where genes change places; else their order stays.
                block.map_indices(&spec.indices, !monotonic, |column| place(places, column))?
            }
        };
        match fill {
            Some(value) if !self.filled.is_empty() => fill::columns(&block, &self.filled, value),
            _ => Ok(block),
        }
    }

    /// Rows of text; each merged column has one of the input. Text has no missing value, so arrays with gaps were left
    /// out (`Outline::lacks_text`).
    fn texts(&self, strings: Strings, from: &[u64], to: &[u64]) -> Block {
        let (old, width) = (items(from) as usize, items(to) as usize);
        if *self.map == ColumnMap::Identity {
            return Block::Text { width, strings };
        }
        let sources = self.map.sources(width);
        let rows = strings.len().checked_div(old).unwrap_or(0);
        let columns = |row| sources.iter().flatten().map(move |at| (row, *at as usize));
        let cells = (0..rows).flat_map(columns);
        let strings = cells
            .map(|(row, column)| strings.get(row * old + column))
            .collect();
        Block::Text { width, strings }
    }

    /// Rows of `from` items as rows of `to` items, each of `item` bytes: `[a, b]` with the places `[2, 0]` of 3 and the
    /// fill value 0 -> `[b, 0, a]`.
    fn dense(&self, bytes: Buffer, item: usize, from: &[u64], to: &[u64], fill: &[u8]) -> Block {
        let (old, new) = (items(from) as usize * item, items(to) as usize * item);
        let ColumnMap::To { places, .. } = self.map else {
            return Block::Fixed { row: new, bytes };
        };
        let places = places.as_slice();
        let rows = bytes.len().checked_div(old).unwrap_or(0);
        // Where every merged column has one of the input, `fill` may be empty.
        let fills = places.iter().flatten().count() * item < new;
        let mut moved = if fills {
            fill.repeat(rows * new / item)
        } else {
            vec![0; rows * new]
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
        Block::Fixed {
            row: new,
            bytes: moved.into(),
        }
    }
}

/// Where a column goes; `None` where it is dropped.
fn place(places: &[Option<u32>], column: u64) -> Option<u64> {
    let place = places.get(column as usize).copied().flatten();
    place.map(u64::from)
}

/// The values of dense rows that are not zero. NaN is not zero. Indices have 64 bits, whatever the result has: they are
/// mapped next.
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
    let (mut ptr, mut indices, mut data) = (vec![0], vec![], vec![]);
    for (row, values) in rows {
        indices.extend(row);
        data.extend(values);
        ptr.push(indices.len() as u64);
    }
    Ok(CsrBlock {
        ptr,
        indices: ints::write(&indices, &index)?.into(),
        index,
        data: data.into(),
        item,
    })
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
            ByteOrder::Little => (&float[..part - 1], float[part - 1]),
            ByteOrder::Big => (&float[1..], float[0]),
        };
        sign & 0x7f == 0 && first.iter().all(|&b| b == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
