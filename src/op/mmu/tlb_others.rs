//! Dropping translations of other CPUs.
//!
//! The model has no other CPUs. The request of an interrupt stays in their queues, and each of them counts as having
//! answered at once.

use std::mem::offset_of;

use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd, XenVcpu, guest};
use crate::op::{CpuModel, Op, OpMeta, Since, catalogue::Slot};

const LAZY: usize = offset_of!(CpuModel, mmu.lazy_tlb);
const QUEUE: usize = offset_of!(CpuModel, mmu.call_queue);
const IPI: usize = offset_of!(CpuModel, mmu.ipi);
const CPU: usize = offset_of!(CpuModel, irq.cpu);
const LOCK: usize = offset_of!(CpuModel, mmu.sender.lock);
const SENDER_MM: usize = offset_of!(CpuModel, mmu.sender.mm);
const SENDER_VA: usize = offset_of!(CpuModel, mmu.sender.va);
const SENDER_CPUS: usize = offset_of!(CpuModel, mmu.sender.cpus);

/// `TLB_FLUSH_ALL`: as the end of a range or as an address, this value means all translations.
pub(crate) const FLUSH_ALL: u64 = !0;

/// `struct flush_tlb_info`: the translations to drop.
#[repr(C)]
#[derive(Debug, Default)]
pub struct FlushInfo {
    /// The address space: a pointer to its [`Mm`](super::Mm).
    pub mm: u64,
    /// The first address.
    pub(crate) start: u64,
    /// The end of the range, or `FLUSH_ALL`.
    pub end: u64,
    /// 1 if page tables were freed: then lazy CPUs are interrupted, too.
    pub freed_tables: u8,
}

/// 2.6.30's `union smp_flush_state`: the mailbox that receivers read.
#[repr(C)]
#[derive(Debug, Default)]
pub struct FlushSender {
    /// `tlbstate_lock`: 1 while held.
    pub lock: u32,
    /// `flush_mm`
    pub mm: u64,
    /// `flush_va`
    pub va: u64,
    /// `flush_cpumask`: the CPUs that have not answered yet, a bit each.
    pub cpus: u64,
}

/// Batches one `mmuext_op` for some CPUs: it drops one page's translation, or all if no page is given.
fn xen_flush(xen: &mut XenVcpu, one_page: Option<u64>, cpus: u64) {
    let call = match one_page {
        Some(address) => Call::MmuExt { cmd: MmuExtCmd::InvlpgMulti, arg1: address, arg2: cpus },
        None => Call::MmuExt { cmd: MmuExtCmd::TlbFlushMulti, arg1: 0, arg2: cpus },
    };
    xen.batched(call, LazyMode::Mmu);
}

/// Drops translations of other CPUs.
pub struct FlushTlbMulti;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the mask and the info
// the caller names; stores to the queues of the installed model, of which there is one for each bit of the mask; a
// hypercall in Xen.
unsafe impl Op for FlushTlbMulti {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_multi",
        prototype: "void (*flush_tlb_multi)(const struct cpumask *cpus, const struct flush_tlb_info *info)",
        purpose: "drop translations of other CPUs",
        source: "arch/x86/mm/tlb.c, native_flush_tlb_multi; kernel/smp.c, smp_call_function_many_cond",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbMulti as usize;
    type Args = (u64, u64);
    type Ret = ();

    // Queues the request for each CPU of the mask, for lazy ones only if tables were freed, and sends one interrupt.
    native! {
        (cpus: "rdi", info: "rsi"); scratch("rax", "rcx", "rdx", "r8");
        "mov rax, [rdi]",
        "xor r8d, r8d",
        "22: test rax, rax",
        "je 24f",
        "bsf rcx, rax",
        "lea rdx, [rax - 1]",
        "and rax, rdx",
        "cmp byte ptr [rsi + {freed}], 0",
        "jne 23f",
        "cmp byte ptr gs:[rcx + {lazy}], 0",
        "jne 22b",
        "23: mov gs:[rcx*8 + {queue}], rsi",
        "bts r8, rcx",
        "jmp 22b",
        "24: mov gs:[{ipi}], r8";
        freed = const offset_of!(FlushInfo, freed_tables), lazy = const LAZY, queue = const QUEUE, ipi = const IPI
    }

