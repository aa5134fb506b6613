//! The recorder inside the emulator: a TCG plugin that writes what a window of each workload executes.
//!
//! The emulator calls it for every instruction and every memory access. It is a shared object without a standard
//! library, so that it links without a C compiler; the emulator's own C library has its files and memory.
//!
//! The guest's init needs no change. Its marks are the time stamps that it reads in user mode, two for each repetition
//! of a workload, and its system calls, which are counted. Between the two marks of a repetition the plugin counts
//! instructions and calls of hooks. Between two of its system calls it also writes every instruction and access.
//!
//! * An **interrupt** begins at one of the kernel's entries and ends with its `iretq`, or in user mode. It is counted
//!   apart and not written.
//! * A **fault** is entered before its instruction is complete. The emulator announces that instruction twice, so the
//!   first time is taken back.
//!
//! The environment names three files: `PVBENCH_CONTROL` (read), `PVBENCH_TRACE` and `PVBENCH_SUMS` (written). All
//! consist of 64-bit words; `src/linux/record/trace.rs` has the other side.
#![no_std]
// The emulator's interface passes raw pointers; obligations are named at each use.
#![deny(unsafe_op_in_unsafe_fn)]

mod code;
mod files;
// The version of the interface, which the build writes.
mod interface;
mod own;
mod state;

use core::ffi::{c_char, c_int, c_uint, c_void};

use code::Instruction;
use state::STATE;

/// The version that the emulator checks before it loads the plugin.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = interface::INTERFACE;

type Translated = unsafe extern "C" fn(u64, *mut c_void);
type Executed = unsafe extern "C" fn(c_uint, *mut c_void);
type Accessed = unsafe extern "C" fn(c_uint, u32, u64, *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_vaddr(instruction: *const c_void) -> u64;
    fn qemu_plugin_insn_size(instruction: *const c_void) -> usize;
    /// Up to version 2 it returns a pointer and ignores the other arguments; since 3 it copies, and returns a length.
    fn qemu_plugin_insn_data(instruction: *const c_void, to: *mut u8, length: usize) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut c_void,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut c_void,
        callback: Accessed,
        flags: c_int,
        kinds: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_mem_is_store(access: u32) -> bool;
}

/// Length of the longest instruction, in bytes.
const MAX_BYTES: usize = 15;
/// Loads and stores.
const ALL_ACCESSES: c_int = 3;

/// # Safety
/// The emulator calls this once, before the guest starts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    _count: c_int,
    _arguments: *mut *mut c_char,
) -> c_int {
    // SAFETY: the exclusive reference needs one thread: the guest, whose thread has the callbacks, has not started.
    let state = unsafe { &mut *STATE.get() };
    if !state.open() {
        return 1;
    }
    // SAFETY: the function needs the id of this plugin and a callback that stays: both are given.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

/// # Safety
/// The emulator passes a block that is being translated, from the thread of its only CPU.
unsafe extern "C" fn translated(_id: u64, block: *mut c_void) {
    // SAFETY: the exclusive reference needs one thread: all callbacks come from that of the only CPU.
    let state = unsafe { &mut *STATE.get() };
    // SAFETY: these functions need a block or an instruction of this callback: the emulator has just passed them. The
    // data is `MAX_BYTES` long, or a pointer to as many bytes as the size says. The records of instructions stay.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let size = qemu_plugin_insn_size(instruction).min(MAX_BYTES);
            let mut bytes = [0u8; 16];
            let data = qemu_plugin_insn_data(instruction, bytes.as_mut_ptr(), size);
            if data > MAX_BYTES {
                core::ptr::copy_nonoverlapping(data as *const u8, bytes.as_mut_ptr(), size);
            }
            let record = state.code.record(qemu_plugin_insn_vaddr(instruction), &bytes, size as u8);
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, 0, record.cast());
            qemu_plugin_register_vcpu_mem_cb(instruction, accessed, 0, ALL_ACCESSES, record.cast());
        }
    }
}

/// # Safety
/// The emulator passes what `translated` registered, from the thread of its only CPU.
unsafe extern "C" fn executed(_cpu: c_uint, record: *mut c_void) {
    // SAFETY: the exclusive reference needs one thread: all callbacks come from that of the only CPU. The record is one
    // of `Code::record`, which stay.
    unsafe { (*STATE.get()).execute(record.cast::<Instruction>()) }
}

/// # Safety
/// As for `executed`.
unsafe extern "C" fn accessed(_cpu: c_uint, access: u32, address: u64, _record: *mut c_void) {
    // SAFETY: as in `executed`; the access is that of this callback.
    unsafe {
        let state = &mut *STATE.get();
        if state.is_tracking() {
            state.access(address, qemu_plugin_mem_is_store(access));
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    files::abort()
}

/// The tables of `core`, which is compiled to unwind, refer to it; this library aborts instead.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As `rust_eh_personality`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    files::abort()
}
