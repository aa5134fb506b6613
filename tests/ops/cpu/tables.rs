//! Descriptor tables: loading, storing and converting them.

use super::*;

/// The type of the task-state segment's descriptor: 9 is free, 11 is busy.
fn tss_type(cpu: &CpuModel) -> u64 {
    cpu.cpu.tables.gdt[8] >> 40 & 0xf
}

#[test]
fn load_tr_desc_loads_the_task_register_and_leaves_the_tables_address_unchanged() {
    for base in [None, Some(0x1000)] {
        let prepare = |cpu: &mut CpuModel| {
            let tables = &mut cpu.cpu.tables;
            tables.gdtr.base = base.unwrap_or(tables.gdt_ro);
        };
        native::<LoadTrDesc>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.tables.tr, tss_type(cpu)), (0x40, 11));
            let TableRegister { base: now, limit } = cpu.cpu.tables.gdtr;
            assert_eq!((now, limit), (base.unwrap_or(cpu.cpu.tables.gdt_ro), 127));
        });
        xen::<LoadTrDesc>(prepare, |cpu, _| assert_eq!((cpu.cpu.tables.tr, tss_type(cpu)), (0, 9)));
    }
}

#[test]
fn load_gdt_and_load_idt_load_their_register_and_in_xen_leave_it_unchanged() {
    let operand = |cpu: &mut CpuModel| {
        let operand = DescPtr { size: 0x0fff, address: 0xffff_8123_4567_8000 };
        (cpu.cpu.tables.gdtr, cpu.cpu.tables.idtr) = Default::default();
        cpu.cpu.tables.operand = operand;
        (&raw const cpu.cpu.tables.operand as u64,)
    };
    let loaded = TableRegister { base: 0xffff_8123_4567_8000, limit: 0x0fff };
    let none = TableRegister::default();
    native::<LoadGdt>(operand, |cpu, _| assert_eq!((cpu.cpu.tables.gdtr, cpu.cpu.tables.idtr), (loaded, none)));
    native::<LoadIdt>(operand, |cpu, _| assert_eq!((cpu.cpu.tables.gdtr, cpu.cpu.tables.idtr), (none, loaded)));
    let prepare_gdt = |cpu: &mut CpuModel| {
        operand(cpu);
        LoadGdt::arguments(cpu)
    };
    let prepare_idt = |cpu: &mut CpuModel| {
        operand(cpu);
        LoadIdt::arguments(cpu)
    };
    xen::<LoadGdt>(prepare_gdt, |cpu, _| assert_eq!(cpu.cpu.tables.gdtr, none));
    xen::<LoadIdt>(prepare_idt, |cpu, _| assert_eq!(cpu.cpu.tables.idtr, none));
}

#[test]
fn load_gdt_in_xen_makes_the_table_read_only_in_both_mappings_and_passes_its_frame_to_xen() {
    let another = |cpu: &mut CpuModel| {
        let address = cpu.xen.memory.pfn_to_virt(guest::DATA);
        cpu.cpu.tables.operand = DescPtr { size: 8 * 8 - 1, address };
        assert!(is_writable(cpu, guest::DATA));
        (&raw const cpu.cpu.tables.operand as u64,)
    };
    xen::<LoadGdt>(another, |cpu, _| {
        assert_calls(cpu, [(CallKind::UpdateVaMapping, 2), (CallKind::SetGdt, 1)]);
        assert_eq!(cpu.xen.hypervisor.gdt, (cpu.xen.p2m.pfn_to_mfn(guest::DATA), 8));
        assert_eq!(
            (frame_type(cpu, guest::DATA), is_writable(cpu, guest::DATA)),
            (FrameType::SegmentDescriptors, false)
        );
        assert_eq!(frame_type(cpu, guest::GDT), FrameType::None, "the former table is released");
    });
    xen::<LoadGdt>(LoadGdt::arguments, |cpu, _| {
        assert_calls(cpu, [(CallKind::UpdateVaMapping, 2), (CallKind::SetGdt, 1)]);
        assert_eq!(cpu.xen.hypervisor.gdt, (cpu.xen.p2m.pfn_to_mfn(guest::GDT), 16));
        assert_eq!(frame_type(cpu, guest::GDT), FrameType::SegmentDescriptors);
    });
}

#[test]
fn a_table_outside_the_guests_memory_is_refused() {
    let mut cpu = CpuModel::install().unwrap();
    for address in [0, 0x7fff_ffff_f000, 0xffff_8123_4567_8000, 0xffff_ffff_ffff_f000] {
        cpu.cpu.tables.operand = DescPtr { size: 127, address };
        let (gdt, ldt) = (cpu.xen.hypervisor.gdt, cpu.xen.hypervisor.ldt);
        cpu.xen.hypervisor.reset_counts();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { LoadGdt::xen((&raw const cpu.cpu.tables.operand as u64,)) };
        assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.hypervisor.gdt), (3, gdt), "{address:#x}");
        unsafe { AllocLdt::xen((address, 32)) };
        assert_eq!(cpu.xen.hypervisor.refused, 4, "{address:#x}");
        let entry = &raw const cpu.cpu.tables.entry as u64;
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { WriteLdtEntry::xen((address, 1, entry)) };
        assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.hypervisor.ldt), (5, ldt), "{address:#x}");
    }
}

