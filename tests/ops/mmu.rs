//! The ops on page tables, TLB and roots: the effects of each body on memory, registers and the hypervisor.

use pvbench::op::mmu::*;
use pvbench::op::xen::{CallKind, FrameType, LazyMode, MmuExtCmd, guest};
use pvbench::op::{Args, Bytes, Conventions, CpuModel, Op, Ret, xen_entry};

/// Runs a native body in all three forms, each on its own CPU model. `prepare` sets up the model and returns the
/// arguments; `check` gets the model afterwards, with the arguments and the result (0 if there is none).
fn native<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, O::Args, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::inline(args) };
    let clobber = |args| unsafe { O::inline_clobber(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(O::native(a, b, c, d)) }
    };
    run::<O>(&[&inline, &clobber, &callee], prepare, check);
}

/// The same for the Xen body, inline and as a callee. The hypervisor's counts start from 0, and it must refuse no call.
fn xen<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, O::Args, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::xen(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(xen_entry::<O>(a, b, c, d)) }
    };
    let prepare = |cpu: &mut CpuModel| {
        let args = prepare(cpu);
        cpu.xen.hypervisor.reset_counts();
        args
    };
    run::<O>(&[&inline, &callee], prepare, |cpu, args, result| {
        assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.multicall.failed), (0, 0), "{}", O::META.name);
        check(cpu, args, result);
    });
}

fn run<O: Op>(
    forms: &[&dyn Fn(O::Args) -> O::Ret],
    prepare: impl Fn(&mut CpuModel) -> O::Args,
    check: impl Fn(&mut CpuModel, O::Args, u64),
) {
    for form in forms {
        let mut cpu = CpuModel::install().unwrap();
        let args = prepare(&mut cpu);
        let result = form(args).value();
        check(&mut cpu, args, result);
    }
}

/// Asserts that a body changed no register of the model and made no hypercall.
fn assert_untouched<A, R>(cpu: &mut CpuModel, _: A, _: R) {
    assert_eq!((cpu.mmu.cr2, cpu.mmu.invlpg, cpu.mmu.ipi, cpu.mmu.cr4), (0, 0, 0, CR4_PGE));
    assert_eq!(cpu.xen.hypervisor.calls(), 0);
}

/// Asserts that the native body does nothing, and that patching writes nops for it.
fn assert_native_nop<O: Op>() {
    assert_eq!(O::META.bytes, Bytes::Nop, "{}", O::META.name);
    native::<O>(
        |cpu| {
            let args = O::arguments(cpu);
            cpu.xen.hypervisor.reset_counts();
            args
        },
        assert_untouched,
    );
}

fn load(address: u64) -> u64 {
    // SAFETY: the address of a word in the CPU model or the guest's memory.
    unsafe { (address as *const u64).read_volatile() }
}

fn frame_type(cpu: &CpuModel, pfn: u64) -> FrameType {
    cpu.xen.hypervisor.frames.get(cpu.xen.p2m.pfn_to_mfn(pfn)).unwrap().kind
}

fn is_pinned(cpu: &CpuModel, pfn: u64) -> bool {
    cpu.xen.memory.pinned(cpu.xen.memory.pfn_to_virt(pfn))
}

fn count_calls(cpu: &CpuModel, call: CallKind) -> u64 {
    cpu.xen.hypervisor.count(call)
}

/// Sets up an op's arguments without recycling frames, so that the effect of a call stays visible.
fn prepare_once<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = O::arguments(cpu);
    cpu.xen.recycled = guest::Recycled::new();
    args
}

/// The same, with the count of TLB flushes set to 0.
fn prepare_unflushed<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = prepare_once::<O>(cpu);
    cpu.xen.hypervisor.tlb_flushes = 0;
    args
}

fn check_value_ops<L: Level>() {
    for conventions in [Val::<L>::META.conventions, Make::<L>::META.conventions] {
        assert_eq!(conventions, Conventions::CalleeSave);
    }
    native::<Val<L>>(|_| (0x1234_5067,), |_, _, value| assert_eq!(value, 0x1234_5067));
    native::<Make<L>>(|_| (0x1234_5067,), |_, _, entry| assert_eq!(entry, 0x1234_5067));
    xen::<Val<L>>(Val::<L>::arguments, |_, _, value| assert_eq!(value, guest::DATA << 12 | 0x67));
    xen::<Make<L>>(Make::<L>::arguments, |cpu, _, entry| assert_eq!(entry, cpu.xen.machine_entry(guest::DATA, 0x67)));
    xen::<Val<L>>(
        |_| (0x5066,),
        |_, _, value| assert_eq!(value, 0x5066, "an entry that is not present is not translated"),
    );
    xen::<Make<L>>(
        |_| (0x5066,),
        |_, _, entry| assert_eq!(entry, 0x5066, "an entry that is not present is not translated"),
    );
    xen::<Val<L>>(
        |_| (2000 << 12 | 0x67,),
        |_, _, value| assert_eq!(value, 0x66, "the frame belongs to another domain"),
    );
}

