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

/// Where the cells of a file go: cell c is row `rows[i]` of output `outputs[i]` for i in
/// `starts[c]..starts[c + 1]`.
pub struct Targets {
    starts: Vec<u32>,
    outputs: Vec<u32>,
    rows: Vec<u32>,
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
        let mut targets = Targets {
            outputs: vec![0; order.len()],
            rows: vec![0; order.len()],
            starts,
        };
        for (output, cut) in cuts.windows(2).enumerate() {
            for (row, &cell) in order[cut[0] as usize..cut[1] as usize].iter().enumerate() {
                let at = next[cell as usize] as usize;
                next[cell as usize] += 1;
                targets.outputs[at] = output as u32;
                targets.rows[at] = row as u32;
            }
        }
        targets
    }

    fn of(&self, cell: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        (self.starts[cell as usize]..self.starts[cell as usize + 1])
            .map(|i| (self.outputs[i as usize] as usize, self.rows[i as usize]))
    }
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
        let mut sweeper = Sweeper {
            counts: vec![0; lengths.len()],
            matrix,
            path,
            targets,
            lengths,
            budget,
            gathered: vec![],
        };
        for columns in matrix.blocks(BLOCK)? {
            let block = matrix.read(std::slice::from_ref(&columns))?;
            for row in ints::read(&block.indices, &block.index)? {
                for (output, _) in sweeper.targets.of(row) {
                    sweeper.counts[output] += 1;
                }
            }
        }
        Ok(sweeper)
    }

    fn bytes(&self, output: usize) -> u64 {
        // Rows are held as 8 bytes while they are gathered.
        self.counts[output] * (8 + self.matrix.element_bytes())
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
        let mut found: Vec<Gathered> = group.iter().map(|_| Gathered::new()).collect();
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
        Gathered {
            ptr: vec![0],
            rows: vec![],
            data: vec![],
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
