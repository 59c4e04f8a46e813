//! `--csr`: CSC matrices become CSR ones before rows are taken, in a scratch file; from there on it is as if the file had
//! them so.
//!
//! All of them go to one `.h5ad` without compression, at the paths that they have, and the selection reads them from
//! there. CSC matrices of cells by cells are leaves already, and turned as well.

use anyhow::{Context, Result};
use tracing::info;

use super::Request;
use crate::anndata::select::Selection;
use crate::report::failure::in_element;
use crate::resources::{Need, ensure_room};
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::turned;
use crate::store::spec::Attrs;
use crate::store::{self, Access, Container, Group};

/// What the CSC matrices of a selection take by rows, and beside that while they are turned.
pub fn scratch_bytes(selection: &Selection) -> u64 {
    let bytes = selection.csc.iter().map(|(_, m)| m);
    let bytes = bytes.chain(selection.leaves.iter().filter_map(square));
    bytes
        .map(turned::scratch_bytes)
        .fold(0, u64::saturating_add)
}

/// Makes CSR matrices of all CSC matrices of a selection.
pub fn run(selection: &mut Selection, request: &Request, needs: &mut Vec<Need>) -> Result<()> {
    let bytes = scratch_bytes(selection);
    if selection.csc.is_empty() && !selection.leaves.iter().any(|leaf| square(leaf).is_some()) {
        return Ok(());
    }
    needs.push(Need {
        folder: request.scratch.parent().to_owned(),
        bytes,
        what: "CSC matrices, turned, need (see --tmpdir)",
    });
    ensure_room(needs)?;
    let path = request.scratch.folder()?.join("by_rows.h5ad");
    let out = store::create(&path, Container::H5AD)?;
    for (path, matrix) in all(selection) {
        info!("Turning the columns of '{path}' into rows...");
        turned::write(matrix, &out, path, || request.scratch.folder())
            .with_context(|| in_element("Turn", path))?;
    }
    out.finish()?;
    replace(selection, &store::open(&path, &Access::default())?)
}

/// The CSC matrices with their paths.
fn all(selection: &Selection) -> impl Iterator<Item = (&str, &Sparse)> {
    let squares = selection.leaves.iter();
    let squares = squares.filter_map(|leaf| Some((leaf.path.as_str(), square(leaf)?)));
    let csc = selection.csc.iter();
    csc.map(|(path, matrix)| (path.as_str(), matrix))
        .chain(squares)
}

/// The CSC matrix of cells by cells that a leaf may be.
fn square(leaf: &Leaf) -> Option<&Sparse> {
    match &leaf.kind {
        LeafKind::SquareSparse(matrix) if matrix.layout == SparseFormat::Csc => Some(matrix),
        _ => None,
    }
}

/// Takes the matrices from `made`, where they have the same paths.
fn replace(selection: &mut Selection, made: &Group) -> Result<()> {
    for leaf in &mut selection.leaves {
        if square(leaf).is_some() {
            leaf.kind = LeafKind::SquareSparse(turned::open(made, &leaf.path)?);
        }
    }
    for (path, _) in std::mem::take(&mut selection.csc) {
        let kind = LeafKind::Sparse(turned::open(made, &path)?);
        let attrs = Attrs::default();
        selection.leaves.push(Leaf { path, attrs, kind });
    }
    Ok(())
}
