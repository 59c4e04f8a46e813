//! Reading arrays: the decoder decodes chunks, the grid of chunks says which and where their rows go.
//!
//! Numbers come in this machine's byte order, whatever order they are stored in.
//!
//! `ranges` are rows, sorted and disjoint. An array whose type is not known opens, so that it can be listed, and each
//! read of it is an error that says why.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::attrs;
use super::decoder::{ChunkDecoder, chunk_shape};
use super::dtype;
use super::meta::Meta;
use super::text::unpadded;
use crate::resources::size_on_disk;
use crate::store::StorageInfo;
use crate::store::access::Bounds;
use crate::store::io::raw;
use crate::store::io::stored::{Recipe, Stored};
use crate::store::spec::{ArraySpec, Attrs, Dtype, Strings};

/// An array of either version, open for reading: its metadata, and what decodes its chunks.
pub struct Array {
    path: String,
    spec: ArraySpec,
    attrs: Attrs,
    /// Nothing where the array has no values, or none that can be read.
    chunked: Option<Box<ChunkDecoder>>,
    version: u8,
    /// How chunks are stored, as far as metadata tell.
    layout: StorageInfo,
}

impl Array {
    /// The array in `folder`. One that cannot be read opens as well; its type says why.
    pub(super) fn open(
        path: String,
        folder: &Path,
        meta: Meta,
        limits: (&Bounds, u64),
    ) -> Result<Array> {
        let shape = dtype::dims(&meta.json["shape"]).context("An array without a shape")?;
        let attrs = attrs::from_json(&meta.attrs);
        let version = meta.version;
        let layout = layout(&meta.json);
        let (dtype, chunked) = match ChunkDecoder::open(folder, &meta, &shape, limits) {
            Ok(opened) => opened,
            Err(why) => (Dtype::Unsupported(format!("{why:#}")), None),
        };
        let mut spec = ArraySpec::new(shape, dtype);
        // anndata's `None` is a scalar without a value.
        spec.null = spec.shape.is_empty() && attrs.text("encoding-type") == Some("null");
        Ok(Array {
            path,
            spec,
            attrs,
            chunked,
            version,
            layout,
        })
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    pub fn attrs(&self) -> Result<Attrs> {
        Ok(self.attrs.clone())
    }

    /// Fills `dst`, which is as long as these rows are. Not for text of any length, but text of a fixed width has its
    /// bytes.
    pub fn read_into(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        ensure!(self.spec.dtype != Dtype::String, "Text has no fixed width");
        self.check(ranges)?;
        match &self.chunked {
            Some(chunked) => chunked.read(ranges, dst),
            None => {
                let len = dst.len();
                ensure!(len == 0, "A read of {len} bytes from an empty array");
                Ok(())
            }
        }
    }

    /// Hands rows to `take` as their chunks are decoded, from many threads. False, and nothing was done, where chunks
    /// hold parts of rows.
    pub fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        self.check(std::slice::from_ref(&rows))?;
        match &self.chunked {
            Some(chunked) if self.spec.dtype != Dtype::String => chunked.each(rows, take),
            _ => Ok(false),
        }
    }

    /// The texts of these rows, one after another. Those of a fixed width come without their padding.
    pub fn read_strings(&self, ranges: &[Range<u64>]) -> Result<Strings> {
        self.check(ranges)?;
        ensure!(
            self.spec.dtype.is_string(),
            "It holds {}, not text",
            self.spec.dtype
        );
        let Some(chunked) = &self.chunked else {
            return Ok(Strings::default());
        };
        let size = chunked.item_type.size;
        if size == 0 {
            return chunked.texts(ranges);
        }
        let rows: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        let items = rows.checked_mul(self.spec.row_items());
        let len = items.and_then(|n| usize::try_from(n).ok()?.checked_mul(size));
        let mut bytes = vec![0; len.context("Its shape is too large")?];
        chunked.read(ranges, &mut bytes)?;
        Ok(bytes.chunks(size).map(unpadded).collect())
    }

    /// How values are stored; the bytes of the files are added up on the way.
    pub fn layout(&self) -> Result<StorageInfo> {
        let stored = self.chunked.as_ref().map(|chunked| stored(&chunked.folder));
        Ok(StorageInfo {
            bytes: stored.transpose()?,
            ..self.layout.clone()
        })
    }

    /// How chunks are decoded, in words for `--debug`.
    pub fn storage(&self) -> String {
        let version = self.version;
        let Some(chunked) = &self.chunked else {
            return format!("Zarr v{version}, no chunks");
        };
        format!("{}, Zarr v{version}", chunked.how())
    }

    /// What makes values of the stored chunks; the error says why zarrs does.
    pub fn recipe(&self) -> Result<Recipe> {
        let chunked = self.chunked.as_ref().context("It has no chunks")?;
        chunked.recipe()
    }

    /// Chunk number `chunk` of a list as it is stored; `None` where it has no chunks, or zarrs alone finds them.
    pub fn stored(&self, chunk: u64) -> Result<Option<Vec<Stored>>> {
        self.chunked
            .as_ref()
            .map_or(Ok(None), |chunked| chunked.stored(chunk))
    }

    /// Bytes of all chunks that hold the same rows, decoded: what a read takes at the least.
    pub fn chunk_bytes(&self) -> u64 {
        let Some(chunked) = &self.chunked else {
            return 1;
        };
        chunked.values_bytes(chunked.grid.kept_bytes())
    }

    /// Bytes that a read takes while it decodes.
    pub fn decode_bytes(&self) -> u64 {
        let decode = |chunked: &ChunkDecoder| chunked.values_bytes(chunked.grid.decode_bytes());
        self.chunked.as_deref().map_or(0, decode)
    }

    /// An error where these rows cannot be read, whatever is in the chunks.
    fn check(&self, ranges: &[Range<u64>]) -> Result<()> {
        if let Dtype::Unsupported(why) = &self.spec.dtype {
            bail!("This program cannot read it: {why}");
        }
        ensure!(!self.spec.null, "It has no value");
        self.spec.check_size()?;
        let rows = self.spec.rows();
        let end = ranges.last().map_or(0, |r| r.end);
        ensure!(end <= rows, "Row {end} of an array of {rows} rows");
        Ok(())
    }
}

/// Bytes of the chunks, or shards, in the folder of an array.
fn stored(folder: &Path) -> Result<u64> {
    const METADATA: [&str; 3] = [".zarray", ".zattrs", "zarr.json"];
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !METADATA.iter().any(|name| entry.file_name() == *name) {
            bytes += size_on_disk(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// The filters, chunks and byte order that the metadata name. The types of version 3 have no byte order, which is a
/// matter of its codecs.
fn layout(json: &Value) -> StorageInfo {
    let lists = [&json["filters"], &json["codecs"]];
    let listed = lists.into_iter().filter_map(Value::as_array).flatten();
    let codecs = listed.chain([&json["compressor"]]);
    let name = |codec: &Value| {
        codec["id"]
            .as_str()
            .or(codec["name"].as_str())
            .map(Into::into)
    };
    StorageInfo {
        chunk: chunk_shape(json).ok(),
        filters: codecs.filter_map(name).collect(),
        big_endian: json["dtype"]
            .as_str()
            .is_some_and(|name| name.starts_with('>')),
        files: None,
        bytes: None,
    }
}
