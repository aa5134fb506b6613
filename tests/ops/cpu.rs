//! The ops on the processor itself: the effects of each body on the CPU model.

use crate::bodies::{assert_calls, both, native, xen};
use pvbench::op::cpu::*;
use pvbench::op::xen::{Call, CallKind, FrameType, LazyMode, MmuExtCmd, guest};
use pvbench::op::{Bytes, CpuModel, Kind, Op};

/// Sets up an op's arguments without recycling frames, so that the effect of a call stays visible.
fn prepare_once<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = O::arguments(cpu);
    cpu.xen.recycled = guest::Recycled::new();
    args
}

/// Reads words of a page of the guest.
fn read_words<const N: usize>(cpu: &CpuModel, pfn: u64, first: usize) -> [u64; N] {
    std::array::from_fn(|index| cpu.xen.memory.read(pfn, first + index).unwrap())
}

/// The hypervisor's type of a frame of the guest.
fn frame_type(cpu: &CpuModel, pfn: u64) -> FrameType {
    cpu.xen.hypervisor.frames.get(cpu.xen.p2m.pfn_to_mfn(pfn)).unwrap().kind
}

/// Whether a page is writable in the guest's direct map.
fn is_writable(cpu: &CpuModel, pfn: u64) -> bool {
    cpu.xen.hypervisor.frames.direct(pfn).unwrap() & 2 != 0
}

/// The machine address of a word of a page.
fn machine_address(cpu: &CpuModel, pfn: u64, index: usize) -> u64 {
    cpu.xen.virt_to_machine(cpu.xen.memory.entry(pfn, index))
}

/// Adds a call to the batch, as if the batch had begun before the op.
fn collect(cpu: &mut CpuModel) {
    cpu.xen.append(Call::SetIopl { iopl: 2 });
}

/// Two descriptors of flat data segments with user privilege.
const DATA: u64 = 0x00cf_f300_0000_ffff;
const OTHER_DATA: u64 = 0x00cf_f300_1000_ffff;

/// Garbage in the upper half of an argument register, which a 32-bit argument does not use.
const GARBAGE: u64 = 0xdead_beef << 32;

const CR0: u64 = 0x8005_0033;
const CR0_TS: u64 = 1 << 3;
const CR0_WP: u64 = 1 << 16;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const PSE: u64 = 1 << 4;
const PGE: u64 = 1 << 7;
const PCE: u64 = 1 << 8;

#[test]
fn read_cr0_reads_the_register() {
    native::<ReadCr0>(|cpu| cpu.cpu.control.cr0 = 0x1234_5678_9abc, |_, cr0| assert_eq!(cr0, 0x1234_5678_9abc));
}

#[test]
fn read_cr0_in_xen_reads_the_register_once_and_later_its_copy() {
    let unread = |cpu: &mut CpuModel| cpu.cpu.control.cr0 = CR0;
    xen::<ReadCr0>(unread, |cpu, cr0| assert_eq!((cr0, cpu.cpu.control.xen_cr0_value), (CR0, CR0)));
    let read = |cpu: &mut CpuModel| cpu.cpu.control.xen_cr0_value = CR0 | CR0_TS;
    xen::<ReadCr0>(read, |_, cr0| assert_eq!(cr0, CR0 | CR0_TS));
}

#[test]
fn write_cr0_writes_the_register_but_keeps_write_protection_on() {
    native::<WriteCr0>(|_| (CR0 | CR0_TS,), |cpu, _| assert_eq!(cpu.cpu.control.cr0, CR0 | CR0_TS));
    native::<WriteCr0>(|_| (CR0 & !CR0_WP,), |cpu, _| assert_eq!(cpu.cpu.control.cr0, CR0));
}

#[test]
fn write_cr0_in_xen_keeps_a_copy_and_leaves_the_register_unchanged() {
    let prepare = |cpu: &mut CpuModel| {
        WriteCr0::arguments(cpu);
        cpu.cpu.control.cr0 = CR0;
        (CR0 | CR0_TS,)
    };
    xen::<WriteCr0>(prepare, |cpu, _| {
        assert_eq!((cpu.cpu.control.xen_cr0_value, cpu.cpu.control.cr0), (CR0 | CR0_TS, CR0));
    });
}

