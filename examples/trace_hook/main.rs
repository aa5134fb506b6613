//! A tracing hook that is almost always off.
//!
//! Each place in a program that could be traced asks first: is anybody listening? The usual answer is no. What does the
//! question cost: a flag that is tested (`flag`), a call through a table of functions that do nothing (`table`), a NOP
//! that becomes a jump when tracing starts (`jump_label`), and a way of one's own that keeps the flag in the word that
//! holds the listener (`listener`)?
//!
//! ```sh
//! cargo run --release --example trace_hook -- run --mechanism 'flag,table,jump_label,listener' --time 20 --out target/trace_hook
//! cargo run --release --example trace_hook -- gate target/trace_hook/report.json --budget examples/trace_hook/budgets.toml
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use pvbench::Suite;
use pvbench::dispatch::{CallSequence, Dispatch, Inline, Mechanism, Slots};
use pvbench::op::{Args, Body, BodyKind, Op, Ret};

/// Events that were recorded.
static RECORDED: AtomicU64 = AtomicU64::new(0);

pvbench::functions! {
    /// An event without data: nothing while nobody listens; after `or`, it is counted.
    pub struct Event: "event" = fn() {} or {
        RECORDED.fetch_add(1, Ordering::Relaxed);
    };
    /// An event with its place and two values.
    pub struct Values: "event_values" = fn(place: u64 = 7, first: u64 = 1, second: u64 = 2) {} or {
        RECORDED.fetch_add(place ^ first ^ second, Ordering::Relaxed);
    };
}

/// The listeners, one per event; null while nobody listens.
static LISTENERS: Slots = Slots::new();

/// A pointer that is called unless it is null: flag and target in one word.
struct Listener;

impl Dispatch for Listener {
    const META: Mechanism = Mechanism {
        name: "listener",
        way: CallSequence::Own,
        switches: true,
        known_from: "callbacks that may be null: C programs ever since",
        summary: "a pointer that is called unless it is null; else the native body in place",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `bind` wrote the word, a body of `O` or null; the rest is the caller's contract.
        unsafe {
            let listener = LISTENERS.word(O::SLOT).read_volatile();
            if listener == 0 {
                return Inline::call::<O>(args);
            }
            let [a, b, c, d] = args.into_regs();
            O::Ret::from_reg(std::mem::transmute::<usize, Body>(listener)(a, b, c, d))
        }
    }

    fn bind<O: Op>(platform: BodyKind) {
        let listener = match platform {
            BodyKind::Native => 0,
            BodyKind::Xen => platform.body::<O>() as usize,
        };
        LISTENERS.set(O::SLOT, listener);
    }
}

fn main() -> std::process::ExitCode {
    pvbench::main(Suite::builder("trace_hook").ops::<(Event, Values)>().mechanism::<Listener>().build())
}
