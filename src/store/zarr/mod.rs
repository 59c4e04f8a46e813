//! Zarr stores in folders, of versions 2 and 3.
//!
//! Groups, names and attributes are the files of the folder itself; zarrs decodes chunks, but for those of `direct`.
//!
//! A node is a folder: of version 2 with `.zgroup` or `.zarray`, and `.zattrs`; of version 3 with `zarr.json`. The
//! chunks of an array are files below its folder, such as `0.1` (version 2) and `c/0/1` (version 3); one that is
//! missing holds the fill value. A folder without such metadata is no node.
//!
//! Reading: `meta` reads the JSON of a node each time it is asked, `dtype` its type; `read` and `read_text` say which
//! chunks are wanted, and `decoder` decodes them. Writing: `write` cuts rows into chunks (`cut`), encodes them
//! (`codec`), and puts them into files or Zarr shards (`shards`); `describe` makes the metadata.

mod attrs;
mod codec;
pub mod collection;
mod consolidated;
mod copy;
mod count;
mod cut;
mod decoded;
mod decoder;
mod describe;
mod direct;
mod dtype;
mod meta;
mod own;
mod portion;
mod read;
mod read_text;
mod shards;
mod text;
mod write;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Map;
use tracing::warn;

pub use self::attrs::value as attr_value;
pub use self::consolidated::Fault;
pub use self::meta::RESERVED as METADATA;
pub use self::read::Array;
pub use self::text::{as_utf32, to_utf32, with_utf32};
pub use self::write::Appender;

use self::consolidated::Consolidated;
use self::count::Count;
use self::cut::ChunkSizes;
use super::access::{Access, Bounds, Entered};
use super::spec::{ArraySpec, Attrs};
use super::{Container, Rows, ZarrVersion};

/// A group of a store.
#[derive(Clone)]
pub struct Group {
    /// Shared by all groups of the store.
    root: Arc<Root>,
    /// From the root, with slashes; empty for the root itself.
    path: String,
    /// Of arrays that are written.
    sizes: ChunkSizes,
}

struct Root {
    /// Of the root; empty where files are only counted.
    folder: PathBuf,
    /// Where symbolic links may lead.
    bounds: Bounds,
    /// What the chunks of one read may take.
    memory: u64,
    /// The groups that were entered, so that links in a circle come to an end.
    entered: Entered,
    /// How arrays are written.
    container: Container,
    /// Where the store is read and has it.
    consolidated: Option<Consolidated>,
    /// Where nothing is written, but files are counted.
    count: Option<Count>,
}

pub enum Node {
    Group(Group),
    Array(Array),
}

/// Whether a folder has the metadata of a node, whatever its name.
/// False where it cannot be looked at.
pub fn is_store(path: &Path) -> bool {
    meta::is_node(path).unwrap_or_default()
}

/// Opens the store in folder `path`.
/// Consolidated metadata is read to warn where it is stale; nothing else comes from it.
pub fn open(path: &Path, access: &Access) -> Result<Group> {
    let bounds = if access.follow_external {
        Bounds::Anywhere
    } else {
        Bounds::Within(vec![path.canonicalize()?])
    };
    let meta = meta::load(path, &bounds)?
        .context("No Zarr group: it has neither .zgroup nor zarr.json")?;
    ensure!(!meta.is_array, "A single Zarr array, not a group");
    let consolidated = Consolidated::of(path, &bounds).unwrap_or_else(|e| {
        warn!("{e:#}; it is not needed here, but other readers want it");
        None
    });
    if let Some(consolidated) = &consolidated {
        consolidated.compare("", Some(&meta));
        consolidated.look_for_nodes()?;
    }
    let folder = path.to_path_buf();
    Ok(root(Root {
        folder,
        bounds,
        memory: access.memory,
        entered: Entered::default(),
        container: Container::ZARR,
        consolidated,
        count: None,
    }))
}

/// Creates the folder `path`, where nothing stands yet.
/// An error where something does.
pub fn create(path: &Path, container: Container) -> Result<Group> {
    std::fs::create_dir(path)?;
    meta::write_group(path, container.zarr_version)?;
    Ok(root(Root {
        folder: path.to_path_buf(),
        bounds: Bounds::Anywhere,
        memory: Access::default().memory,
        entered: Entered::default(),
        container,
        consolidated: None,
        count: None,
    }))
}

/// A store of which only the files are counted, until it is finished.
pub fn counted(container: Container) -> Group {
    let count = Count::default();
    // Version 3 has consolidated metadata in the `zarr.json` of its root.
    let (file, consolidated) = match container.zarr_version {
        ZarrVersion::V2 => (meta::GROUP, Some(meta::CONSOLIDATED)),
        ZarrVersion::V3 => (meta::V3, None),
    };
    let files = [Some(file), consolidated].into_iter().flatten();
    files.for_each(|file| count.file(Path::new(""), file));
    counting(container, count)
}

