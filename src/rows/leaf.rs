//! What lies on the obs axis, one array at a time: a [`Leaf`] is read by rows as a [`Block`], and blocks are appended
//! to a [`LeafWriter`].
//!
//! Each kind of array is read here and written in `writer`. A kind that cannot be read
//! by a range of rows in bounded memory does not belong here; CSC has its own way, in `csc`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::awkward::Awkward;
use super::block::Block;
use super::cost::RowCost;
use super::healed;
use super::sparse::Sparse;
use super::stacked::{Stacked, StackedKind};
use crate::dtype::ints;
use crate::store::spec::{Attrs, Field};
use crate::store::{Array, Buffer};

/// One array (or sparse matrix, or awkward array) whose rows are cells.
pub struct Leaf {
    /// Where it is written.
    pub path: String,
    pub attrs: Attrs,
    pub source: Source,
}

/// Where the rows of a leaf come from.
pub enum Source {
    /// Values of a fixed width.
    Fixed(Array),
    /// Codes of as many categories; -1 is missing.
    Codes(Array, u64),
    /// A mask of another type than bool, all 0 and 1.
    Mask(Array),
    Text(Array),
    /// One field of a compound dataset (frames before anndata 0.7).
    Field(Arc<Array>, Field),
    Sparse(Sparse),
    /// A matrix of cells by cells: rows are taken, then the same columns.
    SquareSparse(Sparse),
    SquareFixed(Array),
    Awkward(Awkward),
    /// The rows of several files.
    Stacked(Stacked),
}

/// Bytes of rows that are streamed at a time, of each of the outputs that are written together.
pub const BLOCK: u64 = 8 << 20;

impl Leaf {
    /// Cells, whatever kind of array it is.
    pub fn rows(&self) -> u64 {
        match &self.source {
            Source::Fixed(a)
            | Source::Codes(a, _)
            | Source::Mask(a)
            | Source::Text(a)
            | Source::SquareFixed(a) => a.spec().rows(),
            Source::Field(a, _) => a.spec().rows(),
            Source::Sparse(s) | Source::SquareSparse(s) => s.rows(),
            Source::Awkward(a) => a.rows(),
            Source::Stacked(s) => s.rows,
        }
    }

