//! Chunks of numbers that are decoded by `codec`, straight to their place. zarrs, which copies them on the way, decodes
//! all others, and those that this cannot.
//!
//! From the metadata follows the list of filters that the bytes of every chunk went through. What is read so needs no
//! change of bytes afterwards: numbers in the order of this machine, in rows one after another.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::dtype::ZarrType;
use super::meta::Meta;
use crate::codec::{self, Filter};
use crate::store::io::raw;
use crate::store::io::stored::Stored;
use crate::store::spec::{Dtype, Kind};

/// What the bytes of a chunk went through.
pub struct Direct {
    /// In the order in which they were applied; none where chunks are stored as they are.
    filters: Vec<Filter>,
}

impl Direct {
    /// The error says why zarrs is to decode the chunks.
    pub fn of(meta: &Meta, item_type: &ZarrType) -> Result<Direct> {
        match item_type.dtype {
            Dtype::Date(_) => {}
            Dtype::Number { kind, .. } => ensure!(kind != Kind::Bool, "they are bools"),
            _ => bail!("they are not numbers"),
        };
        // In version 2 order is in the name of the type; in version 3 the codec `bytes` has it, which `v3` looks at.
        let swapped = match meta.version {
            2 => meta.json["dtype"]
                .as_str()
                .is_none_or(|t| t.starts_with('>')),
            _ => false,
        };
        ensure!(
            cfg!(target_endian = "little") && !swapped,
            "their bytes are swapped"
        );
        let filters = match meta.version {
            2 => v2(&meta.json)?,
            _ => v3(&meta.json["codecs"], true)?,
        };
        Ok(Direct { filters })
    }

    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Makes `out` the chunk, which is as long.
    pub fn read(&self, chunk: &Stored, out: &mut [u8]) -> Result<()> {
        let len = usize::try_from(chunk.len)?;
        if self.filters.is_empty() {
            ensure!(len == out.len(), "{len} bytes of {}", out.len());
            return raw::exact(&chunk.file, out, chunk.at);
        }
        raw::with_buffer(len, |encoded| {
            raw::exact(&chunk.file, encoded, chunk.at)?;
            codec::decode(&self.filters, 0, encoded, out)
        })
    }
}

/// `.zarray` (Zarr v2, "Arrays": "Metadata").
fn v2(json: &Value) -> Result<Vec<Filter>> {
    let axes = json["shape"].as_array().map_or(0, Vec::len);
    ensure!(
        axes < 2 || json["order"] == "C",
        "their order is {}",
        json["order"]
    );
    let plain = json["filters"].as_array().is_none_or(Vec::is_empty);
    ensure!(plain, "they have filters");
    match &json["compressor"] {
        Value::Null => Ok(vec![]),
        compressor => Ok(vec![
            filter_alone(json).map_or_else(|| filter(&compressor["id"]), Ok)?,
        ]),
    }
}

/// `codecs` of an array, or of the chunks in its shards (Zarr v3, "Codecs", "Sharding codec").
fn v3(codecs: &Value, may_be_sharded: bool) -> Result<Vec<Filter>> {
    let codecs = codecs.as_array().map_or(&[][..], Vec::as_slice);
    match codecs {
        // Shards in shards are left to zarrs.
        [shard] if may_be_sharded && shard["name"] == "sharding_indexed" => {
            v3(&shard["configuration"]["codecs"], false)
        }
        [bytes, rest @ ..] if bytes["name"] == "bytes" => {
            let endian = &bytes["configuration"]["endian"];
            ensure!(endian != "big", "their bytes are swapped");
            rest.iter().map(|codec| filter(&codec["name"])).collect()
        }
        _ => bail!("their codecs are others"),
    }
}

/// The compressor of version 2 that zarrs does not know and `codec` does.
pub fn filter_alone(json: &Value) -> Option<Filter> {
    let compressor = &json["compressor"];
    match compressor["id"].as_str()? {
        "lz4" => Some(Filter::SizedLz4),
        // Raw streams, 3, do not say what was done to them.
        "lzma"
            if compressor["format"]
                .as_u64()
                .is_none_or(|format| format < 3) =>
        {
            Some(Filter::Lzma)
        }
        _ => None,
    }
}

/// The filter of a codec by its name, which is the same in both versions. Decoding needs no level, so that is 0.
fn filter(name: &Value) -> Result<Filter> {
    Ok(match name.as_str() {
        Some("blosc") => Filter::Blosc,
        Some("zstd") => Filter::Zstd(0),
        Some("gzip") => Filter::Gzip,
        Some("zlib") => Filter::Deflate(0),
        _ => bail!("a codec of theirs is {name}"),
    })
}
