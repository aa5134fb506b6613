//! The random numbers that order the work of a workload. They are the same for a seed on every machine and with every
//! version of this crate's dependencies, and cheap compared with the work.

/// Marsaglia's xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2014).
///
/// ```
/// use pvbench::workload::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert!((0..100).all(|_| one.below(6) < 6));
/// assert!((0..100).all(|_| other.below(6) < 6));
/// assert_eq!(one.below(1 << 40), other.below(1 << 40), "the same seed, the same numbers");
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes a generator from any seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The generator never leaves the state 0, so that state must not occur.
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Draws the next number below `below`, which must not be 0.
    #[inline(always)]
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(word) * u128::from(below)) >> 64) as u64
    }
}
