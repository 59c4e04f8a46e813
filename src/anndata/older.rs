//! Layouts from before anndata 0.8, described so that they can be written in the current one.
//!
//! 0.5 and 0.6: frames are compound datasets whose first field is the index, and the categories of a column lie in
//! `uns/{column}_categories` (of raw.var in `raw.cat`). 0.7: frames are groups, and a categorical column holds codes
//! and a reference to its categories in `__categories`.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::columns;
use super::encoding::{Encoding, array_attrs};
use crate::rows::leaf::{Leaf, Source};
use crate::store::spec::{Attr, Attrs, Dtype, Field};
use crate::store::{Array, Group, Node};

/// A frame of an old layout. `attrs` are those of the current one.
pub struct OldFrame {
    pub attrs: Attrs,
    pub columns: Vec<OldColumn>,
}

/// One column of such a frame.
pub struct OldColumn {
    pub name: String,
    pub layout: ColumnLayout,
}

pub enum ColumnLayout {
    /// Values, or the codes of categories that lie elsewhere.
    Old(ColumnSource, Option<OldCategories>),
    /// The node of its name in this group, as it is today: Muon.jl writes categorical columns so.
    Current(Group),
}

/// Where its values are: an array of a group (0.7), or a field of a compound dataset (before).
pub enum ColumnSource {
    Array(Array),
    Field(Arc<Array>, Field),
}

/// Where the categories of a column lie.
pub struct OldCategories {
    pub parent: Group,
    pub name: String,
    pub ordered: bool,
}

impl OldFrame {
    /// The frame `name` of `parent` as far as its columns are shown.
    pub fn shown(mut self, parent: &Group, name: &str) -> OldFrame {
        let hidden = |column: &OldColumn| parent.hides(&format!("{name}/{}", column.name));
        self.columns.retain(|column| !hidden(column));
        let mut names = self.columns.iter().map(|column| column.name.clone());
        if let Some(index) = names.next() {
            self.attrs = frame_attrs(&index, names.collect());
        }
        self
    }
}

impl ColumnSource {
    /// The attributes of the column in the current layout.
    pub fn attrs(&self) -> Result<Attrs> {
        match self {
            ColumnSource::Array(array) => {
                let mut attrs = array_attrs(array)?;
                attrs.remove("categories");
                if let Dtype::FixedString { .. } = array.spec().dtype {
                    attrs = Attrs::encoding("string-array", "0.2.0");
                }
                Ok(attrs)
            }
            ColumnSource::Field(_, field) if field.dtype.is_string() => {
                Ok(Attrs::encoding("string-array", "0.2.0"))
            }
            ColumnSource::Field(..) => Ok(Attrs::encoding("array", "0.2.0")),
        }
    }

    /// Its values, or codes, as rows that can be read.
    pub fn into_source(self) -> Source {
        match self {
            ColumnSource::Array(array) if array.spec().dtype.is_string() => Source::Text(array),
            ColumnSource::Array(array) => Source::Fixed(array),
            ColumnSource::Field(array, field) => Source::Field(array, field),
        }
    }
}

fn frame_attrs(index: &str, columns: Vec<String>) -> Attrs {
    Attrs::encoding("dataframe", "0.2.0")
        .with("_index", Attr::Text(index.into()))
        .with("column-order", Attr::texts(columns))
}

