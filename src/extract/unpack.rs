//! Compressed arrays are unpacked to scratch files before rows are taken in another order, so that any row can be read by
//! itself: else a chunk would be decoded for each of many waves.
//!
//! Columns are not: they are read once anyway, and put into scratch by wave ([`by_wave`](crate::rows::by_wave)).

use std::path::Path;
use std::slice::from_ref;

use anyhow::{Context, Result};
use tracing::info;

use crate::output::Scratch;
use crate::resources::format_size;
use crate::rows::cost::RowCost;
use crate::rows::group::{LeafGroup, groups, same_indices};
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::same_files::of_files;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::sparsity::Sharing;
use crate::rows::writer::LeafWriter;
use crate::store::{self, Access, Container, Group, Node};

/// Unpacks what is compressed, but for columns. Indices that several matrices have are written once. `costs` are what
/// [`Leaf::cost`] gives.
pub fn run(leaves: &mut [Leaf], costs: &[RowCost], scratch: &Scratch) -> Result<()> {
    let wide = leaves.iter().filter(|leaf| !leaf.is_narrow());
    let bytes = wide.map(Leaf::unpacked_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    if bytes == 0 {
        return Ok(());
    }
    info!("Unpacking {} to scratch...", format_size(bytes));
    let folder = scratch.folder()?;
    unpack_stacked(leaves, costs, &folder)?;
    // Found before any is unpacked, while chunks can be compared as they are stored.
    let same = same_indices(leaves)?;
    for (at, same) in same.iter().enumerate() {
        let (before, rest) = leaves.split_at_mut(at);
        if !rest[0].is_narrow() {
            rest[0].unpack(&folder, same.map(|at| &before[at]))?;
        }
    }
    Ok(())
}

/// Unpacks the matrices of several files into one, file by file.
fn unpack_stacked(leaves: &mut [Leaf], costs: &[RowCost], folder: &Path) -> Result<()> {
    let is_packed = |leaf: &Leaf| leaf.unpacked_bytes() > 0 && of_files(leaf).is_some();
    if !leaves.iter().any(is_packed) {
        return Ok(());
    }
    let path = folder.join("unpacked.h5ad");
    let out = store::create(&path, Container::H5AD)?;
    let mut groups = groups(leaves, Sharing::Decoding);
    for group in &mut groups {
        // A group may hold matrices that lie in their places, and need no copy.
        group.members.retain(|at| is_packed(&leaves[*at]));
    }
    groups.retain(|group| !group.members.is_empty());
    for group in &groups {
        write(leaves, costs, group, &out)?;
    }
    let unpacked: Vec<usize> = groups.into_iter().flat_map(|group| group.members).collect();
    out.finish()?;
    let made = store::open(&path, &Access::default())?;
    for at in unpacked {
        let leaf = &mut leaves[at];
        let kind = match made.get(&leaf.path)?.context("It was not written")? {
            Node::Array(array) => LeafKind::Fixed(array),
            Node::Group(group) => LeafKind::Sparse(Sparse::open(&group, SparseFormat::Csr)?),
        };
        let plain = Leaf {
            path: leaf.path.clone(),
            attrs: leaf.attrs.clone(),
            kind,
        };
        if let LeafKind::Stacked(stacked) = &mut leaf.kind {
            // It stays stacked: its rows are of the same types and as many, and read from one file now.
            stacked.read_from(move |ranges| plain.read(ranges));
        }
    }
    Ok(())
}

/// Writes all rows of the leaves of a group.
fn write(leaves: &[Leaf], costs: &[RowCost], group: &LeafGroup, out: &Group) -> Result<()> {
    let create = |at: &usize| {
        let leaf = &leaves[*at];
        let nnz = leaf.count(from_ref(&(0..leaf.rows())))?;
        LeafWriter::create(leaf, out, leaf.rows(), nnz)
    };
    let mut writers = group
        .members
        .iter()
        .map(create)
        .collect::<Result<Vec<_>>>()?;
    let mut theirs: Vec<_> = writers.iter_mut().collect();
    let rows = leaves[group.members[0]].rows();
    group.append_from(leaves, &mut theirs, 0..rows, None, costs)?;
    writers.into_iter().try_for_each(LeafWriter::finish)
}
