//! A block that grows by rows of other blocks of its kind.
//!
//! It joins what is read of several files into one block, as the rows of a wave are of all of them. Who knows how many
//! rows come gives it the memory at first, so that it never moves. While its indices are those of another, it follows
//! that one, and has none of its own.

use anyhow::{Result, bail};

use super::block::Block;
use super::csr::CsrBlock;
use crate::store::Buffer;
use crate::store::spec::Dtype;

const UNLIKE: &str = "A block of another kind than the rows before it";

/// Rows of a matrix, in memory.
#[derive(Clone)]
pub enum Growing {
    /// Rows of `row` bytes each.
    Dense { row: usize, bytes: Buffer },
    Sparse {
        /// As in a [`CsrBlock`].
        ptr: Vec<u64>,
        /// None while it follows another: these are its indices then.
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
            (rows, Block::Sparse(block)) => rows.push_sparse(block)?,
            _ => bail!(UNLIKE),
        }
        Ok(())
    }

    /// The same of rows of a sparse matrix.
    pub fn push_sparse(&mut self, block: &CsrBlock) -> Result<()> {
        self.push_rows(block, true)
    }

    /// Appends rows beside `first`, which gets its own after this. Where these have the same indices (`alike`), and all
    /// before had, they are not kept a second time.
    pub fn push_beside(&mut self, first: &Growing, block: &CsrBlock, alike: bool) -> Result<()> {
        let follows = alike && self.follows(first);
        if !follows {
            self.part_from(first)?;
        }
        self.push_rows(block, !follows)
    }

    fn push_rows(&mut self, block: &CsrBlock, with_indices: bool) -> Result<()> {
        match self {
            Growing::Sparse {
                ptr,
                indices,
                index,
                data,
                item,
            } if *index == block.index && *item == block.item => {
                let before = ptr.last().copied().unwrap_or(0);
                ptr.extend(block.ptr[1..].iter().map(|end| before + end));
                if with_indices {
                    indices.extend(&block.indices)?;
                }
                data.extend(&block.data)
            }
            _ => bail!(UNLIKE),
        }
    }

    /// Whether all its indices so far are those of `first`, so that it has none of its own.
    fn follows(&self, first: &Growing) -> bool {
        match self {
            Growing::Dense { .. } => false,
            Growing::Sparse { indices, .. } => {
                // `first` gets its rows after the others, so here both are as far.
                indices.is_empty() && self.nonzeros() == first.nonzeros()
            }
        }
    }

    /// Ends to follow `first`, if it did: its own indices are those of its rows so far.
    pub fn part_from(&mut self, first: &Growing) -> Result<()> {
        let nonzeros = self.nonzeros() as usize;
        if let (Growing::Sparse { indices, index, .. }, Growing::Sparse { indices: its, .. }) =
            (self, first)
        {
            // `first` may have more rows by now: only the indices of those that both have are taken.
            let (from, to) = (indices.len(), nonzeros * index.size());
            if from < to {
                indices.extend(&its[from..to])?;
            }
        }
        Ok(())
    }

    fn nonzeros(&self) -> u64 {
        match self {
            Growing::Dense { .. } => 0,
            Growing::Sparse { ptr, .. } => ptr.last().copied().unwrap_or(0),
        }
    }

    /// As [`Growing::into_block`], of one that may have followed another to the end, whose block is `first`.
    pub fn into_block_like(self, first: &Block) -> Block {
        let nonzeros = self.nonzeros() as usize;
        let mut block = self.into_block();
        if let (Block::Sparse(block), Block::Sparse(first)) = (&mut block, first)
            // It has fewer indices than values, so it followed to the end.
            && block.indices.len() < nonzeros * block.index.size()
        {
            block.indices = first.indices.clone();
        }
        block
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
