//! Rows of a CSC matrix. It is stored by columns, so all of it is swept, and each non-zero is put down with those of
//! its output: in memory where the matrix is small, else in a scratch file.
//!
//! Steps: how many non-zeros each output gets (the indices are read once); where each output begins in the spill; then
//! columns in pieces of 8 MiB, each sorted by output in memory and put behind what is there. Each output is read back
//! as a CSC matrix of its cells, in pieces of the same size.
//!
//! The spill: where the columns of output 0 end, those of output 1, ... (8 bytes each, counted from the first non-zero
//! of the output), then all indices, output after output, then all values. All of these sizes are known before a value
//! is read.

use std::ops::Range;
use std::path::PathBuf;
use std::slice::from_ref;

use anyhow::{Result, ensure};

use super::csr::CsrBlock;
use super::nnz::Nnz;
use super::sparse::Sparse;
use super::sparse_writer::SparseWriter;
use super::targets::Targets;
use crate::dtype::ints;
use crate::rows::ranges::steps;
use crate::store::spec::Dtype;
use crate::store::{Buffer, Group, Spill, read_ahead};

/// Runs of cells, and the non-zeros of each.
pub struct Runs {
    /// Where each begins, and the end.
    pub cuts: Vec<u64>,
    /// One for each run, so one less than `cuts`.
    pub counts: Vec<u64>,
}

impl Runs {
    /// Runs of the cells of `matrix` that take at most `most` bytes each while they are turned; each cell takes `row`
    /// bytes more than its non-zeros do. Cells are counted in 65536 bins, of which none is cut.
    pub fn of(matrix: &Sparse, most: u64, row: u64) -> Result<Runs> {
        const BINS: u64 = 1 << 16;
        /// Where a cell begins, before and after it is turned.
        const CELL: u64 = 16;
        let cells = matrix.width();
        let bin = cells.div_ceil(BINS).max(1);
        let mut bins = vec![0u64; cells.div_ceil(bin) as usize];
        for_indices(matrix, |cells| {
            for cell in cells {
                bins[(cell / bin) as usize] += 1;
            }
        })?;
        let mut runs = Runs {
            cuts: vec![],
            counts: vec![],
        };
        let nonzero = turned_nonzero(matrix);
        // More than any limit, so that the first bin begins a run. A bin that takes more than `most` is a run by
        // itself.
        let mut held = u64::MAX;
        for (at, count) in (0..).step_by(bin as usize).zip(bins) {
            let bytes = (count * nonzero).saturating_add(bin.saturating_mul(CELL + row));
            held = held.saturating_add(bytes);
            match runs.counts.last_mut() {
                Some(last) if held <= most => *last += count,
                _ => {
                    runs.cuts.push(at);
                    runs.counts.push(count);
                    held = bytes;
                }
            }
        }
        runs.cuts.push(cells);
        Ok(runs)
    }
}

/// Bytes of the matrix that are looked at together.
const BLOCK: u64 = 8 << 20;
/// Ends of columns that are held while a block is swept, those of all outputs together.
const ENDS: u64 = 1 << 20;

/// The non-zeros of one CSC matrix, output by output, each in the order of its columns.
pub struct Swept<'a> {
    matrix: &'a Sparse,
    /// Non-zeros before each output, and of all.
    starts: Vec<u64>,
    /// For each output where its columns end; then all indices; then all values.
    spill: Spill,
    /// Whether rows of an output come in another order than in the file.
    moved: bool,
    /// Non-zeros that are looked at together: few where a cell goes to many outputs.
    most: u64,
}

/// Non-zeros that follow each other in a matrix.
struct Segment {
    nonzeros: Range<u64>,
    /// Columns that end among them.
    columns: Range<u64>,
    /// Where the first of the columns begins.
    begin: u64,
}

/// A piece as it is read.
struct Read {
    cells: Vec<u64>,
    /// Where columns end, counted from the first non-zero.
    ends: Vec<u64>,
    data: Buffer,
}

impl<'a> Swept<'a> {
    /// Sweeps `matrix`, whose cells go to `outputs` outputs as `targets` says. `most` bytes may stay in memory; more go to
    /// a file in `folder`.
    pub fn new(
        matrix: &'a Sparse,
        targets: &Targets,
        outputs: usize,
        most: u64,
        folder: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Swept<'a>> {
        let mut counts = vec![0; outputs];
        for_indices(matrix, |cells| {
            targets.each(&cells, |_, output, _| counts[output] += 1);
        })?;
        Swept::counted(matrix, targets, &counts, most, folder)
    }

