//! Which bytes of a row of an array lie where in the chunks that hold it.
//!
//! A row of an array of several axes may lie in many chunks, each of which has some of every axis. Both number their
//! values with the last axis fastest, so what a chunk has of the last axis is a run of bytes, in the chunk and in the
//! row.

use crate::store::spec::items;

/// `len` bytes at `chunk` in a chunk's row that belong at `row` in the array's row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    pub chunk: usize,
    pub row: usize,
    pub len: usize,
}

/// Every position of a grid with `counts` cells on each axis, last axis fastest.
pub fn positions(counts: &[u64]) -> impl Iterator<Item = Vec<u64>> + '_ {
    let total = items(counts);
    (0..total).map(|mut i| {
        let mut at = vec![0; counts.len()];
        for (axis, &n) in counts.iter().enumerate().rev() {
            at[axis] = i % n;
            i /= n;
        }
        at
    })
}

/// The runs of one row that the chunk at `at` holds; `shape` and `chunk` are those of a row.
pub fn runs(shape: &[u64], chunk: &[u64], at: &[u64], item: usize) -> Vec<Run> {
    let origin: Vec<u64> = at.iter().zip(chunk).map(|(a, c)| a * c).collect();
    let extent: Vec<u64> = (0..shape.len())
        .map(|d| chunk[d].min(shape[d] - origin[d]))
        .collect();
    let Some((&last, outer)) = extent.split_last() else {
        return vec![Run {
            chunk: 0,
            row: 0,
            len: item,
        }];
    };
    let flat = |dims: &[u64], at: &dyn Fn(usize) -> u64| {
        (0..dims.len()).fold(0, |n, d| n * dims[d] + at(d)) as usize * item
    };
    positions(outer)
        .map(|within| {
            let inner = |d: usize| within.get(d).copied().unwrap_or(0);
            Run {
                chunk: flat(chunk, &inner),
                row: flat(shape, &|d| origin[d] + inner(d)),
                len: last as usize * item,
            }
        })
        .collect()
}
