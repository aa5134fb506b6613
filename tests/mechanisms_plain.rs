//! Boxed closures, tables and objects in locks, the linker's stubs and compare trees: a call reaches the body it is
//! bound to, and every site has the call sequence of its mechanism, instruction by instruction.

mod own_ops;

use std::sync::{Mutex, MutexGuard, PoisonError};

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use own_ops::{Add, Called, Long, Same};
use pvbench::dispatch::{
    BoxDyn, COMPARED, CallSequence, CompareTree1, CompareTree4, CompareTree16, Dispatch, GOT, GOT_PLT, Got, Ifunc,
    LazyLockTable, OnceLockDyn, Plt,
};
use pvbench::op::{Args, BodyKind, CpuModel, Op};
use pvbench::regime::{SITES, latency, throughput};
use pvbench::relocate::decode::through_memory;
use pvbench::relocate::{CodeMemory, Layout, LoopFunction, link};

/// Locks the bindings, which all tests of the process share.
fn lock_bindings() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a chain of calls through `D` and returns the sum that each call adds.
fn sum_per_call<D: Dispatch, O: Op>() -> u64 {
    let mut cpu = CpuModel::install().unwrap();
    let words = O::arguments(&mut cpu).to_words();
    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
    let sum = unsafe { latency::<D, O>(&raw const words, 3) };
    assert_eq!(sum % (3 * SITES), 0, "{sum} after {} calls", 3 * SITES);
    sum / (3 * SITES)
}

/// The instructions of a measured loop.
fn sites<D: Dispatch, O: Op>() -> Vec<Instruction> {
    let entry = throughput::<D, O> as *const () as usize;
    // SAFETY: the address of a loop of this program.
    let function = unsafe { LoopFunction::at(entry) }.unwrap_or_else(|e| panic!("{}: {e}", D::META.name));
    function.loop_instructions().copied().collect()
}

fn listing(instructions: &[Instruction]) -> String {
    instructions.iter().map(|i| format!("{:#x} {i}\n", i.ip())).collect()
}

fn native<O: Op>() -> u64 {
    O::native as *const () as usize as u64
}

fn any_call(i: &Instruction) -> bool {
    i.is_call_near() || i.is_call_near_indirect() || i.is_call_far() || i.is_call_far_indirect()
}

/// The instruction at an address of this program.
fn at(address: u64) -> Instruction {
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    let code = unsafe { std::slice::from_raw_parts(address as *const u8, 15) };
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode()
}

/// Checks the sums of the native and Xen bodies of each test op, after every order of binding.
fn assert_switches<D: Dispatch>() {
    fn assert_sums<D: Dispatch, O: Op>(native: u64, xen: u64) {
        for body in [BodyKind::Native, BodyKind::Xen, BodyKind::Native, BodyKind::Xen, BodyKind::Xen] {
            D::bind::<O>(body);
            let wanted = if body == BodyKind::Native { native } else { xen };
            assert_eq!(sum_per_call::<D, O>(), wanted, "{} {} {body:?}", D::META.name, O::META.name);
        }
    }
    let _lock = lock_bindings();
    assert!(D::META.switches && D::META.states.is_empty());
    assert_eq!(D::unavailable(), None);
    assert_sums::<D, Add>(1, 2);
    assert_sums::<D, Same>(0, 2);
    assert_sums::<D, Long>(1, 2);
    assert_sums::<D, Called>(1, 2);
    // The other order; the bindings of two ops are independent.
    for body in [BodyKind::Xen, BodyKind::Native] {
        D::bind::<Add>(body);
        D::bind::<Called>(if body == BodyKind::Xen { BodyKind::Native } else { BodyKind::Xen });
        assert_eq!(sum_per_call::<D, Add>() + sum_per_call::<D, Called>(), 3, "{} {body:?}", D::META.name);
        assert_eq!(sum_per_call::<D, Add>(), if body == BodyKind::Xen { 2 } else { 1 }, "{}", D::META.name);
    }
}

#[test]
fn a_boxed_closure_reaches_the_body_it_is_bound_to() {
    assert_switches::<BoxDyn>();
}

#[test]
fn a_table_in_a_lazy_lock_reaches_the_body_it_is_bound_to() {
    assert_switches::<LazyLockTable>();
}

#[test]
fn a_trait_object_in_a_once_lock_reaches_the_body_it_is_bound_to() {
    assert_switches::<OnceLockDyn>();
}

#[test]
fn a_plt_stub_reaches_the_body_it_is_bound_to() {
    assert_switches::<Plt>();
}

#[test]
fn a_word_of_the_got_reaches_the_body_it_is_bound_to() {
    assert_switches::<Got>();
}

#[test]
fn compare_trees_reach_the_body_they_are_bound_to() {
    assert_switches::<CompareTree1>();
    assert_switches::<CompareTree4>();
    assert_switches::<CompareTree16>();
}

