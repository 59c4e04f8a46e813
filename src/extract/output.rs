//! One output: its file, begun with what all outputs have in common, and its end, where it is read back if that is asked.
//!
//! An `.h5ad` of which there are many begins as a copy of a template, which the kernel makes sooner than the library
//! writes var and uns again. While it is written a thread flushes it (`output/flush.rs`). Where `--verify` asks for it,
//! a ledger notes what was meant: sums of the values, not the values.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Request;
use crate::output::{self, FlushedEarly};
use crate::store::{self, Format, Group, Ledger};

/// An output that is being written.
pub struct OutputFile {
    pub root: Group,
    path: PathBuf,
    /// What it should hold, where it is to be read back.
    ledger: Option<Ledger>,
    early: FlushedEarly,
}

/// What all outputs have in common, as a file to begin each with; it stands beside them for as long.
pub struct Template {
    path: PathBuf,
    ledger: Option<Ledger>,
}

impl OutputFile {
    /// Creates the file: empty, or as a copy of the template.
    pub fn create(
        path: &Path,
        request: &Request,
        template: Option<&Template>,
    ) -> Result<OutputFile> {
        let (root, ledger) = match template {
            Some(template) => {
                std::fs::copy(&template.path, path)?;
                let root = store::extend(path, request.container)?;
                (root, template.ledger.as_ref().map(Ledger::fork))
            }
            None => {
                let root = store::create(path, request.container)?;
                if let Some(home) = output::place_of(path).parent() {
                    root.set_home(home);
                }
                (root, request.verify.then(Ledger::default))
            }
        };
        Ok(OutputFile {
            root: root.noted(ledger.clone()),
            path: path.to_owned(),
            ledger,
            early: FlushedEarly::begin(path),
        })
    }

    /// Makes the file whole, once all of its arrays are.
    pub fn finish(self) -> Result<()> {
        self.root.finish()?;
        drop(self.early);
        self.ledger
            .map_or(Ok(()), |ledger| output::verify(&self.path, &ledger))
    }
}

impl Template {
    /// Writes the template, where there are many outputs; `skeleton` writes what is in each.
    pub fn write(
        request: &Request,
        skeleton: impl FnOnce(&Group) -> Result<()>,
    ) -> Result<Option<Template>> {
        let (Some(output), false, Format::H5ad) = (
            request.outputs.first(),
            request.alone,
            request.container.format,
        ) else {
            return Ok(None);
        };
        let template = Template {
            // Hidden, as no output is that stands in the same folder.
            path: output.with_file_name(".template.h5ad"),
            ledger: request.verify.then(Ledger::default),
        };
        let write = || {
            let root = store::create(&template.path, request.container)?;
            let root = root.noted(template.ledger.clone());
            skeleton(&root)?;
            root.finish()
        };
        write().context("Write what all shards have in common")?;
        Ok(Some(template))
    }

    /// Bytes that each output begins with.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.path.metadata()?.len())
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // goes with its folder else
    }
}
