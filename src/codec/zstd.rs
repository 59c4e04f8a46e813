//! HDF5 filter 32015, zstd: a zstd frame. Also a codec of Zarr arrays.

use std::cell::RefCell;

use ::zstd::bulk::{Compressor, Decompressor};
use ::zstd::zstd_safe::{compress_bound, get_frame_content_size};
use anyhow::{Context, Result};

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes that a frame says it stands for.
/// An error where it does not say so, as where a writer did not know the size when it began.
pub fn decoded_len(src: &[u8]) -> Result<usize> {
    let len = get_frame_content_size(src).ok().flatten();
    let len = len.context("Corrupt zstd data: they do not tell their size")?;
    Ok(usize::try_from(len)?)
}

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor
            .decompress_to_buffer(src, dst)
            .context("Corrupt zstd data")
    })
}

/// A frame that says its content's size, without checksum.
pub fn encode(src: &[u8], level: i32, dst: &mut Vec<u8>) -> Result<()> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(level)?),
        };
        compressor.set_compression_level(level)?;
        dst.resize(compress_bound(src.len()), 0);
        let written = compressor.compress_to_buffer(src, dst.as_mut_slice())?;
        dst.truncate(written);
        Ok(())
    })
}
