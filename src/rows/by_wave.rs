//! Columns that are put into scratch by wave. Where rows are small, to read every n-th one is to read all of them, and
//! text lies scattered besides: so each such column is read once, and its rows are put down with those of their wave.
//!
//! The cells of all waves ([`WaveCells`]) wait in scratch too, since they are as many as the order has. A column is
//! read block by block, in the order of the file; the rows of a block that one wave takes are one piece of its own in
//! the scratch file. Rows of a fixed width follow one another in a piece; texts have their lengths before them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use anyhow::{Context, Result, bail, ensure};

use super::block::Block;
use super::leaf::Leaf;
use super::ranges::steps;
use crate::store::spec::Strings;
use crate::store::{Spill, read_ahead};

/// Bytes of a cell, and of the length of a text, in scratch.
const WORD: u64 = size_of::<u32>() as u64;

/// The cells of each wave, in the order of the file.
pub struct WaveCells {
    /// Cells before each wave, and of all.
    /// As many as waves and one more: `[0, 3, 5]` for waves of 3 and 2 cells.
    starts: Vec<u64>,
    spill: Spill,
}

impl WaveCells {
    /// Room for `places` cells.
    pub fn new(places: u64, folder: impl FnOnce() -> Result<PathBuf>) -> Result<WaveCells> {
        /// Bytes that stay in memory.
        const MOST: u64 = 1 << 20;
        Ok(WaveCells {
            starts: vec![0],
            spill: Spill::of(WORD.saturating_mul(places), MOST, folder)?,
        })
    }

    /// Bytes of so many cells.
    pub fn bytes(places: u64) -> u64 {
        WORD.saturating_mul(places)
    }

    /// Adds a wave of the rows in `ranges` (sorted, disjoint).
    pub fn push(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        let cells = ranges.iter().cloned().flatten();
        let bytes: Vec<u8> = cells.flat_map(|cell| (cell as u32).to_le_bytes()).collect();
        let start = self.starts[self.starts.len() - 1];
        self.spill.write(&bytes, WORD * start)?;
        self.starts.push(start + bytes.len() as u64 / WORD);
        Ok(())
    }

    fn waves(&self) -> usize {
        self.starts.len() - 1
    }

    /// The cells of `wave` before `end`, from place `next` on, which moves behind them. `step` are looked at together.
    fn before(&self, end: u64, wave: usize, next: &mut u64, step: u64) -> Result<Vec<u64>> {
        let (mut cells, last) = (vec![], self.starts[wave + 1]);
        while *next < last {
            let some = step.min(last - *next);
            let bytes = self.spill.read(WORD * some, WORD * *next)?;
            let read = words(&bytes);
            let before = cells.len();
            // The cells of a wave are sorted, so those before `end` come first; the others are read again for a later
            // block.
            cells.extend(read.take_while(|cell| *cell < end));
            let taken = (cells.len() - before) as u64;
            *next += taken;
            if taken < some {
                break;
            }
        }
        Ok(cells)
    }
}

/// Numbers of 4 bytes, the least significant first.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks();
    words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)))
}

/// One column, wave by wave.
pub struct ByWave {
    rows: RowKind,
    spill: Spill,
    /// Of each wave. Each wave has the pieces that were put down for it, in the order of the file.
    stretches: Vec<Vec<Stretch>>,
}

/// What a row is.
#[derive(Clone, Copy, PartialEq)]
enum RowKind {
    /// So many bytes.
    Fixed(usize),
    /// So many texts.
    Text(usize),
}

/// Rows of one wave that lie together.
struct Stretch {
    /// Where the first byte is in scratch.
    at: u64,
    /// Those of the lengths of texts included.
    bytes: u64,
    /// How many lengths stand before the texts; 0 for rows of a fixed width.
    texts: u64,
}

