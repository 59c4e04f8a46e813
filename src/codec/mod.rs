//! The filters of HDF5 chunks and the codecs of Zarr chunks: pure functions on slices, one file per filter, named as
//! the filter is. A pipeline runs in the order of the list when writing and
//! backwards when reading. Sizes that data declare are checked against the chunk's own before use, so
//! hostile bytes end in an error and take no memory. Buffers are kept per thread.
//!
//! For example `gzip:4` writes indices of 4 bytes through `[Shuffle(4), Deflate(4)]`: their bytes are put in planes,
//! and the planes deflated. [`Filter::from_hdf5`] makes a filter of what a dataset says, `store/zarr/direct.rs` of what
//! Zarr's metadata say.

mod bitshuffle;
mod blocks;
pub mod blosc;
pub mod compression;
pub mod deflate;
mod fletcher32;
mod huffman;
mod lz4;
mod lzf;
mod lzma;
mod runs;
mod shuffle;
mod words;
pub mod zstd;

use std::cell::RefCell;
use std::mem;

use anyhow::{Result, bail, ensure};

/// One filter of a chunk's pipeline; they are listed in the order in which they were applied when writing.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// The level, 0 to 9.
    Deflate(u32),
    /// Deflate of byte planes, by their runs where that does as well; to readers it is level 1.
    DeflatePlanes,
    /// Deflate of values of 4 bytes, by whole values where these come again; to readers it is level 1.
    DeflateWords,
    /// Bytes per item.
    Shuffle(usize),
    /// A checksum behind the data. It is only read here, as are blosc, lz4, bitshuffle and lzma.
    Fletcher32,
    Lzf,
    Blosc,
    Lz4,
    Bitshuffle(bitshuffle::BlockLayout),
    /// The level.
    Zstd(i32),
    /// Of Zarr alone, as all below: numcodecs' lz4 has a size in place of HDF5's blocks.
    Gzip,
    SizedLz4,
    Lzma,
}

/// A longer buffer is given back when its chunk is done.
const LARGEST: usize = 16 << 20;

thread_local! {
    /// A chunk between two filters, before and after one.
    static BETWEEN: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Filter {
    /// From the numbers of a dataset-creation property list: filter id, its client data, and the bytes of
    /// the dataset's type. The error names a filter that is not decoded here.
    pub fn from_hdf5(id: u32, client_data: &[u32], item_size: usize) -> Result<Filter> {
        let first = client_data.first().copied();
        // A level means nothing to the decoder. Where it is not told, it is zlib's default, or that of zstd.
        Ok(match id {
            1 => Filter::Deflate(first.unwrap_or(6)),
            2 => Filter::Shuffle(first.map_or(item_size, |size| size as usize)),
            3 => Filter::Fletcher32,
            32000 => Filter::Lzf,
            32001 => Filter::Blosc,
            32004 => Filter::Lz4,
            32008 => Filter::Bitshuffle(bitshuffle::BlockLayout::new(client_data, item_size)?),
            32015 => Filter::Zstd(first.unwrap_or(3).cast_signed()),
            _ => match registered_name(id) {
                Some(name) => bail!("HDF5 filter {name} ({id}) is not supported"),
                None => bail!("HDF5 filter {id} is not supported"),
            },
        })
    }

    /// The id and client data to create a dataset with. `chunk_bytes` is the size of a whole chunk.
    pub fn to_hdf5(&self, chunk_bytes: usize) -> Result<(u32, Vec<u32>)> {
        Ok(match *self {
            Filter::Deflate(level) => (1, vec![level]),
            Filter::DeflatePlanes | Filter::DeflateWords => (1, vec![1]),
            Filter::Shuffle(size) => (2, vec![u32::try_from(size)?]),
            // h5py's revision of its filter, LibLZF's version, and what the filter allocates for reading.
            Filter::Lzf => (32000, vec![4, 0x0105, u32::try_from(chunk_bytes)?]),
            Filter::Zstd(level) => (32015, vec![level.cast_unsigned()]),
            _ => bail!("HDF5 filter {self:?} is only read"),
        })
    }

    fn changes_nothing(&self) -> bool {
        matches!(self, Filter::Shuffle(0 | 1))
    }

    /// Returns the bytes written to `dst`; more than fit is an error.
    fn decode(&self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        match self {
            Filter::Deflate(_) | Filter::DeflatePlanes | Filter::DeflateWords => {
                deflate::decode(src, dst)
            }
            Filter::Shuffle(size) => {
                let Some(dst) = dst.get_mut(..src.len()) else {
                    bail!("Corrupt chunk: more data than its shape allows");
                };
                shuffle::unshuffle(src, *size, dst);
                Ok(src.len())
            }
            Filter::Fletcher32 => fletcher32::decode(src, dst),
            Filter::Lzf => lzf::decode(src, dst),
            Filter::Blosc => blosc::decode(src, dst),
            Filter::Lz4 => lz4::decode(src, dst),
            Filter::Bitshuffle(layout) => bitshuffle::decode(layout, src, dst),
            Filter::Zstd(_) => zstd::decode(src, dst),
            Filter::Gzip => deflate::gunzip(src, dst),
            Filter::SizedLz4 => lz4::decode_sized(src, dst),
            Filter::Lzma => lzma::decode(src, dst),
        }
    }

    /// Returns whether the filter was applied: an optional one may decline.
    fn encode(&self, src: &[u8], dst: &mut Vec<u8>) -> Result<bool> {
        match self {
            Filter::Deflate(level) => deflate::encode(src, *level, dst)?,
            Filter::DeflatePlanes if runs::encode(src, dst) => {}
            Filter::DeflateWords if words::encode(src, dst) => {}
            Filter::DeflatePlanes | Filter::DeflateWords => deflate::encode(src, 1, dst)?,
            Filter::Shuffle(size) => {
                dst.resize(src.len(), 0);
                shuffle::shuffle(src, *size, dst);
            }
            Filter::Lzf => return Ok(lzf::encode(src, dst)),
            Filter::Zstd(level) => zstd::encode(src, *level, dst)?,
            _ => bail!("HDF5 filter {self:?} is only read"),
        }
        Ok(true)
    }
}

/// Registered filters that occur in the field and are not decoded here.
fn registered_name(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        305 => "lzo",
        307 => "bzip2",
        32003 => "snappy",
        32013 => "zfp",
        32014 => "fpzip",
        32017 => "sz",
        32024 => "sz3",
        32026 => "blosc2",
        _ => return None,
    })
}