#[test]
fn an_indirect_function_reaches_the_native_body_whatever_is_bound() {
    const { assert!(!Ifunc::META.switches) };
    assert_eq!(Ifunc::unavailable(), None);
    for body in [BodyKind::Native, BodyKind::Xen] {
        Ifunc::bind::<Add>(body);
        assert_eq!(sum_per_call::<Ifunc, Add>(), 1);
        assert_eq!(sum_per_call::<Ifunc, Same>(), 0);
        assert_eq!(sum_per_call::<Ifunc, Long>(), 1);
        assert_eq!(sum_per_call::<Ifunc, Called>(), 1);
    }
}

#[test]
fn the_words_of_plt_and_got_are_bound_independently() {
    let _lock = lock_bindings();
    Plt::bind::<Add>(BodyKind::Xen);
    Got::bind::<Add>(BodyKind::Native);
    assert_eq!((sum_per_call::<Plt, Add>(), sum_per_call::<Got, Add>()), (2, 1));
    Plt::bind::<Add>(BodyKind::Native);
    Got::bind::<Add>(BodyKind::Xen);
    assert_eq!((sum_per_call::<Plt, Add>(), sum_per_call::<Got, Add>()), (1, 2));
}

/// Checks the machine code of every mechanism below, for one op.
fn assert_call_sequences<O: Op>() {
    a_box_is_called_through_its_vtable::<O>();
    a_lock_is_tested_at_every_site::<LazyLockTable, O>(Instruction::is_call_near_indirect);
    // Drop, size, alignment, `call`.
    a_lock_is_tested_at_every_site::<OnceLockDyn, O>(|i| calls_method(i, 3));
    a_plt_site_calls_a_stub_that_jumps_through_its_word::<O>();
    a_got_site_calls_through_its_word::<O>();
    an_ifunc_site_calls_an_entry_of_the_linker::<O>();
    a_tree_compares_in_order::<CompareTree1, O>(1);
    a_tree_compares_in_order::<CompareTree4, O>(4);
    a_tree_compares_in_order::<CompareTree16, O>(16);
}

#[test]
fn every_site_has_the_call_sequence_of_its_mechanism() {
    assert_call_sequences::<Add>();
    assert_call_sequences::<Same>();
    assert_call_sequences::<Long>();
    assert_call_sequences::<Called>();
}

/// Checks that there is one call per site, and that each is the right one.
fn assert_calls(name: &str, code: &[Instruction], right: impl Fn(&Instruction) -> bool) {
    let calls: Vec<&Instruction> = code.iter().filter(|i| any_call(i)).collect();
    assert_eq!(calls.len() as u64, SITES, "{name}\n{}", listing(code));
    assert!(calls.into_iter().all(right), "{name}\n{}", listing(code));
}

fn a_box_is_called_through_its_vtable<O: Op>() {
    assert_eq!(BoxDyn::META.way, CallSequence::Indirect);
    let code = sites::<BoxDyn, O>();
    // Drop, size, alignment, `call_once`, `call_mut`, `call`.
    assert_calls("box_dyn", &code, |i| calls_method(i, 5));
}

/// Whether an instruction calls through a word of a vtable.
fn calls_method(i: &Instruction, word: u64) -> bool {
    i.is_call_near_indirect() && i.memory_base() != Register::RIP && i.memory_displacement64() == word * 8
}

