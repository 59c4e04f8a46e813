//! Whether a file is a sound AnnData file: every element is looked at and every value read, in blocks.
//!
//! Nothing stops at the first fault. The rules themselves are those of the readers in this folder; here is what an
//! element must agree with, and what of it is told.
//!
//! [`check`] goes through the names at the root (`file`) and says of each what is [`Expected`] there. `element` looks
//! at the encoding and goes on to `sparse`, `frame` or `values`; groups that are none of these are walked down. All
//! ends in [`Findings`].
//!
//! Of values, a block and the chunks that it lies in are in memory; of names and categories, hashes in half of the
//! memory at hand. Nodes and bytes of values are counted down from what a file may have, so that no file, nor links in
//! a circle, make the walk endless.
//!
//! Elements are named by their path from the root, as in `obs/cell_type/codes`.

mod element;
mod findings;
mod frame;
mod label;
pub mod set;
mod sparse;
mod values;

use crate::store::spec::{Dtype, Kind};
use crate::store::{Group, Node};

pub use self::findings::{Finding, Findings, Level};
use self::label::{Label, label};
use crate::anndata::columns;
use crate::anndata::encoding::Encoding;
use crate::limits;

/// An axis of the file, and how long its frame is.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// As findings name it: `obs`, `var`, `raw/var`, or "its index".
    name: &'static str,
    /// Where its frame stands; empty for the index of a frame that is no axis of the file.
    path: &'static str,
    /// Rows of the frame.
    len: u64,
}

/// What may stand at a place, and the axes it must agree with, where they are known.
/// An axis is `None` where its frame could not be read, which is told once: what lies along it is not compared then.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Whatever anndata reads: in `uns`, and below what is wrong already.
    Any,
    /// One value for each row of a frame, or for all of them; a part of a column where no frame is known.
    Column(Option<Axis>),
    /// A frame over an axis of the file.
    Frame(Option<Axis>),
    /// Rows of any shape, or a frame with the names of the axis: obsm, varm.
    Rows(Option<Axis>),
    /// Two axes at least: layers, obsp, varp.
    Matrix(Option<Axis>, Option<Axis>),
    /// Two axes, or nothing: X.
    X(Option<Axis>, Option<Axis>),
}

impl Expected {
    /// What the length along the first axis must be.
    fn rows(self) -> Option<Axis> {
        match self {
            Expected::Any => None,
            Expected::Column(rows) | Expected::Frame(rows) | Expected::Rows(rows) => rows,
            Expected::Matrix(rows, _) | Expected::X(rows, _) => rows,
        }
    }

    /// What the length along the second axis must be; rows of obsm and varm are of any width.
    fn columns(self) -> Option<Axis> {
        match self {
            Expected::Matrix(_, columns) | Expected::X(_, columns) => columns,
            _ => None,
        }
    }

    /// In words, after "where" and before "is expected".
    fn wants(self) -> &'static str {
        match self {
            Expected::Any => "an element",
            Expected::Column(_) => "a column",
            Expected::Frame(_) => "a dataframe",
            Expected::Rows(_) => "an array, a sparse matrix or a dataframe",
            Expected::Matrix(..) | Expected::X(..) => "a matrix",
        }
    }

    /// Whether such an element belongs there.
    /// Its shape is not compared with the axes here, but its number of axes is.
    fn takes(self, node: &Node, encoding: &Encoding) -> bool {
        use Encoding::{Awkward, Categorical, Csc, Csr, DataFrame, Nullable};
        let array = match node {
            Node::Array(array) => Some(array.spec()),
            Node::Group(_) => None,
        };
        match (self, array) {
            (Expected::Any, _) => true,
            (Expected::X(..), Some(spec)) => spec.null || spec.shape.len() == 2,
            (Expected::Matrix(..), Some(spec)) => spec.shape.len() >= 2,
            (Expected::Rows(_), Some(spec)) => !spec.shape.is_empty(),
            // Codes, categories, values and masks are lists; a column may also be one value for all rows.
            (Expected::Column(None), Some(spec)) => spec.shape.len() == 1,
            (Expected::Column(_), Some(spec)) => spec.shape.len() <= 1,
            // A frame from before anndata 0.7.
            (Expected::Frame(_), Some(spec)) => matches!(spec.dtype, Dtype::Record { .. }),
            (Expected::Frame(_), None) => matches!(encoding, DataFrame),
            (Expected::Column(_), None) => matches!(encoding, Categorical | Nullable | Csr | Csc),
            // An awkward array is no X, but may be a layer.
            (Expected::X(..), None) => matches!(encoding, Csr | Csc | DataFrame),
            (_, None) => matches!(encoding, Csr | Csc | Awkward | DataFrame),
        }
    }
}

