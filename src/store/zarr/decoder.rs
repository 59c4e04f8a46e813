//! Decoding the chunks of an array: by `direct`, which reads what it can past zarrs, else by zarrs.
//!
//! A chunk of a sharded array is an inner chunk: its bytes alone are read, and the index of its shard once.
//!
//! The grid asks for a chunk by its chunk row and its column among the chunks of that row. From that follow its place
//! in the grid of chunks (`position`), the file that holds it and the bytes there (`file_of`), and its values (`chunk`,
//! and `decode` for text). Sizes that a shard claims of its chunks are checked before zarrs sees them, which would take
//! as much memory.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use zarrs::array::{
    Array as Chunks, ArrayBytes, ArrayMetadata, ArrayShardedExt, ArrayShardedReadableExt,
    ArrayShardedReadableExtCache, CodecOptions,
};
use zarrs::storage::byte_range::ByteRange;

use super::decoded::Decoded;
use super::direct::{self, Direct};
use super::dtype::{self, ZarrType};
use super::meta::Meta;
use super::text::{PLACE, TEXT_BYTES, Texts, utf32_to_utf8};
use crate::codec;
use crate::store::access::Bounds;
use crate::store::io::chunks::{Grid, KeptChunks};
use crate::store::io::raw;
use crate::store::io::stored::{Recipe, Stored};
use crate::store::panics::guarded;
use crate::store::spec::{Dtype, Kind};

/// What decodes the chunks of an array, and what is kept of them.
pub struct ChunkDecoder {
    /// How a value is stored.
    pub item_type: ZarrType,
    pub shape: Vec<u64>,
    /// The shapes of what a file holds (a chunk or a shard) and of what is decoded at a time.
    file: Vec<u64>,
    chunk: Vec<u64>,
    pub folder: PathBuf,
    bounds: Bounds,
    /// Bytes that decoded chunks may take.
    memory: u64,
    /// Which rows and columns are in which chunk. Of text it counts a number for each, its place.
    pub grid: Grid,
    chunks: Chunks<Decoded>,
    /// The indexes of shards, as zarrs keeps them.
    shards: ArrayShardedReadableExtCache,
    /// What decodes a chunk past zarrs, or why none does.
    direct: Result<Direct, String>,
    options: CodecOptions,
    kept: KeptChunks,
    /// The chunk row of text that was decoded last, by its number, where the next read may want it.
    pub texts: Mutex<Option<(u64, Arc<Texts>)>>,
}

impl ChunkDecoder {
    /// The type of an array, and what decodes its chunks if it has values; the error says why it cannot be read.
    pub fn open(
        folder: &Path,
        meta: &Meta,
        shape: &[u64],
        (bounds, memory): (&Bounds, u64),
    ) -> Result<(Dtype, Option<Box<ChunkDecoder>>)> {
        let item_type = dtype::of(meta)?;
        // numpy's `U` is text of any length to everyone else.
        let dtype = match &item_type.dtype {
            Dtype::FixedString { .. } if !item_type.utf32.is_empty() => Dtype::String,
            dtype => dtype.clone(),
        };
        if shape.contains(&0) {
            return Ok((dtype, None));
        }
        let chunks = zarrs_array(folder, meta, &item_type, memory)?;
        let file = chunk_shape(&meta.json)?;
        let mut chunk = file.clone();
        if let Some(shape) = chunks.effective_subchunk_shape() {
            chunk = shape.iter().map(|n| n.get()).collect();
        }
        let direct = Direct::of(meta, &item_type).map_err(|why| why.to_string());
        let item = match item_type.size {
            0 => PLACE,
            size => size,
        };
        // A scalar is a row.
        let grid = match shape {
            [] => Grid::new(&[1], &[1], item, memory)?,
            _ => Grid::new(shape, &chunk, item, memory)?,
        };
        let chunked = ChunkDecoder {
            item_type,
            memory,
            shape: shape.to_vec(),
            file,
            folder: folder.into(),
            bounds: bounds.clone(),
            chunk,
            grid,
            shards: ArrayShardedReadableExtCache::new(&chunks),
            chunks,
            direct,
            // Chunks are decoded in parallel; one by itself is not.
            options: CodecOptions::default().with_concurrent_target(1),
            kept: KeptChunks::default(),
            texts: Mutex::default(),
        };
        Ok((dtype, Some(Box::new(chunked))))
    }

    /// What is held where the grid, which has a place for each text, counts so many bytes.
    pub fn values_bytes(&self, bytes: u64) -> u64 {
        match self.item_type.size {
            0 => bytes / PLACE as u64 * TEXT_BYTES as u64,
            _ => bytes,
        }
    }

    /// How chunks are decoded, for people.
    pub fn how(&self) -> String {
        let inner = if self.shards.array_is_sharded() {
            "inner "
        } else {
            ""
        };
        let how = match &self.direct {
            Ok(_) => "Direct".into(),
            Err(why) => format!("Library ({why})"),
        };
        format!("{how}, {inner}chunks of shape {:?}", self.chunk)
    }