    /// Where it is known how many non-zeros each output has.
    pub fn counted(
        matrix: &'a Sparse,
        targets: &Targets,
        counts: &[u64],
        most: u64,
        folder: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Swept<'a>> {
        let starts = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let starts: Vec<u64> = [0].into_iter().chain(starts).collect();
        let bytes = scratch_bytes(matrix, starts[counts.len()], counts.len() as u64);
        let mut swept = Swept {
            matrix,
            starts,
            spill: Spill::of(bytes, most, folder)?,
            moved: matches!(targets, Targets::Listed { .. }),
            most: (BLOCK.min(most) / targets.most_outputs() / matrix.nonzero_bytes()).max(1),
        };
        swept.sweep(targets)?;
        Ok(swept)
    }

    fn sweep(&mut self, targets: &Targets) -> Result<()> {
        let matrix = self.matrix;
        let mut filled = vec![0; self.outputs()];
        // A piece has a table of where its columns end in each output: 8 bytes each, 8 MiB in all.
        let columns = (ENDS / (self.outputs() as u64).max(1)).max(1);
        let read = |piece: Segment, old: Option<(Segment, Read)>| {
            let old = old.map(|(_, read)| read.data).unwrap_or_default();
            let read = piece.read(matrix, old)?;
            Ok((piece, read))
        };
        read_ahead(
            pieces(matrix, self.most, columns)?,
            read,
            |(piece, read)| {
                self.put_down(&piece, &read, targets, &mut filled)?;
                Ok((piece, read))
            },
        )?;
        // They were counted in one pass and placed in another: a file that is changed in between would mix outputs.
        let counts = self.starts.windows(2).map(|s| s[1] - s[0]);
        ensure!(
            counts.eq(filled),
            "Its indices changed while they were read"
        );
        Ok(())
    }

    /// Sorts the non-zeros of a piece by output, and puts them behind those that are there.
    fn put_down(
        &mut self,
        piece: &Segment,
        read: &Read,
        targets: &Targets,
        filled: &mut [u64],
    ) -> Result<()> {
        let item = self.item() as usize;
        // A counting sort: how many go to each output, where those of each begin, then each non-zero to its place.
        let mut begins = vec![0; filled.len() + 1];
        targets.each(&read.cells, |_, output, _| begins[output + 1] += 1);
        for output in 0..filled.len() {
            begins[output + 1] += begins[output];
        }
        let count = begins[filled.len()];
        let (mut rows, mut data) = (vec![0; count], vec![0; count * item]);
        let mut next = begins.clone();
        let columns = read.ends.len();
        let mut ends = vec![0; columns * filled.len()];
        let mut done = 0;
        // The last round is what comes after the last end: the beginning of a column that goes on in the next piece.
        for column in 0..=columns {
            let end = read
                .ends
                .get(column)
                .map_or(read.cells.len(), |e| *e as usize);
            let values = &read.data[done * item..end * item];
            targets.each(&read.cells[done..end], |i, output, row| {
                let at = next[output];
                next[output] += 1;
                rows[at] = row;
                data[at * item..][..item].copy_from_slice(&values[i * item..][..item]);
            });
            done = end;
            if column < columns {
                for output in 0..filled.len() {
                    let here = (next[output] - begins[output]) as u64;
                    // By output, so that those of one are written together.
                    ends[output * columns + column] = filled[output] + here;
                }
            }
        }
        let indices = ints::write(&rows, self.index())?;
        let size = self.index().size();
        for output in 0..filled.len() {
            let here = begins[output]..begins[output + 1];
            if columns > 0 {
                let ends = &ends[output * columns..][..columns];
                let bytes: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
                let at = self.ends_at(output, piece.columns.start);
                self.spill.write(&bytes, at)?;
            }
            if !here.is_empty() {
                let first = self.starts[output] + filled[output];
                let (at, values_at) = (self.indices_at(first), self.data_at(first));
                let indices = &indices[here.start * size..here.end * size];
                self.spill.write(indices, at)?;
                let values = &data[here.start * item..here.end * item];
                self.spill.write(values, values_at)?;
                filled[output] += here.len() as u64;
            }
        }
        Ok(())
    }