#[test]
fn write_cr4_restores_pinned_bits() {
    let pinned = |val| {
        move |cpu: &mut CpuModel| {
            cpu.cpu.control.cr4_pinned_bits = SMEP | SMAP;
            (val,)
        }
    };
    native::<WriteCr4>(pinned(SMEP | SMAP | PGE), |cpu, _| assert_eq!(cpu.cpu.control.cr4, SMEP | SMAP | PGE));
    native::<WriteCr4>(pinned(SMAP | PGE), |cpu, _| assert_eq!(cpu.cpu.control.cr4, SMEP | SMAP | PGE));
    native::<WriteCr4>(pinned(SMEP | SMAP | 1 << 11 | PGE), |cpu, _| {
        assert_eq!(cpu.cpu.control.cr4, SMEP | SMAP | PGE, "a bit is pinned to 0");
    });
}

#[test]
fn write_cr4_in_xen_clears_the_bits_that_xen_owns() {
    let prepare = |cpu: &mut CpuModel| {
        cpu.cpu.control.cr4_pinned_bits = SMEP | SMAP;
        (SMEP | SMAP | PSE | PGE | PCE | 1 << 5,)
    };
    xen::<WriteCr4>(prepare, |cpu, _| assert_eq!(cpu.cpu.control.cr4, SMEP | SMAP | 1 << 5));
}

#[test]
fn clts_clears_only_the_task_switched_flag_and_in_xen_leaves_the_register_unchanged() {
    let prepare = |cpu: &mut CpuModel| {
        Clts::arguments(cpu);
        cpu.cpu.control.cr0 = 0xffff_ffff_ffff_ffff;
    };
    native::<Clts>(prepare, |cpu, _| assert_eq!(cpu.cpu.control.cr0, !CR0_TS));
    xen::<Clts>(prepare, |cpu, _| assert_eq!(cpu.cpu.control.cr0, !0));
}

#[test]
fn read_cr4_reads_the_register_natively_and_in_xen() {
    both::<ReadCr4>(|cpu| cpu.cpu.control.cr4 = SMEP | PGE, |_, cr4| assert_eq!(cr4, SMEP | PGE));
    both::<ReadCr4Safe>(|cpu| cpu.cpu.control.cr4 = SMAP | PGE, |_, cr4| assert_eq!(cr4, SMAP | PGE));
}

#[test]
fn the_task_priority_is_in_cr8_and_in_xen_it_is_always_0() {
    native::<ReadCr8>(|cpu| cpu.cpu.control.cr8 = 7, |_, cr8| assert_eq!(cr8, 7));
    xen::<ReadCr8>(|cpu| cpu.cpu.control.cr8 = 7, |_, cr8| assert_eq!(cr8, 0));
    native::<WriteCr8>(|_| (9,), |cpu, _| assert_eq!(cpu.cpu.control.cr8, 9));
    xen::<WriteCr8>(|_| (9,), |cpu, _| assert_eq!(cpu.cpu.control.cr8, 0));
}

/// Writes a different value to each debug register.
fn fill_debug_registers(cpu: &mut CpuModel) {
    cpu.cpu.debug = std::array::from_fn(|number| 0xd0_0000_0000 + number as u64);
}

#[test]
fn get_debugreg_reads_only_the_register_with_that_number() {
    for number in [0, 1, 2, 3, 6, 7] {
        let prepare = |cpu: &mut CpuModel| {
            fill_debug_registers(cpu);
            (GARBAGE | number,)
        };
        native::<GetDebugreg>(prepare, |_, value| assert_eq!(value, 0xd0_0000_0000 + number));
    }
    for number in [4, 5, 8, 0xffff_ffff] {
        let prepare = |cpu: &mut CpuModel| {
            fill_debug_registers(cpu);
            (number,)
        };
        native::<GetDebugreg>(prepare, |_, value| assert_eq!(value, 0));
    }
}

#[test]
fn get_debugreg_in_xen_returns_the_result_of_the_hypercall() {
    xen::<GetDebugreg>(GetDebugreg::arguments, |cpu, value| {
        assert_eq!(value, cpu.xen.hypercall(Call::GetDebugreg { reg: 7 }) as u64);
    });
}

