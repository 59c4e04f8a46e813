//! Zarr stores in folders: versions 2 and 3 are read, version 2 is written.
//!
//! Groups, names and attributes are the files of the folder itself; zarrs decodes chunks.

mod attrs;
mod cut;
mod dtype;
mod meta;
mod read;
mod text;
mod write;

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

pub use read::Array;
pub use write::Appender;

use super::Rows;
use super::spec::{ArraySpec, Attrs};
use crate::compression::Compression;

/// A group of a store.
#[derive(Clone)]
pub struct Group {
    root: Arc<Root>,
    path: String,
}

struct Root {
    folder: PathBuf,
    /// Of the arrays that are written.
    compression: Compression,
}

pub enum Node {
    Group(Group),
    Array(Array),
}

/// Opens the store in folder `path`.
pub fn open(path: &Path) -> Result<Group> {
    let meta = meta::load(path)?.context("No Zarr group: it has neither .zgroup nor zarr.json")?;
    ensure!(!meta.is_array, "A single Zarr array, not a group");
    Ok(root(path, Compression::None))
}

/// Creates the folder `path`, where nothing stands yet.
pub fn create(path: &Path, compression: Compression) -> Result<Group> {
    ensure!(compression != Compression::Lzf, write::NO_LZF);
    std::fs::create_dir(path)?;
    write_group(path)?;
    Ok(root(path, compression))
}

fn root(folder: &Path, compression: Compression) -> Group {
    let folder = folder.to_path_buf();
    let path = String::new();
    Group {
        root: Arc::new(Root {
            folder,
            compression,
        }),
        path,
    }
}

impl Group {
    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn names(&self) -> Result<Vec<String>> {
        names(&self.folder())
    }

    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        let below = self.below(path)?;
        let folder = below.folder();
        Ok(match meta::load(&folder)? {
            None => None,
            Some(meta) if meta.is_array => {
                let context = format!("Open '{}'", below.path);
                let array = Array::open(below.path, &folder, meta).context(context)?;
                Some(Node::Array(array))
            }
            Some(_) => Some(Node::Group(below)),
        })
    }

    pub fn attrs(&self) -> Result<Attrs> {
        let meta = meta::load(&self.folder())?;
        Ok(meta.map_or_else(Attrs::default, |m| attrs::from_json(&m.attrs)))
    }

    pub fn create_group(&self, path: &str, attrs: &Attrs) -> Result<Group> {
        let group = self.below(path)?;
        let mut folder = self.folder();
        for name in path.split('/') {
            folder.push(name);
            match std::fs::create_dir(&folder) {
                Ok(()) => write_group(&folder)?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    let is_group = folder.join(meta::GROUP).is_file();
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

    pub fn set_attrs(&self, path: &str, attrs: &Attrs) -> Result<()> {
        let node = match path {
            "" => self.clone(),
            _ => self.below(path)?,
        };
        set_attrs(&node.folder(), attrs)
            .with_context(|| format!("Write the attributes of '{}'", node.path))
    }

    pub fn create_array(
        &self,
        path: &str,
        spec: &ArraySpec,
        rows: Rows,
        attrs: &Attrs,
    ) -> Result<Appender> {
        let array = self.below(path)?;
        let folder = array.folder();
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.create_group(parent, &Attrs::default())?;
        }
        let context = || format!("Create array '{}'", array.path);
        let (path, compression) = (array.path.clone(), self.root.compression);
        let out =
            Appender::new(folder.clone(), path, spec, rows, compression).with_context(context)?;
        std::fs::create_dir(&folder).with_context(context)?;
        set_attrs(&folder, attrs).with_context(context)?;
        Ok(out)
    }

    pub fn copy(&self, name: &str, to: &Group, new_name: &str) -> Result<bool> {
        let source = self.below(name)?;
        let target = to.below(new_name)?;
        let meta = meta::load(&source.folder())?;
        let meta = meta.with_context(|| format!("There is no '{}'", source.path))?;
        if meta.version != 2 {
            return Ok(false);
        }
        if let Some((parent, _)) = new_name.rsplit_once('/') {
            to.create_group(parent, &Attrs::default())?;
        }
        let context = || format!("Copy '{}'", source.path);
        let root = self.root.folder.canonicalize().with_context(context)?;
        copy_folder(&source.folder(), &target.folder(), &root, &[]).with_context(context)?;
        Ok(true)
    }

    pub fn finish(self) -> Result<()> {
        let mut nodes = Map::new();
        consolidate(&self.folder(), "", &mut nodes)?;
        let json = json!({"zarr_consolidated_format": 1, "metadata": nodes});
        meta::write_json(&self.folder().join(meta::CONSOLIDATED), &json)
    }

    fn folder(&self) -> PathBuf {
        match self.path.as_str() {
            "" => self.root.folder.clone(),
            path => self.root.folder.join(path),
        }
    }

    /// The node at `path`, as if it were a group. A path that leaves the store is an error.
    fn below(&self, path: &str) -> Result<Group> {
        for name in path.split('/') {
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
            path,
        })
    }
}