#[test]
fn values_equal_entries_on_bare_metal_and_are_translated_in_xen_on_every_level() {
    check_value_ops::<Pte>();
    check_value_ops::<Pmd>();
    check_value_ops::<Pud>();
    check_value_ops::<P4d>();
    check_value_ops::<Pgd>();
}

#[test]
fn a_chain_of_translations_stays_within_the_guests_frames() {
    let mut cpu = CpuModel::install().unwrap();
    let (mut value, mut entry) = (PteVal::arguments(&mut cpu).0, MakePte::arguments(&mut cpu).0);
    for _ in 0..5000 {
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        value = unsafe { PteVal::xen((value,)) };
        entry = unsafe { MakePte::xen((entry,)) };
        assert_eq!((value & 1, entry & 1), (1, 1));
    }
}

#[test]
fn set_pte_stores_and_in_xen_makes_one_hypercall_which_lazy_mode_batches() {
    native::<SetPte>(SetPte::arguments, |cpu, (ptep, pte), _| {
        assert_eq!(load(ptep), pte);
        assert_eq!(cpu.xen.hypervisor.refused, 0);
    });
    xen::<SetPte>(SetPte::arguments, |cpu, (ptep, pte), _| {
        assert_eq!((load(ptep), count_calls(cpu, CallKind::MmuUpdate)), (pte, 1));
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = SetPte::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        args
    };
    xen::<SetPte>(lazy, |cpu, (ptep, pte), _| {
        assert_eq!((load(ptep), cpu.xen.multicall.pending().len()), (0, 1));
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { LazyLeave::xen(()) };
        assert_eq!((load(ptep), cpu.xen.lazy), (pte, LazyMode::None));
    });
}

fn check_set_entry<L: Upper>(updates: u64) {
    native::<SetEntry<L>>(SetEntry::<L>::arguments, |_, (entry, value), _| assert_eq!(load(entry), value));
    xen::<SetEntry<L>>(SetEntry::<L>::arguments, |cpu, (entry, value), _| {
        assert_eq!((load(entry), count_calls(cpu, CallKind::MmuUpdate)), (value, updates));
        let user = cpu.xen.memory.read(guest::USER_ROOT, 7);
        assert_eq!(user, Some(if L::ROOT { value } else { 0 }), "user mode's root");
    });
    let unpinned = |cpu: &mut CpuModel| {
        let (_, value) = SetEntry::<L>::arguments(cpu);
        let table = if L::ROOT { guest::NEW_ROOT } else { guest::NEW_PMD };
        (cpu.xen.memory.entry(table, 7), value)
    };
    xen::<SetEntry<L>>(unpinned, |cpu, (entry, value), _| {
        assert_eq!((load(entry), cpu.xen.hypervisor.calls()), (value, 0), "a plain store");
        assert_eq!(cpu.xen.memory.read(guest::NEW_USER_ROOT, 7), Some(if L::ROOT { value } else { 0 }));
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = SetEntry::<L>::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        args
    };
    xen::<SetEntry<L>>(lazy, |cpu, (entry, _), _| {
        assert_eq!((load(entry), cpu.xen.multicall.pending().len() as u64), (0, updates));
        assert_eq!(cpu.xen.multicall.entries(), 1);
    });
}

#[test]
fn set_pmd_and_above_store_and_in_xen_are_batched_if_pinned_and_also_set_user_modes_root() {
    check_set_entry::<Pmd>(1);
    check_set_entry::<Pud>(1);
    check_set_entry::<P4d>(2);
    check_set_entry::<Pgd>(2);
}

#[test]
fn an_entry_of_the_kernels_half_is_not_set_in_user_modes_root() {
    let kernel = |cpu: &mut CpuModel| {
        let (_, value) = SetP4d::arguments(cpu);
        (cpu.xen.memory.entry(guest::ROOT, 300), value)
    };
    xen::<SetP4d>(kernel, |cpu, _, _| {
        assert_eq!(count_calls(cpu, CallKind::MmuUpdate), 1);
        assert_eq!(cpu.xen.memory.read(guest::USER_ROOT, 300), Some(0));
    });
}

#[test]
fn modifying_protection_clears_the_entry_and_in_xen_leaves_it_unchanged() {
    let present = |cpu: &mut CpuModel| {
        let args = PtepModifyProtStart::arguments(cpu);
        cpu.xen.memory.write(guest::PTE, 9, 0x5065);
        args
    };
    native::<PtepModifyProtStart>(present, |_, args, old| assert_eq!((load(args.2), old), (0, 0x5065)));
    xen::<PtepModifyProtStart>(present, |_, args, old| assert_eq!((load(args.2), old), (0x5065, 0x5065)));
}

#[test]
fn committing_protection_stores_and_in_xen_keeps_the_accessed_and_dirty_bits() {
    native::<PtepModifyProtCommit>(PtepModifyProtCommit::arguments, |_, args, _| assert_eq!(load(args.2), args.3));
    let clean = |cpu: &mut CpuModel| {
        let (vma, addr, ptep, _) = PtepModifyProtCommit::arguments(cpu);
        let dirty = cpu.xen.machine_entry(guest::DATA, 0x65);
        cpu.xen.memory.write(guest::PTE, 9, dirty);
        (vma, addr, ptep, cpu.xen.machine_entry(guest::DATA, 0x5))
    };
    xen::<PtepModifyProtCommit>(clean, |cpu, args, _| {
        assert_eq!((load(args.2), count_calls(cpu, CallKind::MmuUpdate)), (args.3 | 0x60, 1));
    });
}

fn check_table<L: Table>(pins: u64) {
    assert_native_nop::<AllocTable<L>>();
    assert_native_nop::<ReleaseTable<L>>();
    let own = u64::from(L::IN_XEN);
    xen::<AllocTable<L>>(prepare_once::<AllocTable<L>>, |cpu, (_, pfn), _| {
        assert_eq!(is_pinned(cpu, pfn), L::IN_XEN);
        assert_eq!(count_calls(cpu, CallKind::UpdateVaMapping), own);
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::PinL1Table), pins);
        if L::IN_XEN {
            assert_eq!(frame_type(cpu, pfn), if pins == 1 { FrameType::L1 } else { FrameType::None });
        }
    });
    let unpinned = |cpu: &mut CpuModel| (&raw const cpu.mmu.new_mm as u64, prepare_once::<AllocTable<L>>(cpu).1);
    xen::<AllocTable<L>>(unpinned, |cpu, (_, pfn), _| {
        assert_eq!(
            (is_pinned(cpu, pfn), cpu.xen.hypervisor.calls()),
            (false, 0),
            "a table is not pinned before its address space"
        );
    });
    xen::<ReleaseTable<L>>(prepare_once::<ReleaseTable<L>>, |cpu, (pfn,), _| {
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::UnpinTable), pins);
        assert_eq!(count_calls(cpu, CallKind::UpdateVaMapping), own);
        if L::IN_XEN {
            assert_eq!((is_pinned(cpu, pfn), frame_type(cpu, pfn)), (false, FrameType::Writable));
        }
    });
}

