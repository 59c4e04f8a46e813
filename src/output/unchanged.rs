//! That what a run reads stays as it is until the run ends: a result made of two versions of a file
//! would look whole.
//!
//! A file is known by its inode, size and time of modification, and so is every file of a Zarr
//! store but for the inode, which network file systems may give anew to a file that is closed. The
//! content is not read, so what keeps size and time is not seen.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// What stood at a path when this was made.
#[derive(Debug)]
pub struct Stamp {
    path: PathBuf,
    inode: u64,
    /// Of a file, or of each folder of a store: a digest of names, sizes and times.
    digests: BTreeMap<PathBuf, u64>,
}

impl Stamp {
    /// Standard input, a pipe and a path where nothing stands are always the same.
    pub fn of(path: &Path) -> Stamp {
        let found = fs::metadata(path);
        let digests = match &found {
            Ok(found) if found.is_dir() => folders(path),
            Ok(found) if found.is_file() => {
                [(path.to_owned(), digest(OsStr::new(""), Ok(Some(found))))].into()
            }
            _ => BTreeMap::new(),
        };
        let inode = found.ok().filter(Metadata::is_file).map_or(0, |f| f.ino());
        Stamp {
            path: path.to_owned(),
            inode,
            digests,
        }
    }

    /// An error that names what has changed since.
    pub fn check(&self) -> Result<()> {
        let now = Stamp::of(&self.path);
        let other = |a: &Stamp, b: &Stamp| {
            let mut digests = a.digests.iter();
            let changed = digests.find(|(path, digest)| b.digests.get(*path) != Some(digest));
            changed.map(|(path, _)| path.clone())
        };
        let moved = (self.inode != now.inode).then(|| self.path.clone());
        let changed = other(self, &now).or_else(|| other(&now, self)).or(moved);
        if let Some(changed) = changed {
            bail!(
                "Input {} changed while it was read; run again when nothing writes to it",
                changed.display()
            );
        }
        Ok(())
    }

    /// The same for the same sizes and times below the path, however that is written, in every run of this program.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Sha256::new();
        for (path, digest) in &self.digests {
            let below = path.strip_prefix(&self.path).unwrap_or(path);
            hasher.update(below.as_os_str().as_encoded_bytes());
            hasher.update([0]); // which no path holds
            hasher.update(digest.to_le_bytes());
        }
        first_bytes(hasher)
    }
}

/// A digest of each folder of a store. Links are not followed, so there are no circles.
fn folders(root: &Path) -> BTreeMap<PathBuf, u64> {
    let (mut digests, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        // A sum needs no order, so that no list is held of what may be a million chunks.
        let (sum, below) = match fs::read_dir(&folder) {
            Ok(entries) => entries.par_bridge().map(entry).reduce(
                || (0, vec![]),
                |(a, mut below), (b, more)| {
                    below.extend(more);
                    (a.wrapping_add(b), below)
                },
            ),
            Err(e) => (digest(OsStr::new(""), Err(e)), vec![]),
        };
        open.extend(below);
        digests.insert(folder, sum);
    }
    digests
}

/// The digest of an entry, and its path where it is a folder.
fn entry(entry: io::Result<fs::DirEntry>) -> (u64, Vec<PathBuf>) {
    let entry = match entry {
        Ok(entry) => entry,
        Err(e) => return (digest(OsStr::new(""), Err(e)), vec![]),
    };
    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
    let name = entry.file_name();
    if is_folder {
        // Its time changes with what lies in it, which is looked at by itself.
        return (digest(&name, Ok(None)), vec![entry.path()]);
    }
    let found = entry.metadata();
    (
        digest(&name, found.as_ref().map(Some).map_err(clone)),
        vec![],
    )
}

fn clone(e: &io::Error) -> io::Error {
    e.kind().into()
}

/// The same in every run of every build: of the name, and the size and time of a file.
fn digest(name: &OsStr, found: io::Result<Option<&Metadata>>) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(name.as_encoded_bytes());
    hasher.update([0]);
    match found {
        Ok(Some(file)) => {
            hasher.update(file.len().to_le_bytes());
            hasher.update(file.mtime().to_le_bytes());
            hasher.update(file.mtime_nsec().to_le_bytes());
        }
        Ok(None) => {}
        Err(e) => hasher.update(e.kind().to_string().as_bytes()),
    }
    first_bytes(hasher)
}

/// What of a digest tells inputs apart that nobody made alike on purpose.
fn first_bytes(hasher: Sha256) -> u64 {
    let digest = hasher.finalize();
    let first = digest.iter().take(8);
    first.fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn store(dir: &Path) -> PathBuf {
        let store = dir.join("a.zarr");
        for file in [".zgroup", "X/.zarray", "X/0.0", "obs/c/0/0"] {
            fs::create_dir_all(store.join(file).parent().unwrap()).unwrap();
            fs::write(store.join(file), file).unwrap();
        }
        store
    }

    fn change_time(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(5))
            .unwrap();
    }

    #[test]
    fn what_stays_the_same_passes() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        std::os::unix::fs::symlink(&store, store.join("circle")).unwrap();
        let file = dir.path().join("a.h5ad");
        fs::write(&file, "a").unwrap();
        for path in [&store, &file, Path::new("-"), Path::new("/dev/null")] {
            let stamp = Stamp::of(path);
            fs::read(&file).unwrap();
            stamp.check().unwrap();
            assert_eq!(stamp.fingerprint(), Stamp::of(path).fingerprint());
        }
    }

    #[test]
    fn every_change_of_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5ad");
        let other = dir.path().join("b.h5ad");
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(&path, "longer than it was").unwrap(),
            &|| fs::write(&path, "").unwrap(),
            &|| change_time(&path),
            &|| fs::rename(&other, &path).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
        ];
        for change in changes {
            fs::write(&path, "text").unwrap();
            fs::write(&other, "text").unwrap();
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            File::open(&other).unwrap().set_modified(time).unwrap();
            let stamp = Stamp::of(&path);
            stamp.check().unwrap();
            change();
            let error = stamp.check().unwrap_err().to_string();
            assert!(error.contains("a.h5ad changed"), "{error}");
        }
    }

    #[test]
    fn every_change_of_a_store_is_seen_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("a.zarr").join(name);
        let changes: [(&dyn Fn(), &str); 5] = [
            (&|| fs::write(at("X/0.0"), "").unwrap(), "a.zarr/X"),
            (&|| fs::write(at("X/1.0"), "").unwrap(), "a.zarr/X"),
            (&|| change_time(&at(".zgroup")), "a.zarr"),
            (&|| fs::remove_file(at("obs/c/0/0")).unwrap(), "obs/c/0"),
            (&|| fs::create_dir(at("obs/c/1")).unwrap(), "obs/c"),
        ];
        for (change, named) in changes {
            let store = store(dir.path());
            let stamp = Stamp::of(&store);
            change();
            let error = stamp.check().unwrap_err().to_string();
            assert!(error.contains(&format!("{named} changed")), "{error}");
            assert_ne!(stamp.fingerprint(), Stamp::of(&store).fingerprint());
            fs::remove_dir_all(store).unwrap();
        }
    }
}
