//! Conversion between page-table entries and their values: values hold the guest's frame numbers, entries the
//! machine's.

use std::marker::PhantomData;

use super::level::{Hook, Level, P4d, Pgd, Pmd, Pte, Pud};
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::guest;
use crate::op::{Bytes, Conventions, CpuModel, Kind, Op, OpMeta};

/// The catalogue entry: an identity on bare metal, with call sites that keep all registers; two table lookups in Xen.
const fn identity(hook: Hook, purpose: &'static str) -> OpMeta {
    OpMeta {
        name: hook.name,
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Identity,
        conventions: Conventions::CalleeSave,
        prototype: hook.prototype,
        purpose,
        source: hook.source,
        chains: true,
        ..MMU_OP
    }
}

/// Reads the value of an entry: its frame and flags.
pub struct Val<L>(PhantomData<L>);

/// `pte_val`
pub type PteVal = Val<Pte>;
/// `pmd_val`
pub type PmdVal = Val<Pmd>;
/// `pud_val`
pub type PudVal = Val<Pud>;
/// `p4d_val`
pub type P4dVal = Val<P4d>;
/// `pgd_val`
pub type PgdVal = Val<Pgd>;

// SAFETY: a register move; the Xen body reads its own tables, within their bounds.
unsafe impl<L: Level> Op for Val<L> {
    const META: OpMeta = identity(L::VAL, "the value of a page-table entry, in the guest's own frame numbers");
    const SLOT: usize = L::VAL.slot as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (entry: "rdi") -> "rax"; "mov rax, rdi" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_pte_val` and its siblings: `pte_mfn_to_pfn`. It looks up a present entry's machine
    /// frame in the hypervisor's table, and the result in the guest's table, to exclude foreign frames.
    unsafe fn xen((entry,): (u64,)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.p2m.value(entry)
    }

    /// A present entry that maps a page of the guest, as the hardware has it.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (cpu.xen.machine_entry(guest::DATA, guest::TABLE_FLAGS),)
    }
}

/// Makes an entry from its value.
pub struct Make<L>(PhantomData<L>);

/// `make_pte`
pub type MakePte = Make<Pte>;
/// `make_pmd`
pub type MakePmd = Make<Pmd>;
/// `make_pud`
pub type MakePud = Make<Pud>;
/// `make_p4d`
pub type MakeP4d = Make<P4d>;
/// `make_pgd`
pub type MakePgd = Make<Pgd>;

// SAFETY: a register move; the Xen body reads its own tables, within their bounds.
unsafe impl<L: Level> Op for Make<L> {
    const META: OpMeta = identity(L::MAKE, "a page-table entry from its value in the guest's own frame numbers");
    const SLOT: usize = L::MAKE.slot as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (value: "rdi") -> "rax"; "mov rax, rdi" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_make_pte` and its siblings: `pte_pfn_to_mfn`.
    unsafe fn xen((value,): (u64,)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.p2m.make(value)
    }

    /// The value of a present entry of a page of the guest.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (guest::DATA << 12 | guest::TABLE_FLAGS,)
    }
}
