//! The dataframe element on disk: which columns it lists, and how many rows they have.
//!
//! A `dataframe` of version 0.2.0 is a group with a node for each column. Its attribute `_index` names the column that
//! has the names of the rows, `column-order` the others in their order. Columns that are [hidden](Group::hides) count
//! as not there, here as in all that is listed.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};

use super::encoding::Encoding;
use crate::report::failure::in_element;
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{Group, Node};

/// The name of the index column.
pub fn index_name(frame: &Group) -> Result<String> {
    match frame.attrs()?.get("_index") {
        Some(Attr::Text(name)) => Ok(name.clone()),
        _ => bail!("Dataframe '{}' has no attribute '_index'", frame.path()),
    }
}

/// The columns of a dataframe in their order, the index first; each named once.
pub fn columns(frame: &Group) -> Result<Vec<String>> {
    let index = index_name(frame)?;
    let mut names = column_order(frame)?;
    names.retain(|name| *name != index);
    names.insert(0, index);
    Ok(names)
}

/// The names that a dataframe lists, each once. The index may be among them: it is a column too, then. An error where
/// there is no such list: to take it for an empty one would lose all columns.
pub fn column_order(frame: &Group) -> Result<Vec<String>> {
    let listed = match frame.attrs()?.get("column-order") {
        // anndata goes through a text letter by letter, so it is right where names have one.
        Some(Attr::Text(names)) => Some(names.chars().map(String::from).collect()),
        Some(order) => order.as_texts(),
        None => None,
    };
    let listed = listed.with_context(|| {
        let path = frame.path();
        format!("Dataframe '{path}' has no list of names 'column-order'")
    })?;
    let mut seen = HashSet::new();
    let listed = listed.into_iter().filter(|name| !frame.hides(name));
    Ok(listed.filter(|name| seen.insert(name.clone())).collect())
}

/// The attributes of a group, which list no columns that are not shown. Written as they are, they would name columns
/// that the output does not have.
pub fn attrs(group: &Group) -> Result<Attrs> {
    let mut attrs = group.attrs()?;
    if let Some(mut order) = attrs.get("column-order").and_then(Attr::as_texts)
        && order.iter().any(|name| group.hides(name))
    {
        order.retain(|name| !group.hides(name));
        attrs.set("column-order", Attr::texts(order));
    }
    Ok(attrs)
}

/// What is in the group of a dataframe beside the columns `listed`.
pub fn unlisted(frame: &Group, listed: &[String]) -> Result<Vec<String>> {
    let mut names = frame.names()?;
    names.retain(|name| {
        // A column `a/b` is in a group `a`.
        let folder = format!("{name}/");
        let is_listed = |l: &String| l == name || l.starts_with(&folder);
        !listed.iter().any(is_listed)
    });
    Ok(names)
}

/// Whether categories are ordered, by the attribute that says so; false where there is none. An error for what Python
/// takes neither for true nor for false.
pub fn is_ordered(ordered: Option<&Attr>) -> Result<bool> {
    match ordered {
        None => Ok(false),
        Some(attr) => attr.is_true().context("Its 'ordered' is no bool"),
    }
}

/// Rows of the dataframe `name`. They are those of its index, or of a compound dataset, as frames were before anndata
/// 0.7; an error for anything else.
pub fn length(root: &Group, name: &str) -> Result<u64> {
    match root.get(name)? {
        Some(Node::Array(array)) => match array.spec().dtype {
            Dtype::Record { .. } => Ok(array.spec().rows()),
            _ => bail!("'{name}' is no dataframe"),
        },
        Some(Node::Group(frame)) => {
            let index = index_name(&frame)?;
            let node = frame
                .get(&index)?
                .with_context(|| format!("'{name}' has no index '{index}'"))?;
            let length = || {
                check_written(&node)?;
                column_length(&node)
            };
            length().with_context(|| in_element("Read", format!("{name}/{index}")))
        }
        None => bail!("It has no '{name}'"),
    }
}

/// An error where names were announced, but none was written: their number is no more than a claim.
fn check_written(index: &Node) -> Result<()> {
    if let Node::Array(array) = index {
        // One name may be empty: writers of Zarr leave chunks out that hold nothing else.
        let few = array.spec().rows() < 2 || !array.spec().dtype.is_string();
        ensure!(
            few || array.layout()?.bytes != Some(0),
            "Of its {} names none was written",
            array.spec().rows()
        );
    }
    Ok(())
}

/// Rows of one column. Where it is of two arrays, those of `codes` or `values`; an error for a scalar, and for what is
/// no column.
pub fn column_length(column: &Node) -> Result<u64> {
    match column {
        Node::Array(array) => {
            ensure!(
                !array.spec().shape.is_empty(),
                "It is a scalar, not a column"
            );
            Ok(array.spec().rows())
        }
        Node::Group(group) => {
            let part = match Encoding::of_group(group)? {
                Encoding::Categorical => "codes",
                Encoding::Nullable => "values",
                other => bail!("It is {other}, not a column"),
            };
            match group.get(part)? {
                Some(Node::Array(array)) => Ok(array.spec().rows()),
                _ => bail!("It has no array '{part}'"),
            }
        }
    }
}
