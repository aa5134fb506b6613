//! The registers that point to descriptor tables.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

use super::CPU_OP;
use super::trap::{self, TrapInfo};
use crate::native;
use crate::op::irq::VECTORS;
use crate::op::xen::guest::{self, GDT_ENTRIES};
use crate::op::xen::{Call, memory::PAGE_SHIFT};
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `struct desc_ptr`: the operand of `lgdt`, `lidt`, `sgdt` and `sidt` in memory.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescPtr {
    /// The table's last byte.
    pub size: u16,
    /// The table.
    pub address: u64,
}

/// `gdtr` or `idtr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// The table.
    pub base: u64,
    /// The table's last byte.
    pub limit: u16,
}

/// `GDT_ENTRY_TSS`: two entries.
pub(super) const GDT_ENTRY_TSS: usize = 8;
/// `GDT_ENTRY_LDT`: two entries.
pub(super) const GDT_ENTRY_LDT: usize = 10;
/// `GDT_ENTRY_TLS_MIN`: the first of three entries.
pub(super) const GDT_ENTRY_TLS_MIN: usize = 12;

/// Table registers, and the tables except the interrupt descriptor table, which is in the interrupt state.
#[repr(C)]
#[derive(Debug)]
pub struct Tables {
    /// The global descriptor table of native bodies that take no address of one (`gdt_page`): per-CPU data, at a fixed
    /// distance from `gs`. A Xen guest's table is the page [`guest::GDT`].
    pub gdt: [u64; GDT_ENTRIES],
    /// The register of the global descriptor table.
    pub gdtr: TableRegister,
    /// The register of the interrupt descriptor table.
    pub idtr: TableRegister,
    /// Selector of the local descriptor table.
    pub ldtr: u16,
    /// Selector of the task-state segment.
    pub tr: u16,
    /// The address at which the table is mapped writable (`get_cpu_gdt_rw`), as the model defines it.
    pub(crate) gdt_rw: u64,
    /// The address at which it is mapped read-only (`get_cpu_gdt_ro`), as the model defines it.
    pub gdt_ro: u64,
    /// The operand of a table instruction.
    pub operand: DescPtr,
    /// An entry to be written to a table.
    pub entry: [u64; 2],
    /// `idt_desc`: the last argument of `load_idt` in a Xen guest.
    pub idt_desc: DescPtr,
    /// The static array of `xen_load_idt`, and its lock. The last entry ends the list.
    pub traps: [TrapInfo; VECTORS + 1],
    /// 1 while the array is in use.
    pub traps_lock: AtomicU32,
}

impl Tables {
    /// Flat kernel and user segments and a task-state segment; the register has the table's read-only address.
    pub(super) fn new() -> Self {
        let mut gdt = [0; GDT_ENTRIES];
        gdt[..guest::SEGMENTS.len()].copy_from_slice(&guest::SEGMENTS);
        gdt[GDT_ENTRY_TSS] = 0x0000_8900_0000_4087;
        let gdt_ro = 0xffff_fe00_0000_1000;
        Tables {
            gdt,
            gdtr: TableRegister { base: gdt_ro, limit: GDT_LIMIT },
            idtr: TableRegister::default(),
            ldtr: 0,
            tr: 0,
            gdt_rw: 0xffff_8880_3ec0_b000,
            gdt_ro,
            operand: DescPtr::default(),
            entry: [0; 2],
            idt_desc: DescPtr::default(),
            traps: [TrapInfo::default(); VECTORS + 1],
            traps_lock: AtomicU32::new(0),
        }
    }
}

/// `GDT_SIZE - 1`
const GDT_LIMIT: u16 = (GDT_ENTRIES * 8 - 1) as u16;

