//! The paths that match a pattern, as Python's `glob` finds them, but `**` reaches folders at any depth.
//!
//! The crate `glob` matches one name at a time; folders are walked here, because it gives up at a name that is not
//! UTF-8. Bytes of such names are stood for by characters that no text has, in the pattern too.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};

/// What a pattern means to Python's `glob`: hidden files are asked for by name.
const PYTHON_GLOB: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Whether a path is a pattern.
pub fn is_pattern(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().any(|byte| b"*?[".contains(byte))
}

/// The paths that match, in no order.
///
/// # Errors
/// A pattern that cannot be read, a folder that cannot be listed.
pub fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        found = match part {
            Component::Normal(name) if name == "**" => folders_below(found),
            Component::Normal(name) if is_pattern(Path::new(name)) => {
                let pattern = Pattern::new(&as_text(name.as_bytes()))?;
                in_folders(&found, &pattern)?
            }
            part => {
                let joined = found.into_iter().map(|folder| folder.join(part));
                joined
                    .filter(|path| path.symlink_metadata().is_ok())
                    .collect()
            }
        };
    }
    Ok(found)
}

fn in_folders(folders: &[PathBuf], pattern: &Pattern) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for folder in folders.iter().filter(|folder| here(folder).is_dir()) {
        let context = || format!("List {}", here(folder).display());
        for entry in fs::read_dir(here(folder)).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            if pattern.matches_with(&as_text(name.as_bytes()), PYTHON_GLOB) {
                found.push(folder.join(name));
            }
        }
    }
    Ok(found)
}

/// Folders, and those in them at any depth, but for hidden ones and what links lead to.
fn folders_below(mut found: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        // One that may not be listed has nothing for us.
        for entry in fs::read_dir(here(&folder)).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !entry.file_name().as_bytes().starts_with(b".") {
                found.push(folder.join(entry.file_name()));
            }
        }
    }
    found
}

/// The folder that an empty path means.
fn here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// The bytes of a name as text, each that is not UTF-8 as a character for private use.
fn as_text(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text += chunk.valid();
        let stand_ins = chunk.invalid().iter();
        text.extend(stand_ins.filter_map(|byte| char::from_u32(0x10_ff00 + u32::from(*byte))));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn found(dir: &Path, pattern: &[u8]) -> Vec<Vec<u8>> {
        let found = matches(&dir.join(OsStr::from_bytes(pattern))).unwrap();
        let names = found.iter().map(|path| path.strip_prefix(dir).unwrap());
        let mut names: Vec<_> = names
            .map(|name| name.as_os_str().as_bytes().to_vec())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn names_of_any_bytes_are_matched() {
        let dir = tempfile::tempdir().unwrap();
        let names: [&[u8]; 5] = [
            b"a\xff1.h5ad",
            b"a\xc3\xa92.h5ad",
            b"b\n.h5ad",
            b".h.h5ad",
            b"x",
        ];
        for name in names {
            fs::write(dir.path().join(OsStr::from_bytes(name)), "").unwrap();
        }
        assert_eq!(found(dir.path(), b"*.h5ad"), [names[1], names[0], names[2]]);
        assert_eq!(found(dir.path(), b"a\xff*"), [names[0]]);
        assert_eq!(found(dir.path(), b"a?[12].h5ad"), [names[1], names[0]]);
        assert_eq!(found(dir.path(), b".*"), [names[3]]);
        assert!(found(dir.path(), b"y*").is_empty() && matches(Path::new("a[")).is_err());
    }

    #[test]
    fn folders_are_walked_part_by_part() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/b/c", "d", ".hidden"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("s1"), "").unwrap();
        }
        std::os::unix::fs::symlink("..", dir.path().join("d/up")).unwrap();
        let texts = |pattern: &[u8]| found(dir.path(), pattern);
        assert_eq!(texts(b"*/s?"), [b"d/s1".to_vec()]);
        assert_eq!(texts(b"**/s1"), [b"a/b/c/s1".to_vec(), b"d/s1".into()]);
        assert_eq!(texts(b"d/../*/s1"), [b"d/../d/s1".to_vec()]);
    }
}
