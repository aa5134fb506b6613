//! User ops whose results show which body ran, and how often.
#![allow(dead_code, reason = "not every test file needs all of it")]

use pvbench::native;
use pvbench::op::catalogue::FIRST_USER_SLOT;
use pvbench::op::{Bytes, Conventions, CpuModel, Op, OpMeta};

/// Adds 1; its Xen body adds 2.
pub struct Add;

// SAFETY: an op's bodies must keep the registers of its convention and accept its arguments: `native!` keeps them, both
// bodies take any words, and the arguments keep the sums from overflowing.
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

/// The identity; its Xen body adds 2.
pub struct Same;

// SAFETY: an op's bodies must keep the registers of its convention and accept its arguments: `native!` keeps them, both
// bodies take any words, and the arguments keep the sums from overflowing.
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

/// A function of four arguments that is too long for its site: adds `b + c + d - 2`, which is 1; its Xen body adds 2.
pub struct Long;

// SAFETY: an op's bodies must keep the registers of its convention and accept its arguments: `native!` keeps them, both
// bodies take any words, and the arguments keep the sums from overflowing.
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

/// A C function for the patcher: adds 1; its Xen body adds 2.
pub struct Called;

// SAFETY: an op's bodies must keep the registers of its convention and accept its arguments: `native!` keeps them, both
// bodies take any words, and the arguments keep the sums from overflowing.
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
