//! Bytes that are put down in any order and read again, all of one run: in memory where they are few, else in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::raw;

/// Room of a fixed size, zero at first.
pub enum Spill {
    Memory(Vec<u8>),
    /// In a folder, whose path is for errors.
    File(File, PathBuf),
}

impl Spill {
    /// Room for `bytes`: in memory if that is no more than `most`, else in a file in `folder`, which is asked for then.
    pub fn of(bytes: u64, most: u64, folder: impl FnOnce() -> Result<PathBuf>) -> Result<Spill> {
        if bytes <= most {
            Ok(Spill::Memory(vec![0; bytes as usize]))
        } else {
            let folder = folder()?;
            Ok(Spill::File(file(&folder)?, folder))
        }
    }

    /// Puts bytes at `at`, within the room that was asked for.
    pub fn write(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        match self {
            Spill::Memory(all) => all[at as usize..][..bytes.len()].copy_from_slice(bytes),
            Spill::File(file, folder) => raw::write(file, bytes, at)
                .with_context(|| format!("Write scratch in {}", folder.display()))?,
        }
        Ok(())
    }

    /// So many bytes from `at` on.
    pub fn read(&self, bytes: u64, at: u64) -> Result<Vec<u8>> {
        match self {
            Spill::Memory(all) => Ok(all[at as usize..][..bytes as usize].to_vec()),
            Spill::File(file, folder) => {
                let mut read = vec![0; bytes as usize];
                raw::exact(file, &mut read, at)
                    .with_context(|| format!("Read scratch in {}", folder.display()))?;
                Ok(read)
            }
        }
    }
}

/// A file that is gone from its folder at once, and from the disk when it is dropped.
/// The folder is one of this run alone: names count from 0 in each process.
pub fn file(folder: &Path) -> Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = folder.join(format!("{count}.raw"));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&name)
        .with_context(|| format!("Create scratch file {}", name.display()))?;
    std::fs::remove_file(&name)
        .with_context(|| format!("Remove scratch file {}", name.display()))?;
    Ok(file)
}
