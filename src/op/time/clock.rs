//! The scheduler's clock, and the time that a hypervisor gives to other guests (stolen time).

use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};

use super::{RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, pvclock};
use crate::native;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, catalogue::Slot};

/// `struct cyc2ns_data`: ns = offset + (cycles * mul >> shift)
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cyc2NsData {
    /// Multiplier.
    pub mul: u32,
    /// Shift, below 64.
    pub shift: u32,
    /// Offset, in ns.
    pub offset: u64,
}

/// `struct cyc2ns`: two copies, so that the copy being written is not the one being read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cyc2Ns {
    /// The copies; the lowest bit of `sequence` selects the one to read.
    pub data: [Cyc2NsData; 2],
    /// `seqcount_latch_t`
    pub sequence: u32,
}

impl Cyc2Ns {
    /// The conversion for a counter at 2 GHz, with boot at counter 0.
    pub(super) const fn new() -> Self {
        let half = Cyc2NsData { mul: 1 << 30, shift: 31, offset: 0 };
        Cyc2Ns { data: [half; 2], sequence: 0 }
    }
}

const MUL: usize = offset_of!(CpuModel, time.cyc2ns) + offset_of!(Cyc2NsData, mul);
const SHIFT: usize = offset_of!(CpuModel, time.cyc2ns) + offset_of!(Cyc2NsData, shift);
const OFFSET: usize = offset_of!(CpuModel, time.cyc2ns) + offset_of!(Cyc2NsData, offset);
const SEQUENCE: usize = offset_of!(CpuModel, time.cyc2ns.sequence);

// The body finds the second copy by shifting.
const _: () = assert!(size_of::<Cyc2NsData>() == 1 << 4 && offset_of!(Cyc2Ns, data) == 0);

/// Defaults of these ops. Both bodies are real, since clocks need no privilege; they are C functions, since 5.13 behind
/// a static call.
const CLOCK: OpMeta = OpMeta { group: Group::Time, native_kind: Kind::Real, xen_kind: Kind::Real, ..OpMeta::BASE };

/// Reads the nanoseconds since boot, for the scheduler.
pub struct SchedClock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the counter and the
// installed model; the sequence loop ends, because nobody writes meanwhile.
unsafe impl Op for SchedClock {
    const META: OpMeta = OpMeta {
        name: "sched_clock",
        prototype: "u64 pv_sched_clock(void)",
        purpose: "read the nanoseconds since boot, for the scheduler",
        source: "arch/x86/kernel/tsc.c, native_sched_clock",
        ..CLOCK
    };
    const SLOT: usize = Slot::SchedClock as usize;
    type Args = ();
    type Ret = u64;

    // rdtsc, then cycles_2_ns: reads the sequence, the copy that it selects, and the sequence again.
    native! {
        () -> "rax"; scratch("rcx", "rdx", "r8", "r9", "r10");
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "22: mov r8d, gs:[{sequence}]",
        "mov r9d, r8d",
        "and r9d, 1",
        "shl r9d, 4",
        "mov r10, gs:[r9 + {offset}]",
        "mov edx, gs:[r9 + {mul}]",
        "mov ecx, gs:[r9 + {shift}]",
        "cmp r8d, gs:[{sequence}]",
        "jne 22b",
        "mul rdx",
        "shrd rax, rdx, cl",
        "add rax, r10";
        sequence = const SEQUENCE, offset = const OFFSET, mul = const MUL, shift = const SHIFT
    }

    /// `arch/x86/xen/time.c`, `xen_sched_clock`.
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let time = &unsafe { CpuModel::current() }.time;
        pvclock::read(time).wrapping_sub(time.sched_clock_offset)
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.cyc2ns = Cyc2Ns::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
    }
}

/// Reads the nanoseconds in which a CPU could have run but did not.
pub struct StealClock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: zeroes rax; the Xen body reads
// the model.
unsafe impl Op for StealClock {
    const META: OpMeta = OpMeta {
        name: "steal_clock",
        prototype: "u64 pv_steal_clock(int cpu)",
        purpose: "read the nanoseconds that the hypervisor gave to other guests",
        source: "arch/x86/kernel/paravirt.c, native_steal_clock",
        ..CLOCK
    };
    const SLOT: usize = Slot::StealClock as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (cpu: "rdi") -> "rax"; "xor eax, eax" }

    /// `drivers/xen/time.c`, `xen_steal_clock`: copies the run-state area until the entry time is the same before and
    /// after. It adds the times from before the guest's last suspend, and returns runnable plus offline time.
    unsafe fn xen((number,): (u64,)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let time = &unsafe { CpuModel::current() }.time;
        let Some((area, old)) = usize::try_from(number)
            .ok()
            .and_then(|number| time.runstate.get(number).zip(time.old_runstate_time.get(number)))
        else {
            return 0;
        };
        /// `XEN_RUNSTATE_UPDATE`: set while Xen writes.
        const UPDATE: u64 = 1 << 63;
        let entry_time = &raw const area.entry_time;
        let mut snapshot = loop {
            // SAFETY: a field of the borrowed area; volatile, because the hypervisor writes it.
            let before = unsafe { entry_time.read_volatile() };
            fence(Ordering::Acquire);
            // SAFETY: a field of the borrowed area; volatile, because the hypervisor writes it.
            let snapshot = unsafe { (&raw const *area).read_volatile() };
            fence(Ordering::Acquire);
            // SAFETY: a field of the borrowed area; volatile, because the hypervisor writes it.
            if unsafe { entry_time.read_volatile() } == before && before & UPDATE == 0 {
                break snapshot;
            }
        };
        for (time, old) in snapshot.time.iter_mut().zip(old) {
            *time = time.wrapping_add(*old);
        }
        snapshot.time[RUNSTATE_RUNNABLE as usize].wrapping_add(snapshot.time[RUNSTATE_OFFLINE as usize])
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.time.runstate = Default::default();
        (0,)
    }
}
