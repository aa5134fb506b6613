//! A check whether the compiler optimised the loops of an op and added no code of its own.
//!
//! Loops are generic: the crate that names the op compiles them with its own options, which a build script of this
//! crate cannot see. So every op has a probe that is compiled with its loops: a function that any optimiser reduces to
//! one addition. This module decodes it.
//!
//! At opt-level 0 the probe calls its methods and keeps its variables in memory. `-C instrument-coverage` counts in
//! memory, and sanitizers call functions.

use std::marker::PhantomData;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::OpEntry;
use crate::host::{Check, optimised};
use crate::relocate::DecodedFunction;

/// The result of the check of one op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The code is optimised, and nothing was added.
    Optimised,
    /// The compiler added counters in memory.
    Instrumented,
    /// The probe calls its methods, or keeps variables in memory.
    Unoptimised,
}

/// A number whose type depends on the op, so that its methods are compiled where the loops of the op are.
struct Sum<O>(u64, PhantomData<O>);

impl<O> Sum<O> {
    #[inline]
    fn add(&mut self, by: u64) {
        self.0 = self.0.wrapping_add(by);
    }
}

/// The probe. An optimiser reduces it to `lea rax, [rdi+3]; ret`.
#[inline(never)]
pub(super) fn probe<O: 'static>(first: u64) -> u64 {
    let mut sum = Sum::<O>(first, PhantomData);
    sum.add(1);
    sum.add(2);
    sum.0
}

impl OpEntry {
    /// Checks the code of this op. A probe that cannot be decoded counts as optimised.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        let Some(probe) = self.probe else { return Code::Optimised };
        // SAFETY: `at` needs a compiled function of this program, and the probe is one.
        let decoded = unsafe { DecodedFunction::at(probe as *const () as usize) };
        decoded.map_or(Code::Optimised, |function| judge(function.instructions().iter().map(|(it, _)| *it)))
    }
}

/// Checks the code of these ops, as a condition of measuring.
#[must_use]
pub fn optimisation<'a>(ops: impl Iterator<Item = &'a OpEntry>) -> Check {
    let codes: Vec<Code> = ops.map(OpEntry::code).collect();
    let count = |code| codes.iter().filter(|it| **it == code).count();
    optimised(count(Code::Unoptimised), count(Code::Instrumented), codes.len())
}

fn judge(instructions: impl Iterator<Item = Instruction>) -> Code {
    let classify = |instruction: Instruction| {
        // NOPs and address arithmetic have memory operands but do not access memory.
        let in_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory)
            && !matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Lea);
        let on_stack = matches!(instruction.memory_base(), Register::RSP | Register::RBP);
        match instruction.is_call_near() || instruction.is_call_near_indirect() || (in_memory && on_stack) {
            true => Code::Unoptimised,
            false if in_memory => Code::Instrumented,
            false => Code::Optimised,
        }
    };
    let found: Vec<Code> = instructions.map(classify).collect();
    let worst = [Code::Unoptimised, Code::Instrumented].into_iter().find(|code| found.contains(code));
    worst.unwrap_or(Code::Optimised)
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    /// Checks machine code that rustc 1.95 generates for the probe.
    fn judge_bytes(code: &[u8]) -> Code {
        judge(Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).into_iter())
    }

    #[test]
    fn an_addition_is_optimised_with_or_without_a_frame_pointer_and_padding() {
        // lea 0x3(%rdi),%rax; ret
        assert_eq!(judge_bytes(&[0x48, 0x8d, 0x47, 0x03, 0xc3]), Code::Optimised);
        // push %rbp; mov %rsp,%rbp; lea 0x3(%rdi),%rax; pop %rbp; ret
        assert_eq!(judge_bytes(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x47, 0x03, 0x5d, 0xc3]), Code::Optimised);
        // endbr64; mov %rdi,%rax; add $0x3,%rax; ret; nopl 0x0(%rax)
        let other = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x89, 0xf8, 0x48, 0x83, 0xc0, 0x03, 0xc3, 0x0f, 0x1f, 0x40, 0x00];
        assert_eq!(judge_bytes(&other), Code::Optimised);
    }

    #[test]
    fn coverage_counters_are_instrumentation() {
        // lock incq 0x1234(%rip); lea 0x3(%rdi),%rax; ret
        let counted = [0xf0, 0x48, 0xff, 0x05, 0x34, 0x12, 0x00, 0x00, 0x48, 0x8d, 0x47, 0x03, 0xc3];
        assert_eq!(judge_bytes(&counted), Code::Instrumented);
        // The same without `lock`, as single-threaded programs have it.
        assert_eq!(judge_bytes(&counted[1..]), Code::Instrumented);
    }

    #[test]
    fn calls_and_variables_in_memory_are_unoptimised() {
        // push %rax; mov %rdi,(%rsp); mov %rsp,%rdi; mov $0x1,%esi; call ..; mov (%rsp),%rax; pop %rcx; ret
        let called = [
            0x50, 0x48, 0x89, 0x3c, 0x24, 0x48, 0x89, 0xe7, 0xbe, 0x01, 0x00, 0x00, 0x00, 0xe8, 0x10, 0x00, 0x00, 0x00,
            0x48, 0x8b, 0x04, 0x24, 0x59, 0xc3,
        ];
        assert_eq!(judge_bytes(&called), Code::Unoptimised);
        // lock incq 0x1234(%rip); call *0x10(%rip); ret
        let both = [0xf0, 0x48, 0xff, 0x05, 0x34, 0x12, 0x00, 0x00, 0xff, 0x15, 0x10, 0x00, 0x00, 0x00, 0xc3];
        assert_eq!(judge_bytes(&both), Code::Unoptimised);
        // mov %rdi,-0x8(%rbp); mov -0x8(%rbp),%rax; ret
        assert_eq!(judge_bytes(&[0x48, 0x89, 0x7d, 0xf8, 0x48, 0x8b, 0x45, 0xf8, 0xc3]), Code::Unoptimised);
    }

    #[test]
    fn this_build_is_optimised_as_its_profile_says() {
        struct Mine;
        // SAFETY: `at` needs a compiled function of this program, and the probe is one.
        let decoded = unsafe { DecodedFunction::at(probe::<Mine> as fn(u64) -> u64 as *const () as usize) }.unwrap();
        let found = judge(decoded.instructions().iter().map(|(it, _)| *it));
        assert_eq!(probe::<Mine>(4), 7);
        // Cargo.toml builds tests with opt-level 2; RUSTFLAGS may override that.
        if std::env::var_os("RUSTFLAGS").is_none_or(|flags| flags.is_empty()) {
            assert_eq!(found, Code::Optimised);
        }
    }
}
