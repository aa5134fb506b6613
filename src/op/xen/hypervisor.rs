//! The hypervisor's side of a hypercall: it checks the arguments as Xen does, keeps the state that they set, and counts
//! calls.
//!
//! The cost of a trap into the hypervisor is not modelled: on a real machine it belongs to the hardware and Xen, and is
//! the same for every mechanism. Sources: Xen's `xen/arch/x86/mm.c`, `traps.c`, `pv/descriptor-tables.c`,
//! `pv/misc-hypercalls.c`, `physdev.c`, `xen/common/sched/core.c`, `xen/common/event_channel.c`.

use super::frames::{EINVAL, EPERM, FrameType, Frames, Tables};
use super::memory::PAGE_SHIFT;
use super::p2m::P2m;
use super::{Call, CallKind, MmuExtCmd, UVMF_INVLPG, UVMF_TLB_FLUSH, XenVcpu};

/// `-ENOENT`: the virtual CPU does not exist.
const ENOENT: i64 = -2;
/// `-ENODEV`: the debug register does not exist.
const ENODEV: i64 = -19;
/// `NR_EVENT_CHANNELS` of a 64-bit guest.
const PORTS: u64 = 64 * 64;
/// `FIRST_RESERVED_GDT_ENTRY`: the maximum number of the guest's entries in the global descriptor table.
const MAX_GDT_ENTRIES: u64 = 14 * 512;
/// The maximum number of entries of a local descriptor table.
const MAX_LDT_ENTRIES: u64 = 8192;
/// The Xen version that this model reports: 4.17.
const VERSION: i64 = 4 << 16 | 17;
/// `MMU_MACHPHYS_UPDATE`: a kind of update, in the low bits of the address.
const MACHPHYS: u64 = 1;
/// `MMU_PT_UPDATE_PRESERVE_AD`: a kind of update, in the low bits of the address. The entry keeps its accessed and
/// dirty bits.
pub const PRESERVE_AD: u64 = 2;
/// `_PAGE_ACCESSED | _PAGE_DIRTY`
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;

/// The hypervisor's state of one domain with one virtual CPU: counts of calls, and the values that calls have set.
pub struct Hypervisor {
    counts: [u64; CallKind::COUNT],
    mmuext: [u64; MmuExtCmd::COUNT],
    /// The number of refused calls.
    pub refused: u64,
    /// The number of multicalls of several entries; the calls in them are counted, too.
    pub multicalls: u64,
    /// The number of stores of the guest that trapped and were emulated.
    pub emulated: u64,
    /// How often pending events were delivered.
    pub upcalls: u64,
    /// The state of the machine's frames.
    pub frames: Frames,
    /// Machine frame of the page-table root.
    pub base: u64,
    /// Machine frame of user mode's root; 0 if there is none.
    pub user_base: u64,
    /// The number of requested flushes of the whole TLB, remote ones included.
    pub tlb_flushes: u64,
    /// The address whose translation was dropped last.
    pub invalidated: u64,
    /// The CPUs of the last remote flush, a bit each.
    pub flushed_cpus: u64,
    /// Address and number of entries of the trap table.
    pub trap_table: (u64, u64),
    /// Machine frame and number of entries of the global descriptor table.
    pub gdt: (u64, u64),
    /// Address and number of entries of the local descriptor table.
    pub ldt: (u64, u64),
    /// Machine address and value of the descriptor written last.
    pub descriptor: (u64, u64),
    /// The kernel stack: selector and pointer.
    pub stack: (u64, u64),
    /// Whether the next use of the FPU traps.
    pub fpu_ts: bool,
    /// `DR0` to `DR7`
    pub debugreg: [u64; 8],
    /// Bases by `SEGBASE_*`: fs, user's gs, kernel's gs, the selector of user's gs.
    pub segment_base: [u64; 4],
    /// I/O privilege level.
    pub iopl: u64,
    /// Address and number of ports of the I/O bitmap.
    pub iobitmap: (u64, u64),
    /// A bit per event channel that was notified.
    pub notified: [u64; PORTS as usize / 64],
    /// The event channel that was polled last; 0 before the first poll, since Xen never assigns channel 0.
    pub polled: u64,
    /// A bit per virtual CPU that is down.
    pub down: u64,
}

