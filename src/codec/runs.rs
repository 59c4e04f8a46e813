//! Deflate of the byte planes of integers by runs: bytes, and repeats of the byte before.
//!
//! Shuffled integers are planes of zeros, of bytes that rise slowly, and of noise. What repeats in them repeats at once,
//! so a search for other matches takes nearly all of the time and finds next to nothing: indices take as much as at
//! level 1 of libdeflate, which is four times slower. Where they do come again at a distance, as in rows that are
//! nearly full, this declines.

use super::blocks::{self, LONGEST, SHORTEST, Token};

/// Bytes of a block: half a plane of 4-byte items in a chunk of 256 KiB.
const BLOCK: usize = 32 << 10;

/// A zlib stream (RFC 1950) in `dst`. False, and `dst` is of no use, where other matches than runs are worth a search.
pub fn encode(src: &[u8], dst: &mut Vec<u8>) -> bool {
    let (mut bits, mut tokens) = (blocks::begin(dst), vec![0; BLOCK + size_of::<u64>()]);
    let mut start = 0;
    loop {
        let end = src.len().min(start + BLOCK);
        let count = find_tokens(src, start, end, &mut tokens);
        // The lowest bytes, which come first, differ the most.
        if start == 0 && comes_again(&tokens[..count]) {
            return false;
        }
        let is_last = end == src.len();
        blocks::write(&src[start..end], &tokens[..count], is_last, &mut bits);
        if is_last {
            break;
        }
        start = end;
    }
    blocks::end(bits, src);
    true
}

/// Writes to `tokens` what stands for `src[start..end]`; returns how many they are.
fn find_tokens(src: &[u8], start: usize, end: usize, tokens: &mut [Token]) -> usize {
    let (mut at, mut count) = (start, 0);
    if start == 0 && end > 0 {
        tokens[0] = blocks::byte(src[0]);
        (at, count) = (1, 1);
    }
    while at < end {
        let here = &src[at..end];
        // All eight are put down; those before a run stay.
        let differ = match (word(here), word(&src[at - 1..end])) {
            (Some(next), Some(before)) => {
                tokens[count..count + 8].copy_from_slice(&next.to_le_bytes().map(blocks::byte));
                first_zero(next ^ before)
            }
            _ => {
                tokens[count] = blocks::byte(here[0]);
                usize::from(here[0] != src[at - 1])
            }
        };
        if differ > 0 {
            (at, count) = (at + differ, count + differ);
            continue;
        }
        let mut left = run_length(here);
        at += left;
        while left >= SHORTEST {
            let len = left.min(LONGEST);
            tokens[count] = blocks::repeat(len, 1);
            (left, count) = (left - len, count + 1);
        }
        tokens[count..count + left].fill(blocks::byte(here[0]));
        count += left;
    }
    count
}

/// The next eight bytes, the first the lowest.
fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Every byte 1.
const ONES: u64 = u64::MAX / 255;

/// The place of the first byte that is 0; 8 where none is.
fn first_zero(word: u64) -> usize {
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    zeros.trailing_zeros() as usize / 8
}

/// How many bytes are as the first.
fn run_length(bytes: &[u8]) -> usize {
    let (first, mut len) = (bytes[0], 0);
    let all = u64::from(first) * ONES;
    while let Some(next) = word(&bytes[len..]) {
        if next != all {
            return len + (next ^ all).trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|b| **b == first).count()
}

/// Whether groups of tokens come again at a distance, more often than by chance. Looks at some of the first ones.
fn comes_again(tokens: &[Token]) -> bool {
    const LOOKED_AT: usize = 8 << 10;
    /// Tokens of a group: what a match must have to be worth it, and more.
    const GROUP: usize = 4;
    /// One group in so many is remembered, and so many in a row are looked up, of which one must be one of those.
    const EVERY: usize = 8;
    const STEP: usize = 64;
    let group = |at: usize| {
        let tokens = tokens[at..at + GROUP].iter();
        tokens.fold(0, |group, token| {
            group << 16 | (u64::from(*token >> 15) + 1)
        })
    };
    let mut seen = [0; LOOKED_AT / EVERY];
    let slot = |group: u64| (group.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize;
    let starts = (0..LOOKED_AT.min(tokens.len()).saturating_sub(STEP + GROUP)).step_by(STEP);
    let (steps, mut found) = (starts.len(), 0);
    for start in starts {
        let is_known = |at: usize| seen[slot(group(at))] == group(at);
        found += usize::from((start..start + EVERY).any(is_known));
        for at in (start..start + STEP).step_by(EVERY) {
            seen[slot(group(at))] = group(at);
        }
    }
    found > steps / 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::blocks::comes_back;

    /// Bytes that are all as likely.
    fn noise(count: usize) -> Vec<u8> {
        let next = |state: &u64| Some(state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(99));
        let states = std::iter::successors(Some(1), next);
        states
            .map(|state: u64| (state >> 56) as u8)
            .take(count)
            .collect()
    }

    proptest! {
        #[test]
        fn any_runs_come_back(runs in prop::collection::vec((any::<u8>(), prop_oneof![1usize..5, 250..270usize, 1..3000usize]), 0..200)) {
            let src: Vec<u8> = runs.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect();
            comes_back(encode, &src);
        }

        #[test]
        fn any_bytes_come_back(src: Vec<u8>, most in 1u8..9, repeat in 1usize..4) {
            comes_back(encode, &src.repeat(repeat));
            let few: Vec<u8> = src.iter().map(|byte| byte % most).collect();
            comes_back(encode, &few);
        }
    }

    #[test]
    fn the_longest_codes_come_back() {
        // As often as Fibonacci's numbers: each one bit longer than the one before.
        let mut often = vec![1usize, 1];
        while often.len() < 22 {
            often.push(often[often.len() - 1] + often[often.len() - 2]);
        }
        let mut src: Vec<u8> = vec![];
        while src.len() < BLOCK {
            for (byte, count) in often.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                src.push(byte as u8);
                *count -= 1;
            }
        }
        comes_back(encode, &src[..BLOCK]);
    }

    #[test]
    fn noise_is_stored_and_zeros_take_next_to_nothing() {
        let mut packed = vec![];
        assert!(encode(&noise(3 * BLOCK), &mut packed));
        assert!(packed.len() < 3 * BLOCK + 32, "{}", packed.len());
        assert!(encode(&vec![0; 3 * BLOCK], &mut packed));
        assert!(packed.len() < 300, "{}", packed.len());
        for src in [&[][..], &[7], &[7; 4]] {
            comes_back(encode, src);
        }
    }

    #[test]
    fn what_comes_again_at_a_distance_is_declined() {
        let mut packed = vec![];
        let period = noise(1000);
        assert!(!encode(&period.repeat(100), &mut packed));
        assert!(encode(&period, &mut packed));
    }
}
