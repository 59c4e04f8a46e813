//! A folder of named nodes: the facade over the groups of HDF5 and Zarr.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::array::ArrayOf;
use super::dates::without_dates;
use super::io::append::{Appender, AppenderOf, Noted};
use super::io::ledger::{self, Ledger};
use super::leftout::{self, To};
use super::records::RecordAppender;
use super::shown::{Place, Seen, Shown, View};
use super::spec::{ArraySpec, Attrs};
use super::zarr::Fault;
use super::{Container, Format, Node, Rows, hdf5, zarr};

/// A folder of named nodes, open for reading or for writing.
#[derive(Clone)]
pub struct Group {
    of: GroupOf,
    /// Where what is written is noted, if it is to be compared.
    ledger: Option<Ledger>,
    /// What is read of it, if that is not all as it is.
    view: Option<(View, Arc<Group>)>,
}

#[derive(Clone)]
pub(super) enum GroupOf {
    Hdf5(hdf5::Group),
    Zarr(zarr::Group),
}

impl From<GroupOf> for Group {
    fn from(of: GroupOf) -> Group {
        Group {
            of,
            ledger: None,
            view: None,
        }
    }
}

impl Group {
    /// The same group, which notes in `ledger` all that is written to it from now on.
    pub fn noted(self, ledger: Option<Ledger>) -> Group {
        Group { ledger, ..self }
    }

    /// The root of a file as it is shown.
    pub fn showing(&self, shown: Shown) -> Group {
        let root = Group {
            view: None,
            ..self.clone()
        };
        let whole = Arc::new(root.clone());
        Group {
            view: (!shown.is_all()).then(|| (View::of(shown), whole)),
            ..root
        }
    }

    /// Whether the file has a node of this name here that is not shown.
    pub fn hides(&self, name: &str) -> bool {
        let seen = self.view.as_ref().map(|(view, _)| view.see(name));
        seen == Some(Seen::Nothing)
    }

    /// The path in the file of a node below this group.
    fn path_of(&self, path: &str) -> String {
        let whole = match (self.path().as_str(), path) {
            ("", _) => path.into(),
            (group, "") => group.into(),
            (group, _) => format!("{group}/{path}"),
        };
        match self.format() {
            Format::H5ad => whole,
            Format::Zarr => zarr::portable(&whole),
        }
    }

    pub fn format(&self) -> Format {
        match &self.of {
            GroupOf::Hdf5(_) => Format::H5ad,
            GroupOf::Zarr(_) => Format::Zarr,
        }
    }

