//! The compiled code of every mechanism, op and regime. Each loop is decoded: it must hold the instructions of its
//! mechanism eight times, and no other way to the body.
//!
//! This holds for optimised code; the development profile in `Cargo.toml` optimises this package for that reason.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use pvbench::dispatch::{CALLEE_SAVE, CallSequence, PV_OPS, SAVING, THUNK, thunks};
use pvbench::op::BodyKind;
use pvbench::patch::body::code_before_return;
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Regime, SITES};
use pvbench::relocate::decode::through_memory;
use pvbench::relocate::{CodeMemory, Layout, LoopFunction, link};
use pvbench::suite::{OpEntry, Pair};

/// Every loop of the suite with its op, the index of its pair, and its regime.
fn loops() -> Vec<(OpEntry, usize, Regime, LoopFunction)> {
    let mut all = Vec::new();
    for op in op_entries() {
        for regime in Regime::ALL {
            for index in 0..op.pairs.len() {
                let Some(entry) = op.pairs[index].loop_of(regime) else { continue };
                // SAFETY: `with_loop` needs a compiled function of this program, and a pair's loop is one.
                let function = unsafe { LoopFunction::at(entry as *const () as usize) }
                    .unwrap_or_else(|e| panic!("{} {}: {e}", op.meta.name, op.pairs[index].mechanism.name));
                all.push((op.clone(), index, regime, function));
            }
        }
    }
    all
}