#[test]
fn load_idt_in_xen_converts_every_interrupt_and_trap_gate_to_a_trap() {
    let handler = 0xffff_ffff_8123_4567;
    let prepare = |cpu: &mut CpuModel| {
        LoadIdt::arguments(cpu);
        cpu.irq.idt = [[0; 2]; 256];
        cpu.irq.idt[3] = gate(0xf, 3, cpu.irq.stubs[3]);
        cpu.irq.idt[4] = gate(0x5, 0, handler);
        cpu.irq.idt[0x40] = gate(0xe, 0, handler);
        cpu.cpu.tables.traps.fill(TrapInfo { vector: 1, flags: 1, cs: 1, address: 1 });
        (&raw const cpu.cpu.tables.operand as u64,)
    };
    xen::<LoadIdt>(prepare, |cpu, _| {
        let stub = cpu.irq.stubs[3] + XEN_ENTRIES;
        let traps = [
            TrapInfo { vector: 3, flags: 3, cs: 0x10, address: stub },
            TrapInfo { vector: 0x40, flags: 4, cs: 0x10, address: handler },
            TrapInfo::default(),
        ];
        assert_eq!(cpu.cpu.tables.traps[..3], traps);
        assert_eq!(cpu.cpu.tables.idt_desc, cpu.cpu.tables.operand);
        assert_eq!(*cpu.cpu.tables.traps_lock.get_mut(), 0, "the lock is released");
        assert_calls(cpu, [(CallKind::SetTrapTable, 1)]);
        assert_eq!(cpu.xen.hypervisor.trap_table, (cpu.cpu.tables.traps.as_ptr() as u64, 2));
    });
}

#[test]
fn load_idt_in_xen_reads_only_up_to_the_end_of_the_table() {
    let prepare = |cpu: &mut CpuModel| {
        let args = LoadIdt::arguments(cpu);
        cpu.cpu.tables.operand.size = 2 * 16 - 1;
        args
    };
    xen::<LoadIdt>(prepare, |cpu, _| {
        let vectors: Vec<_> =
            cpu.cpu.tables.traps.iter().take_while(|trap| trap.address != 0).map(|trap| trap.vector).collect();
        assert_eq!(vectors, [0, 1]);
    });
    xen::<LoadIdt>(LoadIdt::arguments, |cpu, _| {
        assert!(cpu.cpu.tables.traps[..256].iter().all(|trap| trap.address != 0));
        assert_eq!(cpu.cpu.tables.traps[256], TrapInfo::default());
    });
}

#[test]
fn store_gdt_and_store_idt_read_their_register_natively_and_in_xen() {
    let registers = |cpu: &mut CpuModel| {
        cpu.cpu.tables.gdtr = TableRegister { base: 0x1111_2222_3333_4444, limit: 0x7f };
        cpu.cpu.tables.idtr = TableRegister { base: 0x5555_6666_7777_8888, limit: 0xfff };
    };
    both::<StoreGdt>(
        |cpu| {
            registers(cpu);
            StoreGdt::arguments(cpu)
        },
        |cpu, _| {
            assert_eq!(cpu.cpu.tables.operand, DescPtr { size: 0x7f, address: 0x1111_2222_3333_4444 });
        },
    );
    both::<StoreIdt>(
        |cpu| {
            registers(cpu);
            StoreIdt::arguments(cpu)
        },
        |cpu, _| {
            assert_eq!(cpu.cpu.tables.operand, DescPtr { size: 0xfff, address: 0x5555_6666_7777_8888 });
        },
    );
}

#[test]
fn store_tr_reads_the_selector_and_in_xen_returns_0() {
    native::<StoreTr>(|cpu| cpu.cpu.tables.tr = 0x40, |_, tr| assert_eq!(tr, 0x40));
    xen::<StoreTr>(|cpu| cpu.cpu.tables.tr = 0x40, |_, tr| assert_eq!(tr, 0));
}

#[test]
fn set_ldt_without_entries_loads_no_table() {
    let loaded = |cpu: &mut CpuModel| {
        SetLdt::arguments(cpu);
        cpu.cpu.tables.ldtr = 0x50;
        (0x1000, GARBAGE)
    };
    native::<SetLdt>(loaded, |cpu, _| assert_eq!((cpu.cpu.tables.ldtr, cpu.cpu.tables.gdt[10]), (0, 0)));
    xen::<SetLdt>(loaded, |cpu, _| {
        assert_eq!(cpu.cpu.tables.ldtr, 0x50, "Xen loads the register");
        assert_calls(cpu, [(CallKind::MmuExt, 1)]);
        assert_eq!(cpu.xen.hypervisor.ldt, (0x1000, 0));
    });
}

