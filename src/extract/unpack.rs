//! Compressed arrays are unpacked to scratch files before rows are taken in another order, so that any row can be read by
//! itself: else a chunk would be decoded for each of many waves.
//!
//! Columns are not: they are read once anyway, and put into scratch by wave ([`by_wave`](crate::rows::by_wave)).

use std::path::Path;

use anyhow::Result;
use tracing::info;

use crate::output::Scratch;
use crate::resources::format_size;
use crate::rows::group::{by_file, same_indices};
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::writer;

/// Unpacks what is compressed, but for columns. Indices that several matrices have are written once.
pub fn run(leaves: &mut [Leaf], scratch: &Scratch) -> Result<()> {
    let wide = leaves.iter().filter(|leaf| !leaf.is_narrow());
    let bytes = wide.map(Leaf::unpacked_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    if bytes == 0 {
        return Ok(());
    }
    info!("Unpacking {} to scratch...", format_size(bytes));
    let folder = scratch.folder()?;
    unpack_stacked(leaves, &folder)?;
    let same = same_indices(leaves)?;
    for (at, same) in same.iter().enumerate() {
        let (before, rest) = leaves.split_at_mut(at);
        if !rest[0].is_narrow() {
            rest[0].unpack(&folder, same.map(|at| &before[at]))?;
        }
    }
    Ok(())
}

/// Unpacks the matrices of several files.
fn unpack_stacked(leaves: &mut [Leaf], folder: &Path) -> Result<()> {
    let is_packed = |leaf: &&Leaf| leaf.unpacked_bytes() > 0 && by_file(leaf).is_some();
    let packed: Vec<&Leaf> = leaves.iter().filter(is_packed).collect();
    let Some(first) = packed.first().and_then(|leaf| by_file(leaf)) else {
        return Ok(());
    };
    let mut plain = writer::unpacked(&packed, &first.files(), folder)?.into_iter();
    for leaf in leaves.iter_mut().filter(|leaf| is_packed(&&**leaf)) {
        if let (LeafKind::Stacked(stacked), Some(plain)) = (&mut leaf.kind, plain.next()) {
            stacked.read_from(move |ranges| plain.read(ranges));
        }
    }
    Ok(())
}