fn a_lock_is_tested_at_every_site<D: Dispatch, O: Op>(right: impl Fn(&Instruction) -> bool) {
    assert_eq!(D::META.way, CallSequence::Indirect);
    let code = sites::<D, O>();
    // The code from the head of the loop to the first branch back to it runs once the lock is set. The code after it
    // sets the lock.
    let back = |i: &Instruction| i.is_jcc_short_or_near() && i.near_branch_target() == code[0].ip();
    let (straight, making) = code.split_at(code.iter().position(back).unwrap() + 1);
    assert_calls(D::META.name, straight, right);
    let behind = making.first().map_or(u64::MAX, Instruction::ip);
    let tests_state = |two: &[Instruction]| {
        matches!(two[0].mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
            && two[1].is_jcc_short_or_near()
            && two[1].near_branch_target() >= behind
    };
    // One test before every call, none without a call.
    let parts = straight.split_inclusive(Instruction::is_call_near_indirect);
    let tests_per_part: Vec<usize> = parts.map(|part| part.windows(2).filter(|two| tests_state(two)).count()).collect();
    let once_each: Vec<usize> = (0..=SITES).map(|part| usize::from(part < SITES)).collect();
    assert_eq!(tests_per_part, once_each, "{}", listing(&code));
    assert!(!code.iter().any(|i| i.is_call_near() && i.near_branch_target() == native::<O>()), "{}", listing(&code));
}

fn a_plt_site_calls_a_stub_that_jumps_through_its_word<O: Op>() {
    assert_eq!(Plt::META.way, CallSequence::Plt);
    let word = &raw const GOT_PLT as u64 + 8 * O::SLOT as u64;
    let through_stub = |i: &Instruction| {
        let jump = at(i.near_branch_target());
        i.code() == Code::Call_rel32_64
            && jump.code() == Code::Jmp_rm64
            && jump.len() == 6
            && through_memory(&jump) == Some(word)
    };
    assert_calls("plt", &sites::<Plt, O>(), through_stub);
}

fn a_got_site_calls_through_its_word<O: Op>() {
    assert_eq!(Got::META.way, CallSequence::Got);
    let word = &raw const GOT as u64 + 8 * O::SLOT as u64;
    assert_calls("got", &sites::<Got, O>(), |i| {
        i.len() == 6 && i.is_call_near_indirect() && through_memory(i) == Some(word)
    });
}

fn an_ifunc_site_calls_an_entry_of_the_linker<O: Op>() {
    assert_eq!(Ifunc::META.way, CallSequence::Plt);
    let to_native = |i: &Instruction| {
        let mut jump = at(i.near_branch_target());
        if jump.code() == Code::Endbr64 {
            jump = at(jump.next_ip());
        }
        let word = through_memory(&jump).filter(|_| jump.code() == Code::Jmp_rm64);
        // The loader stored the address that the resolver returned.
        // SAFETY: the address of a word of this program, as decoded from its code or taken from its model.
        i.code() == Code::Call_rel32_64 && word.is_some_and(|at| unsafe { *(at as *const u64) } == native::<O>())
    };
    assert_calls("ifunc", &sites::<Ifunc, O>(), to_native);
}

fn a_tree_compares_in_order<D: Dispatch, O: Op>(comparisons: usize) {
    assert_eq!(D::META.way, CallSequence::CompareTree);
    let code = sites::<D, O>();
    let word = &raw const COMPARED as u64 + 8 * O::SLOT as u64;
    let loads = |i: &Instruction| {
        i.code() == Code::Mov_r64_rm64
            && i.op0_register() == Register::RAX
            && i.is_ip_rel_memory_operand()
            && i.ip_rel_memory_address() == word
    };
    let starts: Vec<usize> = (0..code.len()).filter(|&index| loads(&code[index])).collect();
    assert_eq!(starts.len() as u64, SITES, "{}", listing(&code));
    for start in starts {
        let site = &code[start + 1..start + 2 + 5 * comparisons];
        let (last, arms) = site.split_last().unwrap();
        let mut known = Vec::new();
        for arm in arms.chunks(5) {
            let codes: Vec<Mnemonic> = arm.iter().map(Instruction::mnemonic).collect();
            let wanted = [Mnemonic::Lea, Mnemonic::Cmp, Mnemonic::Jne, Mnemonic::Call, Mnemonic::Jmp];
            assert_eq!(codes, wanted, "{}", listing(site));
            let [lea, cmp, jne, call, jmp] = arm else { panic!("{}", listing(site)) };
            assert_eq!((lea.op0_register(), lea.memory_base()), (Register::R11, Register::RIP), "{}", listing(site));
            assert_eq!((cmp.op0_register(), cmp.op1_register()), (Register::RAX, Register::R11), "{}", listing(site));
            assert_eq!(jne.near_branch_target(), jmp.next_ip(), "{}", listing(site));
            assert_eq!(call.near_branch_target(), lea.ip_rel_memory_address(), "{}", listing(site));
            assert_eq!(jmp.near_branch_target(), last.next_ip(), "{}", listing(site));
            known.push(call.near_branch_target());
        }
        assert!(last.code() == Code::Call_rm64 && last.op0_register() == Register::RAX, "{}", listing(site));
        assert_eq!(known.last(), Some(&native::<O>()));
        // The functions are different; no linker folded them.
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), comparisons, "{}", listing(site));
    }
    assert_eq!(code.iter().filter(|i| any_call(i)).count() as u64, SITES * (comparisons as u64 + 1));
}

#[test]
fn copies_at_other_addresses_compute_the_same_sums() {
    fn assert_copy_adds<D: Dispatch>() {
        D::bind::<Add>(BodyKind::Native);
        let entry = latency::<D, Add> as *const () as usize;
        // SAFETY: the address of a loop of this program.
        let original = unsafe { LoopFunction::at(entry) }.unwrap();
        let mut memory = CodeMemory::new(entry, 1 << 20).unwrap();
        let start = link(original.image(), &Layout::of_loop(original.head_offset(), 29), &mut memory).unwrap().start();
        pvbench::patch::text::serialise();
        // SAFETY: the copy decodes to the same function.
        let copy: pvbench::regime::Loop = unsafe { std::mem::transmute(start) };
        let _cpu = CpuModel::install().unwrap();
        assert_eq!(unsafe { copy(&[0; 4], 5) }, 5 * SITES, "{}", D::META.name);
    }
    let _lock = lock_bindings();
    assert_copy_adds::<BoxDyn>();
    assert_copy_adds::<LazyLockTable>();
    assert_copy_adds::<OnceLockDyn>();
    assert_copy_adds::<Plt>();
    assert_copy_adds::<Got>();
    assert_copy_adds::<Ifunc>();
    assert_copy_adds::<CompareTree1>();
    assert_copy_adds::<CompareTree4>();
    assert_copy_adds::<CompareTree16>();
}
