//! What an output is: its container, and how the arrays in it are cut and encoded.

use anyhow::{Result, ensure};

use super::Format;
use crate::codec::compression::Compression;

/// What an output is. It is settled once for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    pub format: Format,
    /// `None` is the default: HDF5 stores arrays as they are, Zarr compresses them by lz4.
    pub compression: Option<Compression>,
    /// Cells in a chunk of what lies along them; `None` is as many as make a chunk of a useful size.
    pub chunk_cells: Option<u64>,
    pub zarr_version: ZarrVersion,
    /// Bytes of a Zarr shard, before it is encoded; `None` puts each chunk into a file of its own.
    pub zarr_shard: Option<u64>,
    /// Whether outputs are the datasets of one store, as annbatch reads it. Indices of sparse matrices then have the
    /// narrowest type, as it writes them.
    pub is_collection: bool,
    /// Whether matrices of joined inputs stay in these, and are read there through virtual datasets.
    pub is_virtual: bool,
}

/// The versions of Zarr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZarrVersion {
    /// Which every anndata reads.
    V2,
    /// Which anndata reads from version 0.11 on.
    V3,
}

impl ZarrVersion {
    pub fn number(self) -> u8 {
        match self {
            ZarrVersion::V2 => 2,
            ZarrVersion::V3 => 3,
        }
    }
}

impl Container {
    /// An HDF5 file without compression.
    pub const H5AD: Container = Container::of(Format::H5ad);
    /// A Zarr store of version 2.
    pub const ZARR: Container = Container::of(Format::Zarr);

    /// With all defaults.
    pub const fn of(format: Format) -> Container {
        Container {
            format,
            compression: None,
            chunk_cells: None,
            zarr_version: ZarrVersion::V2,
            zarr_shard: None,
            is_collection: false,
            is_virtual: false,
        }
    }

    #[cfg(test)]
    pub const fn compressed(self, compression: Compression) -> Container {
        Container {
            compression: Some(compression),
            ..self
        }
    }

    /// How the chunks of its arrays are compressed.
    pub fn compression(&self) -> Compression {
        let default = match self.format {
            Format::H5ad => Compression::None,
            Format::Zarr => Compression::Lz4,
        };
        self.compression.unwrap_or(default)
    }

    /// Whether arrays are stored in one piece, as they are.
    pub fn is_plain(&self) -> bool {
        self.format == Format::H5ad && self.compression() == Compression::None
    }

    /// An error, with what there is instead, where its parts do not go together.
    pub fn check(&self) -> Result<()> {
        let compression = self.compression();
        let (is_known, what, others) = match (self.format, compression) {
            (Format::H5ad, Compression::Lz4 | Compression::Zstd(_)) => {
                (false, "An .h5ad file", "gzip, gzip:1 to gzip:9, or lzf")
            }
            (Format::Zarr, Compression::Lzf) => (
                false,
                "A Zarr store",
                "lz4, zstd, zstd:1 to zstd:22, gzip, or gzip:1 to gzip:9",
            ),
            _ => (true, "", ""),
        };
        ensure!(
            is_known,
            "{what} has no compression {compression}; give {others}, or none"
        );
        Ok(())
    }
}
