//! Checksums and moves of bits, with little memory: many operations do not wait for each other.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const WORDS: usize = 1 << 9;

pub struct Words {
    words: Vec<u64>,
    state: [u64; 4],
}

program!(
    /// The program.
    Mixed, "known_mixed", "checksums and moves of bits", Words, |mut random| {
        let words = (0..WORDS).map(|_| random.below(1 << 40)).collect();
        Words { words, state: [random.below(1 << 30), 2, 3, 4] }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(words: &mut Words) -> u64 {
    let [mut a, mut b, mut c, mut d] = words.state;
    let from = (a >> 3) as usize % (WORDS - 8);
    for word in &words.words[from..from + 3 + (K % 5) as usize] {
        a = a.wrapping_add(*word).rotate_left(13 + (K % 7) as u32);
        b ^= a >> (K % 17);
        c = c.wrapping_mul(odd(K)).wrapping_add(b);
        d = d.rotate_right(5) ^ (c & *word);
        if d & 15 == K & 15 {
            a ^= 0xff << (K % 32);
        }
    }
    let mask = a ^ a << 1;
    let low = (mask & 0x5555_5555).count_ones() as u64;
    b = b.wrapping_add(low << (K % 9)) ^ mask.swap_bytes();
    if b > c {
        store::<D>(&mut words.words[(d % WORDS as u64) as usize], b ^ K);
    } else {
        d = d.wrapping_add(c.leading_zeros().into());
    }
    words.state = [value::<D>(a), b, c, d];
    a ^ b
}
