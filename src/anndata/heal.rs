//! What other programs write that anndata does not open, though its meaning is plain: such nodes are not copied as they
//! are but value by value, right.
//!
//! Text that is UTF-8 while its type says ASCII; codes of -2^31, as R stores missing integers; masks of 0 and 1; NaN as a
//! category.
//!
//! What is found here is mended elsewhere: codes and masks as rows are read (`rows/leaf.rs`), text and categories as
//! they are copied ([`copy`](super::copy)). `rows/healed.rs` has the warnings. Values are read in blocks to find it.

use std::slice::from_ref;

use anyhow::{Context, Result};

use super::columns;
use super::encoding::Encoding;
use crate::dtype::{ints, promote};
use crate::rows::leaf::Levels;
use crate::rows::ranges::blocks;
use crate::store::spec::{Dtype, Kind};
use crate::store::{Array, Group, Node};

/// Whether nothing at or below a node has to be mended. Then it may be copied as it is stored. An error for text that
/// is no UTF-8, which nobody can mend.
pub fn is_right(node: &Node) -> Result<bool> {
    let group = match node {
        Node::Array(array) => return Ok(!is_text(array)? || has_right_type(array)?),
        Node::Group(group) => group,
    };
    let right = match Encoding::of_group(group)? {
        Encoding::Categorical => {
            part(group, "codes", |codes| Ok(!has_foreign_missing(codes)?))?
                && missing_level(group)?.is_none()
        }
        Encoding::Nullable => part(group, "mask", |mask| Ok(is_mask(mask)))?,
        _ => true,
    };
    if !right {
        return Ok(false);
    }
    for name in group.names()? {
        if let Some(node) = group.get(&name)?
            && !is_right(&node)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an array is a mask as anndata reads it.
pub fn is_mask(array: &Array) -> bool {
    array.spec().dtype.kind() == Some(Kind::Bool)
}

/// Whether an array holds text, and not bytes of a fixed width.
pub fn is_text(array: &Array) -> Result<bool> {
    let spec = array.spec();
    Ok(!spec.null
        && match spec.dtype {
            Dtype::String => true,
            Dtype::FixedString { .. } => matches!(
                array.attrs()?.text("encoding-type"),
                Some("string" | "string-array")
            ),
            _ => false,
        })
}

/// Whether the type of text does not say ASCII of what is not. An error for text that is not UTF-8.
pub fn has_right_type(array: &Array) -> Result<bool> {
    /// What is guessed for a text.
    const TEXT: u64 = 64;
    array.check_declared()?;
    let mut is_ascii = true;
    for rows in blocks(array.spec().rows(), TEXT * array.spec().row_items()) {
        is_ascii &= array.read_strings(from_ref(&rows))?.bytes.is_ascii();
    }
    Ok(is_ascii || !array.says_ascii())
}

/// What the codes of a categorical column stand for.
pub fn levels(group: &Group) -> Result<Levels> {
    let categories = group.get("categories")?;
    let categories = categories.context("It has no 'categories'")?;
    Ok(Levels {
        count: columns::column_length(&categories)?,
        missing: missing_level(group)?,
    })
}

/// The one category that is NaN, where codes may be less than 0. Codes without a sign cannot say that a value is
/// missing, so there it stays.
pub fn missing_level(group: &Group) -> Result<Option<u64>> {
    let is_signed = |codes: &Array| Ok(codes.spec().dtype.kind() == Some(Kind::Int));
    let Some(Node::Array(categories)) = group.get("categories")? else {
        return Ok(None);
    };
    let spec = categories.spec();
    let are_floats = spec.dtype.kind() == Some(Kind::Float) && spec.shape.len() == 1;
    if !are_floats || !part(group, "codes", is_signed)? {
        return Ok(None);
    }
    categories.check_declared()?;
    let mut missing = vec![];
    for rows in blocks(spec.rows(), spec.row_bytes()) {
        let values = promote::floats(&categories.read(from_ref(&rows))?, &spec.dtype)?;
        let nan = (rows.start..)
            .zip(values)
            .filter(|(_, value)| value.is_nan());
        missing.extend(nan.map(|(at, _)| at));
    }
    Ok(match missing[..] {
        // Several are another fault, and are left as they are.
        [one] => Some(one),
        _ => None,
    })
}

/// Whether an array of a column is right; one that is missing is, as others refuse that.
fn part(group: &Group, name: &str, is_right: impl FnOnce(&Array) -> Result<bool>) -> Result<bool> {
    match group.get(name)? {
        Some(Node::Array(array)) => is_right(&array),
        _ => Ok(true),
    }
}

/// Whether some code is what R stores for a missing integer. Codes of 1 and 2 bytes hold no such number.
fn has_foreign_missing(codes: &Array) -> Result<bool> {
    let spec = codes.spec();
    if spec.dtype.kind() != Some(Kind::Int) || spec.dtype.size() < 4 {
        return Ok(false);
    }
    codes.check_declared()?;
    for rows in blocks(spec.rows(), spec.row_bytes()) {
        if ints::mark_missing(&mut codes.read(from_ref(&rows))?, &spec.dtype)? {
            return Ok(true);
        }
    }
    Ok(false)
}
