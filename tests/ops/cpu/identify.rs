//! Caches, `cpuid`, time stamps and model-specific registers.

use super::*;

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
