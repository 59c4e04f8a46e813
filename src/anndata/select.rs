//! What becomes of each node of a file when rows of it are taken: one match over [`Encoding`].
//!
//! The tree is walked once. What lies on the obs axis becomes [`Leaf`]s; everything else is copied as it is; groups in
//! between are made anew with their attributes. Files older than the current format come out in the current one.
//!
//! X, layers, obs, obsm: rows are taken. obsp: rows, then the same columns. raw: rows of its X, all else whole. var,
//! varm, varp, uns and whatever has another name: whole. Metadata are read, and values only where it depends on them
//! what an element is (ends of indptr, lengths of text in records, categories that are NaN).

use anyhow::{Context, Result, bail, ensure};

use super::copy::Copy;
use super::encoding::{Encoding, array_attrs};
use super::older::ColumnLayout;
use super::{columns, heal, lengths, older, root};
use crate::report::failure::in_element;
use crate::rows::awkward::Awkward;
use crate::rows::leaf::{Leaf, LeafKind, Levels, check_rows};
use crate::rows::records::TextRecords;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{Array, Group, Node};

/// A file, sorted by what taking rows of it means for each node.
pub struct Selection {
    pub cells: u64,
    /// The file, or the first of several, as far as it is shown.
    pub root: Group,
    /// Groups to make, parents first.
    pub(super) groups: Vec<(String, Attrs)>,
    pub(super) copies: Vec<Copy>,
    pub leaves: Vec<Leaf>,
    /// CSC matrices: they are read by columns, so their rows are taken in a sweep of their own.
    pub csc: Vec<(String, Sparse)>,
    /// What lies in a dataframe without being one of its columns.
    pub unlisted: Vec<String>,
    /// The categorical columns of obs, by path, and how many categories each has.
    pub(super) categoricals: Vec<(String, u64)>,
    /// Consumed on the way: nodes of old layouts that the new one keeps elsewhere.
    moved: Vec<String>,
    /// Where the cells of each file begin, if they are those of several.
    pub files: Vec<u64>,
}

impl Selection {
    /// Walks an AnnData file; an error where it has no obs or var, or where lengths disagree with obs.
    pub fn of(root: &Group) -> Result<Selection> {
        let attrs = root::attrs(root)?;
        let names = root.names()?;
        let mut selection = Selection::of_leaves(root, columns::length(root, "obs")?, vec![]);
        selection.groups.push((String::new(), attrs));
        ensure!(
            // Cells are numbers of 32 bits in orders and picks.
            u32::try_from(selection.cells).is_ok(),
            "It has {} cells; at most {} are supported",
            selection.cells,
            u32::MAX
        );
        // Known before uns is met, which is written without them.
        selection.moved = older::categories_in_uns(root)?;
        for name in &names {
            selection
                .top(root, name)
                .with_context(|| in_element("Read", name))?;
        }
        lengths::check(root, &selection.leaves, &selection.csc)?;
        Ok(selection)
    }

    /// These leaves of so many cells, and nothing else.
    pub fn of_leaves(root: &Group, cells: u64, leaves: Vec<Leaf>) -> Selection {
        Selection {
            cells,
            root: root.clone(),
            groups: vec![],
            copies: vec![],
            leaves,
            csc: vec![],
            unlisted: vec![],
            categoricals: vec![],
            moved: vec![],
            files: vec![],
        }
    }

    /// Sorts one node of the root.
    fn top(&mut self, root: &Group, name: &str) -> Result<()> {
        match name {
            "X" | "obs" | "layers" | "obsm" => self.take(root, name, name),
            "obsp" => self.square_all(root, name),
            "raw" => self.raw(root),
            // Of anndata 0.6 and before: the parts of raw at the root.
            "raw.X" => {
                self.groups
                    .push(("raw".into(), Attrs::encoding("raw", "0.1.0")));
                self.take(root, name, "raw/X")
            }
            "raw.var" | "raw.varm" => self.copy(root, name, &name.replace('.', "/")),
            "raw.cat" => Ok(()),
            "uns" => self.uns(root),
            // JHDF5's folder of the types of its values.
            _ if holds_types_alone(root.get(name)?)? => Ok(()),
            _ => self.copy(root, name, name),
        }
    }