/// A file that is being checked.
struct Checker<'a> {
    root: &'a Group,
    /// Groups above the root, of a file that stands in another one.
    /// They count towards the depth that links may not exceed.
    above: usize,
    findings: Findings,
    /// Memory to work in.
    budget: u64,
    /// Nodes and bytes of values that may still come.
    /// At 0 nodes the walk is over.
    nodes: u64,
    values: u64,
    /// Bytes of values that the whole file may hold.
    /// From its size on disk, as far as compression may go. What claims more is refused before it is allocated.
    most: u64,
    /// Elements without `encoding-type`, and the first of them.
    /// They are counted to be told in one note: of an old file it is all elements.
    unlabelled: u64,
    first_unlabelled: String,
}

/// Checks an open file of `size` bytes on disk.
/// `budget` is the memory to work in, in bytes: an array whose chunks are larger is not checked, which is told too.
pub fn check(root: &Group, size: u64, budget: u64) -> Findings {
    let most = limits::declared(size, limits::UNWRITTEN_CHECKED);
    let mut checker = Checker {
        root,
        above: 0,
        findings: Findings::default(),
        budget,
        nodes: limits::NODES,
        values: most,
        most,
        unlabelled: 0,
        first_unlabelled: String::new(),
    };
    checker.file();
    checker.findings
}

