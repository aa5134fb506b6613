//! A hash table with open addresses: finds, inserts and replaces keys.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const SLOTS: usize = 1 << 12;

pub struct Table {
    keys: Vec<u64>,
    values: Vec<u64>,
    next: u64,
}

program!(
    /// The program.
    Hashed, "known_hashed", "a hash table with open addresses", Table, |mut random| {
        let keys = (0..SLOTS).map(|_| if random.below(2) == 0 { 0 } else { 1 + random.below(1 << 20) }).collect();
        Table { keys, values: vec![0; SLOTS], next: random.below(1 << 30) | 1 }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(table: &mut Table) -> u64 {
    let mut found = K;
    for round in 0..2 + K % 3 {
        table.next = table.next.wrapping_mul(odd(K)).wrapping_add(round) ^ table.next >> 29;
        let key = 1 + (value::<D>(table.next >> 17) & 0xf_ffff);
        let mut slot = (key.wrapping_mul(odd(K + 7)) >> 40) as usize % SLOTS;
        let mut tries = 0;
        while table.keys[slot] != 0 && table.keys[slot] != key && tries < 6 + K % 4 {
            slot = (slot + 1 + (K as usize & 3)) % SLOTS;
            tries += 1;
        }
        if table.keys[slot] == key {
            found = found.rotate_left(5) ^ table.values[slot];
        } else if tries & 1 == K & 1 {
            table.keys[slot] = if key & 0x30 == 0 { 0 } else { key };
            store::<D>(&mut table.values[slot], found ^ key);
        } else {
            let other = (slot * 5 + K as usize) % SLOTS;
            table.values[slot] = table.values[other].wrapping_add(key >> (K % 7));
            table.keys[slot] = table.keys[other] >> 1;
        }
        found = found.wrapping_add(tries);
    }
    found
}
