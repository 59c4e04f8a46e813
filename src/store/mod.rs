//! The only place that knows HDF5 and Zarr exist: groups, arrays and appenders over either.
//!
//! The facades are concrete types over a private enum: two backends, chosen for each file at run time, and a
//! merge mixes both. Reading never changes a file. An appender carries its own cursor, and only
//! [`Appender::finish`] makes what it wrote valid.

mod access;
mod array;
mod container;
mod dates;
mod group;
mod hdf5;
mod io;
mod leftout;
mod number;
mod panics;
mod records;
mod shown;
pub mod spec;
mod strings;
mod twin;
mod what;
mod words;
mod zarr;
mod zipped;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};

pub use self::access::{Access, OverLimit, folder_above};
pub use self::array::{Array, StorageInfo};
pub use self::container::{Container, ZarrVersion};
pub use self::group::Group;
use self::group::GroupOf;
pub use self::hdf5::guard::watch::watch;
pub use self::hdf5::{is_stdout_closed, prepare};
pub use self::io::ahead::read_ahead;
pub use self::io::append::{Appender, Map, Portion};
pub use self::io::buffer::{Buffer, SharedBuffer};
pub use self::io::lanes::{in_lanes, lanes_of};
pub use self::io::ledger::Ledger;
pub use self::io::raw::Take;
pub use self::io::spill::Spill;
pub use self::io::work::{moved, work};
pub use self::panics::is_guarded;
pub use self::records::RecordAppender;
pub use self::shown::{Place, PlainText, Shown};
use self::spec::Attrs;
pub use self::twin::Twin;
pub use self::what::missing;
pub use self::zipped::{Contents, is_store as is_zip, size as unpacked_size, unpack, unpacked};
use crate::report::failure::{Failure, Kind};
use crate::report::once::warn_once;

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
    /// As many as its shape says, which stay where they are in other HDF5 files.
    Linked,
}

/// Opens what stands at `path` by its content: an HDF5 file or a Zarr group (v2 or v3).
///
/// # Errors
/// Of what is another kind of file, one that says what it is and how to convert it.
pub fn open(path: &Path, access: &Access) -> Result<Group> {
    if !may_be_there(path) {
        bail!(missing(path));
    }
    // Where it is known what the path leads to instead, that takes the place of what the library says.
    let other = |what| Error::from(Failure(Kind::Unreadable, what));
    open_known(path, access).map_err(|e| what::hint(path).map_or(e, other))
}

/// Whether something stands at `path`, or that cannot be told.
pub fn may_be_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn open_known(path: &Path, access: &Access) -> Result<Group> {
    io::work::opened();
    let name = path.display();
    let unreadable = || Failure(Kind::Unreadable, format!("Open {name}"));
    let unpacked = zipped::unpacked(path);
    let path = unpacked.as_deref().unwrap_or(path);
    let found = std::fs::metadata(path).with_context(unreadable)?;
    if found.is_dir() {
        let group = zarr::open(path, access).with_context(unreadable)?;
        return Ok(Group::from(GroupOf::Zarr(group)));
    }
    let group = hdf5::open(path, access).with_context(unreadable)?;
    // The content counts, not the name: `Format::check_input` lets such a file through as well.
    if !matches!(Format::of(path), Ok(Format::H5ad)) {
        warn_once(format!("{name} is taken for an .h5ad file, as it is HDF5"));
    }
    Ok(Group::from(GroupOf::Hdf5(group)))
}

/// What a new file is, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    H5ad,
    Zarr,
}

impl Format {
    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::H5ad => "h5ad",
            Format::Zarr => "zarr",
        }
    }

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

    /// Refuses an input whose name has none of these extensions, and says what it is instead.
    pub fn check_input(path: &Path) -> Result<()> {
        let is_known = Format::of(path).is_ok() || hdf5::is_file(path);
        if is_known || zarr::is_store(path) || zipped::is_store(path) {
            return Ok(());
        }
        bail!(what::hint(path).unwrap_or_else(|| format!(
            "{}: not a .h5ad or .zarr file. For others, convert first (10x: scanpy.read_10x_h5, loom: \
             anndata.io.read_loom, .gz: gunzip)",
            path.display()
        )))
    }
}

/// A Zarr store of which only the files are counted: nothing that is written to it goes anywhere. `None` for other
/// containers.
pub fn counted(container: Container) -> Option<Group> {
    match container.format {
        Format::H5ad => None,
        Format::Zarr => Some(Group::from(GroupOf::Zarr(zarr::counted(container)))),
    }
}

/// Makes the store at `path` in which the datasets of a collection are created.
pub fn begin_collection(path: &Path) -> Result<()> {
    zarr::collection::begin(path).with_context(|| format!("Create {}", path.display()))
}

/// Makes a collection of that store, once all of them are whole.
pub fn end_collection(path: &Path) -> Result<()> {
    zarr::collection::end(path).with_context(|| format!("Write {}", path.display()))
}

/// Whether a collection of annbatch stands at `path`.
pub fn is_collection(path: &Path) -> bool {
    zarr::collection::is_collection(path)
}

/// The stores that a collection of annbatch is made of, by name; none where the path is no such collection.
pub fn datasets(path: &Path) -> Vec<PathBuf> {
    zarr::collection::datasets(path)
}

/// Whether a file of a Zarr store that is called so holds metadata, and no chunk.
pub fn is_zarr_metadata(name: &OsStr) -> bool {
    zarr::METADATA.iter().any(|reserved| name == *reserved)
}

/// Whether a folder is a Zarr store, whatever its name.
pub fn is_zarr(path: &Path) -> bool {
    zarr::is_store(path)
}

/// Creates a file (or a folder) at `path`, where nothing stands yet; the root group gets no attributes.
pub fn create(path: &Path, container: Container) -> Result<Group> {
    container.check()?;
    let context = || format!("Create {}", path.display());
    Ok(Group::from(match container.format {
        Format::H5ad => GroupOf::Hdf5(hdf5::create(path, container).with_context(context)?),
        Format::Zarr => GroupOf::Zarr(zarr::create(path, container).with_context(context)?),
    }))
}

/// Opens an HDF5 file that this program made, to add to it.
pub fn extend(path: &Path, container: Container) -> Result<Group> {
    let group = hdf5::extend(path, container);
    Ok(Group::from(GroupOf::Hdf5(
        group.with_context(|| format!("Open {}", path.display()))?,
    )))
}