#[test]
fn set_debugreg_writes_only_the_register_with_that_number() {
    for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff_ffff] {
        let prepare = |cpu: &mut CpuModel| {
            fill_debug_registers(cpu);
            (GARBAGE | number, 0x55)
        };
        native::<SetDebugreg>(prepare, |cpu, _| {
            for (register, &value) in (0..).zip(&cpu.cpu.debug) {
                let written = register == number && !matches!(register, 4 | 5);
                assert_eq!(value, if written { 0x55 } else { 0xd0_0000_0000 + register }, "dr{register}");
            }
        });
    }
}

#[test]
fn set_debugreg_in_xen_leaves_the_hardware_register_unchanged() {
    let prepare = |cpu: &mut CpuModel| {
        fill_debug_registers(cpu);
        (7, 0x55)
    };
    xen::<SetDebugreg>(prepare, |cpu, _| assert_eq!(cpu.cpu.debug[7], 0xd0_0000_0007));
}

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

/// A gate of a type and ring, to a handler.
fn gate(kind: u64, dpl: u64, handler: u64) -> [u64; 2] {
    [handler & 0xffff | 0x10 << 16 | (0x80 | dpl << 5 | kind) << 40 | (handler >> 16 & 0xffff) << 48, handler >> 32]
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

const GS_BASE: usize = 1;
const KERNEL_GS_BASE: usize = 2;

/// Sets the kernel's and the user's base.
fn set_bases(cpu: &mut CpuModel) {
    cpu.cpu.msr[GS_BASE] = 0x1111;
    cpu.cpu.msr[KERNEL_GS_BASE] = 0x2222;
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

#[test]
fn load_sp0_stores_the_stack_natively_and_in_xen() {
    let prepare = |cpu: &mut CpuModel| {
        LoadSp0::arguments(cpu);
        (0xffff_c900_1234_5000,)
    };
    both::<LoadSp0>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.sp0, 0xffff_c900_1234_5000));
}

#[test]
fn linuxs_segment_limit_is_one_below_the_offset_of_the_invalid_bitmap() {
    assert_eq!(IO_BITMAP_OFFSET_INVALID, 0x4087 + 1);
}

#[test]
fn invalidate_io_bitmap_forbids_all_ports_natively_and_in_xen() {
    let prepare = |cpu: &mut CpuModel| cpu.cpu.tss.io_bitmap_base = IO_BITMAP_OFFSET_VALID_MAP;
    both::<InvalidateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.io_bitmap_base, IO_BITMAP_OFFSET_INVALID));
}

#[test]
fn update_io_bitmap_selects_the_bitmap_by_the_permissions_of_the_task() {
    for (flags, iopl, base) in [
        (0, 0, IO_BITMAP_OFFSET_INVALID),
        (0, 3, IO_BITMAP_OFFSET_INVALID),
        (TIF_IO_BITMAP, 3, IO_BITMAP_OFFSET_VALID_ALL),
        (TIF_IO_BITMAP, 0, IO_BITMAP_OFFSET_VALID_MAP),
    ] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.task.flags = flags;
            cpu.cpu.task.iopl_emul = iopl;
            cpu.cpu.tss.io_bitmap_base = 1;
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.io_bitmap_base, base));
    }
}

#[test]
fn update_io_bitmap_copies_another_tasks_ports_up_to_the_longer_of_both_bitmaps() {
    for (prev_max, max, copied) in [(8, 24, 3), (24, 8, 3), (0, 8192, 1024), (0, u32::MAX, 1024)] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.tss.prev_sequence = 4;
            cpu.cpu.tss.prev_max = prev_max;
            let task = &mut cpu.cpu.task.io_bitmap;
            (task.sequence, task.max) = (5, max);
            task.bitmap.fill(0x5555);
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| {
            let tss = &cpu.cpu.tss;
            assert_eq!((tss.prev_sequence, tss.prev_max), (5, max));
            assert!(tss.bitmap[..copied].iter().all(|&word| word == 0x5555));
            assert!(tss.bitmap[copied..].iter().all(|&word| word == !0));
        });
    }
}

#[test]
fn update_io_bitmap_copies_nothing_if_the_tasks_bitmap_is_in_the_segment_already() {
    let prepare = |cpu: &mut CpuModel| {
        UpdateIoBitmap::arguments(cpu);
        cpu.cpu.task.io_bitmap.max = 8;
        cpu.cpu.task.io_bitmap.bitmap.fill(0x5555);
    };
    both::<UpdateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.bitmap[0], !0));
}

