//! The only place that knows HDF5 and Zarr exist: groups, arrays and appenders over either.
//!
//! The facades are concrete types over a private enum: two backends, chosen for each file at run time, and a
//! merge mixes both. Reading never changes a file. An appender carries its own cursor, and only
//! [`Appender::finish`] makes what it wrote valid.

mod access;
mod ahead;
mod append;
mod assembly;
mod buffer;
mod chunks;
mod hdf5;
mod lanes;
mod ledger;
mod leftout;
mod raw;
mod scratch;
pub mod spec;
mod work;
mod zarr;

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::compression::Compression;
pub use access::Access;
pub use ahead::read_ahead;
pub use append::{Appender, Map};
use append::{AppenderOf, Noted};
pub use buffer::Buffer;
pub use hdf5::share_heap;
pub use hdf5::watch::watch;
pub use lanes::{in_lanes, lanes_of};
pub use ledger::Ledger;
use leftout::To;
pub use raw::Take;
pub use scratch::Scratch;
use spec::{ArraySpec, Attrs, Field, Strings};
pub use work::work;
pub use zarr::guard::is_guarded;

/// A folder of named nodes, open for reading or for writing.
#[derive(Clone)]
pub struct Group {
    of: GroupOf,
    /// Where what is written is noted, if it is to be compared.
    ledger: Option<Ledger>,
}

#[derive(Clone)]
enum GroupOf {
    Hdf5(hdf5::Group),
    Zarr(zarr::Group),
}

/// An array, open for reading.
pub struct Array(ArrayOf);

enum ArrayOf {
    Hdf5(Box<hdf5::Array>),
    Zarr(Box<zarr::Array>),
    /// Decoded into a scratch file.
    Unpacked(Box<raw::Unpacked>),
}

/// How the values of an array lie in its file, as far as its metadata tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The shape of a chunk; `None` where the array lies in one piece.
    pub chunk: Option<Vec<u64>>,
    /// The names of its filters or codecs, in the order of writing.
    pub filters: Vec<String>,
    /// Whether readers get its numbers with the most significant byte first, as HDF5 and Zarr of version 2 keep them.
    pub big_endian: bool,
    /// What the values take on disk, in HDF5 without text of any length; `None` where they have no chunks in Zarr.
    pub bytes: Option<u64>,
}

pub enum Node {
    Group(Group),
    Array(Array),
}

impl Node {
    pub fn attrs(&self) -> Result<Attrs> {
        match self {
            Node::Group(group) => group.attrs(),
            Node::Array(array) => array.attrs(),
        }
    }
}

/// How many rows an array will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As many as its shape says.
    Known,
    /// Found out while it is written; the first entry of its shape is not looked at.
    Growing,
}

/// Opens what stands at `path` by its content: an HDF5 file or a Zarr group (v2 or v3).
pub fn open(path: &Path, access: &Access) -> Result<Group> {
    let name = path.display();
    let found = std::fs::metadata(path).with_context(|| format!("Open {name}"))?;
    if found.is_dir() {
        let group = zarr::open(path, access).with_context(|| format!("Open {name}"))?;
        return Ok(Group::from(GroupOf::Zarr(group)));
    }
    let group = hdf5::open(path, access).with_context(|| format!("Open {name}"))?;
    Ok(Group::from(GroupOf::Hdf5(group)))
}

/// What a new file is, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    H5ad,
    Zarr,
}

impl Format {
    /// An error for any extension but `.h5ad`, `.h5` and `.zarr`.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("h5ad" | "h5") => Ok(Format::H5ad),
            Some("zarr") => Ok(Format::Zarr),
            _ => bail!(
                "{}: the name must end in .h5ad or .zarr, which chooses the format",
                path.display()
            ),
        }
    }

    /// An error where such a file has no such compression.
    pub fn allows(self, compression: Compression) -> Result<()> {
        ensure!(
            self != Format::Zarr || compression != Compression::Lzf,
            zarr::NO_LZF
        );
        Ok(())
    }
}

