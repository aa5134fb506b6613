//! Where functions begin within lines of a cache, copy by copy.
//!
//! A branch may cost another cycle where it lies in the wrong part of its line, and a few functions then have two
//! costs, or two of them a third where both lie badly. Were every copy drawn for itself, it would take very many to
//! have each as often as it is. So they are taken from an orthogonal array (Owen, "Orthogonal Arrays for Computer
//! Experiments, Integration and Visualization", 1992), randomised: each function is in every part of its line in turn,
//! and any two of them are in all pairs of parts equally often. The array is linear (Rao 1947; Bush 1952): with the
//! copies numbered to the base of four, a function is in the part that a weighted sum of the digits names, over the
//! field of four elements, with weights of its own.

use rand::{Rng, RngExt};

/// Functions are aligned to this, as compilers do it.
pub(super) const ALIGNMENT: usize = 16;
/// Offsets lie below this: two lines, which are fetched together.
pub(super) const WITHIN: usize = 128;
/// So many parts of a line a function may begin in. There is a field of as many elements.
const PARTS: usize = 64 / ALIGNMENT;
/// Numbers of copies have so many digits.
const DIGITS: u32 = 5;
/// After so many copies others are drawn.
const COPIES: usize = PARTS.pow(DIGITS);
/// So many functions may differ in the weights of all digits but the first.
const WEIGHTS: usize = COPIES / PARTS;

/// Products in the field of four elements, whose sums are the exclusive or: `x + y` is 3 where `x` is 2 and `y` is 1,
/// and 2 times 2 is 3.
const TIMES: [[usize; PARTS]; PARTS] = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]];

/// Offsets of functions in copies to come.
#[derive(Default)]
pub(super) struct Offsets {
    functions: Vec<OffsetColumn>,
    next: usize,
}

/// Those of one function.
struct OffsetColumn {
    /// The weights of the digits but the first, which is always 1: as a number to the base of four.
    weights: usize,
    /// The part that each sum names.
    parts: [usize; PARTS],
    /// Which of the two lines, by sum.
    lines: [usize; PARTS],
    /// The bits of a copy's number without its first digit that say, together, when the lines are the other ones.
    swap: usize,
}

impl Offsets {
    /// Those of the next copy of `functions` functions, in bytes. Over every four copies each function is in all parts
    /// of a line, over every eight at all offsets, and over every [`COPIES`] any two of up to [`WEIGHTS`] in all pairs
    /// of parts.
    pub fn draw(&mut self, functions: usize, rng: &mut impl Rng) -> impl Fn(usize) -> usize {
        let turn = self.next % COPIES;
        if turn == 0 || self.functions.len() != functions {
            let weights = shuffled::<WEIGHTS>(rng);
            self.functions =
                weights.into_iter().cycle().take(functions).map(|weights| OffsetColumn::draw(weights, rng)).collect();
        }
        self.next = turn + 1;
        move |function| self.functions[function].offset(turn)
    }
}

impl OffsetColumn {
    fn draw(weights: usize, rng: &mut impl Rng) -> Self {
        let lines = std::array::from_fn(|_| rng.random_range(0..2));
        OffsetColumn { weights, parts: shuffled(rng), lines, swap: rng.random_range(0..WEIGHTS) | 1 }
    }

    /// In the copy of that number.
    fn offset(&self, copy: usize) -> usize {
        let (first, rest) = (copy % PARTS, copy / PARTS);
        let digit = |number: usize, place: u32| number / PARTS.pow(place) % PARTS;
        let weighted = (0..DIGITS - 1).map(|place| TIMES[digit(self.weights, place)][digit(rest, place)]);
        let sum = weighted.fold(first, |sum, term| sum ^ term);
        let swapped = (rest & self.swap).count_ones() as usize % 2;
        ((self.lines[sum] ^ swapped) * PARTS + self.parts[sum]) * ALIGNMENT
    }
}

/// The numbers below `N` in random order.
fn shuffled<const N: usize>(rng: &mut impl Rng) -> [usize; N] {
    let mut numbers = std::array::from_fn(|number| number);
    for i in (1..N).rev() {
        numbers.swap(i, rng.random_range(0..=i));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Offsets of `functions` functions in so many copies.
    fn drawn(functions: usize, copies: usize) -> Vec<Vec<usize>> {
        let (mut offsets, mut rng) = (Offsets::default(), Pcg64Mcg::seed_from_u64(1));
        let mut copy = || {
            let of = offsets.draw(functions, &mut rng);
            (0..functions).map(of).collect()
        };
        (0..copies).map(|_| copy()).collect()
    }

    #[test]
    fn over_eight_copies_each_function_is_at_every_offset_and_over_four_in_every_part_of_a_line() {
        let copies = drawn(3, 2 * COPIES);
        let mut orders = BTreeSet::new();
        for eight in copies.chunks(8) {
            for function in 0..3 {
                let all: Vec<usize> = eight.iter().map(|copy| copy[function]).collect();
                assert_eq!(
                    BTreeSet::from_iter(all.iter().copied()),
                    (0..WITHIN).step_by(ALIGNMENT).collect(),
                    "{all:?}"
                );
                for half in all.chunks(PARTS) {
                    let parts: BTreeSet<usize> = half.iter().map(|offset| offset % 64).collect();
                    assert_eq!(parts, BTreeSet::from([0, 16, 32, 48]), "{all:?}");
                }
                orders.insert(all);
            }
        }
        assert!(orders.len() > 20, "{}", orders.len());
    }

    /// How often two functions are in each pair of parts of their lines.
    fn pairs(copies: &[Vec<usize>], one: usize, other: usize) -> BTreeMap<(usize, usize), usize> {
        let mut pairs = BTreeMap::new();
        for copy in copies {
            *pairs.entry((copy[one] % 64, copy[other] % 64)).or_default() += 1;
        }
        pairs
    }

    #[test]
    fn any_two_of_many_functions_are_in_all_pairs_of_parts_equally_often() {
        const FUNCTIONS: usize = 130;
        let copies = drawn(FUNCTIONS, COPIES);
        for one in 0..FUNCTIONS {
            for other in 0..one {
                let pairs = pairs(&copies, one, other);
                assert!(
                    pairs.len() == 16 && pairs.values().all(|often| *often == COPIES / 16),
                    "{one} {other} {pairs:?}"
                );
            }
        }
    }

    #[test]
    fn most_functions_are_in_all_pairs_of_parts_before_long() {
        const FUNCTIONS: usize = 130;
        let copies = drawn(FUNCTIONS, 64);
        let all = (0..FUNCTIONS).flat_map(|one| (0..one).map(move |other| (one, other)));
        let even =
            all.filter(|(one, other)| pairs(&copies, *one, *other).values().filter(|often| **often == 4).count() == 16);
        // All but those with the same weights for two digits: one in sixteen.
        let share = even.count() as f64 / (FUNCTIONS * (FUNCTIONS - 1) / 2) as f64;
        assert!((0.91..0.97).contains(&share), "{share}");
    }

    #[test]
    fn more_functions_than_there_are_weights_are_drawn_too() {
        let copies = drawn(WEIGHTS + 10, COPIES + 1);
        assert!(copies.iter().all(|copy| copy.len() == WEIGHTS + 10));
        let moved = (0..WEIGHTS).filter(|function| copies[0][*function] != copies[COPIES][*function]).count();
        assert!(moved > WEIGHTS / 2, "others are drawn after all copies: {moved}");
    }
}
