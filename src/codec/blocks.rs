//! A zlib stream (RFC 1950, RFC 1951) of tokens that others find: bytes, and repeats of what stands at a distance before.
//!
//! Each block has Huffman codes of its own; one that no code makes smaller is stored as it is, and is read the faster.

use libdeflater::adler32;

use super::huffman::{self, Bits, Code, Header};

/// What comes next: a [`byte`], or a [`repeat`].
pub type Token = u32;
/// Lengths of a repeat.
pub const SHORTEST: usize = 3;
pub const LONGEST: usize = 258;
/// The farthest that a repeat stands behind what it repeats.
pub const FARTHEST: usize = 1 << DISTANCE;

/// Bits of a token below its kind: of a repeat, the distance less 1.
const DISTANCE: u32 = 15;
/// Kinds of tokens: a byte, or these and the length of a repeat less [`SHORTEST`].
const BYTES: usize = 256;
const KINDS: usize = BYTES + LONGEST - SHORTEST + 1;

/// The symbol that ends a block; those below are bytes, those above lengths of repeats.
const END: usize = 256;
const SYMBOLS: usize = 286;
const DISTANCES: usize = 30;

pub const fn byte(byte: u8) -> Token {
    (byte as Token) << DISTANCE
}

pub fn repeat(len: usize, distance: usize) -> Token {
    ((BYTES + len - SHORTEST) << DISTANCE | (distance - 1)) as Token
}

fn kind(token: Token) -> usize {
    // No token has a larger kind: the remainder says so to the compiler, which then leaves out checks of tables.
    (token >> DISTANCE) as usize % KINDS
}

/// A symbol, and the value and number of the bits after it.
#[derive(Clone, Copy)]
struct Symbol {
    symbol: usize,
    value: u64,
    bits: u32,
}

/// Of repeats, by the length less [`SHORTEST`] (3.2.5).
///
/// Lengths 3 to 10 are symbols 257 to 264, lengths 11 and 12 share 265 and differ in one bit after it, and so on; 258,
/// the longest, has the last symbol for itself.
const LENGTHS: [Symbol; KINDS - BYTES] = {
    let (symbol, value, bits) = (SYMBOLS - 1, 0, 0);
    let longest = Symbol {
        symbol,
        value,
        bits,
    };
    let mut lengths = [longest; KINDS - BYTES];
    let mut len = 0;
    while len < lengths.len() - 1 {
        lengths[len] = step(len, 2);
        lengths[len].symbol += END + 1;
        len += 1;
    }
    lengths
};

/// Symbols that stand for twice as many numbers after every 2^`fine` of them, counted from 0 as the numbers are.
/// With 2^2, numbers 0 to 7 are symbols of their own, 8 and 9 are symbol 8 and a bit, 16 to 19 symbol 12 and two bits.
const fn step(number: usize, fine: u32) -> Symbol {
    let scale = (number >> fine).checked_ilog2();
    let bits = match scale {
        Some(scale) => scale,
        None => 0,
    };
    Symbol {
        symbol: (bits as usize) * (1 << fine) + (number >> bits),
        value: (number & ((1 << bits) - 1)) as u64,
        bits,
    }
}

/// Of the distance of a repeat.
fn distance(token: Token) -> Symbol {
    step(token as usize % FARTHEST, 1)
}

/// Begins a stream in `dst`.
pub fn begin(dst: &mut Vec<u8>) -> Bits<'_> {
    dst.clear();
    // Deflate with a window of 32 KiB, of an encoder that does not search for long (RFC 1950, 2.2).
    dst.extend([0x78, 0x01]);
    Bits::new(dst)
}

/// Ends a stream that stands for `src`.
pub fn end(bits: Bits, src: &[u8]) {
    bits.finish().extend(adler32(src).to_be_bytes());
}

/// How often each symbol is written, and how many bits beside them.
struct Counts {
    symbols: [u32; SYMBOLS],
    distances: [u32; DISTANCES],
    extra: usize,
}

