//! A table of allocator hooks, with which plug-in systems, kernels and game engines account for memory.
//!
//! An allocator with free lists is among the cheapest, so the overhead of a table is largest on it. Which mechanism for
//! hooks (function pointers, a trait object, a `OnceLock`) adds least to an allocation, in throughput and with live
//! registers?
//!
//! ```sh
//! cargo run --release --example allocator_hooks -- run --mechanism 'table,dyn,once_lock,static_call_inline' --time 20
//! --out target/allocator_hooks cargo run --release --example allocator_hooks -- gate
//! target/allocator_hooks/report.json --budget examples/allocator_hooks/budgets.toml
//! ```

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pvbench::prelude::*;

/// Number of size classes, each with a free list: powers of two from 16 to 2,048 bytes.
const CLASSES: usize = 8;
/// Number of objects per class.
const OBJECTS: usize = 256;

/// The free lists of all classes. Objects are numbers: their memory does not matter here.
struct Arena {
    free: [List; CLASSES],
}

/// The free objects of a class: the first `count`.
struct List {
    count: AtomicUsize,
    objects: [AtomicUsize; OBJECTS],
}

impl Arena {
    const fn new() -> Self {
        let mut free =
            [const { List { count: AtomicUsize::new(OBJECTS), objects: [const { AtomicUsize::new(0) }; OBJECTS] } };
                CLASSES];
        let mut at = 0;
        while at < CLASSES * OBJECTS {
            let (class, object) = (at % CLASSES, at / CLASSES);
            free[class].objects[object] = AtomicUsize::new((object << 4 | class) + 1);
            at += 1;
        }
        Arena { free }
    }
}

// A static that only one thread uses. If the accessor of a thread-local is not inlined, it is a call, even with
// `inline`. Relaxed loads and stores are plain instructions on x86-64.
static ARENA: Arena = Arena::new();

/// The size class for a number of bytes.
#[inline]
fn class_of_size(bytes: usize) -> usize {
    (bytes.max(16).next_power_of_two().trailing_zeros() as usize - 4).min(CLASSES - 1)
}

/// Allocates an object for a number of bytes; 0 if none is free.
#[inline]
fn alloc(bytes: usize) -> usize {
    let Some(list) = ARENA.free.get(class_of_size(bytes)) else { return 0 };
    let last = list.count.load(Relaxed).wrapping_sub(1);
    let Some(object) = list.objects.get(last) else { return 0 };
    list.count.store(last, Relaxed);
    object.load(Relaxed)
}

/// Frees an object; 0 is ignored.
#[inline]
fn free(object: usize) {
    let Some(at) = object.checked_sub(1) else { return };
    let Some(list) = ARENA.free.get(at % CLASSES) else { return };
    let count = list.count.load(Relaxed);
    if let Some(next) = list.objects.get(count) {
        next.store(object, Relaxed);
        list.count.store(count + 1, Relaxed);
    }
}

functions! {
    /// Allocates and frees at once, so that it can be repeated any number of times.
    pub struct Pair: "alloc_free" = fn(bytes: usize = 48) -> usize {
        let object = alloc(bytes);
        free(object);
        object
    };
    /// Allocates.
    pub struct Alloc: "alloc" = fn(bytes: usize = 48) -> usize { alloc(bytes) };
    /// Frees.
    pub struct Free: "free" = fn(object: usize = 0) { free(object); };
}

/// Allocates and frees objects of all sizes.
struct Churn;

/// The allocated objects.
struct Live {
    random: Random,
    objects: [usize; 64],
}

impl Workload for Churn {
    const META: WorkloadMeta = WorkloadMeta {
        name: "churn",
        unit: "64 objects",
        summary: "64 times: frees an object and allocates one of 1 to 1,024 bytes",
        source: "allocator benchmarks such as larson",
    };
    type On = NoKernel<(Alloc, Free)>;
    type State = Live;

    fn prepare<D: Dispatch, C: Config>((): &mut (), random: Random) -> Result<Live, Failure> {
        Ok(Live { random, objects: [0; 64] })
    }

    fn unit<D: Dispatch, C: Config>((): &mut (), live: &mut Live) -> Result<u64, Failure> {
        for _ in 0..64 {
            let at = live.random.below(64) as usize;
            let bytes = 1 + live.random.below(1024) as usize;
            // SAFETY: both ops are safe functions, and they are bound before a unit runs.
            unsafe {
                D::call::<Free>((live.objects[at],));
                live.objects[at] = D::call::<Alloc>((bytes,));
            }
            if live.objects[at] == 0 {
                return Err(Failure::Own(format!("no object is free for {bytes} bytes")));
            }
        }
        // The numbers of objects depend on earlier runs; their count does not.
        Ok(live.objects.iter().filter(|object| **object != 0).count() as u64)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.objects.into_iter().for_each(free);
    }
}

fn main() -> std::process::ExitCode {
    pvbench::main(Suite::builder("allocator_hooks").ops::<(Pair, Alloc, Free)>().workload::<Churn>().build())
}
