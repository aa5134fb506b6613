//! Roots, translations, lazy mode and fixed mappings.

use super::*;

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
    let other_address_space = |cpu: &mut CpuModel| {
        let (_, addr, ptep, pte) = SetPteAt::arguments(cpu);
        (&raw const cpu.mmu.new_mm as u64, addr, ptep, pte)
    };
    xen::<SetPteAt>(other_address_space, |cpu, args, _| {
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
