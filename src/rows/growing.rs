//! A block that grows by rows of other blocks of its kind.
//!
//! It joins what is read of several files into one block, as the rows of a wave are of all of them. Who knows how many
//! rows come gives it the memory at first, so that it never moves.

use anyhow::{Result, bail};

use super::block::Block;
use super::csr::CsrBlock;
use crate::store::Buffer;
use crate::store::spec::Dtype;

/// Rows of a matrix, in memory.
#[derive(Clone)]
pub enum Growing {
    /// Rows of `row` bytes each.
    Dense { row: usize, bytes: Buffer },
    Sparse {
        ptr: Vec<u64>,
        indices: Buffer,
        index: Dtype,
        data: Buffer,
        item: usize,
    },
}

impl Growing {
    /// Of no rows so far, makes room for so many, with so many non-zeros in all.
    pub fn with_room(mut self, rows: u64, nonzeros: u64) -> Result<Growing> {
        let room = |count: u64, size: usize| {
            Buffer::with_room(usize::try_from(count)?.saturating_mul(size))
        };
        match &mut self {
            Growing::Dense { row, bytes } => *bytes = room(rows, *row)?,
            Growing::Sparse {
                ptr,
                indices,
                index,
                data,
                item,
            } => {
                ptr.reserve(usize::try_from(rows)?);
                *indices = room(nonzeros, index.size())?;
                *data = room(nonzeros, *item)?;
            }
        }
        Ok(self)
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
                bytes.extend(more)?;
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
                indices.extend(&block.indices)?;
                data.extend(&block.data)?;
            }
            _ => bail!("A block of another kind than the rows before it"),
        }
        Ok(())
    }

    /// The rows so far; nothing is copied.
    pub fn into_block(self) -> Block {
        match self {
            Growing::Dense { row, bytes } => Block::Fixed { row, bytes },
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
                data,
                item,
            }),
        }
    }
}
