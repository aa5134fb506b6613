//! Runs at other depths of the stack.
//!
//! Where its stack lies within a page decides which of a program's stores a load seems to depend on (Intel Optimization
//! Reference Manual, "Memory Disambiguation": addresses are compared by their low twelve bits first). An environment
//! longer by a few bytes once moved a benchmark by percents for it (Mytkowicz et al., ASPLOS 2009). It is drawn for
//! each run, then.

use std::hint::black_box;

use rand::{Rng, RngExt};

/// So many frames of [`at`] fill a page and more.
const FRAMES: usize = 128;

/// Calls `run` at a depth drawn from `rng`, up to some pages below the caller's.
pub(super) fn drawn<T>(rng: &mut impl Rng, run: &mut dyn FnMut() -> T) -> T {
    at(rng.random_range(0..FRAMES), run)
}

/// Calls `run` so many frames below.
#[inline(never)]
fn at<T>(depth: usize, run: &mut dyn FnMut() -> T) -> T {
    let frame = [depth; 2];
    // Looked at before and after: a frame that is needed, and no call that is a jump.
    black_box(&frame);
    let result = if depth == 0 { run() } else { at(depth - 1, run) };
    black_box(&frame);
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn stacks_lie_at_many_places_within_a_page() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let place = || {
            let local = 0u64;
            black_box(&raw const local) as usize % 4096 / 128
        };
        let places: BTreeSet<usize> = (0..2000).map(|_| drawn(&mut rng, &mut || place())).collect();
        assert_eq!(places.len(), 32, "of 32 stretches of 128 bytes: {places:?}");
    }
}
