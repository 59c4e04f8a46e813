//! HDF5 filter 32001, blosc: a buffer of c-blosc 1, whose header names compressor and shuffle.

use anyhow::{Result, ensure};
use blosc_src::{blosc_cbuffer_validate, blosc_decompress_ctx};

/// The bytes that a buffer stands for.
pub fn decoded_len(src: &[u8]) -> Result<usize> {
    let mut len = 0;
    // SAFETY: reads `src.len()` bytes at most and writes `len`.
    let status = unsafe { blosc_cbuffer_validate(src.as_ptr().cast(), src.len(), &raw mut len) };
    ensure!(status == 0, "Corrupt blosc data");
    Ok(len)
}

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let len = decoded_len(src)?;
    ensure!(len <= dst.len(), "Corrupt blosc data");
    // SAFETY: the call above makes this one safe for `src`, says c-blosc; it writes `len` bytes of `dst` at
    // most, which are there. One thread and no library-wide state: any thread may call.
    let written =
        unsafe { blosc_decompress_ctx(src.as_ptr().cast(), dst.as_mut_ptr().cast(), len, 1) };
    ensure!(usize::try_from(written) == Ok(len), "Corrupt blosc data");
    Ok(len)
}