#[test]
fn xen_is_notified_of_allocated_and_released_tables_and_pins_those_of_the_last_level() {
    check_table::<Pte>(1);
    check_table::<Pmd>(0);
    check_table::<Pud>(0);
    check_table::<P4d>(0);
}

#[test]
fn every_measured_call_of_a_lifecycle_hook_does_the_same_work() {
    fn assert_same_work<O: Op>(kinds: &[CallKind]) {
        let mut cpu = CpuModel::install().unwrap();
        let args = O::arguments(&mut cpu);
        cpu.xen.hypervisor.reset_counts();
        let mut seen = Vec::new();
        for _ in 0..4 {
            // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
            unsafe { O::xen(args) };
            seen.push(kinds.iter().map(|&kind| count_calls(&cpu, kind)).collect::<Vec<_>>());
        }
        assert!(seen[0].iter().all(|&count| count > 0), "{}: {seen:?}", O::META.name);
        for (times, counts) in seen.iter().enumerate() {
            let expected: Vec<_> = seen[0].iter().map(|count| count * (times as u64 + 1)).collect();
            assert_eq!(*counts, expected, "{}", O::META.name);
        }
        assert_eq!(cpu.xen.hypervisor.refused, 0, "{}", O::META.name);
    }
    let both = [CallKind::UpdateVaMapping, CallKind::MmuExt];
    assert_same_work::<AllocPte>(&both);
    assert_same_work::<ReleasePte>(&both);
    assert_same_work::<AllocPmd>(&both[..1]);
    assert_same_work::<ReleasePud>(&both[..1]);
    assert_same_work::<ActivateMm>(&both);
    assert_same_work::<DupMmap>(&both);
    assert_same_work::<ExitMmap>(&both);
}