/// The nodes in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("List {}", folder.display());
    let mut names = vec![];
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if meta::is_node(&path)? {
            let name = path.file_name().and_then(|n| n.to_str());
            names.push(
                name.with_context(|| format!("{}: not UTF-8", path.display()))?
                    .into(),
            );
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn write_group(folder: &Path) -> Result<()> {
    meta::write_json(&folder.join(meta::GROUP), &json!({"zarr_format": 2}))
}

fn set_attrs(folder: &Path, attrs: &Attrs) -> Result<()> {
    let mut json = meta::load_attrs(folder)?;
    attrs::add_json(&mut json, attrs)?;
    if json.is_empty() {
        return Ok(());
    }
    meta::write_json(&folder.join(meta::ATTRS), &Value::Object(json))
}

/// Copies a folder and all in it. What symbolic links lead to is copied if it lies below `root`; `parents` are the
/// folders that are being copied.
fn copy_folder(from: &Path, to: &Path, root: &Path, parents: &[PathBuf]) -> Result<()> {
    let real = from.canonicalize()?;
    let inside = real.starts_with(root);
    ensure!(inside, "{} leads out of the store", from.display());
    ensure!(
        !parents.contains(&real),
        "{} leads to a folder that holds it",
        from.display()
    );
    let parents = [parents, &[real]].concat();
    std::fs::create_dir(to).with_context(|| format!("Create {}", to.display()))?;
    let entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.into_par_iter().try_for_each(|entry| {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let is_link = entry.file_type()?.is_symlink();
        let found = std::fs::metadata(&from).with_context(|| from.display().to_string())?;
        if found.is_dir() {
            return copy_folder(&from, &to, root, &parents);
        }
        let inside = !is_link || from.canonicalize()?.starts_with(root);
        ensure!(inside, "{} leads out of the store", from.display());
        ensure!(found.is_file(), "{} is not a file", from.display());
        std::fs::copy(&from, &to)
            .with_context(|| format!("{} to {}", from.display(), to.display()))?;
        Ok(())
    })
}

/// Collects the metadata of the node in `folder`, whose path is `prefix`, and of all below it.
fn consolidate(folder: &Path, prefix: &str, nodes: &mut Map<String, Value>) -> Result<()> {
    for file in [meta::GROUP, meta::ARRAY, meta::ATTRS] {
        if let Some(json) = meta::read_json(&folder.join(file))? {
            nodes.insert(format!("{prefix}{file}"), json);
        }
    }
    if nodes.contains_key(&format!("{prefix}{}", meta::ARRAY)) {
        return Ok(());
    }
    for name in names(folder)? {
        consolidate(&folder.join(&name), &format!("{prefix}{name}/"), nodes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