/// Creates a file (or a folder) at `path`, where nothing stands yet; the root group gets no attributes.
pub fn create(path: &Path, format: Format, compression: Compression) -> Result<Group> {
    format.allows(compression)?;
    let context = || format!("Create {}", path.display());
    Ok(Group::from(match format {
        Format::H5ad => GroupOf::Hdf5(hdf5::create(path, compression).with_context(context)?),
        Format::Zarr => GroupOf::Zarr(zarr::create(path, compression).with_context(context)?),
    }))
}

/// Opens an HDF5 file that this program made, to add to it.
pub fn extend(path: &Path, compression: Compression) -> Result<Group> {
    let group = hdf5::extend(path, compression);
    Ok(Group::from(GroupOf::Hdf5(
        group.with_context(|| format!("Open {}", path.display()))?,
    )))
}

impl From<GroupOf> for Group {
    fn from(of: GroupOf) -> Group {
        Group { of, ledger: None }
    }
}

impl Group {
    /// The same group, which notes in `ledger` all that is written to it from now on.
    pub fn noted(self, ledger: Option<Ledger>) -> Group {
        Group { ledger, ..self }
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
        match &self.of {
            GroupOf::Hdf5(g) => g.names(),
            GroupOf::Zarr(g) => g.names(),
        }
    }

    /// The node at `path` below this group (names joined by slashes); `None` where there is none.
    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        match &self.of {
            GroupOf::Hdf5(g) => Ok(g.get(path)?.map(|n| match n {
                hdf5::Node::Group(g) => {
                    Node::Group(Group::from(GroupOf::Hdf5(g)).noted(self.ledger.clone()))
                }
                hdf5::Node::Array(a) => Node::Array(Array(ArrayOf::Hdf5(Box::new(a)))),
            })),
            GroupOf::Zarr(g) => Ok(g.get(path)?.map(|n| match n {
                zarr::Node::Group(g) => {
                    Node::Group(Group::from(GroupOf::Zarr(g)).noted(self.ledger.clone()))
                }
                zarr::Node::Array(a) => Node::Array(Array(ArrayOf::Zarr(Box::new(a)))),
            })),
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
        let of = match &self.of {
            GroupOf::Hdf5(g) => {
                AppenderOf::Hdf5(Box::new(g.create_array(path, spec, rows, attrs)?))
            }
            GroupOf::Zarr(g) => {
                AppenderOf::Zarr(Box::new(g.create_array(path, spec, rows, attrs)?))
            }
        };
        let noted = self.ledger.as_ref().map(|ledger| {
            ledger.attrs(self.path_of(path), attrs);
            Noted::new(ledger, self.path_of(path), spec)
        });
        Ok(Appender::new(of, noted))
    }

    /// Writes an array of records whose fixed-width text is UTF-8. HDF5 readers take such text for ASCII, so there it
    /// becomes text of any length.
    pub fn write_records(
        &self,
        path: &str,
        spec: &ArraySpec,
        records: &[u8],
        attrs: &Attrs,
    ) -> Result<()> {
        let attrs = &*self.writable(path, attrs, To::New);
        match &self.of {
            GroupOf::Hdf5(g) => {
                if let Some(ledger) = &self.ledger {
                    // Its texts get another width on the way: only that it is there is compared.
                    ledger.attrs(self.path_of(path), attrs);
                }
                g.write_records(path, spec, records, attrs)
            }
            GroupOf::Zarr(_) => {
                let mut array = self.create_array(path, spec, Rows::Known, attrs)?;
                array.append(records)?;
                array.finish().map(drop)
            }
        }
    }

