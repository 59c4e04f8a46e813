//! What is checked of one element: one match over [`Encoding`], as where rows are taken.
//!
//! Each rule is told by itself, and what can still be looked at is: a matrix with a row too many is read to its end. An
//! error of the store, such as a chunk that does not decode, becomes a finding of its element.

use anyhow::{Context, Result, ensure};

use super::{Checker, Expected, below, is_half};
use crate::anndata::encoding::Encoding;
use crate::frame::column::{Column, ColumnKind};
use crate::limits;
use crate::rows::awkward::{self, Awkward, UnknownForm};
use crate::rows::leaf::LeafKind;
use crate::rows::sparse::SparseFormat;
use crate::store::spec::{Attr, Dtype, Kind};
use crate::store::{Array, Group, Node};

/// Rows of an awkward array that are read at a time.
/// How many bytes they take depends on the lists in them, so they are few.
const AWKWARD_ROWS: u64 = 1 << 12;

impl Checker<'_> {
    /// Checks node `name` of the group at `parent`.
    ///
    /// All nodes come through here, so it is here that nodes are counted. A name may be a path: columns named `a/b` are
    /// in a group `a`.
    pub fn child(&mut self, group: &Group, parent: &str, name: &str, place: Expected) {
        let path = below(parent, name);
        if self.nodes == 0 || self.above + path.split('/').count() > limits::DEPTH {
            // So that every later call ends here too, and tells the same, which is kept once.
            self.nodes = 0;
            let what = "It has too many elements, or links in a circle; the rest is not checked";
            return self.findings.error("", what);
        }
        self.nodes -= 1;
        let node = group
            .get(name)
            .and_then(|node| node.context("A link that leads nowhere"));
        match node.and_then(|node| Ok((Encoding::of(&node)?, node))) {
            Ok((encoding, node)) => self.element(&path, node, encoding, place),
            Err(error) => self.findings.failed(&path, &error),
        }
    }

    /// One node whose encoding is known: its label, whether it belongs there, and then what its encoding asks for.
    fn element(&mut self, path: &str, node: Node, encoding: Encoding, place: Expected) {
        self.label(path, &node, None);
        if !place.takes(&node, &encoding) {
            let (found, wanted) = (named(&node, &encoding), place.wants());
            let what = format!("It is {found}, where {wanted} is expected");
            self.findings.error(path, what);
        }
        let is_scalar = matches!(&node, Node::Array(array) if array.spec().shape.is_empty());
        if is_scalar && matches!(place, Expected::Column(Some(_))) {
            let what = format!("It is {}, once for all rows", named(&node, &encoding));
            self.findings.note(path, what);
        }
        match (encoding, node) {
            // Also where a group is expected: its values can be read all the same.
            (_, Node::Array(array)) => self.array(path, array, place),
            (Encoding::Csr, Node::Group(group)) => {
                self.sparse(path, &group, SparseFormat::Csr, place)
            }
            (Encoding::Csc, Node::Group(group)) => {
                self.sparse(path, &group, SparseFormat::Csc, place)
            }
            (Encoding::DataFrame, Node::Group(group)) => {
                self.frame(path, &group, place);
            }
            (Encoding::Categorical | Encoding::Nullable, Node::Group(group)) => {
                self.column(path, &group, place);
            }
            (Encoding::Awkward, Node::Group(group)) => self.awkward(path, &group, place),
            // Dicts, and encodings that are not known.
            (_, Node::Group(group)) => match group.attrs() {
                Ok(attrs) if attrs.text("encoding-type") == Some("anndata") => {
                    self.file_within(path, &group);
                }
                _ => self.all(path, &group),
            },
        }
    }

    /// Every node of a group, whatever it is.
    pub fn all(&mut self, path: &str, group: &Group) {
        for name in self.names(group, path) {
            self.child(group, path, &name, Expected::Any);
        }
    }

    /// An array or a scalar: its shape, then all its values.
    fn array(&mut self, path: &str, array: Array, place: Expected) {
        let spec = array.spec();
        if let Some(&rows) = spec.shape.first() {
            self.agrees(path, "rows", rows, place.rows());
        }
        if let Some(&columns) = spec.shape.get(1) {
            self.agrees(path, "columns", columns, place.columns());
        }
        // A labelled one is a `rec-array`, and no frame.
        let labelled = array
            .attrs()
            .is_ok_and(|attrs| attrs.get("encoding-type").is_some());
        match spec.dtype {
            Dtype::Record { .. } if !labelled && matches!(place, Expected::Frame(_)) => {
                self.record_frame(path, array)
            }
            _ => self.values(path, &array),
        }
    }

    /// A categorical or nullable column.
    ///
    /// Its parts are read like any array; then codes are compared with categories, and types with what `encoding-type`
    /// says. Not after a part that cannot be read, which is told as such.
    fn column(&mut self, path: &str, group: &Group, place: Expected) {
        // In `uns` a nullable array may have any shape; it is no column, so the rules of columns do not go for it.
        if let (Expected::Any, Ok(Some(Node::Array(values)))) = (place, group.get("values"))
            && values.spec().shape.len() > 1
            && !values.spec().dtype.is_string()
        {
            let axes = values.spec().shape.len();
            let what =
                format!("Its values have {axes} axes; they are read, but not against its mask");
            self.findings.note(path, what);
            return self.all(path, group);
        }
        for name in self.names(group, path) {
            let place = match name.as_str() {
                "codes" | "categories" | "values" | "mask" => Expected::Column(None),
                _ => Expected::Any,
            };
            self.child(group, path, &name, place);
        }
        // Whether a part, where it is an array, is of a type that can be read.
        let is_read = |name: &&str| match group.get(name) {
            Ok(Some(Node::Array(part))) => !matches!(part.spec().dtype, Dtype::Unsupported(_)),
            _ => true,
        };
        if !["codes", "categories", "values", "mask"]
            .iter()
            .all(is_read)
        {
            return; // told before
        }
        for part in ["values", "categories"] {
            if let Ok(Some(Node::Array(values))) = group.get(part) {
                if part == "categories" && matches!(values.spec().dtype, Dtype::Record { .. }) {
                    let what = "Its categories are records; its codes are not checked";
                    return self.findings.note(path, what);
                }
                self.indexable(path, part, &values);
            }
        }
        match Column::open(Node::Group(group.clone())) {
            Ok(column) => {
                self.agrees(path, "rows", column.rows(), place.rows());
                self.kinds(path, &column);
                self.codes(path, &column);
            }
            Err(error) => self.findings.failed(path, &error),
        }
    }

    /// Whether the parts of a column are of the types that its `encoding-type` asks for.
    fn kinds(&mut self, path: &str, column: &Column) {
        let kind = column.attrs.text("encoding-type").unwrap_or_default();
        let dtype = column.dtype();
        match &column.kind {
            ColumnKind::Categorical { .. } => {
                self.ordered(path, column.attrs.get("ordered"));
            }
            ColumnKind::Nullable(mask) => {
                let right = match kind {
                    "nullable-integer" => dtype.is_integer(),
                    "nullable-boolean" => dtype.kind() == Some(Kind::Bool),
                    // nullable-string-array
                    _ => dtype.is_string(),
                };
                if !right {
                    let what = format!("It is '{kind}', but its values are {dtype}");
                    self.findings.error(path, what);
                }
                // A mask of integers is a leaf of this kind; one of bools is plain.
                if let LeafKind::Mask(mask) = &mask.kind {
                    let what = format!("Its mask is {}, not bool", mask.spec().dtype);
                    self.findings.error(path, what);
                }
            }
            ColumnKind::Plain => {}
        }
    }

    /// An error for a text that readers take for true, as Python does, though it says otherwise: the file has another
    /// meaning than its writer gave it. Another text, or a number, is read as it is meant.
    fn ordered(&mut self, path: &str, ordered: Option<&Attr>) {
        match ordered {
            Some(Attr::Text(text)) if text.is_empty() || text.eq_ignore_ascii_case("true") => {
                self.findings
                    .note(path, "Its 'ordered' is a text, not a bool");
            }
            Some(Attr::Text(text)) => {
                let what = format!("Its 'ordered' is the text '{text}', which is read as true");
                self.findings.error(path, what);
            }
            _ if ordered.and_then(Attr::as_bool).is_some() => {}
            _ => self.findings.error(path, "It has no bool 'ordered'"),
        }
    }

    /// Whether pandas makes a nullable array, or categories, of these numbers.
    fn indexable(&mut self, path: &str, part: &str, values: &Array) {
        let found = match values.layout() {
            Ok(layout) if layout.big_endian => "big-endian",
            _ if is_half(&values.spec().dtype) => "float16",
            _ => return,
        };
        let what = format!("Its {part} are {found}, which pandas does not take there");
        self.findings.error(path, what);
    }

    /// An awkward array, by its form. A form that is not known here is read buffer by buffer.
    fn awkward(&mut self, path: &str, group: &Group, place: Expected) {
        self.all(path, group);
        if let Ok(attrs) = group.attrs()
            && matches!(attrs.get("length"), Some(Attr::Bytes { shape, .. }) if !shape.is_empty())
        {
            self.findings
                .error(path, "Its 'length' is a list, not a number");
        }
        // Among layers it is a matrix: each row has as many items as there are genes.
        let form = || awkward::form(&group.attrs()?);
        if let (Expected::Matrix(..), Ok(form)) = (place, form()) {
            match awkward::row_length(&form) {
                Some(columns) => self.agrees(path, "columns", columns, place.columns()),
                None => {
                    let what = "Its rows are not lists of one length, as a matrix has them";
                    self.findings.error(path, what);
                }
            }
        }
        let read = |checker: &mut Self| -> Result<()> {
            let array = Awkward::open(group)?;
            checker.agrees(path, "rows", array.rows(), place.rows());
            let rows = array.rows();
            ensure!(
                checker.has_room_for(rows),
                "It declares {rows} rows, which its file cannot hold"
            );
            // To read the rows finds offsets that decrease, and indices beyond their buffers.
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

/// What an element is, in words.
fn named(node: &Node, encoding: &Encoding) -> String {
    if let Node::Array(array) = node {
        return match (array.spec().null, array.spec().shape.len()) {
            (true, _) => "nothing".into(),
            (_, 0) => "a scalar".into(),
            (_, 1) => "an array of one axis".into(),
            (_, axes) => format!("an array of {axes} axes"),
        };
    }
    match encoding {
        Encoding::Csr | Encoding::Csc => "a sparse matrix".into(),
        Encoding::DataFrame => "a dataframe".into(),
        Encoding::Categorical | Encoding::Nullable => "a column".into(),
        Encoding::Awkward => "an awkward array".into(),
        Encoding::Unknown(name) => format!("'{name}'"),
        _ => "a folder".into(),
    }
}
