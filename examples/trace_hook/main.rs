//! A tracing hook that is almost always off.
//!
//! Each trace point of a program first asks whether there is a listener, and usually there is none. How much does the
//! question cost: as a test of a flag (`flag`), as a call through a table of empty functions (`table`), as a NOP that
//! becomes a jump when tracing starts (`jump_label`), or as a mechanism of this example, a pointer to the listener that
//! may be null (`listener`)?
//!
//! ```sh
//! cargo run --release --example trace_hook -- run --mechanism 'flag,table,jump_label,listener' --time 20 --out
//! target/trace_hook cargo run --release --example trace_hook -- gate target/trace_hook/report.json --budget
//! examples/trace_hook/budgets.toml
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use pvbench::prelude::*;

/// Recorded events.
static RECORDED: AtomicU64 = AtomicU64::new(0);

functions! {
    /// An event without data. Without a listener nothing happens; the body after `or` counts it.
    pub struct Event: "event" = fn() {} or {
        RECORDED.fetch_add(1, Ordering::Relaxed);
    };
    /// An event with the number of its trace point and two values.
    pub struct Values: "event_values" = fn(point: u64 = 7, first: u64 = 1, second: u64 = 2) {} or {
        RECORDED.fetch_add(point ^ first ^ second, Ordering::Relaxed);
    };
}

/// The listeners, one per event; null if there is none.
static LISTENERS: Slots = Slots::new();

/// A call of a pointer unless it is null: flag and target in one word.
struct Listener;

impl Dispatch for Listener {
    const META: Mechanism = Mechanism {
        name: "listener",
        way: CallSequence::Own,
        switches: true,
        known_from: "callbacks that may be null, in C programs",
        summary: "a call of a pointer unless it is null; else the native body in place",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `bind` wrote a body of `O` or null into the word. The caller keeps the contract of the body.
        unsafe {
            let listener = LISTENERS.word(O::SLOT).read_volatile();
            if listener == 0 {
                return Inline::call::<O>(args);
            }
            let [a, b, c, d] = args.into_regs();
            O::Ret::from_reg(std::mem::transmute::<usize, Body>(listener)(a, b, c, d))
        }
    }

    fn bind<O: Op>(body: BodyKind) {
        let listener = match body {
            BodyKind::Native => 0,
            BodyKind::Xen => body.callee::<O>() as usize,
        };
        LISTENERS.set(O::SLOT, listener);
    }
}

fn main() -> std::process::ExitCode {
    pvbench::main(Suite::builder("trace_hook").ops::<(Event, Values)>().mechanism::<Listener>().build())
}