    /// `arch/x86/xen/mmu_pv.c`, `xen_flush_tlb_multi`: the hypervisor interrupts those CPUs that are online.
    unsafe fn xen((cpus, info): (u64, u64)) {
        let info = info as *const FlushInfo;
        // SAFETY: the caller's mask and info, copied before any reference to the model.
        let (cpus, start, end) = unsafe {
            ((cpus as *const u64).read(), (&raw const (*info).start).read(), (&raw const (*info).end).read())
        };
        if cpus == 0 {
            return;
        }
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let one_page = (end != FLUSH_ALL && end.wrapping_sub(start) <= 4096).then_some(start);
        xen_flush(&mut cpu.xen, one_page, cpus & cpu.mmu.online);
    }

    /// One page on one other CPU.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        let mmu = &mut cpu.mmu;
        mmu.cpus = 0b10;
        mmu.lazy_tlb = [0; super::CPUS];
        mmu.flush_info = FlushInfo {
            mm: &raw const mmu.mm as u64,
            start: guest::USER_VA,
            end: guest::USER_VA + 4096,
            freed_tables: 0,
        };
        (&raw const mmu.cpus as u64, &raw const mmu.flush_info as u64)
    }
}

/// Drops translations of other CPUs in 2.6.30: one address, or all.
pub struct FlushTlbOthers;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the mask the caller
// names; stores to the mailbox of the installed model, whose lock nobody else takes; a hypercall in Xen.
unsafe impl Op for FlushTlbOthers {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_others",
        since: Since::Linux2630Only,
        prototype: "void (*flush_tlb_others)(const struct cpumask *cpus, struct mm_struct *mm, unsigned long va)",
        purpose: "drop translations of other CPUs",
        source: "arch/x86/mm/tlb.c of 2.6.30, native_flush_tlb_others",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbOthers as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    // Under the mailbox's lock, the body writes the address and the CPUs (all but this one) and sends the interrupt. A
    // store of 0 stands for the wait until all have answered. Then it empties the mailbox.
    native! {
        (cpus: "rdi", mm: "rsi", va: "rdx"); scratch("rax", "rcx");
        "22: mov eax, 1",
        "xchg eax, gs:[{lock}]",
        "test eax, eax",
        "jne 22b",
        "mov gs:[{sender_mm}], rsi",
        "mov gs:[{sender_va}], rdx",
        "mov rax, [rdi]",
        "mov rcx, gs:[{cpu}]",
        "btr rax, rcx",
        "mov gs:[{sender_cpus}], rax",
        "mov gs:[{ipi}], rax",
        "mov qword ptr gs:[{sender_cpus}], 0",
        "23: cmp qword ptr gs:[{sender_cpus}], 0",
        "jne 23b",
        "mov qword ptr gs:[{sender_mm}], 0",
        "mov qword ptr gs:[{sender_va}], 0",
        "mov dword ptr gs:[{lock}], 0";
        lock = const LOCK, sender_mm = const SENDER_MM, sender_va = const SENDER_VA, sender_cpus = const SENDER_CPUS,
        cpu = const CPU, ipi = const IPI
    }

    /// `arch/x86/xen/mmu.c` of 2.6.30, `xen_flush_tlb_others`
    unsafe fn xen((cpus, _, va): (u64, u64, u64)) {
        // SAFETY: the caller's mask, copied before any reference to the model.
        let cpus = unsafe { (cpus as *const u64).read() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let others = cpus & cpu.mmu.online & !(1 << (cpu.irq.cpu % super::CPUS as u64));
        xen_flush(&mut cpu.xen, (va != FLUSH_ALL).then_some(va), others);
    }

    /// One page on one other CPU.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        let (cpus, _) = FlushTlbMulti::arguments(cpu);
        cpu.mmu.sender = FlushSender::default();
        (cpus, &raw const cpu.mmu.mm as u64, guest::USER_VA)
    }
}
