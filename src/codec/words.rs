//! Deflate of values by matches of whole words: counts, and what becomes of counts, are few values that come again and
//! again.
//!
//! A match of other encoders may begin at any byte; here it begins at a word of 4 bytes and is of whole words, which
//! leaves a quarter of the places to look at, and finds next to all that there is. Where words seldom come again, as in
//! dense matrices, this declines.

use super::blocks::{self, FARTHEST, LONGEST, Token};

const WORD: usize = 4;
/// Bytes of a block.
const BLOCK: usize = 256 << 10;
/// The longest match, of whole words.
const MOST: usize = LONGEST - LONGEST % WORD;
/// What is looked at before a place is looked up.
const AHEAD: usize = 4 * WORD;

/// A zlib stream (RFC 1950) in `dst`. False, and `dst` is of no use, where words seldom come again.
pub fn encode(src: &[u8], dst: &mut Vec<u8>) -> bool {
    let (mut bits, mut tokens, mut seen) = (blocks::begin(dst), vec![], Seen::new());
    let mut start = 0;
    loop {
        let end = src.len().min(start + BLOCK);
        if !find_tokens(src, start, end, &mut seen, &mut tokens) {
            return false;
        }
        let is_last = end == src.len();
        blocks::write(&src[start..end], &tokens, is_last, &mut bits);
        if is_last {
            break;
        }
        start = end;
    }
    blocks::end(bits, src);
    true
}

/// Where words were seen last, by what begins there: one, two or four of them. A place is 1 more, 0 is none.
struct Seen {
    one: [u32; 1 << ONE],
    two: [u32; 1 << TWO],
    four: [u32; 1 << FOUR],
}

/// Bits of a slot.
const ONE: u32 = 10;
const TWO: u32 = 12;
const FOUR: u32 = 13;

impl Seen {
    fn new() -> Box<Seen> {
        Box::new(Seen {
            one: [0; 1 << ONE],
            two: [0; 1 << TWO],
            four: [0; 1 << FOUR],
        })
    }

    /// Puts down `at`, where these bytes begin; returns the places that were there.
    fn put(&mut self, bytes: &[u8; AHEAD], at: usize) -> [u32; 3] {
        let half = |at: usize| {
            bytes[at..]
                .first_chunk()
                .map_or(0, |b| u64::from_le_bytes(*b))
        };
        let slot = |words: u64, bits: u32| {
            (words.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - bits)) as usize
        };
        let (two, next) = (half(0), half(2 * WORD));
        let four = two ^ next.rotate_left(31).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let at = at as u32 + 1;
        [
            std::mem::replace(&mut self.one[slot(two << 32, ONE)], at),
            std::mem::replace(&mut self.two[slot(two, TWO)], at),
            std::mem::replace(&mut self.four[slot(four, FOUR)], at),
        ]
    }
}

/// What stands for `src[start..end]`. False, and the tokens are of no use, where many of the first words do not come
/// again.
fn find_tokens(
    src: &[u8],
    start: usize,
    end: usize,
    seen: &mut Seen,
    tokens: &mut Vec<Token>,
) -> bool {
    /// After so many bytes it is seen whether a search is worth it.
    const FIRST: usize = 16 << 10;
    tokens.clear();
    let (mut at, mut alone) = (start, 0);
    while let Some(ahead) = src[at..end].first_chunk() {
        let (len, distance) = longest(src, at, end, seen.put(ahead, at));
        if len == 0 {
            tokens.extend(ahead[..WORD].iter().map(|byte| blocks::byte(*byte)));
            at += WORD;
            alone += WORD;
            if start == 0 && at < FIRST && alone > FIRST / 4 {
                return false;
            }
            continue;
        }
        tokens.push(blocks::repeat(len, distance));
        // What begins at its second word is looked for the most.
        if len > WORD
            && let Some(ahead) = src[at + WORD..end].first_chunk()
        {
            seen.put(ahead, at + WORD);
        }
        at += len;
    }
    tokens.extend(src[at..end].iter().map(|byte| blocks::byte(*byte)));
    true
}

/// The longest match at `at`, and its distance; none of a place where other words begin.
fn longest(src: &[u8], at: usize, end: usize, before: [u32; 3]) -> (usize, usize) {
    let most = MOST.min(end - at);
    let here = &src[at..at + most];
    let [one, two, four] = before.map(|place| match place {
        0 => None,
        place => Some(at + 1 - place as usize).filter(|far| *far <= FARTHEST),
    });
    // A slot may hold a place where other words begin, so what was found is compared. The table of four words goes
    // first, as its matches are the longest.
    let mut best = (0, 0);
    if let Some(far) = four {
        best = (match_length(&src[at - far..], here), far);
    }
    if best.0 < AHEAD
        && let Some(far) = two
    {
        best = best.max((match_length(&src[at - far..], here), far));
    }
    if best.0 < WORD
        && let Some(far) = one
        && src[at - far..at - far + WORD] == here[..WORD]
    {
        best = (WORD, far);
    }
    if best.0 < WORD { (0, 0) } else { best }
}

/// Bytes of whole words that both begin with.
fn match_length(before: &[u8], here: &[u8]) -> usize {
    let mut len = 0;
    let halves = before
        .as_chunks::<8>()
        .0
        .iter()
        .zip(here.as_chunks::<8>().0);
    for (a, b) in halves {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return (len + differ.trailing_zeros() as usize / 8) & !(WORD - 1);
        }
        len += 8;
    }
    len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::blocks::comes_back;

    proptest! {
        #[test]
        fn any_words_come_back(
            few in prop::collection::vec(any::<[u8; 4]>(), 1..20),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..3000),
            tail in prop::collection::vec(any::<u8>(), 0..4),
            before in 0usize..3,
        ) {
            let words = picks.iter().flat_map(|pick| few[pick.index(few.len())]);
            let src: Vec<u8> = words.chain(tail).collect();
            // Also beyond the farthest match, and beyond a block.
            let far = vec![7; before * 40_000];
            comes_back(encode, &[src.clone(), far, src].concat());
        }

        #[test]
        fn any_bytes_come_back(src: Vec<u8>, repeat in 1usize..4) {
            comes_back(encode, &src.repeat(repeat));
        }
    }

    #[test]
    fn blocks_after_the_first_come_back() {
        let word = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 27) as f32).to_le_bytes();
        let src: Vec<u8> = (0..200_000).flat_map(word).collect();
        assert!(comes_back(encode, &src));
    }

    #[test]
    fn words_that_seldom_come_again_are_declined() {
        let word = |i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes();
        let src: Vec<u8> = (0..20_000).flat_map(word).collect();
        assert!(!comes_back(encode, &src));
    }
}