pub(super) const GDTR_BASE: usize = offset_of!(CpuModel, cpu.tables.gdtr.base);
pub(super) const GDTR_LIMIT: usize = offset_of!(CpuModel, cpu.tables.gdtr.limit);
pub(super) const IDTR_BASE: usize = offset_of!(CpuModel, cpu.tables.idtr.base);
pub(super) const IDTR_LIMIT: usize = offset_of!(CpuModel, cpu.tables.idtr.limit);
pub(super) const GDT: usize = offset_of!(CpuModel, cpu.tables.gdt);
pub(super) const TR: usize = offset_of!(CpuModel, cpu.tables.tr);
const GDT_RW: usize = offset_of!(CpuModel, cpu.tables.gdt_rw);
const GDT_RO: usize = offset_of!(CpuModel, cpu.tables.gdt_ro);

/// Loads the task register, once per CPU.
pub struct LoadTrDesc;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model.
unsafe impl Op for LoadTrDesc {
    const META: OpMeta = OpMeta {
        name: "load_tr_desc",
        xen_kind: Kind::Real,
        prototype: "void (*load_tr_desc)(void)",
        purpose: "load the task register with the CPU's task-state segment",
        source: "arch/x86/include/asm/desc.h, native_load_tr_desc",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadTrDesc as usize;
    type Args = ();
    type Ret = ();

    // `ltr` marks the descriptor busy, so the register must hold the writable mapping meanwhile. The model needs
    // neither mapping: it writes to the table itself.
    native! {
        (); scratch("rax", "rcx");
        "mov rax, gs:[{gdt_ro}]",
        "xor ecx, ecx",
        "cmp gs:[{base}], rax",
        "jne 22f",
        "mov rcx, gs:[{gdt_rw}]",
        "mov gs:[{base}], rcx",
        "mov word ptr gs:[{limit}], {gdt_limit}",
        "mov ecx, 1",
        "22: mov word ptr gs:[{tr}], {selector}",
        "or byte ptr gs:[{tss} + 5], 2",
        "test ecx, ecx",
        "jz 23f",
        "mov gs:[{base}], rax",
        "mov word ptr gs:[{limit}], {gdt_limit}",
        "23:";
        gdt_ro = const GDT_RO, gdt_rw = const GDT_RW, base = const GDTR_BASE, limit = const GDTR_LIMIT,
        gdt_limit = const GDT_LIMIT, tr = const TR, selector = const GDT_ENTRY_TSS * 8,
        tss = const GDT + GDT_ENTRY_TSS * 8
    }

    /// `xen_cpu_ops`: `paravirt_nop`.
    #[inline(always)]
    unsafe fn xen((): ()) {}

    fn arguments(_: &mut CpuModel) {}
}

/// Loads the global descriptor table's register.
pub struct LoadGdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads ten bytes at the address
// that the caller gives; stores to the installed model.
unsafe impl Op for LoadGdt {
    const META: OpMeta = OpMeta {
        name: "load_gdt",
        prototype: "void (*load_gdt)(const struct desc_ptr *)",
        purpose: "load the register of the global descriptor table (lgdt)",
        source: "arch/x86/include/asm/desc.h, native_load_gdt",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadGdt as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (dtr: "rdi"); scratch("rax", "rcx");
        "movzx eax, word ptr [rdi]",
        "mov rcx, [rdi + 2]",
        "mov gs:[{limit}], ax",
        "mov gs:[{base}], rcx";
        limit = const GDTR_LIMIT, base = const GDTR_BASE
    }

