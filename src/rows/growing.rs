//! A block that grows by rows of other blocks of its kind.

use anyhow::{Result, bail};

use super::block::Block;
use super::csr::CsrBlock;
use super::stacked::StackedKind;
use crate::store::spec::{Dtype, elements};

/// Rows of a matrix, in memory.
#[derive(Clone)]
pub enum Growing {
    /// Rows of `row` bytes each.
    Dense { row: usize, bytes: Vec<u8> },
    Sparse {
        ptr: Vec<u64>,
        indices: Vec<u8>,
        index: Dtype,
        data: Vec<u8>,
        item: usize,
    },
}

impl Growing {
    /// No rows of a matrix of this kind.
    pub fn of(kind: &StackedKind) -> Growing {
        match kind {
            StackedKind::Dense { dtype, row } => Growing::Dense {
                row: elements(row) as usize * dtype.size(),
                bytes: vec![],
            },
            StackedKind::Sparse { spec, .. } => Growing::Sparse {
                ptr: vec![0],
                indices: vec![],
                index: spec.indices.clone(),
                data: vec![],
                item: spec.data.size(),
            },
        }
    }

    /// Appends the rows of a block; an error where it is of another kind.
    pub fn push(&mut self, block: &Block) -> Result<()> {
        match (self, block) {
            (
                Growing::Dense { row, bytes },
                Block::Fixed {
                    row: other,
                    bytes: more,
                },
            ) if row == other => {
                bytes.extend_from_slice(more);
            }
            (
                Growing::Sparse {
                    ptr,
                    indices,
                    index,
                    data,
                    item,
                },
                Block::Sparse(block),
            ) if *index == block.index && *item == block.item => {
                let before = ptr.last().copied().unwrap_or(0);
                ptr.extend(block.ptr[1..].iter().map(|end| before + end));
                indices.extend_from_slice(&block.indices);
                data.extend_from_slice(&block.data);
            }
            _ => bail!("A block of another kind than the rows before it"),
        }
        Ok(())
    }

    pub fn into_block(self) -> Block {
        match self {
            Growing::Dense { row, bytes } => Block::Fixed {
                row,
                bytes: bytes.into(),
            },
            Growing::Sparse {
                ptr,
                indices,
                index,
                data,
                item,
            } => Block::Sparse(CsrBlock {
                ptr,
                indices: indices.into(),
                index,
                data: data.into(),
                item,
            }),
        }
    }
}