#[test]
fn set_ldt_in_xen_passes_the_table_at_once_or_with_the_context_switch() {
    let prepare = |cpu: &mut CpuModel| {
        let (ldt, entries) = prepare_once::<FreeLdt>(cpu);
        assert!(!is_writable(cpu, guest::LDT));
        (ldt, GARBAGE | entries)
    };
    let table = |cpu: &CpuModel| (cpu.xen.memory.pfn_to_virt(guest::LDT), 32);
    xen::<SetLdt>(prepare, |cpu, _| {
        assert_calls(cpu, [(CallKind::MmuExt, 1)]);
        assert_eq!((cpu.xen.hypervisor.mmuext_count(MmuExtCmd::SetLdt), cpu.xen.hypervisor.ldt), (1, table(cpu)));
    });
    let switching = |cpu: &mut CpuModel| {
        let args = prepare(cpu);
        cpu.xen.lazy = LazyMode::Cpu;
        args
    };
    xen::<SetLdt>(switching, |cpu, _| {
        assert_calls(cpu, []);
        assert_eq!((cpu.xen.multicall.pending().len(), cpu.xen.hypervisor.ldt), (1, (0, 0)));
        cpu.xen.flush();
        assert_eq!(cpu.xen.hypervisor.ldt, table(cpu));
    });
}

#[test]
fn set_ldt_builds_a_descriptor_from_base_and_limit() {
    for (base, entries) in [(0xfedc_ba98_7654_3210_u64, 8192_u64), (0x1000, 1), (0xffff_8880_ffff_f000, 32)] {
        native::<SetLdt>(
            |_| (base, entries),
            |cpu, _| {
                let [low, high] = [cpu.cpu.tables.gdt[10], cpu.cpu.tables.gdt[11]];
                assert_eq!(cpu.cpu.tables.ldtr, 0x50);
                assert_eq!(low & 0xffff | (low >> 48 & 0xf) << 16, entries * 8 - 1, "limit");
                assert_eq!((low >> 16 & 0xff_ffff) | (low >> 56) << 24 | high << 32, base, "base");
                assert_eq!(low >> 40 & 0xff, 0x82, "present, local descriptor table");
                assert_eq!(low >> 52 & 0xf, 0, "counted in bytes");
            },
        );
    }
}

#[test]
fn alloc_ldt_and_free_ldt_are_nops_on_bare_metal_and_never_change_the_tables_contents() {
    assert_eq!((AllocLdt::META.bytes, FreeLdt::META.bytes), (Bytes::Nop, Bytes::Nop));
    fn assert_table_unchanged<O: Op>() {
        let prepare = |cpu: &mut CpuModel| {
            (0..32).for_each(|index| cpu.xen.memory.write(guest::LDT, index, DATA).unwrap());
            prepare_once::<O>(cpu)
        };
        both::<O>(prepare, |cpu, _| assert_eq!(read_words::<33>(cpu, guest::LDT, 0)[31..], [DATA, 0]));
    }
    assert_table_unchanged::<AllocLdt>();
    assert_table_unchanged::<FreeLdt>();
}

#[test]
fn alloc_ldt_in_xen_makes_the_table_read_only_and_free_ldt_makes_it_writable_again() {
    let read_only =
        |cpu: &mut CpuModel| (frame_type(cpu, guest::LDT), is_writable(cpu, guest::LDT)) == (FrameType::None, false);
    xen::<AllocLdt>(prepare_once::<AllocLdt>, |cpu, _| {
        assert_calls(cpu, [(CallKind::UpdateVaMapping, 1)]);
        assert!(read_only(cpu));
    });
    xen::<FreeLdt>(prepare_once::<FreeLdt>, |cpu, _| {
        assert_calls(cpu, [(CallKind::UpdateVaMapping, 1)]);
        assert_eq!((frame_type(cpu, guest::LDT), is_writable(cpu, guest::LDT)), (FrameType::Writable, true));
    });
    native::<AllocLdt>(prepare_once::<AllocLdt>, |cpu, _| assert!(is_writable(cpu, guest::LDT)));
    native::<FreeLdt>(prepare_once::<FreeLdt>, |cpu, _| assert!(read_only(cpu)));
}

#[test]
fn a_local_table_of_several_pages_takes_one_hypercall_per_page() {
    for (entries, pages) in [(0, 0), (1, 1), (512, 1), (513, 2), (GARBAGE | 1024, 2)] {
        let table = |cpu: &mut CpuModel| (cpu.xen.memory.pfn_to_virt(guest::DATA), entries);
        xen::<AllocLdt>(table, |cpu, _| {
            assert_calls(cpu, [(CallKind::UpdateVaMapping, pages)]);
            for page in 0..3 {
                assert_eq!(is_writable(cpu, guest::DATA + page), page >= pages, "{entries:#x} entries, page {page}");
            }
        });
    }
}

#[test]
fn every_measured_call_of_alloc_ldt_and_free_ldt_finds_the_table_in_the_same_state() {
    fn assert_state<O: Op>(state: bool) {
        xen::<O>(O::arguments, |cpu, _| assert_eq!(is_writable(cpu, guest::LDT), state, "{}", O::META.name));
    }
    assert_state::<AllocLdt>(true);
    assert_state::<FreeLdt>(false);
}
