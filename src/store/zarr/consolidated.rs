//! Consolidated metadata: a copy of what all nodes of a store say, in one file at its root. zarr-python 3, and so
//! anndata, reads it in the place of the nodes' own files; those are what is read here. Where the two differ, one of
//! them is wrong.
//!
//! Version 2 has a file `.zmetadata`, whose keys are paths of files: `{"metadata": {"obs/.zgroup": {..}}}`. Version 3
//! has a key in the `zarr.json` of the root, whose keys are paths of nodes: `{"consolidated_metadata": {"metadata":
//! {"obs": {..}}}}`. Both are compared as values of JSON, node by node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::meta::{self, ARRAY, ATTRS, CONSOLIDATED, GROUP, Meta, V3};
use crate::limits;
use crate::store::ZarrVersion;
use crate::store::access::Bounds;

/// The key of version 3, and of what zarr-python 3 adds to groups of version 2.
const KEY: &str = "consolidated_metadata";

/// What a store says of all its nodes together.
pub struct Consolidated {
    folder: PathBuf,
    /// By path; that of the root is empty.
    nodes: BTreeMap<String, Value>,
    /// Whether it was said that it is not what the nodes say.
    told: AtomicBool,
}

/// Where consolidated metadata is not what the files of the nodes are.
#[derive(Debug)]
pub struct Fault {
    pub element: String,
    pub what: String,
    /// Whether a reader may take one thing for another; else it sees less.
    pub is_error: bool,
}

impl Consolidated {
    /// Reads that of the store in `folder`; none where it has none.
    ///
    /// # Errors
    /// One that no reader takes.
    pub fn of(folder: &Path, bounds: &Bounds) -> Result<Option<Consolidated>> {
        let nodes = match version_2(folder, bounds)? {
            Some(nodes) => Some(nodes),
            None => version_3(folder, bounds)?,
        };
        Ok(nodes.map(|nodes| Consolidated {
            folder: folder.to_owned(),
            nodes,
            told: AtomicBool::new(false),
        }))
    }

    /// Warns once where it says otherwise of the node at `path` than its own files, which are read.
    pub fn compare(&self, path: &str, meta: Option<&Meta>) {
        let Some(fault) = self.fault(path, meta) else {
            return;
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!(
                "{}: '{path}': {}; the files of the nodes are read. Write it anew with zarr.consolidate_metadata",
                self.folder.display(),
                fault.what
            );
        }
    }

    /// Warns where one of its nodes is not there, which no list of what is there tells.
    pub fn look_for_nodes(&self) -> Result<()> {
        for path in self.nodes.keys() {
            if !meta::is_node_at(&self.folder.join(path))? {
                self.compare(path, None);
                break;
            }
        }
        Ok(())
    }

    /// What is wrong of the node at `path`, whose own files say `meta`; `None` where both agree, or both have none.
    fn fault(&self, path: &str, meta: Option<&Meta>) -> Option<Fault> {
        let (what, is_error) = match (self.nodes.get(path), meta) {
            (None, None) => return None,
            (Some(said), Some(meta)) if *said == of_meta(meta) => return None,
            (Some(_), Some(_)) => (
                "The consolidated metadata of the store says otherwise than its own files, and anndata reads the former",
                true,
            ),
            (Some(_), None) => (
                "It is not there, but in the consolidated metadata of the store, so that anndata finds fill values",
                true,
            ),
            (None, Some(_)) => (
                "It is not in the consolidated metadata of the store, so that anndata does not find it",
                false,
            ),
        };
        Some(Fault {
            element: path.into(),
            what: what.into(),
            is_error,
        })
    }
}

/// Where the consolidated metadata of the store in `folder`, if there is any, is not what the nodes say.
pub fn faults(folder: &Path, bounds: &Bounds) -> Result<Vec<Fault>> {
    let Some(consolidated) = Consolidated::of(folder, bounds)? else {
        return Ok(vec![]);
    };
    let mut own = BTreeMap::new();
    collect(folder, "", bounds, &mut own)?;
    let mut paths: Vec<&String> = own.keys().chain(consolidated.nodes.keys()).collect();
    paths.sort();
    paths.dedup();
    let faults = paths
        .into_iter()
        .map(|path| consolidated.fault(path, own.get(path)));
    Ok(faults.flatten().collect())
}

