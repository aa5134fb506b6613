//! The instruction mix of an op: how many of its executed instructions transfer control, use memory, or order others.

use serde::{Deserialize, Serialize};

/// Declares the classes, in the order of tables and exports.
macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $one:literal $several:literal,)*) => {
        /// Counts by class of instruction, per op: from the call site through the mechanism and the body.
        ///
        /// The loop's own decrement and branch are not in it. A class of which nothing was executed is 0, and a report
        /// leaves it out.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct InstructionMix {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "is_zero")]
                pub $name: f64,
            )*
        }

        impl InstructionMix {
            /// The number of classes.
            pub const CLASSES: usize = Self::NAMES.len();
            /// The names of the classes, as in reports.
            pub const NAMES: [&'static str; [$($one),*].len()] = [$(stringify!($name)),*];
            /// The words for one and for several of a class.
            const WORDS: [[&'static str; 2]; Self::CLASSES] = [$([$one, $several]),*];

            /// Returns the counts, in the order of [`InstructionMix::NAMES`].
            #[must_use]
            pub fn values(&self) -> [f64; Self::CLASSES] {
                [$(self.$name),*]
            }

            /// Makes a mix of counts in the order of [`InstructionMix::NAMES`].
            #[must_use]
            pub fn from_values(values: [f64; Self::CLASSES]) -> Self {
                let [$($name),*] = values;
                InstructionMix { $($name),* }
            }
        }
    };
}

classes! {
    /// Calls of the address in the instruction: `call rel32`.
    direct_calls "direct call" "direct calls",
    /// Calls through a register or a word of memory.
    indirect_calls "indirect call" "indirect calls",
    /// Returns: `ret`. A retpoline has two, its own and the body's.
    returns "return" "returns",
    /// Jumps to the address in the instruction: `jmp rel8`, `jmp rel32`.
    direct_jumps "direct jump" "direct jumps",
    /// Jumps through a register or a word of memory.
    indirect_jumps "indirect jump" "indirect jumps",
    /// Conditional branches that were taken.
    taken_branches "branch taken" "branches taken",
    /// Conditional branches that were not taken, or that lead to the next instruction.
    untaken_branches "branch not taken" "branches not taken",
    /// Reads of memory, the stack included: a return has one, and an indirect call through a table another.
    loads "load" "loads",
    /// Writes to memory, the stack included: a call has one.
    stores "store" "stores",
    /// Instructions with a `lock` prefix, and `xchg` with memory.
    locked "locked instruction" "locked instructions",
    /// Serialising instructions of the Intel SDM (volume 3, 10.3) and fences: `cpuid`, `iretq`, `lfence`, `mfence`,
    /// `sfence`, `serialize`, and privileged ones.
    serialising "serialising instruction" "serialising instructions",
    /// Lines of 64 bytes that the code takes if each piece of it (call site, stub, body) begins a line. Pieces are 64
    /// bytes apart or more. The number does not depend on addresses.
    code_lines "line of code" "lines of code",
}

impl InstructionMix {
    /// Calls, direct and indirect.
    #[must_use]
    pub fn calls(&self) -> f64 {
        self.direct_calls + self.indirect_calls
    }

    /// Indirect calls and jumps: what the CPU predicts a target for. Returns are not among them.
    #[must_use]
    pub fn indirect_branches(&self) -> f64 {
        self.indirect_calls + self.indirect_jumps
    }

    /// Conditional branches, taken or not.
    #[must_use]
    pub fn branches(&self) -> f64 {
        self.taken_branches + self.untaken_branches
    }

    /// Lists what was executed in words: `1 direct call`, `2 loads`, ..
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let words = |(count, [one, several]): (f64, [&str; 2])| {
            (count != 0.0).then(|| format!("{count} {}", if count == 1.0 { one } else { several }))
        };
        self.values().into_iter().zip(Self::WORDS).filter_map(words).collect()
    }

    /// Applies a function to each count of this mix and of another.
    #[must_use]
    pub(crate) fn combine(&self, other: &Self, of: impl Fn(f64, f64) -> f64) -> Self {
        let (here, there) = (self.values(), other.values());
        Self::from_values(std::array::from_fn(|class| of(here[class], there[class])))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &f64) -> bool {
    *count == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_written_without_zeros_and_read_back_the_same() {
        let mix = InstructionMix { direct_calls: 1.0, returns: 1.0, loads: 1.125, ..InstructionMix::default() };
        let text = serde_json::to_string(&mix).unwrap();
        assert_eq!(text, r#"{"direct_calls":1.0,"returns":1.0,"loads":1.125}"#);
        assert_eq!(serde_json::from_str::<InstructionMix>(&text).unwrap(), mix);
        assert_eq!(mix.describe(), ["1 direct call", "1 return", "1.125 loads"]);
        assert!(serde_json::from_str::<InstructionMix>(r#"{"cals":1}"#).is_err());
    }

    #[test]
    fn sums_of_classes_have_what_their_names_say() {
        let mix = InstructionMix::from_values(std::array::from_fn(|class| f64::from(1 << class)));
        assert_eq!(mix.calls(), 3.0, "direct and indirect calls");
        assert_eq!(mix.indirect_branches(), 2.0 + 16.0, "indirect calls and jumps, no returns");
        assert_eq!(mix.branches(), 32.0 + 64.0, "taken and not taken");
        assert_eq!(mix.values().iter().sum::<f64>(), f64::from((1 << InstructionMix::CLASSES) - 1));
    }
}
