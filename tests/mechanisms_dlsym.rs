//! `dlsym`: bodies in shared objects, made and opened at run time.

mod alone;
mod own_ops;

use alone::{alone, writable_and_executable};
use own_ops::{Add, Called, Long, Same};
use pvbench::dispatch::{DLSYM, Dispatch, Dlsym};
use pvbench::op::{BodyKind, Op};
use pvbench::patch::body::code_before_return;
use pvbench::regime::{SITES, latency};
use pvbench::relocate::LoopFunction;
use pvbench::relocate::decode::through_memory;

/// The word that calls of `O` go through.
fn word<O: Op>() -> u64 {
    &raw const DLSYM as u64 + 8 * O::SLOT as u64
}

/// Binds `O` and returns the address in its word.
fn bind_and_read<O: Op>() -> usize {
    assert_eq!(Dlsym::unavailable(), None);
    Dlsym::bind::<O>(BodyKind::Native);
    // SAFETY: the address of a word of this program, as decoded from its code or taken from its model.
    unsafe { (word::<O>() as *const usize).read() }
}

/// Runs a chain of calls and returns the sum that each call adds.
fn sum_per_call<O: Op>(words: [u64; 4]) -> u64 {
    bind_and_read::<O>();
    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
    let sum = unsafe { latency::<Dlsym, O>(&raw const words, 3) };
    assert_eq!(sum % (3 * SITES), 0, "{sum} after {} calls", 3 * SITES);
    sum / (3 * SITES)
}

/// The line of /proc/self/maps that an address lies in.
fn find_mapping(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let holds = |line: &&str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()).contains(&address)
    };
    maps.lines().find(holds).unwrap_or_else(|| panic!("{address:#x} is not mapped\n{maps}")).to_owned()
}

#[test]
fn each_op_reaches_its_own_native_body() {
    alone("each_op_reaches_its_own_native_body", || {
        // All are bound before the first is called.
        let callees =
            [bind_and_read::<Add>(), bind_and_read::<Same>(), bind_and_read::<Long>(), bind_and_read::<Called>()];
        for (index, one) in callees.iter().enumerate() {
            assert!(!callees[..index].contains(one), "{callees:x?}");
        }
        assert_eq!(sum_per_call::<Add>([0; 4]), 1);
        assert_eq!(sum_per_call::<Same>([0; 4]), 0);
        assert_eq!(sum_per_call::<Long>([0, 1, 2, 3]), 4);
        assert_eq!(sum_per_call::<Called>([0, 7, 0, 0]), 7);
    });
}

#[test]
fn a_body_that_is_bound_again_keeps_its_address() {
    assert_eq!(bind_and_read::<Add>(), bind_and_read::<Add>());
    let before = bind_and_read::<Add>();
    // No object has a Xen body.
    Dlsym::bind::<Add>(BodyKind::Xen);
    // SAFETY: the address of a word of this program, as decoded from its code or taken from its model.
    assert_eq!(unsafe { (word::<Add>() as *const usize).read() }, before);
    assert_eq!(sum_per_call::<Add>([0; 4]), 1);
}

#[test]
fn sites_call_only_through_the_word() {
    let entry = latency::<Dlsym, Add> as *const () as usize;
    // SAFETY: the address of a loop of this program.
    let function = unsafe { LoopFunction::at(entry) }.unwrap();
    let calls: Vec<_> =
        function.loop_instructions().filter(|i| i.is_call_near() || i.is_call_near_indirect()).collect();
    assert_eq!(calls.len() as u64, SITES);
    for call in calls {
        assert_eq!(through_memory(call), Some(word::<Add>()), "{call}");
        // ff 15 disp32
        assert_eq!(call.len(), 6, "{call}");
    }
}

fn assert_copy_of_native_body<O: Op>() {
    let native = O::native as *const () as usize;
    // SAFETY: the address of a function of this program that ends in a return.
    let mut wanted = unsafe { code_before_return(native) };
    wanted.push(0xc3);
    let found = bind_and_read::<O>();
    assert_ne!(found, native);
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    assert_eq!(unsafe { std::slice::from_raw_parts(found as *const u8, wanted.len()) }, wanted, "{}", O::META.name);
}

#[test]
fn the_callee_is_the_native_body_in_executable_memory_of_a_shared_object() {
    assert_copy_of_native_body::<Add>();
    assert_copy_of_native_body::<Long>();
    assert_copy_of_native_body::<pvbench::op::irq::SaveFl>();
    // A hook that does nothing: its code is a return.
    assert_copy_of_native_body::<pvbench::op::cpu::StartContextSwitch>();
    for address in [bind_and_read::<Add>(), bind_and_read::<pvbench::op::irq::SaveFl>()] {
        let line = find_mapping(address);
        assert_eq!(line.split_whitespace().nth(1), Some("r-xp"), "{line}");
        assert!(line.contains("/memfd:"), "{line}");
    }
}

#[test]
fn no_mapping_becomes_writable_and_executable() {
    alone("no_mapping_becomes_writable_and_executable", || {
        let before = writable_and_executable();
        bind_and_read::<Add>();
        bind_and_read::<Same>();
        assert_eq!(writable_and_executable(), before);
        assert_eq!(before, Vec::<String>::new());
    });
}
