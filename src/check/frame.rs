//! Dataframes: the columns that they list, codes and categories, and whether names are distinct.
//!
//! A frame is a group with a column for each name in its attribute `column-order`, and one for the names of its rows,
//! which `_index` names. Its columns are elements like others, which must have as many rows as the index. Old frames,
//! and where the names of two frames must agree, are here too.

use std::ops::Range;

use anyhow::{Context, Error, Result};

use super::{Axis, Checker, Expected, below, is_half};
use crate::anndata::older::ColumnLayout;
use crate::anndata::{columns, older};
use crate::frame::column::{Column, ColumnKind};
use crate::frame::dataframe::{Frame, MissingName};
use crate::frame::distinct::{self, Repeats};
use crate::frame::values::{Data, Values};
use crate::store::spec::Attr;
use crate::store::{Array, Format, Group, Node};

impl Checker<'_> {
    /// A frame in a group.
    ///
    /// `place` says what it must agree with: obs and var are axes themselves, one in obsm has the names of obs, and one
    /// that is X has the names of var as its columns.
    pub fn frame(&mut self, path: &str, group: &Group, place: Expected) {
        let columns = match columns::columns(group) {
            Ok(columns) => columns,
            Err(error) => {
                self.findings.failed(path, &error);
                // Which of its nodes are columns is not known, but they can be read.
                return self.all(path, group);
            }
        };
        // Every column is compared with the index, not with the axis: a frame that is too long is told once.
        let index = group
            .get(&columns[0])
            .and_then(|node| node.context("It is missing"));
        let len = match index.and_then(|node| columns::column_length(&node)) {
            Ok(len) => Some(Axis {
                name: "its index",
                path: "",
                len,
            }),
            Err(error) => {
                let what = format!("Its index '{}': {error:#}", columns[0]);
                self.findings.error(path, what);
                None
            }
        };
        if let Some(len) = len {
            self.agrees(path, "rows", len.len, place.rows());
        }
        self.column_order(path, group);
        if let Ok(Some(Node::Array(index))) = group.get(&columns[0])
            && is_half(&index.spec().dtype)
        {
            let what = "Its names are float16, of which pandas makes no index";
            self.findings.error(path, what);
        }
        if let Ok(columns) = columns::column_order(group) {
            self.agrees(path, "columns", columns.len() as u64, place.columns());
        }
        for name in &columns {
            match group.get(name) {
                Ok(None) if *name != columns[0] => {
                    let what = format!("'column-order' names '{name}', which is missing");
                    self.findings.error(path, what);
                }
                _ => self.child(group, path, name, Expected::Column(len)),
            }
        }
        self.unlisted(path, group, &columns);
        if group.attrs().is_ok_and(|attrs| older::is_frame(&attrs)) {
            match older::frame(group, self.root) {
                Ok(frame) => self.old_columns(path, frame),
                Err(error) => self.findings.failed(path, &error),
            }
        }
        self.names_as_expected(path, group, place);
    }

    /// What lies in a frame without being one of its `columns`.
    fn unlisted(&mut self, path: &str, group: &Group, columns: &[String]) {
        for name in self.names(group, path) {
            // A column `a/b` is in a group `a`.
            let folder = format!("{name}/");
            if columns.iter().any(|c| *c == name || c.starts_with(&folder)) {
                continue;
            }
            // Where `dataframe 0.1.0` has its categories.
            if name != "__categories" {
                let what = "It is not listed in 'column-order', so no reader sees it";
                self.findings.note(&below(path, &name), what);
            }
            self.child(group, path, &name, Expected::Any);
        }
    }

    /// Whether the names of a frame are those that its place in the file asks for.
    fn names_as_expected(&mut self, path: &str, group: &Group, place: Expected) {
        match place {
            Expected::Frame(_) => self.index(path),
            Expected::Rows(Some(axis)) => self.names_of(path, axis),
            Expected::X(rows, genes) => {
                // anndata takes the frame of raw apart, in HDF5 without a look at its names.
                let is_raw = path != "X";
                if let Some(rows) = rows.filter(|_| !is_raw) {
                    self.names_of(path, rows);
                }
                if let Some(genes) = genes.filter(|_| !is_raw || group.format() == Format::Zarr) {
                    self.columns_of(path, group, genes);
                }
            }
            _ => {}
        }
    }

    /// Whether the columns of a frame have the names of an axis, in their order.
    fn columns_of(&mut self, path: &str, group: &Group, axis: Axis) {
        let columns = columns::column_order(group).unwrap_or_default();
        let Ok(names) = Frame::open(self.root, axis.path) else {
            return; // told before, as are lengths that differ
        };
        if columns.len() as u64 != names.rows() {
            return;
        }
        match names.index_rows(0..names.rows()) {
            Ok(names) if names.iter().eq(columns.iter().map(String::as_bytes)) => {}
            Ok(_) => {
                let what = format!("Its columns are not the names of {}", axis.name);
                self.findings.error(path, what);
            }
            Err(error) => self.no_names(path, &error),
        }
    }

    /// Whether anndata finds the columns where `column-order` is no list of names.
    /// `columns::column_order`, by which the columns are read, takes some of these.
    fn column_order(&mut self, path: &str, group: &Group) {
        let attrs = group.attrs().unwrap_or_default();
        match attrs.get("column-order") {
            Some(Attr::Text(_)) => {
                let what = "Its 'column-order' is one text, each letter of which names a column";
                self.findings.note(path, what);
            }
            Some(Attr::Null(_)) => {
                let what = "Its 'column-order' is nothing, where a list is expected";
                self.findings.error(path, what);
            }
            Some(Attr::Texts { shape, .. }) if shape.len() != 1 => {
                let what = format!("Its 'column-order' is a table of shape {shape:?}");
                self.findings.error(path, what);
            }
            _ => {}
        }
    }

    /// A frame that is one compound dataset, as before anndata 0.7.
    pub fn record_frame(&mut self, path: &str, array: Array) {
        self.values(path, &array);
        match older::record_frame(array, self.root) {
            Ok(frame) => self.old_columns(path, frame),
            Err(error) => self.findings.failed(path, &error),
        }
        self.index(path);
    }

    /// The categorical columns of an old frame, whose categories lie elsewhere: its other columns are checked as
    /// elements, or as fields of the one array.
    fn old_columns(&mut self, path: &str, frame: older::OldFrame) {
        for column in frame.columns {
            let path = below(path, &column.name);
            if !matches!(column.layout, ColumnLayout::Old(_, Some(_))) {
                continue; // looked at by itself
            }
            match Column::open_old(column) {
                Ok(column) => self.codes(&path, &column),
                Err(error) => self.findings.failed(&path, &error),
            }
        }
    }

    /// Codes within their categories, and these distinct and never missing; nothing for other columns.
    /// pandas refuses to make a categorical of anything else.
    pub fn codes(&mut self, path: &str, column: &Column) {
        let ColumnKind::Categorical { categories, .. } = &column.kind else {
            return;
        };
        if !self.has_room_for(column.rows().max(categories.rows())) {
            return; // told of its arrays
        }
        // -1 is missing; -2^31, which R stores for it, is an error here, though a slice or merge mends it.
        let in_range = || -> Result<()> {
            column
                .blocks()?
                .try_for_each(|rows| column.check_codes(rows))
        };
        if let Err(error) = in_range() {
            self.findings.failed(path, &error);
        }
        let is_missing = || -> Result<bool> {
            for rows in categories.blocks()? {
                if categories.read(rows)?.comparable()?.missing.contains(&true) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match is_missing() {
            Ok(true) => self.findings.error(path, "A category is a missing value"),
            Ok(false) => {}
            Err(error) => self.findings.failed(path, &error),
        }
        let read = |rows: Range<u64>| categories.read(rows)?.comparable();
        match self.repeats(categories, read) {
            Ok(Some((count, example))) => {
                let what = format!("Categories that came before: {count}{example}");
                self.findings.error(path, what);
            }
            Ok(None) => {}
            Err(error) => self.findings.failed(path, &error),
        }
    }

    /// Whether the names of an axis are distinct.
    /// It is a note if they are not: anndata warns of it, and reads the file.
    fn index(&mut self, path: &str) {
        let found = Frame::open(self.root, path).and_then(|frame| {
            if !self.has_room_for(frame.rows()) {
                return Ok(None);
            }
            let read = |rows| Ok(Values::from(Data::Text(frame.index_rows(rows)?)));
            self.repeats(frame.index_column(), read)
        });
        match found {
            Ok(Some((count, example))) => {
                let what = format!("Names that came before: {count}{example}");
                self.findings.note(path, what);
            }
            Ok(None) => {}
            Err(error) => self.no_names(path, &error),
        }
    }

    /// Whether a frame has the names of the axis that it lies along, in their order.
    fn names_of(&mut self, path: &str, axis: Axis) {
        let differ = || -> Result<bool> {
            let frame = Frame::open(self.root, path)?;
            let Ok(axis) = Frame::open(self.root, axis.path) else {
                return Ok(false); // told before, as are lengths that differ
            };
            if frame.rows() != axis.rows() || !self.has_room_for(frame.rows()) {
                return Ok(false);
            }
            Ok(!frame.has_names_of(&axis)?)
        };
        match differ() {
            Ok(true) => {
                let what = format!("Its index differs from that of {}", axis.name);
                self.findings.error(path, what);
            }
            Ok(false) => {}
            Err(error) => self.no_names(path, &error),
        }
    }

    /// Of an index that cannot be read; anndata reads one with missing names, merge does not.
    fn no_names(&mut self, path: &str, error: &Error) {
        if error.is::<MissingName>() {
            self.findings
                .note(path, format!("{error:#}; merge refuses it"))
        } else {
            self.findings.failed(path, error)
        }
    }

    /// How many of the values that `read` gives came before, with an example in words; `None` for none.
    /// The values are hashed, and read again to find the example, so that they are never all in memory.
    fn repeats(
        &self,
        column: &Column,
        read: impl Fn(Range<u64>) -> Result<Values>,
    ) -> Result<Option<(u64, String)>> {
        let found = distinct::repeats(column.rows(), self.budget / 2, |see| {
            column.blocks()?.try_for_each(|rows| {
                see(distinct::keys(&read(rows)?));
                Ok(())
            })
        })?;
        let Repeats {
            count,
            key: Some(key),
        } = found
        else {
            return Ok(None);
        };
        for rows in column.blocks()? {
            if let Data::Text(texts) = read(rows)?.data
                && let Some(text) = texts.iter().find(|text| distinct::key(text) == key)
            {
                let text = String::from_utf8_lossy(text).into_owned();
                return Ok(Some((count, format!(", such as '{text}'"))));
            }
        }
        Ok(Some((count, String::new())))
    }
}
