//! The ops on interrupts: the effects of each body on the CPU model.

use crate::bodies::{assert_calls, native, xen};
use pvbench::op::irq::*;
use pvbench::op::xen::CallKind;
use pvbench::op::{Bytes, CpuModel, Op};

const IF: u64 = 1 << 9;

/// The mask byte and the pending byte of the page that Xen shares with the guest.
fn events(cpu: &CpuModel) -> (u8, u8) {
    (cpu.xen.info.evtchn_upcall_mask, cpu.xen.info.evtchn_upcall_pending)
}

#[test]
fn save_fl_in_user_space_returns_the_interrupt_flag_set() {
    native::<SaveFl>(|_| (), |_, flags| assert_eq!(flags & IF, IF));
}

#[test]
fn save_fl_in_xen_returns_the_inverse_of_the_mask() {
    for (mask, flags) in [(0, IF), (1, 0)] {
        xen::<SaveFl>(|cpu| cpu.xen.info.evtchn_upcall_mask = mask, |_, result| assert_eq!(result, flags));
    }
}

#[test]
fn irq_disable_clears_the_flag_and_in_xen_sets_the_mask() {
    native::<IrqDisable>(IrqDisable::arguments, |cpu, _| assert_eq!(cpu.irq.enabled, 0));
    xen::<IrqDisable>(IrqDisable::arguments, |cpu, _| {
        assert_eq!(cpu.xen.info.evtchn_upcall_mask, 1);
        assert_eq!(cpu.irq.enabled, 1, "the Xen body leaves the hardware's flag unchanged");
    });
}

#[test]
fn irq_enable_sets_the_flag_and_in_xen_clears_the_mask() {
    native::<IrqEnable>(|cpu| cpu.irq.enabled = 0, |cpu, _| assert_eq!(cpu.irq.enabled, 1));
    for pending in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.xen.info.evtchn_upcall_mask = 1;
            cpu.xen.info.evtchn_upcall_pending = pending;
            cpu.irq.enabled = 0;
        };
        xen::<IrqEnable>(prepare, |cpu, _| {
            assert_eq!(events(cpu), (0, 0), "the pending event is delivered");
            assert_eq!(cpu.irq.enabled, 0, "the Xen body leaves the hardware's flag unchanged");
            assert_calls(cpu, [(CallKind::XenVersion, u64::from(pending))]);
            assert_eq!(cpu.xen.hypervisor.upcalls, u64::from(pending));
        });
    }
}

#[test]
fn reading_the_flag_and_masking_events_make_no_hypercall_even_with_an_event_pending() {
    let pending = |cpu: &mut CpuModel| cpu.xen.info.evtchn_upcall_pending = 1;
    xen::<SaveFl>(pending, |cpu, _| {
        assert_calls(cpu, []);
        assert_eq!(events(cpu), (0, 1));
    });
    xen::<IrqDisable>(pending, |cpu, _| {
        assert_calls(cpu, []);
        assert_eq!(events(cpu), (1, 1));
    });
}

#[test]
fn safe_halt_halts_with_interrupts_on() {
    let prepare = |cpu: &mut CpuModel| {
        SafeHalt::arguments(cpu);
        cpu.irq.enabled = 0;
    };
    native::<SafeHalt>(prepare, |cpu, _| assert_eq!((cpu.irq.enabled, cpu.irq.halted), (1, 1)));
    xen::<SafeHalt>(prepare, |cpu, _| {
        assert_eq!((cpu.irq.enabled, cpu.irq.halted), (0, 0), "Xen halts the CPU, not the guest");
        assert_calls(cpu, [(CallKind::SchedBlock, 1)]);
    });
}

#[test]
fn safe_halt_in_xen_blocks_with_events_on_and_delivers_pending_events() {
    for pending in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            SafeHalt::arguments(cpu);
            cpu.xen.info.evtchn_upcall_mask = 1;
            cpu.xen.info.evtchn_upcall_pending = pending;
        };
        xen::<SafeHalt>(prepare, |cpu, _| {
            assert_calls(cpu, [(CallKind::SchedBlock, 1)]);
            assert_eq!((events(cpu), cpu.xen.hypervisor.upcalls), ((0, 0), u64::from(pending)));
        });
    }
}