/// A frame that is one compound dataset. Its categories are looked for in the file's `uns`, or in `raw.cat`.
pub fn record_frame(array: Array, root: &Group) -> Result<OldFrame> {
    let count = fields(&array)?.len();
    let (folder, array) = (categories_folder(&array, root)?, Arc::new(array));
    let columns = (0..count).map(|at| field_column(&array, at, folder.as_ref()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let index = columns.first().context("A dataframe without fields")?;
    let others = columns[1..].iter().map(|c| c.name.clone()).collect();
    Ok(OldFrame {
        attrs: frame_attrs(&index.name, others),
        columns,
    })
}

/// The columns of a frame that is one compound dataset, the index first.
pub fn record_names(array: &Array) -> Result<Vec<String>> {
    Ok(fields(array)?.iter().map(|f| f.name.clone()).collect())
}

/// One column of a frame that is one compound dataset.
pub fn record_column(array: Array, root: &Group, name: &str) -> Result<OldColumn> {
    let at = fields(&array)?.iter().position(|field| field.name == name);
    let folder = categories_folder(&array, root)?;
    field_column(
        &Arc::new(array),
        at.context("It is missing")?,
        folder.as_ref(),
    )
}

fn fields(array: &Array) -> Result<&[Field]> {
    match &array.spec().dtype {
        Dtype::Record { fields, .. } => Ok(fields),
        _ => bail!("'{}' is no dataframe", array.path()),
    }
}

/// The group that holds the categories of a compound dataset.
fn categories_folder(array: &Array, root: &Group) -> Result<Option<Group>> {
    let is_raw = array.path().starts_with("raw");
    Ok(match root.get(if is_raw { "raw.cat" } else { "uns" })? {
        Some(Node::Group(group)) => Some(group),
        _ => None,
    })
}

/// The column of field `at`, the index if that is 0. `folder` holds the categories.
fn field_column(array: &Arc<Array>, at: usize, folder: Option<&Group>) -> Result<OldColumn> {
    let field = fields(array)?.get(at).context("It is missing")?;
    let name = format!("{}_categories", field.name);
    let categories = match folder {
        Some(parent) if at > 0 && field.dtype.is_integer() && parent.get(&name)?.is_some() => {
            Some(OldCategories {
                parent: parent.clone(),
                name,
                ordered: false,
            })
        }
        _ => None,
    };
    Ok(OldColumn {
        name: field.name.clone(),
        layout: ColumnLayout::Old(
            ColumnSource::Field(array.clone(), field.clone()),
            categories,
        ),
    })
}

/// A frame of `dataframe 0.1.0`.
pub fn frame(group: &Group, root: &Group) -> Result<OldFrame> {
    let names = columns::columns(group)?;
    let columns = names.iter().map(|name| column(group, root, name));
    Ok(OldFrame {
        columns: columns.collect::<Result<_>>()?,
        attrs: frame_attrs(&names[0], names[1..].to_vec()),
    })
}

/// One column of a frame of `dataframe 0.1.0`.
pub fn column(group: &Group, root: &Group, name: &str) -> Result<OldColumn> {
    let layout = match group.get(name)? {
        Some(Node::Array(array)) => {
            let categories = categories(group, root, name, &array)?;
            ColumnLayout::Old(ColumnSource::Array(array), categories)
        }
        Some(Node::Group(_)) => ColumnLayout::Current(group.clone()),
        None => bail!("'{}' has no column '{name}'", group.path()),
    };
    Ok(OldColumn {
        name: name.into(),
        layout,
    })
}

/// Where the categories of a column lie: its attribute refers to them, by reference (HDF5) or by path (Zarr).
fn categories(
    group: &Group,
    root: &Group,
    name: &str,
    array: &Array,
) -> Result<Option<OldCategories>> {
    let path = match array.attrs()?.get("categories") {
        None => return Ok(None),
        Some(Attr::Reference(path) | Attr::Text(path)) => path.trim_start_matches('/').to_string(),
        Some(_) => String::new(),
    };
    let beside = format!("__categories/{name}");
    for (parent, name) in [
        (root, path.as_str()),
        (group, path.as_str()),
        (group, &beside),
    ] {
        if !name.is_empty()
            && let Some(Node::Array(found)) = parent.get(name)?
        {
            let ordered = columns::is_ordered(found.attrs()?.get("ordered"));
            return Ok(Some(OldCategories {
                parent: parent.clone(),
                name: name.into(),
                ordered: ordered
                    .with_context(|| format!("The categories of '{}/{name}'", group.path()))?,
            }));
        }
    }
    bail!("The categories of '{}/{name}' are missing", group.path())
}

/// The field of a compound dataset that stood for a folder of arrays before anndata 0.6, by its path (`varm/PCs`), as
/// what is written at `to`.
pub fn field(root: &Group, path: &str, to: &str) -> Result<Option<Leaf>> {
    let Some((folder, name)) = path.split_once('/') else {
        return Ok(None);
    };
    let Some(Node::Array(array)) = root.get(folder)? else {
        return Ok(None);
    };
    let Dtype::Record { fields, .. } = &array.spec().dtype else {
        return Ok(None);
    };
    let Some(field) = fields.iter().find(|field| field.name == name).cloned() else {
        return Ok(None);
    };
    let source = ColumnSource::Field(Arc::new(array), field);
    Ok(Some(Leaf {
        path: to.into(),
        attrs: source.attrs()?,
        source: source.into_source(),
    }))
}

/// The nodes of uns that are the categories of a compound obs or var.
pub fn categories_in_uns(root: &Group) -> Result<Vec<String>> {
    let mut names = vec![];
    for frame in ["obs", "var"] {
        if let Some(Node::Array(array)) = root.get(frame)?
            && let Dtype::Record { .. } = array.spec().dtype
        {
            let frame = record_frame(array, root)?;
            let named = |column: OldColumn| match column.layout {
                ColumnLayout::Old(_, categories) => Some(categories?.name),
                ColumnLayout::Current(_) => None,
            };
            names.extend(frame.columns.into_iter().filter_map(named));
        }
    }
    Ok(names)
}

/// The matrices of cells by cells in `uns/neighbors`, which anndata moves to obsp when it reads a file.
pub fn graphs_in_uns(root: &Group, cells: u64) -> Result<Vec<String>> {
    let mut graphs = vec![];
    for name in ["connectivities", "distances"] {
        if root.get(&format!("obsp/{name}"))?.is_some() {
            continue;
        }
        let shape = match root.get(&format!("uns/neighbors/{name}"))? {
            Some(Node::Array(array)) => array.spec().shape.clone(),
            Some(Node::Group(group)) => match Encoding::of_group(&group)? {
                Encoding::Csr | Encoding::Csc => crate::rows::sparse::describe(&group)?.0.to_vec(),
                _ => continue,
            },
            None => continue,
        };
        if shape == [cells, cells] {
            graphs.push(name.to_string());
        }
    }
    Ok(graphs)
}
