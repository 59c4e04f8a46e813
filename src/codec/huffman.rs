//! Huffman codes as deflate has them (RFC 1951, 3.2): their sizes from counts, the canonical codes of these sizes, the
//! header of a block that tells them, and the stream of bits.

use std::iter::repeat_n;

/// Most bits of a code.
pub const LONGEST: usize = 15;

/// Bits in the order in which they are written, the first in the lowest place.
#[derive(Clone, Copy, Default)]
pub struct Code {
    pub bits: u64,
    pub len: u32,
}

impl Code {
    /// With so many bits of a value behind it.
    pub fn then(self, value: u64, bits: u32) -> Code {
        Code {
            bits: self.bits | value << self.len,
            len: self.len + bits,
        }
    }
}

/// The size of each symbol's code, none longer than `most`; 0 for what does not occur. A symbol that is alone takes a bit.
/// `[5, 1, 0, 1] -> [1, 2, 0, 2]`.
pub fn sizes(counts: &[u32], most: usize) -> Vec<u8> {
    let occur = counts.iter().copied().zip(0..).filter(|(n, _)| *n > 0);
    let mut leaves: Vec<(u32, usize)> = occur.collect();
    leaves.sort_unstable();
    let mut of_size = vec![0; most + 1];
    for depth in depths(leaves.iter().map(|(count, _)| *count)) {
        of_size[depth.clamp(1, most)] += 1;
    }
    make_room(&mut of_size);
    let longest_first = of_size.iter().enumerate().rev();
    let longest_first = longest_first.flat_map(|(size, n)| repeat_n(size as u8, *n));
    let mut sizes = vec![0; counts.len()];
    for ((_, symbol), size) in leaves.iter().zip(longest_first) {
        sizes[*symbol] = size;
    }
    sizes
}

/// How deep leaves of these weights, the lightest first, lie in their Huffman tree.
fn depths(leaves: impl ExactSizeIterator<Item = u32>) -> Vec<usize> {
    let count = leaves.len();
    let mut weights: Vec<u32> = leaves.collect();
    // First the leaves, then the nodes as they are made, the last of which is the root.
    let mut parents = vec![0; 2 * count];
    // Nodes are made in the order of their weights, so the lightest of all is the next leaf or the next node.
    let (mut leaf, mut node) = (0, count);
    while weights.len() + 1 < 2 * count {
        let made = weights.len();
        let mut lightest = || {
            let is_leaf = node == made || (leaf < count && weights[leaf] <= weights[node]);
            let next = if is_leaf { &mut leaf } else { &mut node };
            *next += 1;
            parents[*next - 1] = made;
            weights[*next - 1]
        };
        let weight = lightest() + lightest();
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * count];
    for at in (0..weights.len().saturating_sub(1)).rev() {
        depths[at] = depths[parents[at]] + 1;
    }
    depths.truncate(count);
    depths
}

/// Codes that were cut to the longest size take room from shorter ones, each of which becomes longer by one bit.
fn make_room(of_size: &mut [usize]) {
    // In units of the longest code: all codes together have 2^`most`, and a code that is a bit shorter takes two.
    let most = of_size.len() - 1;
    let each = of_size.iter().enumerate();
    let taken: usize = each.map(|(size, n)| n << (most - size)).sum();
    for _ in 1 << most..taken {
        of_size[most] -= 1;
        let longer = (1..most).rfind(|size| of_size[*size] > 0).unwrap_or(1);
        of_size[longer] -= 1;
        of_size[longer + 1] += 2;
    }
}

/// The canonical codes of these sizes.
/// Shorter codes come first, equally long ones in the order of their symbols (3.2.2): sizes `[1, 2, 0, 2]` make codes
/// 0, 10, none and 11.
pub fn codes(sizes: &[u8]) -> Vec<Code> {
    let mut of_size = [0u16; LONGEST + 1];
    let coded = || sizes.iter().filter(|size| **size > 0);
    coded().for_each(|size| of_size[usize::from(*size)] += 1);
    let mut next = [0u16; LONGEST + 1];
    for size in 1..LONGEST {
        next[size + 1] = (next[size] + of_size[size]) << 1;
    }
    let code = |&size: &u8| {
        if size == 0 {
            return Code::default();
        }
        let code = &mut next[usize::from(size)];
        *code += 1;
        Code {
            bits: ((*code - 1).reverse_bits() >> (16 - size)).into(),
            len: size.into(),
        }
    };
    sizes.iter().map(code).collect()
}

/// The sizes of a block's codes, as they are written before it (3.2.7).
pub struct Header {
    /// Symbols above the one that ends a block, and distances above the first.
    lengths: usize,
    distances: usize,
    /// What the sizes are written as: a symbol, and the value and number of the bits after it.
    tokens: Vec<(usize, u64, u32)>,
    /// The sizes of the codes of these symbols, in the order in which they are written, without zeros at the end.
    sizes: Vec<u8>,
    codes: Vec<Code>,
}

/// The order in which the sizes of that code are written.
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

