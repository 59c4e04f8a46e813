//! Rows of one array in memory, and picking some of them.
//!
//! Rows that are scattered over a file are read in the order of the file, which is fast, and picked from the block in
//! the order of the outputs. A matrix of cells by cells (obsp) is picked by rows and then by the same columns.

use anyhow::{Result, bail};
use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use super::awkward::AwkwardBlock;
use super::csr::CsrBlock;
use crate::store::Buffer;
use crate::store::spec::Strings;

/// Rows of one leaf, in memory.
pub enum Block {
    /// Rows of `row` bytes each.
    Fixed {
        row: usize,
        bytes: Buffer,
    },
    /// Rows of `width` texts each.
    Text {
        width: usize,
        strings: Strings,
    },
    Sparse(CsrBlock),
    Awkward(AwkwardBlock),
}

impl Block {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> u64 {
        (match self {
            Block::Fixed { bytes, .. } => bytes.len(),
            Block::Text { strings, .. } => strings.bytes.len() + 8 * strings.len(),
            Block::Sparse(b) => b.data.len() + b.indices.len() + 8 * b.ptr.len(),
            Block::Awkward(b) => b.bytes(),
        }) as u64
    }

    /// The buffer of a block of fixed width, to be used again; an empty one of any other block.
    pub fn into_bytes(self) -> Buffer {
        match self {
            Block::Fixed { bytes, .. } => bytes,
            _ => Buffer::default(),
        }
    }

    /// Rows of the block, whatever a row is made of. A row of no bytes, as of a matrix without columns, leaves no trace
    /// in the block, which then counts 0 rows.
    pub fn rows(&self) -> usize {
        match self {
            Block::Fixed { row, bytes } => bytes.len() / (*row).max(1),
            Block::Text { width, strings } => strings.len() / (*width).max(1),
            Block::Sparse(b) => b.rows(),
            Block::Awkward(b) => b.rows(),
        }
    }

    /// Non-zeros in the rows at `picks`; 0 for what is not sparse.
    pub fn count(&self, picks: &[u32]) -> u64 {
        match self {
            Block::Sparse(b) => picks
                .iter()
                .map(|&row| b.ptr[row as usize + 1] - b.ptr[row as usize])
                .sum(),
            _ => 0,
        }
    }

    /// The rows at `picks`, in that order, repeats allowed.
    pub fn pick(&self, picks: &[u32]) -> Block {
        match self {
            Block::Fixed { row, bytes } => Block::Fixed {
                row: *row,
                bytes: pick_rows(bytes, *row, picks).into(),
            },
            Block::Text { width, strings } => Block::Text {
                width: *width,
                strings: picks
                    .iter()
                    .flat_map(|&row| {
                        (0..*width).map(move |i| strings.get(row as usize * width + i))
                    })
                    .collect(),
            },
            Block::Sparse(b) => Block::Sparse(b.pick(picks)),
            Block::Awkward(b) => Block::Awkward(b.pick(picks)),
        }
    }

    /// Of a matrix of cells by cells, the columns of the cells that `columns` knows, at their new positions.
    pub fn columns(self, columns: &CellColumns) -> Result<Block> {
        match self {
            Block::Fixed { row, bytes } => {
                // The bytes are rows x cells of the file x bytes of a value; the axis in the middle is picked.
                let cells = usize::try_from(columns.from)?;
                let item = row / cells.max(1);
                let rows = bytes.len() / row.max(1);
                let matrix = ArrayView3::from_shape((rows, cells, item), &bytes)?;
                let picked = matrix.select(Axis(1), &columns.in_order());
                Ok(Block::Fixed {
                    row: columns.places.len() * item,
                    bytes: picked.iter().copied().collect::<Vec<u8>>().into(),
                })
            }
            Block::Sparse(b) => {
                // Not sorted: where cells come in another order, so do the non-zeros of a row, which the format allows.
                let index = b.index.clone();
                let mapped = b.map_indices(&index, false, |c| columns.position(c))?;
                Ok(Block::Sparse(mapped))
            }
            _ => bail!("A matrix of cells by cells must be dense or sparse"),
        }
    }
}

fn pick_rows(bytes: &[u8], row: usize, picks: &[u32]) -> Vec<u8> {
    let mut picked = vec![0; picks.len() * row];
    if row > 0 {
        picked
            .par_chunks_exact_mut(row)
            .zip(picks)
            // 64 KiB for a task at the least: to begin one for a few bytes takes longer than to copy them.
            .with_min_len((1 << 16) / row.min(1 << 16))
            .for_each(|(to, &from)| to.copy_from_slice(&bytes[from as usize * row..][..row]));
    }
    picked
}

/// Which cells of a file are the columns of a new one, and where.
pub struct CellColumns {
    /// Cells of the file.
    pub from: u64,
    /// Cell and new position, sorted by cell. The cells `[7, 2, 9]` as columns 0, 1, 2 are `[(2, 1), (7, 0), (9, 2)]`.
    pub places: Vec<(u32, u32)>,
}

impl CellColumns {
    /// The cells `rows` of a file of `from` cells, in the order in which they become columns.
    pub fn new(from: u64, rows: &[u32]) -> CellColumns {
        let mut places: Vec<(u32, u32)> = rows.iter().copied().zip(0..).collect();
        places.sort_unstable();
        CellColumns { from, places }
    }

    /// The column that a cell becomes; `None` where it is in no column, and its non-zeros go.
    fn position(&self, cell: u64) -> Option<u64> {
        let cell = u32::try_from(cell).ok()?;
        let at = self.places.binary_search_by_key(&cell, |p| p.0).ok()?;
        Some(u64::from(self.places[at].1))
    }

    /// The cells by their new columns: `places` the other way round.
    fn in_order(&self) -> Vec<usize> {
        let mut cells = vec![0; self.places.len()];
        for &(cell, position) in &self.places {
            cells[position as usize] = cell as usize;
        }
        cells
    }
}