impl Hypervisor {
    /// The state of a new domain: all values 0, except DR6 and DR7, which are as after reset.
    #[must_use]
    pub(crate) fn new(p2m: &P2m) -> Self {
        Hypervisor {
            counts: [0; CallKind::COUNT],
            mmuext: [0; MmuExtCmd::COUNT],
            refused: 0,
            multicalls: 0,
            emulated: 0,
            upcalls: 0,
            frames: Frames::new(p2m),
            base: 0,
            user_base: 0,
            tlb_flushes: 0,
            invalidated: 0,
            flushed_cpus: 0,
            trap_table: (0, 0),
            gdt: (0, 0),
            ldt: (0, 0),
            descriptor: (0, 0),
            stack: (0, 0),
            fpu_ts: false,
            debugreg: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            segment_base: [0; 4],
            iopl: 0,
            iobitmap: (0, 0),
            notified: [0; PORTS as usize / 64],
            polled: 0,
            down: 0,
        }
    }

    /// The number of calls of a kind, refused ones included.
    #[must_use]
    pub fn count(&self, kind: CallKind) -> u64 {
        self.counts[kind as usize]
    }

    /// The number of `mmuext_op`s of a command.
    #[must_use]
    pub fn mmuext_count(&self, cmd: MmuExtCmd) -> u64 {
        self.mmuext[cmd as usize]
    }

    /// The number of all calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether an event channel was notified.
    #[must_use]
    pub fn was_notified(&self, port: u64) -> bool {
        self.notified.get(port as usize / 64).is_some_and(|word| word >> (port % 64) & 1 != 0)
    }

    /// Sets the counts to 0.
    pub fn reset_counts(&mut self) {
        (self.counts, self.mmuext) = ([0; CallKind::COUNT], [0; MmuExtCmd::COUNT]);
        (self.refused, self.multicalls, self.emulated, self.upcalls) = (0, 0, 0, 0);
    }

    /// `do_set_debugreg`: allows breakpoints only at user addresses. DR4 and DR5 do not exist; the fixed bits of DR6
    /// and DR7 stay.
    fn set_debugreg(&mut self, reg: u64, value: u64) -> Result<i64, i64> {
        let value = match reg {
            0..=3 if value < 1 << 47 => value,
            0..=3 => return Err(EPERM),
            4 | 5 => return Err(ENODEV),
            6 => value & 0xe00f | 0xffff_0ff0,
            7 if value >> 32 != 0 || value & 1 << 13 != 0 => return Err(EINVAL),
            7 => value & !0xd000 | 0x400,
            _ => return Err(EINVAL),
        };
        self.debugreg[reg as usize] = value;
        Ok(0)
    }
}

/// Whether bits 63 to 47 of an address are equal.
fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// `check_descriptor`: whether a descriptor is absent, or a code or data segment, or a call gate. System segments
/// belong to Xen.
fn is_valid_descriptor(descriptor: u64) -> bool {
    let (present, segment) = (descriptor >> 47 & 1 != 0, descriptor >> 44 & 1 != 0);
    let kind = descriptor >> 40 & 0xf;
    !present || segment || kind == 0xc
}

fn require(holds: bool, errno: i64) -> Result<i64, i64> {
    if holds { Ok(0) } else { Err(errno) }
}

impl XenVcpu {
    /// Makes a hypercall at once. Returns Xen's result: 0 or a value, or a negative errno.
    pub fn hypercall(&mut self, call: Call) -> i64 {
        self.hypervisor.counts[call.kind() as usize] += 1;
        match self.serve(call) {
            Ok(result) => result,
            Err(errno) => {
                self.hypervisor.refused += 1;
                errno
            }
        }
    }