/// The arguments of an op can be set up after another op, whatever state that op left.
#[test]
fn arguments_can_be_set_up_after_any_other_op_without_a_refused_call() {
    let mut cpu = CpuModel::install().unwrap();
    for _ in 0..3 {
        for round in 0..5 {
            let exit = ExitMmap::arguments(&mut cpu);
            if round % 2 == 0 {
                // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
                unsafe { ExitMmap::xen(exit) };
            }
            let release = ReleasePte::arguments(&mut cpu);
            // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
            unsafe { ReleasePte::xen(release) };
            let alloc = AllocPte::arguments(&mut cpu);
            unsafe { AllocPte::xen(alloc) };
            let activate = ActivateMm::arguments(&mut cpu);
            // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
            unsafe { ActivateMm::xen(activate) };
        }
    }
    assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.multicall.failed), (0, 0));
}

fn check_pinning<O: Op<Args = (u64, u64)>>() {
    assert_native_nop::<O>();
    xen::<O>(prepare_unflushed::<O>, |cpu, _, _| {
        for (pfn, level) in [
            (guest::NEW_ROOT, FrameType::L4),
            (guest::NEW_USER_ROOT, FrameType::L4),
            (guest::NEW_PUD, FrameType::L3),
            (guest::NEW_PMD, FrameType::L2),
            (guest::NEW_PTE, FrameType::L1),
        ] {
            assert_eq!((is_pinned(cpu, pfn), frame_type(cpu, pfn)), (true, level), "frame {pfn}");
        }
        assert_eq!(count_calls(cpu, CallKind::UpdateVaMapping), 5);
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::PinL4Table), 2);
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::PinL1Table), 1);
        assert_eq!(cpu.xen.hypervisor.tlb_flushes, 2, "the change of protection of each root flushes the TLB");
        assert_eq!(cpu.mmu.new_mm.lock.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

#[test]
fn an_address_space_is_pinned_as_a_whole_when_it_comes_into_use_or_is_copied() {
    check_pinning::<ActivateMm>();
    check_pinning::<DupMmap>();
}

#[test]
fn an_address_space_is_unpinned_as_a_whole_before_teardown() {
    assert_native_nop::<ExitMmap>();
    xen::<ExitMmap>(prepare_unflushed::<ExitMmap>, |cpu, _, _| {
        assert_eq!(cpu.xen.hypervisor.tlb_flushes, 2, "the change of protection of each root flushes the TLB");
        for pfn in guest::NEW_ROOT..=guest::NEW_PTE {
            assert_eq!((is_pinned(cpu, pfn), frame_type(cpu, pfn)), (false, FrameType::Writable), "frame {pfn}");
        }
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::UnpinTable), 3);
    });
}

#[test]
fn pgd_alloc_returns_0_and_in_xen_allocates_user_modes_root() {
    native::<PgdAlloc>(PgdAlloc::arguments, |_, _, result| assert_eq!(result, 0));
    let dirty = |cpu: &mut CpuModel| {
        let args = prepare_once::<PgdAlloc>(cpu);
        cpu.xen.memory.write(guest::FREE, 5, 99);
        args
    };
    xen::<PgdAlloc>(dirty, |cpu, _, result| {
        assert_eq!(result, 0);
        let memory = &cpu.xen.memory;
        assert_eq!(memory.map[guest::BARE_ROOT as usize].private, memory.pfn_to_virt(guest::FREE));
        assert_eq!(memory.read(guest::FREE, 5), Some(0));
        assert_eq!(memory.read(guest::FREE, 511), Some(cpu.xen.machine_entry(guest::FIX_PUD, 0x67)));
    });
    let none_left = |cpu: &mut CpuModel| {
        let args = prepare_once::<PgdAlloc>(cpu);
        cpu.mmu.free_page = 0;
        args
    };
    xen::<PgdAlloc>(none_left, |_, _, result| assert_eq!(result as i64, -12));
}

#[test]
fn pgd_free_in_xen_returns_user_modes_root_to_the_allocator() {
    assert_native_nop::<PgdFree>();
    let prepare = |cpu: &mut CpuModel| {
        let args = prepare_once::<PgdFree>(cpu);
        cpu.mmu.free_page = 0;
        args
    };
    xen::<PgdFree>(prepare, |cpu, _, _| {
        assert_eq!(cpu.xen.memory.map[guest::BARE_ROOT as usize].private, 0);
        assert_eq!(cpu.mmu.free_page, cpu.xen.memory.pfn_to_virt(guest::FREE));
    });
}

