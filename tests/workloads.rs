//! Workloads do the same work with every mechanism, and call as many hooks as Linux calls.

use std::collections::{BTreeMap, BTreeSet};

use pvbench::clock::Clock;
use pvbench::dispatch::thunks;
use pvbench::kernel::Machine;
use pvbench::op::Op;
use pvbench::op::irq::IrqEnable;
use pvbench::patch::text::serialise;
use pvbench::pv_ops::workload_entries;
use pvbench::relocate::{CodeImage, CodeMemory, DecodeCache, RandomLayouts, link};
use pvbench::workload::{Run, WorkloadEntry, count_hooks};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const SEED: u64 = 42;
/// Units that hook counts cover: 128 in each of the four parts of a run and in the stretch before them.
const UNITS: f64 = 640.0;

fn units(entry: &WorkloadEntry) -> u64 {
    match entry.meta.name {
        "kernel_build" => 3,
        "spinlock_contended" => 4,
        _ => 300,
    }
}

#[test]
fn every_mechanism_reaches_the_checksum_of_inline() {
    let mut machine = Machine::new().unwrap();
    for entry in workload_entries().into_iter().filter(|entry| (entry.unavailable)().is_none()) {
        let units = units(&entry);
        let expected = (entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum;
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
fn a_kernel_copied_to_random_addresses_reaches_the_same_checksum() {
    let mut machine = Machine::new().unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(SEED);
    let enable = IrqEnable::native as *const () as usize;
    for entry in workload_entries().into_iter().filter(|entry| (entry.unavailable)().is_none()) {
        let units = units(&entry).min(20);
        let expected = (entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum;
        let variants = entry.variants.iter().filter(|variant| (variant.unavailable)().is_none());
        let mechanisms = variants.map(|variant| (variant.mechanism.name, variant.run, variant.data.is_some()));
        let options = entry.options.iter().map(|option| (option.name, option.run, false));
        let data: Vec<_> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let calls = count_hooks(&entry, &mut machine, SEED, 4).unwrap();
        let mut decoded = DecodeCache::leaving(entry.variants.iter().map(|variant| variant.bind as usize));
        for (name, run, has_data) in mechanisms.chain(options) {
            let case = format!("{} with {name}", entry.meta.name);
            // Tables must hold the hooks before they are copied.
            run(&mut machine, SEED, 0, Clock::Tsc).unwrap();
            // SAFETY: a compiled function.
            let tree = unsafe { CodeImage::of_known(run as *const () as usize, &mut decoded) }.unwrap();
            // SAFETY: the mechanisms named this data as theirs.
            let tree = unsafe { tree.with_data(&data, &mut decoded) }.unwrap();
            assert_eq!(tree.data_room() > 0, has_data, "{case}: data of the mechanism");
            assert!(tree.len() > 3, "{case}: {} functions", tree.len());
            let near = run as *const () as usize;
            let mut memory = CodeMemory::with_data(near, tree.room(), tree.data_room()).unwrap();
            let linked = link(&tree, &RandomLayouts::default().draw(&tree, &mut rng), &mut memory).unwrap();
            let calls_body =
                ["direct", "table", "retpoline", "site"].contains(&name) && calls.contains_key("irq_enable");
            assert!(!calls_body || linked.address_of(enable as u64).is_some(), "{case}: the body is copied");
            assert!(
                name != "retpoline" || linked.address_of(thunks()[0] as u64).is_some(),
                "{case}: the thunk is copied"
            );
            let copy = linked.address_of(run as *const () as u64).unwrap();
            serialise();
            // SAFETY: a copy of this function, in memory that is still mapped.
            let copy = unsafe { std::mem::transmute::<usize, Run>(copy as usize) };
            assert_eq!(copy(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum, expected, "{case}");
        }
    }
}

#[test]
fn a_machine_at_new_addresses_reaches_the_same_checksum() {
    let mut machine = Box::new(Machine::new().unwrap());
    let mut rng = Pcg64Mcg::seed_from_u64(SEED);
    let mut addresses = [const { BTreeSet::new() }; 3];
    for entry in workload_entries().into_iter().filter(|entry| (entry.unavailable)().is_none()) {
        let units = units(&entry).min(20);
        let mut checksums = Vec::new();
        for run in 0..4 {
            checksums.push((entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap().checksum);
            if run % 2 == 1 {
                machine.draw_frames(&mut rng);
            }
            machine = machine.rebuild_at_new_address(&mut rng).unwrap();
            addresses[0].insert(&raw const *machine as usize % 4096);
            addresses[1].insert(machine.memory.pages.as_ptr() as usize % 4096);
            addresses[2].insert(machine.memory.base().as_ptr() as usize);
        }
        assert_eq!(checksums, [checksums[0]; 4], "{}", entry.meta.name);
    }
    let counts = addresses.each_ref().map(BTreeSet::len);
    assert!(counts.iter().all(|count| *count > 15), "addresses of machine, pages, frames: {counts:?}");
}

#[test]
fn memory_in_use_does_not_grow_with_the_number_of_units() {
    let mut machine = Machine::new().unwrap();
    for entry in workload_entries().into_iter().filter(|entry| (entry.unavailable)().is_none()) {
        let mut in_use = |units| {
            (entry.variants[0].run)(&mut machine, SEED, units, Clock::Tsc).unwrap();
            machine.pages_in_use()
        };
        let (few, many) = (in_use(128), in_use(8 * 128));
        assert!((many - few).abs() < 600, "{}: {few} pages, then {many}", entry.meta.name);
    }
}

fn count_calls(name: &str) -> BTreeMap<&'static str, u64> {
    let entry = workload_entries().into_iter().find(|entry| entry.meta.name == name).unwrap();
    // 128 units in each of the four parts and before them: 640.
    count_hooks(&entry, &mut Machine::new().unwrap(), SEED, 128).unwrap()
}

#[test]
fn a_null_system_call_calls_the_two_hooks_of_the_interrupt_flag() {
    assert_eq!(count_calls("null_syscall"), BTreeMap::from([("irq_enable", 640), ("irq_disable", 640)]));
}

/// Calls per unit: 16 first touches, one map, one unmap, and the tables for them.
#[test]
fn lat_mmap_calls_the_hooks_of_linux_for_each_fault_map_and_unmap() {
    let calls = count_calls("lat_mmap");
    let faults = 16.0;
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    for (op, expected) in [
        // `exc_page_fault`
        ("read_cr2", faults),
        // `mk_pte`, `set_pte_at`; `vm_normal_page` when the pages are unmapped.
        ("make_pte", faults),
        ("set_pte", faults),
        ("pte_val", faults),
        // A pud, a pmd and a pte table: set and cleared.
        ("alloc_pud", 1.0),
        ("alloc_pmd", 1.0),
        ("alloc_pte", 1.0),
        ("make_pmd", 1.0),
        ("set_pmd", 2.0),
        ("set_pud", 2.0),
        ("set_p4d", 2.0),
        ("release_pte", 1.0),
        ("release_pmd", 1.0),
        ("release_pud", 1.0),
        ("tlb_remove_table", 3.0),
        // `zap_pte_range` of the one table; a range of more than 33 pages is flushed at once.
        ("lazy_enter", 1.0),
        ("lazy_leave", 1.0),
        ("flush_tlb_user", 1.0),
        ("flush_tlb_one_user", 0.0),
        // A walk per fault, one to unmap, and those of `free_pgd_range`, which reads once more per level.
        ("p4d_val", faults + 4.0),
        ("pud_val", faults + 3.0),
        // Each fault reads the entry (except the first, which has no table), locks and maps it. The unmap locks and
        // maps it once, and the free reads it.
        ("pmd_val", faults * 3.0 - 1.0 + 2.0 + 1.0),
    ] {
        assert_eq!(per_unit(op), expected, "{op}");
    }
    // Every disable has an enable.
    assert_eq!(calls["irq_disable"], calls["irq_enable"]);
    // Disables outside the page allocator: two for the calls, one per fault, one for the flush. The allocator's come
    // with `save_fl`.
    assert_eq!(per_unit("irq_disable") - per_unit("save_fl"), 2.0 + faults + 1.0);
}

#[test]
fn a_context_switch_calls_the_hooks_of_schedule() {
    let calls = count_calls("context_switch");
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    for op in ["start_context_switch", "end_context_switch", "write_cr3", "load_tls", "sched_clock"] {
        assert_eq!(per_unit(op), 1.0, "{op}");
    }
    // System call entry and exit, `do_sched_yield`, `__schedule`.
    assert_eq!((per_unit("irq_disable"), per_unit("queued_spin_unlock")), (3.0, 2.0));
    // Only Xen has this hook since Linux 4.15.
    assert_eq!(per_unit("load_sp0"), 0.0);
}

#[test]
fn a_critical_section_saves_clears_and_restores_the_interrupt_flag() {
    let four =
        |each: u64| BTreeMap::from(["save_fl", "irq_disable", "queued_spin_unlock", "irq_enable"].map(|op| (op, each)));
    assert_eq!(count_calls("spinlock"), four(640));
    // 64 pages are allocated from the list of the CPU and freed to it.
    assert_eq!(count_calls("page_life"), four(640 * 128));
}

#[test]
fn a_first_touch_calls_the_hooks_of_a_walk_a_page_and_an_entry() {
    let calls = count_calls("page_fault");
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    for op in ["read_cr2", "make_pte", "set_pte"] {
        assert_eq!(per_unit(op), 1.0, "{op}");
    }
    // The start and the end of a range of 256 pages add calls.
    for (op, least) in [("p4d_val", 1.0), ("pud_val", 1.0), ("pmd_val", 3.0), ("flush_tlb_user", 0.0)] {
        assert!((least..least + 4.0 / 128.0).contains(&per_unit(op)), "{op} {}", per_unit(op));
    }
    // Only the allocator saves the flag: for each allocated and freed page, and for the structures of a range.
    let freed = per_unit("pte_val");
    assert!((per_unit("save_fl") - 1.0 - freed).abs() < 0.15, "{} and {freed}", per_unit("save_fl"));
}

/// The fork shares 192 pages, the child copies 24 of them, and its exit unmaps all of its pages.
#[test]
fn a_fork_calls_the_hooks_of_every_page_it_shares_copies_and_frees() {
    let (shared, copied) = (192.0, 24.0);
    let calls = count_calls("fork_exit");
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    for (op, expected) in [
        ("pte_val", shared + copied + shared),
        ("set_pte", shared + copied),
        ("make_pte", copied),
        ("read_cr2", copied),
        ("flush_tlb_one_user", copied),
        ("pgd_alloc", 1.0),
        ("pgd_free", 1.0),
        ("dup_mmap", 1.0),
        ("exit_mmap", 1.0),
        // Switches to the child and back.
        ("write_cr3", 2.0),
        ("activate_mm", 0.0),
    ] {
        assert_eq!(per_unit(op), expected, "{op}");
    }
    for level in ["pte", "pmd", "pud"] {
        let (made, given) = (per_unit(&format!("alloc_{level}")), per_unit(&format!("release_{level}")));
        assert!(made == given && made > 0.0, "{level}: {made} allocated, {given} released");
    }
    assert_eq!(calls["lazy_enter"], calls["lazy_leave"]);
}

#[test]
fn an_exec_has_one_more_address_space_than_a_fork() {
    let calls = count_calls("exec");
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    for (op, expected) in [
        ("pgd_alloc", 2.0),
        ("pgd_free", 2.0),
        ("exit_mmap", 2.0),
        ("dup_mmap", 1.0),
        ("activate_mm", 1.0),
        // Switches to the child, to its new program, and back.
        ("write_cr3", 3.0),
    ] {
        assert_eq!(per_unit(op), expected, "{op}");
    }
}

#[test]
fn prot_fault_changes_protection_through_the_ptep_modify_prot_hooks() {
    let calls = count_calls("prot_fault");
    let per_unit = |op: &str| calls.get(op).copied().unwrap_or(0) as f64 / UNITS;
    assert_eq!((per_unit("ptep_modify_prot_start"), per_unit("ptep_modify_prot_commit")), (2.0, 2.0));
    assert_eq!((per_unit("lazy_enter"), per_unit("lazy_leave")), (2.0, 2.0));
    // The refused access, and the one that makes the page writable again.
    assert_eq!(per_unit("read_cr2"), 2.0);
}

#[test]
fn a_workload_fails_with_an_error_when_memory_runs_out() {
    use pvbench::dispatch::Inline;
    use pvbench::kernel::{Kernel, KernelError, Plain, Prot};
    let mut machine = Machine::new().unwrap();
    let before = machine.free_frames();
    let mut kernel = Kernel::<Inline, Plain>::new(&mut machine);
    kernel.start().unwrap();
    let at = kernel.mmap(1 << 30, Prot::Write).unwrap();
    let ended = (0..1 << 18).find_map(|page| kernel.store(at + page * 4096, page).err());
    assert!(matches!(ended, Some(KernelError::Memory(_))), "{ended:?}");
    kernel.finish().unwrap();
    // Everything is free but the slabs, which keep their pages.
    assert!(before - machine.free_frames() < 8, "{before} frames, then {}", machine.free_frames());
}

#[test]
fn a_process_reads_what_it_wrote_after_its_memory_moved() {
    use pvbench::dispatch::Inline;
    use pvbench::kernel::{Kernel, KernelError, Plain, Prot};
    let mut machine = Machine::new().unwrap();
    let mut kernel = Kernel::<Inline, Plain>::new(&mut machine);
    kernel.start().unwrap();
    let at = kernel.mmap(4 * 4096, Prot::Write).unwrap();
    kernel.store(at + 4096, 7).unwrap();
    assert_eq!(kernel.load(at), Ok(0), "unwritten memory is zero");
    // A neighbour, so that the area cannot grow in place.
    let blocker = kernel.mmap(4096, Prot::Read).unwrap();
    assert_eq!(kernel.store(blocker, 1), Err(KernelError::Fault(blocker)));
    let moved = kernel.mremap(at, 4 * 4096, 64 * 4096).unwrap();
    assert_eq!(kernel.load(moved + 4096), Ok(7));
    if moved != at {
        assert_eq!(kernel.load(at), Err(KernelError::Fault(at)));
    }
    // The child reads the parent's value; the parent does not read the child's.
    let child = kernel.fork().unwrap();
    let seen = kernel.run_child(child, |kernel| {
        let seen = kernel.load(moved + 4096)?;
        kernel.store(moved + 4096, 8)?;
        Ok((seen, kernel.load(moved + 4096)?))
    });
    assert_eq!(seen, Ok((7, 8)));
    assert_eq!(kernel.load(moved + 4096), Ok(7));
    assert_eq!(kernel.munmap(moved + 1, 4096), Err(KernelError::Invalid(moved + 1)));
    assert_eq!(kernel.mmap(0, Prot::Read), Err(KernelError::Invalid(0)));
}

#[test]
fn a_kernel_with_called_hooks_executes_more_instructions_than_one_with_inline_hooks() {
    use pvbench::measure::executed::Unit;
    use pvbench::measure::trace::Tracer;
    let mut machine = Machine::new().unwrap();
    // Only this test of the file traces.
    let mut tracer = Tracer::install().unwrap();
    let entry = workload_entries().into_iter().find(|entry| entry.meta.name == "null_syscall").unwrap();
    let mut count = |mechanism: &str| {
        let variant = entry.variants.iter().find(|variant| variant.mechanism.name == mechanism).unwrap();
        let mut unit = Unit { run: variant.run, machine: &mut machine, seed: SEED, units: 16 };
        unit.instructions(&mut tracer).unwrap()
    };
    let (inline, direct) = (count("inline"), count("direct"));
    // Two hooks: a call and a return for each, and perhaps a saved register.
    assert!((inline + 4.0..inline + 12.0).contains(&direct), "{inline} inline, {direct} with calls");
    assert_eq!(count("inline"), inline, "a second count is the same");
}

#[test]
fn a_page_is_zero_at_its_first_use_however_it_was_cleared() {
    let mut machine = Machine::new().unwrap();
    let entry = workload_entries().into_iter().find(|entry| entry.meta.name == "page_life").unwrap();
    let plain = (entry.variants[0].run)(&mut machine, SEED, 5, Clock::Tsc).unwrap().checksum;
    for name in ["init_on_free", "sanitize_mem", "page_poison"] {
        let option = entry.options.iter().find(|option| option.name == name).unwrap();
        assert_eq!((option.run)(&mut machine, SEED, 5, Clock::Tsc).unwrap().checksum, plain, "{name}");
    }
}
