//! What the recorder writes, and what this program finds in a kernel's file for it.

use std::collections::BTreeMap;
use std::path::Path;

use pvbench::linux::elf::Elf;
use pvbench::linux::record::convert::convert;
use pvbench::linux::record::entries::{self, Entry};
use pvbench::linux::record::recording::{Class, Touch};
use pvbench::linux::record::window::WINDOWS;
use pvbench::linux::record::{RecordError, plugin, trace};
use pvbench::linux::workload::WORKLOADS;

use super::{TEXT, about, made_kernel};

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const ADDRESS: u64 = (1 << 48) - 1;

fn run(at: u64, length: u64) -> u64 {
    1 << 60 | length << 48 | at & ADDRESS
}

fn store(at: u64, index: u64) -> u64 {
    3 << 60 | index << 48 | at & ADDRESS
}

/// The words of an instruction that was executed.
fn listed(at: u64, bytes: &[u8], length: u64) -> [u64; 4] {
    let mut all = [0; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    let half = |from: usize| u64::from_le_bytes(all[from..from + 8].try_into().unwrap());
    [at, length, half(0), half(8)]
}

#[test]
fn a_trace_becomes_runs_without_incomplete_instructions_and_with_rounds() {
    let elf = Elf::of(Path::new("k"), made_kernel::kernel()).unwrap();
    let site = made_kernel::SITES[0];
    let code = [
        listed(TEXT + 0x180, b"\xf3\x48\xab", 3),
        listed(TEXT + 0x183, b"\xc3", 1),
        // The emulator cut this instruction; its other bytes are in the file.
        listed(site, b"\xff\x15", 2),
    ];
    let mut trace = vec![4 << 60 | 1];
    trace.extend([store(0x1000, 0), run(TEXT + 0x180, 1), store(0x1008, 0), run(TEXT + 0x180, 1)]);
    // The return is incomplete: a fault came in between, so the run does not include it, nor its access.
    trace.extend([store(0x5000, 1), run(TEXT + 0x180, 1)]);
    trace.extend([run(site, 1), run(TEXT + 0x180, 2)]);
    trace.push(5 << 60 | code.len() as u64);
    trace.extend(code.iter().flatten());
    let mut bytes = &words(&trace)[..];
    let window = trace::read_window(&mut bytes).unwrap().unwrap();
    assert_eq!((window.repetition, trace::read_window(&mut bytes).unwrap()), (1, None));
    let ops = BTreeMap::from([(site, "irq_disable".to_owned())]);
    let recording = convert(&window, &ops, &|at| elf.at(at, 15), about()).unwrap();
    let classes: Vec<(Class, u8)> = recording.code.iter().map(|it| (it.class, it.length)).collect();
    assert_eq!(classes, [(Class::Store, 3), (Class::Return, 1), (Class::Hook(0), 6)]);
    assert_eq!(recording.sequence, [0, 1, 2]);
    assert_eq!((&recording.rounds[..], &recording.touch_counts[..]), (&[2, 0][..], &[1, 0, 0][..]));
    assert_eq!(recording.touches, [Touch { line: 0x40, is_store: true }]);
    assert_eq!(recording.count_instructions(), 6);
}

#[test]
fn a_trace_that_is_cut_short_or_unknown_is_refused() {
    let whole = [4 << 60, run(TEXT, 1), 5 << 60 | 1].into_iter().chain(listed(TEXT, b"\x90", 1)).collect::<Vec<_>>();
    for length in 1..whole.len() {
        let bytes = words(&whole[..length]);
        assert!(matches!(trace::read_window(&mut &bytes[..]), Err(RecordError::Trace { .. })), "{length}");
        assert!(matches!(trace::read_window(&mut &bytes[..bytes.len() - 1]), Err(RecordError::Trace { .. })));
    }
    assert!(trace::read_window(&mut &words(&[9 << 60])[..]).is_err());
    assert!(trace::read_window(&mut &words(&[4 << 60, 9 << 60])[..]).is_err());
    assert!(trace::read_sums(&words(&[0; 8]), 1, 0, 0).is_err());
    assert!(trace::read_sums(&words(&[1, 0, 0, 0, 0, 0, 0]), 1, 0, 0).is_err());
    // A run of an instruction that the trace does not list.
    let window = trace::read_window(&mut &words(&[4 << 60, run(TEXT, 1), 5 << 60])[..]).unwrap().unwrap();
    let elf = Elf::of(Path::new("k"), made_kernel::kernel()).unwrap();
    assert!(convert(&window, &BTreeMap::new(), &|at| elf.at(at, 15), about()).is_err());
}

#[test]
fn entries_of_interrupts_and_faults_are_found_in_the_file() {
    let elf = Elf::of(Path::new("k"), made_kernel::kernel_with_entries()).unwrap();
    let found = entries::find(&elf).unwrap();
    assert_eq!(found.get(&made_kernel::PAGE_FAULT), Some(&Entry::PageFault));
    assert_eq!(found.get(&made_kernel::STUBS), Some(&Entry::Interrupt));
    assert_eq!(found.get(&(made_kernel::STUBS + 8 * 0xdf)), Some(&Entry::Interrupt));
    assert_eq!(found.values().filter(|entry| **entry == Entry::Fault).count(), 1);
    assert_eq!(found.len(), 3 + 0xe0);
    let elf = Elf::of(Path::new("k"), made_kernel::kernel()).unwrap();
    assert!(entries::find(&elf).unwrap_err().to_string().contains("page faults"));
}

#[test]
fn plugin_interfaces_of_qemu_5_to_10_are_known_and_others_are_refused() {
    for (version, interface) in [("5.0.0", 0), ("7.2.22", 0), ("8.2.1", 0), ("9.0.0", 2), ("10.1.50", 2)] {
        assert_eq!(plugin::interface(version).unwrap(), interface, "{version}");
    }
    for version in ["4.2.1", "11.0.0", "", "x"] {
        let error = plugin::interface(version).unwrap_err().to_string();
        assert!(error.contains(version) && error.contains("QEMU 5 to 10"), "{error}");
    }
}

#[test]
fn windows_lie_in_the_middle_of_a_repetition_and_have_the_workloads_of_the_guest() {
    for (window, workload) in WINDOWS.iter().zip(&WORKLOADS) {
        assert_eq!(window.workload, workload.name);
        for (scale, wanted) in [(100, None), (1, None), (100, Some(7)), (1, Some(1_000_000))] {
            let place = window.place(scale, wanted);
            let [from, to] = place.calls;
            assert!(place.units > 0 && from < to && to <= window.calls(scale), "{workload:?}: {place:?}");
            assert_eq!((to - from) % place.units, 0);
            assert!(from.abs_diff(window.calls(scale) - to) <= (to - from) / place.units, "{workload:?}: {place:?}");
        }
    }
}

#[test]
fn a_window_has_fewer_units_if_the_kernel_makes_more_system_calls() {
    let workload = WINDOWS.iter().find(|it| it.workload == "sched_yield").unwrap();
    let place = workload.place(100, None);
    assert_eq!(place.count_units(100, workload, workload.calls(100)), place.units);
    assert_eq!(place.count_units(100, workload, 2 * workload.calls(100)), place.units / 2);
    assert_eq!(place.count_units(100, workload, 0), place.units);
}
