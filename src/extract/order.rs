//! The cells of all outputs as one long sequence, and the rows of a part of it in the order of the file.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

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
    /// For each place of the sequence, which of those rows stands there.
    pub picks: Vec<u32>,
}

impl Order {
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
        let cells = &cells[span.start as usize..span.end as usize];
        let mut places: Vec<u64> = cells
            .par_iter()
            .enumerate()
            .map(|(place, &cell)| u64::from(cell) << 32 | place as u64)
            .collect();
        places.par_sort_unstable();
        let mut picks = vec![0; cells.len()];
        let mut ranges: Vec<Range<u64>> = vec![];
        let mut rows = 0;
        for place in places {
            let (cell, at) = (place >> 32, place as u32 as usize);
            match ranges.last_mut() {
                Some(last) if last.end == cell + 1 => {}
                Some(last) if last.end == cell => (last.end, rows) = (cell + 1, rows + 1),
                _ => {
                    ranges.push(cell..cell + 1);
                    rows += 1;
                }
            }
            picks[at] = rows - 1;
        }
        Wave { ranges, picks }
    }
}
