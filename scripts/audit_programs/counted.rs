//! Call sites that count themselves, as in counted.c: each function has one indirect site and a counter of its own.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

trait Step {
    fn step(&self, value: u64) -> u64;
}

struct Add(u64);
struct Twice;

impl Step for Add {
    #[inline(never)]
    fn step(&self, value: u64) -> u64 {
        value.wrapping_add(self.0)
    }
}

impl Step for Twice {
    #[inline(never)]
    fn step(&self, value: u64) -> u64 {
        value.wrapping_mul(2).wrapping_add(1)
    }
}

static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
const NAMES: [&str; 4] = ["site_dyn", "site_pointer", "site_closure", "site_boxed"];

#[inline(never)]
fn less(value: u64) -> u64 {
    black_box(value).wrapping_sub(5)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn site_dyn(step: &dyn Step, value: u64) -> u64 {
    COUNTS[0].fetch_add(1, Relaxed);
    step.step(value) ^ 1
}

#[unsafe(no_mangle)]
#[inline(never)]
fn site_pointer(step: fn(u64) -> u64, value: u64) -> u64 {
    COUNTS[1].fetch_add(1, Relaxed);
    step(value) ^ 1
}

#[unsafe(no_mangle)]
#[inline(never)]
fn site_closure(step: &dyn Fn(u64) -> u64, value: u64) -> u64 {
    COUNTS[2].fetch_add(1, Relaxed);
    step(value) ^ 1
}

#[unsafe(no_mangle)]
#[inline(never)]
fn site_boxed(steps: &[Box<dyn Step>], value: u64) -> u64 {
    COUNTS[3].fetch_add(1, Relaxed);
    steps[(value % 2) as usize].step(value) ^ 1
}

fn main() {
    let times = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000_u64);
    let steps: [Box<dyn Step>; 2] = [Box::new(Add(3)), Box::new(Twice)];
    let secret = black_box(7);
    let mut value = 1;
    for i in 0..times {
        value ^= site_dyn(black_box(&*steps[(i % 2) as usize]), value);
        if i % 3 == 0 {
            value ^= site_pointer(black_box(less), value);
        }
        if i % 5 == 0 {
            value ^= site_closure(black_box(&|value| value ^ black_box(secret)), value);
        }
        if i % 7 == 0 {
            value ^= site_boxed(black_box(&steps), value);
        }
    }
    eprintln!("{value}");
    for (name, count) in NAMES.iter().zip(&COUNTS) {
        println!("{name} {}", count.load(Relaxed));
    }
}
