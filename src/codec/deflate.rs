//! HDF5 filter 1, deflate: one zlib stream per chunk. Also gzip streams, the codec of Zarr arrays.

use std::cell::RefCell;

use anyhow::{Context, Result};
use libdeflater::{CompressionLvl, Compressor, Decompressor};

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    /// The level last used and its compressor: about 1 MB, so one per thread is kept.
    static COMPRESSOR: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
}

/// A zlib stream. Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.zlib_decompress(src, dst))
        .context("Corrupt deflate data")
}

/// The first member of a gzip file. Returns the bytes written to `dst`; more than fit is an error.
pub fn gunzip(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.gzip_decompress(src, dst))
        .context("Corrupt gzip data")
}

/// A zlib stream at `level` 0 to 12; zlib's own levels end at 9.
pub fn encode(src: &[u8], level: u32, dst: &mut Vec<u8>) -> Result<()> {
    with_compressor(level, |compressor| {
        dst.resize(compressor.zlib_compress_bound(src.len()), 0);
        let written = compressor.zlib_compress(src, dst)?;
        dst.truncate(written);
        Ok(())
    })
}

/// A gzip member (RFC 1952) at `level` 0 to 12; gzip's own levels end at 9.
pub fn gzip(src: &[u8], level: u32, dst: &mut Vec<u8>) -> Result<()> {
    with_compressor(level, |compressor| {
        dst.resize(compressor.gzip_compress_bound(src.len()), 0);
        let written = compressor.gzip_compress(src, dst)?;
        dst.truncate(written);
        Ok(())
    })
}

fn with_compressor(level: u32, run: impl FnOnce(&mut Compressor) -> Result<()>) -> Result<()> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (_, compressor) = match kept.take_if(|(kept_level, _)| *kept_level == level) {
            Some(same) => kept.insert(same),
            None => {
                let valid = i32::try_from(level).ok().map(CompressionLvl::new);
                let Some(Ok(valid)) = valid else {
                    anyhow::bail!("No deflate level {level}: levels are 0 to 9");
                };
                kept.insert((level, Compressor::new(valid)))
            }
        };
        run(compressor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_members_hold_the_bytes() {
        let src = b"AnnData AnnData AnnData".repeat(9);
        let (mut packed, mut back) = (Vec::new(), vec![0; src.len()]);
        for level in [1, 6, 6, 9] {
            gzip(&src, level, &mut packed).unwrap();
            assert_eq!(gunzip(&packed, &mut back).unwrap(), src.len());
            assert_eq!(back, src);
        }
    }

    #[test]
    fn levels_end() {
        let error = encode(b"", 13, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "No deflate level 13: levels are 0 to 9");
    }
}
