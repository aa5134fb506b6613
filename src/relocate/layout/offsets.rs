//! Offsets of functions within cache lines, copy by copy.
//!
//! A branch may cost another cycle where it lies in the wrong part of its line. A function then has two costs, and two
//! functions may have a third cost when both lie badly. If every copy drew its offsets independently, very many copies
//! would be needed to meet each case in its true proportion.
//!
//! So the offsets come from an orthogonal array (Owen, "Orthogonal Arrays for Computer Experiments, Integration and
//! Visualization", 1992), randomised. Each function takes every part of its line in turn, and any two functions take
//! all pairs of parts equally often.
//!
//! The array is linear (Rao 1947; Bush 1952). Copies are numbered to the base of four. A weighted sum of the digits,
//! over the field of four elements, names a function's part; each function has its own weights.

use rand::{Rng, RngExt};

/// Alignment of functions in bytes, the same as compilers use.
pub(in crate::relocate) const ALIGNMENT: usize = 16;
/// Offsets lie below this number of bytes: two cache lines, which are fetched together.
pub(in crate::relocate) const PERIOD_BYTES: usize = 128;
/// Parts of a line that a function may begin in. The field has as many elements.
const PARTS_PER_LINE: usize = 64 / ALIGNMENT;
/// Digits of a copy's number, to the base of four.
const DIGITS: u32 = 5;
/// Copies per array; the next copy draws new weights.
const COPIES_PER_ARRAY: usize = PARTS_PER_LINE.pow(DIGITS);
/// Different sets of weights: four digits have a weight, the first digit always has weight 1. Functions beyond this
/// number repeat the weights of others.
const WEIGHT_SETS: usize = COPIES_PER_ARRAY / PARTS_PER_LINE;

/// Products in the field of four elements; its sums are exclusive ors. For example, `x + y` is 3 for `x` = 2 and `y` =
/// 1, and 2 times 2 is 3.
const PRODUCTS: [[usize; PARTS_PER_LINE]; PARTS_PER_LINE] = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]];

/// The offsets of functions in the next copies.
#[derive(Default)]
pub(super) struct Offsets {
    functions: Vec<OffsetColumn>,
    next: usize,
}

/// The offsets of one function.
struct OffsetColumn {
    /// The weights of all digits but the first, whose weight is 1, as a number to the base of four.
    weights: usize,
    /// The part for each sum.
    parts: [usize; PARTS_PER_LINE],
    /// The line, 0 or 1, for each sum.
    lines: [usize; PARTS_PER_LINE],
    /// Bits of the copy's number without its first digit. The lines are swapped if an odd number of these bits is set.
    swap: usize,
}

