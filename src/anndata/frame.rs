//! Dataframes: a group with one array (or group) for each column and one for the index.

use std::collections::HashSet;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::column::{Column, ColumnKind};
use super::encoding::Encoding;
use super::old;
use super::values::{Data, Values};
use crate::store::spec::{Attr, Dtype, Strings};
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

/// The names that a dataframe lists, each once. The index may be among them: it is a column too, then.
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
    let listed = listed.into_iter();
    Ok(listed.filter(|name| seen.insert(name.clone())).collect())
}

/// Rows of the dataframe `name`.
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
            length().with_context(|| format!("Read '{name}/{index}'"))
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

/// Rows of one column.
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
                other => bail!("It is {other:?}, not a column"),
            };
            match group.get(part)? {
                Some(Node::Array(array)) => Ok(array.spec().rows()),
                _ => bail!("It has no array '{part}'"),
            }
        }
    }
}

/// A dataframe of any layout (current, `dataframe 0.1.0`, compound) whose values are still on disk.
pub struct Frame {
    root: Group,
    path: String,
    pub index_name: String,
    /// The columns in their order, each once.
    pub columns: Vec<String>,
    rows: u64,
    /// The index where it is categorical: the text of each category.
    index_categories: Option<Strings>,
    index: Column,
}

impl Frame {
    /// Opens the frame at `path` ("obs", "raw/var", of old files "raw.var", "obsm/frame"). Columns are looked at when
    /// they are [found](Frame::find).
    pub fn open(root: &Group, path: &str) -> Result<Frame> {
        let (index_name, columns) = match layout(root, path)? {
            Layout::Current(group) => (index_name(&group)?, column_order(&group)?),
            Layout::Old(frame) => {
                let mut names = frame.columns.into_iter().map(|c| c.name);
                let index = names.next().context("It has no index")?;
                (index, names.collect())
            }
        };
        let index = column(root, path, &index_name)?;
        let mut frame = Frame {
            root: root.clone(),
            path: path.into(),
            rows: index.rows(),
            index_name,
            columns,
            index_categories: None,
            index,
        };
        if let ColumnKind::Categorical { categories, .. } = &frame.index.kind {
            frame.index_categories = Some(texts(categories.read_all()?)?);
        }
        Ok(frame)
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Opens the column `name`; `None` where there is none, an error where it cannot be merged.
    pub fn find(&self, name: &str) -> Result<Option<Column>> {
        if !self.columns.iter().any(|c| c == name) {
            return Ok(None);
        }
        let column = column(&self.root, &self.path, name)?;
        let (path, rows) = (&self.path, column.rows());
        ensure!(
            rows == self.rows,
            "'{path}/{name}' has {rows} rows, the index of '{path}' has {}",
            self.rows
        );
        Ok(Some(column))
    }

    /// The whole index, as text.
    pub fn index(&self) -> Result<Strings> {
        self.index_rows(0..self.rows)
    }

    /// Some rows of the index, as text; an error where a name is missing.
    pub fn index_rows(&self, rows: Range<u64>) -> Result<Strings> {
        let names = match &self.index_categories {
            None => self.index.read(rows).and_then(texts),
            Some(categories) => {
                let codes = self.index.codes(rows)?;
                let named = codes.iter().map(|&code| {
                    let code = usize::try_from(code).ok().filter(|c| *c < categories.len());
                    Ok(categories.get(code.ok_or(MissingName)?))
                });
                named.collect()
            }
        };
        names.with_context(|| format!("Index '{}/{}'", self.path, self.index_name))
    }

    /// Row ranges of the index that are worked on at a time.
    pub fn index_blocks(&self) -> Result<impl Iterator<Item = Range<u64>> + use<>> {
        self.index.blocks()
    }

    pub fn index_column(&self) -> &Column {
        &self.index
    }

    /// Whether the index is a nullable-string-array.
    pub fn has_masked_index(&self) -> bool {
        matches!(self.index.kind, ColumnKind::Nullable(_)) && self.index.dtype().is_string()
    }

    /// Whether the index is one of the columns too, and text as it is.
    pub fn lists_index(&self) -> bool {
        matches!(self.index.kind, ColumnKind::Plain)
            && self.index.dtype().is_string()
            && self.columns.contains(&self.index_name)
    }
}

/// An index that anndata reads, but by which rows cannot be told apart.
#[derive(Debug)]
pub struct MissingName;

impl std::error::Error for MissingName {}

impl std::fmt::Display for MissingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "A name is missing")
    }
}

enum Layout {
    Current(Group),
    Old(old::Frame),
}

fn layout(root: &Group, path: &str) -> Result<Layout> {
    Ok(match root.get(path)? {
        Some(Node::Array(array)) => Layout::Old(old::record_frame(array, root)?),
        Some(Node::Group(group)) => match Encoding::of_group(&group)? {
            Encoding::OldDataFrame => Layout::Old(old::frame(&group, root)?),
            Encoding::DataFrame => Layout::Current(group),
            other => bail!("'{path}' is {other:?}, no dataframe"),
        },
        None => bail!("It has no '{path}'"),
    })
}

fn column(root: &Group, path: &str, name: &str) -> Result<Column> {
    let open = || match layout(root, path)? {
        Layout::Current(group) => Column::open(group.get(name)?.context("It is missing")?),
        Layout::Old(frame) => {
            let found = frame.columns.into_iter().find(|c| c.name == name);
            Column::open_old(found.context("It is missing")?)
        }
    };
    open().with_context(|| format!("Column '{path}/{name}'"))
}

fn texts(values: Values) -> Result<Strings> {
    let values = values.cast(&Dtype::String)?;
    ensure!(!values.missing.contains(&true), MissingName);
    match values.data {
        Data::Text(strings) => Ok(strings),
        Data::Numbers { dtype, .. } => bail!("{dtype} where text is expected"),
    }
}
