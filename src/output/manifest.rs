//! `--manifest`: a JSON file that tells what a run wrote. It is written aside like the outputs, and takes its place
//! together with them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::Outputs;
use super::digest::Digests;
use crate::anndata::columns;
use crate::anndata::encoding::Encoding;
use crate::output;
use crate::permutation::Seed;
use crate::resources::peak_memory;
use crate::store::{self, Access, Group, Node};

/// The version of what a manifest holds: fields are added within a version, never renamed or removed.
const SCHEMA: u32 = 1;

/// What is told of a run beside its files.
pub struct Facts<'a> {
    /// Of a shuffle.
    pub seed: Option<&'a Seed>,
    /// When it began.
    pub started: &'a str,
    /// Since then.
    pub seconds: f64,
    /// The category that each output is of, where they are by a column.
    pub values: &'a [String],
}

pub struct Manifest {
    path: PathBuf,
    inputs: Vec<Value>,
    digests: Digests,
}

impl Manifest {
    /// Notes what the inputs are, before they are read.
    ///
    /// # Errors
    /// A path at which a manifest may not stand.
    pub fn new(path: &Path, inputs: &[PathBuf], outputs: &[PathBuf]) -> Result<Manifest> {
        let shown = path.display();
        let extension = path.extension().and_then(|e| e.to_str());
        ensure!(
            !matches!(extension, Some("h5ad" | "h5" | "zarr")) && !path.is_dir(),
            "--manifest {shown} is no name for a JSON file; give one such as manifest.json"
        );
        for (what, others) in [("input", inputs), ("output", outputs)] {
            for other in others {
                ensure!(
                    !output::overlap(path, other)?,
                    "--manifest {shown} and the {what} {} are in each other's place; give another path",
                    other.display()
                );
            }
        }
        let inputs = inputs.iter().map(|path| {
            let file = stamp(path).with_context(|| format!("Cannot read {}", path.display()))?;
            Ok(json!({
                "path": path.to_string_lossy(),
                "bytes": file.bytes,
                "mtime_ns": file.mtime_ns,
            }))
        });
        Ok(Manifest {
            path: path.to_owned(),
            inputs: inputs.collect::<Result<_>>()?,
            digests: Digests::new(),
        })
    }

    /// To be told of each output as soon as it is whole, by where it was written.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Adds the manifest to the outputs, all of which are whole.
    pub fn write(self, outputs: &mut Outputs, facts: &Facts) -> Result<()> {
        let digests = self.digests.finish()?;
        let (mut made, mut limits, mut rows) = (vec![], vec![], 0);
        for (at, (path, aside)) in outputs.written().enumerate() {
            let root = store::open(aside, &Access::default())?;
            let cells = columns::length(&root, "obs")?;
            rows += cells;
            limits.push(rows);
            made.push(json!({
                "path": path.to_string_lossy(),
                "value": facts.values.get(at),
                "rows": cells,
                "nonzeros": nonzeros(&root)?,
                "bytes": stamp(aside)?.bytes,
                "sha256": digests.get(aside),
            }));
        }
        let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
        let manifest = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "command": command.collect::<Vec<_>>(),
            "started": facts.started,
            "seconds": facts.seconds,
            "peak_memory_bytes": peak_memory(),
            "seed": facts.seed.map(seed_value),
            "inputs": self.inputs,
            "outputs": made,
            "limits": limits,
        });
        let aside = outputs.aside(&self.path)?;
        fs::write(&aside, serde_json::to_string_pretty(&manifest)? + "\n")
            .with_context(|| format!("Cannot write {}", self.path.display()))
    }
}

/// A number where JSON has it, else its digits as text.
fn seed_value(seed: &Seed) -> Value {
    let text = seed.to_string();
    text.parse::<u64>().map_or(Value::from(text), Value::from)
}

/// The number of stored elements of each sparse matrix with rows of cells, by its path.
fn nonzeros(root: &Group) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    for path in ["X", "layers", "obsm", "obsp", "raw/X"] {
        if let Some(node) = root.get(path)? {
            count(path, node, &mut found)?;
        }
    }
    Ok(found)
}

fn count(path: &str, node: Node, found: &mut Map<String, Value>) -> Result<()> {
    let encoding = Encoding::of(&node)?;
    let Node::Group(group) = node else {
        return Ok(());
    };
    match encoding {
        Encoding::Csr | Encoding::Csc => {
            if let Some(Node::Array(data)) = group.get("data")? {
                found.insert(path.into(), data.spec().rows().into());
            }
        }
        Encoding::Dict => {
            for name in group.names()? {
                if let Some(node) = group.get(&name)? {
                    count(&format!("{path}/{name}"), node, found)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Bytes of a file and when it was modified, in nanoseconds since 1970; of a folder, the sum over its files and the
/// latest.
struct Stamp {
    bytes: u64,
    mtime_ns: i64,
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let of = |file: Metadata| Stamp {
        bytes: file.len(),
        mtime_ns: file.mtime() * 1_000_000_000 + file.mtime_nsec(),
    };
    let found = fs::metadata(path)?;
    if !found.is_dir() {
        return Ok(of(found));
    }
    let mut all = Stamp {
        bytes: 0,
        mtime_ns: 0,
    };
    for entry in fs::read_dir(path)? {
        let one = stamp(&entry?.path())?;
        all.bytes += one.bytes;
        all.mtime_ns = all.mtime_ns.max(one.mtime_ns);
    }
    Ok(all)
}