#[test]
fn halt_leaves_the_interrupt_flag_unchanged() {
    for enabled in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            Halt::arguments(cpu);
            cpu.irq.enabled = enabled;
        };
        native::<Halt>(prepare, |cpu, _| assert_eq!((cpu.irq.enabled, cpu.irq.halted), (enabled, 1)));
    }
}

#[test]
fn halt_in_xen_takes_the_cpu_down_if_events_are_masked_and_touches_no_hardware() {
    let masked = |cpu: &mut CpuModel| Halt::arguments(cpu);
    xen::<Halt>(masked, |cpu, _| {
        assert_eq!(events(cpu), (1, 0));
        assert_eq!(cpu.irq.halted, 0);
        assert_calls(cpu, [(CallKind::VcpuDown, 1)]);
        assert_eq!(cpu.xen.hypervisor.down, 1 << cpu.irq.cpu);
    });
    let another = |cpu: &mut CpuModel| {
        Halt::arguments(cpu);
        cpu.irq.cpu = 5;
    };
    xen::<Halt>(another, |cpu, _| assert_eq!(cpu.xen.hypervisor.down, 1 << 5));
    let unmasked = |cpu: &mut CpuModel| {
        Halt::arguments(cpu);
        cpu.xen.info.evtchn_upcall_mask = 0;
    };
    xen::<Halt>(unmasked, |cpu, _| {
        assert_eq!(events(cpu), (0, 0));
        assert_eq!(cpu.irq.halted, 0);
        assert_calls(cpu, [(CallKind::SchedBlock, 1)]);
        assert_eq!(cpu.xen.hypervisor.down, 0);
    });
}

#[test]
fn restore_fl_in_user_space_leaves_interrupts_on() {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let flags_now = || unsafe { SaveFl::inline(()) };
    for flags in [0x2, 0x202] {
        native::<RestoreFl>(move |_| (flags,), |_, _| assert_eq!(flags_now() & IF, IF, "ring 3 cannot clear IF"));
    }
}

/// Carry is the lowest flag, so `setc` shows the restored value at once.
#[test]
fn restore_fl_restores_the_carry_flag() {
    for carry in [0_u64, 1] {
        let after: u64;
        // SAFETY: the entry of a native body, called by its convention; the block declares what it may change.
        unsafe {
            std::arch::asm!("call {restore}", "setc al", "movzx eax, al", restore = sym RestoreFl::native,
                in("rdi") 0x202 | carry, out("rax") after, clobber_abi("C"));
        }
        assert_eq!(after, carry);
    }
}

#[test]
fn restore_fl_in_xen_sets_the_mask_to_the_inverse_of_the_flag() {
    for (flags, mask) in [(IF, 0), (IF | 0xd7, 0), (0, 1), (0xd7, 1)] {
        for (before, pending) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let prepare = |cpu: &mut CpuModel| {
                cpu.xen.info.evtchn_upcall_mask = before;
                cpu.xen.info.evtchn_upcall_pending = pending;
                (flags,)
            };
            xen::<RestoreFl>(prepare, |cpu, _| {
                let due = mask == 0 && pending == 1;
                assert_eq!(events(cpu), (mask, if due { 0 } else { pending }));
                assert_calls(cpu, [(CallKind::XenVersion, u64::from(due))]);
                assert_eq!(cpu.xen.hypervisor.upcalls, u64::from(due));
            });
        }
    }
}

#[test]
fn the_measured_flags_have_interrupts_on_and_the_trap_flag_off() {
    let mut cpu = CpuModel::install().unwrap();
    assert_eq!(RestoreFl::arguments(&mut cpu), (0x202,));
}

