//! What loaders look at of one file of a set: first what metadata say, then the values of what is on the genes.
//!
//! [`Outline`] takes no value but a few rows of matrices, to see whether they are sorted. [`Values`] reads var, varm,
//! varp and the categories of obs, and keeps digests: elements are equal if their digests are.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::anndata::encoding::Encoding;
use crate::dtype::ints;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::dataframe::Frame;
use crate::frame::digest::{self, Digest};
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::store::{Format, Group, Node};

/// The folders whose names loaders compare.
pub const FOLDERS: [&str; 4] = ["layers", "obsm", "varm", "varp"];

/// What metadata say.
pub struct Outline {
    pub format: Format,
    /// Rows of var.
    pub genes: u64,
    /// The columns of obs and var in their order, each with its type.
    pub columns: BTreeMap<&'static str, Vec<(String, String)>>,
    /// The names in each of [`FOLDERS`].
    pub names: BTreeMap<&'static str, Vec<String>>,
    /// What X and the layers are, by path.
    pub matrices: BTreeMap<String, Matrix>,
    pub has_raw: bool,
    /// Nullable string arrays of obs and var, by path.
    pub masked: Vec<String>,
}

/// How a matrix is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// `dense`, `csr` or `csc`, or what else it is.
    pub kind: String,
    /// numpy's name; empty where the matrix is neither an array nor sparse.
    pub dtype: String,
    /// Whether rows that were looked at have indices out of order.
    pub unsorted: bool,
}

