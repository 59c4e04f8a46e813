//! Layouts from before anndata 0.8, described so that they can be written in the current one.
//!
//! 0.5 and 0.6: frames are compound datasets whose first field is the index, and the categories of a column lie in
//! `uns/{column}_categories` (of raw.var in `raw.cat`). 0.7: frames are groups, and a categorical column holds codes
//! and a reference to its categories in `__categories`.
//!
//! So `obs` of 0.6 is a compound dataset with the fields `index` and `louvain` (int8), whose categories are
//! `uns/louvain_categories`; in 0.7 it is a group with `obs/louvain`, an array with the attribute `categories`, and
//! `obs/__categories/louvain`. Both come out as `obs/louvain/codes` and `obs/louvain/categories`. Compound datasets are
//! read field by field, as if each were an array.

use anyhow::{Context, Result, bail};

use super::columns;
use super::encoding::{Encoding, array_attrs};
use crate::rows::leaf::{Leaf, LeafKind, Levels};
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
    /// Values, or the codes of categories that lie elsewhere: an array of a group (0.7), or a field (before).
    Old(Array, Option<OldCategories>),
    /// The node of its name in this group, as it is today: Muon.jl writes categorical columns so.
    Current(Group),
}

/// Where the categories of a column lie.
pub struct OldCategories {
    pub parent: Group,
    pub name: String,
    pub ordered: bool,
}

impl OldFrame {
    /// The frame `name` of `parent` as far as its columns are shown. Its attributes list those alone.
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

impl OldCategories {
    /// How many there are. A scalar is a list of one.
    pub fn count(&self) -> Result<u64> {
        let found = self.parent.get(&self.name)?;
        let missing = || format!("The categories '{}' are missing", self.name);
        match found.with_context(missing)? {
            Node::Array(array) => Ok(array.spec().rows()),
            group => columns::column_length(&group),
        }
    }
}

/// The codes of a column, as they are written at `to`: those that R gives a missing value become -1.
pub fn codes(array: Array, to: &str, count: u64) -> Leaf {
    let levels = Levels {
        count,
        missing: None,
    };
    Leaf {
        path: to.into(),
        attrs: Attrs::encoding("array", "0.2.0"),
        kind: LeafKind::Codes(array, levels),
    }
}

/// An array of an old layout as it is written at `to`, in the current one.
pub fn leaf(array: Array, to: &str) -> Result<Leaf> {
    let mut attrs = array_attrs(&array)?;
    // It refers to a place in the old file.
    attrs.remove("categories");
    if let Dtype::FixedString { .. } = array.spec().dtype {
        attrs = Attrs::encoding("string-array", "0.2.0");
    }
    Ok(Leaf {
        path: to.into(),
        attrs,
        kind: LeafKind::of_array(array),
    })
}

/// The attributes of a frame as it is written today; nothing else of the old ones is kept.
fn frame_attrs(index: &str, columns: Vec<String>) -> Attrs {
    Attrs::encoding("dataframe", "0.2.0")
        .with("_index", Attr::Text(index.into()))
        .with("column-order", Attr::texts(columns))
}

/// A frame that is one compound dataset. Its categories are looked for in the file's `uns`, or in `raw.cat`.
pub fn record_frame(array: Array, root: &Group) -> Result<OldFrame> {
    let count = fields(&array)?.len();
    let folder = categories_folder(&array, root)?;
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
pub fn record_column(array: &Array, root: &Group, name: &str) -> Result<OldColumn> {
    let at = fields(array)?.iter().position(|field| field.name == name);
    let folder = categories_folder(array, root)?;
    field_column(array, at.context("It is missing")?, folder.as_ref())
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
fn field_column(array: &Array, at: usize, folder: Option<&Group>) -> Result<OldColumn> {
    let field = fields(array)?.get(at).context("It is missing")?;
    let name = format!("{}_categories", field.name);
    let categories = match folder {
        // An integer column without such categories is numbers; the index never has any.
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
        layout: ColumnLayout::Old(array.field(field)?, categories),
    })
}

/// Whether a group of these attributes is of `dataframe 0.1.0`: its categories are in a group `__categories`.
pub fn is_frame(attrs: &Attrs) -> bool {
    let named = |name, value| attrs.text(name) == Some(value);
    named("encoding-type", "dataframe") && named("encoding-version", "0.1.0")
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
            ColumnLayout::Old(array, categories)
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
        // Whatever else it is, the categories are looked for by the name of the column.
        Some(_) => String::new(),
    };
    let beside = format!("__categories/{name}");
    // HDF5 gives a path from the root; a path in Zarr may begin there or at the frame.
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

/// The fields of a compound dataset that stood for the folder `name` of arrays before anndata 0.6, as they are written
/// in the folder `to`, as far as they are shown.
pub fn folder(array: &Array, parent: &Group, name: &str, to: &str) -> Result<Vec<Leaf>> {
    let shown = |field: &&Field| !parent.hides(&format!("{name}/{}", field.name));
    let fields = fields(array)?.iter().filter(shown);
    fields
        .map(|field| leaf(array.field(field)?, &format!("{to}/{}", field.name)))
        .collect()
}

/// A field of such a dataset, by its path (`varm/PCs`). `None` where the folder is a group, or there is no such field.
pub fn field(root: &Group, path: &str) -> Result<Option<Array>> {
    let Some((folder, name)) = path.split_once('/') else {
        return Ok(None);
    };
    let Some(Node::Array(array)) = root.get(folder)? else {
        return Ok(None);
    };
    let Dtype::Record { fields, .. } = &array.spec().dtype else {
        return Ok(None);
    };
    let found = fields.iter().find(|field| field.name == name);
    found.map(|field| array.field(field)).transpose()
}

/// The nodes of uns that are the categories of a compound obs or var. They go into the frames, so uns is written
/// without them.
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
        // Of another shape it is something else of the same name, and stays in uns.
        if shape == [cells, cells] {
            graphs.push(name.to_string());
        }
    }
    Ok(graphs)
}
