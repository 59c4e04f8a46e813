//! `--names`: the paths of the outputs, from a file.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::store::Format;

/// The paths in the file at `path`, one a line; where there is a NUL byte, each ends with one, so that a path may hold
/// a line break. `-` is standard input.
///
/// # Errors
/// A file that cannot be read, and a path that ends as another format does.
pub fn read(path: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let context = || format!("Cannot read --names {}", path.display());
    let mut text = vec![];
    if path == Path::new("-") {
        io::stdin().read_to_end(&mut text).with_context(context)?;
    } else {
        text = fs::read(path).with_context(context)?;
    }
    let names = split(&text);
    for name in &names {
        let (other, is_format) = (Format::of(name).ok(), Format::of(name).ok() == Some(format));
        ensure!(
            is_format || (format == Format::H5ad && other.is_none()),
            "--names has {}, but shards are .{} {}; see --format",
            name.display(),
            format.name(),
            if format == Format::H5ad {
                "files"
            } else {
                "stores"
            }
        );
    }
    Ok(names)
}

/// What is empty is no name.
fn split(text: &[u8]) -> Vec<PathBuf> {
    let by_nul = text.contains(&0);
    let names = text.split(|&byte| byte == if by_nul { 0 } else { b'\n' });
    let names = names.map(|name| match name.strip_suffix(b"\r") {
        Some(name) if !by_nul => name,
        _ => name,
    });
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8]) -> Vec<Vec<u8>> {
        let names = split(text).into_iter();
        names
            .map(|name| name.into_os_string().as_bytes().to_vec())
            .collect()
    }

    #[test]
    fn names_are_lines_or_end_with_nul() {
        assert_eq!(names(b"a b\r\n\n-c\n\xff"), [&b"a b"[..], b"-c", b"\xff"]);
        assert_eq!(names(b"a\nb\0c\r\0"), [&b"a\nb"[..], b"c\r"]);
        assert!(names(b"\n").is_empty());
    }

    #[test]
    fn names_end_as_the_format_does() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("names");
        fs::write(&list, "a.h5ad\nb.zarr").unwrap();
        let error = read(&list, Format::H5ad).unwrap_err().to_string();
        assert_eq!(
            error,
            "--names has b.zarr, but shards are .h5ad files; see --format"
        );
        let error = read(&list, Format::Zarr).unwrap_err().to_string();
        assert!(error.contains("a.h5ad, but shards are .zarr"), "{error}");
    }
}
