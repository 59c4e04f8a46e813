//! A folder for scratch files, made when the first of them is needed.
//!
//! It is a staging folder like those of outputs, so a signal or the next run removes it; files in it have no names but
//! while they are made, where that can be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};

use super::staging::StagingFolder;
use super::tree::make_folder;

/// A private folder in another one, removed with all it holds when this is dropped.
pub struct Scratch {
    parent: PathBuf,
    made: Mutex<Option<StagingFolder>>,
}

impl Scratch {
    /// Touches nothing yet: not every run needs scratch files, and the usual folder for them is everybody's.
    pub fn below(parent: PathBuf) -> Scratch {
        Scratch {
            parent,
            made: Mutex::new(None),
        }
    }

    /// The folder in which the private one is, or will be.
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// The private folder, which is made at the first call, and with it those above it.
    pub fn folder(&self) -> Result<PathBuf> {
        let mut made = self.made.lock().unwrap_or_else(|e| e.into_inner());
        let folder = match made.take() {
            Some(folder) => folder,
            None => {
                make_folder(&self.parent).with_context(|| {
                    format!(
                        "Cannot make folder {} (see --tmpdir)",
                        self.parent.display()
                    )
                })?;
                let folder = StagingFolder::claim(&self.parent)?;
                let path = folder.path.join("scratch");
                fs::create_dir(&path)
                    .with_context(|| format!("Cannot make scratch folder {}", path.display()))?;
                folder
            }
        };
        Ok(made.insert(folder).path.join("scratch"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_before_it_is_needed_nor_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("not/yet");
        let scratch = Scratch::below(parent.clone());
        assert!(!parent.exists());
        let folder = scratch.folder().unwrap();
        assert!(folder.is_dir() && folder.starts_with(&parent));
        assert_eq!(scratch.folder().unwrap(), folder);
        drop(scratch);
        assert_eq!(fs::read_dir(parent).unwrap().count(), 0);
    }
}
