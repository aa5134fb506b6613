//! What workloads do: the same whichever way the hooks are reached, and no more of them than Linux has.

use std::collections::BTreeMap;

use pvbench::kernel::Machine;
use pvbench::measure::clock::Clock;
use pvbench::workload::{Entry, count_hooks, entries};

const SEED: u64 = 42;

fn units(entry: &Entry) -> u64 {
    if entry.meta.name == "kernel_build" { 3 } else { 300 }
}

#[test]
fn every_mechanism_comes_to_the_checksum_of_inline() {
    let mut machine = Machine::new().unwrap();
    for entry in entries() {
        let units = units(&entry);
        let expected = (entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum;
        for copy in entry.copies {
            assert_eq!(copy(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum, expected);
        }
        for option in &entry.options {
            let outcome = (option.run)(&mut machine, SEED, units, Clock::Tsc).unwrap();
            assert_eq!(outcome.checksum, expected, "{} with {}", entry.meta.name, option.name);
        }
        for variant in entry.variants.iter().filter(|variant| (variant.unavailable)().is_none()) {
            let outcome = (variant.run)(&mut machine, SEED, units, Clock::Tsc).unwrap();
            assert_eq!(outcome.checksum, expected, "{} with {}", entry.meta.name, variant.mechanism.name);
        }
        let other = (entry.variants[0].run)(&mut machine, SEED, units + 1, Clock::Tsc).unwrap().checksum;
        assert_ne!(other, expected, "{}", entry.meta.name);
    }
}

#[test]
fn units_leave_nothing_behind_that_grows() {
    let mut machine = Machine::new().unwrap();
    for entry in entries() {
        let mut in_use = |units| {
            (entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap();
            machine.pages_in_use()
        };
        let (few, many) = (in_use(512), in_use(8 * 512));
        assert!((many - few).abs() < 600, "{}: {few} pages, then {many}", entry.meta.name);
    }
}

fn calls(name: &str) -> BTreeMap<&'static str, u64> {
    let entry = entries().into_iter().find(|entry| entry.meta.name == name).unwrap();
    count_hooks(&entry, &mut Machine::new().unwrap(), SEED, 256).unwrap()
}

#[test]
fn a_null_system_call_reaches_the_two_hooks_of_the_interrupt_flag() {
    assert_eq!(calls("null_syscall"), BTreeMap::from([("irq_enable", 256), ("irq_disable", 256)]));
}
