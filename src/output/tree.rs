//! Folders that are made and removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::flush::flush_entry;
use super::place;
use super::record::{LOCK, Lock};
use crate::store::folder_above;

/// Makes `folder` and those above it that are missing, so that they last; returns those it made, the outermost first. Where
/// one cannot be made, none stays.
pub fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing = vec![];
    for above in folder.ancestors() {
        if above.as_os_str().is_empty() || above.is_dir() {
            break;
        }
        missing.push(above);
    }
    let mut made = vec![];
    let mut missing = missing.into_iter().rev();
    let done = missing.try_for_each(|folder| make_one(folder, &mut made));
    if done.is_err() {
        for folder in made.iter().rev() {
            let _ = fs::remove_dir(folder); // others may have put something there
        }
    }
    done.map(|()| made)
}

/// Makes one folder, and adds it to those that were made.
fn make_one(folder: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        result => result?,
    }
    made.push(folder.to_owned());
    flush_entry(folder_above(folder))
}

/// Removes a staging folder, its lock file after all else: until then it is known for what it is, however this ends.
///
/// `lock` is closed before the folder goes: on NFS and FUSE a file that is removed while it is open stays under another
/// name until then.
pub fn remove_tree(folder: &Path, lock: Option<Lock>) -> io::Result<()> {
    place::end(folder)?;
    let mut failed = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        let error = removed.err().filter(|e| e.kind() != ErrorKind::NotFound);
        failed = failed.or(error);
    }
    if let Some(e) = failed {
        return Err(e);
    }
    let removed = fs::remove_file(folder.join(LOCK));
    drop(lock);
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => remove_emptied(folder),
    }
}

/// Removes a folder with nothing in it but what was just closed: FUSE does not wait for that. Another run may take it for
/// a dead one's by now.
fn remove_emptied(folder: &Path) -> io::Result<()> {
    for millis in [1, 10, 100] {
        match fs::remove_dir(folder) {
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
                thread::sleep(Duration::from_millis(millis));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_cannot_all_be_made_do_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let too_long = "x".repeat(300);
        assert!(make_folder(&dir.path().join("a/b").join(too_long)).is_err());
        assert!(!dir.path().join("a").exists());
        let made = make_folder(&dir.path().join("a/b")).unwrap();
        assert_eq!(made, [dir.path().join("a"), dir.path().join("a/b")]);
        assert!(make_folder(&dir.path().join("a/b")).unwrap().is_empty());
    }
}