/// An error where so many stored bytes are more than any filters make of a chunk of `decoded` bytes: what reads them
/// takes as much memory.
pub fn check_stored(bytes: u64, decoded: u64) -> Result<()> {
    let most = decoded.saturating_mul(2).saturating_add(8192);
    ensure!(bytes <= most, "It has {bytes} bytes, more than {most}");
    Ok(())
}

/// Undoes one filter whose data tell, themselves, how many bytes they stand for. More than `most`, or than HDF5 has in a
/// chunk, 4 GiB, are an error.
///
/// For chunks of which no shape tells the length: those that the HDF5 library goes on with (`ffi/filters.rs`), and
/// those of lz4 and lzma that zarrs goes on with (`store/zarr/decoded.rs`).
pub fn decode_alone(filter: &Filter, src: &[u8], most: u64) -> Result<Vec<u8>> {
    let len = match filter {
        Filter::Lzma => return lzma::decode_alone(src, most),
        Filter::SizedLz4 => lz4::sized_len(src)?,
        Filter::Lz4 => lz4::header(&mut &src[..])?.0,
        Filter::Bitshuffle(layout) if layout.inner != bitshuffle::Inner::None => {
            lz4::header(&mut &src[..])?.0
        }
        Filter::Blosc => blosc::decoded_len(src)?,
        Filter::Zstd(_) => zstd::decoded_len(src)?,
        // Of what is asked for here only bitshuffle without compression is left, which keeps the length.
        _ => src.len(),
    };
    ensure!(
        u32::try_from(len).is_ok() && len as u64 <= most,
        "Corrupt chunk: it claims {len} bytes"
    );
    let mut dst = vec![];
    dst.try_reserve_exact(len)?;
    dst.resize(len, 0);
    let count = filter.decode(src, &mut dst)?;
    dst.truncate(count);
    Ok(dst)
}

/// Undoes the filters of a chunk into `dst`, which is as long as the chunk. Bit i of `mask`, HDF5's filter mask, says
/// that filter i was skipped. Data of any other length are an error.
pub fn decode(filters: &[Filter], mask: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
    // What compressors may add to data that do not shrink, in a pipeline that goes on after one.
    let room = dst.len() + dst.len() / 64 + 1024;
    let skipped = |i: usize| u32::try_from(i).is_ok_and(|i| mask.unbounded_shr(i) & 1 == 1);
    // Of `[Shuffle, Deflate]` the last one, deflate, is undone first, to a buffer between.
    let mut steps: Vec<&Filter> = (filters.iter().enumerate().rev())
        .filter(|(i, filter)| !skipped(*i) && !filter.changes_nothing())
        .map(|(_, filter)| filter)
        .collect();
    // The first of the list is undone last, straight to `dst`.
    let last = steps.pop();
    let len = dst.len();
    let count = BETWEEN.with_borrow_mut(|(from, to)| {
        let undo = || {
            let mut count = None;
            for filter in steps {
                // What the filter before made of it.
                if count.is_some() {
                    mem::swap(from, to);
                }
                // Kept at its longest, so that it is made once.
                if to.len() < room {
                    to.resize(room, 0);
                }
                let input = count.map_or(src, |count| &from[..count]);
                count = Some(filter.decode(input, &mut to[..room])?);
            }
            let input = count.map_or(src, |count| &to[..count]);
            match last {
                Some(filter) => filter.decode(input, dst),
                None => Ok(input.len()),
            }
        };
        let count = undo();
        for buffer in [from, to] {
            if buffer.len() > LARGEST {
                *buffer = Vec::new();
            }
        }
        count
    })?;
    ensure!(
        count == len,
        "Corrupt chunk: {count} bytes instead of {len} after its filters"
    );
    // There are no filters, the mask skips them all, or they change nothing.
    if last.is_none() {
        dst.copy_from_slice(src);
    }
    Ok(())
}

/// Applies filters to a chunk; `dst` is replaced by the result. Returns HDF5's filter mask: bit i says that
/// filter i was skipped, as lzf is where it does not shrink the chunk.
pub fn encode(filters: &[Filter], src: &[u8], dst: &mut Vec<u8>) -> Result<u32> {
    let mut mask = 0;
    let mut encoded = false;
    BETWEEN.with_borrow_mut(|(between, _)| {
        for (i, filter) in filters.iter().enumerate() {
            let input = if encoded { between.as_slice() } else { src };
            if filter.changes_nothing() {
                continue;
            }
            if filter.encode(input, dst)? {
                mem::swap(between, dst);
                encoded = true;
            } else {
                // What it left in `dst` is of no use; what the filters before it made is still in `between`.
                mask |= 1 << i;
            }
        }
        mem::swap(between, dst);
        anyhow::Ok(())
    })?;
    if !encoded {
        dst.clear();
        dst.extend_from_slice(src);
    }
    Ok(mask)
}

#[cfg(test)]
mod tests;