    /// Copies node `name`, whatever it holds, to `to/new_name`, its chunks as they are stored. They are decoded
    /// nevertheless: an error where that fails. False, and nothing done, where source and target are of different
    /// formats.
    pub fn copy_verbatim(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let copied = match (&self.of, &to.of) {
            (GroupOf::Hdf5(from), GroupOf::Hdf5(to)) => from.copy(name, to, new_name)?,
            (GroupOf::Zarr(from), GroupOf::Zarr(to)) => from.copy(name, to, new_name)?,
            _ => false,
        };
        if copied {
            let node = self.get(name)?;
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

impl Array {
    pub fn path(&self) -> String {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.path(),
            ArrayOf::Zarr(a) => a.path(),
            ArrayOf::Unpacked(a) => a.path(),
        }
    }

    /// That of the file that it is read from.
    pub fn format(&self) -> Format {
        match &self.0 {
            ArrayOf::Zarr(_) => Format::Zarr,
            ArrayOf::Hdf5(_) | ArrayOf::Unpacked(_) => Format::H5ad,
        }
    }

    pub fn spec(&self) -> &ArraySpec {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.spec(),
            ArrayOf::Zarr(a) => a.spec(),
            ArrayOf::Unpacked(a) => a.spec(),
        }
    }

    pub fn attrs(&self) -> Result<Attrs> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.attrs(),
            ArrayOf::Zarr(a) => a.attrs(),
            ArrayOf::Unpacked(a) => a.attrs(),
        }
    }

    /// Their names alone, which take fewer reads than their values.
    pub fn attr_names(&self) -> Result<Vec<String>> {
        if let ArrayOf::Hdf5(a) = &self.0 {
            return a.attr_names();
        }
        let attrs = self.attrs()?;
        Ok(attrs.iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// Reads the rows in `ranges` (sorted, disjoint) as they are stored, into exactly as many bytes. A scalar is
    /// one row. For every type but text of any length.
    pub fn read_into(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.read_into(ranges, dst),
            ArrayOf::Zarr(a) => a.read_into(ranges, dst),
            ArrayOf::Unpacked(a) => a.read_into(ranges, dst),
        }
        .with_context(|| format!("Read '{}'", self.path()))
    }

    /// As [`Array::read_into`], into bytes of its own.
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        let len = self.bytes_in(ranges)?;
        // What a header claims may be more than there is.
        Vec::<u8>::new()
            .try_reserve_exact(len)
            .with_context(|| format!("Read '{}': {len} bytes", self.path()))?;
        let mut dst = vec![0; len];
        self.read_into(ranges, &mut dst)?;
        Ok(dst)
    }

    /// As [`Array::read_into`], into the memory of a buffer that is no longer needed, where that is enough.
    pub fn read_over(&self, ranges: &[Range<u64>], mut dst: Buffer) -> Result<Buffer> {
        let len = self.bytes_in(ranges)?;
        if dst.capacity() < len {
            // The next block may be a little larger.
            let room = len.saturating_add(len / 16);
            drop(dst);
            // Fresh memory is zero without being written, so the threads that read touch it first.
            dst = Buffer::zeros(room).with_context(|| format!("Read '{}'", self.path()))?;
        }
        dst.set_len(len);
        self.read_into(ranges, &mut dst)?;
        Ok(dst)
    }

    /// What the rows in `ranges` take.
    fn bytes_in(&self, ranges: &[Range<u64>]) -> Result<usize> {
        let rows: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        rows.checked_mul(self.spec().row_bytes())
            .and_then(|n| usize::try_from(n).ok())
            .with_context(|| format!("Read '{}': its shape is too large", self.path()))
    }

    /// Reads the rows in `ranges` (sorted, disjoint) of an array of text, fixed width or not (padding is taken
    /// off), in order of storage: a row of several elements gives as many texts.
    pub fn read_strings(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.read_strings(ranges),
            ArrayOf::Zarr(a) => a.read_strings(ranges),
            ArrayOf::Unpacked(_) => bail!("It holds no text"),
        }
        .with_context(|| format!("Read '{}'", self.path()))
    }

    /// Reads the rows in `ranges` of one field of a compound dataset, whose type is of a fixed width.
    pub fn read_field(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.read_field(field, ranges),
            _ => bail!("It is no compound dataset"),
        }
        .with_context(|| format!("Read field '{}' of '{}'", field.name, self.path()))
    }

    /// As [`Array::read_field`], for a field of text.
    pub fn read_field_strings(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Strings> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.read_field_strings(field, ranges),
            _ => bail!("It is no compound dataset"),
        }
        .with_context(|| format!("Read field '{}' of '{}'", field.name, self.path()))
    }

    /// Hands the rows in `rows` to `take` as they are read, from many threads. False, and nothing was done, where they
    /// do not come as whole rows.
    fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.each(rows, take),
            ArrayOf::Zarr(a) => a.each(rows, take),
            ArrayOf::Unpacked(a) => a.each(rows, take).map(|()| true),
        }
        .with_context(|| format!("Read '{}'", self.path()))
    }

    /// The same array, decoded once into a file in `scratch`, so that any row can be read by itself.
    pub fn unpacked(&self, scratch: &Path) -> Result<Array> {
        /// Bytes decoded at a time.
        const BLOCK: u64 = 32 << 20;
        let spec = self.spec();
        let mut unpacked =
            raw::Unpacked::create(scratch, self.path(), spec.clone(), self.attrs()?)?;
        let step = (BLOCK / spec.row_bytes().max(1)).max(1);
        let mut start = 0;
        while start < spec.rows() {
            let end = spec.rows().min(start.saturating_add(step));
            unpacked.append(&self.read(std::slice::from_ref(&(start..end)))?)?;
            start = end;
        }
        Ok(Array(ArrayOf::Unpacked(Box::new(unpacked))))
    }

    /// Where its values lie, if as they are.
    fn extents(&self) -> Option<(&File, &raw::Extents)> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.extents(),
            ArrayOf::Zarr(_) => None,
            ArrayOf::Unpacked(a) => Some(a.extents()),
        }
    }

    /// Whether any row is read from its place, without decoding.
    pub fn is_placed(&self) -> bool {
        self.extents().is_some()
    }

    /// How its values are stored and read, for the log: `Direct`, `Contiguous` or `Library(why)`.
    pub fn storage(&self) -> String {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.storage(),
            ArrayOf::Zarr(a) => a.storage(),
            ArrayOf::Unpacked(a) => a.storage(),
        }
    }

    /// How its values lie in the file; no value is read.
    pub fn layout(&self) -> Result<Layout> {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.layout(),
            ArrayOf::Zarr(a) => a.layout(),
            ArrayOf::Unpacked(_) => Ok(Layout::default()),
        }
    }

    /// An error where next to nothing of what its shape declares is stored: to read values that were never written,
    /// one after another, may take days.
    pub fn check_declared(&self) -> Result<()> {
        /// What may be declared besides the most that a codec makes of what is stored.
        const LEAST: u64 = 256 << 30;
        const RATIO: u64 = 1 << 16;
        let spec = self.spec();
        let row = spec.row_bytes().max(spec.row_items());
        let declared = row.saturating_mul(spec.rows());
        if declared > LEAST
            && let Some(stored) = self.layout()?.bytes
        {
            ensure!(
                declared - LEAST <= stored.saturating_mul(RATIO),
                "'{}' declares {declared} bytes, next to nothing of which is stored",
                self.path()
            );
        }
        Ok(())
    }

    /// Bytes that must be decoded to reach any one row; 1 where rows can be read by themselves.
    pub fn chunk_bytes(&self) -> u64 {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.chunk_bytes(),
            ArrayOf::Zarr(a) => a.chunk_bytes(),
            ArrayOf::Unpacked(a) => a.chunk_bytes(),
        }
    }

    /// Bytes that a read takes while it decodes chunks, besides what it returns.
    pub fn decode_bytes(&self) -> u64 {
        match &self.0 {
            ArrayOf::Hdf5(a) => a.decode_bytes(),
            ArrayOf::Zarr(a) => a.decode_bytes(),
            ArrayOf::Unpacked(_) => 0,
        }
    }
}
