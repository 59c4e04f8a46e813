//! What lies on the obs axis, one array at a time: a [`Leaf`] is read by rows as a [`Block`], and blocks are appended
//! to a [`LeafWriter`].

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use super::awkward::{Awkward, AwkwardBlock, AwkwardWriter};
use super::csr::CsrBlock;
use super::ints;
use super::matrix::{Count, Sparse, SparseWriter};
use crate::store::spec::{ArraySpec, Attrs, Dtype, Field, Strings};
use crate::store::{Appender, Array, Buffer, Group, Rows, read_ahead};

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
    Text(Array),
    /// One field of a compound dataset (frames before anndata 0.7).
    Field(Arc<Array>, Field),
    Sparse(Sparse),
    /// A matrix of cells by cells: rows are taken, then the same columns.
    SquareSparse(Sparse),
    SquareFixed(Array),
    Awkward(Awkward),
}

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

/// Bytes of rows that are streamed at a time, of each of the outputs that are written together.
const BLOCK: u64 = 8 << 20;

/// What a row of a leaf costs in memory: so many bytes each, and so many for each element of a sparse row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowCost {
    pub fixed: u64,
    pub element: u64,
}

impl Leaf {
    pub fn rows(&self) -> u64 {
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::Text(a) | Source::SquareFixed(a) => {
                a.spec().rows()
            }
            Source::Field(a, _) => a.spec().rows(),
            Source::Sparse(s) | Source::SquareSparse(s) => s.rows(),
            Source::Awkward(a) => a.rows(),
        }
    }

    /// What its rows cost. Text and awkward arrays are sampled at their beginning.
    pub fn cost(&self) -> Result<RowCost> {
        let fixed = |fixed| RowCost { fixed, element: 0 };
        Ok(match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::SquareFixed(a) => {
                fixed(a.spec().row_bytes())
            }
            Source::Field(_, field) => {
                fixed(field_items(field) * field.dtype.size().max(64) as u64)
            }
            Source::Sparse(s) | Source::SquareSparse(s) => RowCost {
                fixed: 16,
                element: s.element_bytes(),
            },
            Source::Text(_) | Source::Awkward(_) => {
                let sample = self.rows().min(256);
                if sample == 0 {
                    return Ok(fixed(0));
                }
                let bytes = self.read(std::slice::from_ref(&(0..sample)))?.bytes();
                fixed(bytes.div_ceil(sample) * 3 / 2 + 16)
            }
        })
    }

    /// Whether it has elements to count.
    pub fn is_sparse(&self) -> bool {
        matches!(self.source, Source::Sparse(_) | Source::SquareSparse(_))
    }

    /// Elements in the rows of `ranges`; 0 for what is not sparse.
    pub fn count(&self, ranges: &[Range<u64>]) -> Result<u64> {
        match &self.source {
            Source::Sparse(s) | Source::SquareSparse(s) => s.count(ranges),
            _ => Ok(0),
        }
    }

    /// Decodes what is stored in chunks once, into files in `scratch`, so that any row can be read by itself.
    pub fn unpack(&mut self, scratch: &Path) -> Result<()> {
        let unpack = |array: &mut Array| -> Result<()> {
            if array.chunk_bytes() > 1 {
                *array = array.unpacked(scratch)?;
            }
            Ok(())
        };
        match &mut self.source {
            Source::Fixed(array) | Source::Codes(array, _) | Source::SquareFixed(array) => {
                unpack(array)
            }
            Source::Sparse(s) | Source::SquareSparse(s) => {
                unpack(&mut s.data)?;
                unpack(&mut s.indices)?;
                unpack(&mut s.indptr)
            }
            Source::Text(_) | Source::Field(..) | Source::Awkward(_) => Ok(()),
        }
    }

    /// The arrays that it is read from, but for awkward ones.
    fn arrays(&self) -> Vec<&Array> {
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::Text(a) | Source::SquareFixed(a) => {
                vec![a]
            }
            Source::Field(a, _) => vec![a],
            Source::Sparse(s) | Source::SquareSparse(s) => vec![&s.data, &s.indices, &s.indptr],
            Source::Awkward(_) => vec![],
        }
    }

    /// Whether a part of it must be decoded to reach a row.
    pub fn is_chunked(&self) -> bool {
        let chunked = |array: &&Array| array.chunk_bytes() > 1;
        matches!(self.source, Source::Awkward(_)) || self.arrays().iter().any(chunked)
    }

    /// Bytes of chunks that are kept from one read to the next, and that a read takes while it decodes.
    pub fn chunks_held(&self) -> (u64, u64) {
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
            Source::Fixed(a) | Source::Codes(a, _) | Source::SquareFixed(a) => bytes(a),
            Source::Sparse(s) | Source::SquareSparse(s) => {
                bytes(&s.data) + bytes(&s.indices) + bytes(&s.indptr)
            }
            Source::Text(_) | Source::Field(..) | Source::Awkward(_) => 0,
        }
    }

    /// What its rows take in an HDF5 file without compression, at the least: of text, only the references to it.
    pub fn least_cost(&self) -> RowCost {
        /// Bytes of a reference to text in HDF5.
        const TEXT: u64 = 16;
        let fixed = |fixed| RowCost { fixed, element: 0 };
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) => fixed(a.spec().row_bytes()),
            Source::Text(a) => fixed(a.spec().row_items() * TEXT),
            Source::Field(_, field) if field.dtype.is_string() => fixed(field_items(field) * TEXT),
            Source::Field(_, field) => fixed(field_items(field) * field.dtype.size() as u64),
            Source::Sparse(s) => RowCost {
                fixed: s.indptr.spec().row_bytes(),
                element: s.element_bytes(),
            },
            Source::SquareSparse(_) | Source::SquareFixed(_) | Source::Awkward(_) => fixed(0),
        }
    }

    /// How its values are read, for the log.
    pub fn storage(&self) -> String {
        match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) | Source::Text(a) | Source::SquareFixed(a) => {
                a.storage()
            }
            Source::Field(..) => "Library (a compound dataset)".into(),
            Source::Sparse(s) | Source::SquareSparse(s) => s.data.storage(),
            Source::Awkward(_) => "Awkward buffers".into(),
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
                let bytes = a.read(ranges)?;
                ensure!(
                    ints::are_codes(&bytes, &a.spec().dtype, *categories)?,
                    "A code in '{}' is beyond its {categories} categories",
                    a.path()
                );
                Block::Fixed {
                    row: a.spec().row_bytes() as usize,
                    bytes: bytes.into(),
                }
            }
            Source::Text(a) => Block::Text {
                width: a.spec().row_items() as usize,
                strings: a.read_strings(ranges)?,
            },
            Source::Field(a, field) => match field.dtype.is_string() {
                true => Block::Text {
                    width: field_items(field) as usize,
                    strings: a.read_field_strings(field, ranges)?,
                },
                false => Block::Fixed {
                    row: field_items(field) as usize * field.dtype.size(),
                    bytes: a.read_field(field, ranges)?.into(),
                },
            },
            Source::Sparse(s) | Source::SquareSparse(s) => {
                let old = match old {
                    Some(Block::Sparse(b)) => (b.indices, b.data),
                    _ => Default::default(),
                };
                Block::Sparse(s.read_over(ranges, old)?)
            }
            Source::Awkward(a) => Block::Awkward(a.read(ranges)?),
        })
    }

    /// Elements of a row in the mean; 0 for what is not sparse.
    pub fn mean_elements(&self) -> f64 {
        match &self.source {
            Source::Sparse(s) | Source::SquareSparse(s) => s.nnz() as f64 / s.rows().max(1) as f64,
            _ => 0.0,
        }
    }

    /// Ranges of `rows` that take about [`BLOCK`] bytes each, by what a row costs in the mean.
    fn blocks(&self, rows: Range<u64>, cost: RowCost) -> impl Iterator<Item = Range<u64>> {
        let mean = self.mean_elements() as u64 + 1;
        let step = (BLOCK / (cost.fixed + cost.element * mean).max(1)).max(1);
        let starts = rows
            .clone()
            .step_by(usize::try_from(step).unwrap_or(usize::MAX));
        starts.map(move |s| s..s.saturating_add(step).min(rows.end))
    }

    /// Creates the leaf in a new file, for `rows` rows that hold `nnz` elements (looked at where it is sparse).
    pub fn create(&self, root: &Group, rows: u64, nnz: u64) -> Result<LeafWriter> {
        let array = |shape: &[u64], dtype: &Dtype| {
            let mut shape = shape.to_vec();
            if let Some(first) = shape.first_mut() {
                *first = rows;
            }
            let spec = ArraySpec::new(shape, dtype.clone());
            root.create_array(&self.path, &spec, Rows::Known, &self.attrs)
        };
        Ok(match &self.source {
            Source::Fixed(a) | Source::Codes(a, _) => {
                LeafWriter::Array(array(&a.spec().shape, &a.spec().dtype)?)
            }
            Source::Text(a) => LeafWriter::Array(array(&a.spec().shape, &Dtype::String)?),
            Source::Field(_, field) => {
                let mut shape = vec![rows];
                shape.extend(&field.shape);
                let dtype = match field.dtype.is_string() {
                    true => Dtype::String,
                    false => field.dtype.clone(),
                };
                LeafWriter::Array(array(&shape, &dtype)?)
            }
            Source::SquareFixed(a) => LeafWriter::Array(array(&[rows, rows], &a.spec().dtype)?),
            Source::Sparse(s) => {
                let spec = s.like([rows, s.shape[1]]);
                let count = Count::Exactly(nnz);
                LeafWriter::Sparse(SparseWriter::create(root, &self.path, &spec, count)?)
            }
            Source::SquareSparse(s) => {
                let count = Count::AtMost(s.nnz());
                LeafWriter::Sparse(SparseWriter::create(
                    root,
                    &self.path,
                    &s.like([rows, rows]),
                    count,
                )?)
            }
            Source::Awkward(a) => LeafWriter::Awkward(a.create(root, &self.path, rows)?),
        })
    }

    /// Whether its columns are cells too.
    pub fn is_square(&self) -> bool {
        matches!(
            self.source,
            Source::SquareSparse(_) | Source::SquareFixed(_)
        )
    }
}