/// Writes a block of tokens that stand for `bytes`.
pub fn write(bytes: &[u8], tokens: &[Token], is_last: bool, bits: &mut Bits) {
    let counts = Counts::of(tokens);
    let sizes = huffman::sizes(&counts.symbols, huffman::LONGEST);
    let distances = huffman::sizes(&counts.distances, huffman::LONGEST);
    let header = Header::new(&sizes, END, &distances);
    let coded = header.bits() + counts.bits(&sizes, &distances);
    bits.reserve(coded.min(8 * bytes.len()));
    if coded >= 8 * bytes.len() && !bytes.is_empty() {
        return bits.store(bytes, is_last);
    }
    bits.put(u64::from(is_last) | 2 << 1, 3);
    header.write(bits);
    let (codes, distances) = (huffman::codes(&sizes), huffman::codes(&distances));
    let repeat = |length: &Symbol| codes[length.symbol].then(length.value, length.bits);
    let all = codes[..BYTES].iter().copied();
    let mut all: Vec<Code> = all.chain(LENGTHS.iter().map(repeat)).collect();
    if counts.distances[1..].iter().all(|count| *count == 0) {
        // Always 1, whose code is one bit.
        all[BYTES..]
            .iter_mut()
            .for_each(|code| *code = code.then(0, 1));
        bits.put_all(tokens.iter().map(|token| all[kind(*token)]));
    } else {
        // Of up to 48 bits: a code of 15 and 5 bits after it, for the length, and one of 15 and 13, for the distance.
        let code = |token: &Token| {
            let code = all[kind(*token)];
            if kind(*token) < BYTES {
                return code;
            }
            let Symbol {
                symbol,
                value,
                bits,
            } = distance(*token);
            code.then(distances[symbol].bits, distances[symbol].len)
                .then(value, bits)
        };
        tokens
            .iter()
            .map(code)
            .for_each(|code| bits.put(code.bits, code.len));
    }
    bits.put(codes[END].bits, codes[END].len);
}

impl Counts {
    fn of(tokens: &[Token]) -> Counts {
        // Two tables, as an addition waits for the one before it to the same place.
        let mut kinds = [[0u32; KINDS]; 2];
        for (at, token) in tokens.iter().enumerate() {
            kinds[at % 2][kind(*token)] += 1;
        }
        let [kinds, others] = kinds;
        let kinds = kinds.iter().zip(others).map(|(a, b)| a + b);
        let mut counts = Counts {
            symbols: [0; SYMBOLS],
            distances: [0; DISTANCES],
            extra: 0,
        };
        let mut repeats = 0;
        for (kind, count) in kinds.enumerate() {
            let symbol = match kind.checked_sub(BYTES) {
                None => kind,
                Some(len) => {
                    counts.extra += LENGTHS[len].bits as usize * count as usize;
                    repeats += count;
                    LENGTHS[len].symbol
                }
            };
            counts.symbols[symbol] += count;
        }
        counts.symbols[END] = 1;
        let far = tokens
            .iter()
            .filter(|token| !(**token as usize).is_multiple_of(FARTHEST));
        for token in far {
            let Symbol { symbol, bits, .. } = distance(*token);
            counts.distances[symbol] += 1;
            counts.extra += bits as usize;
        }
        // One distance at the least has a code.
        counts.distances[0] = (repeats - counts.distances.iter().sum::<u32>()).max(1);
        counts
    }

    /// What all takes with codes of these sizes.
    fn bits(&self, symbols: &[u8], distances: &[u8]) -> usize {
        let all = |counts: &[u32], sizes: &[u8]| {
            let each = counts.iter().zip(sizes);
            each.map(|(count, size)| *count as usize * usize::from(*size))
                .sum::<usize>()
        };
        all(&self.symbols, symbols) + all(&self.distances, distances) + self.extra
    }
}

/// Whether these bytes are encoded; then they are what other decoders make of that.
#[cfg(test)]
pub fn comes_back(encode: fn(&[u8], &mut Vec<u8>) -> bool, src: &[u8]) -> bool {
    let (mut packed, mut back) = (vec![], vec![0; src.len()]);
    if !encode(src, &mut packed) {
        return false;
    }
    assert_eq!(
        super::deflate::decode(&packed, &mut back).unwrap(),
        src.len()
    );
    assert!(back == src);
    let mut other = vec![];
    let mut reader = flate2::read::ZlibDecoder::new(packed.as_slice());
    std::io::Read::read_to_end(&mut reader, &mut other).unwrap();
    assert!(other == src);
    true
}
