//! An array that several processes write, each some of its files: all count the same chunks, and each writes its own.
//!
//! Files hold whole chunks, so no file is written by two. What is not written here is passed over, unread.
//!
//! Chunks are numbered through the array, row by row of the grid. Of a list in chunks of 12 values, 30 values are 3
//! files: of two parts the first has rows 0..12, and the second 12..30.

use std::ops::Range;

use anyhow::{Result, ensure};

use super::cut::Cut;
use super::own::Own;
use super::shards::Shards;
use super::write::Appender;

impl Cut {
    /// Rows of a file of chunks, and chunks of as many rows.
    fn per_file_row(&self, shape: &[u64]) -> (u64, u64) {
        if self.axis == 0 {
            let rows = self.chunk.first().copied().unwrap_or(1);
            return (rows * self.per_file, self.per_file);
        }
        let along = (1..=self.axis).map(|axis| shape[axis].div_ceil(self.chunk[axis]));
        (1, along.fold(1, u64::saturating_mul))
    }
}

impl Appender {
    /// From now on writes the files of part `number` of `of` alone, counted from 0, and no metadata. Returns the rows in
    /// them.
    pub fn own_part(&mut self, number: u64, of: u64) -> Range<u64> {
        let shape = &self.spec.shape;
        let (rows, chunks) = self.cut.per_file_row(shape);
        let all = self.spec.rows();
        let files = u128::from(all.div_ceil(rows));
        let begin = |part: u64| (files * u128::from(part) / u128::from(of.max(1))) as u64;
        let (first, end) = (begin(number), begin(number + 1));
        // Chunks of the whole array: the last file may have fewer than the others.
        let most = match self.cut.axis {
            _ if self.spec.row_items() == 0 => 0, // no chunk holds rows of no width
            0 => all.div_ceil(self.cut.chunk.first().copied().unwrap_or(1)),
            _ => all * chunks,
        };
        self.own((first * chunks).min(most)..(end * chunks).min(most), false);
        first * rows..(end * rows).min(all)
    }

    /// From now on writes no chunk, and the metadata if it `describes` the array.
    pub fn own_nothing(&mut self, describes: bool) {
        self.own(0..0, describes);
    }

    fn own(&mut self, chunks: Range<u64>, describes: bool) {
        let shards = self.shards.take();
        self.shards = shards.map(|_| Shards::from(&self.folder, chunks.start));
        self.own = Some(Own::new(chunks, describes));
    }

    /// Passes over rows, none of which lies in a chunk that is written here.
    pub fn skip(&mut self, rows: u64) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let items = rows * self.spec.row_items();
        self.room(items)?;
        let from = self.chunks;
        self.items += items;
        let held = if self.cut.axis == 0 {
            let chunk = self.cut.items as u64;
            self.chunks = self.items / chunk;
            (self.items % chunk) as usize
        } else {
            let (_, chunks) = self.cut.per_file_row(&self.spec.shape);
            self.chunks += rows * chunks;
            0
        };
        // Chunks in which some of these rows lie, the one that is only begun too.
        let touched = from..self.chunks + u64::from(held > 0);
        let own = self.own.as_ref().map(|own| own.chunks.clone());
        let hit = own.map(|own| own.start.max(touched.start)..own.end.min(touched.end));
        ensure!(
            hit.is_some_and(|hit| hit.is_empty()),
            "Pass over rows of '{}' that are to be written",
            self.path
        );
        // What stands before the next row in its chunk, which others write.
        self.bytes.clear();
        self.bytes.resize(held * self.spec.dtype.size(), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::codec::compression::Compression;
    use crate::store::spec::{ArraySpec, Attrs, Dtype, Kind};
    use crate::store::zarr::cut::ChunkSizes;
    use crate::store::zarr::{Group, create};
    use crate::store::{Container, Rows, ZarrVersion};

    /// Files below a folder with what is in them.
    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = vec![];
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    found.push((name, fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    fn appender(group: &Group, spec: &ArraySpec) -> Appender {
        let mut out = group
            .create_array("a", spec, Rows::Known, &Attrs::default())
            .unwrap();
        let sizes = ChunkSizes {
            chunk: 12,
            ..group.sizes
        };
        out.cut = Cut::new(&spec.shape, Rows::Known, 2, &sizes, 20).unwrap();
        out.shards = (out.cut.per_file > 1).then(|| Shards::from(&out.folder, 0));
        out
    }

    proptest! {
        #[test]
        fn parts_write_the_files_of_one_process(
            shape in prop::collection::vec(1u64..12, 1..4),
            width in 0u64..9,
            parts in 1u64..7,
            zarr_shard in prop::option::of(1u64..60),
        ) {
            let shape = if width == 0 { vec![shape[0], 0] } else { shape };
            let container = Container {
                zarr_shard,
                zarr_version: ZarrVersion::V3,
                ..Container::ZARR.compressed(Compression::None)
            };
            let dir = tempfile::tempdir().unwrap();
            let new = |name: &str| create(&dir.path().join(name), container).unwrap();
            let spec = ArraySpec::new(shape.clone(), Dtype::native(Kind::Uint, 2));
            let row = spec.row_bytes();
            let bytes: Vec<u8> = (0..shape[0] * row).map(|i| i as u8).collect();
            let of = |rows: Range<u64>| &bytes[(rows.start * row) as usize..(rows.end * row) as usize];
            let mut whole = appender(&new("whole"), &spec);
            whole.append(&bytes).unwrap();
            whole.finish().unwrap();
            let (mut next, mut found) = (0, vec![]);
            for part in 0..parts {
                let name = format!("part-{part}");
                let mut out = appender(&new(&name), &spec);
                let own = out.own_part(part, parts);
                prop_assert_eq!(own.start, next);
                next = own.end;
                // Rows come a few more than are its own, as those of matrices do.
                let from = own.start.saturating_sub(part % 3);
                out.skip(if own.is_empty() { shape[0] } else { from }).unwrap();
                if !own.is_empty() {
                    out.append(of(from..own.end)).unwrap();
                    out.skip(shape[0] - own.end).unwrap();
                }
                out.finish().unwrap();
                found.extend(files(&dir.path().join(name).join("a")));
            }
            prop_assert_eq!(next, shape[0]);
            let mut described = appender(&new("metadata"), &spec);
            described.own_nothing(true);
            described.skip(shape[0]).unwrap();
            described.finish().unwrap();
            let metadata = files(&dir.path().join("metadata/a"));
            prop_assert_eq!(metadata.len(), 1);
            found.extend(metadata);
            found.sort();
            prop_assert_eq!(files(&dir.path().join("whole/a")), found);
        }
    }

    #[test]
    fn rows_that_are_to_be_written_are_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let new = |name: &str| create(&dir.path().join(name), Container::ZARR).unwrap();
        let spec = ArraySpec::new(vec![30], Dtype::native(Kind::Uint, 2));
        let mut out = appender(&new("one"), &spec);
        assert_eq!(out.own_part(1, 2), 12..30);
        assert!(out.skip(13).is_err());
        let mut out = appender(&new("two"), &spec);
        out.own_part(1, 2);
        out.skip(12).unwrap();
        out.append(&[0; 12]).unwrap();
        assert!(out.skip(12).is_err());
    }
}
