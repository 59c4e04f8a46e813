//! Writing arrays of Zarr.
//!
//! A chunk is a run of consecutive elements, so a stream of rows is cut without being rearranged. Chunks are encoded and
//! written in the thread pool, each to a file of its own or to a Zarr shard; the metadata, which make the array exist,
//! are written last.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use rustix::fs::Advice;
use serde_json::{Map, Value};

use super::codec::Codec;
use super::count::Count;
use super::cut::{Cut, MAX_ROW_BYTES};
use super::describe::{self, Description};
use super::shards::{Shards, Slot, create_file};
use super::text::TEXT_BYTES;
use super::{Group, dtype, meta};
use crate::report::failure::in_element;
use crate::store::io::assembly::Assembly;
use crate::store::io::lanes::Busy;
use crate::store::io::work;
use crate::store::spec::{ArraySpec, Dtype, Strings};
use crate::store::{Rows, Take, ZarrVersion};

/// The threads that encode and write a chunk, which takes its size again, and half of that meanwhile.
static WRITING: Busy = Busy::new();
/// How many of them are enough for any disk; of many threads a fifth.
const WRITERS: usize = 8;

pub struct Appender {
    folder: PathBuf,
    path: String,
    version: ZarrVersion,
    spec: ArraySpec,
    rows: Rows,
    attrs: Map<String, Value>,
    codec: Codec,
    cut: Cut,
    /// Where files hold many chunks.
    shards: Option<Shards>,
    /// Where nothing is written, but files are counted.
    count: Option<Count>,
    /// The start of a chunk that is not complete.
    bytes: Vec<u8>,
    texts: Strings,
    /// Elements that were appended, and chunks that were written.
    items: u64,
    chunks: u64,
}

impl Appender {
    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    /// For the array at `place`, whose folder is made before the first chunk is written.
    pub(super) fn new(
        place: &Group,
        spec: &ArraySpec,
        rows: Rows,
        attrs: Map<String, Value>,
    ) -> Result<Appender> {
        let container = &place.root.container;
        let (version, folder) = (container.zarr_version, place.folder());
        describe::check(version, spec)?;
        let item = match spec.dtype {
            Dtype::String => TEXT_BYTES,
            _ => spec.dtype.size(),
        };
        let cut = Cut::new(&spec.shape, rows, item, &place.sizes, MAX_ROW_BYTES)?;
        Ok(Appender {
            version,
            attrs,
            codec: Codec::new(container.compression(), spec.dtype.size().max(1))?,
            shards: (cut.per_file > 1).then(|| Shards::new(&folder)),
            count: place.root.count.clone(),
            cut,
            folder,
            path: place.path(),
            spec: spec.clone(),
            rows,
            bytes: vec![],
            texts: Strings::default(),
            items: 0,
            chunks: 0,
        })
    }

    /// Counts its files, as far as they are known before its rows.
    pub(super) fn count(&self) {
        let Some(count) = &self.count else {
            return;
        };
        if self.rows == Rows::Growing {
            count.begin_unknown();
        } else if !self.spec.null {
            count.chunks(self.cut.files(&self.spec.shape));
        }
    }

    /// Ends an array that is counted; of one that grows only now the rows are known.
    fn end_count(&mut self, count: &Count) -> u64 {
        let per_row = self.spec.row_items();
        if self.rows == Rows::Known {
            return self.spec.rows();
        }
        let rows = self.items.checked_div(per_row).unwrap_or(0);
        if let Some(first) = self.spec.shape.first_mut() {
            *first = rows;
        }
        count.end_unknown();
        count.chunks(self.cut.files(&self.spec.shape));
        rows
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.spec.dtype.size();
        ensure!(size > 0, "Append bytes to text '{}'", self.path);
        let whole = bytes.len().is_multiple_of(size);
        ensure!(whole, "Append a part of an element to '{}'", self.path);
        self.room((bytes.len() / size) as u64)?;
        self.items += (bytes.len() / size) as u64;
        if self.count.is_some() {
            return Ok(());
        }
        let chunk = self.cut.items.saturating_mul(size);
        let missing = match self.bytes.len() {
            0 => 0,
            held => bytes.len().min(chunk - held),
        };
        let (head, rest) = bytes.split_at(missing);
        self.bytes.extend_from_slice(head);
        let mut pieces = vec![];
        if self.bytes.len() == chunk {
            pieces.push(self.bytes.as_slice());
        }
        let mut tail: &[u8] = &[];
        for piece in self.cut.pieces(rest.len() / size) {
            let piece = &rest[piece.start * size..piece.end * size];
            if self.cut.axis == 0 && piece.len() < chunk {
                tail = piece
            } else {
                pieces.push(piece)
            }
        }
        self.write(pieces.len(), |i| padded(pieces[i], chunk))?;
        self.chunks += pieces.len() as u64;
        if self.bytes.len() == chunk {
            self.bytes.clear();
        }
        if self.bytes.capacity() < chunk && !tail.is_empty() {
            self.bytes.reserve_exact(chunk);
        }
        self.bytes.extend_from_slice(tail);
        Ok(())
    }

