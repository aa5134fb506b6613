//! Ops of a user's own, whose bodies tell by what they do which of them ran and how often.
#![allow(dead_code, reason = "not every test file needs all of it")]

use pvbench::native;
use pvbench::op::catalogue::FIRST_USER_SLOT;
use pvbench::op::{Bytes, Conventions, CpuModel, Op, OpMeta};

/// Adds 1, by Xen 2.
pub struct Add;

// SAFETY: `native!` keeps the registers of the convention that META names; both bodies take any words, and the
// arguments keep the sums from overflowing.
unsafe impl Op for Add {
    const META: OpMeta = OpMeta {
        name: "add",
        bytes: Bytes::Instruction,
        conventions: Conventions::CalleeSave,
        chains: true,
        ..OpMeta::BASE
    };
    const SLOT: usize = FIRST_USER_SLOT;
    type Args = (u64,);
    type Ret = u64;
    native! { (x: "rdi") -> "rax"; "lea rax, [rdi + 1]" }
    unsafe fn xen((x,): (u64,)) -> u64 {
        x + 2
    }
    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0,)
    }
}

/// The identity, by Xen adds 2.
pub struct Same;

// SAFETY: `native!` keeps the registers of the convention that META names; both bodies take any words, and the
// arguments keep the sums from overflowing.
unsafe impl Op for Same {
    const META: OpMeta = OpMeta { name: "same", bytes: Bytes::Identity, chains: true, ..OpMeta::BASE };
    const SLOT: usize = FIRST_USER_SLOT + 1;
    type Args = (u64,);
    type Ret = u64;
    native! { (x: "rdi") -> "rax"; "mov rax, rdi" }
    unsafe fn xen((x,): (u64,)) -> u64 {
        x + 2
    }
    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0,)
    }
}

/// A function of four arguments that is too long for its site: 1 + 1 * (b + c + d - 3), by Xen 2 of them.
pub struct Long;

// SAFETY: `native!` keeps the registers of the convention that META names; both bodies take any words, and the
// arguments keep the sums from overflowing.
unsafe impl Op for Long {
    const META: OpMeta = OpMeta { name: "long", bytes: Bytes::Instruction, chains: true, ..OpMeta::BASE };
    const SLOT: usize = FIRST_USER_SLOT + 2;
    type Args = (u64, u64, u64, u64);
    type Ret = u64;
    native! {
        (a: "rdi", b: "rsi", c: "rdx", d: "rcx") -> "rax";
        "lea rax, [rdi + rsi - 2]", "add rax, rdx", "add rax, rcx"
    }
    unsafe fn xen((a, b, c, d): (u64, u64, u64, u64)) -> u64 {
        a + b + c + d - 1
    }
    fn arguments(_: &mut CpuModel) -> (u64, u64, u64, u64) {
        (0, 1, 1, 1)
    }
}

/// A C function to patching: adds 1, by Xen 2.
pub struct Called;

// SAFETY: `native!` keeps the registers of the convention that META names; both bodies take any words, and the
// arguments keep the sums from overflowing.
unsafe impl Op for Called {
    const META: OpMeta = OpMeta { name: "called", chains: true, ..OpMeta::BASE };
    const SLOT: usize = FIRST_USER_SLOT + 3;
    type Args = (u64, u64);
    type Ret = u64;
    native! { (x: "rdi", one: "rsi") -> "rax"; scratch("rcx"); "mov rcx, rsi", "lea rax, [rdi + rcx]" }
    unsafe fn xen((x, one): (u64, u64)) -> u64 {
        x + 2 * one
    }
    fn arguments(_: &mut CpuModel) -> (u64, u64) {
        (0, 1)
    }
}