#[test]
fn update_io_bitmap_loads_the_task_register_if_the_limit_was_shortened() {
    for (invalid, tr) in [(0, 0), (1, 0x40)] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.tss.limit_invalid = invalid;
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.tables.tr, cpu.cpu.tss.limit_invalid), (tr, 0));
        });
    }
}

#[test]
fn io_delay_writes_to_the_port_of_its_kind_and_in_xen_to_no_port() {
    for (kind, ports) in [(0, (1, 0)), (1, (0, 1)), (2, (0, 0)), (3, (0, 0))] {
        let prepare = |cpu: &mut CpuModel| {
            IoDelay::arguments(cpu);
            cpu.cpu.io_delay.kind = kind;
        };
        native::<IoDelay>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.io_delay.port_80, cpu.cpu.io_delay.port_ed), ports);
        });
        xen::<IoDelay>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.io_delay.port_80, cpu.cpu.io_delay.port_ed), (0, 0));
        });
    }
}

#[test]
fn set_iopl_mask_is_an_empty_function_on_bare_metal_that_is_called() {
    assert_eq!(SetIoplMask::META.bytes, Bytes::Call);
    both::<SetIoplMask>(SetIoplMask::arguments, |cpu, _| {
        assert_eq!((cpu.irq.enabled, cpu.cpu.tss.io_bitmap_base), (1, IO_BITMAP_OFFSET_INVALID));
    });
}

#[test]
fn wbinvd_sets_its_flag_natively_and_in_xen() {
    both::<Wbinvd>(Wbinvd::arguments, |cpu, _| assert_eq!(cpu.cpu.caches_empty, 1));
}

/// The four words of `cpuid` after a call.
fn words(cpu: &CpuModel) -> [u32; 4] {
    let words = &cpu.cpu.words;
    [words.eax, words.ebx, words.ecx, words.edx]
}

#[test]
fn cpuid_returns_the_result_of_the_instruction() {
    let vendor = std::arch::x86_64::__cpuid_count(0, 0);
    let vendor = [vendor.eax, vendor.ebx, vendor.ecx, vendor.edx];
    both::<Cpuid>(Cpuid::arguments, |cpu, _| assert_eq!(words(cpu), vendor));
}

#[test]
fn cpuid_passes_the_sub_leaf() {
    if std::arch::x86_64::__cpuid_count(0, 0).eax < 4 {
        return;
    }
    let cache = std::arch::x86_64::__cpuid_count(4, 1);
    let prepare = |cpu: &mut CpuModel| {
        let args = Cpuid::arguments(cpu);
        (cpu.cpu.words.eax, cpu.cpu.words.ecx) = (4, 1);
        args
    };
    both::<Cpuid>(prepare, |cpu, _| assert_eq!(words(cpu)[1..3], [cache.ebx, cache.ecx]));
}

#[test]
fn cpuid_in_xen_hides_mwait_and_topology() {
    for leaf in [5, 0xb] {
        let prepare = |cpu: &mut CpuModel| {
            let args = Cpuid::arguments(cpu);
            cpu.cpu.words = CpuidWords { eax: leaf, ebx: !0, ..CpuidWords::default() };
            args
        };
        xen::<Cpuid>(prepare, |cpu, _| {
            assert_eq!(words(cpu)[1], 0);
            assert!(leaf != 5 || words(cpu) == [0; 4]);
        });
    }
}

#[test]
fn read_tsc_reads_the_time_stamp_counter_natively_and_in_xen() {
    let before = std::cell::Cell::new(0);
    both::<ReadTsc>(
        // SAFETY: every x86-64 CPU has the instruction.
        |_| before.set(unsafe { std::arch::x86_64::_rdtsc() }),
        |_, tsc| {
            let after = unsafe { std::arch::x86_64::_rdtsc() };
            assert!((before.get()..=after).contains(&tsc), "{} {tsc} {after}", before.get());
        },
    );
    assert_eq!(ReadTsc::META.native_kind, Kind::Real);
}

