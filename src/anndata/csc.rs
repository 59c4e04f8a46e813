//! Rows of a CSC matrix: it is stored by columns, so its rows are taken by sweeping all of it.
//!
//! One sweep serves as many outputs as fit the memory it is given. Of an output that does not fit, the columns are
//! handed on as they come.

use std::rc::Rc;

use anyhow::Result;

use super::csr::CsrBlock;
use super::ints;
use super::matrix::{Count, Layout, Sparse, SparseSpec, SparseWriter};
use crate::store::Group;

/// Where the cells of a file go.
pub enum Targets {
    /// Cell c is row `rows[i]` of output `outputs[i]` for i in `starts[c]..starts[c + 1]`.
    Listed {
        starts: Vec<u32>,
        outputs: Vec<u32>,
        rows: Vec<u32>,
    },
    /// Each output takes a run of cells; where each begins, and the end.
    Runs(Vec<u64>),
}

impl Targets {
    /// `order` holds the cells of all outputs one after another; `cuts` where each output begins, and the end.
    pub fn new(cells: u64, order: &[u32], cuts: &[u64]) -> Targets {
        let mut starts = vec![0u32; cells as usize + 1];
        for &cell in order {
            starts[cell as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let (mut outputs, mut rows) = (vec![0; order.len()], vec![0; order.len()]);
        for (output, cut) in cuts.windows(2).enumerate() {
            for (row, &cell) in order[cut[0] as usize..cut[1] as usize].iter().enumerate() {
                let at = next[cell as usize] as usize;
                next[cell as usize] += 1;
                outputs[at] = output as u32;
                rows[at] = row as u32;
            }
        }
        Targets::Listed {
            starts,
            outputs,
            rows,
        }
    }

    fn of(&self, cell: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        let places = match self {
            Targets::Listed { starts, .. } => starts[cell as usize]..starts[cell as usize + 1],
            Targets::Runs(_) => 0..1,
        };
        places.map(move |i| match self {
            Targets::Listed { outputs, rows, .. } => {
                (outputs[i as usize] as usize, rows[i as usize])
            }
            Targets::Runs(cuts) => {
                let output = cuts.partition_point(|cut| *cut <= cell) - 1;
                (output, (cell - cuts[output]) as u32)
            }
        })
    }
}

/// Runs of cells, and the elements of each.
pub struct Runs {
    /// Where each begins, and the end.
    pub cuts: Vec<u64>,
    pub counts: Vec<u64>,
}

impl Runs {
    /// Runs of the cells of `matrix` that take at most `most` bytes each while they are gathered and turned; each cell
    /// takes `row` bytes more than its elements do. Cells are counted in 65536 bins, of which none is cut.
    pub fn of(matrix: &Sparse, most: u64, row: u64) -> Result<Runs> {
        const BINS: u64 = 1 << 16;
        /// Where a cell begins, before and after it is turned.
        const CELL: u64 = 16;
        let cells = matrix.width();
        let bin = cells.div_ceil(BINS).max(1);
        let mut bins = vec![0u64; cells.div_ceil(bin) as usize];
        for columns in matrix.blocks(BLOCK)? {
            let block = matrix.read(std::slice::from_ref(&columns))?;
            for cell in ints::read(&block.indices, &block.index)? {
                bins[(cell / bin) as usize] += 1;
            }
        }
        let mut runs = Runs {
            cuts: vec![],
            counts: vec![],
        };
        let mut held = u64::MAX;
        for (at, count) in (0..).step_by(bin as usize).zip(bins) {
            let bytes =
                (count * gathered_bytes(matrix)).saturating_add(bin.saturating_mul(CELL + row));
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

/// Bytes of an element while it is gathered: its row is held as 8 bytes.
fn gathered_bytes(matrix: &Sparse) -> u64 {
    8 + matrix.element_bytes()
}

/// The rows of one CSC matrix, output by output.
pub struct Sweeper<'a> {
    matrix: &'a Sparse,
    path: &'a str,
    targets: Rc<Targets>,
    /// Rows of each output, and elements in them.
    lengths: Vec<u64>,
    counts: Vec<u64>,
    budget: u64,
    /// The outputs that the last sweep gathered, with what it found.
    gathered: Vec<(usize, Gathered)>,
}

/// Columns of one output, as far as they were swept.
struct Gathered {
    ptr: Vec<u64>,
    rows: Vec<u64>,
    data: Vec<u8>,
}

/// Bytes of the matrix that are read at a time.
const BLOCK: u64 = 8 << 20;

impl<'a> Sweeper<'a> {
    /// Counts the elements of each output, in one sweep over the indices.
    pub fn new(
        path: &'a str,
        matrix: &'a Sparse,
        targets: Rc<Targets>,
        lengths: Vec<u64>,
        budget: u64,
    ) -> Result<Sweeper<'a>> {
        let mut counts = vec![0; lengths.len()];
        for columns in matrix.blocks(BLOCK)? {
            let block = matrix.read(std::slice::from_ref(&columns))?;
            for row in ints::read(&block.indices, &block.index)? {
                for (output, _) in targets.of(row) {
                    counts[output] += 1;
                }
            }
        }
        Ok(Sweeper {
            matrix,
            path,
            targets,
            lengths,
            counts,
            budget,
            gathered: vec![],
        })
    }

    /// For runs of cells, each an output.
    pub fn of_runs(matrix: &'a Sparse, runs: &Runs, budget: u64) -> Sweeper<'a> {
        Sweeper {
            matrix,
            path: "",
            targets: Rc::new(Targets::Runs(runs.cuts.clone())),
            lengths: runs.cuts.windows(2).map(|c| c[1] - c[0]).collect(),
            counts: runs.counts.clone(),
            budget,
            gathered: vec![],
        }
    }

    fn bytes(&self, output: usize) -> u64 {
        self.counts[output] * gathered_bytes(self.matrix)
    }

    /// Writes the rows of `output` to its file. Outputs are asked for in order.
    pub fn write(&mut self, output: usize, file: &Group) -> Result<()> {
        let spec = self
            .matrix
            .like([self.lengths[output], self.matrix.shape[1]]);
        let count = Count::Exactly(self.counts[output]);
        let mut writer = SparseWriter::create(file, self.path, &spec, count)?;
        if self.bytes(output) > self.budget {
            self.sweep(&[output], |_, gathered| {
                if gathered.data.len() as u64 >= BLOCK {
                    let rest = Gathered::new();
                    writer.append(&std::mem::replace(gathered, rest).block(&spec)?)?;
                }
                Ok(())
            })?;
        }
        writer.append(&self.take(output)?)?;
        writer.finish().map(drop)
    }

    /// The columns of one output, all in memory. Outputs are asked for in order.
    pub fn take(&mut self, output: usize) -> Result<CsrBlock> {
        if !self.gathered.iter().any(|(o, _)| *o == output) {
            self.sweep(&self.next_group(output), |_, _| Ok(()))?;
        }
        let spec = self.matrix.like(self.matrix.shape);
        match self.gathered.iter().position(|(o, _)| *o == output) {
            Some(at) => self.gathered.swap_remove(at).1.block(&spec),
            None => Gathered::new().block(&spec),
        }
    }

    /// As many outputs from `first` on as fit the budget.
    fn next_group(&self, first: usize) -> Vec<usize> {
        let mut room = self.budget;
        (first..self.counts.len())
            .take_while(|&output| {
                let fits = self.bytes(output) <= room || output == first;
                room = room.saturating_sub(self.bytes(output));
                fits
            })
            .collect()
    }

    /// Gathers the columns of `group`; `flush` may take away what is complete after each block.
    fn sweep(
        &mut self,
        group: &[usize],
        mut flush: impl FnMut(usize, &mut Gathered) -> Result<()>,
    ) -> Result<()> {
        let mut place = vec![usize::MAX; self.counts.len()];
        for (at, &output) in group.iter().enumerate() {
            place[output] = at;
        }
        let item = self.matrix.data.spec().dtype.size();
        let most = self.budget / gathered_bytes(self.matrix);
        let sized = |output: &usize| Gathered::sized(self.counts[*output].min(most), item);
        let mut found: Vec<Gathered> = group.iter().map(sized).collect();
        for columns in self.matrix.blocks(BLOCK)? {
            let block = self.matrix.read(std::slice::from_ref(&columns))?;
            let rows = ints::read(&block.indices, &block.index)?;
            for ends in block.ptr.windows(2) {
                let column = ends[0] as usize..ends[1] as usize;
                let data = &block.data[column.start * item..column.end * item];
                for (&cell, value) in rows[column].iter().zip(data.chunks_exact(item)) {
                    for (output, row) in self.targets.of(cell) {
                        if let Some(into) = found.get_mut(place[output]) {
                            into.rows.push(u64::from(row));
                            into.data.extend_from_slice(value);
                        }
                    }
                }
                found.iter_mut().for_each(|f| f.end_column(item));
            }
            for (&output, gathered) in group.iter().zip(&mut found) {
                flush(output, gathered)?;
            }
        }
        self.gathered = group.iter().copied().zip(found).collect();
        Ok(())
    }
}

impl Gathered {
    fn new() -> Gathered {
        Gathered::sized(0, 0)
    }

    /// With room for so many elements, of `item` bytes each.
    fn sized(elements: u64, item: usize) -> Gathered {
        Gathered {
            ptr: vec![0],
            rows: Vec::with_capacity(elements as usize),
            data: Vec::with_capacity(elements as usize * item),
        }
    }

    /// Ends a column: its rows are put in order, as they were before the cells were.
    fn end_column(&mut self, item: usize) {
        let start = self.ptr.last().map_or(0, |&p| p as usize);
        let rows = &self.rows[start..];
        if !rows.is_sorted() {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|&i| rows[i]);
            let sorted: Vec<u64> = order.iter().map(|&i| rows[i]).collect();
            let data = &self.data[start * item..];
            let moved: Vec<u8> = order
                .iter()
                .flat_map(|&i| &data[i * item..(i + 1) * item])
                .copied()
                .collect();
            self.rows[start..].copy_from_slice(&sorted);
            self.data[start * item..].copy_from_slice(&moved);
        }
        self.ptr.push(self.rows.len() as u64);
    }

    fn block(self, spec: &SparseSpec) -> Result<CsrBlock> {
        debug_assert_eq!(spec.layout, Layout::Csc);
        Ok(CsrBlock {
            ptr: self.ptr,
            indices: ints::write(&self.rows, &ints::holding(&spec.indices, 0))?,
            index: spec.indices.clone(),
            data: self.data,
            item: spec.data.size(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::store::spec::{Attrs, Dtype, Kind};
    use crate::store::{self, Access, Format, Node};

    /// A CSC matrix of `rows` rows, whose columns hold the rows of `columns`, written and opened.
    fn matrix(folder: &std::path::Path, rows: u64, columns: &[Vec<u64>]) -> Sparse {
        let path = folder.join("m.h5ad");
        let out = store::create(&path, Format::H5ad, Compression::None).unwrap();
        let spec = SparseSpec {
            layout: Layout::Csc,
            shape: [rows, columns.len() as u64],
            attrs: Attrs::encoding("csc_matrix", "0.1.0"),
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
            indices: ints::write(&all, &spec.indices).unwrap(),
            index: spec.indices.clone(),
            data: vec![0; all.len() * 4],
            item: 4,
        };
        let count = Count::Exactly(all.len() as u64);
        let mut writer = SparseWriter::create(&out, "X", &spec, count).unwrap();
        writer.append(&block).unwrap();
        writer.finish().unwrap();
        out.finish().unwrap();
        match store::open(&path, &Access::default())
            .unwrap()
            .get("X")
            .unwrap()
        {
            Some(Node::Group(group)) => Sparse::open(&group, Layout::Csc).unwrap(),
            _ => panic!("no X"),
        }
    }

    #[test]
    fn runs_fit_whatever_rows_hold_the_elements() {
        let folder = tempfile::tempdir().unwrap();
        // Nearly all elements lie in the last rows.
        let columns: Vec<Vec<u64>> = (0..300).map(|c| vec![c % 90, 97, 98, 99]).collect();
        let matrix = matrix(folder.path(), 100, &columns);
        let most = 320 * 16 + 16;
        let runs = Runs::of(&matrix, most, 0).unwrap();
        assert_eq!(runs.counts.iter().sum::<u64>(), 1200);
        assert_eq!((runs.cuts[0], runs.cuts[runs.cuts.len() - 1]), (0, 100));
        assert_eq!(runs.cuts.len(), 6, "{:?}", runs.cuts);
        let mut sweeper = Sweeper::of_runs(&matrix, &runs, 2 * most);
        for (output, count) in runs.counts.iter().enumerate() {
            assert!(count * 16 <= most, "{count}");
            assert_eq!(sweeper.take(output).unwrap().nnz(), *count);
        }
    }
}