/// What the files of all nodes say, by path.
fn collect(
    folder: &Path,
    path: &str,
    bounds: &Bounds,
    nodes: &mut BTreeMap<String, Meta>,
) -> Result<()> {
    let Some(meta) = meta::load(folder, bounds)? else {
        return Ok(());
    };
    let is_array = meta.is_array;
    nodes.insert(path.into(), meta);
    ensure!(path.split('/').count() <= 64, "'{path}' lies too deep");
    // Links may lead to the same group by many paths.
    ensure!(
        nodes.len() as u64 <= limits::NODES,
        "It has more than {} nodes",
        limits::NODES
    );
    if is_array {
        return Ok(());
    }
    for name in meta::names(folder)? {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}/{name}")
        };
        collect(&folder.join(&name), &below, bounds, nodes)?;
    }
    Ok(())
}

/// What is compared of a node: what its files say.
fn of_meta(meta: &Meta) -> Value {
    let mut json = meta.json.clone();
    if meta.version == 2 {
        json = with_attrs(json, Value::Object(meta.attrs.clone()));
    }
    plain(json)
}

fn with_attrs(json: Value, attrs: Value) -> Value {
    json!({"node": json, "attributes": attrs})
}

/// Without what says nothing, or says it of other nodes.
fn plain(mut json: Value) -> Value {
    let is_nothing =
        |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if let Some(node) = json.get_mut("node").and_then(Value::as_object_mut) {
        node.remove(KEY);
    }
    if let Some(node) = json.as_object_mut() {
        node.remove(KEY);
        if node.get("attributes").is_some_and(is_nothing) {
            node.remove("attributes");
        }
    }
    json
}

/// The keys of `.zmetadata` are the paths of files.
fn version_2(folder: &Path, bounds: &Bounds) -> Result<Option<BTreeMap<String, Value>>> {
    let file = folder.join(CONSOLIDATED);
    super::check(bounds, &file)?;
    let Some(json) = meta::read_json(&file)? else {
        return Ok(None);
    };
    let unknown = || format!("{}: no consolidated metadata of version 2", file.display());
    ensure!(json["zarr_consolidated_format"] == 1, unknown());
    let files = json["metadata"].as_object().with_context(unknown)?;
    let mut nodes = BTreeMap::new();
    for (key, said) in files {
        let (path, name) = key.rsplit_once('/').unwrap_or(("", key));
        match name {
            GROUP | ARRAY => {
                let attrs = match path {
                    "" => files.get(ATTRS),
                    _ => files.get(&format!("{path}/{ATTRS}")),
                };
                let attrs = attrs.cloned().unwrap_or_default();
                nodes.insert(path.into(), plain(with_attrs(said.clone(), attrs)));
            }
            ATTRS => {}
            _ => bail!("{}: '{key}' is no file of a node", file.display()),
        }
    }
    Ok(Some(nodes))
}

/// A store of version 3 need not have any; `null` is none too.
fn version_3(folder: &Path, bounds: &Bounds) -> Result<Option<BTreeMap<String, Value>>> {
    let file = folder.join(V3);
    super::check(bounds, &file)?;
    let Some(json) = meta::read_json(&file)? else {
        return Ok(None);
    };
    let said = &json[KEY];
    if said.is_null() {
        return Ok(None);
    }
    let unknown = || format!("{}: no consolidated metadata that is known", file.display());
    ensure!(said["kind"] == "inline", unknown());
    let nodes = said["metadata"].as_object().with_context(unknown)?;
    let nodes = nodes
        .iter()
        .map(|(path, said)| (path.clone(), plain(said.clone())));
    let root = (String::new(), plain(json.clone()));
    Ok(Some(nodes.chain([root]).collect()))
}

/// Writes that of the store in `folder`, whose nodes are all there.
pub fn write(folder: &Path, version: ZarrVersion) -> Result<()> {
    let mut nodes = Map::new();
    let (file, json) = match version {
        ZarrVersion::V2 => {
            collect_v2(folder, "", &mut nodes)?;
            let json = json!({"zarr_consolidated_format": 1, "metadata": nodes});
            (folder.join(CONSOLIDATED), json)
        }
        ZarrVersion::V3 => {
            collect_v3(folder, "", &mut nodes)?;
            let file = folder.join(V3);
            let mut root = meta::read_json(&file)?.context("The root is not there")?;
            root[KEY] = inline(nodes);
            (file, root)
        }
    };
    meta::write_json(&file, &json)
}

/// As zarr-python has it in `zarr.json`; the specification has none yet.
fn inline(nodes: Map<String, Value>) -> Value {
    json!({"kind": "inline", "must_understand": false, "metadata": nodes})
}