    /// Writes the non-zeros of `output`, of `rows` rows, to the matrix at `path` of a file.
    pub fn write(&self, output: usize, rows: u64, path: &str, file: &Group) -> Result<()> {
        /// Columns whose ends are read together.
        const STEP: u64 = 1 << 12;
        let columns = self.matrix.rows();
        let spec = self.matrix.like([rows, self.matrix.shape[1]]);
        let nnz = Nnz::Exactly(self.count(output));
        let mut writer = SparseWriter::create(file, path, &spec, nnz)?;
        let most = self.most;
        let (mut column, mut start) = (0, 0);
        while column < columns {
            let mut ends = self.ends(output, column..columns.min(column + STEP))?;
            // As many whole columns as `most` non-zeros have, one at the least.
            ends.truncate(ends.partition_point(|end| *end <= start + most).max(1));
            column += ends.len() as u64;
            let end = ends[ends.len() - 1];
            // Where a column is to be sorted, all of it must be there.
            while !self.moved && end - start > most {
                writer.append_nonzeros(&self.block(output, start..start + most, &[])?)?;
                start += most;
            }
            writer.append(&self.block(output, start..end, &ends)?)?;
            start = end;
        }
        writer.finish().map(drop)
    }

    /// All columns of one output. All of it is in memory then: [`Runs`] are made so that it fits.
    pub fn take(&self, output: usize) -> Result<CsrBlock> {
        let ends = self.ends(output, 0..self.matrix.rows())?;
        self.block(output, 0..self.count(output), &ends)
    }

    /// Some non-zeros of an output, and the columns that end among them. None need end there: a column that is larger
    /// than a piece is written part by part.
    fn block(&self, output: usize, nonzeros: Range<u64>, ends: &[u64]) -> Result<CsrBlock> {
        let first = self.starts[output] + nonzeros.start;
        let count = nonzeros.end - nonzeros.start;
        let ends = ends.iter().map(|end| end - nonzeros.start);
        let index = self.index().clone();
        let mut block = CsrBlock {
            ptr: [0].into_iter().chain(ends).collect(),
            indices: self
                .spill
                .read(count * index.size() as u64, self.indices_at(first))?
                .into(),
            index,
            data: self
                .spill
                .read(count * self.item(), self.data_at(first))?
                .into(),
            item: self.item() as usize,
        };
        // They were put down in the order of the file, and have the places of another.
        if self.moved {
            block.sort_rows()?;
        }
        Ok(block)
    }

    /// Where columns of an output end, counted from its first non-zero.
    fn ends(&self, output: usize, columns: Range<u64>) -> Result<Vec<u64>> {
        let bytes = (columns.end - columns.start) * END;
        let bytes = self
            .spill
            .read(bytes, self.ends_at(output, columns.start))?;
        let (ends, _) = bytes.as_chunks();
        Ok(ends.iter().map(|end| u64::from_le_bytes(*end)).collect())
    }

    fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    fn count(&self, output: usize) -> u64 {
        self.starts[output + 1] - self.starts[output]
    }

    fn index(&self) -> &Dtype {
        &self.matrix.indices.spec().dtype
    }

    /// Bytes of a value.
    fn item(&self) -> u64 {
        self.matrix.data.spec().dtype.size() as u64
    }

    /// Where in the spill the end of a column of an output is.
    fn ends_at(&self, output: usize, column: u64) -> u64 {
        (output as u64 * self.matrix.rows() + column) * END
    }

    /// Where in the spill an index is; `nonzero` counts those of all outputs, one after another.
    fn indices_at(&self, nonzero: u64) -> u64 {
        self.ends_at(self.outputs(), 0) + nonzero * self.index().size() as u64
    }

    /// The same of a value.
    fn data_at(&self, nonzero: u64) -> u64 {
        self.indices_at(self.starts[self.outputs()]) + nonzero * self.item()
    }
}

/// A non-zero is held as it is stored and as it is turned, its index as 8 bytes too.
fn turned_nonzero(matrix: &Sparse) -> u64 {
    8 + 2 * matrix.nonzero_bytes()
}

/// Bytes of a [run](Runs::of) of a matrix that is turned: where columns end should take no more than their non-zeros.
pub fn run_bytes(matrix: &Sparse) -> u64 {
    let ends = matrix.rows().saturating_mul(END);
    BLOCK.max(ends.saturating_mul(3))
}

/// Bytes of a matrix that stay in memory while it is turned.
pub const TURNED: u64 = 16 << 20;

/// About what a matrix puts into scratch that is swept in such runs.
pub fn turned_bytes(matrix: &Sparse) -> u64 {
    let nonzeros = matrix.nnz().saturating_mul(turned_nonzero(matrix));
    let runs = nonzeros.div_ceil(run_bytes(matrix)) + 1;
    match scratch_bytes(matrix, matrix.nnz(), runs) {
        bytes if bytes > TURNED => bytes,
        _ => 0,
    }
}

/// Bytes of where a column ends.
const END: u64 = size_of::<u64>() as u64;