    /// `xen_load_gdt`: makes the page read-only in its mapping and in the linear mapping, by two hypercalls, although
    /// both are one address in the model. Then it passes the machine frame to Xen.
    unsafe fn xen((dtr,): (u64,)) {
        // SAFETY: the caller's operand.
        let DescPtr { size, address } = unsafe { (dtr as *const DescPtr).read_unaligned() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        let pfn = xen.memory.virt_to_pfn(address);
        for _ in 0..2 {
            xen.hypercall(xen.direct_mapping(pfn, false));
        }
        let frame = xen.virt_to_machine(address) >> PAGE_SHIFT;
        xen.hypercall(Call::SetGdt { frame, entries: (u64::from(size) + 1) / 8 });
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        let tables = &mut cpu.cpu.tables;
        tables.operand = DescPtr { size: GDT_LIMIT, address: cpu.xen.memory.pfn_to_virt(guest::GDT) };
        (&raw const tables.operand as u64,)
    }
}

/// Loads the interrupt descriptor table's register.
pub struct LoadIdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads ten bytes at the address
// that the caller gives, in Xen also the table that they name; stores to the installed model.
unsafe impl Op for LoadIdt {
    const META: OpMeta = OpMeta {
        name: "load_idt",
        prototype: "void (*load_idt)(const struct desc_ptr *)",
        purpose: "load the register of the interrupt descriptor table (lidt)",
        source: "arch/x86/include/asm/desc.h, native_load_idt",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadIdt as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (dtr: "rdi"); scratch("rax", "rcx");
        "movzx eax, word ptr [rdi]",
        "mov rcx, [rdi + 2]",
        "mov gs:[{limit}], ax",
        "mov gs:[{base}], rcx";
        limit = const IDTR_LIMIT, base = const IDTR_BASE
    }

    /// `xen_load_idt`: converts every gate to an entry of a trap table, which ends with an empty entry. Only this CPU
    /// takes the table's lock in the model, so it never waits.
    unsafe fn xen((dtr,): (u64,)) {
        // SAFETY: the caller's operand.
        let desc = unsafe { (dtr as *const DescPtr).read_unaligned() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the gates, which may be the model's, are read.
        let tables = &mut unsafe { CpuModel::current() }.cpu.tables;
        tables.traps_lock.swap(1, Ordering::Acquire);
        tables.idt_desc = desc;
        let gates = desc.address as *const [u64; 2];
        let mut out = 0;
        for vector in 0..VECTORS.min((usize::from(desc.size) + 1) / 16) {
            // SAFETY: within the table that the caller names.
            let gate = unsafe { gates.add(vector).read_volatile() };
            // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the
            // only one.
            let cpu = &mut *unsafe { CpuModel::current() };
            if let Some(info) = trap::convert_gate(vector as u64, gate, &cpu.irq.stubs)
                && let Some(entry) = cpu.cpu.tables.traps.get_mut(out)
            {
                *entry = info;
                out += 1;
            }
        }
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let tables = &mut cpu.cpu.tables;
        if let Some(end) = tables.traps.get_mut(out) {
            *end = TrapInfo::default();
        }
        let table = tables.traps.as_ptr() as u64;
        cpu.xen.flush();
        cpu.xen.hypercall(Call::SetTrapTable { table, entries: out as u64 });
        cpu.cpu.tables.traps_lock.store(0, Ordering::Release);
    }

    /// The interrupt descriptor table of the model, with a gate for every vector.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        for (gate, &stub) in cpu.irq.idt.iter_mut().zip(&cpu.irq.stubs) {
            *gate = trap::interrupt_gate(stub);
        }
        let idt = &raw const cpu.irq.idt;
        cpu.cpu.tables.operand = DescPtr { size: (size_of_val(&cpu.irq.idt) - 1) as u16, address: idt as u64 };
        (&raw const cpu.cpu.tables.operand as u64,)
    }
}

/// Reads the task register.
pub struct StoreTr;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model.
unsafe impl Op for StoreTr {
    const META: OpMeta = OpMeta {
        name: "store_tr",
        xen_kind: Kind::Real,
        prototype: "unsigned long (*store_tr)(void)",
        purpose: "read the selector of the task-state segment (str)",
        source: "arch/x86/include/asm/desc.h, native_store_tr",
        ..CPU_OP
    };
    const SLOT: usize = Slot::StoreTr as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "movzx eax, word ptr gs:[{tr}]"; tr = const TR }

    /// `xen_store_tr`: returns 0, because a guest has no task register.
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        0
    }

    fn arguments(_: &mut CpuModel) {}
}