    /// Rows of X; var and varm whole.
    fn raw(&mut self, root: &Group) -> Result<()> {
        let Some(Node::Group(raw)) = root.get("raw")? else {
            return self.copy(root, "raw", "raw");
        };
        self.groups.push(("raw".into(), labelled(&raw, "raw")?));
        for name in raw.names()? {
            match name.as_str() {
                "X" => self.take(&raw, "X", "raw/X")?,
                _ => self.copy(&raw, &name, &format!("raw/{name}"))?,
            }
        }
        Ok(())
    }

    /// Everything, but what an old layout kept there: categories of obs and var, and neighbour graphs.
    fn uns(&mut self, root: &Group) -> Result<()> {
        let Some(Node::Group(uns)) = root.get("uns")? else {
            return self.copy(root, "uns", "uns");
        };
        let graphs = older::graphs_in_uns(root, self.cells)?;
        if graphs.is_empty() && self.moved.is_empty() {
            return self.copy(root, "uns", "uns");
        }
        self.groups.push(("uns".into(), labelled(&uns, "dict")?));
        for name in uns.names()? {
            if self.moved.contains(&name) {
                continue;
            }
            if name != "neighbors" || graphs.is_empty() {
                self.copy(&uns, &name, &format!("uns/{name}"))?;
                continue;
            }
            let Some(Node::Group(neighbors)) = uns.get(&name)? else {
                continue;
            };
            self.groups
                .push(("uns/neighbors".into(), labelled(&neighbors, "dict")?));
            for name in neighbors.names()? {
                if graphs.contains(&name) {
                    self.square(&neighbors, &name, &format!("obsp/{name}"))?
                } else {
                    self.copy(&neighbors, &name, &format!("uns/neighbors/{name}"))?
                }
            }
        }
        // Names come sorted, so obsp was made before uns if the file has one.
        if !self.groups.iter().any(|(path, _)| path == "obsp") {
            self.groups
                .push(("obsp".into(), Attrs::encoding("dict", "0.1.0")));
        }
        Ok(())
    }

    fn copy(&mut self, parent: &Group, name: &str, to: &str) -> Result<()> {
        self.copies.push(Copy::new(parent, name, to));
        Ok(())
    }

    /// Takes rows of node `name`: the one place that says what that means for each encoding.
    pub(super) fn take(&mut self, parent: &Group, name: &str, to: &str) -> Result<()> {
        let node = parent
            .get(name)?
            .with_context(|| format!("'{to}' is missing"))?;
        let encoding = Encoding::of(&node)?;
        match (encoding, node) {
            (Encoding::Dict, Node::Group(group)) => {
                self.groups.push((to.into(), labelled(&group, "dict")?));
                for name in group.names()? {
                    self.take(&group, &name, &format!("{to}/{name}"))?;
                }
                Ok(())
            }
            (Encoding::Array, Node::Array(array)) => self.array(array, to),
            (Encoding::StringArray, Node::Array(array)) => {
                let attrs = array_attrs(&array)?;
                self.leaf(to, attrs, LeafKind::Text(array))
            }
            (Encoding::Csr, Node::Group(group)) => {
                let sparse = Sparse::open(&group, SparseFormat::Csr)?;
                self.leaf(to, Attrs::default(), LeafKind::Sparse(sparse))
            }
            (Encoding::Csc, Node::Group(group)) => {
                let sparse = Sparse::open(&group, SparseFormat::Csc)?;
                check_rows(to, sparse.shape[0], self.cells)?;
                self.csc.push((to.into(), sparse));
                Ok(())
            }
            (Encoding::DataFrame, Node::Group(group)) if older::is_frame(&group.attrs()?) => {
                let frame = older::frame(&group, &self.root)?;
                self.groups.push((to.into(), frame.attrs));
                for column in frame.columns {
                    self.old_column(column, to)?;
                }
                Ok(())
            }
            (Encoding::DataFrame, Node::Group(group)) => self.frame(&group, to),
            (Encoding::Categorical, Node::Group(group)) => self.categorical(&group, to),
            (Encoding::Nullable, Node::Group(group)) => self.parts(&group, to, &["values", "mask"]),
            (Encoding::Awkward, Node::Group(group)) => self.leaf(
                to,
                Attrs::default(),
                LeafKind::Awkward(Awkward::open(&group)?),
            ),
            // `None`, and an X that was written as nothing.
            (Encoding::Scalar, Node::Array(array)) if array.spec().null || is_null(&array)? => {
                self.copy(parent, name, to)
            }
            (encoding, _) => bail!(
                "Rows of '{to}' cannot be taken: it is {encoding}, of which annslicer takes no rows; remove it or \
                 convert it first"
            ),
        }
    }

