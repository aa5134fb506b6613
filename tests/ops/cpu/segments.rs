//! Thread-local segments, segment bases and entries of descriptor tables.

use super::*;

#[test]
fn load_tls_copies_three_descriptors_into_the_table() {
    let prepare = |cpu: &mut CpuModel| {
        let args = LoadTls::arguments(cpu);
        cpu.cpu.task.tls_array = [11, 12, 13];
        cpu.cpu.segments.shadow_tls = [0, 12, 0];
        args
    };
    native::<LoadTls>(prepare, |cpu, _| {
        assert_eq!(cpu.cpu.tables.gdt[12..15], [11, 12, 13]);
        assert_eq!((cpu.cpu.tables.gdt[11], cpu.cpu.tables.gdt[15]), (0, 0));
    });
    xen::<LoadTls>(prepare, |cpu, _| {
        assert_eq!(cpu.cpu.segments.shadow_tls, [11, 12, 13]);
        assert_eq!(cpu.xen.lazy, LazyMode::None, "the mode is unchanged");
        assert_calls(cpu, [(CallKind::UpdateDescriptor, 2)]);
        assert_eq!(cpu.xen.hypervisor.multicalls, 1, "in one batch");
        assert_eq!(read_words(cpu, guest::GDT, 11), [0, 11, 0, 13, 0], "Xen had the second already");
    });
}

#[test]
fn load_tls_in_xen_makes_no_hypercall_if_the_segments_are_the_same() {
    xen::<LoadTls>(LoadTls::arguments, |cpu, _| assert_calls(cpu, []));
}

#[test]
fn a_context_switch_in_xen_sends_its_updates_in_one_batch_at_its_end() {
    let mut cpu = CpuModel::install().unwrap();
    let task = StartContextSwitch::arguments(&mut cpu);
    let tls = LoadTls::arguments(&mut cpu);
    cpu.cpu.task.tls_array = [DATA, 0, OTHER_DATA];
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    unsafe {
        StartContextSwitch::xen(task);
        LoadTls::xen(tls);
        LoadSp0::xen((0xffff_c900_0000_8000,));
    }
    assert_calls(&cpu, []);
    assert_eq!(cpu.xen.multicall.pending().len(), 3);
    assert_eq!(read_words(&cpu, guest::GDT, 12), [0, 0, 0]);
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    unsafe { EndContextSwitch::xen(task) };
    assert_calls(&cpu, [(CallKind::UpdateDescriptor, 2), (CallKind::StackSwitch, 1)]);
    let hypervisor = &cpu.xen.hypervisor;
    assert_eq!((hypervisor.multicalls, hypervisor.refused, cpu.xen.multicall.pending().len()), (1, 0, 0));
    assert_eq!(read_words(&cpu, guest::GDT, 12), [DATA, 0, OTHER_DATA]);
    assert_eq!(hypervisor.stack, (0x1b, 0xffff_c900_0000_8000));
}

#[test]
fn start_and_end_of_a_context_switch_send_the_batch_and_make_no_other_hypercall() {
    let batching = |lazy| {
        move |cpu: &mut CpuModel| {
            let args = StartContextSwitch::arguments(cpu);
            cpu.xen.lazy = lazy;
            collect(cpu);
            args
        }
    };
    xen::<StartContextSwitch>(batching(LazyMode::Mmu), |cpu, _| assert_calls(cpu, [(CallKind::SetIopl, 1)]));
    xen::<EndContextSwitch>(batching(LazyMode::Cpu), |cpu, _| assert_calls(cpu, [(CallKind::SetIopl, 1)]));
    xen::<StartContextSwitch>(StartContextSwitch::arguments, |cpu, _| assert_calls(cpu, []));
    xen::<EndContextSwitch>(EndContextSwitch::arguments, |cpu, _| assert_calls(cpu, []));
}

#[test]
fn load_tls_in_xen_clears_fs_only_within_a_context_switch() {
    for (lazy, fs) in [(LazyMode::None, 0x2b), (LazyMode::Mmu, 0x2b), (LazyMode::Cpu, 0)] {
        let prepare = |cpu: &mut CpuModel| {
            let args = LoadTls::arguments(cpu);
            cpu.cpu.segments.fs = 0x2b;
            cpu.xen.lazy = lazy;
            args
        };
        xen::<LoadTls>(prepare, |cpu, _| assert_eq!((cpu.cpu.segments.fs, cpu.xen.lazy), (fs, lazy)));
    }
}

#[test]
fn load_gs_index_changes_the_users_gs_but_not_the_kernels_or_the_interrupt_flag() {
    for enabled in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            set_bases(cpu);
            cpu.irq.enabled = enabled;
            (0x2b,)
        };
        native::<LoadGsIndex>(prepare, |cpu, _| {
            assert_eq!(cpu.cpu.segments.gs, 0x2b);
            assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x1111, 0));
            assert_eq!(cpu.irq.enabled, enabled);
        });
        xen::<LoadGsIndex>(prepare, |cpu, _| {
            assert_eq!(cpu.cpu.segments.gs, 0, "Xen loads the selector");
            assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x1111, 0x2222));
        });
    }
}

#[test]
fn swapgs_exchanges_the_bases_and_in_xen_does_nothing() {
    native::<Swapgs>(set_bases, |cpu, _| {
        assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x2222, 0x1111))
    });
    xen::<Swapgs>(set_bases, |cpu, _| {
        assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x1111, 0x2222))
    });
}

