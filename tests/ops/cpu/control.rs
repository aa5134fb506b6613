//! Control and debug registers.

use super::*;

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
