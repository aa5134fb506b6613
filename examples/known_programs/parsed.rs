//! A scanner of text: numbers, names and the rest.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const BYTES: usize = 1 << 13;

pub struct Text {
    bytes: Vec<u8>,
    at: usize,
    counts: [u64; 64],
}

program!(
    /// The program.
    Parsed, "known_parsed", "a scanner of numbers and names", Text, |mut random| {
        const LETTERS: &[u8] = b"0123456789 abcxyz_(),.;0123456789    aeiou";
        let bytes = (0..BYTES).map(|_| LETTERS[random.below(LETTERS.len() as u64) as usize]).collect();
        Text { bytes, at: 0, counts: [0; 64] }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(text: &mut Text) -> u64 {
    let mut at = (text.at + K as usize) % BYTES;
    let (mut number, mut names, mut hash) = (0u64, 0u64, odd(K));
    for _ in 0..5 + K % 5 {
        let byte = text.bytes[at % BYTES];
        match byte {
            b'0'..=b'9' => {
                number = number.wrapping_mul(10 + K % 3).wrapping_add(u64::from(byte - b'0'));
            }
            b'a'..=b'z' | b'_' => {
                hash = (hash ^ u64::from(byte)).wrapping_mul(odd(K + 3));
                names += 1;
            }
            b' ' => {
                text.counts[(hash >> 58) as usize] += number & 0xff;
                number = 0;
            }
            _ => {
                at += (hash & 3) as usize;
                hash = hash.rotate_right(7 + (K % 5) as u32);
            }
        }
        at += 1;
    }
    if names > 2 {
        store::<D>(&mut text.counts[(K % 64) as usize], hash ^ number);
    }
    text.at = value::<D>(at as u64) as usize % BYTES;
    hash.wrapping_add(number)
}