    /// What its rows cost. Text and awkward arrays are sampled at places all over them.
    pub fn cost(&self) -> Result<RowCost> {
        let fixed = |fixed| RowCost { fixed, element: 0 };
        Ok(match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::Mask(a) | Source::SquareFixed(a) => {
                fixed(a.spec().row_bytes())
            }
            Source::Field(_, field) => fixed(
                field
                    .items()
                    .saturating_mul(field.dtype.size().max(64) as u64),
            ),
            Source::Sparse(s) | Source::SquareSparse(s) => RowCost {
                fixed: 16,
                element: s.element_bytes(),
            },
            Source::Stacked(s) => s.cost(),
            Source::Text(_) | Source::Awkward(_) => {
                let sample = sample(self.rows());
                let rows: u64 = sample.iter().map(|range| range.end - range.start).sum();
                if rows == 0 {
                    return Ok(fixed(0));
                }
                // Twice what is kept, as it grows by doubling, and the references to it while it is read.
                fixed(2 * self.read(&sample)?.bytes().div_ceil(rows) + 32)
            }
        })
    }

    /// Whether it has elements to count.
    pub fn is_sparse(&self) -> bool {
        match &self.source {
            Source::Sparse(_) | Source::SquareSparse(_) => true,
            Source::Stacked(s) => matches!(s.kind, StackedKind::Sparse { .. }),
            _ => false,
        }
    }

    /// It, if it is a sparse matrix whose columns are no cells.
    pub fn matrix(&self) -> Option<&Sparse> {
        match &self.source {
            Source::Sparse(matrix) => Some(matrix),
            _ => None,
        }
    }

    /// Elements in the rows of `ranges`; 0 for what is not sparse.
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        match &self.source {
            Source::Sparse(s) | Source::SquareSparse(s) => s.count(ranges),
            Source::Stacked(s) => s.count(ranges),
            _ => Ok(0),
        }
    }

    /// Decodes what is stored in chunks once, into files in `scratch`, so that any row can be read by itself. `like` is an
    /// unpacked matrix that has the very same indices. Stacked rows are unpacked by
    /// [`unpacked`](super::writer::unpacked).
    pub fn unpack(&mut self, scratch: &Path, like: Option<&Leaf>) -> Result<()> {
        let unpack = |array: &mut Array| -> Result<()> {
            if array.chunk_bytes() > 1 {
                *array = array.unpacked(scratch)?;
            }
            Ok(())
        };
        match &mut self.source {
            Source::Fixed(array)
            | Source::Codes(array, _)
            | Source::Mask(array)
            | Source::SquareFixed(array) => unpack(array),
            Source::Sparse(s) | Source::SquareSparse(s) => {
                unpack(&mut s.data)?;
                match like.and_then(Leaf::matrix) {
                    Some(like) => s.indices = s.indices.unpacked_as(&like.indices)?,
                    None => unpack(&mut s.indices)?,
                }
                unpack(&mut s.indptr)
            }
            Source::Text(_) | Source::Field(..) | Source::Awkward(_) | Source::Stacked(_) => Ok(()),
        }
    }

    /// The arrays that it is read from, where it knows them.
    fn arrays(&self) -> Vec<&Array> {
        match &self.source {
            Source::Fixed(a)
            | Source::Codes(a, _)
            | Source::Mask(a)
            | Source::Text(a)
            | Source::SquareFixed(a) => {
                vec![a]
            }
            Source::Field(a, _) => vec![a],
            Source::Sparse(s) | Source::SquareSparse(s) => vec![&s.data, &s.indices, &s.indptr],
            Source::Awkward(_) | Source::Stacked(_) => vec![],
        }
    }

    /// Whether a part of it must be decoded to reach a row.
    pub fn is_chunked(&self) -> bool {
        let chunked = |array: &&Array| array.chunk_bytes() > 1;
        match &self.source {
            Source::Awkward(_) => true,
            Source::Stacked(s) => s.packed,
            _ => self.arrays().iter().any(chunked),
        }
    }

    /// Bytes of chunks that are kept from one read to the next, and that a read takes while it decodes.
    pub fn chunks_held(&self) -> (u64, u64) {
        if let Source::Stacked(s) = &self.source {
            return s.held;
        }
        let arrays = self.arrays();
        let kept = arrays.iter().map(|a| a.chunk_bytes()).sum();
        let decoding = arrays.iter().map(|a| a.decode_bytes()).max();
        (kept, decoding.unwrap_or(0))
    }

    /// Bytes that [`Leaf::unpack`] would write.
    pub fn unpacked_bytes(&self) -> u64 {
        let bytes = |array: &Array| match array.chunk_bytes() {
            0 | 1 => 0,
            _ => array.spec().row_bytes().saturating_mul(array.spec().rows()),
        };
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::Mask(a) | Source::SquareFixed(a) => {
                bytes(a)
            }
            Source::Sparse(s) | Source::SquareSparse(s) => {
                bytes(&s.data) + bytes(&s.indices) + bytes(&s.indptr)
            }
            Source::Stacked(s) if s.packed => s.bytes(),
            Source::Text(_) | Source::Field(..) | Source::Awkward(_) | Source::Stacked(_) => 0,
        }
    }

    /// Bytes that are read and appended for a byte of its rows, about: compressed ones are fewer in their file.
    pub fn moved_per_byte(&self) -> f64 {
        if self.unpacked_bytes() > 0 { 1.4 } else { 2.0 }
    }

    /// What its rows take in an HDF5 file without compression, at the least: of text, only the references to it.
    pub fn least_cost(&self) -> RowCost {
        /// Bytes of a reference to text in HDF5.
        const TEXT: u64 = 16;
        let fixed = |fixed| RowCost { fixed, element: 0 };
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) => fixed(a.spec().row_bytes()),
            Source::Mask(_) => fixed(1),
            Source::Text(a) => fixed(a.spec().row_items().saturating_mul(TEXT)),
            Source::Field(_, field) if field.dtype.is_string() => {
                fixed(field.items().saturating_mul(TEXT))
            }
            Source::Field(_, field) => fixed(field.bytes() as u64),
            Source::Sparse(s) => RowCost {
                fixed: s.indptr.spec().row_bytes(),
                element: s.element_bytes(),
            },
            Source::Stacked(s) => s.stored(),
            Source::SquareSparse(_) | Source::SquareFixed(_) | Source::Awkward(_) => fixed(0),
        }
    }

    /// How its values are read, for the log.
    pub fn storage(&self) -> String {
        match &self.source {
            Source::Fixed(a)
            | Source::Codes(a, _)
            | Source::Mask(a)
            | Source::Text(a)
            | Source::SquareFixed(a) => a.storage(),
            Source::Field(..) => "Library (a compound dataset)".into(),
            Source::Sparse(s) | Source::SquareSparse(s) => s.data.storage(),
            Source::Awkward(_) => "Awkward buffers".into(),
            Source::Stacked(_) => "The rows of several files".into(),
        }
    }

    /// The rows in `ranges` (sorted, disjoint).
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Block> {
        self.read_over(ranges, None)
    }

    /// As [`Leaf::read`], into the memory of a block that is no longer needed: fresh memory costs as much as reading.
    pub fn read_over(&self, ranges: &[Range<u64>], old: Option<Block>) -> Result<Block> {
        Ok(match &self.source {
            Source::Fixed(a) | Source::SquareFixed(a) => Block::Fixed {
                row: a.spec().row_bytes() as usize,
                bytes: a.read_over(ranges, old.map_or(Buffer::default(), Block::into_bytes))?,
            },
            Source::Codes(a, categories) => {
                let (mut bytes, dtype) = (a.read(ranges)?, &a.spec().dtype);
                let mut right = ints::are_codes(&bytes, dtype, *categories)?;
                if !right && ints::mark_missing(&mut bytes, dtype)? {
                    healed::codes(&a.path());
                    right = ints::are_codes(&bytes, dtype, *categories)?;
                }
                ensure!(
                    right,
                    "A code in '{}' is beyond its {categories} categories",
                    a.path()
                );
                Block::Fixed {
                    row: a.spec().row_bytes() as usize,
                    bytes: bytes.into(),
                }
            }
            Source::Mask(a) => {
                healed::mask(a);
                let bytes = ints::mask(a.read(ranges)?, &a.spec().dtype);
                Block::Fixed {
                    row: 1,
                    bytes: bytes
                        .with_context(|| format!("Read '{}'", a.path()))?
                        .into(),
                }
            }
            Source::Text(a) => Block::Text {
                width: a.spec().row_items() as usize,
                strings: a.read_strings(ranges)?,
            },
            Source::Field(a, field) => {
                if field.dtype.is_string() {
                    Block::Text {
                        width: field.items() as usize,
                        strings: a.read_field_strings(field, ranges)?,
                    }
                } else {
                    Block::Fixed {
                        row: field.bytes(),
                        bytes: a.read_field(field, ranges)?.into(),
                    }
                }
            }
            Source::Sparse(s) | Source::SquareSparse(s) => {
                let old = match old {
                    Some(Block::Sparse(b)) => (b.indices.into_buffer(), b.data),
                    _ => Default::default(),
                };
                Block::Sparse(s.read_over(ranges, old)?)
            }
            Source::Awkward(a) => Block::Awkward(a.read(ranges)?),
            Source::Stacked(s) => (s.read)(ranges)?,
        })
    }

    /// Elements of a row in the mean; 0 for what is not sparse.
    pub fn mean_elements(&self) -> f64 {
        match &self.source {
            Source::Sparse(s) | Source::SquareSparse(s) => s.nnz() as f64 / s.rows().max(1) as f64,
            Source::Stacked(s) => s.mean_elements(),
            _ => 0.0,
        }
    }

    /// Ranges of `rows` that take about [`BLOCK`] bytes each, by what a row costs in the mean.
    pub fn blocks(&self, rows: Range<u64>, cost: RowCost) -> impl Iterator<Item = Range<u64>> {
        let mean = self.mean_elements() as u64 + 1;
        let step = (BLOCK / (cost.fixed + cost.element * mean).max(1)).max(1);
        let starts = rows
            .clone()
            .step_by(usize::try_from(step).unwrap_or(usize::MAX));
        starts.map(move |s| s..s.saturating_add(step).min(rows.end))
    }

    /// Whether its columns are cells too.
    pub fn is_square(&self) -> bool {
        matches!(
            self.source,
            Source::SquareSparse(_) | Source::SquareFixed(_)
        )
    }
}

/// Some of so many rows: a few at each of some places, or all of a few.
fn sample(rows: u64) -> Vec<Range<u64>> {
    const PLACES: u64 = 16;
    const EACH: u64 = 16;
    let step = rows / PLACES;
    if step > EACH {
        let starts = (0..PLACES).map(|place| place * step);
        return starts.map(|start| start..start + EACH).collect();
    }
    (rows > 0).then_some(0..rows).into_iter().collect()
}

/// An error unless `found` rows are as many as there are cells.
pub fn check_rows(path: &str, found: u64, cells: u64) -> Result<()> {
    ensure!(
        found == cells,
        "'{path}' has {found} rows, but obs has {cells}"
    );
    Ok(())
}
