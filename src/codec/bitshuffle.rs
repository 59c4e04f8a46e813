//! HDF5 filter 32008, bitshuffle. In each block bit 0 of byte 0 of every item comes first, then bit 1, and
//! so on: a row of bits for every bit of an item. Items after the last whole group of eight end the data
//! unchanged. Blocks may be compressed; then they are framed as in `lz4`.

use std::cell::RefCell;

use anyhow::{Context, Result, bail, ensure};

use super::shuffle::unshuffle;
use super::{lz4, zstd};

/// What the filter's client data say: major and minor version, item size, block, compression.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockLayout {
    /// Bytes per item, at least 1.
    pub item_size: usize,
    /// Items per block where the data do not say it, a multiple of 8.
    pub block: usize,
    pub inner: Inner,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inner {
    None,
    Lz4,
    Zstd,
}

/// Items whose bits share a byte of a bit row.
const GROUP: usize = 8;

thread_local! {
    /// A block on the way from rows of bits to items: as byte planes.
    static PLANES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl BlockLayout {
    /// `item_size`: the bytes of the dataset's type, taken where the client data do not say it.
    pub fn new(client_data: &[u32], item_size: usize) -> Result<BlockLayout> {
        let value = |at| client_data.get(at).copied().unwrap_or(0) as usize;
        let item_size = if value(2) > 0 { value(2) } else { item_size };
        ensure!(item_size > 0, "Bitshuffle of items without size");
        let inner = match value(4) {
            0 => Inner::None,
            2 => Inner::Lz4,
            3 => Inner::Zstd,
            other => bail!("Unknown compression {other} of bitshuffle"),
        };
        Ok(BlockLayout {
            item_size,
            block: block_or_default(value(3), item_size)?,
            inner,
        })
    }
}

/// Without a size, blocks are of 8 KiB, rounded down to whole groups, but of 128 items at least.
fn block_or_default(block: usize, item_size: usize) -> Result<usize> {
    ensure!(
        block.is_multiple_of(GROUP),
        "Bitshuffle block of {block} items, which 8 does not divide"
    );
    let default = (8192 / item_size / GROUP * GROUP).max(128);
    Ok(if block > 0 { block } else { default })
}

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(layout: &BlockLayout, mut src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let size = layout.item_size;
    let (total, block) = if layout.inner == Inner::None {
        (src.len(), layout.block)
    } else {
        // The size of a block is in bytes here, and in items in the client data.
        let (total, block_bytes) = lz4::header(&mut src)?;
        (total, block_or_default(block_bytes / size, size)?)
    };
    ensure!(total.is_multiple_of(size), "Corrupt bitshuffle data");
    let dst = dst.get_mut(..total).context("Corrupt bitshuffle data")?;
    let (groups, rest) = dst.split_at_mut(total - total % (size * GROUP));
    for out in groups.chunks_mut(block.saturating_mul(size)) {
        match layout.inner {
            Inner::None => copy(&mut src, out)?,
            Inner::Lz4 => lz4::decode_block(lz4::next_block(&mut src)?, out)?,
            Inner::Zstd => {
                let written = zstd::decode(lz4::next_block(&mut src)?, out)?;
                ensure!(written == out.len(), "Corrupt bitshuffle data");
            }
        }
        PLANES.with_borrow_mut(|planes| gather_bits(out, size, planes));
    }
    // Less than a group of eight items, which is never compressed.
    copy(&mut src, rest)?;
    Ok(total)
}

fn copy(src: &mut &[u8], dst: &mut [u8]) -> Result<()> {
    let bytes = src.split_off(..dst.len());
    dst.copy_from_slice(bytes.context("Truncated bitshuffle data")?);
    Ok(())
}

/// Bit rows to items, in place. The eight rows of a byte's bits become one byte plane.
fn gather_bits(block: &mut [u8], size: usize, planes: &mut Vec<u8>) {
    // A row of bits has an eighth of a byte for each item, so the eight rows of one byte have a byte for each.
    let items = block.len() / size;
    planes.resize(block.len(), 0);
    for (rows, plane) in block
        .chunks_exact(items)
        .zip(planes.chunks_exact_mut(items))
    {
        unshuffle(rows, 8, plane);
        for bits in plane.as_chunks_mut::<8>().0 {
            *bits = transpose(u64::from_le_bytes(*bits)).to_le_bytes();
        }
    }
    unshuffle(planes, size, block);
}

/// Transposes 8 x 8 bits: first the single bits of 2 x 2 squares, then squares of 2 x 2, then of 4 x 4.
fn transpose(mut bits: u64) -> u64 {
    for (shift, upper) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let changed = (bits ^ bits >> shift) & upper;
        bits ^= changed ^ changed << shift;
    }
    bits
}
