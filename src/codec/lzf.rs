//! HDF5 filter 32000, lzf, as h5py writes it: a raw LibLZF stream. A control byte below 32 is followed by
//! that many literal bytes plus one. Any other is a match: its upper three bits are the length less two
//! (7: plus the next byte), the lower five and a further byte the distance less one, high bits first.

use std::cell::RefCell;

use anyhow::{Result, bail};

/// Bytes of the longest run of literals.
const LITERALS: usize = 32;
/// How far a match may look back: 13 bits of it are stored.
const DISTANCE: usize = 1 << 13;
const SHORTEST: usize = 3;
/// Of matches: 2 are never counted, 7 say that a byte with the rest follows.
const LONGEST: usize = 2 + 7 + 255;
const HASH_BITS: u32 = 14;

thread_local! {
    /// Where three bytes with a given hash were last seen.
    static SEEN: RefCell<Vec<u32>> = RefCell::new(vec![0; 1 << HASH_BITS]);
}

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(mut src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let mut at = 0;
    while let Some((&control, rest)) = src.split_first() {
        src = rest;
        let length = match control {
            0..32 => literals(&mut src, usize::from(control) + 1, &mut dst[at..]),
            _ => repeat(&mut src, usize::from(control), dst, at),
        };
        let Some(length) = length else {
            bail!("Corrupt lzf data");
        };
        at += length;
    }
    Ok(at)
}

fn literals(src: &mut &[u8], length: usize, dst: &mut [u8]) -> Option<usize> {
    let bytes = src.split_off(..length)?;
    dst.get_mut(..length)?.copy_from_slice(bytes);
    Some(length)
}

/// Copies a match to `at` from before it; `None` where it begins before `dst`, or does not fit.
fn repeat(src: &mut &[u8], control: usize, dst: &mut [u8], at: usize) -> Option<usize> {
    let mut length = (control >> 5) + 2;
    if length == 7 + 2 {
        length += usize::from(*src.split_off_first()?);
    }
    let distance = (control & 31) << 8 | usize::from(*src.split_off_first()?);
    let from = at.checked_sub(distance + 1)?;
    let window = dst.get_mut(from..at + length)?;
    // A match may run into what it writes: then whole periods are copied, each twice as long as the last.
    let mut period = distance + 1;
    let mut left = length;
    while left > 0 {
        let count = period.min(left);
        window.copy_within(..count, distance + 1 + length - left);
        left -= count;
        period += count;
    }
    Some(length)
}

/// Returns whether the data shrank; if not, `dst` holds nothing of use.
pub fn encode(src: &[u8], dst: &mut Vec<u8>) -> bool {
    dst.clear();
    SEEN.with_borrow_mut(|seen| {
        seen.fill(0);
        let (mut at, mut pending) = (0, 0);
        while let Some(&next) = src.get(at..).and_then(<[u8]>::first_chunk) {
            let slot = &mut seen[hash(next)];
            let from = *slot as usize;
            *slot = at as u32;
            // An empty slot reads as place 0, and other bytes may have the same hash: what is there is compared.
            let near = (1..=DISTANCE).contains(&at.wrapping_sub(from));
            if !near || src[from..from + SHORTEST] != next {
                at += 1;
                continue;
            }
            let ahead = src[at..].iter().zip(&src[from..]).take(LONGEST);
            let length = ahead.take_while(|(a, b)| a == b).count();
            push_literals(&src[pending..at], dst);
            push_match(at - from - 1, length - 2, dst);
            at += length;
            pending = at;
            if dst.len() >= src.len() {
                return false;
            }
        }
        push_literals(&src[pending..], dst);
        dst.len() < src.len()
    })
}

fn hash(bytes: [u8; SHORTEST]) -> usize {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

fn push_literals(bytes: &[u8], dst: &mut Vec<u8>) {
    for run in bytes.chunks(LITERALS) {
        dst.push(run.len() as u8 - 1);
        dst.extend_from_slice(run);
    }
}

/// `distance` less one and `length` less two, as they are stored.
fn push_match(distance: usize, length: usize, dst: &mut Vec<u8>) {
    let high = (distance >> 8) as u8;
    if length < 7 {
        dst.push((length as u8) << 5 | high);
    } else {
        dst.extend([7 << 5 | high, (length - 7) as u8]);
    }
    dst.push(distance as u8);
}
