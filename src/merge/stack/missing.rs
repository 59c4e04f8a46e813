//! Rows of an input that lacks the array.
//!
//! All of them are alike: of the fill value, or empty in a sparse matrix without one. Callers ask for no more at a time
//! than [`ArrayPlan::missing_bytes`] lets memory hold.

use anyhow::{Result, ensure};

use super::{ArrayPlan, fill};
use crate::rows::block::Block;
use crate::rows::csr::CsrBlock;
use crate::store::Buffer;
use crate::store::spec::items;

impl ArrayPlan {
    /// Non-zeros of a sparse row that has no values of its own. That is one in every column, or none.
    pub fn missing_nnz(&self) -> u64 {
        match self {
            ArrayPlan::Sparse {
                spec,
                fill: Some(_),
                ..
            } => spec.shape[1],
            _ => 0,
        }
    }

    /// Bytes of a row without values. 0 for arrays that have no such rows.
    pub fn missing_bytes(&self) -> u64 {
        match self {
            ArrayPlan::Dense { dtype, row, .. } => items(row).saturating_mul(dtype.size() as u64),
            ArrayPlan::Sparse { spec, .. } => {
                let nonzero = spec.data.size() + spec.indices.size();
                8 + self.missing_nnz() * nonzero as u64
            }
            ArrayPlan::Text { .. } | ArrayPlan::Awkward(_) => 0,
        }
    }

    /// So many rows without values; an error where the array has no value for that.
    pub fn missing(&self, rows: u64) -> Result<Block> {
        match self {
            ArrayPlan::Dense { dtype, row, fill } => {
                let items = items(row);
                Ok(Block::Fixed {
                    row: items as usize * dtype.size(),
                    bytes: fill.repeat((items * rows) as usize).into(),
                })
            }
            ArrayPlan::Sparse { spec, fill, .. } => {
                let columns: Vec<u64> = (0..self.missing_nnz()).collect();
                // Rows without a non-zero get the value in all columns, as rows of an input do in those that it lacks.
                let empty = CsrBlock {
                    ptr: vec![0; rows as usize + 1],
                    indices: Buffer::default().into(),
                    index: spec.indices.clone(),
                    data: Buffer::default(),
                    item: spec.data.size(),
                };
                let value = fill.as_deref().unwrap_or_default();
                Ok(Block::Sparse(fill::columns(&empty, &columns, value)?))
            }
            ArrayPlan::Text { .. } | ArrayPlan::Awkward(_) => {
                ensure!(rows == 0, "Rows without values cannot be written");
                Ok(Block::Text {
                    width: 1,
                    strings: Default::default(),
                })
            }
        }
    }
}
