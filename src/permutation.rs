//! The order of `slice --shuffle`: `numpy.random.default_rng(seed).permutation(n)`, bit for bit, so that
//! a seed gives the shards that Python gives. The parts are numpy's: SeedSequence, PCG64 (XSL-RR, 128-bit
//! state), 32-bit draws from the two halves of a 64-bit one, masked rejection, Fisher-Yates from the end.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, ensure};

/// A seed as numpy takes it: any unsigned integer, beyond 128 bits too.
/// Held as little-endian 32-bit words, at least one, without leading zero words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(Vec<u32>);

/// Decimal digits written at a time: the most that fit 32 bits.
const DIGITS: usize = 9;
const STEP: u64 = 10u64.pow(DIGITS as u32);

impl Seed {
    /// A fresh seed, short enough for a person to type again.
    pub fn random() -> Seed {
        Seed(vec![rand::random()])
    }

    /// 256 bits that the seed is hashed to.
    pub fn key(&self) -> [u8; 32] {
        let words = seed_sequence(&self.0);
        std::array::from_fn(|i| words[i / 4].to_le_bytes()[i % 4])
    }
}

impl FromStr for Seed {
    type Err = Error;

    /// Digits, which `_` may part as in Python.
    fn from_str(text: &str) -> Result<Seed> {
        let given = text;
        let text = &text.replace('_', "");
        ensure!(
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            "A seed is a non-negative integer, not '{given}'"
        );
        let mut words = vec![0u32];
        for digit in text.bytes() {
            // Long multiplication: all words times ten, and the digit.
            let mut carry = u64::from(digit - b'0');
            for word in &mut words {
                carry += u64::from(*word) * 10;
                *word = carry as u32;
                carry >>= 32;
            }
            if carry > 0 {
                words.push(carry as u32);
            }
        }
        Ok(Seed(words))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (mut words, mut groups) = (self.0.clone(), Vec::new());
        while words.iter().any(|&word| word > 0) {
            // Long division by `STEP`, whose remainder is the next nine digits from the end.
            let rest = words.iter_mut().rev().fold(0, |rest, word| {
                let value = rest << 32 | u64::from(*word);
                *word = (value / STEP) as u32;
                value % STEP
            });
            groups.push(rest);
        }
        write!(f, "{}", groups.pop().unwrap_or(0))?;
        groups
            .iter()
            .rev()
            .try_for_each(|group| write!(f, "{group:0DIGITS$}"))
    }
}

/// The numbers 0 to `n` - 1 in the order of `numpy.random.default_rng(seed).permutation(n)`.
/// An error above `u32::MAX` rows, which the indices do not reach. 4 bytes a row are held.
pub fn permutation(seed: &Seed, n: u64) -> Result<Vec<u32>> {
    let Ok(n) = u32::try_from(n) else {
        anyhow::bail!(
            "Cannot shuffle {n} rows: at most {} are supported",
            u32::MAX
        );
    };
    let mut rng = Pcg64::new(seed);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        let j = rng.interval(i);
        order.swap(i as usize, j as usize);
    }
    Ok(order)
}

/// numpy's SeedSequence without spawn key: the seed hashed into four words, and eight drawn from them.
fn seed_sequence(entropy: &[u32]) -> [u32; 8] {
    // The numbers are numpy's constants INIT_A, MULT_A, INIT_B, MULT_B, MIX_MULT_L and MIX_MULT_R
    // (`numpy/random/bit_generator.pyx`). Each hash changes the factor of the next, so the order of calls matters.
    let hasher = |mut factor: u32, multiplier: u32| {
        move |value: u32| {
            let value = value ^ factor;
            factor = factor.wrapping_mul(multiplier);
            let value = value.wrapping_mul(factor);
            value ^ value >> 16
        }
    };
    let mix = |x: u32, y: u32| {
        let value = x
            .wrapping_mul(0xca01_f9dd)
            .wrapping_sub(y.wrapping_mul(0x4973_f715));
        value ^ value >> 16
    };
    let mut hash = hasher(0x43b0_d7e5, 0x931e_8875);
    let mut pool: [u32; 4] = std::array::from_fn(|i| hash(entropy.get(i).copied().unwrap_or(0)));
    for from in 0..4 {
        for to in (0..4).filter(|&to| to != from) {
            pool[to] = mix(pool[to], hash(pool[from]));
        }
    }
    // Seeds beyond 128 bits: what does not fit the pool is mixed into all of it.
    for &word in entropy.iter().skip(4) {
        for to in &mut pool {
            *to = mix(*to, hash(word));
        }
    }
    let mut hash = hasher(0x8b51_f9dd, 0x58f3_8ded);
    std::array::from_fn(|i| hash(pool[i % 4]))
}

