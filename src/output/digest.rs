//! SHA-256 of outputs, computed in the pool while others are written.
//!
//! What was just written is mostly in the memory of the kernel still; a thread that has nothing else to do reads it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use rayon::Yield;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// The digests of finished outputs, by the path at which they were written.
pub struct Digests {
    send: Sender<(PathBuf, io::Result<String>)>,
    receive: Receiver<(PathBuf, io::Result<String>)>,
}

impl Digests {
    pub fn new() -> Digests {
        let (send, receive) = channel();
        Digests { send, receive }
    }

    /// Begins to read an output that is whole.
    pub fn begin(&self, path: &Path) {
        let (path, send) = (path.to_owned(), self.send.clone());
        rayon::spawn(move || {
            let digest = digest(&path);
            let _ = send.send((path, digest)); // a run that has failed waits for none
        });
    }

    /// Waits for all that were begun.
    pub fn finish(self) -> Result<HashMap<PathBuf, String>> {
        drop(self.send);
        // This thread is one of the pool, and may be the only one.
        while rayon::yield_now() == Some(Yield::Executed) {}
        let digests = self.receive.into_iter().map(|(path, digest)| {
            let digest = digest.with_context(|| format!("Cannot read {}", path.display()))?;
            Ok((path, digest))
        });
        digests.collect()
    }
}

/// Of a file, its SHA-256. Of a folder, that of a list with a line for each file in it, sorted by path: the file's
/// SHA-256, two blanks, its path in the folder and a NUL, as `sha256sum --zero` prints it.
fn digest(path: &Path) -> io::Result<String> {
    if !path.is_dir() {
        return digest_of_file(path);
    }
    let mut paths = vec![];
    files(path, &mut paths)?;
    let named = paths.into_iter().map(|file| {
        let name = file.strip_prefix(path).unwrap_or(&file);
        (name.as_os_str().as_encoded_bytes().to_vec(), file)
    });
    let mut named: Vec<(Vec<u8>, PathBuf)> = named.collect();
    named.sort();
    let digests: Vec<String> = named
        .par_iter()
        .map(|(_, file)| digest_of_file(file))
        .collect::<io::Result<_>>()?;
    let mut list = Sha256::new();
    for (digest, (name, _)) in digests.iter().zip(&named) {
        for part in [digest.as_bytes(), b"  ", name, b"\0"] {
            list.update(part);
        }
    }
    Ok(hex(list))
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?
        } else {
            found.push(path)
        }
    }
    Ok(())
}

fn digest_of_file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    read(path, |bytes| hasher.update(bytes))?;
    Ok(hex(hasher))
}

/// CRC-32 of a file, which takes a tenth of the time.
pub fn crc32_of_file(path: &Path) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    read(path, |bytes| hasher.update(bytes))?;
    Ok(hasher.finalize())
}

/// Gives all bytes of a file, some at a time.
fn read(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

fn hex(hasher: Sha256) -> String {
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(path: &Path) -> String {
        let digests = Digests::new();
        digests.begin(path);
        digests.finish().unwrap().remove(path).unwrap()
    }

    #[test]
    fn one_thread_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..5).map(|i| folder.path().join(i.to_string())).collect();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let found = pool.install(|| {
            let digests = Digests::new();
            for path in &paths {
                fs::write(path, "abc").unwrap();
                digests.begin(path);
            }
            digests.finish().unwrap()
        });
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_file_has_its_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        // The example of FIPS 180-2, B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_of(&path), known);
    }

    #[test]
    fn a_folder_has_that_of_the_list_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("s").join(name);
        fs::create_dir_all(at("b")).unwrap();
        for name in ["b/c", "b.c", "a"] {
            fs::write(at(name), name).unwrap();
        }
        let list = folder.path().join("list");
        let line = |name: &str| format!("{}  {name}\0", digest_of(&at(name)));
        fs::write(&list, ["a", "b.c", "b/c"].map(line).concat()).unwrap();
        assert_eq!(digest_of(&at("")), digest_of(&list));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let digests = Digests::new();
        digests.begin(Path::new("/nowhere/at all"));
        let error = digests.finish().unwrap_err().to_string();
        assert!(error.contains("/nowhere/at all"), "{error}");
    }
}
