//! Writing an entry of a descriptor table.

use super::table::DescPtr;
use super::trap::{self, TrapInfo};
use super::{CPU_OP, end_batching, ldt};
use crate::native;
use crate::op::xen::{Call, guest};
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `DESC_TSS`: the type of a task-state segment, which takes two entries.
pub const DESC_TSS: u64 = 9;
/// `DESC_LDT`: the type of a local descriptor table, which takes two entries.
pub const DESC_LDT: u64 = 2;
/// `DESCTYPE_S`: anything else.
pub const DESCTYPE_S: u64 = 0x10;

/// The first slot of thread-local storage in a local table: flat, writable data.
const FLAT_DATA: u64 = 0x00cf_f300_0000_ffff;

/// Sends the batch, then makes the hypercall `HYPERVISOR_update_descriptor`, which copies `*desc` to `table[entry]`.
///
/// # Safety
/// `desc` points to eight bytes; the rest as for [`CpuModel::current`].
unsafe fn update_descriptor(table: u64, entry: u64, desc: u64) {
    // SAFETY: the caller's descriptor.
    let desc = unsafe { (desc as *const u64).read_unaligned() };
    // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only one.
    let xen = &mut unsafe { CpuModel::current() }.xen;
    let ma = xen.virt_to_machine(entry_address(table, entry, 8));
    xen.flush();
    xen.hypercall(Call::UpdateDescriptor { ma, desc });
}

/// The address `&table[entry]`, for an `int` in the register and entries of `bytes` bytes.
fn entry_address(table: u64, entry: u64, bytes: i64) -> u64 {
    table.wrapping_add_signed(i64::from(entry as i32) * bytes)
}

/// Writes an entry of a local descriptor table: `modify_ldt`.
pub struct WriteLdtEntry;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads eight bytes and writes
// eight, at the addresses that the caller gives.
unsafe impl Op for WriteLdtEntry {
    const META: OpMeta = OpMeta {
        name: "write_ldt_entry",
        native_kind: Kind::Real,
        prototype: "void (*write_ldt_entry)(struct desc_struct *ldt, int entrynum, const void *desc)",
        purpose: "write an entry of a local descriptor table",
        source: "arch/x86/include/asm/desc.h, native_write_ldt_entry",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteLdtEntry as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! {
        (ldt: "rdi", entrynum: "rsi", desc: "rdx"); scratch("rax", "rcx");
        "movsxd rcx, esi",
        "mov rax, [rdx]",
        "mov [rdi + rcx*8], rax"
    }

    /// `xen_write_ldt_entry`: a hypercall, because the table is read-only to the guest.
    unsafe fn xen((ldt, entrynum, desc): (u64, u64, u64)) {
        // SAFETY: `update_descriptor` has the contract of this function, which the caller meets.
        unsafe { update_descriptor(ldt, entrynum, desc) };
    }

    /// A table in use, which is read-only since `alloc_ldt`.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        end_batching(cpu);
        ldt::protect(&mut cpu.xen, false);
        let tables = &mut cpu.cpu.tables;
        tables.entry = [FLAT_DATA, 0];
        (cpu.xen.memory.pfn_to_virt(guest::LDT), 1, &raw const tables.entry as u64)
    }
}

