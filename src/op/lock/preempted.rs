//! Whether the hypervisor has preempted another CPU, so that spinning for its lock is useless.

use crate::native;
use crate::op::time::RUNSTATE_RUNNABLE;
use crate::op::{Bytes, Conventions, CpuModel, Group, Kind, Op, OpMeta, catalogue::Slot};

/// Tells whether another CPU can run but does not.
pub struct VcpuIsPreempted;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: zeroes rax; the Xen body reads
// the model.
unsafe impl Op for VcpuIsPreempted {
    const META: OpMeta = OpMeta {
        name: "vcpu_is_preempted",
        group: Group::Lock,
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Instruction,
        conventions: Conventions::CalleeSave,
        prototype: "bool (*vcpu_is_preempted)(long cpu)",
        purpose: "ask whether the CPU that holds a lock is preempted, so that spinning for it is useless",
        source: "arch/x86/kernel/paravirt-spinlocks.c, __native_vcpu_is_preempted",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::VcpuIsPreempted as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (cpu: "rdi") -> "rax"; "xor eax, eax" }

    /// `drivers/xen/time.c`, `xen_vcpu_stolen`: reads the run state that Xen writes to the guest's memory.
    unsafe fn xen((number,): (u64,)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let area = usize::try_from(number).ok().and_then(|number| cpu.time.runstate.get(number));
        // SAFETY: a reference to an initialised field; volatile, because the hypervisor writes it.
        area.is_some_and(|area| unsafe { (&raw const area.state).read_volatile() } == RUNSTATE_RUNNABLE) as u64
    }

    /// Another CPU that is running.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.time.runstate = Default::default();
        (1,)
    }
}