/// Collects the files of the node in `folder`, whose path is `prefix`, and of all below it.
fn collect_v2(folder: &Path, prefix: &str, nodes: &mut Map<String, Value>) -> Result<()> {
    for file in [GROUP, ARRAY, ATTRS] {
        if let Some(json) = meta::read_json(&folder.join(file))? {
            nodes.insert(format!("{prefix}{file}"), json);
        }
    }
    if nodes.contains_key(&format!("{prefix}{ARRAY}")) {
        return Ok(());
    }
    for name in meta::names(folder)? {
        collect_v2(&folder.join(&name), &format!("{prefix}{name}/"), nodes)?;
    }
    Ok(())
}

/// Collects what the nodes below `folder` say, whose path is `prefix`.
fn collect_v3(folder: &Path, prefix: &str, nodes: &mut Map<String, Value>) -> Result<()> {
    for name in meta::names(folder)? {
        let (below, path) = (folder.join(&name), format!("{prefix}{name}"));
        let node = meta::read_json(&below.join(V3))?;
        let mut node = node.with_context(|| format!("'{path}' is of another version"))?;
        let is_group = node["node_type"] == "group";
        if is_group {
            // zarr-python has it so: of the groups below only the root says what is in them.
            node[KEY] = inline(Map::new());
        }
        nodes.insert(path.clone(), node);
        if is_group {
            collect_v3(&below, &format!("{path}/"), nodes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &Path, file: &str, json: &Value) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json.to_string()).unwrap();
    }

    /// A store with a group `a`, in which is a group `b`, and what is said of both.
    fn store(version: u8) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let group = json!({"zarr_format": version, "node_type": "group"});
        let with = |attrs: Value| {
            let mut group = group.clone();
            group["attributes"] = attrs;
            group
        };
        let attrs = json!({"x": 1});
        if version == 2 {
            for node in ["", "a/", "a/b/"] {
                write(dir.path(), &format!("{node}{GROUP}"), &group);
            }
            write(dir.path(), "a/.zattrs", &attrs);
            let said = json!({".zgroup": group, ".zattrs": {}, "a/.zgroup": {"zarr_format": 2, "node_type": "group",
                KEY: {"metadata": {}}}, "a/.zattrs": attrs, "a/b/.zgroup": group});
            let said = json!({"zarr_consolidated_format": 1, "metadata": said});
            write(dir.path(), CONSOLIDATED, &said);
        } else {
            write(dir.path(), "a/zarr.json", &with(attrs.clone()));
            write(dir.path(), "a/b/zarr.json", &group);
            let said = json!({"a": with(attrs), "a/b": with(json!({}))});
            let mut root = group.clone();
            root[KEY] = json!({"kind": "inline", "must_understand": false, "metadata": said});
            write(dir.path(), V3, &root);
        }
        dir
    }

    #[test]
    fn what_is_said_twice_is_the_same() {
        for version in [2, 3] {
            let dir = store(version);
            let found = || faults(dir.path(), &Bounds::Anywhere).unwrap();
            let names = || {
                found()
                    .into_iter()
                    .map(|f| (f.element, f.is_error))
                    .collect::<Vec<_>>()
            };
            assert!(found().is_empty(), "{:?}", found());
            let file = |node: &str| {
                if version == 2 {
                    format!("{node}/.zgroup")
                } else {
                    format!("{node}/zarr.json")
                }
            };
            write(
                dir.path(),
                &file("a/c"),
                &json!({"zarr_format": version, "node_type": "group"}),
            );
            assert_eq!(names(), [("a/c".into(), false)]);
            fs::remove_dir_all(dir.path().join("a/b")).unwrap();
            let attrs =
                json!({"zarr_format": version, "node_type": "group", "attributes": {"x": 2}});
            write(dir.path(), &file("a"), &attrs);
            assert_eq!(
                names(),
                [
                    ("a".into(), true),
                    ("a/b".into(), true),
                    ("a/c".into(), false)
                ]
            );
        }
    }

    #[test]
    fn what_no_reader_takes_is_an_error() {
        let dir = store(2);
        for wrong in [
            json!({}),
            json!({"zarr_consolidated_format": 3, "metadata": {}}),
            json!([]),
        ] {
            write(dir.path(), CONSOLIDATED, &wrong);
            assert!(faults(dir.path(), &Bounds::Anywhere).is_err());
        }
        fs::write(dir.path().join(CONSOLIDATED), "{").unwrap();
        assert!(faults(dir.path(), &Bounds::Anywhere).is_err());
    }
}
