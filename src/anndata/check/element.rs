//! What is checked of one element: one match over [`Encoding`], as where rows are taken.

use anyhow::{Context, Result, ensure};

use super::{ANY, Checker, Shape, below};
use crate::anndata::awkward::{Awkward, UnknownForm};
use crate::anndata::column::Column;
use crate::anndata::encoding::Encoding;
use crate::anndata::matrix::Layout;
use crate::store::spec::Dtype;
use crate::store::{Array, Group, Node};

/// Groups in groups; deeper ones are links in a circle.
const DEEPEST: usize = 64;
/// Rows of an awkward array that are read at a time.
const AWKWARD_ROWS: u64 = 1 << 12;

impl Checker<'_> {
    /// Checks node `name` of the group at `parent`.
    pub fn child(&mut self, group: &Group, parent: &str, name: &str, shape: Shape) {
        let path = below(parent, name);
        if self.nodes == 0 || path.split('/').count() > DEEPEST {
            self.nodes = 0;
            let what = "It has too many elements, or links in a circle; the rest is not checked";
            return self.findings.error("", what);
        }
        self.nodes -= 1;
        let node = group
            .get(name)
            .and_then(|node| node.context("A link that leads nowhere"));
        match node.and_then(|node| Ok((Encoding::of(&node)?, node))) {
            Ok((encoding, node)) => self.element(&path, node, encoding, shape),
            Err(error) => self.findings.failed(&path, &error),
        }
    }

    fn element(&mut self, path: &str, node: Node, encoding: Encoding, shape: Shape) {
        self.label(path, &node);
        match (encoding, node) {
            (_, Node::Array(array)) => self.array(path, array, shape),
            (Encoding::Csr, Node::Group(group)) => self.sparse(path, &group, Layout::Csr, shape),
            (Encoding::Csc, Node::Group(group)) => self.sparse(path, &group, Layout::Csc, shape),
            (Encoding::DataFrame | Encoding::OldDataFrame, Node::Group(group)) => {
                self.frame(path, &group, shape[0]);
            }
            (Encoding::Categorical | Encoding::Nullable, Node::Group(group)) => {
                self.column(path, &group, shape);
            }
            (Encoding::Awkward, Node::Group(group)) => self.awkward(path, &group, shape),
            (_, Node::Group(group)) => {
                if let Some(axis) = shape[0] {
                    let what = format!("It is a folder, where rows of {} are expected", axis.name);
                    self.findings.error(path, what);
                }
                self.all(path, &group);
            }
        }
    }

    /// Every node of a group, whatever it is.
    pub fn all(&mut self, path: &str, group: &Group) {
        for name in self.names(group, path) {
            self.child(group, path, &name, ANY);
        }
    }

    fn array(&mut self, path: &str, array: Array, shape: Shape) {
        let spec = array.spec();
        let found = &spec.shape;
        match (found.first(), shape[0]) {
            // `None`: an X that was written as nothing.
            (None, _) if spec.null => {}
            (None, Some(axis)) => {
                let what = format!("It is a scalar, where rows of {} are expected", axis.name);
                self.findings.error(path, what);
            }
            (Some(&rows), axis) => self.agrees(path, "rows", rows, axis),
            (None, None) => {}
        }
        if let Some(&columns) = found.get(1) {
            self.agrees(path, "columns", columns, shape[1]);
        }
        let labelled = array
            .attrs()
            .is_ok_and(|attrs| attrs.get("encoding-type").is_some());
        match spec.dtype {
            Dtype::Record { .. } if !labelled && is_frame(path) => self.record_frame(path, array),
            _ => self.values(path, &array),
        }
    }

    /// A categorical or nullable column.
    fn column(&mut self, path: &str, group: &Group, shape: Shape) {
        let column = Column::open(Node::Group(group.clone()));
        if let Ok(column) = &column {
            self.agrees(path, "rows", column.rows(), shape[0]);
        }
        self.all(path, group);
        match column {
            Ok(column) => self.codes(path, &column),
            Err(error) => self.findings.failed(path, &error),
        }
    }

    /// An awkward array, by its form. A form that is not known here is read buffer by buffer.
    fn awkward(&mut self, path: &str, group: &Group, shape: Shape) {
        self.all(path, group);
        let read = |checker: &mut Self| -> Result<()> {
            let array = Awkward::open(group)?;
            checker.agrees(path, "rows", array.rows(), shape[0]);
            let rows = array.rows();
            ensure!(
                checker.has_room_for(rows),
                "It declares {rows} rows, which its file cannot hold"
            );
            let mut start = 0;
            while start < array.rows() {
                let end = array.rows().min(start + AWKWARD_ROWS);
                array.read(std::slice::from_ref(&(start..end)))?;
                start = end;
            }
            Ok(())
        };
        match read(self) {
            Err(error) if error.is::<UnknownForm>() => {
                let what = format!("Only its buffers are checked: {error:#}");
                self.findings.note(path, what);
            }
            Err(error) => self.findings.failed(path, &error),
            Ok(()) => {}
        }
    }
}

/// Whether a frame stands there, which was a compound dataset before anndata 0.7.
fn is_frame(path: &str) -> bool {
    ["obs", "var", "raw/var", "raw.var"].contains(&path)
}
