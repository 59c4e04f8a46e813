//! HDF5 files: groups through the library, values past it where that is faster.
//!
//! The library is called under its lock, inside of which nothing waits for the pool, by `ffi/` alone; what its
//! answers mean stands in a file for each kind of object: files, links, attributes, datasets, types, values. `read.rs`
//! and `write.rs` move the bytes of large arrays in the pool, past the library.

mod attrs;
mod chunk_writer;
mod copy;
mod datasets;
mod errors;
mod ffi;
mod files;
mod format;
pub mod guard;
mod linked;
mod links;
mod names;
mod open;
mod read;
mod records;
mod storage;
mod types;
mod values;
mod virtual_dataset;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, bail};
use tracing::debug;

use self::attrs::has_large;
pub use self::attrs::is_large;
use self::ffi::Id;
pub use self::ffi::{is_stdout_closed, prepare};
use self::files::Raw;
use self::format::heap::Heap;
use self::guard::{external, watch};
pub use self::linked::LinkedArray;
pub use self::read::Array;
pub use self::records::RecordAppender;
use self::virtual_dataset::Spread;
pub use self::write::Appender;
use super::access::{self, Access, Bounds, Entered};
use super::spec::{ArraySpec, Attrs};
use super::{Container, Rows};
use crate::report::once::warn_once;

/// A group, and the file that it belongs to.
#[derive(Clone)]
pub struct Group {
    id: Id,
    file: Arc<OpenFile>,
    /// As it was walked, through whatever links.
    path: String,
    /// The most raw bytes of a chunk of an array that is written, and its rows, where those are given.
    chunk: u64,
    rows: Option<u64>,
}

/// What all nodes of one opened file share.
struct OpenFile {
    /// Until it is closed.
    id: Option<Id>,
    container: Container,
    bounds: Bounds,
    /// Reads its virtual datasets.
    spread: Arc<Spread>,
    /// What the chunks of one read may take.
    memory: u64,
    entered: Entered,
    /// Handles for reading or writing past the library, by path: links lead into other files.
    handles: Mutex<Vec<(PathBuf, Arc<File>)>>,
    /// The text of the file of each handle that is read, if it is read past the library.
    heaps: Mutex<Vec<(Arc<File>, Arc<Heap>)>>,
    /// The name of a file that is only read; none of one that is written.
    source: Option<String>,
    /// The folder where the file will be, if that is not where it is written.
    home: OnceLock<PathBuf>,
}

pub enum Node {
    Group(Group),
    Array(Array),
}

/// Whether a file has the signature of HDF5, whatever its name.
pub fn is_file(path: &Path) -> bool {
    let found = access::opened(path).map_err(Into::into);
    matches!(found.and_then(|file| files::superblock(&file)), Ok(Some(_)))
}

pub fn open(path: &Path, access: &Access) -> Result<Group> {
    access::refuse_pipe(path)?;
    let bounds = if access.follow_external {
        Bounds::Anywhere
    } else {
        external::bounds(path)?
    };
    let limits = (bounds, access.memory);
    let source = path.to_string_lossy().into_owned();
    watch::at(&source, "");
    watch::limit(access.memory);
    // What the library says of a file that was cut off means little to who has it: that is looked at first.
    let file = files::open(path).or_else(|e| {
        let file = access::opened(path)?;
        match (files::superblock(&file)?, files::cut_off(&file)) {
            (None, _) => bail!("It is neither an HDF5 file nor a Zarr folder, or it is truncated"),
            (Some(_), Ok(Some(told))) => {
                bail!("It is not a whole HDF5 file: {told}; copy or download it again")
            }
            (Some(_), _) => Err(e),
        }
    })?;
    Group::root(file, Container::H5AD, limits, Some(source))
}

/// For files of this program's own.
fn anywhere() -> (Bounds, u64) {
    (Bounds::Anywhere, Access::default().memory)
}

pub fn create(path: &Path, container: Container) -> Result<Group> {
    Group::root(files::create(path)?, container, anywhere(), None)
}

/// Opens a file that [`create`] made, to add to it.
pub fn extend(path: &Path, container: Container) -> Result<Group> {
    Group::root(files::extend(path)?, container, anywhere(), None)
}

impl Group {
    fn root(
        file: Id,
        container: Container,
        (bounds, memory): (Bounds, u64),
        source: Option<String>,
    ) -> Result<Group> {
        let open::Object::Group(id) = open::open(&file, "/", &bounds)? else {
            bail!("It has no root group");
        };
        let file = Arc::new(OpenFile {
            id: Some(file),
            container,
            spread: Arc::new(Spread::new(bounds.clone())),
            bounds,
            memory,
            entered: Entered::default(),
            handles: Mutex::default(),
            heaps: Mutex::default(),
            source,
            home: OnceLock::new(),
        });
        let (path, chunk) = (String::new(), write::CHUNK);
        Ok(Group {
            id,
            file,
            path,
            chunk,
            rows: None,
        })
    }

