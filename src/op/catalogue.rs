//! The built-in ops, in the order of Linux's structures: their slots, and a function that visits all of them.

pub use super::OpVisitor;
use super::{Ops, cpu, irq, lock, mmu, time};

/// All built-in ops, as a list of types.
pub struct All;

impl Ops for All {
    fn visit(visitor: &mut impl OpVisitor) {
        for_each(visitor);
    }
}

/// Declares the slots and [`for_each`] from one list, since types cannot be iterated over:
/// `catalogue! { irq::SaveFl, .. }` makes `Slot::SaveFl` and visits `irq::SaveFl`.
macro_rules! catalogue {
    ($($group:ident :: $op:ident),* $(,)?) => {
        /// The slot of each built-in op in the pv_ops table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub(crate) enum Slot { $($op),* }

        /// Visits every built-in op in slot order.
        pub fn for_each(visitor: &mut impl OpVisitor) {
            $(visitor.visit::<$group::$op>();)*
        }

        /// The number of built-in ops.
        pub const COUNT: usize = [$(Slot::$op),*].len();
    };
}

catalogue! {
    // Linux 6.1: struct pv_cpu_ops
    cpu::IoDelay,
    cpu::GetDebugreg,
    cpu::SetDebugreg,
    cpu::ReadCr0,
    cpu::WriteCr0,
    cpu::WriteCr4,
    cpu::LoadTrDesc,
    cpu::LoadGdt,
    cpu::LoadIdt,
    cpu::SetLdt,
    cpu::StoreTr,
    cpu::LoadTls,
    cpu::LoadGsIndex,
    cpu::WriteLdtEntry,
    cpu::WriteGdtEntry,
    cpu::WriteIdtEntry,
    cpu::AllocLdt,
    cpu::FreeLdt,
    cpu::LoadSp0,
    cpu::InvalidateIoBitmap,
    cpu::UpdateIoBitmap,
    cpu::Wbinvd,
    cpu::Cpuid,
    cpu::ReadMsr,
    cpu::WriteMsr,
    cpu::ReadMsrSafe,
    cpu::WriteMsrSafe,
    cpu::ReadPmc,
    cpu::StartContextSwitch,
    cpu::EndContextSwitch,
    // 2.6.30 only: struct pv_cpu_ops
    cpu::Clts,
    cpu::ReadCr4Safe,
    cpu::ReadCr4,
    cpu::ReadCr8,
    cpu::WriteCr8,
    cpu::StoreGdt,
    cpu::StoreIdt,
    cpu::SetIoplMask,
    cpu::ReadMsrAmd,
    cpu::ReadTsc,
    cpu::ReadTscp,
    cpu::IrqEnableSysexit,
    cpu::UsergsSysret64,
    cpu::UsergsSysret32,
    cpu::Iret,
    cpu::Swapgs,

    // Linux 6.1: struct pv_irq_ops
    irq::SaveFl,
    irq::IrqDisable,
    irq::IrqEnable,
    irq::SafeHalt,
    irq::Halt,
    // 2.6.30 only: struct pv_irq_ops and pv_apic_ops
    irq::InitIrq,
    irq::RestoreFl,
    irq::AdjustExceptionFrame,
    irq::SetupBootClock,
    irq::SetupSecondaryClock,
    irq::StartupIpiHook,

    // Linux 6.1: struct pv_mmu_ops
    mmu::FlushTlbUser,
    mmu::FlushTlbKernel,
    mmu::FlushTlbOneUser,
    mmu::FlushTlbMulti,
    mmu::TlbRemoveTable,
    mmu::ExitMmap,
    mmu::NotifyPageEncStatusChanged,
    mmu::ReadCr2,
    mmu::WriteCr2,
    mmu::ReadCr3,
    mmu::WriteCr3,
    mmu::ActivateMm,
    mmu::DupMmap,
    mmu::PgdAlloc,
    mmu::PgdFree,
    mmu::AllocPte,
    mmu::AllocPmd,
    mmu::AllocPud,
    mmu::AllocP4d,
    mmu::ReleasePte,
    mmu::ReleasePmd,
    mmu::ReleasePud,
    mmu::ReleaseP4d,
    mmu::SetPte,
    mmu::SetPmd,
    mmu::PtepModifyProtStart,
    mmu::PtepModifyProtCommit,
    mmu::PteVal,
    mmu::MakePte,
    mmu::PgdVal,
    mmu::MakePgd,
    mmu::SetPud,
    mmu::PmdVal,
    mmu::MakePmd,
    mmu::PudVal,
    mmu::MakePud,
    mmu::SetP4d,
    mmu::P4dVal,
    mmu::MakeP4d,
    mmu::SetPgd,
    mmu::LazyEnter,
    mmu::LazyLeave,
    mmu::LazyFlush,
    mmu::SetFixmap,
    // 2.6.30 only: struct pv_mmu_ops
    mmu::PagetableSetupStart,
    mmu::PagetableSetupDone,
    mmu::FlushTlbSingle,
    mmu::FlushTlbOthers,
    mmu::AllocPmdClone,
    mmu::SetPteAt,
    mmu::PteUpdate,
    mmu::PteUpdateDefer,
    mmu::SetPteAtomic,
    mmu::PteClear,
    mmu::PmdClear,
    mmu::KmapAtomicPte,

    // Linux 6.1: struct pv_lock_ops
    lock::QueuedSpinLockSlowpath,
    lock::QueuedSpinUnlock,
    lock::Wait,
    lock::Kick,
    lock::VcpuIsPreempted,
    // 2.6.30 only: struct pv_lock_ops
    lock::SpinIsLocked,
    lock::SpinIsContended,
    lock::SpinLock,
    lock::SpinLockFlags,
    lock::SpinTrylock,
    lock::SpinUnlock,

    // Linux 6.1: the static calls pv_sched_clock and pv_steal_clock
    time::SchedClock,
    time::StealClock,
    // 2.6.30 only: struct pv_time_ops
    time::TimeInit,
    time::GetWallclock,
    time::SetWallclock,
    time::GetTscKhz,

}

/// Slots from here on belong to ops outside the catalogue.
pub const FIRST_USER_SLOT: usize = 192;
/// The size of the table, in slots.
pub const SLOTS: usize = 512;

const _: () = assert!(COUNT <= FIRST_USER_SLOT);
