//! What tells the cells of one input from those of another: a column of labels, and what is put after their names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::frames::Labels;
use crate::store::Format;

#[derive(Default)]
pub struct InputKeys {
    pub labels: Option<Labels>,
    /// What is put after the names of the cells of each input; empty where nothing is. With the separator `-` and the
    /// key `d1`: `-d1`, so the cell `AAAC` becomes `AAAC-d1`.
    suffixes: Vec<String>,
}

impl InputKeys {
    /// Labels the cells of each of `paths` in the obs column `label`, and puts `separator` and the key of the input
    /// after their names. Without `keys`, those are the names of the files.
    ///
    /// # Errors
    /// Keys that are not one for each input, or not each another.
    pub fn of(
        label: Option<String>,
        keys: Vec<String>,
        separator: Option<String>,
        paths: &[PathBuf],
    ) -> Result<InputKeys> {
        if label.is_none() && separator.is_none() {
            return Ok(InputKeys::default());
        }
        let keys = if keys.is_empty() {
            paths.iter().map(|p| stem(p)).collect::<Result<_>>()?
        } else {
            given(keys, paths.len())?
        };
        let mut seen = HashSet::new();
        if let Some(key) = keys.iter().find(|key| !seen.insert(*key)) {
            bail!("Two inputs have the key '{key}'; name all of them with --keys, each by another");
        }
        Ok(InputKeys {
            suffixes: match separator {
                Some(separator) => keys.iter().map(|k| format!("{separator}{k}")).collect(),
                None => vec![],
            },
            labels: label.map(|column| Labels { column, keys }),
        })
    }

    pub fn suffix(&self, input: usize) -> &str {
        self.suffixes.get(input).map_or("", String::as_str)
    }

    /// Whether anything tells them.
    pub fn tell(&self) -> bool {
        self.labels.is_some() || self.rename()
    }

    /// What cells are called, for the identity of a run.
    pub fn identity(&self) -> Value {
        let labels = self.labels.as_ref();
        json!({
            "label": labels.map(|labels| &labels.column),
            "keys": labels.map(|labels| &labels.keys),
            "index_unique": self.suffixes,
        })
    }

    /// Whether names get a suffix.
    pub fn rename(&self) -> bool {
        !self.suffixes.is_empty()
    }
}

/// Keys as they were typed. One that is a file was meant as an input, and would go unnoticed as a key.
fn given(keys: Vec<String>, inputs: usize) -> Result<Vec<String>> {
    let is_file = |key: &&String| Format::of(Path::new(key)).is_ok() && Path::new(key).exists();
    if let Some(file) = keys.iter().find(is_file) {
        bail!("--keys takes {file} for a key; put the inputs before --keys, or '--' between");
    }
    ensure!(
        keys.len() == inputs,
        "--keys has {} names, but there are {inputs} inputs",
        keys.len()
    );
    Ok(keys)
}

/// The name of a file without its extension.
fn stem(path: &Path) -> Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.with_context(|| {
        let path = path.display();
        format!("{path}: its name is no text that can be a key; name the inputs with --keys")
    })?;
    Ok(stem.into())
}