#[test]
fn init_irq_sets_a_gate_for_every_external_vector_except_the_system_call() {
    native::<InitIrq>(InitIrq::arguments, |cpu, _| {
        for (vector, &[low, high]) in cpu.irq.idt.iter().enumerate() {
            if vector < 0x20 || vector == 0x80 {
                assert_eq!([low, high], [0, 0], "vector {vector:#x} has no gate of an interrupt");
                continue;
            }
            let target = low & 0xffff | (low >> 48) << 16 | high << 32;
            assert_eq!(target, cpu.irq.stubs[vector], "vector {vector:#x}");
            assert_eq!(low >> 16 & 0xffff, 0x10, "kernel code segment");
            assert_eq!(low >> 32 & 0xffff, 0x8e00, "present, ring 0, interrupt gate");
        }
    });
}

#[test]
fn init_irq_in_xen_masks_and_binds_every_event_channel() {
    xen::<InitIrq>(InitIrq::arguments, |cpu, _| {
        assert!(cpu.irq.evtchn_mask.iter().all(|&word| word == !0));
        assert!(cpu.irq.evtchn_bound.iter().all(|&word| word == !0));
        assert!(cpu.irq.idt.iter().all(|&gate| gate == [0, 0]), "the guest has no interrupt descriptor table");
    });
}

#[test]
fn adjust_exception_frame_is_a_nop_on_bare_metal_and_drops_two_words_in_xen() {
    assert_eq!(AdjustExceptionFrame::META.bytes, Bytes::Nop);
    native::<AdjustExceptionFrame>(AdjustExceptionFrame::arguments, |cpu, _| assert_eq!(cpu.irq.exception.sp, 0));
    xen::<AdjustExceptionFrame>(AdjustExceptionFrame::arguments, |cpu, _| assert_eq!(cpu.irq.exception.sp, 16));
}

#[test]
fn setup_boot_clock_calibrates_and_starts_the_apic_timer() {
    let prepare = |cpu: &mut CpuModel| {
        SetupBootClock::arguments(cpu);
        cpu.irq.apic.counts = [1_000_000, 600_000];
    };
    native::<SetupBootClock>(prepare, |cpu, _| {
        let apic = &cpu.irq.apic;
        assert_eq!(apic.clocks_per_tick, 400_000 * 16 / 100);
        assert_eq!(apic.tmict, apic.clocks_per_tick / 16);
        assert_eq!(apic.lvtt, 0x2_00ef, "periodic, the local timer's vector");
        assert_eq!(apic.tdcr, 3, "divide by 16");
    });
    let disabled = |cpu: &mut CpuModel| {
        prepare(cpu);
        cpu.irq.apic.timer_disabled = 1;
    };
    native::<SetupBootClock>(disabled, |cpu, _| assert_eq!((cpu.irq.apic.lvtt, cpu.irq.apic.tmict), (0, 0)));
    xen::<SetupBootClock>(prepare, |cpu, _| assert_eq!((cpu.irq.apic.lvtt, cpu.irq.apic.tmict), (0, 0)));
}

#[test]
fn setup_secondary_clock_starts_the_apic_timer_with_the_calibrated_count() {
    let prepare = |cpu: &mut CpuModel| {
        SetupSecondaryClock::arguments(cpu);
        cpu.irq.apic.clocks_per_tick = 64_000;
    };
    native::<SetupSecondaryClock>(prepare, |cpu, _| {
        let apic = &cpu.irq.apic;
        assert_eq!((apic.lvtt, apic.tdcr, apic.tmict), (0x2_00ef, 3, 4_000));
        assert_eq!(apic.clocks_per_tick, 64_000);
    });
    xen::<SetupSecondaryClock>(prepare, |cpu, _| assert_eq!((cpu.irq.apic.lvtt, cpu.irq.apic.tmict), (0, 0)));
}

#[test]
fn startup_ipi_hook_does_nothing_natively_and_in_xen() {
    let nothing = |cpu: &mut CpuModel, _| {
        assert_eq!((cpu.irq.enabled, cpu.irq.halted, cpu.irq.apic.lvtt), (1, 0, 0));
        assert_eq!(events(cpu), (0, 0));
    };
    assert_eq!(StartupIpiHook::META.bytes, Bytes::Nop);
    native::<StartupIpiHook>(StartupIpiHook::arguments, nothing);
    xen::<StartupIpiHook>(StartupIpiHook::arguments, nothing);
}