#[test]
fn read_tscp_returns_the_time_and_stores_the_cpus_number_natively_and_in_xen() {
    let before = std::cell::Cell::new(0);
    both::<ReadTscp>(
        |cpu| {
            cpu.cpu.words.aux = 0xffff_ffff;
            // SAFETY: every x86-64 CPU has the instruction.
            before.set(unsafe { std::arch::x86_64::_rdtsc() });
            ReadTscp::arguments(cpu)
        },
        |cpu, tsc| {
            // SAFETY: every x86-64 CPU has the instruction.
            let after = unsafe { std::arch::x86_64::_rdtsc() };
            assert!((before.get()..=after).contains(&tsc), "{} {tsc} {after}", before.get());
            assert_ne!(cpu.cpu.words.aux, 0xffff_ffff);
        },
    );
}

/// STAR, which Xen sets up itself, an ordinary register, and the APIC's base.
const STAR: u64 = 0xc000_0081;
const SPEC_CTRL: u64 = 0x48;
const APICBASE: u64 = 0x1b;

#[test]
fn read_msr_reads_all_64_bits() {
    let prepare = |cpu: &mut CpuModel| {
        cpu.cpu.msr[0x48] = 0xfedc_ba98_7654_3210;
        (GARBAGE | SPEC_CTRL,)
    };
    both::<ReadMsr>(prepare, |_, value| assert_eq!(value, 0xfedc_ba98_7654_3210));
}

#[test]
fn read_msr_safe_reads_all_64_bits_and_clears_the_error() {
    let prepare = |cpu: &mut CpuModel| {
        cpu.cpu.msr[0x48] = 0xfedc_ba98_7654_3210;
        cpu.cpu.words.err = !0;
        (GARBAGE | SPEC_CTRL, &raw mut cpu.cpu.words.err as u64)
    };
    both::<ReadMsrSafe>(prepare, |cpu, value| assert_eq!((value, cpu.cpu.words.err), (0xfedc_ba98_7654_3210, 0)));
}

#[test]
fn read_msr_amd_reads_all_64_bits_clears_the_error_and_keeps_its_arguments() {
    let prepare = |cpu: &mut CpuModel| {
        cpu.cpu.msr[0x0d] = 0xfedc_ba98_7654_3210;
        cpu.cpu.words.err = !0;
        let (msr, err) = ReadMsrAmd::arguments(cpu);
        (GARBAGE | msr, err)
    };
    both::<ReadMsrAmd>(prepare, |cpu, value| assert_eq!((value, cpu.cpu.words.err), (0xfedc_ba98_7654_3210, 0)));
    let mut cpu = CpuModel::install().unwrap();
    let (msr, err) = ReadMsrAmd::arguments(&mut cpu);
    let (mut rdi, mut rsi) = (msr, err);
    // SAFETY: the entry of a native body, called by its convention; the block declares the registers that it may
    // change.
    unsafe {
        std::arch::asm!("call {read}", read = sym ReadMsrAmd::native, inout("rdi") rdi, inout("rsi") rsi,
            clobber_abi("C"));
    }
    assert_eq!((rdi, rsi), (msr, err));
}

#[test]
fn reading_a_register_in_xen_hides_the_x2apic() {
    let prepare = |cpu: &mut CpuModel| cpu.cpu.msr[0x1b] = 0xfee0_0d00;
    let plain = |cpu: &mut CpuModel| {
        prepare(cpu);
        (GARBAGE | APICBASE,)
    };
    let safe = |cpu: &mut CpuModel| {
        prepare(cpu);
        (APICBASE, &raw mut cpu.cpu.words.err as u64)
    };
    native::<ReadMsr>(plain, |_, value| assert_eq!(value, 0xfee0_0d00));
    xen::<ReadMsr>(plain, |_, value| assert_eq!(value, 0xfee0_0900));
    native::<ReadMsrSafe>(safe, |_, value| assert_eq!(value, 0xfee0_0d00));
    xen::<ReadMsrSafe>(safe, |_, value| assert_eq!(value, 0xfee0_0900));
}

#[test]
fn writing_a_register_joins_both_halves_of_the_value() {
    let args = (GARBAGE | SPEC_CTRL, GARBAGE | 0x7654_3210, GARBAGE | 0xfedc_ba98);
    both::<WriteMsr>(|_| args, |cpu, _| assert_eq!(cpu.cpu.msr[0x48], 0xfedc_ba98_7654_3210));
    both::<WriteMsrSafe>(|_| args, |cpu, err| assert_eq!((cpu.cpu.msr[0x48], err), (0xfedc_ba98_7654_3210, 0)));
}

