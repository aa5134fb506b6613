//! Page tables and address spaces: allocation, pinning, release.

use super::*;

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
