//! Where functions begin within lines of a cache, copy by copy.
//!
//! A branch may cost another cycle where it lies in the wrong part of its line, and a function of few branches then has two
//! costs. Were every copy drawn for itself, it would take very many to have both as often as they are; drawn so that copies
//! have all offsets in turn, each function for itself, few do (McKay, Beckman and Conover, "A Comparison of Three Methods for
//! Selecting Values of Input Variables in the Analysis of Output from a Computer Code", 1979: Latin hypercube sampling).

use rand::{Rng, RngExt};

/// Functions are aligned to this, as compilers do it.
pub(super) const ALIGNMENT: usize = 16;
/// Offsets lie below this: two lines, which are fetched together.
pub(super) const WITHIN: usize = 128;
/// So many offsets there are within a line.
const OF_LINE: usize = 64 / ALIGNMENT;
/// After so many copies each function has been at every offset once.
const COPIES: usize = WITHIN / ALIGNMENT;

/// Offsets of functions in copies to come.
#[derive(Default)]
pub(super) struct Offsets {
    /// Of each function, in as many copies.
    functions: Vec<[usize; COPIES]>,
    next: usize,
}

impl Offsets {
    /// Those of the next copy of `functions` functions, in bytes. Over every [`COPIES`] copies each function is at all of them,
    /// and over every half of these at all within a line.
    pub fn draw(&mut self, functions: usize, rng: &mut impl Rng) -> impl Fn(usize) -> usize {
        let turn = self.next % COPIES;
        if turn == 0 || self.functions.len() != functions {
            self.functions = (0..functions).map(|_| in_turn(rng)).collect();
        }
        self.next = turn + 1;
        move |function| self.functions[function][turn] * ALIGNMENT
    }
}

/// All offsets in random order, in units of the alignment; each half of them within a line.
fn in_turn(rng: &mut impl Rng) -> [usize; COPIES] {
    let lines: [usize; OF_LINE] = std::array::from_fn(|_| rng.random_range(0..2));
    let half = |line: &dyn Fn(usize) -> usize, rng: &mut _| shuffled(rng).map(|part| line(part) * OF_LINE + part);
    let halves = [half(&|part| lines[part], rng), half(&|part| 1 - lines[part], rng)];
    std::array::from_fn(|turn| halves[turn / OF_LINE][turn % OF_LINE])
}

fn shuffled(rng: &mut impl Rng) -> [usize; OF_LINE] {
    let mut parts = std::array::from_fn(|part| part);
    for i in (1..OF_LINE).rev() {
        parts.swap(i, rng.random_range(0..=i));
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn over_eight_copies_each_function_is_at_every_offset_and_over_four_in_every_part_of_a_line() {
        let (mut offsets, mut rng) = (Offsets::default(), Pcg64Mcg::seed_from_u64(1));
        let mut orders = BTreeSet::new();
        for _ in 0..20 {
            let copies: Vec<[usize; 3]> = (0..COPIES)
                .map(|_| {
                    let of = offsets.draw(3, &mut rng);
                    std::array::from_fn(of)
                })
                .collect();
            for function in 0..3 {
                let all: Vec<usize> = copies.iter().map(|copy| copy[function]).collect();
                assert_eq!(
                    BTreeSet::from_iter(all.iter().copied()),
                    (0..WITHIN).step_by(ALIGNMENT).collect(),
                    "{all:?}"
                );
                for half in all.chunks(OF_LINE) {
                    let parts: BTreeSet<usize> = half.iter().map(|offset| offset % 64).collect();
                    assert_eq!(parts, BTreeSet::from([0, 16, 32, 48]), "{all:?}");
                }
                orders.insert(all);
            }
        }
        assert!(orders.len() > 50, "of sixty orders some thousands are possible: {}", orders.len());
    }
}
