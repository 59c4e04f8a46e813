//! Warnings of what is copied as it is though anndata does not open a file with it, and whose meaning is not plain.
//!
//! slice and filter of a single file call this before they write. Joined inputs do not need it: merge puts these
//! elements together anew, or refuses them.

use anyhow::Result;

use super::column::{Column, ColumnKind};
use super::dataframe::Frame;
use super::distinct;
use crate::anndata::encoding::Encoding;
use crate::anndata::heal;
use crate::anndata::select::holds_types_alone;
use crate::report::once::warn_once;
use crate::store::{Group, Node};

/// Looks at the names at the root, at the columns of obs and var, and at the frames below obsm and varm.
pub fn warn(root: &Group) -> Result<()> {
    for name in root.names()? {
        if !is_part(&name) && !holds_types_alone(root.get(&name)?)? {
            tell(&name, "is no part of an AnnData file");
        }
    }
    for (frame, folder) in [("obs", "obsm"), ("var", "varm")] {
        if let Some(Node::Group(group)) = root.get(frame)? {
            for name in group.names()? {
                if let Some(node @ Node::Group(_)) = group.get(&name)? {
                    categories(&format!("{frame}/{name}"), node)?;
                }
            }
        }
        if let Some(Node::Group(group)) = root.get(folder)? {
            for name in group.names()? {
                names(root, &format!("{folder}/{name}"), frame, &group.get(&name)?)?;
            }
        }
    }
    Ok(())
}

/// Whether anndata knows a name at the root, of older layouts too.
pub fn is_part(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "X", "layers", "obs", "obsm", "obsp", "raw", "uns", "var", "varm", "varp",
    ];
    PARTS.contains(&name) || name.starts_with("raw.")
}

/// pandas takes no categories that are missing values, or twice there.
fn categories(path: &str, node: Node) -> Result<()> {
    let is_categorical = Encoding::of(&node)? == Encoding::Categorical;
    let Node::Group(group) = &node else {
        return Ok(());
    };
    if !is_categorical {
        return Ok(());
    }
    if group.attrs()?.get("ordered").is_none() {
        tell(path, "has no 'ordered'");
        return Ok(());
    }
    // One NaN among float categories is left out as the column is written, and its cells become missing, so what is
    // written is sound.
    let is_healed = heal::missing_level(group)?.is_some();
    let categories = match Column::open(node).map(|column| column.kind) {
        Ok(ColumnKind::Categorical { categories, .. }) => categories,
        Ok(_) => return Ok(()),
        Err(why) => {
            tell(path, &format!("is no column ({why:#})"));
            return Ok(());
        }
    };
    // Equal numbers have equal bytes now, and NaN is missing.
    let values = categories.read_all()?.comparable()?;
    let mut keys = distinct::keys(&values);
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    if values.missing.contains(&true) && !is_healed {
        tell(path, "has a missing value among its categories");
    } else if keys.len() < count {
        tell(path, "has a category twice");
    }
    Ok(())
}

/// anndata takes no frame along an axis that has other names than the axis.
fn names(root: &Group, path: &str, axis: &str, node: &Option<Node>) -> Result<()> {
    let is_frame = match node {
        Some(node) => matches!(Encoding::of(node)?, Encoding::DataFrame),
        None => false,
    };
    if is_frame && !Frame::open(root, path)?.has_names_of(&Frame::open(root, axis)?)? {
        tell(path, &format!("has other names than {axis}"));
    }
    Ok(())
}

fn tell(path: &str, what: &str) {
    warn_once(format!(
        "'{path}' {what}, so anndata will not open what is written; it is copied as it is"
    ));
}
