//! HDF5 filter 32004, lz4: the size of all data (8 bytes) and of a block (4 bytes), then each block as its
//! stored size (4 bytes) and an LZ4 block, or the bytes as they are where these sizes are equal. Numbers
//! are big-endian. Bitshuffle frames its blocks likewise.

use anyhow::{Context, Result, ensure};

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(mut src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let (total, block) = header(&mut src)?;
    let dst = dst.get_mut(..total).context("Corrupt lz4 data")?;
    ensure!(block > 0, "Corrupt lz4 data");
    for out in dst.chunks_mut(block) {
        let stored = next_block(&mut src)?;
        if stored.len() == out.len() {
            out.copy_from_slice(stored);
        } else {
            decode_block(stored, out)?;
        }
    }
    Ok(total)
}

/// What numcodecs writes: the size of all data (4 bytes, little-endian) and one LZ4 block. Returns the bytes written to
/// `dst`; more than fit is an error.
pub fn decode_sized(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let total = sized_len(src)?;
    let dst = dst.get_mut(..total).context("Corrupt lz4 data")?;
    decode_block(&src[4..], dst)?;
    Ok(total)
}

/// Bytes of all data that numcodecs wrote.
pub fn sized_len(src: &[u8]) -> Result<usize> {
    let total = src.first_chunk().context("Truncated lz4 data")?;
    Ok(u32::from_le_bytes(*total) as usize)
}

/// Fills `dst` from one LZ4 block.
pub fn decode_block(src: &[u8], dst: &mut [u8]) -> Result<()> {
    let written = lz4_flex::block::decompress_into(src, dst).context("Corrupt lz4 data")?;
    ensure!(written == dst.len(), "Corrupt lz4 data");
    Ok(())
}

/// Bytes of all data and of a block, both uncompressed.
pub fn header(src: &mut &[u8]) -> Result<(usize, usize)> {
    let total = u64::from_be_bytes(take(src)?);
    let block = u32::from_be_bytes(take(src)?);
    Ok((usize::try_from(total)?, usize::try_from(block)?))
}

/// The stored bytes of the next block.
pub fn next_block<'a>(src: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = u32::from_be_bytes(take(src)?);
    src.split_off(..usize::try_from(len)?)
        .context("Truncated lz4 or bitshuffle block")
}

fn take<const N: usize>(src: &mut &[u8]) -> Result<[u8; N]> {
    let (bytes, rest) = src
        .split_first_chunk()
        .context("Truncated lz4 or bitshuffle data")?;
    *src = rest;
    Ok(*bytes)
}
