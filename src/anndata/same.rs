//! Whether nodes of two files hold the same.
//!
//! Names, attributes of groups, types and values are compared, in blocks, until something differs; attributes of arrays
//! are not. Equal numbers of other types count as different, and so does what cannot be read.

use anyhow::Result;

use super::copy::whole;
use crate::store::spec::Dtype;
use crate::store::{Array, Group, Node};

/// Whether the nodes at `path` in two files hold the same, values included.
pub fn at(a: &Group, b: &Group, path: &str) -> Result<bool> {
    nodes(a.get(path)?, b.get(path)?)
}

/// Whether two nodes hold the same, values included.
pub fn nodes(a: Option<Node>, b: Option<Node>) -> Result<bool> {
    match (a, b) {
        (None, None) => Ok(true),
        (Some(Node::Group(a)), Some(Node::Group(b))) => {
            let names = a.names()?;
            if names != b.names()? || a.attrs()?.sorted() != b.attrs()?.sorted() {
                return Ok(false);
            }
            for name in names {
                if !at(&a, &b, &name)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Some(Node::Array(a)), Some(Node::Array(b))) => values(&a, &b),
        _ => Ok(false),
    }
}

fn values(a: &Array, b: &Array) -> Result<bool> {
    let spec = a.spec();
    if spec != b.spec() || matches!(spec.dtype, Dtype::Unsupported(_)) {
        return Ok(false);
    }
    b.check_declared()?;
    for rows in whole(a)? {
        let rows = std::slice::from_ref(&rows);
        let equal = if spec.dtype == Dtype::String {
            a.read_strings(rows)? == b.read_strings(rows)?
        } else {
            a.read(rows)? == b.read(rows)?
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}