#[test]
fn writing_in_xen_ignores_registers_that_xen_sets_up() {
    for msr in [STAR, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0x174, 0x175, 0x176] {
        let index = msr as usize % MSRS;
        native::<WriteMsrSafe>(|_| (msr, 1, 2), |cpu, err| assert_eq!((cpu.cpu.msr[index], err), (2 << 32 | 1, 0)));
        xen::<WriteMsr>(|_| (msr, 1, 2), |cpu, _| assert_eq!(cpu.cpu.msr[index], 0));
        xen::<WriteMsrSafe>(|_| (msr, 1, 2), |cpu, err| assert_eq!((cpu.cpu.msr[index], err), (0, 0)));
    }
}

#[test]
fn segment_bases_are_written_to_registers_on_bare_metal_and_by_hypercall_in_xen() {
    for (msr, which) in [(MSR_FS_BASE, 0), (MSR_KERNEL_GS_BASE, 1), (MSR_GS_BASE, 2)] {
        let index = msr as usize % MSRS;
        native::<WriteMsr>(|_| (msr, 1, 2), |cpu, _| assert_eq!(cpu.cpu.msr[index], 2 << 32 | 1));
        xen::<WriteMsr>(|_| (msr, 1, 2), |cpu, _| assert_eq!(cpu.cpu.msr[index], 0));
        xen::<WriteMsrSafe>(
            |_| (msr, 1, 2),
            |cpu, err| {
                assert_calls(cpu, [(CallKind::SetSegmentBase, 1)]);
                assert_eq!((err, cpu.xen.hypervisor.segment_base[which]), (0, 2 << 32 | 1));
                assert_eq!(cpu.cpu.msr[index], 0);
            },
        );
    }
}

#[test]
fn a_refused_segment_base_is_an_error() {
    let mut cpu = CpuModel::install().unwrap();
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let err = unsafe { WriteMsrSafe::xen((MSR_FS_BASE, 0, 1 << 30)) };
    assert_eq!((err as i32, cpu.xen.hypervisor.refused), (-5, 1), "the address is not canonical");
    let base = &mut cpu.xen.hypervisor.segment_base[0];
    assert_eq!(*base, 0);
}

#[test]
fn read_pmc_reads_the_counter_and_in_xen_the_counters_register() {
    for (counter, register) in [(3, 0xc1 + 3), (1 << 30 | 1, 0x30a)] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.cpu.pmc[counter as usize % PMCS] = 0x1_0000_0002;
            cpu.cpu.msr[register % MSRS] = 0x3_0000_0004;
            (counter,)
        };
        native::<ReadPmc>(prepare, |_, value| assert_eq!(value, 0x1_0000_0002));
        xen::<ReadPmc>(prepare, |_, value| assert_eq!(value, 0x3_0000_0004));
    }
}

#[test]
fn exits_from_the_kernel_exchange_the_bases_and_load_the_users_segments() {
    fn assert_exit<O: Op<Args = ()>>(cs: u16) {
        native::<O>(set_bases, |cpu, _| {
            assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x2222, 0x1111));
            assert_eq!((cpu.cpu.exit.cs, cpu.cpu.exit.ss), (cs, 0x2b));
        });
        xen::<O>(set_bases, |cpu, _| {
            assert_eq!((cpu.cpu.msr[GS_BASE], cpu.cpu.msr[KERNEL_GS_BASE]), (0x1111, 0x2222));
            assert_eq!((cpu.cpu.exit.cs, cpu.cpu.exit.ss), (0, 0), "Xen loads the segments");
        });
    }
    assert_exit::<UsergsSysret64>(0x33);
    assert_exit::<UsergsSysret32>(0x23);
    assert_exit::<IrqEnableSysexit>(0x23);
}

#[test]
fn patching_writes_exits_from_the_kernel_as_instructions() {
    let bytes = [IrqEnableSysexit::META, UsergsSysret64::META, UsergsSysret32::META, Iret::META].map(|meta| meta.bytes);
    assert_eq!(bytes, [Bytes::Instruction; 4]);
}