impl Checker<'_> {
    /// An AnnData: the whole file, or one that lies in `uns` of another.
    fn file(&mut self) {
        let root = self.root;
        self.label("", &Node::Group(root.clone()), Some("anndata"));
        // The axes come first, as all other elements are compared with them.
        let obs = self.axis("obs", &["obs"]);
        let var = self.axis("var", &["var"]);
        // A raw of `None` is an array.
        let has_raw = matches!(root.get("raw"), Ok(Some(Node::Group(_)))) || self.has("raw.X");
        let raw = if has_raw {
            self.axis("raw/var", &["raw/var", "raw.var"])
        } else {
            None
        };
        for name in self.names(root, "") {
            match name.as_str() {
                "X" => self.child(root, "", &name, Expected::X(obs, var)),
                "obs" => self.child(root, "", &name, Expected::Frame(obs)),
                "var" => self.child(root, "", &name, Expected::Frame(var)),
                "layers" => self.folder(&name, Expected::Matrix(obs, var)),
                "obsm" => self.folder(&name, Expected::Rows(obs)),
                "varm" => self.folder(&name, Expected::Rows(var)),
                "obsp" => self.folder(&name, Expected::Matrix(obs, obs)),
                "varp" => self.folder(&name, Expected::Matrix(var, var)),
                "uns" => self.folder(&name, Expected::Any),
                "raw" => self.raw(obs, raw),
                // Files from before anndata 0.7 have raw so.
                "raw.X" => self.child(root, "", &name, Expected::X(obs, raw)),
                "raw.var" => self.child(root, "", &name, Expected::Frame(raw)),
                "raw.varm" => self.folder(&name, Expected::Rows(raw)),
                // The categories of raw.var, in those files.
                "raw.cat" => self.child(root, "", &name, Expected::Any),
                _ => {
                    let what = "It is no part of an AnnData file, so anndata does not open it";
                    self.findings.error(&name, what);
                    self.child(root, "", &name, Expected::Any);
                }
            }
        }
        self.consolidated();
        if self.unlabelled > 0 {
            let what = format!(
                "Elements without 'encoding-type', as in files of anndata 0.7 and before: {}, the first '{}'",
                self.unlabelled, self.first_unlabelled
            );
            self.findings.note("", what);
        }
    }

    /// Whether a reader of consolidated metadata sees what is looked at here.
    /// Only Zarr has any; faults come with the path of their element.
    fn consolidated(&mut self) {
        if self.above > 0 {
            return; // that of the whole store
        }
        match self.root.metadata_faults() {
            Err(error) => self.findings.failed("", &error),
            Ok(faults) => faults.into_iter().for_each(|fault| {
                if fault.is_error {
                    self.findings.error(&fault.element, fault.what)
                } else {
                    self.findings.note(&fault.element, fault.what)
                }
            }),
        }
    }

    /// A whole AnnData in `uns`.
    /// It is checked as a file is, with the nodes and bytes that are left, and its findings are told with their paths
    /// from the outer root.
    fn file_within(&mut self, path: &str, root: &Group) {
        let mut inner = Checker {
            root,
            above: self.above + path.split('/').count(),
            findings: Findings::default(),
            unlabelled: 0,
            first_unlabelled: String::new(),
            ..*self
        };
        inner.file();
        (self.nodes, self.values) = (inner.nodes, inner.values);
        self.findings.is_partial |= inner.findings.is_partial;
        for Finding {
            element,
            level,
            what,
        } in inner.findings.into_list()
        {
            let element = match element.as_str() {
                "" => path.into(),
                inner => below(path, inner),
            };
            self.findings.add(&element, level, what);
        }
    }

    fn has(&self, name: &str) -> bool {
        matches!(self.root.get(name), Ok(Some(_)))
    }

    /// The length of the frame that stands at one of `paths`.
    /// `None` is told: the frame is missing, or its index cannot be counted; one that cannot be opened is told later.
    /// `name` is that of the axis.
    fn axis(&mut self, name: &'static str, paths: &[&'static str]) -> Option<Axis> {
        // What cannot be opened is there, and found where its nodes are walked.
        if paths.iter().any(|path| self.root.get(path).is_err()) {
            return None;
        }
        let path = paths.iter().copied().find(|path| self.has(path));
        let Some(path) = path else {
            self.findings.error(name, "It is missing");
            return None;
        };
        match columns::length(self.root, path) {
            Ok(len) => Some(Axis { name, path, len }),
            Err(error) => {
                self.findings.failed(name, &error);
                None
            }
        }
    }

    /// The elements of a folder of the root, each at the same place.
    ///
    /// `layers`, `obsm` and so on: groups that hold elements by name. One of an encoding that is not known is taken for
    /// such a group, as its label is told.
    fn folder(&mut self, path: &str, place: Expected) {
        let node = match self.root.get(path) {
            Ok(Some(node)) => node,
            _ => return self.child(self.root, "", path, Expected::Any),
        };
        let is_folder = matches!(
            Encoding::of(&node),
            Ok(Encoding::Dict | Encoding::Unknown(_))
        );
        match node {
            Node::Group(group) if is_folder => {
                self.label(path, &Node::Group(group.clone()), Some("dict"));
                for name in self.names(&group, path) {
                    self.child(&group, path, &name, place);
                }
            }
            Node::Array(array) if array.spec().null => {}
            // Before anndata 0.6.
            Node::Array(array) if matches!(array.spec().dtype, Dtype::Record { .. }) => {
                self.child(self.root, "", path, Expected::Rows(place.rows()));
            }
            _ => {
                let what = "It is no folder of elements";
                self.findings.error(path, what);
                self.child(self.root, "", path, Expected::Any);
            }
        }
    }

    /// `raw`: a matrix along the cells, over genes of its own, which `genes` are. A raw of `None` is an array, as is
    /// any other `None`.
    fn raw(&mut self, obs: Option<Axis>, genes: Option<Axis>) {
        let raw = match self.root.get("raw") {
            Ok(Some(Node::Group(raw))) => raw,
            node => {
                if matches!(node, Ok(Some(Node::Array(array))) if !array.spec().null) {
                    self.findings.error("raw", "It is no folder of elements");
                }
                return self.child(self.root, "", "raw", Expected::Any);
            }
        };
        self.label("raw", &Node::Group(raw.clone()), Some("raw"));
        for name in self.names(&raw, "raw") {
            match name.as_str() {
                "X" => self.child(&raw, "raw", &name, Expected::X(obs, genes)),
                "var" => self.child(&raw, "raw", &name, Expected::Frame(genes)),
                "varm" => self.folder("raw/varm", Expected::Rows(genes)),
                _ => self.child(&raw, "raw", &name, Expected::Any),
            }
        }
    }

    /// The names in a group; none where they cannot be listed.
    fn names(&mut self, group: &Group, path: &str) -> Vec<String> {
        for name in group.named_types().unwrap_or_default() {
            let what = "It is a named datatype, with which anndata opens no file";
            self.findings.error(&below(path, &name), what);
        }
        group.names().unwrap_or_else(|error| {
            self.findings.failed(path, &error);
            vec![]
        })
    }

    /// Whether what a node says of itself is right, and what is expected there.
    fn label(&mut self, path: &str, node: &Node, expected: Option<&str>) {
        let attrs = match node {
            Node::Group(group) => group.attrs(),
            Node::Array(array) => array.attrs(),
        };
        match attrs.map(|attrs| label(node, &attrs, expected)) {
            Ok(Label::Good) => {}
            Ok(Label::Missing) => {
                if self.unlabelled == 0 {
                    self.first_unlabelled = match path {
                        "" => "/".into(),
                        path => path.into(),
                    };
                }
                self.unlabelled += 1;
            }
            Ok(Label::Unknown(what)) => self.findings.note(path, what),
            Ok(Label::Wrong(what)) => self.findings.error(path, what),
            Err(error) => self.findings.failed(path, &error),
        }
    }

    /// Whether `found` rows or columns are as many as their axis has.
    fn agrees(&mut self, path: &str, what: &str, found: u64, axis: Option<Axis>) {
        if let Some(Axis { name, len, .. }) = axis.filter(|axis| axis.len != found) {
            let what = format!("It has {found} {what}, but {name} has {len}");
            self.findings.error(path, what);
        }
    }
}

/// Whether these are numbers that some libraries do not take, though numpy does.
fn is_half(dtype: &Dtype) -> bool {
    dtype.kind() == Some(Kind::Float) && dtype.size() == 2
}

/// The path of node `name` in the group at `path`.
fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.into(),
        _ => format!("{path}/{name}"),
    }
}
