//! What a path is that is no AnnData file, by its name and its first bytes, and how one gets an AnnData file from it.
//!
//! Looked at only where a path was refused, to say what to do instead.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::access;
use crate::report::failure::NoFile;

/// Names of what comes in this field beside AnnData, with what each is and what makes an AnnData file of it.
/// The first that fits counts: `.tar.gz` and `.mtx.gz` stand before `.gz`.
const BY_NAME: &[(&[&str], &str)] = &[
    (
        &[".rds", ".rda", ".rdata", ".qs"],
        "an R object; write it as .h5ad in R, as with anndataR::write_h5ad",
    ),
    (
        &[".h5seurat"],
        "an h5Seurat file; convert it in R with SeuratDisk::Convert(file, dest = \"h5ad\")",
    ),
    (
        &[".loom"],
        "a loom file; convert it in Python with anndata.io.read_loom and write_h5ad",
    ),
    (
        &[".h5mu"],
        "a MuData file; take one modality in Python with mudata.read_h5ad(file, mod) and write_h5ad",
    ),
    (
        &[".zarr.zip", ".zip"],
        "a zip archive; unpack it first with unzip",
    ),
    (
        &[".tar", ".tar.gz", ".tgz"],
        "a tar archive; unpack it first with tar -xf",
    ),
    (
        &[".mtx", ".mtx.gz"],
        "a matrix in text; read its folder in Python with scanpy.read_10x_mtx and write_h5ad",
    ),
    (
        &[".gz"],
        "compressed with gzip; unpack it first with gunzip",
    ),
    (
        &[".csv", ".tsv", ".txt"],
        "a table in text; read it in Python with scanpy.read_csv and write_h5ad",
    ),
];

/// The first bytes of files of other kinds, with the same.
const BY_BYTES: &[(&[u8], &str)] = &[
    (
        b"\x1f\x8b",
        "compressed with gzip; unpack it first: rename it to end in .gz, then gunzip",
    ),
    (b"PK\x03\x04", "a zip archive; unpack it first with unzip"),
    (
        b"BZh",
        "compressed with bzip2; unpack it first with bunzip2",
    ),
    (b"\xfd7zXZ", "compressed with xz; unpack it first with unxz"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd; unpack it first with unzstd",
    ),
    (
        b"RDX",
        "an R object; write it as .h5ad in R, as with anndataR::write_h5ad",
    ),
    (b"CDF", "a NetCDF classic file, which anndata does not read"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself; get that with git lfs pull",
    ),
    (
        b"%%MatrixMarket",
        "a matrix in text; read its folder in Python with scanpy.read_10x_mtx and write_h5ad",
    ),
    (
        b"<",
        "a page of HTML or XML, such as the answer of a server in place of the file; download it again",
    ),
];

/// What stands at `path`, as in `a.loom is a loom file; convert it ...`; none where that is not known.
pub fn hint(path: &Path) -> Option<String> {
    let shown = path.display();
    let text = path.to_string_lossy();
    // One slash is enough: what normalises paths makes one of two. A single letter before the colon is no scheme.
    if let Some((scheme, _)) = text.split_once(":/")
        && scheme.len() > 1
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Some(format!(
            "{shown} is a URL; download the file and give its path"
        ));
    }
    let Ok(found) = fs::metadata(path) else {
        return near(path);
    };
    if found.is_dir() {
        return of_folder(path);
    }
    if found.is_file() && found.len() == 0 {
        return Some(format!(
            "{shown} is empty: it was not written or copied whole"
        ));
    }
    let name = text.to_lowercase();
    // The name goes first: an R object is compressed with gzip, and a loom file is HDF5.
    let by_name = BY_NAME
        .iter()
        .find(|(ends, _)| ends.iter().any(|end| name.ends_with(end)));
    let what = by_name.map(|(_, what)| *what).or_else(|| by_bytes(path))?;
    Some(format!("{shown} is {what}"))
}

/// The error of a path at which nothing stands: what it is, if that is no path, or a file whose name is like it.
pub fn missing(path: &Path) -> NoFile {
    let shown = path.display();
    let none = || format!("{shown} does not exist");
    NoFile {
        said: match fs::read_link(path) {
            Ok(to) => {
                let to = to.display();
                format!("{shown} is a link to {to}, which does not exist")
            }
            Err(_) => hint(path).unwrap_or_else(none),
        },
        file: path.to_owned(),
    }
}

