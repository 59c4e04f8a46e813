//! What lies on the obs axis, one array at a time: a [`Leaf`] is read by rows as a [`Block`], and blocks are appended
//! to a [`LeafWriter`].
//!
//! Each kind of array is read here, by rows in bounded memory, and written in `writer`; CSC has its own way, in `csc`.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::awkward::Awkward;
use super::block::Block;
use super::cost::RowCost;
use super::healed;
use super::records::TextRecords;
use super::sparse::Sparse;
use super::stacked::{Stacked, StackedKind};
use crate::dtype::ints;
use crate::store::spec::Attrs;
use crate::store::{Array, Buffer};

/// One array (or sparse matrix, or awkward array) whose rows are cells.
pub struct Leaf {
    /// Where it is written.
    pub path: String,
    /// Those of its array. Sparse and awkward arrays carry their own, and leave these empty.
    pub attrs: Attrs,
    pub kind: LeafKind,
}

/// The categories that codes stand for. With `missing` 1, codes `[0, 2, 1, -1]` become `[0, 1, -1, -1]`.
#[derive(Clone, Copy)]
pub struct Levels {
    /// How many there are.
    pub count: u64,
    /// The one that is a missing value: its cells are written as missing, and codes after it are less by one.
    pub missing: Option<u64>,
}

/// Where the rows of a leaf come from.
pub enum LeafKind {
    /// Values of a fixed width.
    Fixed(Array),
    /// Codes of these categories; -1 is missing.
    Codes(Array, Levels),
    /// A mask of another type than bool, all 0 and 1.
    Mask(Array),
    /// Text of any length, or padded to a fixed one; it is written as text of any length.
    Text(Array),
    /// Records with text of any length.
    Records(TextRecords),
    Sparse(Sparse),
    /// A matrix of cells by cells: rows are taken, then the same columns.
    SquareSparse(Sparse),
    /// The same of a dense one.
    SquareFixed(Array),
    Awkward(Awkward),
    /// The rows of several files.
    Stacked(Stacked),
}

impl LeafKind {
    /// Values as an array has them, text or not.
    pub fn of_array(array: Array) -> LeafKind {
        if array.spec().dtype.is_string() {
            LeafKind::Text(array)
        } else {
            LeafKind::Fixed(array)
        }
    }
}

/// Bytes of rows that are streamed at a time, of each of the outputs that are written together.
pub const BLOCK: u64 = 8 << 20;

impl Leaf {
    /// Cells, whatever kind of array it is.
    pub fn rows(&self) -> u64 {
        match &self.kind {
            LeafKind::Fixed(a)
            | LeafKind::Codes(a, _)
            | LeafKind::Mask(a)
            | LeafKind::Text(a)
            | LeafKind::SquareFixed(a) => a.spec().rows(),
            LeafKind::Records(r) => r.rows(),
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => s.rows(),
            LeafKind::Awkward(a) => a.rows(),
            LeafKind::Stacked(s) => s.rows,
        }
    }

