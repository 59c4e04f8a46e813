//! HDF5 filter 32001, blosc: a buffer of c-blosc 1, whose header names compressor and shuffle. Zarr has the same, so
//! zarrs decodes it.

use anyhow::{Context, Result, ensure};
use zarrs::array::codec::{blosc_decompress_bytes, blosc_validate};

/// The bytes that a buffer stands for.
pub fn decoded_len(src: &[u8]) -> Result<usize> {
    blosc_validate(src).context("Corrupt blosc data")
}

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let len = decoded_len(src)?;
    let dst = dst.get_mut(..len).context("Corrupt blosc data")?;
    if len > 0 {
        // Takes `len` bytes, and is sound for what was validated. One thread and no library-wide state: any thread may
        // call.
        let bytes = blosc_decompress_bytes(src, len, 1).ok();
        let bytes = bytes.context("Corrupt blosc data")?;
        ensure!(bytes.len() == len, "Corrupt blosc data");
        dst.copy_from_slice(&bytes);
    }
    Ok(len)
}
