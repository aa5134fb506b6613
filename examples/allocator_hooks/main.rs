//! A table of allocator hooks: what plug-in systems, kernels and game engines have so that memory can be accounted for.
//!
//! A bump allocator with free lists is as cheap as allocators get, so it shows the table at its worst. Which way to keep the
//! hooks (function pointers, a trait object, a `OnceLock`) adds least to an allocation, hot and with other work's values in
//! registers?
//!
//! ```sh
//! cargo run --release --example allocator_hooks -- run --mechanism 'table,dyn,once_lock,static_call_inline' --time 20 --out target/allocator_hooks
//! cargo run --release --example allocator_hooks -- gate target/allocator_hooks/report.json --budget examples/allocator_hooks/budgets.toml
//! ```

use std::cell::RefCell;

use pvbench::Suite;
use pvbench::dispatch::Dispatch;
use pvbench::workload::{Failure, Meta, Random, Workload};

/// Sizes are rounded up to a power of two from 16 to 2,048: a free list for each.
const CLASSES: usize = 8;
/// Objects of a class.
const OBJECTS: usize = 256;

/// Places in an arena; what is there does not matter.
struct Arena {
    free: [List; CLASSES],
}

/// The places of a class that nobody has: the first `count`.
#[derive(Clone, Copy)]
struct List {
    count: usize,
    places: [usize; OBJECTS],
}

impl Arena {
    const fn new() -> Self {
        let mut free = [List { count: OBJECTS, places: [0; OBJECTS] }; CLASSES];
        let mut at = 0;
        while at < CLASSES * OBJECTS {
            let (class, object) = (at % CLASSES, at / CLASSES);
            free[class].places[object] = (object << 4 | class) + 1;
            at += 1;
        }
        Arena { free }
    }
}

// Made by the compiler, and with nothing to drop: otherwise every access asked, by a call, whether it is there yet, and not
// even `inline` would be in place.
thread_local! {
    static ARENA: RefCell<Arena> = const { RefCell::new(Arena::new()) };
}

/// The size class of so many bytes.
#[inline]
fn class(bytes: usize) -> usize {
    (bytes.max(16).next_power_of_two().trailing_zeros() as usize - 4).min(CLASSES - 1)
}

/// A place for so many bytes; 0 where there is none.
#[inline]
fn alloc(bytes: usize) -> usize {
    ARENA.with_borrow_mut(|arena| {
        let list = &mut arena.free[class(bytes)];
        let Some(last) = list.count.checked_sub(1) else { return 0 };
        list.count = last;
        list.places[last]
    })
}

/// Gives a place back.
#[inline]
fn free(place: usize) {
    let Some(at) = place.checked_sub(1) else { return };
    ARENA.with_borrow_mut(|arena| {
        let list = &mut arena.free[at % CLASSES];
        if let Some(next) = list.places.get_mut(list.count) {
            *next = place;
            list.count += 1;
        }
    });
}

pvbench::functions! {
    /// Allocates, and frees at once: an op is measured any number of times in a row.
    pub struct Pair: "alloc_free" = fn(bytes: usize = 48) -> usize {
        let place = alloc(bytes);
        free(place);
        place
    };
    /// Allocates.
    pub struct Alloc: "alloc" = fn(bytes: usize = 48) -> usize { alloc(bytes) };
    /// Frees.
    pub struct Free: "free" = fn(place: usize = 0) { free(place); };
}

/// Objects of all sizes that come and go.
struct Churn;

/// What is allocated now.
struct Live {
    random: Random,
    places: [usize; 64],
}

impl Workload for Churn {
    const META: Meta = Meta {
        name: "churn",
        unit: "64 objects",
        summary: "64 times: an object goes, one of 1 to 1,024 bytes comes",
        source: "allocator benchmarks of the kind of larson",
    };
    type Ops = (Alloc, Free);
    type State = Live;

    fn prepare<D: Dispatch>(random: Random) -> Result<Live, Failure> {
        Ok(Live { random, places: [0; 64] })
    }

    fn unit<D: Dispatch>(live: &mut Live) -> Result<u64, Failure> {
        for _ in 0..64 {
            let at = live.random.below(64) as usize;
            let bytes = 1 + live.random.below(1024) as usize;
            // SAFETY: both ops are safe functions, and are bound before a unit runs.
            unsafe {
                D::call::<Free>((live.places[at],));
                live.places[at] = D::call::<Alloc>((bytes,));
            }
            if live.places[at] == 0 {
                return Err(Failure::Own(format!("no place is left for {bytes} bytes")));
            }
        }
        // Where objects lie depends on what earlier runs freed; how many there are does not.
        Ok(live.places.iter().filter(|place| **place != 0).count() as u64)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.places.into_iter().for_each(free);
    }
}

fn main() -> std::process::ExitCode {
    pvbench::main(Suite::builder("allocator_hooks").ops::<(Pair, Alloc, Free)>().workload::<Churn>().build())
}
