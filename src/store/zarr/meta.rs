//! The JSON of one node: what `.zarray`, `.zgroup`, `.zattrs` (v2) and `zarr.json` (v3) say.
//!
//! Metadata is read from the node's own folder; consolidated metadata may be stale (see `consolidated`).
//! Each file is read whole. A folder that has those of both versions is taken for one of version 3.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::attrs::add_json;
use crate::store::ZarrVersion;
use crate::store::access::Bounds;
use crate::store::spec::Attrs;
use crate::store::words;

/// The file that makes a folder a node of version 3, and those of version 2.
pub const V3: &str = "zarr.json";
pub const ARRAY: &str = ".zarray";
pub const GROUP: &str = ".zgroup";
pub const ATTRS: &str = ".zattrs";
/// Consolidated metadata of version 2.
pub const CONSOLIDATED: &str = ".zmetadata";

/// File names that no node may have.
pub const RESERVED: [&str; 5] = [V3, ARRAY, GROUP, ATTRS, CONSOLIDATED];

/// The metadata of one node.
pub struct Meta {
    pub is_array: bool,
    /// 2 or 3.
    pub version: u8,
    /// What the file says: `.zarray`, `.zgroup` or `zarr.json`.
    pub json: Value,
    /// `.zattrs`, or `attributes` of `zarr.json`.
    pub attrs: Map<String, Value>,
}

/// Whether a path is a node.
/// An error where it cannot be looked at, as for a link that leads nowhere.
pub fn is_node(path: &Path) -> Result<bool> {
    let found = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !found.is_dir() {
        return Ok(false);
    }
    for file in [V3, ARRAY, GROUP] {
        let file = path.join(file);
        if file
            .try_exists()
            .with_context(|| file.display().to_string())?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The nodes in a folder, sorted.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("List {}", folder.display());
    let mut names = vec![];
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if is_node(&path)? {
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

/// Adds attributes to those that a node has. Without any, version 2 has no `.zattrs`.
pub fn set_attrs(folder: &Path, version: ZarrVersion, attrs: &Attrs) -> Result<()> {
    if *attrs == Attrs::default() {
        return Ok(());
    }
    match version {
        ZarrVersion::V2 => {
            let mut json = load_attrs(folder)?;
            add_json(&mut json, attrs)?;
            write_json(&folder.join(ATTRS), &Value::Object(json))
        }
        ZarrVersion::V3 => {
            let file = folder.join(V3);
            let mut node = read_json(&file)?.context("The node is not there")?;
            let mut json = node["attributes"].as_object().cloned().unwrap_or_default();
            add_json(&mut json, attrs)?;
            node["attributes"] = Value::Object(json);
            write_json(&file, &node)
        }
    }
}

/// Whether a folder is a group.
pub fn is_group(folder: &Path) -> Result<bool> {
    let is_v3 =
        || Ok(read_json(&folder.join(V3))?.is_some_and(|json| json["node_type"] == "group"));
    if folder.join(GROUP).is_file() {
        Ok(true)
    } else {
        is_v3()
    }
}

/// The same of a path at which nothing may stand.
pub fn is_node_at(path: &Path) -> Result<bool> {
    let stands = path.try_exists();
    Ok(stands.with_context(|| path.display().to_string())? && is_node(path)?)
}

/// The metadata of the node in `folder`; `None` where there is no node. An error where links lead it, or a file of it,
/// out of the bounds.
pub fn load(folder: &Path, bounds: &Bounds) -> Result<Option<Meta>> {
    // Each may be a link by itself.
    for file in ["", V3, ARRAY, GROUP, ATTRS] {
        super::check(bounds, &folder.join(file))?;
    }
    if let Some(json) = read_json(&folder.join(V3))? {
        ensure_version(folder, &json, 3)?;
        let is_array = match json["node_type"].as_str() {
            Some("array") => true,
            Some("group") => false,
            _ => bail!("{}: neither a group nor an array", folder.display()),
        };
        let attrs = json["attributes"].as_object().cloned().unwrap_or_default();
        return Ok(Some(Meta {
            is_array,
            version: 3,
            json: array_json(json),
            attrs,
        }));
    }
    for (file, is_array) in [(ARRAY, true), (GROUP, false)] {
        if let Some(json) = read_json(&folder.join(file))? {
            ensure_version(folder, &json, 2)?;
            let attrs = load_attrs(folder)?;
            return Ok(Some(Meta {
                is_array,
                version: 2,
                json: array_json(json),
                attrs,
            }));
        }
    }
    Ok(None)
}

fn ensure_version(folder: &Path, json: &Value, version: u8) -> Result<()> {
    ensure!(
        json["zarr_format"] == version,
        "{}: 'zarr_format' is {}, not {version}",
        folder.display(),
        json["zarr_format"]
    );
    Ok(())
}

/// The attributes of a node of version 2; none where there is no such file.
pub fn load_attrs(folder: &Path) -> Result<Map<String, Value>> {
    match read_json(&folder.join(ATTRS))? {
        None => Ok(Map::new()),
        Some(Value::Object(attrs)) => Ok(attrs),
        Some(_) => bail!("{}: attributes that are not an object", folder.display()),
    }
}

/// An array's metadata, in which Zarr has texts for NaN and infinities.
/// The bare word `NaN` of `{"fill_value": NaN}`, which is no JSON, came out of `words::read` as a marked text; here it
/// becomes the text `"NaN"`, which the specification has.
fn array_json(mut json: Value) -> Value {
    if let Some(fill) = json.get_mut("fill_value")
        && let Some(word) = fill.as_str().and_then(words::word)
    {
        *fill = word.into();
    }
    json
}

/// The JSON in a file; `None` where there is no such file.
pub fn read_json(path: &Path) -> Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&words::read(text))
            .map(Some)
            .with_context(|| format!("{}: not valid JSON", path.display())),
        // A path below a file is none either.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("Read {}", path.display())),
    }
}

/// Writes JSON, with NaN and infinities as the bare words that zarr-python writes.
pub fn write_json(path: &Path, json: &Value) -> Result<()> {
    let text = words::write(serde_json::to_string_pretty(json)?);
    std::fs::write(path, text).with_context(|| format!("Write {}", path.display()))
}

/// Makes of a folder a group without attributes.
pub fn write_group(folder: &Path, version: ZarrVersion) -> Result<()> {
    match version {
        ZarrVersion::V2 => write_json(&folder.join(GROUP), &json!({"zarr_format": 2})),
        ZarrVersion::V3 => {
            let group = json!({"zarr_format": 3, "node_type": "group", "attributes": {}});
            write_json(&folder.join(V3), &group)
        }
    }
}
