//! HDF5 filter 32001, blosc: a buffer of c-blosc 1, whose header names compressor and shuffle. Zarr has the same, so
//! zarrs decodes it.

use std::hint::black_box;

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
        keep_heap_whole();
        // Takes `len` bytes, and is sound for what was validated. One thread and no library-wide state: any thread may
        // call.
        let bytes = blosc_decompress_bytes(src, len, 1).ok();
        let bytes = bytes.context("Corrupt blosc data")?;
        ensure!(bytes.len() == len, "Corrupt blosc data");
        dst.copy_from_slice(&bytes);
    }
    Ok(len)
}

/// For before each call of c-blosc, so that glibc gives all of them the same memory. It is aligned memory, of which
/// glibc before 2.38 takes back the end that is too much. That goes to the thread's cache of small pieces while this has
/// room, and is missing from the block when that is free again, so that the next call gets another one. A full cache, of
/// seven pieces of a size (`TCACHE_FILL_COUNT` in glibc's malloc.c), takes none.
pub fn keep_heap_whole() {
    /// Bytes that are asked for, one for each size of a piece that may be left: 32 to 96 bytes, by 16.
    const SIZES: [usize; 5] = [24, 40, 56, 72, 88];
    for size in SIZES {
        black_box([(); 7].map(|()| Vec::<u8>::with_capacity(size)));
    }
}
