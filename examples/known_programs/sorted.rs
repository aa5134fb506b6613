//! Short rows that are kept in order: insertions, searches by halves, and shifts.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const ROWS: usize = 256;
const LENGTH: usize = 16;

pub struct Rows {
    rows: Vec<[u32; LENGTH]>,
    seed: u64,
    sums: [u64; 32],
}

program!(
    /// The program.
    Sorted, "known_sorted", "rows that are kept in order", Rows, |mut random| {
        let mut rows = vec![[0; LENGTH]; ROWS];
        for row in &mut rows {
            row.iter_mut().for_each(|it| *it = random.below(1 << 16) as u32);
            row.sort_unstable();
        }
        Rows { rows, seed: random.below(1 << 30) | 1, sums: [0; 32] }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(rows: &mut Rows) -> u64 {
    rows.seed = rows.seed.wrapping_mul(odd(K)) ^ rows.seed >> 31;
    let key = (value::<D>(rows.seed >> 20) & 0xffff) as u32;
    let row = &mut rows.rows[(rows.seed >> 50) as usize % ROWS];
    let (mut low, mut high) = (0usize, LENGTH);
    while low < high {
        let middle = (low + high) / 2;
        if row[middle] < key { low = middle + 1 } else { high = middle }
    }
    let place = low.min(LENGTH - 1);
    if key & 1 == (K & 1) as u32 {
        let mut at = LENGTH - 1;
        while at > place {
            row[at] = row[at - 1];
            at -= 1;
        }
        row[place] = key;
    } else if place > (K % 9) as usize {
        let mut at = 0;
        while at < place {
            row[at] = row[at + 1] & !(K as u32 & 1);
            at += 1;
        }
        row[place] = key.max(row[place]);
    }
    let sum = row.iter().step_by(1 + (K % 3) as usize).fold(K, |sum, it| sum.rotate_left(3) ^ u64::from(*it));
    store::<D>(&mut rows.sums[(K % 32) as usize], sum);
    sum
}
