//! What encodes the chunks of arrays that are written, and what their metadata say of it.

use std::borrow::Cow;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use zarrs::array::codec::{BloscCodec, BloscCompressor, BloscShuffleMode};
use zarrs::array::{BytesToBytesCodecTraits, CodecOptions};

use crate::codec::compression::Compression;
use crate::codec::{blosc, deflate};

/// The level of blosc that zarr-python and anndata have by default.
const LEVEL: u8 = 5;

/// What encodes chunks.
pub enum Codec {
    None,
    /// lz4 after shuffling bytes.
    Blosc {
        codec: BloscCodec,
        /// Bytes that are shuffled together.
        item: usize,
    },
    Gzip(u8),
    Zstd(u8),
}

impl Codec {
    /// `item` is the bytes of one element, or 1.
    pub fn new(compression: Compression, item: usize) -> Result<Codec> {
        Ok(match compression {
            Compression::None => Codec::None,
            Compression::Gzip(level) => Codec::Gzip(level),
            Compression::Zstd(level) => Codec::Zstd(level),
            Compression::Lz4 => {
                let level = LEVEL.try_into();
                let level = level.map_err(|l| anyhow!("Blosc has no level {l}"))?;
                let shuffle = BloscShuffleMode::Shuffle;
                let lz4 = BloscCompressor::LZ4;
                let codec = BloscCodec::new(lz4, level, None, shuffle, Some(item))?;
                Codec::Blosc { codec, item }
            }
            Compression::Lzf => bail!("Zarr has no lzf"),
        })
    }

    /// `compressor` of version 2.
    pub fn v2(&self) -> Value {
        match self {
            Codec::None => Value::Null,
            Codec::Blosc { .. } => {
                json!({"id": "blosc", "cname": "lz4", "clevel": LEVEL, "shuffle": 1, "blocksize": 0})
            }
            Codec::Gzip(level) => json!({"id": "gzip", "level": level}),
            Codec::Zstd(level) => json!({"id": "zstd", "level": level, "checksum": false}),
        }
    }

    /// The codec of version 3 that works on bytes, if there is one.
    pub fn v3(&self) -> Option<Value> {
        let (name, configuration) = match self {
            Codec::None => return None,
            Codec::Blosc { item, .. } => (
                "blosc",
                json!({"typesize": item, "cname": "lz4", "clevel": LEVEL, "shuffle": "shuffle", "blocksize": 0}),
            ),
            Codec::Gzip(level) => ("gzip", json!({"level": level})),
            Codec::Zstd(level) => ("zstd", json!({"level": level, "checksum": false})),
        };
        Some(json!({"name": name, "configuration": configuration}))
    }

    pub fn encode<'a>(&self, chunk: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
        Ok(match self {
            Codec::None => chunk,
            Codec::Blosc { codec, .. } => {
                blosc::keep_heap_whole();
                let options = CodecOptions::default().with_concurrent_target(1);
                codec.encode(chunk, &options)?.into_owned().into()
            }
            Codec::Gzip(level) => {
                let mut out = vec![];
                deflate::gzip(&chunk, (*level).into(), &mut out)?;
                out.into()
            }
            Codec::Zstd(level) => zstd::bulk::compress(&chunk, (*level).into())?.into(),
        })
    }
}