fn counting(container: Container, count: Count) -> Group {
    root(Root {
        folder: PathBuf::new(),
        bounds: Bounds::Anywhere,
        memory: Access::default().memory,
        entered: Entered::default(),
        container,
        consolidated: None,
        count: Some(count),
    })
}

fn root(root: Root) -> Group {
    Group {
        sizes: ChunkSizes {
            shard: root.container.zarr_shard,
            ..ChunkSizes::DEFAULT
        },
        root: Arc::new(root),
        path: String::new(),
    }
}

impl Group {
    /// The same group, whose new arrays have chunks of so many bytes at the most.
    pub fn with_chunks_of(&self, bytes: u64) -> Group {
        let mut group = self.clone();
        group.sizes.chunk = bytes.min(group.sizes.chunk);
        group
    }

    /// The same group, whose new arrays have so many rows in a chunk, and in a Zarr shard, as far as that is given.
    pub fn with_rows(&self, chunk: Option<u64>, shard: Option<u64>) -> Group {
        let mut group = self.clone();
        (group.sizes.rows, group.sizes.shard_rows) = (chunk, shard);
        group
    }

    pub fn container(&self) -> &Container {
        &self.root.container
    }

    /// The store that goes on from what this one has counted.
    /// Outputs that begin with the same elements count these once, and each goes on by itself.
    pub fn counted_on(&self) -> Group {
        let count = self.root.count.as_ref().map(Count::fork);
        counting(self.root.container, count.unwrap_or_default())
    }

    /// The files of a store in which they are counted; `None` where they are not, or cannot be.
    pub fn files(&self) -> Option<u64> {
        self.root.count.as_ref()?.all()
    }