fn check_all(way: CallSequence, check: impl Fn(&OpEntry, &Pair, &[Instruction], &[u8]) -> Result<(), String>) {
    let mut checked = 0;
    for op in op_entries() {
        for regime in Regime::ALL {
            for pair in op.pairs.iter().filter(|pair| pair.mechanism.way == way) {
                let Some(entry) = pair.loop_of(regime) else { continue };
                let name = format!("{} {} {}", op.meta.name, pair.mechanism.name, regime.name());
                // SAFETY: `with_loop` needs a compiled function of this program, and a pair's loop is one.
                let function = unsafe { LoopFunction::at(entry as *const () as usize) };
                let function = function.unwrap_or_else(|e| panic!("{name}: {e}"));
                let instructions: Vec<Instruction> = function.loop_instructions().copied().collect();
                if let Err(what) = check(&op, pair, &instructions, function.loop_bytes()) {
                    panic!("{name}: {what}\n{}", listing(&instructions));
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no mechanism is of the kind {way:?}");
}

fn listing(instructions: &[Instruction]) -> String {
    instructions.iter().map(|i| format!("{:#x} {i}\n", i.ip())).collect()
}

fn count(instructions: &[Instruction], wanted: impl Fn(&Instruction) -> bool) -> u64 {
    instructions.iter().filter(|i| wanted(i)).count() as u64
}

fn expect(what: &str, found: u64, wanted: u64) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found} {what}, not {wanted}")) }
}

fn native(op: &OpEntry) -> u64 {
    (op.body)(BodyKind::Native) as usize as u64
}

/// Counts how often the bytes of the native body occur in the loop.
fn count_bodies(op: &OpEntry, code: &[u8]) -> u64 {
    // SAFETY: `code_before_return` needs a function of this program, and the body of an op is one.
    let body = unsafe { code_before_return((op.body)(BodyKind::Native) as usize) };
    if body.is_empty() {
        return SITES;
    }
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = code[at..].windows(body.len()).position(|window| window == body) {
        found += 1;
        at += next + body.len();
    }
    found
}

fn any_call(i: &Instruction) -> bool {
    i.is_call_near() || i.is_call_near_indirect() || i.is_call_far() || i.is_call_far_indirect()
}

#[test]
fn inline_mechanisms_hold_the_native_instructions_and_no_call() {
    check_all(CallSequence::Straight, |op, _, instructions, code| {
        expect("calls", count(instructions, any_call), 0)?;
        expect("native bodies", count_bodies(op, code), SITES)
    });
}

#[test]
fn a_direct_call_reaches_the_native_body_by_rel32_only() {
    check_all(CallSequence::DirectCall, |op, _, instructions, _| {
        let to_body = |i: &Instruction| {
            i.is_call_near() && i.op0_kind() == OpKind::NearBranch64 && i.near_branch_target() == native(op)
        };
        expect("direct calls of the body", count(instructions, to_body), SITES)?;
        expect("calls", count(instructions, any_call), SITES)
    });
}

/// The slot that a mechanism calls through, and its callee on bare metal; `None` for tables that are not public.
fn find_slot(op: &OpEntry, pair: &Pair) -> Option<(u64, u64)> {
    (pair.bind)(BodyKind::Native);
    let table = match pair.mechanism.name {
        "table" | "site" => &PV_OPS,
        "table_callee_save" | "site_callee_save" => &CALLEE_SAVE[SAVING],
        "table_thunk" => &CALLEE_SAVE[THUNK],
        _ => return None,
    };
    let slot = &raw const *table as u64 + 8 * op.slot as u64;
    // SAFETY: `read` needs a readable word: the slot lies in a static table of this program.
    Some((slot, unsafe { (slot as *const u64).read() }))
}

#[test]
fn a_table_is_called_through_its_slot_exactly_as_in_linux() {
    check_all(CallSequence::IndirectMemory, |op, pair, instructions, _| {
        let called: Vec<&Instruction> = instructions.iter().filter(|i| any_call(i)).collect();
        let slots: BTreeSet<u64> = called.iter().filter(|i| i.len() == 6).filter_map(|i| through_memory(i)).collect();
        expect("calls", called.len() as u64, SITES)?;
        expect("slots", slots.len() as u64, 1)?;
        let (slot, callee) = match find_slot(op, pair) {
            Some(known) => known,
            // endbr has its own table.
            None => {
                let slot = slots.first().copied().unwrap_or_default();
                // SAFETY: `read` needs a readable word: the program's own calls go through this slot.
                (slot, unsafe { (slot as *const u64).read() })
            }
        };
        if !slots.contains(&slot) {
            return Err(format!("calls through {slots:x?}, not {slot:#x}"));
        }
        let decode = || decoded(callee, 40);
        match pair.mechanism.name {
            "table" | "site" => expect("callee", callee, native(op)),
            "table_callee_save" | "site_callee_save" if !op.spoils => expect("callee", callee, native(op)),
            "dlsym" => {
                // SAFETY: `code_before_return` needs a function of this program: both addresses are bodies of ops.
                let copied = |at: u64| unsafe { code_before_return(at as usize) };
                let code = copied(native(op));
                let found = unsafe { std::slice::from_raw_parts(callee as *const u8, code.len() + 1) };
                if found[..code.len()] == code && found[code.len()] == 0xc3 {
                    Ok(())
                } else {
                    Err("another body".into())
                }
            }
            "endbr" => expect("endbr64", u64::from(decode()[0].mnemonic() == Mnemonic::Endbr64), 1),
            // Linux's thunk: eight pushes, the call, eight pops.
            _ => {
                let code = decode();
                let shape: String = code[..18].iter().map(|i| format!("{:?} ", i.mnemonic())).collect();
                let wanted = format!("{}Call {}Ret ", "Push ".repeat(8), "Pop ".repeat(8));
                if shape == wanted && code[8].near_branch_target() == native(op) { Ok(()) } else { Err(shape) }
            }
        }
    });
}

/// Decodes `bytes` bytes of the program from an address on.
fn decoded(address: u64, bytes: usize) -> Vec<Instruction> {
    // SAFETY: `from_raw_parts` needs mapped bytes that nobody writes: callers pass addresses in the text, at least this
    // far before its end.
    let code = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect()
}

#[test]
fn retpolines_load_the_slot_and_call_a_thunk_with_the_expected_code() {
    check_all(CallSequence::Thunk, |_, pair, instructions, _| {
        let classic = pair.mechanism.name == "retpoline";
        let thunk = thunks()[usize::from(!classic)] as u64;
        let calls = |i: &Instruction| i.is_call_near() && i.near_branch_target() == thunk;
        expect("calls of the thunk", count(instructions, calls), SITES)?;
        expect("calls", count(instructions, any_call), SITES)?;
        let loads = |i: &Instruction| i.mnemonic() == Mnemonic::Mov && i.op0_register() == Register::R11;
        expect("loads of r11", count(instructions, loads), SITES)?;
        let shape = |at, n: usize| decoded(at, 32)[..n].iter().map(|i| i.mnemonic()).collect::<Vec<_>>();
        if !classic {
            return if shape(thunk, 2) == [Mnemonic::Lfence, Mnemonic::Jmp] { Ok(()) } else { Err("the thunk".into()) };
        }
        let first = decoded(thunk, 16)[0];
        let caught = shape(first.next_ip(), 3) == [Mnemonic::Pause, Mnemonic::Lfence, Mnemonic::Jmp];
        let set = shape(first.near_branch_target(), 2) == [Mnemonic::Mov, Mnemonic::Ret];
        if first.is_call_near() && caught && set { Ok(()) } else { Err("the thunk".into()) }
    });
}

#[test]
fn kcfi_compares_the_hash_before_the_callee_at_every_site() {
    check_all(CallSequence::CallerCheck, |_, pair, instructions, _| {
        (pair.bind)(BodyKind::Native);
        let shape = [Mnemonic::Mov, Mnemonic::Mov, Mnemonic::Add, Mnemonic::Je, Mnemonic::Ud2, Mnemonic::Call];
        let mut found = 0;
        for window in instructions.windows(shape.len()) {
            if window.iter().map(Instruction::mnemonic).eq(shape) && window[2].memory_displacement64() as i64 == -4 {
                let slot = window[0].ip_rel_memory_address();
                // SAFETY: both reads need mapped words: the loop itself reads the slot, and the hash before its callee.
                let entry = unsafe { (slot as *const u64).read() };
                let hash = unsafe { ((entry - 4) as *const u32).read_unaligned() };
                expect("hash", u64::from(hash.wrapping_add(window[1].immediate32())), 0)?;
                found += 1;
            }
        }
        expect("checked calls", found, SITES)
    });
}

#[test]
fn fineibt_calls_a_preamble_that_compares_the_hash() {
    check_all(CallSequence::CalleeCheck, |_, pair, instructions, _| {
        (pair.bind)(BodyKind::Native);
        let shape = [Mnemonic::Mov, Mnemonic::Mov, Mnemonic::Sub, Mnemonic::Nop, Mnemonic::Call];
        let mut found = 0;
        for window in instructions.windows(shape.len()) {
            if window.iter().map(Instruction::mnemonic).eq(shape) && window[2].immediate8() == 16 {
                // SAFETY: `read` needs a readable word: the loop itself reads this slot.
                let entry = unsafe { (window[0].ip_rel_memory_address() as *const u64).read() };
                let preamble = decoded(entry - 16, 16);
                let wanted = [Mnemonic::Endbr64, Mnemonic::Sub, Mnemonic::Je, Mnemonic::Ud2, Mnemonic::Nop];
                if !preamble.iter().map(Instruction::mnemonic).eq(wanted) {
                    return Err("the preamble".into());
                }
                expect("hash", u64::from(preamble[1].immediate32()), u64::from(window[1].immediate32()))?;
                found += 1;
            }
        }
        expect("checked calls", found, SITES)
    });
}

/// Counts the indirect calls that have a compare and a conditional branch between the call before and themselves.
fn count_tested_calls(instructions: &[Instruction]) -> u64 {
    let is_tested = |part: &&[Instruction]| {
        // Moves may stand between the two.
        let mut rest = part.iter().skip_while(|i| !matches!(i.mnemonic(), Mnemonic::Cmp | Mnemonic::Test));
        rest.any(Instruction::is_jcc_short_or_near)
    };
    let parts = instructions.split_inclusive(Instruction::is_call_near_indirect);
    let calls = parts.filter(|part| part.last().is_some_and(Instruction::is_call_near_indirect));
    calls.filter(is_tested).count() as u64
}

/// A call of the first method of a trait object: the vtable has drop, size and alignment in front of it.
fn calls_first_method(i: &Instruction) -> bool {
    i.is_call_near_indirect() && i.memory_base() != Register::RIP && i.memory_displacement64() == 3 * 8
}

#[test]
fn pointers_and_objects_are_called_indirectly_and_never_devirtualised() {
    check_all(CallSequence::Indirect, |op, pair, instructions, code| {
        let direct = |i: &Instruction| i.is_call_near() && i.near_branch_target() == native(op);
        // The call of a lock's initialiser follows the loop.
        let beyond = |i: &&Instruction| i.is_jcc_short_or_near() && i.near_branch_target() > i.ip();
        let cold = instructions.iter().filter(beyond).map(Instruction::near_branch_target).min();
        let cold = cold.filter(|_| pair.mechanism.name == "lazy_lock").unwrap_or(u64::MAX);
        let hot: Vec<Instruction> = instructions.iter().filter(|i| i.ip() < cold).copied().collect();
        expect("indirect calls", count(&hot, Instruction::is_call_near_indirect), SITES)?;
        if ["once_lock", "once_lock_dyn", "lazy_lock"].contains(&pair.mechanism.name) {
            expect("calls after a test of the lock", count_tested_calls(&hot), SITES)?;
        }
        if ["dyn", "once_lock_dyn"].contains(&pair.mechanism.name) {
            expect("calls through a vtable", count(&hot, calls_first_method), SITES)?;
        }
        expect("direct calls of the body", count(instructions, direct), 0)?;
        // SAFETY: `code_before_return` needs a function of this program, and the body of an op is one.
        let body = unsafe { code_before_return((op.body)(BodyKind::Native) as usize) };
        // Short bodies consist of common instructions, which argument set-up may contain by chance.
        if body.len() >= 4 { expect("inlined bodies", count_bodies(op, code), 0) } else { Ok(()) }
    });
}

#[test]
fn branches_test_memory_at_every_call_and_hold_the_native_instructions() {
    check_all(CallSequence::Branch, |op, _, instructions, code| {
        let reads = |i: &Instruction| i.op_kinds().any(|kind| kind == OpKind::Memory);
        let mut tests = 0;
        for (at, pair) in instructions.windows(2).enumerate() {
            let compares = matches!(pair[0].mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
            // `cmp [x], 0; jne`, or `movzx eax, [x]; test al, al; jne`.
            let of_memory = reads(&pair[0]) || instructions[at.saturating_sub(3)..at].iter().any(reads);
            tests += u64::from(compares && of_memory && pair[1].is_jcc_short_or_near());
        }
        // A body may test memory itself, so there may be more tests.
        if tests < SITES {
            return Err(format!("{tests} tests of memory, fewer than {SITES}"));
        }
        let held = count_bodies(op, code);
        if held < SITES { Err(format!("{held} native bodies, fewer than {SITES}")) } else { Ok(()) }
    });
}

#[test]
fn a_jump_label_is_a_five_byte_nop_before_the_native_instructions_and_its_call_is_out_of_line() {
    check_all(CallSequence::Nop, |op, _, instructions, code| {
        let at_sites = |i: &Instruction| i.mnemonic() == Mnemonic::Nop && i.len() == 5;
        let nops: Vec<usize> = (0..instructions.len()).filter(|&at| at_sites(&instructions[at])).collect();
        expect("5-byte NOPs", nops.len() as u64, SITES)?;
        // With the key off, no call is executed between two NOPs.
        let called = |pair: &[usize]| instructions[pair[0]..pair[1]].iter().filter(|i| i.is_call_near()).count();
        if instructions.iter().any(|i| i.is_call_near_indirect()) {
            return Err("an indirect call".to_owned());
        }
        let straight = nops.windows(2).filter(|pair| called(pair) == 0).count() as u64;
        expect("paths without a call from site to site", straight, SITES - 1)?;
        let held = count_bodies(op, code);
        if held < SITES { Err(format!("{held} native bodies, fewer than {SITES}")) } else { Ok(()) }
    });
}

#[test]
fn a_static_call_calls_a_trampoline_that_is_a_jump_to_the_body() {
    check_all(CallSequence::Trampoline, |op, _, instructions, _| {
        let to_trampoline = |i: &Instruction| {
            let target = if i.is_call_near() { i.near_branch_target() } else { return false };
            // SAFETY: `from_raw_parts` needs mapped bytes that nobody writes: a trampoline has at least 8 bytes of
            // text.
            let code = unsafe { std::slice::from_raw_parts(target as *const u8, 8) };
            let jump = Decoder::with_ip(64, code, target, DecoderOptions::NONE).decode();
            // A trampoline is marked by `ud1 esp, ecx` after the jump, as in Linux.
            jump.code() == Code::Jmp_rel32_64
                && jump.near_branch_target() == native(op)
                && code[5..] == [0x0f, 0xb9, 0xcc]
        };
        expect("calls of the trampoline", count(instructions, to_trampoline), SITES)?;
        expect("calls", count(instructions, any_call), SITES)
    });
}

#[test]
fn bodies_are_aligned_to_sixteen_bytes_as_in_linux() {
    for op in op_entries() {
        assert_eq!(native(&op) % 16, 0, "{}", op.meta.name);
    }
}

#[test]
fn a_copy_at_any_offset_has_the_same_code_and_its_head_at_that_offset() {
    let mut memory = CodeMemory::new(loops as *const () as usize, 1 << 20).unwrap();
    for (op, index, _, function) in loops() {
        for offset in [0, 1, 29, 64, 127] {
            memory.clear();
            let start =
                link(function.image(), &Layout::of_loop(function.head_offset(), offset), &mut memory).unwrap().start();
            let copy = LoopFunction::decode(start as u64, memory.read(start, function.len()).to_vec()).unwrap();
            let name = format!("{} {}", op.meta.name, op.pairs[index].mechanism.name);
            assert_eq!(copy.loop_head() as usize % 128, offset, "{name}");
            let codes = |f: &LoopFunction| f.loop_instructions().map(|i| (i.code(), i.len())).collect::<Vec<_>>();
            assert_eq!(codes(&copy), codes(&function), "{name}");
        }
    }
}