    /// An array of a fixed width; a compound one is a frame (obs) or a folder of arrays (obsm) of old.
    fn array(&mut self, array: Array, to: &str) -> Result<()> {
        if !matches!(array.spec().dtype, Dtype::Record { .. }) {
            let attrs = array_attrs(&array)?;
            return self.leaf(to, attrs, LeafKind::Fixed(array));
        }
        if array.attrs()?.get("encoding-type").is_some() {
            let attrs = array_attrs(&array)?;
            let kind = if array.spec().dtype.is_record_with_text() {
                LeafKind::Records(TextRecords::open(array)?)
            } else {
                LeafKind::Fixed(array)
            };
            return self.leaf(to, attrs, kind);
        }
        if to != "obs" {
            self.groups
                .push((to.into(), Attrs::encoding("dict", "0.1.0")));
            let fields = older::folder(&array, &self.root, to, to)?;
            return fields.into_iter().try_for_each(|leaf| self.add(leaf));
        }
        let frame = older::record_frame(array, &self.root)?.shown(&self.root, to);
        self.groups.push((to.into(), frame.attrs));
        for column in frame.columns {
            self.old_column(column, to)?;
        }
        Ok(())
    }

    /// A column of an old frame: categories become a group of their codes, which are rows, and a copy of the
    /// categories.
    fn old_column(&mut self, column: older::OldColumn, frame: &str) -> Result<()> {
        let to = format!("{frame}/{}", column.name);
        let (codes, categories) = match column.layout {
            ColumnLayout::Old(codes, Some(categories)) => (codes, categories),
            ColumnLayout::Old(values, None) => return self.add(older::leaf(values, &to)?),
            ColumnLayout::Current(parent) => return self.take(&parent, &column.name, &to),
        };
        let attrs =
            Attrs::encoding("categorical", "0.2.0").with("ordered", Attr::bool(categories.ordered));
        self.groups.push((to.clone(), attrs));
        let count = categories.count()?;
        self.add(older::codes(codes, &format!("{to}/codes"), count))?;
        let copy = Copy::new(
            &categories.parent,
            &categories.name,
            &format!("{to}/categories"),
        );
        self.copies.push(copy);
        self.categoricals.push((to, count));
        Ok(())
    }

    /// A dataframe: the columns that it lists, and whatever else lies in its group.
    fn frame(&mut self, group: &Group, to: &str) -> Result<()> {
        let attrs = columns::attrs(group)?;
        let listed = columns::columns(group)?;
        self.groups.push((to.into(), attrs));
        for name in &listed {
            self.take(group, name, &format!("{to}/{name}"))?;
        }
        for name in columns::unlisted(group, &listed)? {
            let path = format!("{to}/{name}");
            self.unlisted.push(path.clone());
            let node = group.get(&name)?;
            let rows = node.and_then(|node| columns::column_length(&node).ok());
            // With a value for each cell it is taken for a column that someone forgot to list.
            if rows == Some(self.cells) {
                self.take(group, &name, &path)?
            } else {
                self.copy(group, &name, &path)?
            }
        }
        Ok(())
    }

    /// Rows of the codes; the categories are copied, all of them in their order, whichever are used.
    pub(super) fn categorical(&mut self, group: &Group, to: &str) -> Result<()> {
        let categories = group
            .get("categories")?
            .with_context(|| format!("'{to}' has no 'categories'"))?;
        let categories = columns::column_length(&categories)
            .with_context(|| in_element("Read", format!("{to}/categories")))?;
        let Some(Node::Array(codes)) = group.get("codes")? else {
            bail!("'{to}' has no 'codes'");
        };
        self.categoricals.push((to.into(), categories));
        self.groups.push((to.into(), group.attrs()?));
        for name in group.names()?.iter().filter(|n| *n != "codes") {
            self.copy(group, name, &format!("{to}/{name}"))?;
        }
        let attrs = array_attrs(&codes)?;
        let levels = Levels {
            count: categories,
            missing: heal::missing_level(group)?,
        };
        self.leaf(
            &format!("{to}/codes"),
            attrs,
            LeafKind::Codes(codes, levels),
        )
    }