    pub fn with_chunks_of(&self, bytes: u64) -> Group {
        Group {
            chunk: bytes.min(write::CHUNK),
            ..self.clone()
        }
    }

    /// The same group, whose new arrays are cut into chunks of so many rows.
    pub fn with_rows(&self, rows: Option<u64>) -> Group {
        Group {
            rows,
            ..self.clone()
        }
    }

    pub fn container(&self) -> &Container {
        &self.file.container
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn names(&self) -> Result<Vec<String>> {
        let listed = links::list(&self.id);
        let (names, types) = listed.with_context(|| format!("List '{}'", self.path()))?;
        for name in types.iter().filter(|_| self.file.source.is_some()) {
            let path = join(&self.path, name);
            warn_once(format!(
                "'{path}' is a named datatype, which holds no values; copies leave it out"
            ));
        }
        Ok(names)
    }

    pub fn named_types(&self) -> Result<Vec<String>> {
        Ok(links::list(&self.id)?.1)
    }

    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        let whole = join(&self.path, path);
        let context = || format!("Open '{whole}'");
        let bounds = &self.file.bounds;
        self.file.at(&whole);
        if !open::exists(&self.id, path, bounds).with_context(context)? {
            return Ok(None);
        }
        // What is opened here may be a source that is held open, which the library may not have open twice.
        self.file.spread.close_sources();
        let node = open::open(&self.id, path, bounds).with_context(context)?;
        Ok(Some(match node {
            open::Object::Group(id) => Node::Group(self.enter(id, &whole).with_context(context)?),
            open::Object::Dataset(id) => {
                let array = Array::open(id, whole.clone(), self.file.clone());
                Node::Array(array.with_context(context)?)
            }
        }))
    }

    /// The group with this identifier; an error where too many paths lead to it, as in a circle.
    fn enter(&self, id: Id, path: &str) -> Result<Group> {
        self.file.entered.enter(ffi::identity(&id)?, path)?;
        Ok(Group {
            id,
            path: path.into(),
            ..self.clone()
        })
    }

    pub fn attrs(&self) -> Result<Attrs> {
        self.file.at(&self.path);
        attrs(&self.id, &self.file)
            .with_context(|| format!("Read the attributes of '{}'", self.path()))
    }

    pub fn create_group(&self, path: &str, attrs: &Attrs) -> Result<Group> {
        let context = || format!("Create '{}'", join(&self.path, path));
        let id = links::create_group(&self.id, path, has_large(attrs)).with_context(context)?;
        let group = Group {
            id,
            path: join(&self.path, path),
            ..self.clone()
        };
        group.set_attrs("", attrs)?;
        Ok(group)
    }

    pub fn set_attrs(&self, path: &str, attrs: &Attrs) -> Result<()> {
        let set = || match path {
            "" => write_attrs(&self.id, attrs),
            _ => match open::open(&self.id, path, &self.file.bounds)? {
                open::Object::Group(id) | open::Object::Dataset(id) => {
                    write_attrs(&id, attrs)?;
                    id.close()
                }
            },
        };
        set().with_context(|| format!("Write '{}'", join(&self.path, path)))
    }

    /// Says in which folder the file will be.
    pub fn set_home(&self, folder: &Path) {
        self.file.home.get_or_init(|| folder.to_owned());
    }

