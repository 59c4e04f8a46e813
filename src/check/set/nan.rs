//! What `numpy.array_equal` finds different from a copy of itself, as cellarium-ml compares varm and varp.
//!
//! NaN is not equal to NaN there, nor is a missing value of a frame to another, and sparse matrices cannot be compared
//! so at all.

use std::slice::from_ref;

use anyhow::{Context, Result};

use crate::anndata::encoding::Encoding;
use crate::dtype::promote;
use crate::frame::column::ColumnKind;
use crate::frame::dataframe::Frame;
use crate::frame::values::Data;
use crate::report::failure::in_element;
use crate::rows::ranges::blocks;
use crate::store::spec::{Dtype, Kind};
use crate::store::{Array, Group, Node};

/// The paths of such elements of varm and varp, and why each is.
pub fn all(root: &Group) -> Result<Vec<(String, &'static str)>> {
    let mut found = vec![];
    for folder in ["varm", "varp"] {
        if let Some(Node::Group(group)) = root.get(folder)? {
            for name in group.names()? {
                let path = format!("{folder}/{name}");
                let why = never_equal(&group, &name).with_context(|| in_element("Read", &path))?;
                found.extend(why.map(|why| (path, why)));
            }
        }
    }
    Ok(found)
}

/// Why the element `name` is; `None` where it is not.
fn never_equal(folder: &Group, name: &str) -> Result<Option<&'static str>> {
    const NAN: &str = "has NaN";
    let node = folder.get(name)?.context("It is missing")?;
    let encoding = Encoding::of(&node)?;
    let has_nan = match (encoding, node) {
        (Encoding::Csr | Encoding::Csc, _) => return Ok(Some("is sparse")),
        (Encoding::DataFrame, _) => frame_has(&Frame::open(folder, name)?)?,
        (_, Node::Array(array)) => array_has(&array)?,
        _ => false,
    };
    Ok(has_nan.then_some(NAN))
}

fn array_has(array: &Array) -> Result<bool> {
    let spec = array.spec();
    let dtype = spec.dtype.as_read();
    if !is_float(dtype) {
        return Ok(false);
    }
    array.check_declared()?;
    for rows in blocks(spec.rows(), spec.row_bytes()) {
        if bytes_have(&array.read(from_ref(&rows))?, dtype)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A frame over genes is small, so its columns are read whole.
fn frame_has(frame: &Frame) -> Result<bool> {
    for name in &frame.columns {
        let column = frame.find(name)?.context("It is missing")?;
        if let ColumnKind::Categorical { .. } = column.kind {
            if column.codes(0..column.rows())?.contains(&u64::MAX) {
                return Ok(true);
            }
            continue;
        }
        let values = column.read_all()?;
        let has = match &values.data {
            Data::Numbers { dtype, bytes } if is_float(dtype) => bytes_have(bytes, dtype)?,
            _ => false,
        };
        if has || values.missing.contains(&true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Complex numbers are not looked at.
fn is_float(dtype: &Dtype) -> bool {
    dtype.kind() == Some(Kind::Float) && matches!(dtype.size(), 2 | 4 | 8)
}

fn bytes_have(bytes: &[u8], dtype: &Dtype) -> Result<bool> {
    Ok(promote::floats(bytes, dtype)?
        .iter()
        .any(|value| value.is_nan()))
}