    /// A group some of whose arrays hold rows; the others are copied.
    fn parts(&mut self, group: &Group, to: &str, on_axis: &[&str]) -> Result<()> {
        self.groups.push((to.into(), group.attrs()?));
        let names = group.names()?;
        for part in on_axis {
            ensure!(names.iter().any(|n| n == part), "'{to}' has no '{part}'");
        }
        for name in names {
            let path = format!("{to}/{name}");
            if on_axis.contains(&name.as_str()) {
                match group.get(&name)? {
                    // R has masks of integers.
                    Some(Node::Array(mask)) if name == "mask" && !heal::is_mask(&mask) => {
                        self.leaf(&path, array_attrs(&mask)?, LeafKind::Mask(mask))?
                    }
                    _ => self.take(group, &name, &path)?,
                }
            } else {
                self.copy(group, &name, &path)?
            }
        }
        Ok(())
    }

    /// All matrices of cells by cells in obsp.
    fn square_all(&mut self, parent: &Group, name: &str) -> Result<()> {
        let Some(Node::Group(group)) = parent.get(name)? else {
            return self.copy(parent, name, name);
        };
        self.groups.push((name.into(), labelled(&group, "dict")?));
        for name in group.names()? {
            self.square(&group, &name, &format!("obsp/{name}"))?;
        }
        Ok(())
    }

    /// A matrix of cells by cells. CSC is CSR of the transposed matrix, and both axes take the same cells.
    fn square(&mut self, parent: &Group, name: &str, to: &str) -> Result<()> {
        let node = parent
            .get(name)?
            .with_context(|| format!("'{to}' is missing"))?;
        let encoding = Encoding::of(&node)?;
        let (kind, attrs, columns) = match (encoding, node) {
            (encoding @ (Encoding::Csr | Encoding::Csc), Node::Group(group)) => {
                let layout = match encoding {
                    Encoding::Csc => SparseFormat::Csc,
                    _ => SparseFormat::Csr,
                };
                let sparse = Sparse::open(&group, layout)?;
                let columns = sparse.width();
                (LeafKind::SquareSparse(sparse), Attrs::default(), columns)
            }
            (Encoding::Array, Node::Array(array)) if array.spec().shape.len() == 2 => {
                let (attrs, columns) = (array_attrs(&array)?, array.spec().shape[1]);
                (LeafKind::SquareFixed(array), attrs, columns)
            }
            (encoding, _) => bail!("'{to}' is {encoding}, which is no matrix of cells by cells"),
        };
        check_rows(to, columns, self.cells)?;
        self.leaf(to, attrs, kind)
    }

    fn leaf(&mut self, to: &str, attrs: Attrs, kind: LeafKind) -> Result<()> {
        let path = to.into();
        self.add(Leaf { path, attrs, kind })
    }

    /// The one way to a leaf: an error unless it has a row for each cell, of a type that can be read.
    fn add(&mut self, leaf: Leaf) -> Result<()> {
        let to = &leaf.path;
        check_rows(to, leaf.rows(), self.cells)?;
        if let LeafKind::Fixed(array) | LeafKind::SquareFixed(array) = &leaf.kind
            && let Dtype::Unsupported(why) = &array.spec().dtype
        {
            bail!("Rows of '{to}' cannot be taken: {why}");
        }
        self.leaves.push(leaf);
        Ok(())
    }
}

fn is_null(array: &Array) -> Result<bool> {
    Ok(array.attrs()?.text("encoding-type") == Some("null"))
}

/// The attributes of a group, with an encoding where it has none.
fn labelled(group: &Group, kind: &str) -> Result<Attrs> {
    let attrs = group.attrs()?;
    if attrs.get("encoding-type").is_some() {
        return Ok(attrs);
    }
    let mut full = Attrs::encoding(kind, "0.1.0");
    attrs.iter().for_each(|(n, v)| full.set(n, v.clone()));
    Ok(full)
}

/// Whether a node is a group of named datatypes and nothing else.
pub fn holds_types_alone(node: Option<Node>) -> Result<bool> {
    match node {
        Some(Node::Group(group)) => {
            Ok(!group.named_types()?.is_empty() && group.names()?.is_empty())
        }
        _ => Ok(false),
    }
}
