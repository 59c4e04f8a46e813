//! HDF5 filter 2, shuffle: byte 0 of every item, then byte 1 of every item, and so on. Bytes after the
//! last whole item stay where they are.
//!
//! Sizes that are powers of two go through tiles that are riffled like a deck of cards. The index of a
//! byte in a tile of 2^k bytes is k bits, and one riffle rotates them by one place; so log2(item size)
//! riffles turn planes into items, and the remaining ones of k turn items into planes. Compilers make
//! one vector instruction per 16 bytes of a riffle.

/// Bytes of a tile: eight 16-byte registers.
const TILE: usize = 128;

/// Items of `size` bytes to planes. Both slices have the same length.
pub fn shuffle(src: &[u8], size: usize, dst: &mut [u8]) {
    match size {
        0 | 1 => dst.copy_from_slice(src),
        2 => shuffle_tiles::<2>(src, dst),
        4 => shuffle_tiles::<4>(src, dst),
        8 => shuffle_tiles::<8>(src, dst),
        16 => shuffle_tiles::<16>(src, dst),
        _ => shuffle_from(0, src, size, dst),
    }
}

/// Planes to items of `size` bytes. Both slices have the same length.
pub fn unshuffle(src: &[u8], size: usize, dst: &mut [u8]) {
    match size {
        0 | 1 => dst.copy_from_slice(src),
        2 => unshuffle_tiles::<2>(src, dst),
        4 => unshuffle_tiles::<4>(src, dst),
        8 => unshuffle_tiles::<8>(src, dst),
        16 => unshuffle_tiles::<16>(src, dst),
        _ => unshuffle_from(0, src, size, dst),
    }
}

fn shuffle_tiles<const SIZE: usize>(src: &[u8], dst: &mut [u8]) {
    let (items, width) = (src.len() / SIZE, TILE / SIZE);
    let (tiles, _) = src.as_chunks::<TILE>();
    for (at, tile) in tiles.iter().enumerate() {
        let mut tile = *tile;
        for _ in 0..width.ilog2() {
            tile = riffle(tile);
        }
        for (plane, part) in tile.chunks_exact(width).enumerate() {
            dst[plane * items + at * width..][..width].copy_from_slice(part);
        }
    }
    shuffle_from(tiles.len() * width, src, SIZE, dst);
}

fn unshuffle_tiles<const SIZE: usize>(src: &[u8], dst: &mut [u8]) {
    let (items, width) = (src.len() / SIZE, TILE / SIZE);
    let (tiles, _) = dst.as_chunks_mut::<TILE>();
    let done = tiles.len() * width;
    for (at, out) in tiles.iter_mut().enumerate() {
        let mut tile = [0; TILE];
        for (plane, part) in tile.chunks_exact_mut(width).enumerate() {
            part.copy_from_slice(&src[plane * items + at * width..][..width]);
        }
        for _ in 0..SIZE.ilog2() {
            tile = riffle(tile);
        }
        *out = tile;
    }
    unshuffle_from(done, src, SIZE, dst);
}

/// One card from the first half, one from the second, in turn. The plain loop is what compilers recognise:
/// `array::from_fn` makes this ten times slower.
fn riffle(deck: [u8; TILE]) -> [u8; TILE] {
    let mut riffled = [0; TILE];
    for card in 0..TILE / 2 {
        riffled[2 * card] = deck[card];
        riffled[2 * card + 1] = deck[TILE / 2 + card];
    }
    riffled
}

/// Any size, from item `first` on.
fn shuffle_from(first: usize, src: &[u8], size: usize, dst: &mut [u8]) {
    let items = src.len() / size;
    for (item, bytes) in src.chunks_exact(size).enumerate().skip(first) {
        for (plane, &byte) in bytes.iter().enumerate() {
            dst[plane * items + item] = byte;
        }
    }
    dst[items * size..].copy_from_slice(&src[items * size..]);
}

/// Any size, from item `first` on.
fn unshuffle_from(first: usize, src: &[u8], size: usize, dst: &mut [u8]) {
    let items = src.len() / size;
    for (item, bytes) in dst.chunks_exact_mut(size).enumerate().skip(first) {
        for (plane, byte) in bytes.iter_mut().enumerate() {
            *byte = src[plane * items + item];
        }
    }
    dst[items * size..].copy_from_slice(&src[items * size..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn planes_then_the_rest() {
        let mut planes = [0; 11];
        shuffle(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 4, &mut planes);
        assert_eq!(planes, [1, 5, 2, 6, 3, 7, 4, 8, 9, 10, 11]);
    }

    proptest! {
        #[test]
        fn tiles_agree_with_the_definition(src: Vec<u8>, repeat in 1usize..8, size in 1usize..20) {
            let src = src.repeat(repeat);
            let (mut planes, mut plain, mut back) = (src.clone(), src.clone(), src.clone());
            shuffle(&src, size, &mut planes);
            shuffle_from(0, &src, size, &mut plain);
            prop_assert_eq!(&planes, &plain);
            unshuffle(&planes, size, &mut back);
            prop_assert_eq!(back, src);
        }
    }
}
