//! Batching of hypercalls: `arch/x86/xen/multicalls.c`.

use super::{Call, LazyMode, XenVcpu};

/// `MC_BATCH`: how many calls are collected at most.
pub const BATCH: usize = 32;

/// `struct mc_buffer`, a per-CPU variable.
///
/// Linux lets an `mmu_update` that follows another share its entry (`xen_extend_mmu_update`); here each has its own.
pub struct Multicall {
    entries: [Call; BATCH],
    len: usize,
    /// How many calls of a batch the hypervisor refused: Linux warns of each.
    pub failed: u64,
    /// How many batches went out.
    pub flushes: u64,
}

impl Multicall {
    /// Nothing collected.
    #[must_use]
    pub fn new() -> Self {
        Multicall { entries: [Call::XenVersion; BATCH], len: 0, failed: 0, flushes: 0 }
    }

    /// What is collected and not yet out.
    #[must_use]
    pub fn pending(&self) -> &[Call] {
        self.entries.get(..self.len).unwrap_or(&[])
    }
}

impl Default for Multicall {
    fn default() -> Self {
        Self::new()
    }
}

impl XenVcpu {
    /// `xen_mc_entry`: collects a call, after sending out those before it where the buffer is full.
    #[inline]
    pub fn append(&mut self, call: Call) {
        if self.multicall.len >= BATCH {
            self.flush();
        }
        if let Some(entry) = self.multicall.entries.get_mut(self.multicall.len) {
            *entry = call;
            self.multicall.len += 1;
        }
    }

    /// `xen_mc_issue`: sends out what is collected unless `mode` is being batched.
    #[inline]
    pub fn issue(&mut self, mode: LazyMode) {
        if self.lazy as u64 & mode as u64 == 0 {
            self.flush();
        }
    }

    /// `xen_mc_flush`: sends out what is collected, with events masked meanwhile. A single call goes out by itself,
    /// several in one `multicall`.
    pub fn flush(&mut self) {
        let len = self.multicall.len;
        if len == 0 {
            return;
        }
        let mask = std::mem::replace(&mut self.info.evtchn_upcall_mask, 1);
        self.multicall.len = 0;
        self.multicall.flushes += 1;
        self.hypervisor.multicalls += u64::from(len > 1);
        for index in 0..len.min(BATCH) {
            let call = self.multicall.entries[index];
            self.multicall.failed += u64::from(self.hypercall(call) < 0);
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

    /// `xen_mc_batch`, `xen_mc_entry` and `xen_mc_issue`: appended to the multicall where `mode` is being batched, else
    /// out at once with all that was collected before it.
    #[inline]
    pub fn batched(&mut self, call: Call, mode: LazyMode) {
        let mask = self.mask_events();
        self.append(call);
        self.issue(mode);
        self.restore_events(mask);
    }
}
