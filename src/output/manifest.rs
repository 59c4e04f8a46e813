//! `--manifest`: a JSON file that tells what a run wrote, or a table with a line for each output. It is staged like
//! the outputs, and takes its place together with them. Numbers of cells and non-zeros are read from the finished
//! outputs, not counted on the way, so they are what is in the files.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::Outputs;
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
    /// What each output is of, where they are of parts of the cells.
    pub labels: &'a [Label],
}

/// What an output is of, where the outputs are of parts of the cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The part of a split.
    pub split: Option<String>,
    /// The value of each column that the outputs are by.
    pub values: Vec<String>,
}

impl Label {
    /// The part of a split, and the list of values.
    pub fn json(&self) -> Value {
        json!([self.split, self.values])
    }

    /// What [`Label::json`] gives.
    pub fn of_json(json: &Value) -> Option<Label> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Label {
            split: json.get(0).and_then(text),
            values: json.get(1)?.as_array()?.iter().filter_map(text).collect(),
        })
    }

    /// All of it as one text.
    pub fn text(&self) -> String {
        let all = self.split.iter().chain(&self.values);
        all.map(String::as_str).collect::<Vec<_>>().join("_")
    }

    /// One value as a text, several as a list.
    fn value(&self) -> Value {
        match self.values.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            all => json!(all),
        }
    }
}

/// A manifest that is begun: where it goes, and what the inputs were before they were read.
pub struct Manifest {
    path: PathBuf,
    inputs: Vec<Value>,
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
            "--manifest {shown} is no name for a JSON file or a table; give one such as manifest.json or manifest.csv"
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
            let file =
                size_and_time(path).with_context(|| format!("Cannot read {}", path.display()))?;
            Ok(json!({
                "path": path.to_string_lossy(),
                "bytes": file.bytes,
                "mtime_ns": file.mtime_ns,
            }))
        });
        Ok(Manifest {
            path: path.to_owned(),
            inputs: inputs.collect::<Result<_>>()?,
        })
    }

    /// Adds the manifest to the outputs, all of which are whole: `written` has the path of each, and where it is now;
    /// `digests` its SHA-256, by the latter.
    pub fn write(
        self,
        outputs: &mut Outputs,
        written: &[(PathBuf, PathBuf)],
        digests: &HashMap<PathBuf, String>,
        facts: &Facts,
    ) -> Result<()> {
        let Manifest { path: at, inputs } = self;
        let (mut made, mut limits, mut rows) = (vec![], vec![], 0);
        for (number, (path, staged)) in written.iter().enumerate() {
            let root = store::open(staged, &Access::default())?;
            let cells = columns::length(&root, "obs")?;
            rows += cells;
            // Where the cells of each output end in the sequence of all.
            limits.push(rows);
            made.push(json!({
                "path": path.to_string_lossy(),
                "split": facts.labels.get(number).and_then(|label| label.split.as_ref()),
                "value": facts.labels.get(number).map(Label::value),
                "rows": cells,
                "nonzeros": nonzeros(&root)?,
                "bytes": size_and_time(staged)?.bytes,
                "sha256": digests.get(staged),
            }));
        }
        if let Some(delimiter) = delimiter(&at) {
            return put(&at, outputs, &table(&made, facts, delimiter));
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
            "inputs": inputs,
            "outputs": made,
            "limits": limits,
        });
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        put(&at, outputs, &text)
    }
}

/// Stages the text as one more output.
fn put(path: &Path, outputs: &mut Outputs, text: &str) -> Result<()> {
    let staged = outputs.stage(path)?;
    fs::write(&staged, text).with_context(|| format!("Cannot write {}", path.display()))
}

/// What parts the fields of a table of this name; `None` for JSON.
fn delimiter(path: &Path) -> Option<char> {
    match path.extension()?.to_str()? {
        "csv" => Some(','),
        "tsv" => Some('\t'),
        _ => None,
    }
}

/// A line for each output, as RFC 4180 has it: a field that needs it is quoted.
fn table(made: &[Value], facts: &Facts, delimiter: char) -> String {
    let quoted = |field: &str| {
        let is_plain = !field.contains(['"', '\n', '\r', delimiter]);
        if is_plain {
            field.to_owned()
        } else {
            format!("\"{}\"", field.replace('"', "\"\""))
        }
    };
    let mut text = ["path", "n_obs", "split", "value"].join(&delimiter.to_string()) + "\n";
    let none = Label::default();
    for (at, output) in made.iter().enumerate() {
        let label = facts.labels.get(at).unwrap_or(&none);
        let fields = [
            quoted(output["path"].as_str().unwrap_or_default()),
            output["rows"].to_string(),
            quoted(label.split.as_deref().unwrap_or_default()),
            quoted(&label.values.join("_")),
        ];
        text += &(fields.join(&delimiter.to_string()) + "\n");
    }
    text
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

/// Goes down the folders (layers, obsm, obsp) to their sparse matrices.
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
struct SizeAndTime {
    bytes: u64,
    mtime_ns: i64,
}

fn size_and_time(path: &Path) -> io::Result<SizeAndTime> {
    let of = |file: Metadata| SizeAndTime {
        bytes: file.len(),
        mtime_ns: file
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(file.mtime_nsec()),
    };
    let found = fs::metadata(path)?;
    if !found.is_dir() {
        return Ok(of(found));
    }
    let mut all = SizeAndTime {
        bytes: 0,
        mtime_ns: 0,
    };
    for entry in fs::read_dir(path)? {
        let one = size_and_time(&entry?.path())?;
        all.bytes += one.bytes;
        all.mtime_ns = all.mtime_ns.max(one.mtime_ns);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_output() {
        let made = [
            json!({"path": "out/a,b.h5ad", "rows": 3}),
            json!({"path": "c.h5ad", "rows": 0}),
        ];
        let label = Label {
            split: Some("train".into()),
            values: vec!["say \"T\"".into(), "x".into()],
        };
        let facts = Facts {
            seed: None,
            started: "",
            seconds: 0.0,
            labels: &[label],
        };
        let csv =
            "path,n_obs,split,value\n\"out/a,b.h5ad\",3,train,\"say \"\"T\"\"_x\"\nc.h5ad,0,,\n";
        assert_eq!(table(&made, &facts, ','), csv);
        let tsv = "path\tn_obs\tsplit\tvalue\nout/a,b.h5ad\t3\ttrain\t\"say \"\"T\"\"_x\"\nc.h5ad\t0\t\t\n";
        assert_eq!(table(&made, &facts, '\t'), tsv);
        assert_eq!(delimiter(Path::new("m.tsv")), Some('\t'));
        assert_eq!(delimiter(Path::new("m.json")), None);
    }
}