    /// Fills `dst` with the rows in `ranges`, which are sorted and disjoint.
    pub fn read(&self, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        let decode = |row, column, out: &mut [u8]| self.chunk(row, column, out);
        self.grid.read(ranges, dst, &self.kept, decode)
    }

    /// Hands `rows` to `take` in parts, from many threads, as their chunks are decoded. False, and nothing done, where
    /// a chunk holds parts of rows.
    pub fn each(&self, rows: Range<u64>, take: raw::Take) -> Result<bool> {
        let decode = |row, column, out: &mut [u8]| self.chunk(row, column, out);
        self.grid.each(rows, &self.kept, decode, take)
    }

    /// Makes `out` a whole chunk of values of a fixed width, from its chunk row and its place in it.
    fn chunk(&self, row: u64, column: usize, out: &mut [u8]) -> Result<()> {
        let at = self.position(row, column);
        let mut decode = || {
            let file = self.file_of(&at)?;
            if let Ok(direct) = &self.direct
                && self.read_direct(direct, &file, out)?
            {
                return Ok(());
            }
            let decoded = self.decode_by_zarrs(&at)?.into_fixed()?;
            let (want, len) = (out.len(), decoded.len());
            ensure!(len == want, "A chunk of {len} bytes, not {want}");
            out.copy_from_slice(&decoded);
            utf32_to_utf8(out, &self.item_type)
        };
        decode().with_context(|| format!("Chunk {at:?}"))
    }

    /// False where it is not known what holds the chunk, so that zarrs is to look.
    fn read_direct(&self, direct: &Direct, file: &ChunkFile, chunk: &mut [u8]) -> Result<bool> {
        let stored = match file {
            ChunkFile::Missing => None,
            ChunkFile::Whole(path) => Some((path, None)),
            ChunkFile::Part(path, start, len) => Some((path, Some((*start, *len)))),
            ChunkFile::Unknown => return Ok(false),
        };
        let Some((path, part)) = stored else {
            let fill = self.chunks.fill_value().as_ne_bytes();
            let fits = fill.len() == self.item_type.size;
            if fits {
                raw::repeat(fill, chunk);
            }
            return Ok(fits);
        };
        // What fails here is not given to zarrs: it takes as much memory as a damaged chunk says that it needs.
        direct.read(&opened(path, part)?, chunk)?;
        Ok(true)
    }

    /// What makes values of its chunks; the error says why zarrs does.
    pub fn recipe(&self) -> Result<Recipe> {
        match &self.direct {
            Ok(direct) => Ok(Recipe {
                rows: self.grid.chunk_rows(),
                filters: direct.filters().to_vec(),
                fill: self.chunks.fill_value().as_ne_bytes().to_vec(),
            }),
            Err(why) => bail!("zarrs reads it, because {why}"),
        }
    }

    /// A chunk of a list as it is stored, nothing where it is missing; `None` where zarrs alone may tell.
    pub fn stored(&self, number: u64) -> Result<Option<Vec<Stored>>> {
        let (path, part) = match self.file_of(&[number])? {
            ChunkFile::Missing => return Ok(Some(vec![])),
            ChunkFile::Whole(path) => (path, None),
            ChunkFile::Part(path, start, len) => (path, Some((start, len))),
            ChunkFile::Unknown => return Ok(None),
        };
        Ok(Some(vec![opened(&path, part)?]))
    }

