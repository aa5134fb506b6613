//! Instances of a function, one after another, and the hooks that they call.

use pvbench::op::mmu::{MakePte, PteVal};
use pvbench::prelude::*;

/// The ops that programs call.
pub type Hooks = (MakePte, PteVal);

/// The environment of all programs.
pub type Here = NoKernel<Hooks>;

/// Passes a value through a hook.
#[inline(always)]
pub fn value<D: Dispatch>(word: u64) -> u64 {
    // SAFETY: `call` needs arguments that the op accepts and a bound mechanism: `PteVal` takes any word, and pvbench
    // binds before it runs a unit.
    unsafe { D::call::<PteVal>((word,)) }
}

/// Stores what a hook makes of a value.
#[inline(always)]
pub fn store<D: Dispatch>(to: &mut u64, word: u64) {
    // SAFETY: `call` needs arguments that the op accepts and a bound mechanism: `MakePte` takes any word, and pvbench
    // binds before it runs a unit.
    *to = unsafe { D::call::<MakePte>((word,)) };
}

/// A multiplier of its own for each instance.
pub const fn odd(number: u64) -> u64 {
    (number * 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Calls the instances 0 to 63 of a function: `each!(step::<D>(state))` calls `step::<D, 0>(state)` and so on, and adds
/// their results.
macro_rules! each {
    ($function:ident::<$D:ident>($state:expr)) => {{
        let mut sum = 0u64;
        each!(@ $function $D $state, sum,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
        sum
    }};
    (@ $function:ident $D:ident $state:expr, $sum:ident, $($number:literal)*) => {
        $($sum = $sum.wrapping_add($function::<$D, $number>($state));)*
    };
}

/// Makes a program: a workload of a state that is built from random numbers, and of the instances of a function.
macro_rules! program {
    ($(#[$doc:meta])* $Name:ident, $name:literal, $summary:literal, $State:ty, $new:expr, $step:ident) => {
        $(#[$doc])*
        pub struct $Name;

        impl pvbench::prelude::Workload for $Name {
            const META: pvbench::prelude::WorkloadMeta = pvbench::prelude::WorkloadMeta {
                name: $name,
                unit: "round",
                summary: $summary,
                source: "a program of known cost",
            };
            type On = $crate::instances::Here;
            type State = $State;

            fn prepare<D: pvbench::prelude::Dispatch, C: pvbench::prelude::Config>(
                (): &mut (),
                random: pvbench::prelude::Random,
            ) -> Result<$State, pvbench::prelude::Failure> {
                let new: fn(pvbench::prelude::Random) -> $State = $new;
                Ok(new(random))
            }

            fn unit<D: pvbench::prelude::Dispatch, C: pvbench::prelude::Config>(
                (): &mut (),
                state: &mut $State,
            ) -> Result<u64, pvbench::prelude::Failure> {
                Ok(each!($step::<D>(state)))
            }
        }
    };
}