/// The allocator's list has two pages, each of which can become user mode's root.
#[test]
fn user_roots_are_taken_from_a_free_list_and_returned_to_it() {
    let pages = |cpu: &CpuModel| [guest::DATA, guest::DATA + 1].map(|pfn| cpu.xen.memory.pfn_to_virt(pfn));
    let two = |cpu: &mut CpuModel| {
        let [first, second] = pages(cpu);
        cpu.mmu.free_page = first;
        cpu.xen.memory.map[guest::DATA as usize].private = second;
    };
    let alloc = |cpu: &mut CpuModel| {
        let args = prepare_once::<PgdAlloc>(cpu);
        two(cpu);
        args
    };
    xen::<PgdAlloc>(alloc, |cpu, _, _| {
        let [first, second] = pages(cpu);
        assert_eq!((cpu.xen.memory.map[guest::BARE_ROOT as usize].private, cpu.mmu.free_page), (first, second));
    });
    let free = |cpu: &mut CpuModel| {
        let args = prepare_once::<PgdFree>(cpu);
        two(cpu);
        args
    };
    xen::<PgdFree>(free, |cpu, _, _| {
        let (user, first) = (cpu.xen.memory.pfn_to_virt(guest::FREE), pages(cpu)[0]);
        assert_eq!((cpu.mmu.free_page, cpu.xen.memory.map[guest::FREE as usize].private), (user, first));
    });
}

#[test]
fn teardown_of_the_address_space_in_use_switches_to_the_kernels_root() {
    let in_use = |cpu: &mut CpuModel| {
        let args = prepare_once::<ExitMmap>(cpu);
        // SAFETY: the root of a pinned address space, for the CPU model installed on this thread.
        unsafe { WriteCr3::xen((guest::NEW_ROOT << 12,)) };
        assert_eq!(cpu.xen.hypervisor.base, cpu.xen.p2m.pfn_to_mfn(guest::NEW_ROOT));
        args
    };
    xen::<ExitMmap>(in_use, |cpu, _, _| {
        let mfn = |pfn| cpu.xen.p2m.pfn_to_mfn(pfn);
        let roots = (cpu.xen.hypervisor.base, cpu.xen.hypervisor.user_base);
        assert_eq!(roots, (mfn(guest::ROOT), mfn(guest::USER_ROOT)));
        assert_eq!(frame_type(cpu, guest::NEW_ROOT), FrameType::Writable);
    });
}

#[test]
fn cr2_is_read_from_a_register_and_in_xen_from_the_shared_page() {
    let prepare = |cpu: &mut CpuModel| (cpu.mmu.cr2, cpu.xen.info.cr2) = (0x1000, 0x2000);
    native::<ReadCr2>(prepare, |_, (), address| assert_eq!(address, 0x1000));
    xen::<ReadCr2>(prepare, |_, (), address| assert_eq!(address, 0x2000));
    native::<WriteCr2>(|_| (0x3000,), |cpu, _, _| assert_eq!((cpu.mmu.cr2, cpu.xen.info.cr2), (0x3000, 0)));
    xen::<WriteCr2>(|_| (0x3000,), |cpu, _, _| assert_eq!((cpu.mmu.cr2, cpu.xen.info.cr2), (0, 0x3000)));
}

#[test]
fn read_cr3_reads_the_register_and_in_xen_the_root_that_was_set_last() {
    let prepare = |cpu: &mut CpuModel| (cpu.mmu.cr3, cpu.mmu.xen_cr3) = (0x1000, 0x2000);
    native::<ReadCr3>(prepare, |_, (), root| assert_eq!(root, 0x1000));
    xen::<ReadCr3>(prepare, |_, (), root| assert_eq!(root, 0x2000));
}

#[test]
fn write_cr3_stores_and_in_xen_sets_both_roots_in_a_batch() {
    native::<WriteCr3>(|_| (0x7000,), |cpu, _, _| assert_eq!((cpu.mmu.cr3, cpu.xen.hypervisor.calls()), (0x7000, 0)));
    let other = |cpu: &mut CpuModel| {
        let (_, new) = prepare_once::<ActivateMm>(cpu);
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { ActivateMm::xen((0, new)) };
        (guest::NEW_ROOT << 12,)
    };
    xen::<WriteCr3>(other, |cpu, (cr3,), _| {
        let (p2m, hypervisor) = (&cpu.xen.p2m, &cpu.xen.hypervisor);
        assert_eq!(cpu.mmu.xen_cr3, cr3);
        assert_eq!(hypervisor.base, p2m.pfn_to_mfn(guest::NEW_ROOT));
        assert_eq!(hypervisor.user_base, p2m.pfn_to_mfn(guest::NEW_USER_ROOT));
        assert_eq!((hypervisor.calls(), hypervisor.multicalls), (2, 0), "one hypercall has both operations");
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = WriteCr3::arguments(cpu);
        cpu.xen.lazy = LazyMode::Cpu;
        args
    };
    xen::<WriteCr3>(lazy, |cpu, _, _| {
        assert_eq!((cpu.xen.multicall.pending().len(), cpu.xen.multicall.entries()), (2, 1));
    });
}

#[test]
fn flushing_the_users_translations_rewrites_the_root_and_in_xen_makes_one_hypercall() {
    let prepare = |cpu: &mut CpuModel| cpu.mmu.cr3 = 0x9000;
    native::<FlushTlbUser>(prepare, |cpu, (), _| assert_eq!((cpu.mmu.cr3, cpu.mmu.cr4), (0x9000, CR4_PGE)));
    xen::<FlushTlbUser>(FlushTlbUser::arguments, |cpu, (), _| {
        assert_eq!((cpu.xen.hypervisor.tlb_flushes, cpu.xen.hypervisor.calls()), (1, 1));
    });
}

#[test]
fn flushing_all_translations_restores_control_register_4_and_the_interrupt_flag() {
    for flag in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            (cpu.mmu.cr4, cpu.mmu.cr4_shadow, cpu.irq.enabled) = (0, CR4_PGE | 0x20, flag);
        };
        native::<FlushTlbKernel>(prepare, |cpu, (), _| {
            assert_eq!((cpu.mmu.cr4, cpu.irq.enabled), (CR4_PGE | 0x20, flag));
        });
    }
    xen::<FlushTlbKernel>(FlushTlbKernel::arguments, |cpu, (), _| assert_eq!(cpu.xen.hypervisor.tlb_flushes, 1));
}

