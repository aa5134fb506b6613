//! A table of allocator hooks: what plug-in systems, kernels and game engines have so that memory can be accounted for.
//!
//! A bump allocator with free lists is as cheap as allocators get, so it shows the table at its worst. Which way to
//! keep the hooks (function pointers, a trait object, a `OnceLock`) adds least to an allocation, hot and with other
//! work's values in registers?
//!
//! ```sh
//! cargo run --release --example allocator_hooks -- run --mechanism 'table,dyn,once_lock,static_call_inline' --time 20 --out target/allocator_hooks
//! cargo run --release --example allocator_hooks -- gate target/allocator_hooks/report.json --budget examples/allocator_hooks/budgets.toml
//! ```

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pvbench::Suite;
use pvbench::dispatch::Dispatch;
use pvbench::workload::{Failure, Random, Workload, WorkloadMeta};

/// Sizes are rounded up to a power of two from 16 to 2,048: a free list for each.
const CLASSES: usize = 8;
/// Objects of a class.
const OBJECTS: usize = 256;

/// Places in an arena; what is there does not matter.
struct Arena {
    free: [List; CLASSES],
}

/// The places of a class that nobody has: the first `count`.
struct List {
    count: AtomicUsize,
    places: [AtomicUsize; OBJECTS],
}

impl Arena {
    const fn new() -> Self {
        let mut free = [const { List { count: AtomicUsize::new(OBJECTS), places: [const { AtomicUsize::new(0) }; OBJECTS] } };
            CLASSES];
        let mut at = 0;
        while at < CLASSES * OBJECTS {
            let (class, object) = (at % CLASSES, at / CLASSES);
            free[class].places[object] = AtomicUsize::new((object << 4 | class) + 1);
            at += 1;
        }
        Arena { free }
    }
}

// One for all, and only one thread uses it: a thread's own would be reached by a call wherever the standard library's
// accessor is not inlined, and not even `inline` would be in place. Relaxed loads and stores are plain ones on x86-64.
static ARENA: Arena = Arena::new();

/// The size class of so many bytes.
#[inline]
fn class(bytes: usize) -> usize {
    (bytes.max(16).next_power_of_two().trailing_zeros() as usize - 4).min(CLASSES - 1)
}

/// A place for so many bytes; 0 where there is none.
#[inline]
fn alloc(bytes: usize) -> usize {
    let Some(list) = ARENA.free.get(class(bytes)) else { return 0 };
    let last = list.count.load(Relaxed).wrapping_sub(1);
    let Some(place) = list.places.get(last) else { return 0 };
    list.count.store(last, Relaxed);
    place.load(Relaxed)
}

/// Gives a place back.
#[inline]
fn free(place: usize) {
    let Some(at) = place.checked_sub(1) else { return };
    let Some(list) = ARENA.free.get(at % CLASSES) else { return };
    let count = list.count.load(Relaxed);
    if let Some(next) = list.places.get(count) {
        next.store(place, Relaxed);
        list.count.store(count + 1, Relaxed);
    }
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
    const META: WorkloadMeta = WorkloadMeta {
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