    /// Those of the attributes for a node below this group that its format can hold.
    fn writable<'a>(&self, path: &str, attrs: &'a Attrs, to: To) -> Cow<'a, Attrs> {
        leftout::writable(attrs, &self.path_of(path), self.format(), to)
    }

    /// The path inside its file, without a leading slash; empty for the root.
    pub fn path(&self) -> String {
        match &self.of {
            GroupOf::Hdf5(g) => g.path(),
            GroupOf::Zarr(g) => g.path(),
        }
    }

    /// The names of its nodes, sorted by code point.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = match &self.of {
            GroupOf::Hdf5(g) => g.names()?,
            GroupOf::Zarr(g) => g.names()?,
        };
        Ok(match &self.view {
            Some((view, _)) => view.names(names),
            None => names,
        })
    }

    /// The node at `path` below this group (names joined by slashes); `None` where there is none.
    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        let Some((view, root)) = &self.view else {
            return self.own(path);
        };
        let node = match view.see(path) {
            Seen::Nothing => None,
            Seen::Own => self.own(path)?,
            Seen::Moved(place) => root.at(&place)?,
        };
        Ok(node.map(|node| match node {
            Node::Group(group) => Node::Group(Group {
                view: Some((view.below(path), root.clone())),
                ..group
            }),
            array => array,
        }))
    }

    /// What is at a place of this file.
    fn at(&self, place: &Place) -> Result<Option<Node>> {
        let node = self.own(&place.path)?;
        let Some(text) = &place.plain else {
            return Ok(node);
        };
        let (Some(Node::Array(values)), Some(Node::Array(mask))) = (node, self.own(&text.mask)?)
        else {
            bail!("'{}' has no values with a mask", place.path);
        };
        let plain = values.masked(mask, &text.missing, text.attrs.clone());
        Ok(Some(Node::Array(plain)))
    }

    /// The node that the file has at `path` below this group.
    fn own(&self, path: &str) -> Result<Option<Node>> {
        match &self.of {
            GroupOf::Hdf5(g) => Ok(g.get(path)?.map(|n| match n {
                hdf5::Node::Group(g) => {
                    Node::Group(Group::from(GroupOf::Hdf5(g)).noted(self.ledger.clone()))
                }
                hdf5::Node::Array(a) => Node::Array(ArrayOf::Hdf5(Arc::new(a)).into()),
            })),
            GroupOf::Zarr(g) => Ok(g.get(path)?.map(|n| match n {
                zarr::Node::Group(g) => {
                    Node::Group(Group::from(GroupOf::Zarr(g)).noted(self.ledger.clone()))
                }
                zarr::Node::Array(a) => Node::Array(ArrayOf::Zarr(Box::new(a)).into()),
            })),
        }
    }

    /// Where what its whole store says of its nodes in one place is not what they say themselves.
    pub fn metadata_faults(&self) -> Result<Vec<Fault>> {
        match &self.of {
            GroupOf::Hdf5(_) => Ok(vec![]),
            GroupOf::Zarr(g) => g.metadata_faults(),
        }
    }

    /// The names of the named datatypes of HDF5 in it, which are no nodes; anndata opens no file that has any.
    pub fn named_types(&self) -> Result<Vec<String>> {
        match &self.of {
            GroupOf::Hdf5(g) => g.named_types(),
            GroupOf::Zarr(_) => Ok(vec![]),
        }
    }

    pub fn attrs(&self) -> Result<Attrs> {
        match &self.of {
            GroupOf::Hdf5(g) => g.attrs(),
            GroupOf::Zarr(g) => g.attrs(),
        }
    }

    /// Creates the group `path`, and those that lead to it where they are missing.
    pub fn create_group(&self, path: &str, attrs: &Attrs) -> Result<Group> {
        let attrs = &*self.writable(path, attrs, To::New);
        let of = match &self.of {
            GroupOf::Hdf5(g) => GroupOf::Hdf5(g.create_group(path, attrs)?),
            GroupOf::Zarr(g) => GroupOf::Zarr(g.create_group(path, attrs)?),
        };
        if let Some(ledger) = &self.ledger {
            ledger.attrs(self.path_of(path), attrs);
        }
        Ok(Group::from(of).noted(self.ledger.clone()))
    }

    /// The same group, whose new arrays hold back at most about `bytes` each, in smaller chunks than they get by
    /// default: for many that are written at once.
    pub fn with_chunks_of(&self, bytes: u64) -> Group {
        let of = match &self.of {
            GroupOf::Hdf5(g) => GroupOf::Hdf5(g.with_chunks_of(bytes)),
            GroupOf::Zarr(g) => GroupOf::Zarr(g.with_chunks_of(bytes)),
        };
        Group::from(of).noted(self.ledger.clone())
    }

    /// The files of a store in which they are [counted](super::counted); `None` where they are not, or where only the
    /// writing tells.
    pub fn files(&self) -> Option<u64> {
        match &self.of {
            GroupOf::Hdf5(_) => None,
            GroupOf::Zarr(g) => g.files(),
        }
    }

    /// A store that goes on from what this one has counted.
    pub fn counted_on(&self) -> Group {
        match &self.of {
            GroupOf::Hdf5(_) => self.clone(),
            GroupOf::Zarr(g) => Group::from(GroupOf::Zarr(g.counted_on())),
        }
    }

    /// What it is written as.
    pub fn container(&self) -> &Container {
        match &self.of {
            GroupOf::Hdf5(g) => g.container(),
            GroupOf::Zarr(g) => g.container(),
        }
    }

    /// The same group, whose new arrays are along the cells: each cell has `rows` of their rows in the mean, and those of
    /// all arrays of its matrix take `bytes`. Chunks and Zarr shards hold as many cells as the container says.
    pub fn along_cells(&self, rows: f64, bytes: f64) -> Group {
        let container = self.container();
        // For 2000 non-zeros per cell and `--chunk-cells 100`, chunks of the indices have 200 000 rows.
        let rows_of = |cells: u64| ((cells as f64 * rows) as u64).max(1);
        let chunk = container.chunk_cells.map(rows_of);
        let fit = |shard: u64| rows_of(((shard as f64 / bytes.max(1.0)) as u64).max(1));
        let shard = container.zarr_shard.map(fit);
        let of = match &self.of {
            GroupOf::Hdf5(g) => GroupOf::Hdf5(g.with_rows(chunk)),
            GroupOf::Zarr(g) => GroupOf::Zarr(g.with_rows(chunk, shard)),
        };
        Group::from(of).noted(self.ledger.clone())
    }

    /// The same for one array whose rows are cells: a matrix is cut by cells, a column as any other array.
    pub fn for_matrix(&self, spec: &ArraySpec) -> Group {
        if spec.shape.len() < 2 {
            return self.clone();
        }
        self.along_cells(1.0, spec.row_bytes() as f64)
    }

    /// Says in which folder the file will be when it is published: what is [linked](Rows::Linked) is named from there.
    pub fn set_home(&self, folder: &Path) {
        if let GroupOf::Hdf5(g) = &self.of {
            g.set_home(folder);
        }
    }

    /// Why its format cannot hold such an array; `None` where it can.
    pub fn refuses(&self, spec: &ArraySpec) -> Option<String> {
        match &self.of {
            GroupOf::Hdf5(_) => None,
            GroupOf::Zarr(g) => g.check(spec).err().map(|why| why.to_string()),
        }
    }

    /// Sets attributes of the node at `path` (this group where it is empty); those of the same names are replaced.
    pub fn set_attrs(&self, path: &str, attrs: &Attrs) -> Result<()> {
        let attrs = &*self.writable(path, attrs, To::Old);
        if let Some(ledger) = &self.ledger {
            ledger.attrs(self.path_of(path), attrs);
        }
        match &self.of {
            GroupOf::Hdf5(g) => g.set_attrs(path, attrs),
            GroupOf::Zarr(g) => g.set_attrs(path, attrs),
        }
    }

    /// Creates the array `path`, and the groups that lead to it where they are missing.
    pub fn create_array(
        &self,
        path: &str,
        spec: &ArraySpec,
        rows: Rows,
        attrs: &Attrs,
    ) -> Result<Appender> {
        let attrs = &*self.writable(path, attrs, To::New);
        let spec = &match self.format() {
            Format::H5ad => without_dates(spec, path),
            // Zarr has no enumerations.
            Format::Zarr => ArraySpec {
                dtype: spec.dtype.as_read().clone(),
                ..spec.clone()
            },
        };
        let of = match &self.of {
            GroupOf::Hdf5(g) if rows == Rows::Linked => {
                AppenderOf::Linked(Box::new(g.create_linked(path, spec, attrs)))
            }
            GroupOf::Hdf5(g) => {
                AppenderOf::Hdf5(Box::new(g.create_array(path, spec, rows, attrs)?))
            }
            GroupOf::Zarr(g) => {
                AppenderOf::Zarr(Box::new(g.create_array(path, spec, rows, attrs)?))
            }
        };
        // Its values are noted as they are appended, before they are encoded.
        let noted = self.ledger.as_ref().map(|ledger| {
            ledger.attrs(self.path_of(path), attrs);
            Noted::new(ledger, self.path_of(path), spec)
        });
        Ok(Appender::new(of, noted))
    }

    /// Writes an array of records whose fixed-width text is UTF-8. Readers take such text for ASCII, so it becomes text
    /// of any length in HDF5, and UTF-32 in Zarr.
    pub fn write_records(
        &self,
        path: &str,
        spec: &ArraySpec,
        records: &[u8],
        attrs: &Attrs,
    ) -> Result<()> {
        let attrs = &*self.writable(path, attrs, To::New);
        if let Some(ledger) = &self.ledger {
            // Its texts get another width on the way: only that it is there is compared.
            ledger.attrs(self.path_of(path), attrs);
        }
        match &self.of {
            GroupOf::Hdf5(g) => g.write_records(path, &without_dates(spec, path), records, attrs),
            GroupOf::Zarr(g) => {
                let (dtype, records) = zarr::with_utf32(&spec.dtype, records)
                    .with_context(|| format!("Write '{}'", self.path_of(path)))?;
                let spec = ArraySpec::new(spec.shape.clone(), dtype);
                let mut array = g.create_array(path, &spec, Rows::Known, attrs)?;
                array.append(&records)?;
                array.finish().map(drop)
            }
        }
    }

    /// Creates an array of records whose text, of a fixed width where they are appended, is stored as by
    /// [`Group::write_records`].
    pub fn create_records(
        &self,
        path: &str,
        spec: &ArraySpec,
        attrs: &Attrs,
    ) -> Result<RecordAppender> {
        let attrs = &*self.writable(path, attrs, To::New);
        if let Some(ledger) = &self.ledger {
            ledger.attrs(self.path_of(path), attrs);
        }
        Ok(match &self.of {
            GroupOf::Hdf5(g) => {
                let spec = without_dates(spec, path);
                RecordAppender::Hdf5(g.create_records(path, &spec, attrs)?)
            }
            GroupOf::Zarr(g) => {
                let from = spec.dtype.clone();
                let spec = ArraySpec::new(spec.shape.clone(), zarr::as_utf32(&from));
                let to = g.create_array(path, &spec, Rows::Known, attrs)?;
                RecordAppender::Zarr(from, Box::new(to))
            }
        })
    }

    /// Whether nodes may be copied there as they are stored.
    pub fn may_copy_to(&self, to: &Group) -> bool {
        matches!(
            (&self.of, &to.of),
            (GroupOf::Hdf5(_), GroupOf::Hdf5(_)) | (GroupOf::Zarr(_), GroupOf::Zarr(_))
        )
    }

    /// Copies node `name`, whatever it holds, to `to/new_name`, its chunks as they are stored. They are decoded
    /// nevertheless: an error where that fails. False, and nothing done, where source and target are of different
    /// formats, and where not all of it is shown.
    pub fn copy_verbatim(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let Some((view, root)) = &self.view else {
            return self.copy_own(name, to, new_name);
        };
        match view.see(name) {
            // The copy would have what is hidden, or lack what is moved.
            _ if view.changes_below(name) => Ok(false),
            Seen::Nothing => Ok(false),
            Seen::Own => self.copy_own(name, to, new_name),
            Seen::Moved(Place { plain: Some(_), .. }) => Ok(false),
            Seen::Moved(Place { path, .. }) => root.copy_own(&path, to, new_name),
        }
    }

    fn copy_own(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let copied = match (&self.of, &to.of) {
            (GroupOf::Hdf5(from), GroupOf::Hdf5(to)) => from.copy(name, to, new_name)?,
            (GroupOf::Zarr(from), GroupOf::Zarr(to)) => from.copy(name, to, new_name)?,
            _ => false,
        };
        // Where files are only counted there is no copy. Else a damaged chunk would go over without a word.
        if copied && to.files().is_none() {
            let node = self.own(name)?;
            let node = node.with_context(|| format!("'{name}' is missing"))?;
            match &to.ledger {
                Some(ledger) => ledger.copied(&node, to.path_of(new_name))?,
                None => ledger::decode_all(&node)?,
            }
        }
        Ok(copied)
    }

    /// Ends the writing of a file: everything is handed to the file system, and a Zarr root gets its consolidated
    /// metadata. Called once, on the root, after every appender is finished.
    pub fn finish(self) -> Result<()> {
        match self.of {
            GroupOf::Hdf5(g) => g.finish(),
            GroupOf::Zarr(g) => g.finish(),
        }
    }
}
