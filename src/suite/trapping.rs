//! Ops that may trap to a hypervisor: their native body executes an instruction that a hypervisor can intercept in ring
//! 3.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

use super::OpEntry;
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::relocate::LoopFunction;

/// Instructions that are legal in ring 3 and that a hypervisor may intercept: Intel SDM volume 3, 26.1.2 and 26.1.3;
/// AMD APM volume 2, 15.9. `cpuid` is always intercepted on Intel.
const INTERCEPTED: [Mnemonic; 14] = [
    Mnemonic::Cpuid,
    Mnemonic::Rdtsc,
    Mnemonic::Rdtscp,
    Mnemonic::Rdpmc,
    Mnemonic::Rdpru,
    Mnemonic::Rdrand,
    Mnemonic::Rdseed,
    Mnemonic::Vmcall,
    Mnemonic::Vmmcall,
    Mnemonic::Sgdt,
    Mnemonic::Sidt,
    Mnemonic::Sldt,
    Mnemonic::Str,
    Mnemonic::Smsw,
];

fn is_intercepted(instruction: &Instruction) -> bool {
    INTERCEPTED.contains(&instruction.mnemonic())
}

impl OpEntry {
    /// Whether the native body, or the loop that it is inlined into, executes an instruction that a hypervisor can
    /// intercept. Only the measured time shows whether this machine's hypervisor does.
    #[must_use]
    pub(crate) fn may_trap(&self) -> bool {
        let body = (self.body)(BodyKind::Native) as usize as u64;
        let code = self.native_code();
        if Decoder::with_ip(64, &code, body, DecoderOptions::NONE).into_iter().any(|found| is_intercepted(&found)) {
            return true;
        }
        let Some(inline) = self.pairs.first().and_then(|pair| pair.loop_of(Regime::Throughput)) else { return false };
        // SAFETY: `at` needs a compiled function of this program, and a pair's loop is one.
        let function = unsafe { LoopFunction::at(inline as *const () as usize) };
        function.is_ok_and(|function| function.loop_instructions().any(is_intercepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Inline;
    use crate::op::cpu::Cpuid;
    use crate::op::mmu::PteVal;

    crate::functions! {
        from 0;
        /// asks the CPU for its highest leaf
        struct Ask: "ask" = fn() -> u64 { u64::from(core::arch::x86_64::__cpuid(0).eax) };
    }

    #[test]
    fn the_instructions_of_assembly_and_rust_bodies_decide_whether_an_op_may_trap() {
        let may = |entry: OpEntry| entry.may_trap();
        assert!(may(OpEntry::with::<Cpuid, (Inline,)>()));
        assert!(may(OpEntry::with::<Ask, (Inline,)>()));
        assert!(!may(OpEntry::with::<PteVal, (Inline,)>()));
    }
}
