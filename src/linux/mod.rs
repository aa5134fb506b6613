//! Real kernels under an instruction-counting emulator.
//!
//! QEMU's TCG with `-icount shift=0` advances the guest's clock by one step per instruction. Counts of a kernel's work
//! are exact on any machine, without hardware counters, root or a reboot. A stock kernel is compared with itself,
//! patched and unpatched; kernels built with one option each show the cost of that option.
//!
//! ```text
//! image -> payload -> elf            a kernel file, and the ELF file inside
//! elf -> hooks (layout, body)            its call sites of pv_ops, by op and by the code that boot writes
//! hooks -> unpatch, count            variants: never patched; with a counter for every hook
//! guest -> qemu -> output            the init process, a boot, its output
//! boots -> compare                   kernels x phases, several at a time; each against the first
//! record                             what one kernel executes between its hooks
//! native                             the time of the same workloads on the running kernel
//! ```

pub mod body;
pub mod boots;
pub mod compare;
pub(crate) mod compile;
pub mod count;
pub mod elf;
pub mod error;
pub mod find;
pub mod guest;
pub mod hooks;
pub mod image;
pub mod layout;
pub mod native;
pub mod output;
pub mod payload;
pub mod qemu;
pub mod record;
pub mod unpatch;
pub mod workload;