    /// A whole chunk of text, from its chunk row and its place in it.
    pub fn decode(&self, row: u64, column: usize) -> Result<ArrayBytes<'static>> {
        let at = self.position(row, column);
        let decode = || {
            self.file_of(&at)?;
            self.decode_by_zarrs(&at)
        };
        decode().with_context(|| format!("Chunk {at:?}"))
    }

    /// Where a chunk stands in the grid, from its chunk row and its place in it.
    /// In an array of 3 x 4 x 5 chunks, column 7 of chunk row 2 is `[2, 1, 2]`.
    fn position(&self, row: u64, column: usize) -> Vec<u64> {
        let mut at = vec![0; self.shape.len()];
        let mut rest = column as u64;
        for axis in (1..at.len()).rev() {
            let count = self.shape[axis].div_ceil(self.chunk[axis]);
            at[axis] = rest % count;
            rest /= count;
        }
        if let Some(first) = at.first_mut() {
            *first = row;
        }
        at
    }

    fn decode_by_zarrs(&self, at: &[u64]) -> Result<ArrayBytes<'static>> {
        let decode = || {
            self.chunks
                .retrieve_subchunk_opt(&self.shards, at, &self.options)
        };
        Ok(guarded(decode).context("It is damaged")??)
    }

    /// What holds the chunk `at`. An error where that lies out of the bounds, or where its index names bytes that it
    /// does not have: zarrs takes as much memory.
    fn file_of(&self, at: &[u64]) -> Result<ChunkFile> {
        // Else other codecs lie around the shard, and where a chunk is cannot be told from outside.
        let sharded = self.shards.array_is_exclusively_sharded();
        let sizes = || self.chunk.iter().zip(&self.file);
        let place = at.iter().zip(sizes());
        // Chunk 7 along an axis, in shards of 3 chunks, is in shard 2.
        let place: Vec<u64> = place
            .map(|(at, (chunk, file))| at.saturating_mul(*chunk) / file)
            .collect();
        let path = self.folder.join(self.chunks.chunk_key(&place).as_str());
        super::check(&self.bounds, &path)?;
        let found = match std::fs::metadata(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(ChunkFile::Missing),
            Err(_) => return Ok(ChunkFile::Unknown),
        };
        ensure!(found.is_file(), "{} is not a file", path.display());
        if !sharded {
            self.check_encoded(found.len(), &self.file)?;
            return Ok(if self.shards.array_is_sharded() {
                ChunkFile::Unknown
            } else {
                ChunkFile::Whole(path)
            });
        }
        // Offset and length of each chunk (Zarr v3, "Sharding codec", "Binary shard format").
        let entries = sizes().fold(16u64, |n, (chunk, file)| n.saturating_mul(file / chunk));
        ensure!(
            entries <= found.len(),
            "Its shard is shorter than its index"
        );
        // All bits are set for a missing chunk, on which zarrs panics where overflow is checked.
        let range = guarded(|| self.chunks.subchunk_byte_range(&self.shards, at));
        Ok(match range {
            Ok(Ok(None)) => ChunkFile::Missing,
            Ok(Ok(Some(ByteRange::FromStart(u64::MAX, Some(u64::MAX))))) => ChunkFile::Missing,
            Ok(Ok(Some(ByteRange::FromStart(start, Some(len))))) => {
                let end = start.saturating_add(len);
                ensure!(end <= found.len(), "Its shard ends before byte {end}");
                self.check_encoded(len, &self.chunk)?;
                ChunkFile::Part(path, start, len)
            }
            _ => ChunkFile::Unknown,
        })
    }

    /// An error where so many bytes are more than any codec makes of a chunk of that shape.
    fn check_encoded(&self, bytes: u64, shape: &[u64]) -> Result<()> {
        let memory = self.memory;
        match (self.item_type.size as u64, dtype::checked_items(shape)) {
            // How long texts are is not known before.
            (0, _) => ensure!(bytes <= memory, "It has {bytes} bytes, more than {memory}"),
            (size, items) => {
                let items = items.unwrap_or(u64::MAX);
                codec::check_stored(bytes, items.saturating_mul(size))?;
            }
        }
        Ok(())
    }
}

/// What holds a chunk.
enum ChunkFile {
    /// Nothing: it is the fill value.
    Missing,
    Whole(PathBuf),
    /// A shard, with offset and length in it.
    Part(PathBuf, u64, u64),
    /// zarrs may tell.
    Unknown,
}

/// A file, or the part of it with this offset and length.
fn opened(path: &Path, part: Option<(u64, u64)>) -> Result<Stored> {
    let file = File::open(path)?;
    let (at, len) = match part {
        Some(part) => part,
        None => (0, file.metadata()?.len()),
    };
    Ok(Stored {
        file: Arc::new(file),
        at,
        len,
        mask: 0,
    })
}

/// The array as zarrs is to read it: its metadata, changed where zarrs would not understand it, over the files of its
/// folder.
fn zarrs_array(
    folder: &Path,
    meta: &Meta,
    item_type: &ZarrType,
    memory: u64,
) -> Result<Chunks<Decoded>> {
    let mut json = match &item_type.dtype {
        _ if item_type.opaque => dtype::as_opaque(meta, item_type)?,
        Dtype::Date(_) => dtype::as_numbers(meta),
        _ => meta.json.clone(),
    };
    // Nothing is zeros to zarrs, but not where numbers are complex.
    if item_type.dtype.kind() == Some(Kind::Complex) && json["fill_value"].is_null() {
        json["fill_value"] = json!([0.0, 0.0]);
    }
    let filter = direct::filter_alone(&json);
    if filter.is_some() {
        json["compressor"] = Value::Null;
    }
    let metadata = match meta.version {
        3 => ArrayMetadata::V3(serde_json::from_value(json)?),
        _ => ArrayMetadata::V2(serde_json::from_value(json)?),
    };
    // A store of its own for each array: zarrs would refuse names such as `__categories` on the way to it.
    let store = Arc::new(Decoded::new(folder, filter, memory)?);
    Ok(Chunks::new_with_metadata(store, "/", metadata)?)
}

/// The shape of what a file holds: a chunk, or a shard.
pub fn chunk_shape(json: &Value) -> Result<Vec<u64>> {
    let grid = &json["chunk_grid"];
    let shape = match grid["name"].as_str() {
        Some("regular") => &grid["configuration"]["chunk_shape"],
        Some(name) => bail!("chunk grid '{name}'"),
        None => &json["chunks"],
    };
    dtype::dims(shape).context("chunks without a shape")
}
