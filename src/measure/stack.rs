//! Runs at random stack depths.
//!
//! The address of a stack within a page decides which stores a load seems to depend on (Intel Optimization Reference
//! Manual, "Memory Disambiguation": the CPU compares the low twelve bits of addresses first). An environment longer by
//! a few bytes moved a benchmark by percents (Mytkowicz et al., ASPLOS 2009). So each run draws its depth.

use std::hint::black_box;

use rand::{Rng, RngExt};

/// Range of depths, in frames of [`run_at`]; it spans more than a page.
const MAX_FRAMES: usize = 128;

/// Calls `run` at a depth drawn from `rng`, up to some pages below the caller.
pub(super) fn run_at_random_depth<T>(rng: &mut impl Rng, run: &mut dyn FnMut() -> T) -> T {
    run_at(rng.random_range(0..MAX_FRAMES), run)
}

/// Calls `run` below `depth` further frames.
#[inline(never)]
fn run_at<T>(depth: usize, run: &mut dyn FnMut() -> T) -> T {
    let frame = [depth; 2];
    // The frame is read before and after: it must exist, and the call must not become a jump.
    black_box(&frame);
    let result = if depth == 0 { run() } else { run_at(depth - 1, run) };
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
    fn random_depths_cover_all_offsets_within_a_page() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let slot = || {
            let local = 0u64;
            black_box(&raw const local) as usize % 4096 / 128
        };
        let slots: BTreeSet<usize> = (0..2000).map(|_| run_at_random_depth(&mut rng, &mut || slot())).collect();
        assert_eq!(slots.len(), 32, "each of the 32 stretches of 128 bytes: {slots:?}");
    }
}