/// Writes an entry of the global descriptor table.
pub struct WriteGdtEntry;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes at the
// addresses that the caller gives: 16 bytes for the two system types, otherwise 8.
unsafe impl Op for WriteGdtEntry {
    const META: OpMeta = OpMeta {
        name: "write_gdt_entry",
        native_kind: Kind::Real,
        prototype: "void (*write_gdt_entry)(struct desc_struct *, int entrynum, const void *desc, int size)",
        purpose: "write an entry of the global descriptor table",
        source: "arch/x86/include/asm/desc.h, native_write_gdt_entry",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteGdtEntry as usize;
    type Args = (u64, u64, u64, u64);
    type Ret = ();

    native! {
        (gdt: "rdi", entrynum: "rsi", desc: "rdx", kind: "rcx"); scratch("rax", "r8");
        "movsxd r8, esi",
        "mov rax, [rdx]",
        "mov [rdi + r8*8], rax",
        "cmp ecx, {tss}",
        "je 22f",
        "cmp ecx, {ldt}",
        "jne 23f",
        "22: mov rax, [rdx + 8]",
        "mov [rdi + r8*8 + 8], rax",
        "23:";
        tss = const DESC_TSS, ldt = const DESC_LDT
    }

    /// `xen_write_gdt_entry`: nothing for the two system types, because Xen has its own task-state segment and a
    /// hypercall for local tables.
    unsafe fn xen((gdt, entrynum, desc, kind): (u64, u64, u64, u64)) {
        if !matches!(kind as u32 as u64, DESC_TSS | DESC_LDT) {
            // SAFETY: `update_descriptor` has the contract of this function, which the caller meets.
            unsafe { update_descriptor(gdt, entrynum, desc) };
        }
    }

    /// The entry that holds the CPU's number.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64, u64) {
        end_batching(cpu);
        let tables = &mut cpu.cpu.tables;
        tables.entry = [0x0040_f500_0000_0000, 0];
        (cpu.xen.memory.pfn_to_virt(guest::GDT), 15, &raw const tables.entry as u64, DESCTYPE_S)
    }
}

/// Writes an entry of the interrupt descriptor table.
pub struct WriteIdtEntry;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads 16 bytes and writes 16,
// at the addresses that the caller gives; in Xen also the installed model.
unsafe impl Op for WriteIdtEntry {
    const META: OpMeta = OpMeta {
        name: "write_idt_entry",
        native_kind: Kind::Real,
        prototype: "void (*write_idt_entry)(gate_desc *, int entrynum, const gate_desc *gate)",
        purpose: "write a gate of the interrupt descriptor table",
        source: "arch/x86/include/asm/desc.h, native_write_idt_entry",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteIdtEntry as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! {
        (idt: "rdi", entry: "rsi", gate: "rdx"); scratch("rax", "rcx");
        "movsxd rcx, esi",
        "shl rcx, 4",
        "mov rax, [rdx]",
        "mov [rdi + rcx], rax",
        "mov rax, [rdx + 8]",
        "mov [rdi + rcx + 8], rax"
    }

    /// `xen_write_idt_entry`: sends the batch, then writes the gate as on bare metal. If the table is in use, it also
    /// passes the gate to Xen.
    unsafe fn xen((idt, entry, gate): (u64, u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the table, which may be the model's, is written.
        unsafe { CpuModel::current() }.xen.flush();
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline((idt, entry, gate)) };
        // SAFETY: the caller's gate.
        let gate = unsafe { (gate as *const [u64; 2]).read_unaligned() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let DescPtr { size, address } = cpu.cpu.tables.idt_desc;
        let target = entry_address(idt, entry, 16);
        let end = address.wrapping_add(u64::from(size) + 1);
        if target >= address
            && target.wrapping_add(8) <= end
            && let Some(info) = trap::convert_gate(entry, gate, &cpu.irq.stubs)
        {
            let table = [info, TrapInfo::default()];
            cpu.xen.hypercall(Call::SetTrapTable { table: table.as_ptr() as u64, entries: 1 });
        }
    }

    /// An interrupt's gate in the table in use.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        end_batching(cpu);
        let idt = &raw mut cpu.irq.idt as u64;
        let tables = &mut cpu.cpu.tables;
        tables.idt_desc = DescPtr { size: (size_of_val(&cpu.irq.idt) - 1) as u16, address: idt };
        tables.entry = trap::interrupt_gate(cpu.irq.stubs[0x30]);
        (idt, 0x30, &raw const tables.entry as u64)
    }
}