fn check_one_address<O: Op<Args = (u64,)>>() {
    native::<O>(|_| (0x5000,), |cpu, _, _| assert_eq!(cpu.mmu.invlpg, 0x5000));
    xen::<O>(
        |_| (0x5000,),
        |cpu, _, _| {
            assert_eq!((cpu.xen.hypervisor.invalidated, cpu.mmu.invlpg), (0x5000, 0));
            assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::InvlpgLocal), 1);
        },
    );
}

#[test]
fn one_translation_is_dropped_by_its_address() {
    check_one_address::<FlushTlbOneUser>();
    check_one_address::<FlushTlbSingle>();
    assert_eq!((FlushTlbOneUser::META.bytes, FlushTlbSingle::META.bytes), (Bytes::Call, Bytes::Instruction));
}

#[test]
fn a_remote_flush_is_queued_on_lazy_cpus_only_if_tables_were_freed() {
    for (freed, reached) in [(0, 1 << 5 | 1 << 63), (1, 1 << 5 | 1 << 9 | 1 << 63)] {
        let prepare = |cpu: &mut CpuModel| {
            let args = FlushTlbMulti::arguments(cpu);
            cpu.mmu.cpus = 1 << 5 | 1 << 9 | 1 << 63;
            cpu.mmu.lazy_tlb[9] = 1;
            cpu.mmu.flush_info.freed_tables = freed;
            args
        };
        native::<FlushTlbMulti>(prepare, |cpu, (_, info), _| {
            assert_eq!(cpu.mmu.ipi, reached);
            for (number, &queued) in cpu.mmu.call_queue.iter().enumerate() {
                assert_eq!(queued, if reached >> number & 1 == 1 { info } else { 0 });
            }
        });
    }
}

#[test]
fn a_remote_flush_in_xen_reaches_online_cpus_and_drops_one_page_or_all() {
    for (end, cmd) in [
        (guest::USER_VA + 4096, MmuExtCmd::InvlpgMulti),
        (guest::USER_VA + 8192, MmuExtCmd::TlbFlushMulti),
        (!0, MmuExtCmd::TlbFlushMulti),
    ] {
        let prepare = |cpu: &mut CpuModel| {
            let args = FlushTlbMulti::arguments(cpu);
            (cpu.mmu.cpus, cpu.mmu.flush_info.end) = (0b1010, end);
            args
        };
        xen::<FlushTlbMulti>(prepare, |cpu, _, _| {
            assert_eq!((cpu.xen.hypervisor.mmuext_count(cmd), cpu.xen.hypervisor.flushed_cpus), (1, 0b10));
            assert_eq!(cpu.mmu.ipi, 0);
        });
    }
    let nobody = |cpu: &mut CpuModel| {
        let args = FlushTlbMulti::arguments(cpu);
        cpu.mmu.cpus = 0;
        args
    };
    xen::<FlushTlbMulti>(nobody, |cpu, _, _| assert_eq!(cpu.xen.hypervisor.calls(), 0));
}

