//! Batching of hypercalls: `arch/x86/xen/multicalls.c`.

use super::{Call, LazyMode, MmuExtCmd, XenVcpu};

/// `MC_BATCH`: how many entries are collected at most.
pub const BATCH: usize = 32;
/// `MC_ARGS`: bytes for what the entries point to. As in Linux, what would fill them to the last sends the batch out.
pub const ARGUMENT_BYTES: usize = BATCH * 16;
/// How many calls can be collected at most: every entry holds one, and one that shares an entry with the call before it
/// takes 16 of the bytes above or more.
const MAX_CALLS: usize = 2 * BATCH;

/// `struct mc_buffer`, a per-CPU variable.
///
/// An entry is one hypercall. An `mmu_update` or `mmuext_op` takes an array of updates or operations, so several of
/// them can share an entry.
pub struct Multicall {
    calls: [Call; MAX_CALLS],
    /// A bit per call: it shares the entry of the call before it.
    shared: u64,
    /// How many calls.
    len: usize,
    /// How many entries (`mcidx`).
    entries: usize,
    /// Bytes that the entries point to (`argidx`).
    argument_bytes: usize,
    /// How many entries of a batch the hypervisor refused: Linux warns of each.
    pub failed: u64,
    /// How many batches went out.
    pub flushes: u64,
}

impl Multicall {
    /// Nothing collected.
    #[must_use]
    pub fn new() -> Self {
        Multicall {
            calls: [Call::XenVersion; MAX_CALLS],
            shared: 0,
            len: 0,
            entries: 0,
            argument_bytes: 0,
            failed: 0,
            flushes: 0,
        }
    }

    /// What is collected and not yet out.
    #[must_use]
    pub fn pending(&self) -> &[Call] {
        self.calls.get(..self.len).unwrap_or(&[])
    }

    /// How many entries that makes.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    fn push(&mut self, call: Call, shared: bool) {
        if let Some(place) = self.calls.get_mut(self.len) {
            *place = call;
            self.shared |= u64::from(shared) << self.len;
            self.len += 1;
            self.entries += usize::from(!shared);
            self.argument_bytes += argument_bytes(&call);
        }
    }
}

impl Default for Multicall {
    fn default() -> Self {
        Self::new()
    }
}

/// The size of what an entry points to: `struct mmu_update`, `struct mmuext_op` (a remote flush has the CPU mask behind
/// it), a list of one frame. The other calls that Linux batches have their arguments in the entry itself.
#[inline]
fn argument_bytes(call: &Call) -> usize {
    match call {
        Call::MmuUpdate { .. } => 16,
        Call::MmuExt { cmd: MmuExtCmd::TlbFlushMulti | MmuExtCmd::InvlpgMulti, .. } => 32,
        Call::MmuExt { .. } => 24,
        Call::SetGdt { .. } => 8,
        _ => 0,
    }
}

impl XenVcpu {
    /// `xen_mc_entry`: collects a call in an entry of its own, after sending out those before it where either the
    /// entries or the bytes they point to are used up.
    #[inline]
    pub fn append(&mut self, call: Call) {
        let collected = &self.multicall;
        if collected.entries >= BATCH || collected.argument_bytes + argument_bytes(&call) >= ARGUMENT_BYTES {
            self.flush();
        }
        self.multicall.push(call, false);
    }

    /// `xen_extend_mmu_update` and `xen_extend_mmuext_op` (`arch/x86/xen/mmu_pv.c`): as [`XenVcpu::append`], but shares
    /// the last entry where that is the same hypercall and there is room.
    #[inline]
    pub fn extend(&mut self, call: Call) {
        let collected = &self.multicall;
        let bytes = argument_bytes(&call);
        let fits = bytes > 0 && collected.argument_bytes + bytes < ARGUMENT_BYTES;
        if fits && collected.pending().last().is_some_and(|last| last.kind() == call.kind()) {
            self.multicall.push(call, true);
        } else {
            self.append(call);
        }
    }

    /// `xen_mc_issue`: sends out what is collected unless `mode` is being batched.
    #[inline]
    pub fn issue(&mut self, mode: LazyMode) {
        if self.lazy as u64 & mode as u64 == 0 {
            self.flush();
        }
    }

    /// `xen_mc_flush`: sends out what is collected, with events masked meanwhile. A single entry goes out by itself,
    /// several in one `multicall`. Where the hypervisor refuses one of several updates that share an entry, it leaves
    /// out those behind it (Xen's `do_mmu_update`, `do_mmuext_op`); the other entries are served.
    pub fn flush(&mut self) {
        let Multicall { len, shared, entries, .. } = self.multicall;
        if len == 0 {
            return;
        }
        let mask = self.mask_events();
        (self.multicall.len, self.multicall.shared) = (0, 0);
        (self.multicall.entries, self.multicall.argument_bytes) = (0, 0);
        self.multicall.flushes += 1;
        self.hypervisor.multicalls += u64::from(entries > 1);
        let mut refused = false;
        for index in 0..len.min(MAX_CALLS) {
            if refused && shared >> index & 1 != 0 {
                continue;
            }
            let call = self.multicall.calls[index];
            refused = self.hypercall(call) < 0;
            self.multicall.failed += u64::from(refused);
        }
        self.restore_events(mask);
    }

    /// `xen_mc_batch`: no event may come between the calls of a batch. Returns what [`XenVcpu::restore_events`] takes.
    #[inline]
    pub fn mask_events(&mut self) -> u8 {
        std::mem::replace(&mut self.info.evtchn_upcall_mask, 1)
    }

    /// `local_irq_restore` at the end of a batch: what came in meanwhile is let in by a hypercall.
    #[inline]
    pub fn restore_events(&mut self, mask: u8) {
        self.info.evtchn_upcall_mask = mask;
        if mask == 0 && self.info.evtchn_upcall_pending != 0 {
            self.hypercall(Call::XenVersion);
        }
    }

    /// `xen_mc_batch`, `xen_mc_entry` (of page-table updates, `xen_extend_mmu_update`) and `xen_mc_issue`: appended to
    /// the multicall where `mode` is being batched, else out at once with all that was collected before it.
    #[inline]
    pub fn batched(&mut self, call: Call, mode: LazyMode) {
        let mask = self.mask_events();
        match call {
            Call::MmuUpdate { .. } => self.extend(call),
            _ => self.append(call),
        }
        self.issue(mode);
        self.restore_events(mask);
    }
}
