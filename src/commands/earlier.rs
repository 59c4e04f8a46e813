//! Whether an output that exists is the result of an earlier run, or another file that somebody named by mistake.
//!
//! An earlier result has cells of the inputs, also where these, or the options, have changed since. So the names of some
//! cells all over the output are looked for in the inputs; and where they are there, the number of cells tells.

use std::path::{Path, PathBuf};

use crate::anndata::columns;
use crate::frame::dataframe::Frame;
use crate::rows::ranges::steps;
use crate::store::{self, Access};

/// Cells that are looked for.
const CELLS: u64 = 16;
/// Names that are read at a time.
const STEP: u64 = 1 << 16;

/// The cells of a file, if it can be read.
pub fn cells_of(path: &Path, access: &Access) -> Option<u64> {
    columns::length(&store::open(path, access).ok()?, "obs").ok()
}

/// What an output may be the result of.
#[derive(Clone, Copy)]
pub enum Earlier {
    Merge,
    Filter,
}

impl Earlier {
    /// Of the cells that are looked for, how many it has from the inputs at the least. Those of a merge may be others by
    /// now, and barcodes of two samples have some in common; a filter takes cells of its input alone.
    fn least(self) -> usize {
        match self {
            Earlier::Merge => 4,
            Earlier::Filter => 12,
        }
    }

    /// Whether it may have so many cells, where some of the inputs have so many each: a filter makes no more of them, and
    /// a merge puts whole files together.
    fn may_have(self, cells: u64, inputs: &[u64]) -> bool {
        match self {
            Earlier::Merge => inputs.iter().any(|input| *input <= cells),
            Earlier::Filter => {
                cells
                    <= inputs
                        .iter()
                        .fold(0, |all, cells| all.saturating_add(*cells))
            }
        }
    }
}

/// Whether the output may be an earlier result, by its cells; so too where nothing tells. Inputs are opened until they
/// show it.
pub fn is_earlier(output: &Path, inputs: &[PathBuf], access: &Access, of: Earlier) -> bool {
    let output = cell_names(output, access);
    let Some((cells, mut missing)) = output.and_then(|names| Some((names.rows(), some(&names)?)))
    else {
        return true;
    };
    // So many names may stay unfound.
    let most = missing.len().saturating_sub(of.least());
    // The single input of a merge may have grown.
    let any_number = matches!((of, inputs), (Earlier::Merge, [_]));
    let mut rows = vec![];
    inputs.iter().any(|input| {
        let Some(names) = cell_names(input, access) else {
            return true;
        };
        rows.push(names.rows());
        let are_found = strike(&mut missing, &names, most);
        are_found && (any_number || of.may_have(cells, &rows))
    })
}

/// Takes out of `missing` the cells that a frame names, until so many are left at most; whether it is so, or names cannot
/// be read.
fn strike(missing: &mut Vec<Vec<u8>>, names: &Frame, most: usize) -> bool {
    steps(0..names.rows(), STEP).any(|part| {
        let Ok(names) = names.index_rows(part) else {
            return true;
        };
        for name in names.iter() {
            missing.retain(|cell| !is_named(cell, name));
        }
        missing.len() <= most
    }) || missing.len() <= most
}

/// Whether a cell has that name, or got a suffix to it.
fn is_named(cell: &[u8], name: &[u8]) -> bool {
    let rest = cell.strip_prefix(name);
    rest.is_some_and(|rest| {
        rest.first()
            .is_none_or(|byte| !byte.is_ascii_alphanumeric())
    })
}

/// Some of the names, from all over a frame; `None` where there are none, or they cannot be read.
fn some(names: &Frame) -> Option<Vec<Vec<u8>>> {
    let rows = names.rows();
    let name = |at: u64| {
        let row = at * rows / CELLS;
        let names = names.index_rows(row..row + 1).ok()?;
        names.iter().next().map(<[u8]>::to_vec)
    };
    if rows == 0 {
        return None;
    }
    (0..CELLS).map(name).collect()
}

/// The frame with the names of the cells of a file, if it can be read.
fn cell_names(path: &Path, access: &Access) -> Option<Frame> {
    Frame::open(&store::open(path, access).ok()?, "obs").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cells_tells_too() {
        for (of, cells, inputs, may) in [
            (Earlier::Filter, 665, &[700][..], true),
            (Earlier::Filter, 700, &[665], false),
            (Earlier::Filter, 900, &[500, 500], true),
            (Earlier::Merge, 300, &[853, 400], false),
            (Earlier::Merge, 700, &[300, 400, 500], true),
        ] {
            assert_eq!(of.may_have(cells, inputs), may, "{cells} of {inputs:?}");
        }
    }

    #[test]
    fn a_cell_keeps_its_name_under_a_suffix() {
        for (cell, name, is_it) in [
            ("AAAC-1", "AAAC-1", true),
            ("AAAC-1-d1", "AAAC-1", true),
            ("AAAC-12", "AAAC-1", false),
            ("10", "1", false),
            ("1_d1", "1", true),
            ("AAAC", "AAAC-1", false),
        ] {
            assert_eq!(is_named(cell.as_bytes(), name.as_bytes()), is_it, "{cell}");
        }
    }
}