#[test]
fn the_remote_flush_of_2_6_30_skips_this_cpu_and_empties_the_mailbox() {
    let prepare = |cpu: &mut CpuModel| {
        let args = FlushTlbOthers::arguments(cpu);
        cpu.mmu.cpus = 0b11;
        args
    };
    native::<FlushTlbOthers>(prepare, |cpu, _, _| {
        let sender = &cpu.mmu.sender;
        assert_eq!((cpu.mmu.ipi, sender.lock, sender.mm, sender.va, sender.cpus), (0b10, 0, 0, 0, 0));
    });
    xen::<FlushTlbOthers>(prepare, |cpu, _, _| {
        assert_eq!(cpu.xen.hypervisor.mmuext_count(MmuExtCmd::InvlpgMulti), 1);
        assert_eq!((cpu.xen.hypervisor.invalidated, cpu.xen.hypervisor.flushed_cpus), (guest::USER_VA, 0b10));
    });
    let all = |cpu: &mut CpuModel| {
        let (cpus, mm, _) = prepare(cpu);
        (cpus, mm, !0)
    };
    xen::<FlushTlbOthers>(all, |cpu, _, _| assert_eq!(cpu.xen.hypervisor.tlb_flushes, 1));
}

#[test]
fn a_table_to_be_freed_is_gathered_and_a_full_batch_is_flushed() {
    for len in [0, 62, 63] {
        let prepare = |cpu: &mut CpuModel| {
            let args = TlbRemoveTable::arguments(cpu);
            cpu.mmu.gather.len = len;
            args
        };
        let check = |cpu: &mut CpuModel, (_, table): (u64, u64), _: u64| {
            let gather = &cpu.mmu.gather;
            assert_eq!(gather.pages[len as usize], table);
            assert_eq!((gather.len, gather.flushes), if len == 63 { (0, 1) } else { (len + 1, 0) });
        };
        native::<TlbRemoveTable>(prepare, check);
        xen::<TlbRemoveTable>(prepare, check);
    }
}

#[test]
fn lazy_mode_is_a_nop_on_bare_metal_and_in_xen_begins_sends_and_ends_a_batch() {
    assert_native_nop::<LazyEnter>();
    assert_native_nop::<LazyLeave>();
    assert_native_nop::<LazyFlush>();
    let collected = |cpu: &mut CpuModel| {
        let (ptep, pte) = SetPte::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { SetPte::xen((ptep, pte)) };
    };
    xen::<LazyEnter>(LazyEnter::arguments, |cpu, (), _| assert_eq!(cpu.xen.lazy, LazyMode::Mmu));
    let sent = |cpu: &CpuModel| (count_calls(cpu, CallKind::MmuUpdate), cpu.xen.multicall.pending().len());
    xen::<LazyLeave>(collected, |cpu, (), _| assert_eq!((sent(cpu), cpu.xen.lazy), ((1, 0), LazyMode::None)));
    xen::<LazyFlush>(collected, |cpu, (), _| assert_eq!((sent(cpu), cpu.xen.lazy), ((1, 0), LazyMode::Mmu)));
    let other_mode = |cpu: &mut CpuModel| {
        collected(cpu);
        cpu.xen.lazy = LazyMode::Cpu;
    };
    xen::<LazyFlush>(other_mode, |cpu, (), _| assert_eq!((sent(cpu), cpu.xen.lazy), ((0, 1), LazyMode::Cpu)));
}

#[test]
fn a_fixed_mapping_is_written_and_its_translation_dropped() {
    let address = guest::FIXADDR_TOP - (510 << 12);
    native::<SetFixmap>(SetFixmap::arguments, |cpu, (_, phys, flags), _| {
        assert_eq!(cpu.xen.memory.read(guest::FIX_PTE, 1), Some(phys | flags));
        assert_eq!(cpu.mmu.invlpg, address);
    });
    xen::<SetFixmap>(SetFixmap::arguments, |cpu, (_, phys, flags), _| {
        assert_eq!(
            cpu.xen.memory.read(guest::FIX_PTE, 1),
            Some(phys | flags),
            "an address of hardware is a machine address"
        );
        assert_eq!((cpu.xen.hypervisor.invalidated, count_calls(cpu, CallKind::UpdateVaMapping)), (address, 1));
    });
    let own = |cpu: &mut CpuModel| {
        SetFixmap::arguments(cpu);
        (511, guest::DATA << 12, 0x65)
    };
    xen::<SetFixmap>(own, |cpu, _, _| {
        assert_eq!(cpu.xen.memory.read(guest::FIX_PTE, 0), Some(cpu.xen.machine_entry(guest::DATA, 0x65)));
    });
    let beyond = |cpu: &mut CpuModel| {
        SetFixmap::arguments(cpu);
        (512, guest::DATA << 12, 0x65)
    };
    native::<SetFixmap>(beyond, assert_untouched);
    xen::<SetFixmap>(beyond, assert_untouched);
}

