//! A column that is added to obs: written as a categorical one to a scratch file, and from there as if the input had it.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::Obs;
use crate::frame::plain;
use crate::frame::values::Data;
use crate::store::spec::{Attr, Attrs, Dtype, Kind};
use crate::store::{self, Access, Container, Group, Node};

/// An error where a column of this name cannot be added.
pub fn check_name(obs: &Obs, name: &str) -> Result<()> {
    ensure!(
        !name.contains('/'),
        "Column '{name}' cannot be added to obs: its name has a '/'"
    );
    ensure!(
        name != obs.frame.index_name,
        "Column '{name}' cannot be added to obs, whose index has that name"
    );
    Ok(())
}

/// Writes `categories` and the code of each cell, which may be [`NONE`](super::NONE), to a new file at `path`, as
/// anndata would. Returns where they lie.
pub fn categorical(
    path: &Path,
    categories: &Data,
    codes: impl ExactSizeIterator<Item = u32>,
) -> Result<Group> {
    // The widths of codes that pandas takes: one byte for less than 127 categories.
    let size = match categories.len() {
        0..0x7f => 1,
        0x7f..0x7fff => 2,
        _ => 4,
    };
    let root = store::create(path, Container::H5AD)?;
    let attrs = Attrs::encoding("categorical", "0.2.0").with("ordered", Attr::bool(false));
    root.create_group("column", &attrs)?;
    let (count, dtype) = (categories.len() as u64, categories.dtype());
    let mut all = plain::array(&root, "column/categories", count, &dtype)?;
    match categories {
        Data::Numbers { bytes, .. } => all.append(bytes)?,
        Data::Text(strings) => all.append_strings(strings)?,
    }
    all.finish()?;
    append(&root, size, codes)?;
    root.finish()?;
    match store::open(path, &Access::default())?.get("column")? {
        Some(Node::Group(group)) => Ok(group),
        _ => bail!("{} is gone", path.display()),
    }
}

/// Writes codes of `size` bytes each.
fn append(root: &Group, size: usize, mut codes: impl ExactSizeIterator<Item = u32>) -> Result<()> {
    /// Codes that are written at a time.
    const STEP: usize = 1 << 20;
    let dtype = Dtype::native(Kind::Int, size);
    let mut array = plain::array(root, "column/codes", codes.len() as u64, &dtype)?;
    while codes.len() > 0 {
        // Those that are missing are -1 in every size.
        let some = codes.by_ref().take(STEP).map(|code| code as i32);
        let bytes: Vec<u8> = match size {
            1 => some.map(|code| code as u8).collect(),
            2 => some.flat_map(|code| (code as i16).to_ne_bytes()).collect(),
            _ => some.flat_map(i32::to_ne_bytes).collect(),
        };
        array.append(&bytes)?;
    }
    array.finish().map(drop)
}
