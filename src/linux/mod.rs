//! Real kernels under an instruction-counting emulator.
//!
//! QEMU's TCG with `-icount shift=0` advances the guest's clock by the instruction, so that a kernel's work is counted
//! to the digit, on any machine, without a counter, root or a reboot. A stock kernel is compared with itself, patched
//! and unpatched; kernels built with one option each show what else costs how much.
//!
//! ```text
//! image -> payload -> elf            a kernel file, and the ELF file in it
//! elf -> hooks (layout, body)            its call sites of pv_ops, by op and by what patching makes of them
//! hooks -> unpatch, count            variants: never patched; with counters behind every hook
//! guest -> qemu -> output            the init process, a boot, what it sent
//! boots -> compare                   kernels times phases, several at a time; each against the first
//! ```

pub mod body;
pub mod boots;
pub mod compare;
pub mod count;
pub mod elf;
pub mod error;
pub mod find;
pub mod guest;
pub mod hooks;
pub mod image;
pub mod layout;
pub mod output;
pub mod payload;
pub mod qemu;
pub mod unpatch;
pub mod workload;