    /// Counts the metadata of a group at `path` below this one, and of those that lead to it.
    fn count_groups(&self, count: &Count, path: &str, attrs: &Attrs) {
        let mut folder = self.folder();
        let file = match self.version() {
            ZarrVersion::V2 => meta::GROUP,
            ZarrVersion::V3 => meta::V3,
        };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder.push(name);
            count.file(&folder, file);
        }
        if self.version() == ZarrVersion::V2 && *attrs != Attrs::default() {
            count.file(&folder, meta::ATTRS);
        }
    }

    /// An error where no array of its version is such.
    pub fn check(&self, spec: &ArraySpec) -> Result<()> {
        describe::check(self.version(), spec)
    }

    fn version(&self) -> ZarrVersion {
        self.root.container.zarr_version
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// The nodes in this group, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        meta::names(&self.folder())
    }

    /// The node at `path` below this group; `None` where there is none. An error where its metadata cannot be read, or
    /// where it is a group that too many paths lead to.
    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        if self.root.count.is_some() {
            return Ok(None); // what is counted is not there
        }
        let below = self.below(path)?;
        let (folder, bounds) = (below.folder(), &self.root.bounds);
        let context = || format!("Open '{}'", below.path);
        let meta = meta::load(&folder, bounds).with_context(context)?;
        if let Some(consolidated) = &self.root.consolidated {
            consolidated.compare(&below.path, meta.as_ref());
        }
        Ok(match meta {
            None => None,
            Some(meta) if meta.is_array => {
                let array = Array::open(
                    below.path.clone(),
                    &folder,
                    meta,
                    (bounds, self.root.memory),
                );
                Some(Node::Array(array.with_context(context)?))
            }
            Some(_) => {
                let found = std::fs::metadata(&folder).with_context(context)?;
                // By device and inode, so that a link to a folder is that folder.
                let identity = (found.dev(), found.ino().into());
                let entered = self.root.entered.enter(identity, &below.path);
                entered.with_context(context)?;
                Some(Node::Group(below))
            }
        })
    }

    /// Where the consolidated metadata of the store is not what its nodes say.
    pub fn metadata_faults(&self) -> Result<Vec<Fault>> {
        consolidated::faults(&self.root.folder, &self.root.bounds)
    }

    /// Read from disk at each call.
    pub fn attrs(&self) -> Result<Attrs> {
        let meta = meta::load(&self.folder(), &self.root.bounds)?;
        Ok(meta.map_or_else(Attrs::default, |m| attrs::from_json(&m.attrs)))
    }

    /// Makes a group, and those that lead to it, and sets attributes of the last. One that is there already stays as it
    /// is.
    pub fn create_group(&self, path: &str, attrs: &Attrs) -> Result<Group> {
        let path = &portable(path);
        let group = self.below(path)?;
        if let Some(count) = &self.root.count {
            self.count_groups(count, path, attrs);
            return Ok(group);
        }
        let mut folder = self.folder();
        for name in path.split('/') {
            folder.push(name);
            match std::fs::create_dir(&folder) {
                Ok(()) => meta::write_group(&folder, self.version())?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    let is_group = meta::is_group(&folder)?;
                    ensure!(
                        is_group,
                        "Create group '{}': {} is not a group",
                        group.path,
                        folder.display()
                    );
                }
                Err(e) => return Err(e).with_context(|| format!("Create {}", folder.display())),
            }
        }
        group.set_attrs("", attrs)?;
        Ok(group)
    }

    /// Adds attributes to those of the group at `path`, or of this one where that is empty.
    pub fn set_attrs(&self, path: &str, attrs: &Attrs) -> Result<()> {
        if let Some(count) = &self.root.count {
            self.count_groups(count, &portable(path), attrs);
            return Ok(());
        }
        let node = match path {
            "" => self.clone(),
            _ => self.below(path)?,
        };
        meta::set_attrs(&node.folder(), self.version(), attrs)
            .with_context(|| format!("Write the attributes of '{}'", node.path))
    }

    /// Makes the folder of an array, and groups that lead to it. The array is no node before its appender is finished.
    pub fn create_array(
        &self,
        path: &str,
        spec: &ArraySpec,
        rows: Rows,
        attrs: &Attrs,
    ) -> Result<Appender> {
        let path = &portable(path);
        let array = self.below(path)?;
        let folder = array.folder();
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.create_group(parent, &Attrs::default())?;
        }
        let context = || format!("Create array '{}'", array.path);
        let mut json = Map::new();
        attrs::add_json(&mut json, attrs).with_context(context)?;
        let out = Appender::new(&array, spec, rows, json).with_context(context)?;
        if let Some(count) = &self.root.count {
            self.count_groups(count, path, attrs);
            out.count();
            return Ok(out);
        }
        // Only now: of an array that Zarr cannot store no folder is left.
        std::fs::create_dir(&folder).with_context(context)?;
        Ok(out)
    }

    /// Copies a node with all below it, file by file. False, and nothing done, unless both stores are of version 2.
    pub fn copy(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let new_name = &portable(new_name);
        let source = self.below(name)?;
        let target = to.below(new_name)?;
        let meta = meta::load(&source.folder(), &self.root.bounds)?;
        let meta = meta.with_context(|| format!("There is no '{}'", source.path))?;
        if meta.version != 2 || to.version() != ZarrVersion::V2 {
            return Ok(false);
        }
        if let Some((parent, _)) = new_name.rsplit_once('/') {
            to.create_group(parent, &Attrs::default())?;
        }
        if let Some(count) = &to.root.count {
            count.chunks(count::files_in(&source.folder())?);
            return Ok(true);
        }
        let context = || format!("Copy '{}'", source.path);
        let bounds = &self.root.bounds;
        copy::folder(&source.folder(), &target.folder(), bounds, &[], false)
            .with_context(context)?;
        Ok(true)
    }

    /// Writes the consolidated metadata: called on the root, when all nodes are written.
    pub fn finish(self) -> Result<()> {
        consolidated::write(&self.folder(), self.version())
    }

    fn folder(&self) -> PathBuf {
        match self.path.as_str() {
            "" => self.root.folder.clone(),
            path => self.root.folder.join(path),
        }
    }

    /// The node at `path`, as if it were a group. A path that leaves the store is an error.
    fn below(&self, path: &str) -> Result<Group> {
        // A name with a backslash that is there, as other writers made it, is read by that name.
        let path = &if self.folder().join(path).exists() {
            path.to_owned()
        } else {
            portable(path)
        };
        for name in path.split('/') {
            // No `.` or `..`, and no empty name.
            let mut parts = Path::new(name).components();
            let plain =
                parts.next() == Some(Component::Normal(name.as_ref())) && parts.next().is_none();
            let allowed = plain && !name.contains('\0') && !meta::RESERVED.contains(&name);
            ensure!(allowed, "'{path}' cannot be the path of a Zarr node");
        }
        let path = match self.path.as_str() {
            "" => path.into(),
            group => format!("{group}/{path}"),
        };
        Ok(Group {
            root: self.root.clone(),
            sizes: self.sizes,
            path,
        })
    }
}

/// The path under which a node is written: zarr-python takes a backslash for a slash.
pub fn portable(path: &str) -> String {
    path.replace('\\', "/")
}

/// An error where a file or folder of a store is a symbolic link, or lies below one, that leads out of it.
fn check(bounds: &Bounds, path: &Path) -> Result<()> {
    bounds.check(path, || {
        format!("{} leads out of the store", path.display())
    })
}

#[cfg(test)]
mod tests;
