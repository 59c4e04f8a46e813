//! The values of `--compression`: how the chunks of an output are encoded.

use std::{fmt, str::FromStr};

use anyhow::{Error, Result, bail};

/// How the chunks of an output are compressed. HDF5 and Zarr know some of these each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// They are stored as they are.
    None,
    /// Deflate at a level from 1 to 9.
    Gzip(u8),
    /// Of h5py.
    Lzf,
    /// In blosc, after shuffling bytes: what anndata writes to Zarr.
    Lz4,
    /// At a level from 1 to 22.
    Zstd(u8),
}

/// What `gzip` alone means: with the shuffle filter on integers it makes smaller files than h5py's level 4, in half the
/// time of level 4 here.
const DEFAULT_GZIP_LEVEL: u8 = 1;
/// What `zstd` alone means, as in zstd itself and in zarr-python.
const DEFAULT_ZSTD_LEVEL: u8 = 3;
const MOST_GZIP: u8 = 9;
const MOST_ZSTD: u8 = 22;

impl Compression {
    /// What may be asked for, each in one spelling.
    pub const NAMES: [&str; 36] = [
        "none", "gzip", "lzf", "lz4", "zstd", "gzip:1", "gzip:2", "gzip:3", "gzip:4", "gzip:5",
        "gzip:6", "gzip:7", "gzip:8", "gzip:9", "zstd:1", "zstd:2", "zstd:3", "zstd:4", "zstd:5",
        "zstd:6", "zstd:7", "zstd:8", "zstd:9", "zstd:10", "zstd:11", "zstd:12", "zstd:13",
        "zstd:14", "zstd:15", "zstd:16", "zstd:17", "zstd:18", "zstd:19", "zstd:20", "zstd:21",
        "zstd:22",
    ];
}

/// The level in text such as `gzip:4`.
fn level(text: &str, most: u8) -> Option<u8> {
    let is_digit = text.bytes().all(|byte| byte.is_ascii_digit());
    let level: u8 = text.parse().ok().filter(|_| is_digit)?;
    (1..=most).contains(&level).then_some(level)
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = match text.split_once(':') {
            None => match text {
                "none" => Some(Self::None),
                "gzip" => Some(Self::Gzip(DEFAULT_GZIP_LEVEL)),
                "lzf" => Some(Self::Lzf),
                "lz4" => Some(Self::Lz4),
                "zstd" => Some(Self::Zstd(DEFAULT_ZSTD_LEVEL)),
                _ => None,
            },
            Some(("gzip", text)) => level(text, MOST_GZIP).map(Self::Gzip),
            Some(("zstd", text)) => level(text, MOST_ZSTD).map(Self::Zstd),
            Some(_) => None,
        };
        match known {
            Some(known) => Ok(known),
            None => bail!(
                "an .h5ad file has none, gzip, gzip:1 to gzip:9, and lzf; a Zarr store has none, lz4, zstd, zstd:1 to \
                 zstd:22, gzip, and gzip:1 to gzip:9"
            ),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Lzf => write!(f, "lzf"),
            Self::Lz4 => write!(f, "lz4"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_spelling_and_some_a_default() {
        assert_eq!("gzip".parse::<Compression>().unwrap(), Compression::Gzip(1));
        assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::Zstd(3));
        for name in Compression::NAMES {
            let known: Compression = name.parse().unwrap();
            assert_eq!(known.to_string().parse::<Compression>().unwrap(), known);
        }
    }

    #[test]
    fn anything_else_lists_what_there_is() {
        for text in [
            "", "gzip:", "gzip:0", "gzip:10", "gzip:+4", "GZIP", "zstd:23", "zstd:0", "lz4:1",
            "blosc", "4",
        ] {
            let message = text.parse::<Compression>().unwrap_err().to_string();
            assert!(message.contains("gzip:1 to gzip:9") && message.contains("zstd:22"));
        }
    }
}