impl Header {
    /// Of symbols with these sizes, of which `end` ends a block, and of distances.
    pub fn new(sizes: &[u8], end: usize, distances: &[u8]) -> Header {
        let last = |sizes: &[u8]| sizes.iter().rposition(|size| *size > 0).unwrap_or(0);
        let (lengths, far) = (last(sizes), last(distances));
        let all = [&sizes[..=lengths], &distances[..=far]].concat();
        let tokens: Vec<_> = all.chunk_by(|a, b| a == b).flat_map(repeated).collect();
        let mut counts = [0; ORDER.len()];
        tokens.iter().for_each(|(symbol, ..)| counts[*symbol] += 1);
        let sizes = self::sizes(&counts, 7);
        let mut ordered: Vec<u8> = ORDER.iter().map(|symbol| sizes[*symbol]).collect();
        while ordered.len() > 4 && ordered.pop_if(|size| *size == 0).is_some() {}
        Header {
            lengths: lengths - end,
            distances: far,
            tokens,
            sizes: ordered,
            codes: codes(&sizes),
        }
    }

    /// Bits that it takes, with the 3 with which a block begins.
    pub fn bits(&self) -> usize {
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|(symbol, _, bits)| (self.codes[*symbol].len + bits) as usize);
        3 + 14 + 3 * self.sizes.len() + tokens.sum::<usize>()
    }

    pub fn write(&self, out: &mut Bits) {
        out.put(self.lengths as u64, 5);
        out.put(self.distances as u64, 5);
        out.put(self.sizes.len() as u64 - 4, 4);
        self.sizes
            .iter()
            .for_each(|size| out.put((*size).into(), 3));
        for (symbol, value, bits) in &self.tokens {
            let code = self.codes[*symbol].then(*value, *bits);
            out.put(code.bits, code.len);
        }
    }
}

/// What stands for some sizes that are the same.
/// Four sizes of 5 are a 5 and "the last one 3 times", `[(5, 0, 0), (16, 0, 2)]`; eleven zeros are `[(18, 0, 7)]`.
fn repeated(same: &[u8]) -> Vec<(usize, u64, u32)> {
    let (size, mut left) = (usize::from(same[0]), same.len());
    let mut tokens = vec![];
    if size > 0 {
        tokens.push((size, 0, 0));
        left -= 1;
    }
    while left > 0 {
        // The symbol, the shortest repeat that it stands for, and the bits after it.
        let (symbol, least, bits) = match (size, left) {
            (0, 11..) => (18, 11, 7),
            (0, 3..) => (17, 3, 3),
            (1.., 3..) => (16, 3, 2),
            _ => (size, 1, 0),
        };
        let len = left.min(least + (1 << bits) - 1);
        tokens.push((symbol, (len - least) as u64, bits));
        left -= len;
    }
    tokens
}

/// Bits behind what `out` holds, the first in the lowest place of a byte.
pub struct Bits<'a> {
    out: &'a mut Vec<u8>,
    /// Where the next whole byte goes; `out` has room behind it.
    at: usize,
    /// Up to 7 bits that make no whole byte yet.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Bits<'a> {
        let at = out.len();
        Bits {
            out,
            at,
            held: 0,
            count: 0,
        }
    }

    /// Makes room for so many bits and a few bytes.
    pub fn reserve(&mut self, bits: usize) {
        self.out.resize(self.at + bits / 8 + 32, 0);
    }

    /// Up to 56 bits, for which there is room.
    pub fn put(&mut self, value: u64, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        self.flush();
    }

    /// Codes of up to 28 bits each, for which there is room.
    pub fn put_all(&mut self, codes: impl Iterator<Item = Code>) {
        for (at, code) in codes.enumerate() {
            self.held |= code.bits << self.count;
            self.count += code.len;
            if at % 2 == 1 {
                self.flush();
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        // Always eight bytes: those that are not whole yet are written anew by the next.
        self.out[self.at..self.at + 8].copy_from_slice(&self.held.to_le_bytes());
        self.at += self.count as usize / 8;
        self.held >>= self.count & !7;
        self.count &= 7;
    }

    /// Fills the last byte with zeros.
    fn align(&mut self) {
        self.reserve(0);
        self.put(0, (8 - self.count) % 8);
        self.out.truncate(self.at);
    }

    /// Blocks of bytes as they are (3.2.4).
    pub fn store(&mut self, bytes: &[u8], is_last: bool) {
        let mut parts = bytes.chunks(u16::MAX.into()).peekable();
        while let Some(part) = parts.next() {
            self.reserve(0);
            self.put(u64::from(is_last && parts.peek().is_none()), 3);
            self.align();
            let len = part.len() as u16;
            self.out.extend(len.to_le_bytes());
            self.out.extend((!len).to_le_bytes());
            self.out.extend(part);
            self.at = self.out.len();
        }
    }

    /// All of them, and zeros to the end of the last byte.
    pub fn finish(mut self) -> &'a mut Vec<u8> {
        self.align();
        self.out
    }
}
