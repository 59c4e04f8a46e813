//! The blocks of one input as blocks of the merged array: columns moved, types widened, dense turned sparse.

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::{Plan, Shape};
use crate::anndata::csr::CsrBlock;
use crate::anndata::ints;
use crate::anndata::join::ColumnMap;
use crate::anndata::matrix::SparseSpec;
use crate::anndata::promote;
use crate::anndata::rows::Block;
use crate::store::spec::{Dtype, Kind, Order};

/// Turns the blocks of one input into those of the merged array.
pub struct Converter<'a> {
    pub plan: &'a Plan,
    pub map: &'a ColumnMap,
    pub leaf: Shape,
}

impl Converter<'_> {
    /// Whether rows go over as they are.
    pub fn keeps_all(&self) -> bool {
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

    pub fn convert(&self, block: Block) -> Result<Block> {
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
            ColumnMap::Identity => block.map_indices(&spec.indices, false, Some),
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
