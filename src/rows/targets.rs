//! Where the cells of a file go, as the sweep of a CSC matrix asks for it.
//!
//! In the order of the file nothing is listed: a cell is in the output whose run holds it, found by its rank. In any
//! other order, and where cells repeat, each cell has a list of its places: 4 bytes a cell and 8 a place.

use anyhow::{Result, ensure};

use super::cellset::CellSet;

/// Where the cells of a file go.
pub enum Targets {
    /// Cell c is row `rows[i]` of output `outputs[i]` for i in `starts[c]..starts[c + 1]`.
    Listed {
        starts: Vec<u32>,
        outputs: Vec<u32>,
        rows: Vec<u32>,
    },
    /// Each output takes a run of some cells, or of all, as they come; where each begins among them, and the end.
    Runs(Option<CellSet>, Vec<u64>),
}

impl Targets {
    /// What [`Targets::listed`] holds of a file of so many cells for an order of so many places.
    pub fn listed_bytes(cells: u64, places: u64) -> u64 {
        4 * cells + 8 * places
    }

    /// `order` holds the cells of all outputs one after another; `cuts` where each output begins, and the end.
    ///
    /// Of 3 cells, `order` `[2, 0, 2]` and `cuts` `[0, 1, 3]` are `starts` `[0, 1, 1, 3]`, `outputs` `[1, 0, 1]` and
    /// `rows` `[0, 0, 1]`: cell 2 is row 0 of output 0 and row 1 of output 1.
    pub fn listed(cells: u64, order: &[u32], cuts: &[u64]) -> Result<Targets> {
        ensure!(
            u32::try_from(order.len()).is_ok(),
            "All shards together have {} cells, more than 2^32",
            order.len()
        );
        let mut starts = vec![0u32; cells as usize + 1];
        for &cell in order {
            starts[cell as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        // While places are given out, each start moves to the next, which is put right at the end.
        let (mut outputs, mut rows) = (vec![0; order.len()], vec![0; order.len()]);
        for (output, cut) in cuts.windows(2).enumerate() {
            for (row, &cell) in order[cut[0] as usize..cut[1] as usize].iter().enumerate() {
                let at = starts[cell as usize] as usize;
                starts[cell as usize] += 1;
                outputs[at] = output as u32;
                rows[at] = row as u32;
            }
        }
        starts.rotate_right(1);
        starts[0] = 0;
        Ok(Targets::Listed {
            starts,
            outputs,
            rows,
        })
    }

    /// Outputs that one cell goes to, at the most.
    pub fn most_outputs(&self) -> u64 {
        match self {
            Targets::Runs(..) => 1,
            Targets::Listed { starts, .. } => {
                let counts = starts.windows(2).map(|ends| ends[1] - ends[0]);
                u64::from(counts.max().unwrap_or(0)).max(1)
            }
        }
    }

    /// Calls `put` for each of `cells` that goes into an output: which of them, the output, and the row there.
    pub fn each(&self, cells: &[u64], mut put: impl FnMut(usize, usize, u64)) {
        match self {
            Targets::Listed {
                starts,
                outputs,
                rows,
            } => {
                for (i, &cell) in cells.iter().enumerate() {
                    let cell = cell as usize;
                    for at in starts[cell] as usize..starts[cell + 1] as usize {
                        put(i, outputs[at] as usize, u64::from(rows[at]));
                    }
                }
            }
            Targets::Runs(some, cuts) => {
                // The cells of a column mostly rise, so most are in the run of the one before.
                let (mut output, mut run) = (0, 0..0);
                for (i, &cell) in cells.iter().enumerate() {
                    let place = match some {
                        None => Some(cell),
                        Some(some) => some.rank(cell as u32).map(u64::from),
                    };
                    let Some(place) = place else { continue };
                    if !run.contains(&place) {
                        let after = cuts.partition_point(|cut| *cut <= place);
                        // Before the first output or behind the last: other parts take it, or it is written already.
                        if after == 0 || after == cuts.len() {
                            continue;
                        }
                        (output, run) = (after - 1, cuts[after - 1]..cuts[after]);
                    }
                    put(i, output, place - run.start);
                }
            }
        }
    }
}