    pub(super) fn tables(&mut self) -> Tables<'_> {
        Tables { frames: &mut self.hypervisor.frames, memory: &self.memory, p2m: &self.p2m }
    }

    fn serve(&mut self, call: Call) -> Result<i64, i64> {
        match call {
            Call::MmuUpdate { ptr, val } => self.mmu_update(ptr, val),
            Call::UpdateVaMapping { va, val, flags } => self.update_va_mapping(va, val, flags),
            Call::MmuExt { cmd, arg1, arg2 } => self.mmuext(cmd, arg1, arg2),
            Call::UpdateDescriptor { ma, desc } => self.update_descriptor(ma, desc),
            Call::SetGdt { frame, entries } => {
                require(entries <= MAX_GDT_ENTRIES, EINVAL)?;
                self.tables().get_type(frame, FrameType::SegmentDescriptors)?;
                let old = std::mem::replace(&mut self.hypervisor.gdt, (frame, entries));
                if old.0 != 0 {
                    self.tables().put_type(old.0);
                }
                Ok(0)
            }
            Call::SchedBlock => {
                self.info.evtchn_upcall_mask = 0;
                self.deliver();
                Ok(0)
            }
            Call::XenVersion => {
                self.deliver();
                Ok(VERSION)
            }
            other => self.hypervisor.set_cpu_state(other),
        }
    }

    /// Delivers pending events unless they are masked: an upcall clears and counts them.
    fn deliver(&mut self) {
        if self.info.evtchn_upcall_mask == 0 && self.info.evtchn_upcall_pending != 0 {
            self.info.evtchn_upcall_pending = 0;
            self.hypervisor.upcalls += 1;
        }
    }

    fn mmu_update(&mut self, ptr: u64, val: u64) -> Result<i64, i64> {
        let preserve = match ptr & 7 {
            0 => 0,
            PRESERVE_AD => ACCESSED_DIRTY,
            // The model's guest never moves its tables, so nothing updates the hypervisor's translation.
            MACHPHYS => return Err(EPERM),
            _ => return Err(EINVAL),
        };
        self.tables().update(ptr & !7, val, preserve)?;
        Ok(0)
    }

    fn update_va_mapping(&mut self, va: u64, val: u64, flags: u64) -> Result<i64, i64> {
        let (pfn, base) = (self.memory.virt_to_pfn(va), self.hypervisor.base);
        let mut tables = self.tables();
        if tables.frames.direct(pfn).is_some() {
            tables.update_direct(pfn, val)?;
        } else {
            let entry = tables.walk(base, va)?;
            tables.update(entry, val, 0)?;
        }
        match flags & (UVMF_TLB_FLUSH | UVMF_INVLPG) {
            UVMF_TLB_FLUSH => self.hypervisor.tlb_flushes += 1,
            UVMF_INVLPG => self.hypervisor.invalidated = va,
            _ => {}
        }
        Ok(0)
    }

    fn mmuext(&mut self, cmd: MmuExtCmd, arg1: u64, arg2: u64) -> Result<i64, i64> {
        self.hypervisor.mmuext[cmd as usize] += 1;
        match cmd {
            MmuExtCmd::PinL1Table => self.tables().pin(arg1, FrameType::L1)?,
            MmuExtCmd::PinL2Table => self.tables().pin(arg1, FrameType::L2)?,
            MmuExtCmd::PinL3Table => self.tables().pin(arg1, FrameType::L3)?,
            MmuExtCmd::PinL4Table => self.tables().pin(arg1, FrameType::L4)?,
            MmuExtCmd::UnpinTable => self.tables().unpin(arg1)?,
            MmuExtCmd::NewBaseptr => self.set_base(arg1)?,
            MmuExtCmd::NewUserBaseptr => self.set_user_base(arg1)?,
            MmuExtCmd::TlbFlushLocal => self.hypervisor.tlb_flushes += 1,
            MmuExtCmd::TlbFlushMulti => {
                self.hypervisor.tlb_flushes += 1;
                self.hypervisor.flushed_cpus = arg2;
            }
            MmuExtCmd::InvlpgLocal | MmuExtCmd::InvlpgMulti => {
                require(is_canonical(arg1), EINVAL)?;
                self.hypervisor.invalidated = arg1;
                if cmd == MmuExtCmd::InvlpgMulti {
                    self.hypervisor.flushed_cpus = arg2;
                }
            }
            MmuExtCmd::FlushCache => {}
            MmuExtCmd::SetLdt => {
                require(arg1.is_multiple_of(1 << PAGE_SHIFT) && is_canonical(arg1) && arg2 <= MAX_LDT_ENTRIES, EINVAL)?;
                self.hypervisor.ldt = (arg1, arg2);
            }
        }
        Ok(0)
    }

    /// `new_guest_cr3`: adds a use of the new root, and releases the former one.
    fn set_base(&mut self, mfn: u64) -> Result<(), i64> {
        let old = self.hypervisor.base;
        if mfn != old {
            self.tables().get_type(mfn, FrameType::L4)?;
            self.hypervisor.base = mfn;
            if old != 0 {
                self.tables().put_type(old);
            }
        }
        self.hypervisor.tlb_flushes += 1;
        Ok(())
    }

    fn set_user_base(&mut self, mfn: u64) -> Result<(), i64> {
        let old = self.hypervisor.user_base;
        if mfn != old {
            if mfn != 0 {
                self.tables().get_type(mfn, FrameType::L4)?;
            }
            self.hypervisor.user_base = mfn;
            if old != 0 {
                self.tables().put_type(old);
            }
        }
        Ok(())
    }

    /// `do_update_descriptor`: the frame must belong to the domain, and must hold descriptors, be writable, or be
    /// unused.
    fn update_descriptor(&mut self, ma: u64, desc: u64) -> Result<i64, i64> {
        require(ma.is_multiple_of(8) && is_valid_descriptor(desc), EINVAL)?;
        let (mfn, index) = (ma >> PAGE_SHIFT, (ma as usize & 0xfff) / 8);
        let tables = self.tables();
        match tables.frames.get(mfn) {
            Some(frame)
                if frame.owner == super::frames::Owner::Domain
                    && matches!(frame.kind, FrameType::None | FrameType::Writable | FrameType::SegmentDescriptors) => {}
            _ => return Err(EINVAL),
        }
        let pfn = tables.p2m.machine_to_phys(mfn);
        tables.memory.write(pfn, index, desc).ok_or(EINVAL)?;
        self.hypervisor.descriptor = (ma, desc);
        Ok(0)
    }
}

