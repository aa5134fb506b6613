//! `dlsym`: bodies in shared objects that are made and opened at run time.

mod alone;
mod own_ops;

use alone::{alone, writable_and_executable};
use own_ops::{Add, Called, Long, Same};
use pvbench::dispatch::{DLSYM, Dispatch, Dlsym};
use pvbench::op::{BodyKind, Op};
use pvbench::patch::Function;
use pvbench::patch::function::{code_before_return, through_memory};
use pvbench::regime::{SITES, latency};

/// The word that calls of `O` go through.
fn word<O: Op>() -> u64 {
    &raw const DLSYM as u64 + 8 * O::SLOT as u64
}

/// What is in it after `O` was bound.
fn callee<O: Op>() -> usize {
    assert_eq!(Dlsym::unavailable(), None);
    Dlsym::bind::<O>(BodyKind::Native);
    // SAFETY: the address of a word of this program, as decoded from its code or taken from its model.
    unsafe { (word::<O>() as *const usize).read() }
}

/// What a chain of calls adds per call.
fn adds<O: Op>(words: [u64; 4]) -> u64 {
    callee::<O>();
    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
    let sum = unsafe { latency::<Dlsym, O>(&raw const words, 3) };
    assert_eq!(sum % (3 * SITES), 0, "{sum} after {} calls", 3 * SITES);
    sum / (3 * SITES)
}

/// The line of /proc/self/maps that an address lies in.
fn mapping(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let holds = |line: &&str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()).contains(&address)
    };
    maps.lines().find(holds).unwrap_or_else(|| panic!("{address:#x} is not mapped\n{maps}")).to_owned()
}

#[test]
fn several_ops_each_reach_their_own_native_body() {
    alone("several_ops_each_reach_their_own_native_body", || {
        // All are bound before the first is called.
        let callees = [callee::<Add>(), callee::<Same>(), callee::<Long>(), callee::<Called>()];
        for (index, one) in callees.iter().enumerate() {
            assert!(!callees[..index].contains(one), "{callees:x?}");
        }
        assert_eq!(adds::<Add>([0; 4]), 1);
        assert_eq!(adds::<Same>([0; 4]), 0);
        assert_eq!(adds::<Long>([0, 1, 2, 3]), 4);
        assert_eq!(adds::<Called>([0, 7, 0, 0]), 7);
    });
}

#[test]
fn a_body_that_is_bound_again_stays_where_it_is() {
    assert_eq!(callee::<Add>(), callee::<Add>());
    let before = callee::<Add>();
    // There is no Xen body to be looked up.
    Dlsym::bind::<Add>(BodyKind::Xen);
    // SAFETY: the address of a word of this program, as decoded from its code or taken from its model.
    assert_eq!(unsafe { (word::<Add>() as *const usize).read() }, before);
    assert_eq!(adds::<Add>([0; 4]), 1);
}

#[test]
fn sites_call_through_the_word_and_nothing_else() {
    let entry = latency::<Dlsym, Add> as *const () as usize;
    // SAFETY: the address of a loop of this program.
    let function = unsafe { Function::with_loop(entry) }.unwrap();
    let calls: Vec<_> =
        function.loop_instructions().filter(|i| i.is_call_near() || i.is_call_near_indirect()).collect();
    assert_eq!(calls.len() as u64, SITES);
    for call in calls {
        assert_eq!(through_memory(call), Some(word::<Add>()), "{call}");
        // ff 15 disp32
        assert_eq!(call.len(), 6, "{call}");
    }
}

fn is_a_copy_of_the_native_body<O: Op>() {
    let native = O::native as *const () as usize;
    // SAFETY: the address of a function of this program that ends in a return.
    let mut wanted = unsafe { code_before_return(native) };
    wanted.push(0xc3);
    let found = callee::<O>();
    assert_ne!(found, native);
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    assert_eq!(unsafe { std::slice::from_raw_parts(found as *const u8, wanted.len()) }, wanted, "{}", O::META.name);
}

#[test]
fn the_callee_is_the_native_body_in_executable_memory_of_a_shared_object() {
    is_a_copy_of_the_native_body::<Add>();
    is_a_copy_of_the_native_body::<Long>();
    is_a_copy_of_the_native_body::<pvbench::op::irq::SaveFl>();
    // A hook that does nothing: a return alone.
    is_a_copy_of_the_native_body::<pvbench::op::cpu::StartContextSwitch>();
    for address in [callee::<Add>(), callee::<pvbench::op::irq::SaveFl>()] {
        let line = mapping(address);
        assert_eq!(line.split_whitespace().nth(1), Some("r-xp"), "{line}");
        assert!(line.contains("/memfd:"), "{line}");
    }
}

#[test]
fn nothing_becomes_writable_and_executable() {
    alone("nothing_becomes_writable_and_executable", || {
        let before = writable_and_executable();
        callee::<Add>();
        callee::<Same>();
        assert_eq!(writable_and_executable(), before);
        assert_eq!(before, Vec::<String>::new());
    });
}
