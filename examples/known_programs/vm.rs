//! An interpreter of a row of instructions, each instance with its own instruction set.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const WORDS: usize = 1 << 11;

pub struct Vm {
    program: Vec<u32>,
    memory: Vec<u64>,
    registers: [u64; 8],
    at: usize,
}

program!(
    /// The program.
    Interpreted, "known_interpreted", "an interpreter of a row of instructions", Vm, |mut random| {
        let program = (0..WORDS).map(|_| random.below(1 << 32) as u32).collect();
        Vm { program, memory: vec![1; WORDS], registers: [1, 2, 3, 5, 7, 11, 13, 17], at: 0 }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(vm: &mut Vm) -> u64 {
    let mut at = vm.at;
    for _ in 0..4 + K % 4 {
        let word = vm.program[at % WORDS];
        at += 1;
        let (to, from) = ((word >> 8 & 7) as usize, (word >> 12 & 7) as usize);
        let place = (word >> 16) as usize % WORDS;
        if word & 1 == 0 {
            vm.registers[to] = vm.registers[to].wrapping_add(vm.registers[from] ^ K);
        } else if word & 2 == 0 {
            vm.registers[to] = vm.memory[place].wrapping_mul(odd(K));
        } else if word & 4 == 0 {
            let target = (place + K as usize) % WORDS;
            store::<D>(&mut vm.memory[target], vm.registers[from]);
        } else if word & 8 == 0 {
            vm.registers[to] = vm.registers[from].rotate_left(word >> 27) >> (K % 5);
        } else if vm.registers[from] & 3 == K & 3 {
            at += 1 + (word >> 28) as usize;
        } else {
            vm.registers[to] ^= vm.memory[(vm.registers[from] >> 9) as usize % WORDS];
        }
    }
    vm.at = value::<D>(at as u64) as usize % WORDS;
    vm.registers[(K % 8) as usize]
}
