//! How many files a store will have: nodes are created as they are when it is written, and nothing is written.
//!
//! What a dry run tells of the number of files is counted by the code that would write them, so that both agree.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The files of one store, shared by its groups and arrays.
#[derive(Clone, Default)]
pub struct Count(Arc<Mutex<Files>>);

#[derive(Clone, Default)]
struct Files {
    /// Of metadata, each once.
    named: BTreeSet<String>,
    chunks: u64,
    /// Arrays of which only the writing tells how many values they have.
    unknown: u64,
}

impl Count {
    /// One that goes on from here.
    pub fn fork(&self) -> Count {
        Count(Arc::new(Mutex::new(self.files().clone())))
    }

    /// A file of metadata.
    pub fn file(&self, folder: &Path, name: &str) {
        let path = folder.join(name).to_string_lossy().into_owned();
        self.files().named.insert(path);
    }

    /// Files of so many chunks or Zarr shards.
    pub fn chunks(&self, files: u64) {
        self.files().chunks += files;
    }

    /// An array whose size is not known.
    pub fn begin_unknown(&self) {
        self.files().unknown += 1;
    }

    /// It is known now.
    pub fn end_unknown(&self) {
        self.files().unknown -= 1;
    }

    /// All files; `None` where some array's size is not known.
    pub fn all(&self) -> Option<u64> {
        let files = self.files();
        (files.unknown == 0).then(|| files.named.len() as u64 + files.chunks)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files below a folder; a folder that is a link, which may lead in a circle, counts as one.
pub fn files_in(folder: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            files_in(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}
