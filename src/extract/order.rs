//! The cells of all outputs as one long sequence, and the rows of a part of it in the order of the file.
//!
//! An order takes 4 bytes a place, but for a file in its own order. So does a [`Wave`], beside a range for each run of
//! its cells; while it is made, a bit for each cell of the file between the first and the last of them.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::rows::cellset::CellSet;

/// The cells of all outputs, one output after another.
pub enum Order {
    /// All cells of the file, as they come.
    AsIs,
    Cells(Vec<u32>),
    /// Some cells, as they come: one output holds them, or many one after another.
    Sorted(Vec<u32>),
}

/// Rows of the input that are in memory together.
pub struct Wave {
    /// Rows of the file, sorted, disjoint.
    pub ranges: Vec<Range<u64>>,
    /// For each place of the sequence, which of those rows stands there. The places with cells `[9, 3, 9]` are the
    /// ranges `[3..4, 9..10]` and the picks `[1, 0, 1]`.
    pub picks: Vec<u32>,
}

impl Order {
    /// The order of these cells of a file of `all`; `None` is all of them, as they come.
    pub fn of(cells: Option<Vec<u32>>, all: u64) -> Order {
        match cells {
            None => Order::AsIs,
            // What begins as the file does and has no gap is as it comes; no cells are the first none of the file.
            Some(cells) if cells.len() as u64 == all && is_rising(&cells) => Order::AsIs,
            Some(cells) if cells.is_empty() => Order::AsIs,
            Some(cells) if is_rising(&cells) => Order::Sorted(cells),
            Some(cells) => Order::Cells(cells),
        }
    }

    /// The cells at places `span` of the sequence.
    pub fn cells(&self, span: Range<u64>) -> Cow<'_, [u32]> {
        match self {
            Order::AsIs => (span.start as u32..span.end as u32).collect(),
            Order::Cells(cells) | Order::Sorted(cells) => {
                cells[span.start as usize..span.end as usize].into()
            }
        }
    }

    /// The cells at places `span` of the sequence, in the order of the file.
    pub fn wave(&self, span: Range<u64>) -> Wave {
        let (Order::Cells(cells) | Order::Sorted(cells)) = self else {
            return Wave {
                picks: (0..(span.end - span.start) as u32).collect(),
                ranges: vec![span],
            };
        };
        Wave::of(&cells[span.start as usize..span.end as usize])
    }
}

fn is_rising(cells: &[u32]) -> bool {
    cells.windows(2).all(|pair| pair[0] < pair[1])
}

impl Wave {
    /// Of cells in any order, one of which may stand in several places.
    pub fn of(cells: &[u32]) -> Wave {
        let set = CellSet::of(cells);
        let place = |&cell: &u32| set.rank(cell).unwrap_or_default(); // all are in it
        Wave {
            ranges: set.ranges(),
            picks: cells.par_iter().map(place).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_known_by_its_cells() {
        let is = |cells: &[u32], all| match Order::of(Some(cells.to_vec()), all) {
            Order::AsIs => "as is",
            Order::Sorted(_) => "sorted",
            Order::Cells(_) => "cells",
        };
        assert_eq!(is(&[0, 1, 2], 3), "as is");
        assert_eq!(is(&[], 3), "as is");
        assert_eq!(is(&[0, 2], 3), "sorted");
        assert_eq!(is(&[0, 1], 3), "sorted");
        assert_eq!(is(&[1, 0, 2], 3), "cells");
        assert_eq!(is(&[0, 0, 1], 3), "cells");
    }

    #[test]
    fn a_wave_holds_each_cell_once_and_knows_its_places() {
        let wave = Order::Cells(vec![9, 130, 3, 4, 9, 5]).wave(1..6);
        assert_eq!(wave.ranges, [3..6, 9..10, 130..131]);
        assert_eq!(wave.picks, [4, 0, 1, 3, 2]);
        assert!(Order::Cells(vec![7]).wave(1..1).ranges.is_empty());
    }
}
