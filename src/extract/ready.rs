//! What is done before rows are taken, so that each can be read by itself: CSC matrices are turned into CSR ones (`--csr`),
//! and compressed arrays unpacked. Both go to scratch files, and from there it is as if the file had them.

use std::path::Path;

use anyhow::{Context, Result};
use tracing::info;

use super::Request;
use crate::anndata::select::Selection;
use crate::output::Scratch;
use crate::report::failure::in_element;
use crate::resources::{Need, ensure_room, format_size};
use crate::rows::group::same_indices;
use crate::rows::leaf::{Leaf, Source};
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::{turned, writer};
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
pub fn turn(selection: &mut Selection, request: &Request, needs: &mut Vec<Need>) -> Result<()> {
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
    match &leaf.source {
        Source::SquareSparse(matrix) if matrix.layout == SparseFormat::Csc => Some(matrix),
        _ => None,
    }
}

/// Takes the matrices from `made`, where they have the same paths.
fn replace(selection: &mut Selection, made: &Group) -> Result<()> {
    for leaf in &mut selection.leaves {
        if square(leaf).is_some() {
            leaf.source = Source::SquareSparse(turned::open(made, &leaf.path)?);
        }
    }
    for (path, _) in std::mem::take(&mut selection.csc) {
        let source = Source::Sparse(turned::open(made, &path)?);
        let attrs = Attrs::default();
        selection.leaves.push(Leaf {
            path,
            attrs,
            source,
        });
    }
    Ok(())
}

/// Decodes compressed arrays once, where waves would decode them again and again.
pub fn unpack(leaves: &mut [Leaf], scratch: &Scratch) -> Result<()> {
    let bytes = leaves.iter().map(Leaf::unpacked_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    if bytes == 0 {
        return Ok(());
    }
    info!("Unpacking {} to scratch...", format_size(bytes));
    let folder = scratch.folder()?;
    let same = same_indices(leaves)?;
    for (at, same) in same.iter().enumerate() {
        let (before, rest) = leaves.split_at_mut(at);
        unpack_one(&mut rest[0], &folder, same.map(|at| &before[at]))?;
    }
    Ok(())
}

/// Unpacks a leaf; `like` is an unpacked one that has the very same indices.
fn unpack_one(leaf: &mut Leaf, folder: &Path, like: Option<&Leaf>) -> Result<()> {
    if leaf.unpacked_bytes() == 0 || !matches!(leaf.source, Source::Stacked(_)) {
        return leaf.unpack(folder, like);
    }
    let plain = writer::unpacked(leaf, folder)?;
    if let Source::Stacked(stacked) = &mut leaf.source {
        stacked.read_from(move |ranges| plain.read(ranges));
    }
    Ok(())
}