fn field_items(field: &Field) -> u64 {
    field.shape.iter().product()
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

    fn into_bytes(self) -> Buffer {
        match self {
            Block::Fixed { bytes, .. } => bytes,
            _ => Buffer::default(),
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Block::Fixed { row, bytes } => bytes.len() / (*row).max(1),
            Block::Text { width, strings } => strings.len() / (*width).max(1),
            Block::Sparse(b) => b.rows(),
            Block::Awkward(b) => b.rows(),
        }
    }

    /// Elements in the rows at `picks`; 0 for what is not sparse.
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
    pub fn columns(self, columns: &Columns) -> Result<Block> {
        match self {
            Block::Fixed { row, bytes } => {
                let item = row / columns.from.max(1) as usize;
                let old: Vec<u32> = columns.in_order();
                let mut picked = vec![0; bytes.len() / row.max(1) * old.len() * item];
                picked
                    .par_chunks_mut((old.len() * item).max(1))
                    .zip(bytes.par_chunks(row.max(1)))
                    .for_each(|(to, from)| {
                        for (out, &column) in to.chunks_exact_mut(item).zip(&old) {
                            out.copy_from_slice(&from[column as usize * item..][..item]);
                        }
                    });
                Ok(Block::Fixed {
                    row: old.len() * item,
                    bytes: picked.into(),
                })
            }
            Block::Sparse(b) => {
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
            .with_min_len((1 << 16) / row.min(1 << 16))
            .for_each(|(to, &from)| to.copy_from_slice(&bytes[from as usize * row..][..row]));
    }
    picked
}

/// Gives the bytes in `range` of the rows at `picks`, each of `row` bytes.
fn fill_rows(from: &[u8], row: u64, picks: &[u32], range: Range<u64>, out: &mut [u8]) {
    let (mut at, mut done) = (range.start, 0);
    while at < range.end {
        let within = at % row;
        let start = (u64::from(picks[(at / row) as usize]) * row + within) as usize;
        let len = (row - within).min(range.end - at);
        out[done..done + len as usize].copy_from_slice(&from[start..start + len as usize]);
        (at, done) = (at + len, done + len as usize);
    }
}

/// Which cells of a file are the columns of a new one, and where.
pub struct Columns {
    /// Cells of the file.
    pub from: u64,
    /// Cell and new position, sorted by cell.
    pub places: Vec<(u32, u32)>,
}

impl Columns {
    pub fn new(from: u64, rows: &[u32]) -> Columns {
        let mut places: Vec<(u32, u32)> = rows.iter().copied().zip(0..).collect();
        places.sort_unstable();
        Columns { from, places }
    }

    fn position(&self, cell: u64) -> Option<u64> {
        let cell = u32::try_from(cell).ok()?;
        let at = self.places.binary_search_by_key(&cell, |p| p.0).ok()?;
        Some(u64::from(self.places[at].1))
    }

    fn in_order(&self) -> Vec<u32> {
        let mut cells = vec![0; self.places.len()];
        for &(cell, position) in &self.places {
            cells[position as usize] = cell;
        }
        cells
    }
}

/// A leaf that is being written.
pub enum LeafWriter {
    Array(Appender),
    Sparse(SparseWriter),
    Awkward(AwkwardWriter),
}

impl LeafWriter {
    pub fn append(&mut self, block: &Block) -> Result<()> {
        match (self, block) {
            (LeafWriter::Array(a), Block::Fixed { bytes, .. }) => a.append(bytes),
            (LeafWriter::Array(a), Block::Text { strings, .. }) => a.append_strings(strings),
            (LeafWriter::Sparse(s), Block::Sparse(block)) => s.append(block),
            (LeafWriter::Awkward(a), Block::Awkward(block)) => a.append(block),
            _ => bail!("A block of another kind than its array"),
        }
    }

    /// Appends the rows at `picks` of a block, of a matrix of cells by cells only `columns`.
    pub fn append_picked(
        &mut self,
        block: &Block,
        picks: &[u32],
        columns: Option<&Columns>,
    ) -> Result<()> {
        match (&mut *self, block, columns) {
            (LeafWriter::Array(to), Block::Fixed { row, bytes }, None) => {
                let row = *row as u64;
                let fill =
                    |range: Range<u64>, out: &mut [u8]| fill_rows(bytes, row, picks, range, out);
                to.append_filled(picks.len() as u64, &fill)
            }
            (LeafWriter::Sparse(to), Block::Sparse(block), None) => to.append_picked(block, picks),
            _ => {
                let row = block.bytes() / (block.rows() as u64).max(1);
                let step = (BLOCK / row.max(1)).max(1) as usize;
                picks.chunks(step).try_for_each(|picks| match columns {
                    Some(columns) => self.append(&block.pick(picks).columns(columns)?),
                    None => self.append(&block.pick(picks)),
                })
            }
        }
    }

    /// Appends rows as they stand in the file, in a fixed amount of memory; `cost` is what [`Leaf::cost`] gives.
    pub fn append_from(
        &mut self,
        leaf: &Leaf,
        rows: Range<u64>,
        columns: Option<&Columns>,
        cost: RowCost,
    ) -> Result<()> {
        match (&mut *self, &leaf.source) {
            (LeafWriter::Array(to), Source::Fixed(from)) => to.append_from(from, rows, None),
            (LeafWriter::Sparse(to), Source::Sparse(from)) => to.append_from(from, rows),
            _ => {
                let read = |rows, old| leaf.read_over(std::slice::from_ref(&rows), old);
                read_ahead(leaf.blocks(rows, cost), read, |block| {
                    let block = match columns {
                        Some(columns) => block.columns(columns)?,
                        None => block,
                    };
                    self.append(&block)?;
                    Ok(block)
                })
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        match self {
            LeafWriter::Array(a) => a.finish().map(drop),
            LeafWriter::Sparse(s) => s.finish().map(drop),
            LeafWriter::Awkward(a) => a.finish(),
        }
    }
}

/// An error unless `found` rows are as many as there are cells.
pub fn check_rows(path: &str, found: u64, cells: u64) -> Result<()> {
    ensure!(
        found == cells,
        "'{path}' has {found} rows, but obs has {cells}"
    );
    Ok(())
}