    /// The folder from which other files are named: where the file will be, else where it is.
    fn home(&self) -> Result<PathBuf> {
        if let Some(home) = self.file.home.get() {
            return Ok(home.clone());
        }
        let own = files::name(&self.id)?;
        Ok(own.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// Creates a virtual dataset, to which rows of other files are appended.
    pub fn create_linked(&self, path: &str, spec: &ArraySpec, attrs: &Attrs) -> LinkedArray {
        LinkedArray::new(self, path, spec, attrs)
    }

    pub fn create_array(
        &self,
        path: &str,
        spec: &ArraySpec,
        rows: Rows,
        attrs: &Attrs,
    ) -> Result<Appender> {
        Appender::create(self, path, spec, rows, attrs)
            .with_context(|| format!("Create '{}'", join(&self.path, path)))
    }

    /// Writes an array of records whose text of a fixed width becomes text of any length.
    pub fn write_records(
        &self,
        path: &str,
        spec: &ArraySpec,
        records: &[u8],
        attrs: &Attrs,
    ) -> Result<()> {
        let mut to = self.create_records(path, spec, attrs)?;
        to.append(records)?;
        to.finish()
    }

    /// Creates an array of such records, which are appended.
    pub fn create_records(
        &self,
        path: &str,
        spec: &ArraySpec,
        attrs: &Attrs,
    ) -> Result<RecordAppender> {
        RecordAppender::create(&self.id, path, spec, attrs)
            .with_context(|| format!("Write '{}'", join(&self.path, path)))
    }

    /// False where the library cannot, or would be led elsewhere: links that are not hard, values in other files,
    /// formats newer than the target's.
    pub fn copy(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let whole = join(&self.path, name);
        self.file.at(&whole);
        let bounds = &self.file.bounds;
        let open = || -> Result<_> {
            let node = open::open(&self.id, name, bounds)?;
            let (open::Object::Group(id) | open::Object::Dataset(id)) = &node;
            let plain = copy::is_plain(&node, bounds, self.file.heap(id)?.as_deref())?;
            Ok(plain.then_some(node))
        };
        let context = || format!("Copy '{whole}'");
        let Some(node) = open().with_context(context)? else {
            return self.copy_records(name, to, new_name).with_context(context);
        };
        if let Err(error) = copy::copy(&node, &to.id, new_name) {
            // A disk that is full or broken is so for every way to copy.
            if error.chain().any(|e| e.is::<std::io::Error>()) {
                return Err(error.context(context()));
            }
            debug!("'{whole}' is copied value by value: {error:#}");
            return self.copy_records(name, to, new_name).with_context(context);
        }
        Ok(true)
    }

    /// Copies records with text, which are read into no memory of ours; false, and nothing done, for all else.
    fn copy_records(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let Some(Node::Array(array)) = self.get(name)? else {
            return Ok(false);
        };
        if !array.spec().dtype.is_record_with_text() {
            return Ok(false);
        }
        let made = array.copy_records(&to.id, new_name)?;
        write_attrs(&made, &array.attrs()?)?;
        made.close()?;
        Ok(true)
    }

    pub fn finish(self) -> Result<()> {
        drop(self.id);
        // Nobody else may hold the file: what is open of it would end with it.
        let file = Arc::into_inner(self.file).and_then(|mut file| file.id.take());
        let file = file.context("Close the file: nodes of it are still open")?;
        ffi::close_file(file).context("Close the file")
    }
}

impl Drop for OpenFile {
    /// A file that is given up half written is left open: after a write that failed the library cannot close it, nor
    /// what is open in it, and would use what it has freed.
    fn drop(&mut self) {
        if self.source.is_none() {
            std::mem::forget(self.id.take());
        }
    }
}

impl OpenFile {
    /// Notes where a file is read.
    fn at(&self, path: &str) {
        if let Some(source) = &self.source {
            watch::at(source, path);
        }
    }

    /// The text in the file that holds `object`; `None` where addresses do not take 8 bytes, and where it is written.
    fn heap(&self, object: &Id) -> Result<Option<Arc<Heap>>> {
        if self.source.is_none() {
            return Ok(None);
        }
        let file = self.handle(object)?;
        let mut heaps = self.heaps.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, heap)) = heaps.iter().find(|(of, _)| Arc::ptr_eq(of, &file)) {
            return Ok(Some(heap.clone()));
        }
        let heap = Raw::new(file.clone())?.heap()?.map(Arc::new);
        heaps.extend(heap.clone().map(|heap| (file, heap)));
        Ok(heap)
    }

    /// A handle of this program's own on the file that holds `object`.
    fn handle(&self, object: &Id) -> Result<Arc<File>> {
        let path = files::name(object)?;
        let mut handles = self.handles.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, file)) = handles.iter().find(|(p, _)| *p == path) {
            return Ok(file.clone());
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(self.source.is_none())
            .open(&path)
            .with_context(|| format!("Open {}", path.display()))?;
        let file = Arc::new(file);
        handles.push((path, file.clone()));
        Ok(file)
    }
}

fn join(group: &str, name: &str) -> String {
    match group {
        "" => name.to_string(),
        _ => format!("{group}/{name}"),
    }
}

fn attrs(id: &Id, file: &OpenFile) -> Result<Attrs> {
    attrs::all(id, || file.heap(id))
}

fn write_attrs(id: &Id, attrs: &Attrs) -> Result<()> {
    for (name, value) in attrs.iter() {
        attrs::write(id, name, value)?;
    }
    Ok(())
}