impl ByWave {
    /// Reads all of `leaf`, whose rows cost `row` bytes, in blocks of at most `most`.
    pub fn new(
        leaf: &Leaf,
        row: u64,
        cells: &WaveCells,
        most: u64,
        folder: &Path,
    ) -> Result<ByWave> {
        // One block is read while another is put down.
        let step = (most / 2 / row.max(1)).max(1);
        let mut column = ByWave {
            // No rows are read, only what a row is.
            rows: RowKind::of(&leaf.read(&[])?)?,
            // Always a file: how much text there is shows only as it is read.
            spill: Spill::of(u64::MAX, 0, || Ok(folder.to_owned()))?,
            stretches: (0..cells.waves()).map(|_| vec![]).collect(),
        };
        // Of each wave, the place of its next cell.
        let (mut next, mut end) = (cells.starts[..cells.waves()].to_vec(), 0);
        // In a shuffle each block has about as many cells of one wave as of any other.
        let ahead = (step / cells.waves() as u64).max(1 << 5);
        let read = |rows: Range<u64>, old: Option<(Range<u64>, Block)>| {
            let block = leaf.read_over(from_ref(&rows), old.map(|(_, block)| block))?;
            Ok((rows, block))
        };
        read_ahead(steps(0..leaf.rows(), step), read, |(rows, block)| {
            for (wave, next) in next.iter_mut().enumerate() {
                let here = cells.before(rows.end, wave, next, ahead)?;
                let picks: Vec<u32> = here.iter().map(|c| (c - rows.start) as u32).collect();
                column.put(wave, &block.pick(&picks), &mut end)?;
            }
            Ok((rows, block))
        })?;
        ensure!(
            next == cells.starts[1..],
            "A wave has cells beyond the last row"
        );
        Ok(column)
    }

    /// Puts rows of a wave down at `end`, which moves behind them.
    fn put(&mut self, wave: usize, rows: &Block, end: &mut u64) -> Result<()> {
        let at = *end;
        ensure!(self.rows == RowKind::of(rows)?, "Rows of another kind");
        let texts = match rows {
            Block::Fixed { bytes, .. } => {
                self.spill.write(bytes, at)?;
                *end += bytes.len() as u64;
                0
            }
            Block::Text { strings, .. } => {
                let lengths = strings.iter().map(|text| u32::try_from(text.len()));
                let lengths = lengths.collect::<Result<Vec<_>, _>>();
                let lengths = lengths.context("A text of 4 GB or more")?;
                let lengths: Vec<u8> = lengths.into_iter().flat_map(u32::to_le_bytes).collect();
                self.spill.write(&lengths, at)?;
                self.spill
                    .write(&strings.bytes, at + lengths.len() as u64)?;
                *end += (lengths.len() + strings.bytes.len()) as u64;
                strings.len() as u64
            }
            Block::Sparse(_) | Block::Awkward(_) => bail!("Rows of another kind"),
        };
        // A wave may take none of the rows of a block.
        if at < *end {
            let bytes = *end - at;
            self.stretches[wave].push(Stretch { at, bytes, texts });
        }
        Ok(())
    }

    /// All rows of a wave, in the order of the file.
    pub fn read(&self, wave: usize) -> Result<Block> {
        let pieces = &self.stretches[wave];
        let texts = pieces.iter().map(|piece| piece.texts).sum::<u64>();
        let bytes = pieces.iter().map(|piece| piece.bytes).sum::<u64>() - WORD * texts;
        let mut values = Vec::with_capacity(bytes as usize);
        let mut ends = Vec::with_capacity(texts as usize);
        for piece in pieces {
            let read = self.spill.read(piece.bytes, piece.at)?;
            let (lengths, rest) = read.split_at((WORD * piece.texts) as usize);
            // Lengths were written for each piece; ends count from the first text of the wave.
            let mut end = values.len() as u64;
            ends.extend(words(lengths).map(|length| {
                end += length;
                end
            }));
            values.extend_from_slice(rest);
        }
        Ok(match self.rows {
            RowKind::Fixed(row) => Block::Fixed {
                row,
                bytes: values.into(),
            },
            RowKind::Text(width) => Block::Text {
                width,
                strings: Strings {
                    ends,
                    bytes: values,
                },
            },
        })
    }
}

