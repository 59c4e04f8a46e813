//! Whether what lies on the var axis is as long as var.
//!
//! The other axis is checked where leaves are made ([`select`](super::select)). Shapes and lengths are compared, and no
//! values are read.

use anyhow::{Context, Result, ensure};

use super::columns;
use super::encoding::Encoding;
use crate::report::failure::in_element;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::sparse::{self, Sparse};
use crate::store::{Group, Node};

/// An error that names the element where columns of X, layers or raw/X, or rows of var, varm and varp, are not as many
/// as there are genes.
pub fn check(root: &Group, leaves: &[Leaf], csc: &[(String, Sparse)]) -> Result<()> {
    let genes = columns::length(root, "var").context("Read 'var'")?;
    ensure!(
        // Where the non-zeros of a row are sorted, their columns are numbers of 32 bits.
        u32::try_from(genes).is_ok(),
        "It has {genes} genes; at most {} are supported",
        u32::MAX
    );
    leaves.iter().try_for_each(check_axes)?;
    let raw = raw_genes(root).context("Read 'raw/var'")?;
    let sparse = csc.iter().map(|(path, m)| (path, m.shape[1]));
    let leaves = leaves.iter().filter_map(|l| Some((&l.path, columns(l)?)));
    for (path, found) in sparse.chain(leaves) {
        let wanted = match path.as_str() {
            // Of a raw without var there is nothing to compare with.
            "raw/X" => raw.unwrap_or(found),
            _ if path == "X" || path.starts_with("layers/") => genes,
            _ => continue,
        };
        ensure!(
            found == wanted,
            "'{path}' has {found} columns, but its var has {wanted} rows"
        );
    }
    if let Some(Node::Group(var)) = root.get("var")?
        && Encoding::of_group(&var)? == Encoding::DataFrame
    {
        for name in columns::columns(&var)? {
            check_rows(&var, &name, genes)?;
        }
    }
    for folder in ["varm", "varp"] {
        if let Some(Node::Group(group)) = root.get(folder)? {
            for name in group.names()? {
                check_rows(&group, &name, genes)?;
            }
        }
    }
    Ok(())
}

/// The genes of raw, wherever an old layout keeps them; `None` where there is no raw.
fn raw_genes(root: &Group) -> Result<Option<u64>> {
    for path in ["raw/var", "raw.var"] {
        if root.get(path)?.is_some() {
            return columns::length(root, path).map(Some);
        }
    }
    Ok(None)
}

/// Columns of a matrix, one of what has no other axis; `None` for what is none. That of cells by cells is none here:
/// its columns were compared with obs.
fn columns(leaf: &Leaf) -> Option<u64> {
    match &leaf.kind {
        LeafKind::Sparse(s) => Some(s.shape[1]),
        LeafKind::Fixed(a) | LeafKind::Text(a) => Some(a.spec().shape.get(1).copied().unwrap_or(1)),
        _ => None,
    }
}

/// An error where X is no matrix: anndata does not open such a file.
fn check_axes(leaf: &Leaf) -> Result<()> {
    if let ("X" | "raw/X", LeafKind::Fixed(array)) = (leaf.path.as_str(), &leaf.kind) {
        let shape = &array.spec().shape;
        ensure!(
            shape.len() == 2,
            "'{}' is an array of shape {shape:?}, where a matrix of cells and genes is expected",
            leaf.path
        );
    }
    Ok(())
}

/// An error unless a column of var, or an element of varm or varp, has a row for each gene.
fn check_rows(group: &Group, name: &str, genes: u64) -> Result<()> {
    let path = format!("{}/{name}", group.path());
    let node = group
        .get(name)?
        .with_context(|| format!("'{path}' is missing"))?;
    let found = match (Encoding::of(&node)?, &node) {
        (Encoding::Csr | Encoding::Csc, Node::Group(g)) => sparse::describe(g)?.0[0],
        (Encoding::DataFrame, Node::Group(g)) => {
            let index = columns::index_name(g)?;
            let index = g
                .get(&index)?
                .with_context(|| format!("'{path}' has no index"))?;
            columns::column_length(&index)?
        }
        (Encoding::Categorical | Encoding::Nullable, _)
        | (Encoding::Array | Encoding::StringArray, _) => {
            columns::column_length(&node).with_context(|| in_element("Read", &path))?
        }
        // Of awkward arrays, folders and unknown elements no length is compared.
        _ => return Ok(()),
    };
    ensure!(
        found == genes,
        "'{path}' has {found} rows, but var has {genes}"
    );
    Ok(())
}