    /// Whether what comes next is stored in the same way here and there.
    pub fn is_as(&self, other: &Appender) -> bool {
        let how = |a: &Appender| (a.rows, a.items, a.chunks, a.cut.per_file, a.codec.v2());
        how(self) == how(other)
            && self.spec == other.spec
            && self.cut.chunk == other.cut.chunk
            && self.bytes == other.bytes
    }

    /// Appends `count` rows to this array and to `others`, each of which [is as](Appender::is_as) this one. `give` hands
    /// them to what it is called with, in parts and from many threads. False, and nothing was appended, where chunks are
    /// no whole rows or `give` says so.
    pub fn append_parts(
        &mut self,
        others: &mut [&mut Appender],
        count: u64,
        give: impl FnOnce(Take) -> Result<bool>,
    ) -> Result<bool> {
        let (size, row) = (
            self.cut.items * self.spec.dtype.size(),
            self.spec.row_bytes(),
        );
        if size == 0 || row == 0 || self.cut.axis > 0 || self.count.is_some() {
            return Ok(false);
        }
        let items = count * self.spec.row_items();
        self.room(items)?;
        let head = std::mem::take(&mut self.bytes);
        let before = head.len() as u64;
        let end = before + count * row;
        let all: Vec<&Appender> = others.iter().map(|other| &**other).collect();
        let write =
            |chunk: u64, bytes: &[u8]| self.write_to_all(&all, self.chunks + chunk, bytes.into());
        let assembly = Assembly::new(size, head, &write)?;
        let most = (rayon::current_num_threads() / 5).max(WRITERS);
        let given = give(&|first, bytes| {
            // While it waits a thread holds its part alone, else it may come to hold a chunk.
            WRITING.wait(most);
            assembly.put(before + first * row, bytes)
        })?;
        let open = assembly.finish(if given { end } else { before });
        self.bytes = open.with_context(|| in_element("Write", &self.path))?;
        if given {
            self.items += items;
            self.chunks += end / size as u64;
            for other in others {
                (other.items, other.chunks) = (self.items, self.chunks);
                other.bytes.clone_from(&self.bytes);
            }
        }
        Ok(given)
    }

