//! Zarr stores in zip archives, as zarr-python's `ZipStore` writes them, or `zip` of a folder. They are unpacked to a
//! folder once, and from then on that is opened in the place of the archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use zip::ZipArchive;

use super::{access, zarr};

/// The folders of archives that are unpacked.
/// By the path as it was given, by which it is opened too.
static UNPACKED: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());

/// What is unpacked.
#[derive(Clone, Copy, PartialEq)]
pub enum Contents {
    All,
    /// Metadata; files of chunks get their size, and hold nothing.
    Metadata,
}

/// Whether a file is an archive of a Zarr store.
pub fn is_store(path: &Path) -> bool {
    open(path).is_some_and(|archive| {
        let mut names = archive.file_names().filter_map(Result::ok);
        names.any(|name| {
            let mut parts = name.rsplit('/');
            let is_node = parts
                .next()
                .is_some_and(|file| zarr::METADATA.contains(&file));
            // At the top, or in the one folder there.
            is_node && parts.count() < 2
        })
    })
}

/// Bytes and files that an archive becomes.
/// As its list claims; [`unpack`] gives an error where an entry is longer or shorter.
pub fn size(path: &Path) -> Result<(u64, usize)> {
    let mut archive = open(path).context("It is no zip archive")?;
    let files = archive.len();
    let mut bytes = 0u64;
    for at in 0..files {
        bytes = bytes.saturating_add(archive.by_index_raw(at)?.size());
    }
    Ok((bytes, files))
}

/// Unpacks the archive at `path` into `folder`, which is empty.
pub fn unpack(path: &Path, folder: &Path, contents: Contents) -> Result<()> {
    let mut archive = open(path).context("It is no zip archive")?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at)?;
        let name = entry.name()?.into_owned();
        let place = entry.enclosed_name().filter(|_| !entry.is_symlink());
        let place = place.with_context(|| format!("'{name}' leads out of the archive"))?;
        let place = folder.join(place);
        if entry.is_dir() {
            fs::create_dir_all(&place)?;
            continue;
        }
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&place)?;
        let size = entry.size();
        let file_name = place.file_name().and_then(|name| name.to_str());
        if contents == Contents::All || file_name.is_some_and(|n| zarr::METADATA.contains(&n)) {
            // Its checksum is compared at the end of what it claims.
            let copied = io::copy(&mut (&mut entry).take(size.saturating_add(1)), &mut file);
            let copied = copied.with_context(|| format!("'{name}'"))?;
            ensure!(
                copied == size,
                "'{name}' has not the {size} bytes that it claims"
            );
        } else {
            // A hole of that size: `info` sums up the sizes of chunks, and reads none of them.
            file.set_len(size)?;
        }
    }
    let store = root(folder)?;
    let mut unpacked = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    unpacked.insert(path.to_owned(), store);
    Ok(())
}

/// The folder that is opened in the place of `path`.
pub fn unpacked(path: &Path) -> Option<PathBuf> {
    let unpacked = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    unpacked.get(path).cloned()
}

/// The store in `folder`, or in the one folder that is in it.
fn root(folder: &Path) -> Result<PathBuf> {
    if zarr::is_store(folder) {
        return Ok(folder.to_owned());
    }
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let entries = entries.collect::<io::Result<Vec<_>>>()?;
    let mut stores = entries.iter().filter(|path| zarr::is_store(path));
    let store = stores.next().context("It holds no Zarr store")?;
    ensure!(stores.next().is_none(), "It holds several Zarr stores");
    Ok(store.clone())
}

/// The archive at `path`, with the list of its entries; none where its first bytes or its list are not those of one.
fn open(path: &Path) -> Option<ZipArchive<BufReader<File>>> {
    let mut file = access::opened(path).ok()?;
    let mut first = [0; 4];
    file.read_exact(&mut first).ok()?;
    let is_zip = path.is_file() && first == *b"PK\x03\x04";
    is_zip.then(|| ZipArchive::new(BufReader::new(file)).ok())?
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(path: &Path, files: &[(&str, &str)]) {
        let mut archive = ZipWriter::new(File::create(path).unwrap());
        for (name, text) in files {
            archive
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
    }

    const GROUP: &str = r#"{"zarr_format": 2}"#;

    #[test]
    fn stores_are_found_at_the_top_or_in_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        for (names, place) in [
            (vec![(".zgroup", GROUP), ("X/0.0", "chunk")], Some("")),
            (
                vec![("a.zarr/.zgroup", GROUP), ("a.zarr/X/0.0", "chunk")],
                Some("a.zarr"),
            ),
            (vec![("a/b/.zgroup", GROUP)], None),
            (vec![("a.h5ad", "x")], None),
        ] {
            archive(&path, &names);
            assert_eq!(is_store(&path), place.is_some());
            let Some(place) = place else { continue };
            for contents in [Contents::All, Contents::Metadata] {
                let to = tempfile::tempdir().unwrap();
                unpack(&path, to.path(), contents).unwrap();
                let store = unpacked(&path).unwrap();
                assert_eq!(store, to.path().join(place));
                let chunk = fs::read_to_string(store.join("X/0.0")).unwrap();
                assert_eq!(chunk.len(), 5);
                assert_eq!(chunk == "chunk", contents == Contents::All);
            }
        }
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        for name in ["../b", "/b", "X/../../b"] {
            archive(&path, &[(".zgroup", GROUP), (name, "x")]);
            let to = folder.path().join("to");
            fs::create_dir(&to).unwrap();
            assert!(
                unpack(&path, &to, Contents::All).is_err() || !folder.path().join("b").exists()
            );
            assert!(!folder.path().join("b").exists() && !Path::new("/b").exists());
            fs::remove_dir_all(&to).unwrap();
        }
    }
}
