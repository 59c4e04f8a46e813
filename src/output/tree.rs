//! Folders that are made and removed.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::flush::sync_entry;
use super::place;

/// Makes `folder` and those above it that are missing, so that they last; returns those it made, the outermost first.
pub fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing = vec![];
    for above in folder.ancestors() {
        if above.as_os_str().is_empty() || above.is_dir() {
            break;
        }
        missing.push(above);
    }
    let mut made = vec![];
    for folder in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o777).create(folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => continue,
            result => result?,
        }
        made.push(folder.to_owned());
        let above = folder
            .parent()
            .filter(|above| !above.as_os_str().is_empty());
        sync_entry(above.unwrap_or(Path::new(".")))?;
    }
    Ok(made)
}

/// Removes a staging folder, its file `last` after all else: until then it is known for what it is, however this ends.
pub fn remove_tree(folder: &Path, last: &str) -> io::Result<()> {
    place::end(folder)?;
    let mut failed = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == last {
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
    match fs::remove_file(folder.join(last)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => fs::remove_dir(folder),
    }
}