impl RowKind {
    fn of(block: &Block) -> Result<RowKind> {
        match block {
            Block::Fixed { row, .. } => Ok(RowKind::Fixed(*row)),
            Block::Text { width, .. } => Ok(RowKind::Text(*width)),
            Block::Sparse(_) | Block::Awkward(_) => bail!("Only columns are put down by wave"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::cellset::CellSet;
    use crate::rows::leaf::LeafKind;
    use crate::store::spec::{ArraySpec, Attrs, Dtype, Kind};
    use crate::store::{self, Access, Container, Node};

    fn spec(shape: &[u64], dtype: Dtype) -> ArraySpec {
        ArraySpec {
            null: false,
            shape: shape.to_vec(),
            dtype,
        }
    }

    /// Two columns of the same cells: texts, and rows of two numbers, which are the length of the text and the cell.
    fn columns(path: &Path, texts: &Strings, container: Container) -> [Leaf; 2] {
        let root = store::create(path, container).unwrap().with_chunks_of(64);
        let (cells, none) = (texts.len() as u64, Attrs::default());
        let text = spec(&[cells], Dtype::String);
        let mut text = root
            .create_array("t", &text, store::Rows::Known, &none)
            .unwrap();
        text.append_strings(texts).unwrap();
        text.finish().unwrap();
        let numbers = spec(&[cells, 2], Dtype::native(Kind::Uint, 1));
        let mut number = root
            .create_array("n", &numbers, store::Rows::Known, &none)
            .unwrap();
        let rows = texts.iter().zip(0..);
        let rows = rows.flat_map(|(text, cell)| [text.len() as u8, cell]);
        number.append(&rows.collect::<Vec<u8>>()).unwrap();
        number.finish().unwrap();
        root.finish().unwrap();
        let root = store::open(path, &Access::default()).unwrap();
        [("t", LeafKind::Text as fn(_) -> _), ("n", LeafKind::Fixed)].map(|(name, kind)| {
            let Ok(Some(Node::Array(array))) = root.get(name) else {
                panic!()
            };
            Leaf {
                path: name.into(),
                attrs: Attrs::default(),
                kind: kind(array),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However cells come again, in a wave or in several.
        #[test]
        fn a_wave_is_what_is_read_of_its_cells(
            texts in prop::collection::vec("[aé]{0,9}", 1..90),
            waves in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..60), 1..6),
            container in prop_oneof![Just(Container::H5AD), Just(Container::ZARR)],
            most in 1u64..2000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let texts: Strings = texts.iter().map(String::as_bytes).collect();
            let leaves = columns(&folder.path().join("in"), &texts, container);
            let waves = waves.iter().map(|wave| {
                let cells: Vec<u32> = wave.iter().map(|at| at.index(texts.len()) as u32).collect();
                CellSet::of(&cells).ranges()
            });
            let waves: Vec<Vec<Range<u64>>> = waves.collect();
            let mut cells = WaveCells::new(400, || panic!("They stay in memory")).unwrap();
            waves.iter().for_each(|wave| cells.push(wave).unwrap());
            for leaf in &leaves {
                let cost = leaf.cost().unwrap().fixed;
                let column = ByWave::new(leaf, cost, &cells, most, folder.path()).unwrap();
                for (wave, ranges) in waves.iter().enumerate() {
                    let (found, wanted) = (column.read(wave).unwrap(), leaf.read(ranges).unwrap());
                    match (found, wanted) {
                        (Block::Text { strings: a, .. }, Block::Text { strings: b, .. }) => {
                            prop_assert_eq!((a.ends, a.bytes), (b.ends, b.bytes));
                        }
                        (Block::Fixed { row: 2, bytes: a }, Block::Fixed { row: 2, bytes: b }) => {
                            prop_assert_eq!(&a[..], &b[..]);
                        }
                        _ => panic!("Blocks of other kinds"),
                    }
                }
            }
        }
    }
}