impl Offsets {
    /// Offsets of `functions` functions in the next copy, in bytes. Over every four copies each function takes all
    /// parts of a line, over every eight all offsets. Over every [`COPIES_PER_ARRAY`] copies, any two of up to
    /// [`WEIGHT_SETS`] functions take all pairs of parts equally often.
    pub fn draw(&mut self, functions: usize, rng: &mut impl Rng) -> impl Fn(usize) -> usize {
        let turn = self.next % COPIES_PER_ARRAY;
        if turn == 0 || self.functions.len() != functions {
            let weights = shuffle::<WEIGHT_SETS>(rng);
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
        OffsetColumn { weights, parts: shuffle(rng), lines, swap: rng.random_range(0..WEIGHT_SETS) | 1 }
    }

    /// Offset in copy number `copy`, in bytes.
    fn offset(&self, copy: usize) -> usize {
        let (first, rest) = (copy % PARTS_PER_LINE, copy / PARTS_PER_LINE);
        let digit = |number: usize, place: u32| number / PARTS_PER_LINE.pow(place) % PARTS_PER_LINE;
        let weighted = (0..DIGITS - 1).map(|place| PRODUCTS[digit(self.weights, place)][digit(rest, place)]);
        let sum = weighted.fold(first, |sum, term| sum ^ term);
        let swapped = (rest & self.swap).count_ones() as usize % 2;
        ((self.lines[sum] ^ swapped) * PARTS_PER_LINE + self.parts[sum]) * ALIGNMENT
    }
}

/// Returns the numbers below `N` in random order.
fn shuffle<const N: usize>(rng: &mut impl Rng) -> [usize; N] {
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

    /// Draws the offsets of `functions` functions for `copies` copies.
    fn draw_copies(functions: usize, copies: usize) -> Vec<Vec<usize>> {
        let (mut offsets, mut rng) = (Offsets::default(), Pcg64Mcg::seed_from_u64(1));
        let mut copy = || {
            let of = offsets.draw(functions, &mut rng);
            (0..functions).map(of).collect()
        };
        (0..copies).map(|_| copy()).collect()
    }

    #[test]
    fn each_function_takes_every_offset_in_eight_copies_and_every_part_of_a_line_in_four() {
        let copies = draw_copies(3, 2 * COPIES_PER_ARRAY);
        let mut orders = BTreeSet::new();
        for eight in copies.chunks(8) {
            for function in 0..3 {
                let all: Vec<usize> = eight.iter().map(|copy| copy[function]).collect();
                assert_eq!(
                    BTreeSet::from_iter(all.iter().copied()),
                    (0..PERIOD_BYTES).step_by(ALIGNMENT).collect(),
                    "{all:?}"
                );
                for half in all.chunks(PARTS_PER_LINE) {
                    let parts: BTreeSet<usize> = half.iter().map(|offset| offset % 64).collect();
                    assert_eq!(parts, BTreeSet::from([0, 16, 32, 48]), "{all:?}");
                }
                orders.insert(all);
            }
        }
        assert!(orders.len() > 20, "{}", orders.len());
    }

    /// Counts how often two functions take each pair of parts of their lines.
    fn count_pairs(copies: &[Vec<usize>], one: usize, other: usize) -> BTreeMap<(usize, usize), usize> {
        let mut pairs = BTreeMap::new();
        for copy in copies {
            *pairs.entry((copy[one] % 64, copy[other] % 64)).or_default() += 1;
        }
        pairs
    }

    #[test]
    fn any_two_functions_take_all_pairs_of_parts_equally_often() {
        const FUNCTIONS: usize = 130;
        let copies = draw_copies(FUNCTIONS, COPIES_PER_ARRAY);
        for one in 0..FUNCTIONS {
            for other in 0..one {
                let pairs = count_pairs(&copies, one, other);
                assert!(
                    pairs.len() == 16 && pairs.values().all(|often| *often == COPIES_PER_ARRAY / 16),
                    "{one} {other} {pairs:?}"
                );
            }
        }
    }

    #[test]
    fn most_pairs_of_functions_take_all_pairs_of_parts_within_64_copies() {
        const FUNCTIONS: usize = 130;
        let copies = draw_copies(FUNCTIONS, 64);
        let all = (0..FUNCTIONS).flat_map(|one| (0..one).map(move |other| (one, other)));
        let even = all.filter(|(one, other)| {
            count_pairs(&copies, *one, *other).values().filter(|often| **often == 4).count() == 16
        });
        // All but one pair in sixteen: these pairs have the same weights for two digits.
        let share = even.count() as f64 / (FUNCTIONS * (FUNCTIONS - 1) / 2) as f64;
        assert!((0.91..0.97).contains(&share), "{share}");
    }

    #[test]
    fn offsets_are_drawn_for_more_functions_than_there_are_weights() {
        let copies = draw_copies(WEIGHT_SETS + 10, COPIES_PER_ARRAY + 1);
        assert!(copies.iter().all(|copy| copy.len() == WEIGHT_SETS + 10));
        let moved =
            (0..WEIGHT_SETS).filter(|function| copies[0][*function] != copies[COPIES_PER_ARRAY][*function]).count();
        assert!(moved > WEIGHT_SETS / 2, "new offsets are drawn after a whole array: {moved}");
    }
}