/// What the values on the genes and the categories say.
pub struct Values {
    /// The names of the genes: in their order, and in any.
    pub genes: Digest,
    pub any_order: Digest,
    /// The columns of var, by name.
    /// Types count, and so does the order of categories where they are ordered.
    pub var: BTreeMap<String, Digest>,
    /// What is in varm and varp, by path; `None` is equal to nothing.
    pub elements: BTreeMap<String, Option<Digest>>,
    /// The categories of columns of obs, by name.
    pub categories: BTreeMap<String, Categories>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Categories {
    pub ordered: bool,
    /// Of the categories as pandas compares them: where they are not ordered, in any order.
    pub digest: Digest,
}

impl Outline {
    pub fn of(root: &Group) -> Result<Outline> {
        let (obs, var) = (Frame::open(root, "obs")?, Frame::open(root, "var")?);
        let mut outline = Outline {
            format: root.format(),
            genes: var.rows(),
            columns: BTreeMap::new(),
            names: BTreeMap::new(),
            matrices: BTreeMap::new(),
            has_raw: matches!(root.get("raw")?, Some(Node::Group(_))),
            masked: vec![],
        };
        for (name, frame) in [("obs", &obs), ("var", &var)] {
            let columns = columns(name, frame, &mut outline.masked)?;
            outline.columns.insert(name, columns);
        }
        for folder in FOLDERS {
            let names = match root.get(folder)? {
                Some(Node::Group(group)) => group.names()?,
                _ => vec![],
            };
            outline.names.insert(folder, names);
        }
        for path in matrices(root)? {
            let matrix = matrix(root, &path).with_context(|| format!("Read '{path}'"))?;
            outline.matrices.insert(path, matrix);
        }
        Ok(outline)
    }
}

/// The paths of X and the layers.
fn matrices(root: &Group) -> Result<Vec<String>> {
    let mut paths = vec!["X".to_owned()];
    if let Some(Node::Group(layers)) = root.get("layers")? {
        let names = layers.names()?.into_iter();
        paths.extend(names.map(|name| format!("layers/{name}")));
    }
    Ok(paths)
}

/// Those of them that are CSC.
pub fn csc(root: &Group) -> Result<Vec<String>> {
    let mut found = vec![];
    for path in matrices(root)? {
        if let Some(Node::Group(group)) = root.get(&path)?
            && Encoding::of_group(&group)? == Encoding::Csc
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// The columns of a frame with their types; names of nullable strings are added to `masked`.
fn columns(path: &str, frame: &Frame, masked: &mut Vec<String>) -> Result<Vec<(String, String)>> {
    if frame.has_masked_index() {
        masked.push(format!("{path}/{}", frame.index_name));
    }
    let mut columns = vec![];
    for name in &frame.columns {
        let column = frame.find(name)?.context("It is missing")?;
        let of = column.values_or_categories();
        if matches!(of.kind, ColumnKind::Nullable(_)) && of.dtype().is_string() {
            masked.push(format!("{path}/{name}"));
        }
        columns.push((name.clone(), type_of(&column)));
    }
    Ok(columns)
}

/// The type of a column as pandas tells types apart, but for its categories.
fn type_of(column: &Column) -> String {
    let dtype = column.dtype();
    let name = if dtype.is_string() {
        "text".to_owned()
    } else {
        dtype.to_string()
    };
    match column.kind {
        ColumnKind::Plain => name,
        ColumnKind::Nullable(_) => format!("nullable {name}"),
        ColumnKind::Categorical { .. } => format!("categories of {name}"),
    }
}

/// X or a layer. One that is null is missing: anndata reads it as `None`.
fn matrix(root: &Group, path: &str) -> Result<Matrix> {
    let sparse = |kind: &str, group: &Group, layout| -> Result<Matrix> {
        let matrix = Sparse::open(group, layout)?;
        Ok(Matrix {
            kind: kind.into(),
            dtype: matrix.data.spec().dtype.to_string(),
            unsorted: !is_sorted(&matrix)?,
        })
    };
    let other = |kind: String| Matrix {
        kind,
        dtype: String::new(),
        unsorted: false,
    };
    Ok(match root.get(path)? {
        None => other("missing".into()),
        Some(Node::Array(array)) if array.spec().null => other("missing".into()),
        Some(Node::Array(array)) => Matrix {
            dtype: array.spec().dtype.to_string(),
            ..other("dense".into())
        },
        Some(Node::Group(group)) => match Encoding::of_group(&group)? {
            Encoding::Csr => sparse("csr", &group, SparseFormat::Csr)?,
            Encoding::Csc => sparse("csc", &group, SparseFormat::Csc)?,
            encoding => other(encoding.to_string()),
        },
    })
}

/// Whether the indices of a few rows, at places all over the matrix, are in order.
fn is_sorted(matrix: &Sparse) -> Result<bool> {
    const PLACES: u64 = 16;
    // Most writers sort all rows or none, so a few of them tell.
    let step = (matrix.rows() / PLACES).max(1);
    let places = (0..matrix.rows()).step_by(usize::try_from(step)?);
    for row in places {
        let block = matrix.read(std::slice::from_ref(&(row..row + 1)))?;
        let indices = ints::read(&block.indices, &block.index)?;
        if !indices.is_sorted() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Values {
    pub fn of(root: &Group) -> Result<Values> {
        let (obs, var) = (Frame::open(root, "obs")?, Frame::open(root, "var")?);
        let (genes, any_order) = names(&var)?;
        let mut values = Values {
            genes,
            any_order,
            var: BTreeMap::new(),
            elements: BTreeMap::new(),
            categories: BTreeMap::new(),
        };
        for name in &var.columns {
            let column = var.find(name)?.context("It is missing")?;
            let digest = digest::series(&column, None);
            let digest = digest.with_context(|| format!("Read 'var/{name}'"))?;
            values.var.insert(name.clone(), digest);
        }
        for name in &obs.columns {
            let column = obs.find(name)?.context("It is missing")?;
            if let ColumnKind::Categorical { ordered, .. } = column.kind {
                let categories = categories(&column, ordered);
                let categories = categories.with_context(|| format!("Read 'obs/{name}'"))?;
                values.categories.insert(name.clone(), categories);
            }
        }
        for folder in ["varm", "varp"] {
            if let Some(Node::Group(group)) = root.get(folder)? {
                for name in group.names()? {
                    let digest = digest::of(&group, &name, u64::MAX)?;
                    values.elements.insert(format!("{folder}/{name}"), digest);
                }
            }
        }
        Ok(values)
    }
}

/// The names of a frame: in their order, and in any.
fn names(frame: &Frame) -> Result<(Digest, Digest)> {
    let (mut ordered, mut any) = (Sha256::new(), [0u64; 4]);
    for rows in frame.index_blocks()? {
        for name in frame.index_rows(rows)?.iter() {
            // The sum of hashes does not depend on the order, and counts a name as often as it is there.
            let one = Sha256::digest(name);
            ordered.update(one);
            let (words, _) = one.as_chunks::<8>();
            for (sum, word) in any.iter_mut().zip(words) {
                *sum = sum.wrapping_add(u64::from_le_bytes(*word));
            }
        }
    }
    let any: Vec<u8> = any.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    Ok((ordered.finalize().into(), Sha256::digest(any).into()))
}

fn categories(column: &Column, ordered: bool) -> Result<Categories> {
    let all = column.values_or_categories().read_all()?.comparable()?;
    let mut keys: Vec<&[u8]> = (0..all.data.len()).map(|i| all.data.get(i)).collect();
    if !ordered {
        keys.sort_unstable();
    }
    let mut hasher = Sha256::new();
    hasher.update(all.data.dtype().to_string());
    for key in keys {
        // With their lengths, or `ab, c` would be `a, bc`.
        hasher.update((key.len() as u64).to_le_bytes());
        hasher.update(key);
    }
    let digest = hasher.finalize().into();
    Ok(Categories { ordered, digest })
}
