//! Batching of hypercalls: `arch/x86/xen/multicalls.c`.

use super::{Call, LazyMode, MmuExtCmd, XenVcpu};

/// `MC_BATCH`: the maximum number of entries in a batch.
pub const BATCH: usize = 32;
/// `MC_ARGS`: bytes for the arguments that entries point to. As in Linux, a call that would fill the last byte first
/// sends the batch out.
pub const ARGUMENT_BYTES: usize = BATCH * 16;
/// The maximum number of calls in a batch. Every entry holds one call; each further call that shares an entry takes at
/// least 16 of [`ARGUMENT_BYTES`].
const MAX_CALLS: usize = 2 * BATCH;

/// `struct mc_buffer`, a per-CPU variable.
///
/// An entry is one hypercall. An `mmu_update` or `mmuext_op` takes an array of updates or operations, so several of
/// them can share an entry.
pub struct Multicall {
    calls: [Call; MAX_CALLS],
    /// A bit per call: set if it shares the entry of the call before it.
    shared: u64,
    /// The number of calls.
    len: usize,
    /// The number of entries (`mcidx`).
    entries: usize,
    /// Bytes of arguments that the entries point to (`argidx`).
    argument_bytes: usize,
    /// The number of batched calls that the hypervisor refused: Linux warns of each.
    pub failed: u64,
    /// The number of batches sent.
    pub(crate) flushes: u64,
}

impl Multicall {
    /// An empty batch.
    #[must_use]
    pub(crate) fn new() -> Self {
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

    /// The batched calls that are not yet sent.
    #[must_use]
    pub fn pending(&self) -> &[Call] {
        self.calls.get(..self.len).unwrap_or(&[])
    }

    /// The number of entries of the batch.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    fn push(&mut self, call: Call, shared: bool) {
        if let Some(slot) = self.calls.get_mut(self.len) {
            *slot = call;
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

/// The bytes that a call needs outside its entry: `struct mmu_update`, `struct mmuext_op` (a remote flush has the CPU
/// mask behind it), or a list of one frame. The other calls that Linux batches have their arguments in the entry.
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
    /// `xen_mc_entry`: adds a call to the batch in its own entry. If the entries or the argument bytes are used up, it
    /// first sends the batch.
    #[inline]
    pub fn append(&mut self, call: Call) {
        let collected = &self.multicall;
        if collected.entries >= BATCH || collected.argument_bytes + argument_bytes(&call) >= ARGUMENT_BYTES {
            self.flush();
        }
        self.multicall.push(call, false);
    }

    /// `xen_extend_mmu_update` and `xen_extend_mmuext_op` (`arch/x86/xen/mmu_pv.c`): as [`XenVcpu::append`], but the
    /// call shares the last entry if that is the same hypercall and the argument bytes suffice.
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

    /// `xen_mc_issue`: sends the batch, unless updates of `mode` are batched.
    #[inline]
    pub(crate) fn issue(&mut self, mode: LazyMode) {
        if self.lazy as u64 & mode as u64 == 0 {
            self.flush();
        }
    }

    /// `xen_mc_flush`: sends the batch, with events masked meanwhile. A single entry is sent as its own hypercall,
    /// several in one `multicall`. If the hypervisor refuses one of several updates that share an entry, it skips those
    /// behind it (Xen's `do_mmu_update`, `do_mmuext_op`) and serves the other entries.
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

    /// `xen_mc_batch`: masks events, so that none is delivered between the calls of a batch. Returns the former mask,
    /// for [`XenVcpu::restore_events`].
    #[inline]
    pub(crate) fn mask_events(&mut self) -> u8 {
        std::mem::replace(&mut self.info.evtchn_upcall_mask, 1)
    }

    /// `local_irq_restore` at the end of a batch: restores the mask. A hypercall delivers events that arrived
    /// meanwhile.
    #[inline]
    pub(crate) fn restore_events(&mut self, mask: u8) {
        self.info.evtchn_upcall_mask = mask;
        if mask == 0 && self.info.evtchn_upcall_pending != 0 {
            self.hypercall(Call::XenVersion);
        }
    }

    /// `xen_mc_batch`, `xen_mc_entry` (for page-table updates `xen_extend_mmu_update`) and `xen_mc_issue`: adds a call
    /// to the batch. Unless updates of `mode` are batched, it sends the whole batch at once.
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