/// A file whose name is like that of `path`, which does not exist.
fn near(path: &Path) -> Option<String> {
    /// Of Jaro and Winkler, 1 for the same name.
    const LEAST: f64 = 0.9;
    let name = path.file_name()?.to_str()?.to_lowercase();
    let names = fs::read_dir(access::folder_above(path)).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| name.ends_with(".h5ad") || name.ends_with(".zarr"));
    let scored = names.map(|known| {
        let lower = known.to_lowercase();
        // Also without its ending, which is forgotten the most.
        let stem = lower
            .rsplit_once('.')
            .map_or(lower.as_str(), |(stem, _)| stem);
        let like = |known| strsim::jaro_winkler(&name, known);
        (like(&lower).max(like(stem)), known)
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let like = path.with_file_name(&best.1);
    let shown = path.display();
    (best.0 >= LEAST).then(|| format!("{shown} does not exist; did you mean {}?", like.display()))
}

fn by_bytes(path: &Path) -> Option<&'static str> {
    let mut first = vec![];
    access::opened(path)
        .ok()?
        .take(64)
        .read_to_end(&mut first)
        .ok()?;
    let known = BY_BYTES.iter().find(|(bytes, _)| first.starts_with(bytes));
    known.map(|(_, what)| *what)
}

/// A folder that is no Zarr group: one of files, or of another layout.
fn of_folder(path: &Path) -> Option<String> {
    // What is wrong with a Zarr group is told where it is opened.
    let is_group = ["zarr.json", ".zgroup", ".zattrs", ".zmetadata"];
    if is_group.iter().any(|name| path.join(name).exists()) {
        return None;
    }
    let names = fs::read_dir(path).ok()?.flatten();
    let names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let shown = path.display().to_string();
    let shown = shown.trim_end_matches('/');
    for end in [".h5ad", ".zarr"] {
        match names.iter().filter(|name| name.ends_with(end)).count() {
            0 => {}
            1 => {
                return Some(format!(
                    "{shown} is a folder; give the file: {shown}/*{end}"
                ));
            }
            n => {
                return Some(format!(
                    "{shown} is a folder of {n} {end} files; give them as '{shown}/*{end}'"
                ));
            }
        }
    }
    let is_10x = names.iter().any(|name| name.starts_with("matrix.mtx"));
    Some(if is_10x {
        format!(
            "{shown} is a folder of 10x matrices; read it in Python with scanpy.read_10x_mtx and write_h5ad"
        )
    } else {
        format!("{shown} is a folder, and no Zarr group")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let said = hint(&path);
            if let Some(said) = &said {
                assert!(
                    said.starts_with(&format!("{} is ", path.display())),
                    "{said}"
                );
            }
            said.unwrap_or_default()
        };
        let hdf5 = b"\x89HDF\r\n\x1a\n";
        for (name, bytes, word) in [
            ("a.loom", &hdf5[..], "read_loom"),
            ("a.h5Seurat", hdf5, "SeuratDisk"),
            ("a.rds", b"\x1f\x8b\x08", "R object"),
            ("a.h5ad.gz", b"\x1f\x8b\x08", "gunzip"),
            ("a.h5ad", b"\x1f\x8b\x08", "gzip"),
            ("b.h5ad", b"PK\x03\x04", "unzip"),
            ("c.h5ad", b"<!DOCTYPE html>", "download it again"),
            (
                "d.h5ad",
                b"version https://git-lfs.github.com/spec/v1",
                "git lfs pull",
            ),
            ("e.h5ad", b"", "is empty"),
            ("a.csv", b"x,y", "read_csv"),
        ] {
            assert!(of(name, bytes).contains(word), "{name}");
        }
        assert_eq!(of("f.h5ad", hdf5), "");
    }

    #[test]
    fn urls_and_folders_have_a_hint() {
        for url in [
            "https://host/a.h5ad",
            "s3://bucket/a.zarr",
            "http:/host/a.h5ad",
        ] {
            assert!(hint(Path::new(url)).unwrap().contains("is a URL"), "{url}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(hint(path).unwrap().contains("no Zarr group"));
        fs::write(path.join("matrix.mtx.gz"), "").unwrap();
        assert!(hint(path).unwrap().contains("read_10x_mtx"));
        fs::write(path.join("a_shard_0.h5ad"), "").unwrap();
        fs::write(path.join("a_shard_1.h5ad"), "").unwrap();
        let said = hint(path).unwrap();
        assert!(
            said.contains("a folder of 2 .h5ad files; give them as '"),
            "{said}"
        );
        fs::write(path.join(".zgroup"), "").unwrap();
        assert_eq!(hint(path), None);
        assert_eq!(hint(Path::new("/nowhere/a.h5ad")), None);
        let said = hint(&path.join("a_shard_1")).unwrap();
        assert!(
            said.ends_with(&format!(
                "did you mean {}?",
                path.join("a_shard_1.h5ad").display()
            )),
            "{said}"
        );
        assert_eq!(hint(&path.join("other.h5ad")), None);
    }
}
