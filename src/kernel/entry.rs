//! Kernel entry and exit (`arch/x86/entry/common.c`, `kernel/entry/common.c`).

use super::{Config, Kernel};
use crate::dispatch::Dispatch;

/// `struct audit_context`: the fields that every system call fills in.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditContext {
    in_syscall: bool,
    major: u64,
    arguments: [u64; 4],
    serial: u64,
    result: u64,
    /// Number of matches of the one rule. It matches no call here, like the default rule of a distribution.
    rules: u64,
}

/// Number of words in `struct pt_regs`.
pub(super) const REGISTERS: usize = 21;

/// System call numbers, from `asm/unistd_64.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `mmap`
    Mmap = 9,
    /// `mprotect`
    Mprotect = 10,
    /// `munmap`
    Munmap = 11,
    /// `rt_sigreturn`
    Sigreturn = 15,
    /// `sched_yield`
    SchedYield = 24,
    /// `mremap`
    Mremap = 25,
    /// `fork`
    Fork = 57,
    /// `execve`
    Execve = 59,
    /// `exit`
    Exit = 60,
    /// `getppid`
    Getppid = 110,
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `syscall_enter_from_user_mode`: enables interrupts and records the call for auditing.
    #[inline(always)]
    pub(super) fn enter(&mut self, call: Call, arguments: [u64; 4]) {
        self.save_registers(call, arguments);
        self.irq_enable();
        if C::AUDIT {
            self.audit_entry(call as u64, arguments);
        }
    }

    /// `syscall_exit_to_user_mode`
    #[inline(always)]
    pub(super) fn leave(&mut self, result: u64) {
        if C::AUDIT {
            self.audit_exit(result);
        }
        self.irq_disable();
        self.restore_registers(result);
    }

    /// `PUSH_AND_CLEAR_REGS` of `entry_SYSCALL_64`.
    #[inline(always)]
    fn save_registers(&mut self, call: Call, arguments: [u64; 4]) {
        let registers = &raw mut self.machine.registers;
        let [a, b, c, d] = arguments;
        let n = call as u64;
        // SAFETY: the machine's own field; the store is volatile, because the kernel reads none of these registers.
        unsafe { registers.write_volatile([a, b, c, d, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, n, 0, 0x33, 0x246, 0, 0x2b]) };
    }

    /// `POP_REGS`
    #[inline(always)]
    fn restore_registers(&mut self, result: u64) {
        self.machine.registers[10] = result;
        let registers = &raw const self.machine.registers;
        // SAFETY: `read_volatile` needs a valid, initialised array: it is the machine's own field.
        std::hint::black_box(unsafe { registers.read_volatile() });
    }

    /// `__audit_syscall_entry`
    #[inline(never)]
    fn audit_entry(&mut self, major: u64, arguments: [u64; 4]) {
        let audit = &mut self.machine.audit;
        (audit.in_syscall, audit.major, audit.arguments) = (true, major, arguments);
    }

    /// `__audit_syscall_exit`: checks the rules and resets the context.
    #[inline(never)]
    fn audit_exit(&mut self, result: u64) {
        let audit = &mut self.machine.audit;
        audit.result = result;
        audit.rules += u64::from(std::hint::black_box(audit.major) > 400);
        audit.serial += 1;
        audit.in_syscall = false;
    }

    /// `getppid`: the shortest system call.
    #[inline(never)]
    pub fn getppid(&mut self) -> u64 {
        self.enter(Call::Getppid, [0; 4]);
        let parent = std::hint::black_box(self.machine.current as u64);
        self.leave(parent);
        parent
    }
}