/// PCG64 with numpy's buffer for 32-bit draws.
struct Pcg64 {
    state: u128,
    increment: u128,
    high_half: Option<u32>,
}

impl Pcg64 {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    fn new(seed: &Seed) -> Pcg64 {
        let words = seed_sequence(&seed.0).map(u128::from);
        // Pairs of words make 64-bit values with the low word first; of two such the high one comes first.
        let wide =
            |at: usize| words[at + 1] << 96 | words[at] << 64 | words[at + 3] << 32 | words[at + 2];
        let increment = wide(4) << 1 | 1;
        let mut rng = Pcg64 {
            state: increment.wrapping_add(wide(0)),
            increment,
            high_half: None,
        };
        // PCG begins with a step from 0, which gives the increment; the seed is added to that, and a step follows.
        rng.step();
        rng
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(Self::MULTIPLIER)
            .wrapping_add(self.increment);
    }

    /// The low half of a 64-bit draw, and at the next call the high half, as numpy buffers it.
    fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.high_half.take() {
            return half;
        }
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        let value = folded.rotate_right((self.state >> 122) as u32);
        self.high_half = Some((value >> 32) as u32);
        value as u32
    }

    /// A number from 0 to `max`, both included: draws cut to the bits of `max` until one fits. `max` is 1 or more.
    fn interval(&mut self, max: u32) -> u32 {
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(seed: &str, n: u64) -> Vec<u32> {
        permutation(&seed.parse().unwrap(), n).unwrap()
    }

    /// From numpy 2.4.6.
    #[test]
    fn orders_are_those_of_numpy() {
        for n in [0, 1, 2] {
            assert_eq!(order("0", n), (0..n as u32).collect::<Vec<_>>());
        }
        assert_eq!(order("0", 8), [2, 4, 3, 6, 5, 0, 1, 7]);
        // Beyond 32, 64 and 128 bits, where every further word of the seed counts.
        assert_eq!(order("4294967297", 8), [6, 1, 4, 0, 3, 2, 5, 7]);
        assert_eq!(order("18446744073709551621", 8), [7, 0, 3, 4, 2, 1, 5, 6]);
        assert_eq!(
            order("340282366920938463463374607431768211456", 8),
            [6, 3, 4, 7, 2, 0, 1, 5]
        );
        assert_eq!(
            order(
                "1606938044258990275541962092341162602522202993782792835301379",
                8
            ),
            [2, 7, 1, 6, 3, 4, 0, 5]
        );
    }

    #[test]
    fn states_are_those_of_numpy() {
        let rng = Pcg64::new(&"0".parse().unwrap());
        assert_eq!(rng.state, 35399562948360463058890781895381311971);
        assert_eq!(rng.increment, 87136372517582989555478159403783844777);
    }

    #[test]
    fn vectors_from_numpy() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/permutation_vectors.json"
        );
        let known: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for known in known["states"].as_array().unwrap() {
            let rng = Pcg64::new(&known["seed"].as_str().unwrap().parse().unwrap());
            assert_eq!(known["state"], rng.state.to_string());
            assert_eq!(known["inc"], rng.increment.to_string());
        }
        for known in known["vectors"].as_array().unwrap() {
            let n = known["n"].as_u64().unwrap();
            let rows = order(known["seed"].as_str().unwrap(), n);
            let (known, length) = match known.get("perm") {
                Some(all) => (all, rows.len()),
                // A long one is known by its first rows, which are settled last and so depend on every draw.
                None => (&known["head"], known["head"].as_array().unwrap().len()),
            };
            assert_eq!(*known, serde_json::json!(rows[..length]));
        }
    }

    #[test]
    fn rows_end_at_32_bits() {
        let error = permutation(&Seed::random(), 1 << 32).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Cannot shuffle 4294967296 rows: at most 4294967295 are supported"
        );
    }

    #[test]
    fn seeds_are_digits() {
        for text in ["", "-1", "+1", "1.5", "1e3", "0x10", " 1", "_", "٣"] {
            let error = text.parse::<Seed>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("A seed is a non-negative integer, not '{text}'")
            );
        }
        assert_eq!("007".parse::<Seed>().unwrap(), "7".parse().unwrap());
        assert_eq!("1_000".parse::<Seed>().unwrap(), "1000".parse().unwrap());
    }

    proptest! {
        #[test]
        fn seeds_survive_as_text(digits in "0|[1-9][0-9]{0,80}") {
            prop_assert_eq!(digits.parse::<Seed>().unwrap().to_string(), digits);
        }

        #[test]
        fn every_row_comes_once(seed: u128, n in 0u64..3000) {
            let mut rows = order(&seed.to_string(), n);
            rows.sort_unstable();
            prop_assert!(rows.into_iter().eq(0..n as u32));
        }
    }
}