#[test]
fn write_ldt_entry_writes_eight_bytes_and_in_xen_the_hypervisor_writes_them() {
    let prepare = |cpu: &mut CpuModel| {
        let (ldt, _, desc) = WriteLdtEntry::arguments(cpu);
        cpu.cpu.tables.entry = [DATA, OTHER_DATA];
        assert!(!is_writable(cpu, guest::LDT));
        (ldt, GARBAGE | 5, desc)
    };
    native::<WriteLdtEntry>(prepare, |cpu, _| {
        assert_calls(cpu, []);
        assert_eq!(read_words(cpu, guest::LDT, 4), [0, DATA, 0]);
    });
    xen::<WriteLdtEntry>(prepare, |cpu, _| {
        assert_calls(cpu, [(CallKind::UpdateDescriptor, 1)]);
        assert_eq!(cpu.xen.hypervisor.descriptor, (machine_address(cpu, guest::LDT, 5), DATA));
        assert_eq!(read_words(cpu, guest::LDT, 4), [0, DATA, 0]);
    });
}

#[test]
fn the_batch_is_sent_before_a_table_changes() {
    fn assert_flush<O: Op>(kind: CallKind, count: u64) {
        let prepare = |cpu: &mut CpuModel| {
            let args = O::arguments(cpu);
            cpu.xen.lazy = LazyMode::Cpu;
            collect(cpu);
            args
        };
        xen::<O>(prepare, |cpu, _| {
            assert_calls(cpu, [(CallKind::SetIopl, 1), (kind, count)]);
            assert_eq!((cpu.xen.hypervisor.multicalls, cpu.xen.lazy), (0, LazyMode::Cpu), "{}", O::META.name);
        });
    }
    assert_flush::<WriteLdtEntry>(CallKind::UpdateDescriptor, 1);
    assert_flush::<WriteGdtEntry>(CallKind::UpdateDescriptor, 1);
    assert_flush::<WriteIdtEntry>(CallKind::SetTrapTable, 1);
    assert_flush::<LoadIdt>(CallKind::SetTrapTable, 1);
}

#[test]
fn write_gdt_entry_writes_two_entries_for_system_segments_and_otherwise_one() {
    let kinds = [(DESCTYPE_S, 0), (DESC_TSS, OTHER_DATA), (DESC_LDT, OTHER_DATA), (GARBAGE | DESC_LDT, OTHER_DATA)];
    for (kind, second) in kinds {
        let prepare = |cpu: &mut CpuModel| {
            let (gdt, _, desc, _) = WriteGdtEntry::arguments(cpu);
            cpu.cpu.tables.entry = [DATA, OTHER_DATA];
            (gdt, GARBAGE | 12, desc, kind)
        };
        native::<WriteGdtEntry>(prepare, |cpu, _| {
            assert_calls(cpu, []);
            assert_eq!(read_words(cpu, guest::GDT, 11), [0, DATA, second, 0]);
        });
        xen::<WriteGdtEntry>(prepare, |cpu, _| {
            if kind == DESCTYPE_S {
                assert_calls(cpu, [(CallKind::UpdateDescriptor, 1)]);
                assert_eq!(cpu.xen.hypervisor.descriptor, (machine_address(cpu, guest::GDT, 12), DATA));
                assert_eq!(read_words(cpu, guest::GDT, 11), [0, DATA, 0, 0]);
            } else {
                assert_calls(cpu, []);
                assert_eq!(read_words(cpu, guest::GDT, 11), [0; 4], "Xen has its own task-state segment");
            }
        });
    }
}

#[test]
fn write_gdt_entry_in_xen_writes_to_the_table_in_use() {
    xen::<WriteGdtEntry>(WriteGdtEntry::arguments, |cpu, _| {
        let (mfn, entries) = cpu.xen.hypervisor.gdt;
        assert_eq!(
            (mfn, frame_type(cpu, guest::GDT)),
            (cpu.xen.p2m.pfn_to_mfn(guest::GDT), FrameType::SegmentDescriptors)
        );
        assert_eq!((cpu.xen.hypervisor.descriptor.0, entries), (mfn << 12 | 0x78, 16));
        assert_eq!(read_words(cpu, guest::GDT, 15), [cpu.cpu.tables.entry[0]]);
    });
}

#[test]
fn write_idt_entry_writes_the_gate_natively_and_in_xen() {
    let prepare = |cpu: &mut CpuModel| {
        let (idt, _, new) = WriteIdtEntry::arguments(cpu);
        cpu.irq.idt = [[0; 2]; 256];
        cpu.cpu.tables.entry = gate(0xe, 0, 0xffff_ffff_8123_4567);
        (idt, GARBAGE | 0x41, new)
    };
    both::<WriteIdtEntry>(prepare, |cpu, _| {
        assert_eq!(cpu.irq.idt[0x41], gate(0xe, 0, 0xffff_ffff_8123_4567));
        assert_eq!((cpu.irq.idt[0x40], cpu.irq.idt[0x42]), ([0; 2], [0; 2]));
    });
}

#[test]
fn write_idt_entry_in_xen_passes_only_handlers_in_the_table_in_use() {
    let own = WriteIdtEntry::arguments;
    let another = |cpu: &mut CpuModel| {
        let args = own(cpu);
        cpu.cpu.tables.idt_desc.address += 0x31 * 16;
        args
    };
    let task_gate = |cpu: &mut CpuModel| {
        let args = own(cpu);
        cpu.cpu.tables.entry = gate(0x5, 0, 0x1234);
        args
    };
    xen::<WriteIdtEntry>(own, |cpu, _| {
        assert_calls(cpu, [(CallKind::SetTrapTable, 1)]);
        assert_eq!(cpu.xen.hypervisor.trap_table.1, 1);
    });
    xen::<WriteIdtEntry>(another, |cpu, _| assert_calls(cpu, []));
    xen::<WriteIdtEntry>(task_gate, |cpu, _| assert_calls(cpu, []));
}
