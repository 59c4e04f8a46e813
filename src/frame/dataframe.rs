//! Dataframes: a group with one array (or group) for each column and one for the index.

use std::collections::HashSet;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::column::{Column, ColumnKind};
use super::values::{Data, Values};
use crate::anndata::columns::{column_order, columns, index_name};
use crate::anndata::encoding::Encoding;
use crate::anndata::older;
use crate::report::failure::in_element;
use crate::store::spec::{Dtype, Strings};
use crate::store::{Array, Group, Node};

/// A dataframe of any layout (current, `dataframe 0.1.0`, compound) whose values are still on disk.
pub struct Frame {
    root: Group,
    path: String,
    layout: Layout,
    pub index_name: String,
    /// The columns in their order, each once.
    pub columns: Vec<String>,
    /// The same, to look names up in: some frames have thousands.
    known: HashSet<String>,
    /// Those of the index. A column of another length is an error when it is found.
    rows: u64,
    /// The index where it is categorical: the text of each category. Read once, as every block of rows looks its codes
    /// up in them.
    index_categories: Option<Strings>,
    index: Column,
}

impl Frame {
    /// Opens the frame at `path` ("obs", "raw/var", of old files "raw.var", "obsm/frame"). Columns are looked at when
    /// they are [found](Frame::find).
    pub fn open(root: &Group, path: &str) -> Result<Frame> {
        let layout = Layout::of(root, path)?;
        let (index_name, columns) = match &layout {
            Layout::Current(group) => (index_name(group)?, column_order(group)?),
            Layout::Old(group) => index_first(columns(group)?)?,
            Layout::Records(array) => {
                let mut names = older::record_names(array)?;
                names.retain(|name| !root.hides(&format!("{path}/{name}")));
                index_first(names)?
            }
        };
        let index = layout.column(root, path, &index_name)?;
        let mut frame = Frame {
            root: root.clone(),
            path: path.into(),
            layout,
            rows: index.rows(),
            index_name,
            known: columns.iter().cloned().collect(),
            columns,
            index_categories: None,
            index,
        };
        if let ColumnKind::Categorical { categories, .. } = &frame.index.kind {
            frame.index_categories = Some(texts(categories.read_all()?)?);
        }
        Ok(frame)
    }

    /// Rows, by the index.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether it lists a column of that name.
    pub fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Opens the column `name`; `None` where there is none, an error where it cannot be merged. The index is found only
    /// where it is listed as a column too.
    pub fn find(&self, name: &str) -> Result<Option<Column>> {
        if !self.has(name) {
            return Ok(None);
        }
        let column = self.layout.column(&self.root, &self.path, name)?;
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

    /// The names of the rows, as a column.
    pub fn index_column(&self) -> &Column {
        &self.index
    }

    /// Whether it has the names of the frame of its axis, in their order; pandas compares the types of indexes too.
    /// anndata compares a frame in obsm or varm with obs or var so.
    pub fn has_names_of(&self, axis: &Frame) -> Result<bool> {
        let is_text = self.index.dtype().is_string();
        if !is_text || self.rows != axis.rows || self.has_masked_index() != axis.has_masked_index()
        {
            return Ok(false);
        }
        for rows in self.index_blocks()? {
            if self.index_rows(rows.clone())? != axis.index_rows(rows)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the index is a nullable-string-array.
    pub fn has_masked_index(&self) -> bool {
        matches!(self.index.kind, ColumnKind::Nullable(_)) && self.index.dtype().is_string()
    }

    /// Whether the index is one of the columns too, and text as it is. pandas allows that, and anndata writes one array
    /// for both.
    pub fn lists_index(&self) -> bool {
        matches!(self.index.kind, ColumnKind::Plain)
            && self.index.dtype().is_string()
            && self.has(&self.index_name)
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
    /// `dataframe 0.1.0`.
    Old(Group),
    /// One compound dataset.
    Records(Array),
}

impl Layout {
    /// How the frame at `path` is stored; an error for any other node.
    fn of(root: &Group, path: &str) -> Result<Layout> {
        Ok(match root.get(path)? {
            Some(Node::Array(array)) => Layout::Records(array),
            Some(Node::Group(group)) => match Encoding::of_group(&group)? {
                Encoding::DataFrame if older::is_frame(&group.attrs()?) => Layout::Old(group),
                Encoding::DataFrame => Layout::Current(group),
                other => bail!("'{path}' is {other}, no dataframe"),
            },
            None => bail!("It has no '{path}'"),
        })
    }

    /// Opens one column; the error names it.
    fn column(&self, root: &Group, path: &str, name: &str) -> Result<Column> {
        let open = || match self {
            Layout::Current(group) => Column::open(group.get(name)?.context("It is missing")?),
            Layout::Old(group) => Column::open_old(older::column(group, root, name)?),
            Layout::Records(array) => Column::open_old(older::record_column(array, root, name)?),
        };
        open().with_context(|| in_element("Column", format!("{path}/{name}")))
    }
}

/// The index and the other columns.
fn index_first(mut names: Vec<String>) -> Result<(String, Vec<String>)> {
    ensure!(!names.is_empty(), "It has no index");
    Ok((names.remove(0), names))
}

/// Names as text: a number becomes one as Python prints it, and NaN, or a masked name, is an error.
fn texts(values: Values) -> Result<Strings> {
    let values = values.cast(&Dtype::String)?;
    ensure!(!values.missing.contains(&true), MissingName);
    match values.data {
        Data::Text(strings) => Ok(strings),
        Data::Numbers { dtype, .. } => bail!("{dtype} where text is expected"),
    }
}
