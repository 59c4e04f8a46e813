//! An array that was decoded once, into a scratch file of its own.
//!
//! The file has no name, so it is gone when the last array that shares it is dropped, or the process dies.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::raw::{Extents, Take, write};
use super::spill;
use super::stored::{self, Recipe, Stored};
use crate::store::spec::{ArraySpec, Attrs};

/// An array of a fixed width in a [scratch file](spill::file) of its own.
pub struct Unpacked {
    /// That of the array that was decoded.
    path: String,
    spec: ArraySpec,
    attrs: Attrs,
    file: Arc<File>,
    extents: Extents,
    /// Bytes so far.
    written: u64,
}

impl Unpacked {
    /// An array without rows, in the folder `folder`; they are appended in order.
    pub fn create(folder: &Path, path: String, spec: ArraySpec, attrs: Attrs) -> Result<Unpacked> {
        Ok(Unpacked {
            path,
            extents: Extents::one(0, spec.row_bytes()),
            spec,
            attrs,
            file: Arc::new(spill::file(folder)?),
            written: 0,
        })
    }

    /// Appends whole rows as they are to be read; an error where the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        write(&self.file, bytes, self.written).context("Write to scratch (see --tmpdir)")?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    pub fn attrs(&self) -> Result<Attrs> {
        Ok(self.attrs.clone())
    }

    pub fn storage(&self) -> String {
        "Contiguous (in scratch)".into()
    }

    /// The same values, as those of another array.
    /// For the indices of a matrix that are those of another.
    pub fn shared(&self, path: String, attrs: Attrs) -> Unpacked {
        Unpacked {
            path,
            spec: self.spec.clone(),
            attrs,
            file: self.file.clone(),
            extents: Extents::one(0, self.spec.row_bytes()),
            written: self.written,
        }
    }

    pub fn recipe(&self) -> Recipe {
        Recipe::plain(self.spec.row_bytes())
    }

    pub fn stored(&self, chunk: u64) -> Vec<Stored> {
        let rows = self.recipe().rows_of(chunk, self.spec.rows());
        stored::plain(&self.file, &self.extents, rows, self.spec.row_bytes())
    }

    /// No row needs another to be read.
    pub fn chunk_bytes(&self) -> u64 {
        1
    }

    pub fn extents(&self) -> (&File, &Extents) {
        (&self.file, &self.extents)
    }

    pub fn read_into(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        self.extents.read(&self.file, ranges, dst)
    }

    pub fn each(&self, rows: Range<u64>, take: Take) -> Result<()> {
        self.extents.each(&self.file, rows, take)
    }
}