#[test]
fn sysexit_turns_interrupts_on_and_sysret_does_not() {
    native::<IrqEnableSysexit>(|cpu| cpu.irq.enabled = 0, |cpu, _| assert_eq!(cpu.irq.enabled, 1));
    native::<UsergsSysret64>(|cpu| cpu.irq.enabled = 0, |cpu, _| assert_eq!(cpu.irq.enabled, 0));
}

#[test]
fn sysret_in_xen_writes_a_frame_for_xens_iret() {
    fn assert_frame<O: Op<Args = ()>>(cs: u64) {
        let prepare = |cpu: &mut CpuModel| (cpu.cpu.exit.rcx, cpu.cpu.exit.r11, cpu.cpu.exit.old_rsp) = (1, 2, 3);
        xen::<O>(prepare, |cpu, _| assert_eq!(cpu.cpu.exit.frame, [0x100, 1, cs, 2, 3, 0x2b]));
    }
    assert_frame::<UsergsSysret64>(0x33);
    assert_frame::<UsergsSysret32>(0x23);
}

#[test]
fn iret_in_xen_keeps_the_frame_and_restores_every_register() {
    let prepare = |cpu: &mut CpuModel| cpu.cpu.exit.frame = [9; 6];
    xen::<Iret>(prepare, |cpu, _| assert_eq!(cpu.cpu.exit.frame, [0, 9, 9, 9, 9, 9]));
    xen::<IrqEnableSysexit>(prepare, |cpu, _| assert_eq!(cpu.cpu.exit.frame, [0, 9, 9, 9, 9, 9]));
}

/// The carry flag shows that an `iretq` ran: it loads the frame's flags, where carry is clear.
#[test]
fn iret_returns_to_the_next_instruction_with_stack_and_segments_unchanged() {
    native::<Iret>(|_| (), |_, _| ());
    let (carry, below, above): (u64, u64, u64);
    // SAFETY: the entry of a native body, called by its convention; the block declares the registers that it may
    // change.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp", "stc", "call {iret}", "setc al", "movzx eax, al", "mov rdx, rsp",
            iret = sym Iret::native, out("rax") carry, out("rdx") above, out("r12") below, clobber_abi("C")
        );
    }
    assert_eq!((carry, above), (0, below));
}

/// The flag marks a task that the kernel switched away from while it was batching.
#[test]
fn start_context_switch_begins_a_batch_and_marks_a_task_that_was_batching() {
    assert_eq!(StartContextSwitch::META.bytes, Bytes::Nop);
    for (lazy, flags) in [(LazyMode::None, 0), (LazyMode::Cpu, 0), (LazyMode::Mmu, TIF_LAZY_MMU_UPDATES)] {
        let prepare = |cpu: &mut CpuModel| {
            let args = StartContextSwitch::arguments(cpu);
            cpu.xen.lazy = lazy;
            args
        };
        native::<StartContextSwitch>(prepare, |cpu, _| assert_eq!((cpu.xen.lazy, cpu.cpu.task.flags), (lazy, 0)));
        xen::<StartContextSwitch>(prepare, |cpu, _| {
            assert_eq!((cpu.xen.lazy, cpu.cpu.task.flags), (LazyMode::Cpu, flags));
        });
    }
}

#[test]
fn end_context_switch_ends_the_batch_and_begins_another_for_a_marked_task() {
    assert_eq!(EndContextSwitch::META.bytes, Bytes::Nop);
    for (flags, lazy) in [(0, LazyMode::None), (TIF_LAZY_MMU_UPDATES, LazyMode::Mmu)] {
        let prepare = |cpu: &mut CpuModel| {
            let args = EndContextSwitch::arguments(cpu);
            cpu.xen.lazy = LazyMode::Cpu;
            cpu.cpu.task.flags = flags | 1;
            args
        };
        native::<EndContextSwitch>(prepare, |cpu, _| {
            assert_eq!((cpu.xen.lazy, cpu.cpu.task.flags), (LazyMode::Cpu, flags | 1));
        });
        xen::<EndContextSwitch>(prepare, |cpu, _| assert_eq!((cpu.xen.lazy, cpu.cpu.task.flags), (lazy, 1)));
    }
}