    /// What its rows cost. Text and awkward arrays are sampled at places all over them.
    pub fn cost(&self) -> Result<RowCost> {
        let fixed = |fixed| RowCost { fixed, nonzero: 0 };
        Ok(match &self.kind {
            LeafKind::Fixed(a)
            | LeafKind::Codes(a, _)
            | LeafKind::Mask(a)
            | LeafKind::SquareFixed(a) => fixed(a.spec().row_bytes()),
            // As they are written, each text of theirs is held twice.
            LeafKind::Records(r) => fixed(r.row_bytes().saturating_mul(3)),
            // Where a row begins: 8 bytes as they are read from indptr, 8 in the block.
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => RowCost {
                fixed: 16,
                nonzero: s.nonzero_bytes(),
            },
            LeafKind::Stacked(s) => s.cost(),
            LeafKind::Text(_) | LeafKind::Awkward(_) => {
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

    /// Whether it has non-zeros to count.
    pub fn is_sparse(&self) -> bool {
        match &self.kind {
            LeafKind::Sparse(_) | LeafKind::SquareSparse(_) => true,
            LeafKind::Stacked(s) => matches!(s.kind, StackedKind::Sparse { .. }),
            _ => false,
        }
    }

    /// It, if it is a sparse matrix whose columns are no cells.
    pub fn matrix(&self) -> Option<&Sparse> {
        match &self.kind {
            LeafKind::Sparse(matrix) => Some(matrix),
            // The rows may come from buckets: this is the input that they were scattered from.
            LeafKind::Stacked(stacked) => stacked.origin.as_deref(),
            _ => None,
        }
    }

    /// Non-zeros of all rows; 0 for what is not sparse.
    pub fn nnz(&self) -> u64 {
        match &self.kind {
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => s.nnz(),
            LeafKind::Stacked(s) => s.nnz(),
            _ => 0,
        }
    }

    /// Non-zeros in the rows of `ranges`; 0 for what is not sparse.
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        match &self.kind {
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => s.count(ranges),
            LeafKind::Stacked(s) => s.count(ranges),
            _ => Ok(0),
        }
    }

    /// Decodes what is stored in chunks once, into files in `scratch`, so that any row can be read by itself. `like` is
    /// an unpacked matrix that has the very same indices. Stacked rows are unpacked by `extract/unpack.rs`.
    pub fn unpack(&mut self, scratch: &Path, like: Option<&Leaf>) -> Result<()> {
        let unpack = |array: &mut Array| -> Result<()> {
            // 1 says that any row is read from its place.
            if array.chunk_bytes() > 1 {
                *array = array.unpacked(scratch)?;
            }
            Ok(())
        };
        match &mut self.kind {
            LeafKind::Fixed(array)
            | LeafKind::Codes(array, _)
            | LeafKind::Mask(array)
            | LeafKind::SquareFixed(array) => unpack(array),
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => {
                unpack(&mut s.data)?;
                match like.and_then(Leaf::matrix) {
                    Some(like) => s.indices = s.indices.unpacked_as(&like.indices)?,
                    None => unpack(&mut s.indices)?,
                }
                unpack(&mut s.indptr)
            }
            LeafKind::Text(_)
            | LeafKind::Records(_)
            | LeafKind::Awkward(_)
            | LeafKind::Stacked(_) => Ok(()),
        }
    }

    /// The arrays that it is read from, where it knows them.
    fn arrays(&self) -> Vec<&Array> {
        match &self.kind {
            LeafKind::Fixed(a)
            | LeafKind::Codes(a, _)
            | LeafKind::Mask(a)
            | LeafKind::Text(a)
            | LeafKind::SquareFixed(a) => {
                vec![a]
            }
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => vec![&s.data, &s.indices, &s.indptr],
            LeafKind::Records(_) | LeafKind::Awkward(_) | LeafKind::Stacked(_) => vec![],
        }
    }

    /// Whether a part of it must be decoded to reach a row.
    pub fn is_chunked(&self) -> bool {
        let chunked = |array: &&Array| array.chunk_bytes() > 1;
        match &self.kind {
            // Its buffers are not asked: to follow offsets may decode any of them.
            LeafKind::Awkward(_) => true,
            LeafKind::Stacked(s) => s.packed,
            _ => self.arrays().iter().any(chunked),
        }
    }

    /// Bytes of chunks that are kept from one read to the next, and that a read takes while it decodes. Of records and
    /// awkward arrays nothing is known, and both are 0.
    pub fn chunks_held(&self) -> (u64, u64) {
        if let LeafKind::Stacked(s) = &self.kind {
            return s.held;
        }
        let arrays = self.arrays();
        let kept = arrays.iter().map(|a| a.chunk_bytes()).sum();
        let decoding = arrays.iter().map(|a| a.decode_bytes()).max();
        (kept, decoding.unwrap_or(0))
    }

    /// Bytes that [`Leaf::unpack`] would write. 0 for what is not unpacked: rows that lie in their places, text and
    /// awkward arrays.
    pub fn unpacked_bytes(&self) -> u64 {
        let bytes = |array: &Array| match array.chunk_bytes() {
            0 | 1 => 0,
            _ => array.spec().row_bytes().saturating_mul(array.spec().rows()),
        };
        match &self.kind {
            LeafKind::Fixed(a)
            | LeafKind::Codes(a, _)
            | LeafKind::Mask(a)
            | LeafKind::SquareFixed(a) => bytes(a),
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => {
                bytes(&s.data) + bytes(&s.indices) + bytes(&s.indptr)
            }
            LeafKind::Stacked(s) if s.packed => s.bytes(),
            LeafKind::Text(_)
            | LeafKind::Records(_)
            | LeafKind::Awkward(_)
            | LeafKind::Stacked(_) => 0,
        }
    }

    /// Whether it is a column whose rows are so small that a wave would read its neighbours with each: see
    /// [`by_wave`](super::by_wave).
    pub fn is_narrow(&self) -> bool {
        /// Bytes of a row.
        const NARROW: u64 = 256;
        match &self.kind {
            LeafKind::Text(_) => true,
            LeafKind::Fixed(a) | LeafKind::Codes(a, _) | LeafKind::Mask(a) => {
                a.spec().row_bytes() <= NARROW
            }
            _ => false,
        }
    }

    /// Whether its rows lie as they come, so that large reads are few: see [`buckets`](super::buckets).
    pub fn is_scattered(&self) -> bool {
        matches!(&self.kind, LeafKind::Stacked(stacked) if stacked.scattered)
    }

    /// Bytes of scratch for each of its rows that a wave takes, about, where it is put down by wave.
    pub fn by_wave_bytes(&self, cost: RowCost) -> u64 {
        match &self.kind {
            LeafKind::Text(_) => cost.fixed / 2, // see `cost`
            _ => cost.fixed,
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
        let fixed = |fixed| RowCost { fixed, nonzero: 0 };
        match &self.kind {
            LeafKind::Fixed(a) | LeafKind::Codes(a, _) => fixed(a.spec().row_bytes()),
            LeafKind::Mask(_) => fixed(1),
            LeafKind::Text(a) => fixed(a.spec().row_items().saturating_mul(TEXT)),
            LeafKind::Sparse(s) => RowCost {
                fixed: s.indptr.spec().row_bytes(),
                nonzero: s.nonzero_bytes(),
            },
            LeafKind::Stacked(s) => s.least(),
            LeafKind::SquareSparse(_)
            | LeafKind::SquareFixed(_)
            | LeafKind::Records(_)
            | LeafKind::Awkward(_) => fixed(0),
        }
    }

    /// How its values are read, for the log.
    pub fn storage(&self) -> String {
        match &self.kind {
            LeafKind::Fixed(a)
            | LeafKind::Codes(a, _)
            | LeafKind::Mask(a)
            | LeafKind::Text(a)
            | LeafKind::SquareFixed(a) => a.storage(),
            LeafKind::Records(_) => "Library (a compound dataset)".into(),
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => s.data.storage(),
            LeafKind::Awkward(_) => "Awkward buffers".into(),
            LeafKind::Stacked(_) => "The rows of several files".into(),
        }
    }

    /// The rows in `ranges` (sorted, disjoint).
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Block> {
        self.read_over(ranges, None)
    }

    /// As [`Leaf::read`], into the memory of a block that is no longer needed: fresh memory costs as much as reading.
    pub fn read_over(&self, ranges: &[Range<u64>], old: Option<Block>) -> Result<Block> {
        Ok(match &self.kind {
            LeafKind::Fixed(a) | LeafKind::SquareFixed(a) => Block::Fixed {
                row: a.spec().row_bytes() as usize,
                bytes: a.read_over(ranges, old.map_or(Buffer::default(), Block::into_bytes))?,
            },
            LeafKind::Codes(a, levels) => Block::Fixed {
                row: a.spec().row_bytes() as usize,
                bytes: codes(a, *levels, ranges)?.into(),
            },
            LeafKind::Mask(a) => {
                healed::mask(a);
                let bytes = ints::mask(a.read(ranges)?, &a.spec().dtype);
                Block::Fixed {
                    row: a.spec().row_items() as usize,
                    bytes: bytes
                        .with_context(|| format!("Read '{}'", a.path()))?
                        .into(),
                }
            }
            LeafKind::Text(a) => Block::Text {
                width: a.spec().row_items() as usize,
                strings: a.read_strings(ranges)?,
            },
            LeafKind::Records(r) => Block::Fixed {
                row: r.row_bytes() as usize,
                bytes: r.read(ranges)?.into(),
            },
            LeafKind::Sparse(s) | LeafKind::SquareSparse(s) => {
                let old = match old {
                    Some(Block::Sparse(b)) => (b.indices.into_buffer(), b.data),
                    _ => Default::default(),
                };
                Block::Sparse(s.read_over(ranges, old)?)
            }
            LeafKind::Awkward(a) => Block::Awkward(a.read(ranges)?),
            LeafKind::Stacked(s) => s.read(ranges)?,
        })
    }

    /// Non-zeros of a row in the mean; 0 for what is not sparse.
    pub fn mean_nnz(&self) -> f64 {
        self.nnz() as f64 / self.rows().max(1) as f64
    }

    /// Ranges of `rows` that take about [`BLOCK`] bytes each, by what a row costs in the mean.
    pub fn blocks(&self, rows: Range<u64>, cost: RowCost) -> impl Iterator<Item = Range<u64>> {
        let mean = self.mean_nnz() as u64 + 1;
        let step = (BLOCK / (cost.fixed + cost.nonzero * mean).max(1)).max(1);
        let step_by = usize::try_from(step).unwrap_or(usize::MAX);
        let starts = rows.clone().step_by(step_by);
        starts.map(move |s| s..s.saturating_add(step).min(rows.end))
    }

    /// Whether its rows are in several files.
    pub fn is_stacked(&self) -> bool {
        matches!(self.kind, LeafKind::Stacked(_))
    }

    /// Whether its columns are cells too.
    pub fn is_square(&self) -> bool {
        matches!(
            self.kind,
            LeafKind::SquareSparse(_) | LeafKind::SquareFixed(_)
        )
    }
}

/// Codes as they are written.
fn codes(array: &Array, levels: Levels, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
    // Nearly all files have right codes; what R stores as missing is looked for only where they are not.
    let (mut bytes, dtype) = (array.read(ranges)?, &array.spec().dtype);
    let mut right = ints::are_codes(&bytes, dtype, levels.count)?;
    if !right && ints::mark_missing(&mut bytes, dtype)? {
        healed::codes(&array.path());
        right = ints::are_codes(&bytes, dtype, levels.count)?;
    }
    ensure!(
        right,
        "A code in '{}' is beyond its {} categories",
        array.path(),
        levels.count
    );
    let Some(missing) = levels.missing else {
        return Ok(bytes);
    };
    // Codes have a sign here: only then a category is looked for that is a missing value.
    let codes = ints::read(&bytes, dtype)?;
    let is_none = |code: &u64| *code == u64::MAX || *code == missing;
    let kept = codes.iter().map(|code| match code {
        // -1 is u64::MAX here, which does not fit: 0 holds its place until its bytes are set below.
        none if is_none(none) => 0,
        code => code - u64::from(*code > missing),
    });
    let mut bytes = ints::write(&kept.collect::<Vec<_>>(), dtype)?;
    let stored = bytes.chunks_exact_mut(dtype.size()).zip(&codes);
    stored
        .filter(|(_, code)| is_none(code))
        .for_each(|(code, _)| code.fill(0xff));
    Ok(bytes)
}

/// Some of so many rows: a few at each of some places, or all of a few. Of 1000 rows `[0..16, 62..78, .., 930..946]`:
/// one place alone would say little of a file that is sorted.
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