/// What is held of so many non-zeros of a matrix in so many outputs.
pub fn scratch_bytes(matrix: &Sparse, nonzeros: u64, outputs: u64) -> u64 {
    let ends = outputs.saturating_mul(matrix.rows()).saturating_mul(END);
    ends.saturating_add(nonzeros.saturating_mul(matrix.nonzero_bytes()))
}

/// Hands on all indices of a matrix, each in range.
fn for_indices(matrix: &Sparse, mut see: impl FnMut(Vec<u64>) + Send) -> Result<()> {
    let dtype = &matrix.indices.spec().dtype;
    let parts = steps(0..matrix.nnz(), (BLOCK / dtype.size() as u64).max(1));
    let read = |part, old: Option<Buffer>| {
        let bytes = matrix
            .indices
            .read_over(from_ref(&part), old.unwrap_or_default())?;
        matrix.check_indices(&bytes)?;
        Ok(bytes)
    };
    read_ahead(parts, read, |bytes| {
        see(ints::read(&bytes, dtype)?);
        Ok(bytes)
    })
}

/// A matrix in pieces of at most `most` non-zeros, in each of which at most `columns` columns end.
fn pieces(matrix: &Sparse, most: u64, columns: u64) -> Result<Vec<Segment>> {
    let (mut pieces, mut begin) = (vec![], 0);
    for block in matrix.blocks(
        0..matrix.rows(),
        most.saturating_mul(matrix.nonzero_bytes()),
    )? {
        for columns in steps(block, columns) {
            let end = begin + matrix.count(from_ref(&columns))?;
            // `begin` counts on: offsets are asked for block by block, from 0 in each.
            // A column that is larger than a piece ends in the last of its parts.
            pieces.extend(steps(begin..end, most).map(|nonzeros| Segment {
                columns: columns.start..columns.start,
                nonzeros,
                begin,
            }));
            match pieces.last_mut() {
                Some(piece) if begin < end => piece.columns = columns,
                _ => pieces.push(Segment {
                    nonzeros: begin..end,
                    columns,
                    begin,
                }),
            }
            begin = end;
        }
    }
    Ok(pieces)
}