    pub fn append_strings(&mut self, strings: &Strings) -> Result<()> {
        ensure!(
            self.spec.dtype == Dtype::String,
            "Append text to '{}', which holds {}",
            self.path,
            self.spec.dtype
        );
        self.room(strings.len() as u64)?;
        self.items += strings.len() as u64;
        if self.count.is_some() {
            return Ok(());
        }
        strings.iter().for_each(|text| self.texts.push(text));
        let mut pieces = self.cut.pieces(self.texts.len());
        let incomplete = |p: &mut Range<usize>| self.cut.axis == 0 && p.len() < self.cut.items;
        let tail = pieces.pop_if(incomplete);
        self.write(pieces.len(), |i| self.vlen(pieces[i].clone()))?;
        self.chunks += pieces.len() as u64;
        let tail = tail.unwrap_or(0..0);
        if !pieces.is_empty() {
            self.texts = tail.map(|i| self.texts.get(i)).collect();
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<u64> {
        if let Some(count) = self.count.take() {
            return Ok(self.end_count(&count));
        }
        let per_row = self.spec.row_items();
        let rows = match self.items.checked_div(per_row) {
            Some(rows) => rows,
            // Rows of no width cannot be counted.
            None => self.spec.rows(),
        };
        let growing = self.rows == Rows::Growing;
        ensure!(
            per_row > 0 || !growing,
            "Rows of no width cannot grow: '{}'",
            self.path
        );
        let whole = rows * per_row == self.items;
        let done = self.spec.null || (whole && (growing || rows == self.spec.rows()));
        ensure!(
            done,
            "Wrote {} elements to '{}', not {} rows",
            self.items,
            self.path,
            self.spec.rows()
        );
        if growing
            && let (Some(n), Some(chunk)) =
                (self.spec.shape.first_mut(), self.cut.chunk.first_mut())
        {
            *n = rows;
            // The only chunk needs no padding.
            if self.chunks == 0 && self.cut.axis == 0 {
                *chunk = rows.clamp(1, *chunk);
                self.cut.items = usize::try_from(dtype::items(&self.cut.chunk).unwrap_or(0))?;
            }
        }
        if !self.bytes.is_empty() {
            let chunk = self.cut.items * self.spec.dtype.size();
            self.write(1, |_| padded(&self.bytes, chunk))?;
            self.chunks += 1;
        }
        if self.texts.len() > 0 {
            self.write(1, |_| self.vlen(0..self.texts.len()))?;
            self.chunks += 1;
        }
        self.describe(growing)?;
        Ok(rows)
    }

    /// Ends what is not full and writes the metadata.
    fn describe(&mut self, growing: bool) -> Result<()> {
        let shards = self.shards.take();
        let is_sharded = shards.is_some();
        let is_short = growing && self.cut.axis == 0 && self.chunks <= self.cut.per_file;
        if is_short {
            self.cut.per_file = self.chunks.max(1);
        }
        if let Some(shards) = shards {
            shards.finish(is_short.then_some(self.cut.per_file))?;
        }
        let shard = is_sharded.then(|| self.cut.file_shape());
        let description = Description {
            spec: &self.spec,
            chunk: &self.cut.chunk,
            shard: shard.as_deref(),
            codec: &self.codec,
        };
        match self.version {
            ZarrVersion::V2 => {
                if !self.attrs.is_empty() {
                    let attrs = Value::Object(std::mem::take(&mut self.attrs));
                    meta::write_json(&self.folder.join(meta::ATTRS), &attrs)?;
                }
                meta::write_json(&self.folder.join(meta::ARRAY), &description.v2()?)
            }
            ZarrVersion::V3 => {
                meta::write_json(&self.folder.join(meta::V3), &description.v3(&self.attrs)?)
            }
        }
    }

    /// An error when more elements come than were announced.
    fn room(&self, items: u64) -> Result<()> {
        ensure!(
            !self.spec.null,
            "Append to '{}', which holds no value",
            self.path
        );
        if self.rows == Rows::Known {
            let most = dtype::items(&self.spec.shape).context("Its shape is too large")?;
            let all = self.items + items;
            ensure!(
                all <= most,
                "Append {all} elements to '{}', which has {most}",
                self.path
            );
        }
        Ok(())
    }

    /// Encodes and writes the next `count` chunks.
    fn write<'a, F>(&'a self, count: usize, chunk: F) -> Result<()>
    where
        F: Fn(usize) -> Result<Cow<'a, [u8]>> + Sync,
    {
        (0..count)
            .into_par_iter()
            .try_for_each(|i| self.write_chunk(self.chunks + i as u64, chunk(i)?))
    }

    /// Encodes and writes chunk `number`.
    fn write_chunk(&self, number: u64, chunk: Cow<[u8]>) -> Result<()> {
        self.write_to_all(&[], number, chunk)
    }

    /// Encodes chunk `number` and writes it to this array and to others.
    fn write_to_all(&self, others: &[&Appender], number: u64, chunk: Cow<[u8]>) -> Result<()> {
        let write = || -> Result<()> {
            work::encoded();
            let bytes = self.codec.encode(chunk)?;
            let mut others = others.iter();
            others.try_for_each(|other| other.store(number, Cow::Borrowed(&bytes)))?;
            self.store(number, bytes)
        };
        let written = WRITING.with(write);
        written.with_context(|| {
            format!(
                "Write chunk {number}, in {}, of '{}'",
                self.key(number),
                self.path
            )
        })
    }

    /// The file of chunk `number`, or the Zarr shard that it is in.
    fn key(&self, number: u64) -> String {
        let file = self.cut.file(number, &self.spec.shape);
        describe::key(self.version, &file)
    }

    fn slot(&self, number: u64, key: String) -> Slot {
        let growing = self.rows == Rows::Growing;
        let (at, come) = self.cut.in_file(number, &self.spec.shape, growing);
        let of = self.cut.per_file;
        Slot { key, at, of, come }
    }

    /// Writes chunk `number` as it is encoded.
    fn store(&self, number: u64, encoded: Cow<[u8]>) -> Result<()> {
        let key = self.key(number);
        if let Some(shards) = &self.shards {
            return shards.put(number, self.slot(number, key), encoded);
        }
        work::written(encoded.len());
        let mut file = create_file(&self.folder.join(&key))?;
        file.write_all(&encoded)?;
        // A hint, so that what flushes the folder at the end waits less: the kernel begins to write what is dirty.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }

    /// A chunk of text as numcodecs' `vlen-utf8` stores it: the number of texts, then for each its bytes and the
    /// text itself; numbers are u32, little-endian.
    fn vlen(&self, texts: Range<usize>) -> Result<Cow<'static, [u8]>> {
        let padding = self.cut.items - texts.len();
        let mut out = vec![];
        out.extend(u32::try_from(self.cut.items)?.to_le_bytes());
        for i in texts {
            let text = self.texts.get(i);
            ensure!(
                std::str::from_utf8(text).is_ok(),
                "Text {i} of a chunk is not UTF-8"
            );
            let len = u32::try_from(text.len()).context("A text of over 4 GiB")?;
            out.extend(len.to_le_bytes());
            out.extend(text);
        }
        out.resize(out.len() + 4 * padding, 0);
        Ok(out.into())
    }
}

/// A chunk at an edge is stored whole, its end filled with zeros.
fn padded(piece: &[u8], chunk: usize) -> Result<Cow<'_, [u8]>> {
    let mut piece = Cow::Borrowed(piece);
    if piece.len() < chunk {
        piece.to_mut().resize(chunk, 0);
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::slice::from_ref;
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::codec::compression::Compression;
    use crate::store::spec::{Attrs, Kind, NATIVE};
    use crate::store::zarr::cut::Sizes;
    use crate::store::zarr::{Array, Node, create, open};
    use crate::store::{Access, Container};

    fn array(group: &Group, name: &str) -> Array {
        match group.get(name).unwrap() {
            Some(Node::Array(array)) => array,
            _ => panic!("No array '{name}'"),
        }
    }

    /// All of the array `a` as zarrs reads it.
    fn by_zarrs(path: &Path) -> Vec<u8> {
        let store = Arc::new(zarrs::filesystem::FilesystemStore::new(path).unwrap());
        let array = zarrs::array::Array::open(store, "/a").unwrap();
        let all = array.subset_all();
        let bytes: zarrs::array::ArrayBytes = array.retrieve_array_subset(&all).unwrap();
        bytes.into_fixed().unwrap().into_owned()
    }

    /// An appender that cuts an array into small chunks.
    fn small(group: &Group, spec: &ArraySpec, rows: Rows) -> Appender {
        let mut out = group
            .create_array("a", spec, rows, &Attrs::default())
            .unwrap();
        let item = spec.dtype.size().max(1);
        let sizes = Sizes {
            chunk: 12,
            ..group.sizes
        };
        out.cut = Cut::new(&spec.shape, rows, item, &sizes, 20).unwrap();
        out.shards = (out.cut.per_file > 1).then(|| Shards::new(&out.folder));
        out
    }

    /// Zarr of either version, with Zarr shards of a few chunks, or without.
    fn containers() -> impl Strategy<Value = Container> {
        let compression = prop::sample::select(vec![
            Compression::None,
            Compression::Gzip(1),
            Compression::Lz4,
            Compression::Zstd(3),
        ]);
        let shard = prop::option::of(1u64..80);
        (compression, shard, any::<bool>()).prop_map(|(compression, zarr_shard, v3)| Container {
            zarr_shard,
            zarr_version: if v3 || zarr_shard.is_some() {
                ZarrVersion::V3
            } else {
                ZarrVersion::V2
            },
            ..Container::ZARR.compressed(compression)
        })
    }

    proptest! {
        /// zarrs and this program read what is written.
        #[test]
        fn any_shape_comes_back(
            shape in prop::collection::vec(1u64..7, 1..4),
            size in prop::sample::select(vec![1usize, 2, 4]),
            batches in prop::collection::vec(0u64..4, 8),
            growing: bool,
            container in containers(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.zarr");
            let rows = if growing { Rows::Growing } else { Rows::Known };
            let group = create(&path, container).unwrap();
            let mut spec = ArraySpec::new(shape.clone(), Dtype::native(Kind::Uint, size));
            let bytes: Vec<u8> = (0..shape[0] * spec.row_bytes()).map(|i| i as u8).collect();
            if growing {
                spec.shape[0] = 0;
            }
            let mut out = small(&group, &spec, rows);
            let mut rest = bytes.as_slice();
            for batch in batches {
                let (head, tail) = rest.split_at(rest.len().min((batch * spec.row_bytes()) as usize));
                out.append(head).unwrap();
                rest = tail;
            }
            out.append(rest).unwrap();
            prop_assert_eq!(out.finish().unwrap(), shape[0]);
            let array = array(&open(&path, &Access::default()).unwrap(), "a");
            prop_assert_eq!(&array.spec().shape, &shape);
            let mut back = vec![0; bytes.len()];
            array.read_into(from_ref(&(0..shape[0])), &mut back).unwrap();
            prop_assert_eq!(&back, &bytes);
            prop_assert_eq!(by_zarrs(&path), bytes);
        }

        #[test]
        fn any_texts_come_back(
            shape in prop::collection::vec(1u64..7, 0..4),
            texts in prop::collection::vec("[a😀é]{0,3}", 216),
            batches in prop::collection::vec(0usize..4, 8),
            growing: bool,
            container in containers(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.zarr");
            let group = create(&path, container).unwrap();
            let spec = ArraySpec::new(shape, Dtype::String);
            let growing = growing && !spec.shape.is_empty();
            let rows = if growing { Rows::Growing } else { Rows::Known };
            let per_row = spec.row_items() as usize;
            let texts = &texts[..spec.rows() as usize * per_row];
            let block = |texts: &[String]| texts.iter().map(String::as_bytes).collect::<Strings>();
            let mut out = small(&group, &spec, rows);
            let mut rest = texts;
            for batch in batches {
                let (head, tail) = rest.split_at(rest.len().min(batch * per_row));
                out.append_strings(&block(head)).unwrap();
                rest = tail;
            }
            out.append_strings(&block(rest)).unwrap();
            prop_assert_eq!(out.finish().unwrap(), spec.rows());
            let array = array(&open(&path, &Access::default()).unwrap(), "a");
            prop_assert_eq!(array.read_strings(from_ref(&(0..spec.rows()))).unwrap(), block(texts));
            for (i, row) in texts.chunks(per_row).enumerate() {
                let i = i as u64;
                prop_assert_eq!(array.read_strings(from_ref(&(i..i + 1))).unwrap(), block(row));
            }
        }
    }

    #[test]
    fn what_is_not_as_announced_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let group = create(&dir.path().join("a.zarr"), Container::ZARR).unwrap();
        let spec = ArraySpec::new(vec![3, 2], Dtype::native(Kind::Int, 2));
        let new = |name, rows| {
            group
                .create_array(name, &spec, rows, &Attrs::default())
                .unwrap()
        };
        let mut short = new("short", Rows::Known);
        short.append(&[0; 8]).unwrap();
        assert!(short.finish().is_err());
        assert!(group.get("short").unwrap().is_none());
        assert!(new("long", Rows::Known).append(&[0; 16]).is_err());
        assert!(new("part", Rows::Known).append(&[0; 3]).is_err());
        let mut ragged = new("ragged", Rows::Growing);
        ragged.append(&[0; 6]).unwrap();
        assert!(ragged.finish().is_err());
        let mut latin = small(&group, &ArraySpec::new(vec![1], Dtype::String), Rows::Known);
        assert!(
            latin
                .append_strings(&[b"\xe9".as_slice()].into_iter().collect())
                .is_err()
        );
    }

    #[test]
    fn a_growing_array_of_one_chunk_is_not_padded() {
        let dir = tempfile::tempdir().unwrap();
        let group = create(&dir.path().join("a.zarr"), Container::ZARR).unwrap();
        let dtype = Dtype::Number {
            kind: Kind::Float,
            size: 8,
            order: NATIVE,
        };
        let spec = ArraySpec::new(vec![0], dtype);
        let mut out = group
            .create_array("a", &spec, Rows::Growing, &Attrs::default())
            .unwrap();
        out.append(&[1; 24]).unwrap();
        assert_eq!(out.finish().unwrap(), 3);
        let zarray = meta::read_json(&dir.path().join("a.zarr/a/.zarray"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (&zarray["shape"], &zarray["chunks"]),
            (&json!([3]), &json!([3]))
        );
    }
}