impl Hypervisor {
    /// Serves the calls that set or read one value of the virtual CPU.
    fn set_cpu_state(&mut self, call: Call) -> Result<i64, i64> {
        match call {
            Call::SetTrapTable { table, entries } => {
                require(entries <= 256, EINVAL)?;
                self.trap_table = (table, entries);
            }
            Call::StackSwitch { ss, sp } => self.stack = (ss | 3, sp),
            Call::FpuTaskswitch { set } => self.fpu_ts = set,
            Call::SetDebugreg { reg, val } => return self.set_debugreg(reg, val),
            Call::GetDebugreg { reg } => return self.debugreg.get(reg as usize).map(|&v| v as i64).ok_or(EINVAL),
            Call::SetSegmentBase { which, base } => {
                let slot = self.segment_base.get_mut(which as usize).ok_or(EINVAL)?;
                require(which == 3 || is_canonical(base), EINVAL)?;
                *slot = base;
            }
            Call::SetIopl { iopl } => {
                require(iopl <= 3, EINVAL)?;
                self.iopl = iopl;
            }
            Call::SetIobitmap { bitmap, ports } => {
                require(ports <= 65536, EINVAL)?;
                self.iobitmap = (bitmap, ports);
            }
            Call::SchedPoll { port } => {
                require(port < PORTS, EINVAL)?;
                self.polled = port;
            }
            Call::EvtchnSend { port } => {
                *self.notified.get_mut(port as usize / 64).ok_or(EINVAL)? |= 1 << (port % 64);
            }
            Call::VcpuDown { vcpu } => {
                require(vcpu < 64, ENOENT)?;
                self.down |= 1 << vcpu;
            }
            // `iret` returns to the interrupted code and changes no state here. `serve` handles the other calls, which
            // concern memory and events.
            _ => {}
        }
        Ok(0)
    }
}