impl Segment {
    fn read(&self, matrix: &Sparse, old: Buffer) -> Result<Read> {
        let dtype = &matrix.indices.spec().dtype;
        let indices = matrix.indices.read(from_ref(&self.nonzeros))?;
        matrix.check_indices(&indices)?;
        let (_, ptr) = matrix.spans(from_ref(&self.columns))?;
        // Non-zeros of the first column that an earlier piece has: ends count from the first of this one.
        let before = self.nonzeros.start - self.begin;
        Ok(Read {
            cells: ints::read(&indices, dtype)?,
            ends: ptr[1..].iter().map(|end| end - before).collect(),
            data: matrix.data.read_over(from_ref(&self.nonzeros), old)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::rows::cellset::CellSet;
    use proptest::prelude::*;

    use super::*;
    use crate::rows::sparse::{SparseFormat, SparseSpec};
    use crate::store::spec::{Attrs, Kind};
    use crate::store::{self, Access, Container, Node};

    /// The bytes of the value at a place of a column.
    fn value(at: usize) -> u8 {
        at as u8 + 1
    }

    /// A CSC matrix of `rows` rows, whose columns hold the rows of `columns`, written and opened.
    fn matrix(folder: &std::path::Path, rows: u64, columns: &[Vec<u64>]) -> Sparse {
        let path = folder.join("m.h5ad");
        let out = store::create(&path, Container::H5AD).unwrap();
        let spec = SparseSpec {
            layout: SparseFormat::Csc,
            shape: [rows, columns.len() as u64],
            attrs: Attrs::encoding("csc_matrix", "0.1.0"),
            part_attrs: Default::default(),
            data: Dtype::native(Kind::Float, 4),
            indices: Dtype::native(Kind::Int, 4),
            indptr: Dtype::native(Kind::Int, 4),
        };
        let all: Vec<u64> = columns.concat();
        let ends = columns.iter().scan(0, |end, column| {
            *end += column.len() as u64;
            Some(*end)
        });
        let block = CsrBlock {
            ptr: [0].into_iter().chain(ends).collect(),
            indices: ints::write(&all, &spec.indices).unwrap().into(),
            index: spec.indices.clone(),
            data: columns
                .iter()
                .flat_map(|c| (0..c.len()).flat_map(|at| [value(at); 4]))
                .collect::<Vec<u8>>()
                .into(),
            item: 4,
        };
        let nnz = Nnz::Exactly(all.len() as u64);
        let mut writer = SparseWriter::create(&out, "X", &spec, nnz).unwrap();
        writer.append(&block).unwrap();
        writer.finish().unwrap();
        out.finish().unwrap();
        match store::open(&path, &Access::default())
            .unwrap()
            .get("X")
            .unwrap()
        {
            Some(Node::Group(group)) => Sparse::open(&group, SparseFormat::Csc).unwrap(),
            _ => panic!("no X"),
        }
    }

    /// The columns of a block, each as rows and values.
    fn columns_of(block: &CsrBlock) -> Vec<Vec<(u64, u8)>> {
        let rows = ints::read(&block.indices, &block.index).unwrap();
        let values = block.data.chunks_exact(block.item).map(|v| v[0]);
        let all: Vec<_> = rows.into_iter().zip(values).collect();
        let column = |ends: &[u64]| all[ends[0] as usize..ends[1] as usize].to_vec();
        block.ptr.windows(2).map(column).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_element_goes_where_its_cell_goes(
            columns in prop::collection::vec(prop::collection::btree_set(0u64..30, 0..30), 0..9),
            order in Just((0u32..30).collect::<Vec<_>>()).prop_shuffle(),
            left_out in 0usize..30,
            cuts in prop::collection::vec(0usize..30, 0..5),
            way in 0..3,
            most in prop_oneof![0u64..200, Just(1 << 20)],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let columns: Vec<Vec<u64>> = columns.into_iter().map(Vec::from_iter).collect();
            let matrix = matrix(folder.path(), 30, &columns);
            let mut order = match way {
                0 => (0..30).collect(),
                _ => order[left_out..].to_vec(),
            };
            if way == 1 {
                order.sort_unstable();
            }
            let first = if way == 0 { left_out } else { 0 };
            let inner = cuts.iter().map(|cut| first + cut % (order.len() - first + 1));
            let mut cuts: Vec<u64> = inner.chain([first, order.len()]).map(|c| c as u64).collect();
            cuts.sort_unstable();
            let targets = match way {
                0 => Targets::Runs(None, cuts.clone()),
                1 => Targets::Runs(Some(CellSet::of(&order)), cuts.clone()),
                _ => Targets::listed(30, &order, &cuts).unwrap(),
            };
            let outputs = cuts.len() - 1;
            let swept = Swept::new(&matrix, &targets, outputs, most, || Ok(folder.path().into())).unwrap();
            let path = folder.path().join("o.h5ad");
            let out = store::create(&path, Container::H5AD).unwrap();
            for (output, cut) in cuts.windows(2).enumerate() {
                let cells = &order[cut[0] as usize..cut[1] as usize];
                let want: Vec<Vec<(u64, u8)>> = columns.iter().map(|column| {
                    let row = |row: usize| {
                        let at = column.iter().position(|cell| *cell == u64::from(cells[row]))?;
                        Some((row as u64, value(at)))
                    };
                    (0..cells.len()).filter_map(row).collect()
                }).collect();
                prop_assert_eq!(&columns_of(&swept.take(output).unwrap()), &want);
                let name = output.to_string();
                swept.write(output, cells.len() as u64, &name, &out).unwrap();
                let Some(Node::Group(group)) = out.get(&name).unwrap() else { panic!("not written") };
                let written = Sparse::open(&group, SparseFormat::Csc).unwrap();
                let all = written.read(std::slice::from_ref(&(0..columns.len() as u64))).unwrap();
                prop_assert_eq!(&columns_of(&all), &want);
            }
        }
    }

    #[test]
    fn runs_fit_whatever_rows_hold_the_elements() {
        let folder = tempfile::tempdir().unwrap();
        // Nearly all non-zeros lie in the last rows.
        let columns: Vec<Vec<u64>> = (0..300).map(|c| vec![c % 90, 97, 98, 99]).collect();
        let matrix = matrix(folder.path(), 100, &columns);
        let most = 320 * 24 + 16;
        let runs = Runs::of(&matrix, most, 0).unwrap();
        assert_eq!(runs.counts.iter().sum::<u64>(), 1200);
        assert_eq!((runs.cuts[0], runs.cuts[runs.cuts.len() - 1]), (0, 100));
        assert_eq!(runs.cuts.len(), 6, "{:?}", runs.cuts);
        let targets = Targets::Runs(None, runs.cuts.clone());
        let swept = Swept::counted(&matrix, &targets, &runs.counts, 0, || {
            Ok(folder.path().into())
        })
        .unwrap();
        for (output, count) in runs.counts.iter().enumerate() {
            assert!(count * 24 <= most, "{count}");
            assert_eq!(swept.take(output).unwrap().nnz(), *count);
        }
    }
}
