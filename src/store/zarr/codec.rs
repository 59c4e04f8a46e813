//! What encodes the chunks of arrays that are written, and what their metadata say of it.
//!
//! Chunks are encoded in the pool, each as a whole; nothing is kept between them. gzip is that of libdeflate, at the
//! level of the command line; lz4 is blosc's, as anndata writes by default in version 2. zstd is blosc's for integers, of
//! whose bytes most are alike once they are shuffled (indices: half the size at three times the speed), and plain for
//! all else: counts as floats are far smaller unshuffled.

use std::borrow::Cow;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use zarrs::array::codec::{BloscCodec, BloscCompressor, BloscShuffleMode};
use zarrs::array::{BytesToBytesCodecTraits, CodecOptions};

use crate::codec::compression::Compression;
use crate::codec::{blosc, deflate};
use crate::store::spec::Dtype;

/// The level of blosc that zarr-python and anndata have by default.
const LEVEL: u8 = 5;

/// What encodes chunks.
pub enum Codec {
    None,
    /// After shuffling bytes.
    Blosc {
        codec: BloscCodec,
        name: &'static str,
        level: u8,
        /// Bytes that are shuffled together.
        item: usize,
    },
    Gzip(u8),
    Zstd(u8),
}

impl Codec {
    /// For values of this type.
    pub fn new(compression: Compression, dtype: &Dtype) -> Result<Codec> {
        Ok(match compression {
            Compression::None => Codec::None,
            Compression::Gzip(level) => Codec::Gzip(level),
            Compression::Zstd(level) if dtype.is_integer() && dtype.size() > 1 => {
                // Level N of blosc is 2 N - 1 of zstd, and its 9 the highest (c-blosc, `zstd_wrap_compress`).
                let level = level.div_ceil(2).min(9);
                Codec::blosc(BloscCompressor::Zstd, "zstd", level, dtype)?
            }
            Compression::Zstd(level) => Codec::Zstd(level),
            Compression::Lz4 => Codec::blosc(BloscCompressor::LZ4, "lz4", LEVEL, dtype)?,
            Compression::Lzf => bail!("Zarr has no lzf"),
        })
    }

    fn blosc(
        compressor: BloscCompressor,
        name: &'static str,
        level: u8,
        dtype: &Dtype,
    ) -> Result<Codec> {
        // Text of any length has no size: its bytes are shuffled one by one, which is not at all.
        let item = dtype.size().max(1);
        let as_typed = level.try_into();
        let as_typed = as_typed.map_err(|l| anyhow!("Blosc has no level {l}"))?;
        let shuffle = BloscShuffleMode::Shuffle;
        let codec = BloscCodec::new(compressor, as_typed, None, shuffle, Some(item))?;
        Ok(Codec::Blosc {
            codec,
            name,
            level,
            item,
        })
    }

    /// `compressor` of version 2.
    pub fn v2(&self) -> Value {
        match self {
            Codec::None => Value::Null,
            Codec::Blosc { name, level, .. } => {
                json!({"id": "blosc", "cname": name, "clevel": level, "shuffle": 1, "blocksize": 0})
            }
            Codec::Gzip(level) => json!({"id": "gzip", "level": level}),
            Codec::Zstd(level) => json!({"id": "zstd", "level": level, "checksum": false}),
        }
    }

    /// The codec of version 3 that works on bytes, if there is one.
    pub fn v3(&self) -> Option<Value> {
        let (name, configuration) = match self {
            Codec::None => return None,
            Codec::Blosc {
                name, level, item, ..
            } => (
                "blosc",
                json!({"typesize": item, "cname": name, "clevel": level, "shuffle": "shuffle", "blocksize": 0}),
            ),
            Codec::Gzip(level) => ("gzip", json!({"level": level})),
            Codec::Zstd(level) => ("zstd", json!({"level": level, "checksum": false})),
        };
        Some(json!({"name": name, "configuration": configuration}))
    }

    /// A chunk as it is stored. Without compression it is handed on as it is.
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
