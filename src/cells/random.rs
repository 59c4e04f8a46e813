//! Random choices beyond numpy's permutation: draws of ChaCha8, the same on every machine and in every release.
//!
//! The key of the cipher is 256 bits that numpy's SeedSequence makes of the seed. Each kind of choice has a stream of its
//! own, so that none depends on whether another is made.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::permutation::Seed;

/// What is chosen. The numbers are those of the cipher's streams, and never change.
#[derive(Clone, Copy, Debug)]
pub enum Choosing {
    /// Which cells go to which part of a split, or whole groups of them.
    Split = 1,
    /// Which cells are in a sample.
    Sample = 2,
}

/// A stream of numbers. What is drawn, and in which order, is an interface: one draw more or less anywhere changes all
/// splits and samples of a seed.
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: &Seed, what: Choosing) -> Random {
        let mut rng = ChaCha8Rng::from_seed(seed.key());
        rng.set_stream(what as u64);
        Random(rng)
    }

    /// A number below `n`, which is 1 or more: 32-bit draws cut to the bits of `n` - 1 until one fits.
    pub fn below(&mut self, n: u32) -> u32 {
        let most = n - 1;
        // For `n` = 1 all 32 bits are shifted out: the mask is 0, and a number is drawn all the same.
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.0.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// The numbers 0 to `n` - 1 in a random order: Fisher-Yates from the end.
    pub fn order(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, self.below(i + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface: other machines and releases draw the same. `Draws` in tests/interop/choosing.py gives these.
    #[test]
    fn draws_are_golden() {
        let seed = "7".parse().unwrap();
        let mut random = Random::new(&seed, Choosing::Split);
        let drawn: Vec<u32> = (0..6).map(|_| random.below(1000)).collect();
        assert_eq!(drawn, [205, 473, 237, 33, 89, 970]);
        let mut other = Random::new(&seed, Choosing::Sample);
        assert_eq!(other.order(8), [7, 0, 2, 1, 4, 5, 6, 3]);
        assert_eq!(random.below(1), 0);
    }
}
