//! Writing a virtual dataset: rows stay in the datasets of other files that hold them, and are read there.
//!
//! The library wants all places of a dataset when it is made (HDF5 manual, `H5Pset_virtual`), so rows are noted as they
//! come, and the dataset is made at the end. Sources are named relative to the folder of the file, so that both can be
//! moved together.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::ffi::{self, Hyperslab, Mapping};
use super::{Array, Group, datasets, files};
use crate::store::spec::{ArraySpec, Attrs};

/// A virtual dataset that is being put together.
pub struct LinkedArray {
    group: Group,
    path: String,
    spec: ArraySpec,
    attrs: Attrs,
    /// Rows that follow each other in one dataset are one.
    parts: Vec<LinkedRows>,
    /// Rows so far.
    rows: u64,
}

/// Rows that lie in another dataset.
#[derive(PartialEq, Eq)]
struct LinkedRows {
    file: PathBuf,
    /// From its root, with a slash.
    path: Vec<u8>,
    rows: Range<u64>,
    /// Rows of that dataset.
    of: u64,
}

impl LinkedArray {
    /// A dataset to be made at `path`; nothing is written before [`LinkedArray::finish`].
    pub(super) fn new(group: &Group, path: &str, spec: &ArraySpec, attrs: &Attrs) -> LinkedArray {
        LinkedArray {
            group: group.clone(),
            path: path.into(),
            spec: spec.clone(),
            attrs: attrs.clone(),
            parts: vec![],
            rows: 0,
        }
    }

    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    /// Appends rows of a dataset of the same type in another file.
    pub fn link(&mut self, from: &Array, rows: Range<u64>) -> Result<()> {
        let (own, other) = (&self.spec, from.spec());
        ensure!(
            own.dtype == other.dtype && own.shape.get(1..) == other.shape.get(1..),
            "Rows of {} {:?} for rows of {} {:?}",
            other.dtype,
            other.shape,
            own.dtype,
            own.shape
        );
        self.rows += rows.end - rows.start;
        let id = from.id();
        let (file, path) = (files::name(id)?, ffi::object_path(id)?);
        if let Some(last) = self.parts.last_mut()
            && (&last.file, &last.path, last.rows.end) == (&file, &path, rows.start)
        {
            last.rows.end = rows.end;
            return Ok(());
        }
        self.parts.push(LinkedRows {
            file,
            path,
            rows,
            of: other.rows(),
        });
        Ok(())
    }

    /// Makes the dataset and returns its rows.
    pub fn finish(self) -> Result<u64> {
        let path = super::join(&self.group.path(), &self.path);
        self.create().with_context(|| format!("Create '{path}'"))?;
        Ok(self.rows)
    }

    fn create(&self) -> Result<()> {
        ensure!(
            self.rows == self.spec.rows(),
            "{} rows of the {} that were announced",
            self.rows,
            self.spec.rows()
        );
        let how = datasets::Creation {
            large_attrs: super::has_large(&self.attrs),
            sources: &self.mappings()?,
            ..Default::default()
        };
        let id = datasets::create(&self.group.id, &self.path, &self.spec, &how)?;
        super::write_attrs(&id, &self.attrs)?;
        id.close()
    }

    /// Where the rows of each part go, and where they are.
    fn mappings(&self) -> Result<Vec<Mapping>> {
        let home = self.group.home()?;
        let all = ffi::create_space(Some(&self.spec.shape), false)?;
        let mut row = 0;
        let parts = self.parts.iter().map(|part| {
            let (first, mut shape) = (row, self.spec.shape.clone());
            row += part.rows.end - part.rows.start;
            let onto = ffi::select_hyperslab(&all, &whole_rows(&shape, first..row))?;
            shape[0] = part.of;
            let of = ffi::create_space(Some(&shape), false)?;
            Ok(Mapping {
                file: source_name(relative(&part.file, &home)?.as_os_str().as_bytes()),
                path: source_name(&part.path),
                onto,
                of: ffi::select_hyperslab(&of, &whole_rows(&shape, part.rows.clone()))?,
            })
        });
        parts.collect()
    }
}

/// All places of some rows of a dataset.
fn whole_rows(shape: &[u64], rows: Range<u64>) -> Hyperslab {
    let mut slab = Hyperslab {
        start: vec![0; shape.len()],
        stride: vec![1; shape.len()],
        count: vec![1; shape.len()],
        block: shape.to_vec(),
    };
    (slab.start[0], slab.block[0]) = (rows.start, rows.end - rows.start);
    slab
}

/// The way from a folder to a file. A link that leads to the file is kept; those on the way to its folder are not, as
/// `..` behind one leads elsewhere.
fn relative(file: &Path, from: &Path) -> Result<PathBuf> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        bail!("{} names no file", file.display());
    };
    let here = Path::new(".");
    let real = |folder: &Path| {
        let folder = Some(folder).filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(here).canonicalize()
    };
    let (folder, from) = (real(folder)?, real(from)?);
    let (to, from): (Vec<_>, Vec<_>) = (folder.components().collect(), from.components().collect());
    let shared = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to[shared..].iter().copied()).collect();
    Ok(way.join(name))
}

/// The name of a file or of a dataset as that of a source, in which `%` begins the place of a number (HDF5 manual,
/// `H5Pset_virtual`).
fn source_name(name: &[u8]) -> Vec<u8> {
    let mut escaped = vec![];
    for byte in name {
        escaped.push(*byte);
        if *byte == b'%' {
            escaped.push(b'%');
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_relative_to_the_folder_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["plates", "out/deep"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("plates/a.h5ad"), "").unwrap();
        std::os::unix::fs::symlink(at("out/deep"), at("link")).unwrap();
        let way = |file: &str, from: &str| relative(&at(file), &at(from)).unwrap();
        assert_eq!(way("plates/a.h5ad", "plates"), Path::new("a.h5ad"));
        assert_eq!(way("plates/a.h5ad", ""), Path::new("plates/a.h5ad"));
        for from in ["out/deep", "link"] {
            assert_eq!(way("plates/a.h5ad", from), Path::new("../../plates/a.h5ad"));
        }
        assert_eq!(source_name(b"50%b.h5ad"), b"50%%b.h5ad");
    }
}