#[test]
fn hooks_of_other_hypervisors_also_do_nothing_in_xen() {
    assert_native_nop::<NotifyPageEncStatusChanged>();
    xen::<NotifyPageEncStatusChanged>(NotifyPageEncStatusChanged::arguments, assert_untouched);
    assert_native_nop::<AllocPmdClone>();
    xen::<AllocPmdClone>(AllocPmdClone::arguments, assert_untouched);
    assert_native_nop::<PteUpdate>();
    xen::<PteUpdate>(PteUpdate::arguments, assert_untouched);
    assert_native_nop::<PteUpdateDefer>();
    xen::<PteUpdateDefer>(PteUpdateDefer::arguments, assert_untouched);
    assert_native_nop::<PagetableSetupStart>();
    xen::<PagetableSetupStart>(PagetableSetupStart::arguments, assert_untouched);
}

#[test]
fn pagetable_setup_done_in_xen_maps_the_shared_page() {
    assert_native_nop::<PagetableSetupDone>();
    xen::<PagetableSetupDone>(PagetableSetupDone::arguments, |cpu, _, _| {
        let mapped = cpu.xen.machine_entry(guest::SHARED_INFO, 0x67);
        assert_eq!(cpu.xen.memory.read(guest::FIX_PTE, 511 - 5), Some(mapped));
    });
}

#[test]
fn set_pte_at_stores_and_in_xen_updates_the_address_space_in_use_by_virtual_address() {
    native::<SetPteAt>(SetPteAt::arguments, |_, args, _| assert_eq!(load(args.2), args.3));
    xen::<SetPteAt>(SetPteAt::arguments, |cpu, args, _| {
        assert_eq!((load(args.2), count_calls(cpu, CallKind::UpdateVaMapping)), (args.3, 1));
        assert_eq!(count_calls(cpu, CallKind::MmuUpdate), 0);
    });
    let elsewhere = |cpu: &mut CpuModel| {
        let (_, addr, ptep, pte) = SetPteAt::arguments(cpu);
        (&raw const cpu.mmu.new_mm as u64, addr, ptep, pte)
    };
    xen::<SetPteAt>(elsewhere, |cpu, args, _| {
        assert_eq!((load(args.2), count_calls(cpu, CallKind::UpdateVaMapping)), (args.3, 0));
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = SetPteAt::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        args
    };
    xen::<SetPteAt>(lazy, |cpu, args, _| assert_eq!((load(args.2), cpu.xen.multicall.pending().len()), (0, 1)));
}

#[test]
fn entries_of_two_halves_are_set_at_once_and_cleared_natively_and_in_xen() {
    let set = |_: &mut CpuModel, (ptep, pte): (u64, u64), _: u64| assert_eq!(load(ptep), pte);
    native::<SetPteAtomic>(SetPteAtomic::arguments, set);
    xen::<SetPteAtomic>(SetPteAtomic::arguments, set);
    let full = |cpu: &mut CpuModel| {
        let args = PteClear::arguments(cpu);
        cpu.xen.memory.write(guest::LOOSE_PTE, 11, !0);
        args
    };
    native::<PteClear>(full, |_, args, _| assert_eq!(load(args.2), 0));
    xen::<PteClear>(full, |_, args, _| assert_eq!(load(args.2), 0));
}

#[test]
fn pmd_clear_clears_both_halves_and_in_xen_makes_an_update() {
    let full = |cpu: &mut CpuModel| {
        let args = PmdClear::arguments(cpu);
        cpu.xen.memory.write(guest::PMD, 11, !1);
        args
    };
    native::<PmdClear>(full, |_, (pmdp,), _| assert_eq!(load(pmdp), 0));
    xen::<PmdClear>(full, |cpu, (pmdp,), _| assert_eq!((load(pmdp), count_calls(cpu, CallKind::MmuUpdate)), (0, 1)));
}

#[test]
fn kmap_atomic_pte_maps_a_page_table_and_in_xen_read_only_if_it_is_pinned() {
    let address = guest::FIXADDR_TOP - (20 << 12);
    let entry = |cpu: &CpuModel| cpu.xen.memory.read(guest::FIX_PTE, 511 - 20);
    native::<KmapAtomicPte>(KmapAtomicPte::arguments, |cpu, (page, _), mapped| {
        assert_eq!((mapped, entry(cpu)), (address, Some(page << 12 | 0x63)));
    });
    xen::<KmapAtomicPte>(KmapAtomicPte::arguments, |cpu, (page, _), mapped| {
        assert_eq!((mapped, entry(cpu)), (address, Some(cpu.xen.machine_entry(page, 0x61))));
    });
    let plain = |cpu: &mut CpuModel| {
        KmapAtomicPte::arguments(cpu);
        (guest::LOOSE_PTE, 20)
    };
    xen::<KmapAtomicPte>(plain, |cpu, (page, _), _| assert_eq!(entry(cpu), Some(cpu.xen.machine_entry(page, 0x63))));
}
