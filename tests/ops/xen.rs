//! The Xen model: translation, batching, and the hypervisor's checks.

use pvbench::op::catalogue::{self, OpVisitor};
use pvbench::op::xen::frames::{EINVAL, EPERM, Owner};
use pvbench::op::xen::memory::{ENTRIES, GUEST_FRAMES, STORED_FRAMES};
use pvbench::op::xen::p2m::{IDENTITY, INVALID, MACHINE_FRAMES, MAX_FRAMES};
use pvbench::op::xen::*;
use pvbench::op::{CpuModel, Op, Ret};

const EMPTY: u64 = 0;

fn machine_address(xen: &XenVcpu, pfn: u64, index: usize) -> u64 {
    xen.virt_to_machine(xen.memory.entry(pfn, index))
}

fn machine_frame(xen: &XenVcpu, pfn: u64) -> u64 {
    xen.p2m.pfn_to_mfn(pfn)
}

fn update(xen: &mut XenVcpu, pfn: u64, index: usize, val: u64) -> i64 {
    let ptr = machine_address(xen, pfn, index);
    xen.hypercall(Call::MmuUpdate { ptr, val })
}

fn mmuext(xen: &mut XenVcpu, cmd: MmuExtCmd, arg1: u64) -> i64 {
    xen.hypercall(Call::MmuExt { cmd, arg1, arg2: 0 })
}

#[test]
fn after_boot_the_root_is_in_use_and_nothing_was_refused_or_counted() {
    let xen = XenVcpu::new();
    assert_eq!(
        (xen.hypervisor.base, xen.hypervisor.user_base),
        (machine_frame(&xen, guest::ROOT), machine_frame(&xen, guest::USER_ROOT))
    );
    assert_eq!((xen.hypervisor.calls(), xen.hypervisor.refused, xen.multicall.failed), (0, 0, 0));
    for (pfn, kind) in [
        (guest::ROOT, FrameType::L4),
        (guest::USER_ROOT, FrameType::L4),
        (guest::PUD, FrameType::L3),
        (guest::PMD, FrameType::L2),
        (guest::PTE, FrameType::L1),
        (guest::FIX_PUD, FrameType::L3),
        (guest::FIX_PMD, FrameType::L2),
        (guest::FIX_PTE, FrameType::L1),
        (guest::GDT, FrameType::SegmentDescriptors),
        (guest::LDT, FrameType::Writable),
        (guest::DATA, FrameType::Writable),
        (guest::NEW_ROOT, FrameType::Writable),
    ] {
        assert_eq!(xen.hypervisor.frames.get(machine_frame(&xen, pfn)).unwrap().kind, kind, "frame {pfn}");
    }
    assert_eq!(xen.hypervisor.gdt, (machine_frame(&xen, guest::GDT), 16));
    let descriptors: Vec<_> = (0..8).map_while(|index| xen.memory.read(guest::GDT, index)).collect();
    assert_eq!((&descriptors[..7], descriptors[7]), (&guest::SEGMENTS[..], 0));
}

#[test]
fn guest_and_machine_numbers_translate_one_to_one_in_both_directions() {
    let p2m = P2m::new();
    let mut seen = std::collections::HashSet::new();
    let mut moved = 0;
    for pfn in 0..GUEST_FRAMES as u64 {
        let mfn = p2m.pfn_to_mfn(pfn);
        assert!((mfn as usize) < MACHINE_FRAMES && seen.insert(mfn));
        assert_eq!(p2m.mfn_to_pfn(mfn), pfn);
        moved += usize::from(mfn != pfn);
    }
    assert!(moved > GUEST_FRAMES / 2);
}

#[test]
fn frames_beyond_memory_are_identity_then_missing_then_identity_again() {
    let p2m = P2m::new();
    let hole = GUEST_FRAMES as u64 + 5;
    assert_eq!((p2m.entry(hole), p2m.pfn_to_mfn(hole), p2m.mfn_to_pfn(hole)), (hole | IDENTITY, hole, hole));
    assert_eq!(p2m.pfn_to_mfn(GUEST_FRAMES as u64 + 512), INVALID);
    assert_eq!(p2m.pfn_to_mfn(MAX_FRAMES - 1), INVALID);
    assert_eq!(p2m.entry(MAX_FRAMES), MAX_FRAMES | IDENTITY);
    assert_eq!(p2m.mfn_to_pfn(GUEST_FRAMES as u64 + 512), INVALID);
}

#[test]
fn present_entries_are_translated_and_keep_their_flags() {
    let p2m = P2m::new();
    let value = 40 << 12 | 1 << 63 | 0x67;
    let entry = p2m.make(value);
    assert_eq!(entry, p2m.pfn_to_mfn(40) << 12 | 1 << 63 | 0x67);
    assert_eq!(p2m.value(entry), value);
    for absent in [0, 0x1234_5066] {
        assert_eq!((p2m.make(absent), p2m.value(absent)), (absent, absent));
    }
    assert_eq!(p2m.make((MAX_FRAMES - 1) << 12 | 1), 0, "a frame without a machine frame gives an empty entry");
    assert_eq!(p2m.value(2000 << 12 | 0x67), 0x66, "a frame of another domain reads as not present");
}

#[test]
fn a_foreign_frame_is_mapped_by_its_machine_number_and_reads_as_not_present() {
    let mut p2m = P2m::new();
    assert!(p2m.set_foreign(50, 3000));
    assert!(!p2m.set_foreign(GUEST_FRAMES as u64, 3000));
    assert_eq!(p2m.make(50 << 12 | 0x67), 3000 << 12 | 0x67);
    assert_eq!(p2m.value(3000 << 12 | 0x67), 0x66);
}

#[test]
fn addresses_translate_by_arithmetic_within_their_page() {
    let xen = XenVcpu::new();
    for pfn in [0, 5, STORED_FRAMES as u64 - 1] {
        let va = xen.memory.entry(pfn, 9);
        assert_eq!(xen.memory.virt_to_pfn(va), pfn);
        assert_eq!(xen.virt_to_machine(va), machine_frame(&xen, pfn) << 12 | 72);
    }
}

#[test]
fn calls_are_sent_at_once_unless_their_mode_is_batched() {
    let flush = Call::MmuExt { cmd: MmuExtCmd::TlbFlushLocal, arg1: 0, arg2: 0 };
    for (lazy, mode, at_once) in [
        (LazyMode::None, LazyMode::Mmu, true),
        (LazyMode::None, LazyMode::None, true),
        (LazyMode::Cpu, LazyMode::Mmu, true),
        (LazyMode::Mmu, LazyMode::Cpu, true),
        (LazyMode::Mmu, LazyMode::None, true),
        (LazyMode::Mmu, LazyMode::Mmu, false),
        (LazyMode::Cpu, LazyMode::Cpu, false),
    ] {
        let mut xen = XenVcpu::new();
        xen.lazy = lazy;
        xen.batched(flush, mode);
        assert_eq!(xen.hypervisor.calls(), u64::from(at_once), "{lazy:?} {mode:?}");
        assert_eq!(xen.multicall.pending().len(), usize::from(!at_once));
        xen.flush();
        assert_eq!(xen.hypervisor.tlb_flushes, 1);
        assert!(xen.multicall.pending().is_empty());
    }
}

#[test]
fn a_full_batch_is_sent_as_one_multicall_in_order() {
    let mut xen = XenVcpu::new();
    xen.lazy = LazyMode::Mmu;
    for number in 0..BATCH as u64 + 3 {
        xen.batched(Call::SetDebugreg { reg: 0, val: number }, LazyMode::Mmu);
    }
    assert_eq!(xen.hypervisor.count(CallKind::SetDebugreg), BATCH as u64);
    assert_eq!(xen.hypervisor.debugreg[0], BATCH as u64 - 1);
    assert_eq!((xen.hypervisor.multicalls, xen.multicall.pending().len()), (1, 3));
    xen.batched(Call::SetDebugreg { reg: 0, val: 77 }, LazyMode::Cpu);
    assert_eq!((xen.hypervisor.debugreg[0], xen.multicall.pending().len()), (77, 0));
}

/// Adds a page-table update to the batch, in lazy mode.
fn collect(xen: &mut XenVcpu, index: usize, val: u64) {
    let ptr = machine_address(xen, guest::PTE, index);
    xen.batched(Call::MmuUpdate { ptr, val }, LazyMode::Mmu);
}

#[test]
fn consecutive_updates_share_an_entry_until_another_call_comes() {
    let mut xen = XenVcpu::new();
    xen.lazy = LazyMode::Mmu;
    let entry = xen.machine_entry(guest::DATA, guest::TABLE_FLAGS);
    for index in 0..3 {
        collect(&mut xen, index, entry);
    }
    assert_eq!((xen.multicall.pending().len(), xen.multicall.entries()), (3, 1));
    xen.flush();
    assert_eq!(xen.hypervisor.multicalls, 0, "a single entry is not sent as a multicall");
    assert_eq!((xen.hypervisor.count(CallKind::MmuUpdate), xen.hypervisor.refused), (3, 0));
    assert_eq!(xen.memory.read(guest::PTE, 2), Some(entry));

    collect(&mut xen, 0, 0);
    xen.batched(Call::MmuExt { cmd: MmuExtCmd::TlbFlushLocal, arg1: 0, arg2: 0 }, LazyMode::Mmu);
    xen.batched(Call::MmuExt { cmd: MmuExtCmd::InvlpgLocal, arg1: 0, arg2: 0 }, LazyMode::Mmu);
    collect(&mut xen, 1, 0);
    assert_eq!((xen.multicall.pending().len(), xen.multicall.entries()), (4, 4), "each flush has its own entry");
    xen.flush();
    assert_eq!((xen.hypervisor.multicalls, xen.multicall.entries()), (1, 0));
    assert_eq!((xen.memory.read(guest::PTE, 0), xen.memory.read(guest::PTE, 1)), (Some(0), Some(0)));

    let pin = Call::MmuExt { cmd: MmuExtCmd::TlbFlushLocal, arg1: 0, arg2: 0 };
    xen.extend(pin);
    xen.extend(pin);
    xen.extend(Call::SetIopl { iopl: 1 });
    xen.extend(Call::SetIopl { iopl: 2 });
    assert_eq!(
        (xen.multicall.pending().len(), xen.multicall.entries()),
        (4, 3),
        "only calls with an array share an entry"
    );
}

#[test]
fn a_batch_is_sent_before_its_argument_bytes_are_used_up() {
    let flush = |cmd| Call::MmuExt { cmd, arg1: 0, arg2: 0 };
    let update = Call::MmuUpdate { ptr: machine_address(&XenVcpu::new(), guest::PTE, 0), val: EMPTY };
    for (call, bytes) in [(update, 16), (flush(MmuExtCmd::TlbFlushLocal), 24), (flush(MmuExtCmd::TlbFlushMulti), 32)] {
        let mut xen = XenVcpu::new();
        xen.lazy = LazyMode::Mmu;
        let fit = (ARGUMENT_BYTES - 1) / bytes;
        for _ in 0..fit {
            xen.batched(call, LazyMode::Mmu);
        }
        assert_eq!((xen.hypervisor.calls(), xen.multicall.pending().len()), (0, fit), "{call:?}");
        xen.batched(call, LazyMode::Mmu);
        assert_eq!((xen.hypervisor.calls(), xen.multicall.pending().len()), (fit as u64, 1), "{call:?}");
        assert_eq!(xen.hypervisor.refused, 0);
    }
}

#[test]
fn no_mix_of_calls_is_lost_or_reordered() {
    let mut xen = XenVcpu::new();
    xen.lazy = LazyMode::Mmu;
    let (mut collected, mut most) = (Vec::new(), 0);
    for number in 0..500 {
        // All entries but one have no argument bytes, and the last holds as many updates as fit: the maximum of calls.
        let call = if number % 62 < 31 {
            Call::StackSwitch { ss: 0, sp: number }
        } else {
            Call::MmuUpdate { ptr: machine_address(&xen, guest::PTE, number as usize), val: EMPTY }
        };
        let before = xen.hypervisor.calls();
        xen.batched(call, LazyMode::Mmu);
        if xen.hypervisor.calls() != before {
            assert_eq!(xen.hypervisor.calls() - before, collected.len() as u64);
            collected.clear();
        }
        collected.push(call);
        assert_eq!(xen.multicall.pending(), collected);
        assert!(xen.multicall.entries() <= BATCH);
        most = most.max(collected.len());
    }
    assert_eq!(most, 62);
}

#[test]
fn a_refused_update_skips_the_later_updates_of_its_entry_but_no_other_entry() {
    let mut xen = XenVcpu::new();
    xen.lazy = LazyMode::Mmu;
    let good = xen.machine_entry(guest::DATA, guest::TABLE_FLAGS);
    collect(&mut xen, 0, good);
    collect(&mut xen, 1, 2000 << 12 | 0x67);
    collect(&mut xen, 2, good);
    xen.append(Call::SetIopl { iopl: 2 });
    collect(&mut xen, 3, good);
    xen.flush();
    let read = |index| xen.memory.read(guest::PTE, index);
    assert_eq!([read(0), read(1), read(2), read(3)], [Some(good), Some(0), Some(0), Some(good)]);
    assert_eq!((xen.multicall.failed, xen.hypervisor.refused, xen.hypervisor.iopl), (1, 1, 2));
}

#[test]
fn a_refused_call_of_a_batch_is_counted_and_stops_no_other() {
    let mut xen = XenVcpu::new();
    xen.append(Call::SetIopl { iopl: 4 });
    xen.append(Call::SetIopl { iopl: 3 });
    xen.flush();
    assert_eq!((xen.multicall.failed, xen.hypervisor.refused, xen.hypervisor.iopl), (1, 1, 3));
}

#[test]
fn events_that_arrive_during_a_batch_are_delivered_at_its_end() {
    let mut xen = XenVcpu::new();
    xen.info.evtchn_upcall_pending = 1;
    xen.batched(Call::SetIopl { iopl: 1 }, LazyMode::Cpu);
    assert_eq!((xen.info.evtchn_upcall_mask, xen.info.evtchn_upcall_pending, xen.hypervisor.upcalls), (0, 0, 1));
    xen.info.evtchn_upcall_mask = 1;
    xen.info.evtchn_upcall_pending = 1;
    xen.batched(Call::SetIopl { iopl: 1 }, LazyMode::Cpu);
    assert_eq!(
        (xen.info.evtchn_upcall_mask, xen.info.evtchn_upcall_pending),
        (1, 1),
        "events that were masked before stay masked"
    );
}

#[test]
fn a_page_table_entry_may_map_only_the_guests_frames() {
    let mut xen = XenVcpu::new();
    let entry = xen.machine_entry(guest::DATA, guest::TABLE_FLAGS);
    assert_eq!(update(&mut xen, guest::PTE, 3, entry), 0);
    assert_eq!(xen.memory.read(guest::PTE, 3), Some(entry));
    assert_eq!(
        xen.hypervisor.frames.get(machine_frame(&xen, guest::DATA)).unwrap().uses,
        2,
        "the direct map and this entry use the frame"
    );
    assert_eq!(xen.hypervisor.frames.get(2000).unwrap().owner, Owner::Other);
    assert_eq!(update(&mut xen, guest::PTE, 3, 2000 << 12 | 0x67), EINVAL);
    assert_eq!(update(&mut xen, guest::PTE, 3, (MACHINE_FRAMES as u64) << 12 | 0x67), EPERM);
    assert_eq!(xen.memory.read(guest::PTE, 3), Some(entry), "a refused update changes nothing");
    assert_eq!(update(&mut xen, guest::PTE, 3, 0), 0);
    assert_eq!(xen.hypervisor.frames.get(machine_frame(&xen, guest::DATA)).unwrap().uses, 1);
}

#[test]
fn a_page_table_cannot_be_mapped_writable() {
    let mut xen = XenVcpu::new();
    let (writable, read_only) = (xen.machine_entry(guest::PMD, 0x67), xen.machine_entry(guest::PMD, 0x65));
    assert_eq!(update(&mut xen, guest::PTE, 3, writable), EINVAL);
    assert_eq!(update(&mut xen, guest::PTE, 3, read_only), 0);
    assert_eq!(xen.hypercall(xen.direct_mapping(guest::PTE, true)), EINVAL);
}

#[test]
fn an_entry_above_the_last_level_must_point_to_a_table_of_the_level_below() {
    let mut xen = XenVcpu::new();
    for (table, good, bad) in [
        (guest::PMD, guest::PTE, guest::PMD),
        (guest::PUD, guest::PMD, guest::PTE),
        (guest::ROOT, guest::PUD, guest::DATA),
    ] {
        let (good, bad) = (xen.machine_entry(good, 0x67), xen.machine_entry(bad, 0x67));
        assert_eq!(update(&mut xen, table, 7, good), 0);
        assert_eq!(update(&mut xen, table, 8, bad), EINVAL);
    }
}

#[test]
fn a_word_of_plain_memory_is_written_unchecked() {
    let mut xen = XenVcpu::new();
    assert_eq!(update(&mut xen, guest::DATA, 3, 2000 << 12 | 0x67), 0);
    assert_eq!(xen.memory.read(guest::DATA, 3), Some(2000 << 12 | 0x67));
}

#[test]
fn an_update_outside_the_guests_memory_or_of_an_unknown_kind_is_refused() {
    let mut xen = XenVcpu::new();
    let stored = machine_address(&xen, guest::PTE, 0);
    let beyond = machine_frame(&xen, STORED_FRAMES as u64) << 12;
    for (ptr, errno) in
        [(2000 << 12, EINVAL), (!7, EINVAL), (beyond, EINVAL), (stored | 1, EPERM), (stored | 3, EINVAL)]
    {
        assert_eq!(xen.hypercall(Call::MmuUpdate { ptr, val: EMPTY }), errno, "{ptr:#x}");
    }
    assert_eq!(xen.hypervisor.refused, 5);
}

#[test]
fn a_preserving_update_keeps_the_accessed_and_dirty_bits() {
    let mut xen = XenVcpu::new();
    let old = xen.machine_entry(guest::DATA, 0x67);
    assert_eq!(update(&mut xen, guest::PTE, 3, old), 0);
    let ptr = machine_address(&xen, guest::PTE, 3) | PRESERVE_AD;
    let val = xen.machine_entry(guest::DATA, 0x5);
    assert_eq!(xen.hypercall(Call::MmuUpdate { ptr, val }), 0);
    assert_eq!(xen.memory.read(guest::PTE, 3), Some(val | 0x60));
}

#[test]
fn only_a_read_only_frame_of_valid_entries_can_be_pinned_and_only_once() {
    let mut xen = XenVcpu::new();
    let frame = machine_frame(&xen, guest::FRESH);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), EINVAL, "the frame is writable");
    assert_eq!(xen.hypercall(xen.direct_mapping(guest::FRESH, false)), 0);
    xen.memory.write(guest::FRESH, ENTRIES - 1, 2000 << 12 | 0x67);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), EINVAL, "an entry maps a frame that is not the guest's");
    assert_eq!(xen.hypervisor.frames.get(frame).unwrap().uses, 0);
    xen.memory.clear(guest::FRESH);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), 0);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), EINVAL, "the frame is pinned already");
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL2Table, frame), EINVAL, "the frame is of another level");
    assert_eq!(mmuext(&mut xen, MmuExtCmd::UnpinTable, frame), 0);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::UnpinTable, frame), EINVAL);
    assert_eq!(xen.hypercall(xen.direct_mapping(guest::FRESH, true)), 0);
    assert_eq!(xen.hypervisor.frames.get(frame).unwrap().kind, FrameType::Writable);
}

#[test]
fn a_refused_table_releases_the_frames_of_its_first_entries() {
    let mut xen = XenVcpu::new();
    assert_eq!(xen.hypercall(xen.direct_mapping(guest::FRESH, false)), 0);
    let data = xen.machine_entry(guest::DATA, 0x67);
    xen.memory.write(guest::FRESH, 0, data);
    xen.memory.write(guest::FRESH, 1, 2000 << 12 | 0x67);
    let frame = machine_frame(&xen, guest::FRESH);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), EINVAL);
    assert_eq!(xen.hypervisor.frames.get(machine_frame(&xen, guest::DATA)).unwrap().uses, 1);
}

#[test]
fn a_new_root_must_be_a_root() {
    let mut xen = XenVcpu::new();
    let (root, data) = (machine_frame(&xen, guest::USER_ROOT), machine_frame(&xen, guest::DATA));
    assert_eq!(mmuext(&mut xen, MmuExtCmd::NewBaseptr, data), EINVAL);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::NewBaseptr, root), 0);
    assert_eq!(xen.hypervisor.base, root);
    assert_eq!(mmuext(&mut xen, MmuExtCmd::NewUserBaseptr, 0), 0);
    assert_eq!(xen.hypervisor.user_base, 0);
}

#[test]
fn a_mapping_is_updated_by_its_virtual_address() {
    let mut xen = XenVcpu::new();
    let val = xen.machine_entry(guest::DATA, 0x67);
    assert_eq!(xen.hypercall(Call::UpdateVaMapping { va: guest::USER_VA + 0x3000, val, flags: 2 }), 0);
    assert_eq!(xen.memory.read(guest::PTE, 3), Some(val));
    assert_eq!(xen.hypervisor.invalidated, guest::USER_VA + 0x3000);
    let flushes = xen.hypervisor.tlb_flushes;
    assert_eq!(xen.hypercall(xen.direct_mapping_flushing(guest::DATA, true, UVMF_TLB_FLUSH)), 0);
    assert_eq!(xen.hypervisor.tlb_flushes, flushes + 1);
    assert_eq!(
        xen.hypercall(Call::UpdateVaMapping { va: 1 << 40, val, flags: 0 }),
        EINVAL,
        "no table maps the address"
    );
}

#[test]
fn values_of_the_virtual_cpu_are_checked_and_kept() {
    let mut xen = XenVcpu::new();
    let gdt = machine_frame(&xen, guest::GDT);
    let data = machine_frame(&xen, guest::DATA);
    assert_eq!(
        xen.hypercall(Call::SetGdt { frame: data, entries: 16 }),
        EINVAL,
        "the frame is writable in the direct map"
    );
    assert_eq!(xen.hypercall(xen.direct_mapping(guest::GDT, true)), EINVAL, "the table is in use");
    let code = 0x00af_fb00_0000_ffff;
    let tss = 0x0000_8900_0000_0067;
    for (call, result) in [
        (Call::SetGdt { frame: gdt, entries: 16 }, 0),
        (Call::SetGdt { frame: gdt, entries: 8000 }, EINVAL),
        (Call::SetGdt { frame: 2000, entries: 16 }, EINVAL),
        (Call::UpdateDescriptor { ma: gdt << 12 | 16, desc: code }, 0),
        (Call::UpdateDescriptor { ma: gdt << 12 | 16, desc: tss }, EINVAL),
        (Call::UpdateDescriptor { ma: gdt << 12 | 4, desc: code }, EINVAL),
        (Call::UpdateDescriptor { ma: machine_address(&xen, guest::PTE, 0), desc: code }, EINVAL),
        (Call::MmuExt { cmd: MmuExtCmd::SetLdt, arg1: guest::USER_VA, arg2: 8 }, 0),
        (Call::MmuExt { cmd: MmuExtCmd::SetLdt, arg1: guest::USER_VA + 8, arg2: 8 }, EINVAL),
        (Call::MmuExt { cmd: MmuExtCmd::InvlpgLocal, arg1: 1 << 50, arg2: 0 }, EINVAL),
        (Call::MmuExt { cmd: MmuExtCmd::FlushCache, arg1: 0, arg2: 0 }, 0),
        (Call::SetTrapTable { table: 8, entries: 20 }, 0),
        (Call::SetTrapTable { table: 8, entries: 257 }, EINVAL),
        (Call::StackSwitch { ss: 0x18, sp: 0x7000 }, 0),
        (Call::FpuTaskswitch { set: true }, 0),
        (Call::SetDebugreg { reg: 3, val: 0x1000 }, 0),
        (Call::SetDebugreg { reg: 3, val: 1 << 63 }, EPERM),
        (Call::SetDebugreg { reg: 4, val: 0 }, -19),
        (Call::SetDebugreg { reg: 8, val: 0 }, EINVAL),
        (Call::GetDebugreg { reg: 3 }, 0x1000),
        (Call::GetDebugreg { reg: 8 }, EINVAL),
        (Call::SetSegmentBase { which: 0, base: 0x5000 }, 0),
        (Call::SetSegmentBase { which: 1, base: 1 << 50 }, EINVAL),
        (Call::SetSegmentBase { which: 4, base: 0 }, EINVAL),
        (Call::SetIopl { iopl: 4 }, EINVAL),
        (Call::SetIobitmap { bitmap: 64, ports: 65536 }, 0),
        (Call::SetIobitmap { bitmap: 64, ports: 65537 }, EINVAL),
        (Call::EvtchnSend { port: 70 }, 0),
        (Call::EvtchnSend { port: 4096 }, EINVAL),
        (Call::SchedPoll { port: 9 }, 0),
        (Call::SchedPoll { port: 4096 }, EINVAL),
        (Call::VcpuDown { vcpu: 1 }, 0),
        (Call::VcpuDown { vcpu: 64 }, -2),
        (Call::Iret, 0),
    ] {
        assert_eq!(xen.hypercall(call), result, "{call:?}");
    }
    let hypervisor = &xen.hypervisor;
    assert_eq!(hypervisor.gdt, (gdt, 16));
    assert_eq!(hypervisor.descriptor, (gdt << 12 | 16, code));
    assert_eq!(xen.memory.read(guest::GDT, 2), Some(code));
    assert_eq!(hypervisor.ldt, (guest::USER_VA, 8));
    assert_eq!((hypervisor.trap_table, hypervisor.stack), ((8, 20), (0x1b, 0x7000)));
    assert!(hypervisor.fpu_ts);
    assert_eq!((hypervisor.segment_base[0], hypervisor.iobitmap), (0x5000, (64, 65536)));
    assert!(hypervisor.was_notified(70) && !hypervisor.was_notified(71));
    assert_eq!((hypervisor.polled, hypervisor.down), (9, 2));
    assert_eq!(hypervisor.count(CallKind::SetGdt), 4);
    assert_eq!(hypervisor.mmuext_count(MmuExtCmd::SetLdt), 2);
}

#[test]
fn blocking_and_reading_the_version_deliver_events() {
    let mut xen = XenVcpu::new();
    (xen.info.evtchn_upcall_mask, xen.info.evtchn_upcall_pending) = (1, 1);
    assert!(xen.hypercall(Call::XenVersion) > 0);
    assert_eq!(xen.info.evtchn_upcall_pending, 1, "events are masked");
    assert_eq!(xen.hypercall(Call::SchedBlock), 0);
    assert_eq!((xen.info.evtchn_upcall_mask, xen.info.evtchn_upcall_pending, xen.hypervisor.upcalls), (0, 0, 1));
}

#[test]
fn a_store_to_a_table_of_the_last_level_traps_and_is_checked_like_an_update() {
    let mut xen = XenVcpu::new();
    let good = xen.machine_entry(guest::DATA, guest::TABLE_FLAGS);
    xen.store(xen.memory.entry(guest::PTE, 3), good);
    assert_eq!((xen.memory.read(guest::PTE, 3), xen.hypervisor.emulated, xen.hypervisor.refused), (Some(good), 1, 0));
    assert_eq!(xen.hypervisor.frames.get(machine_frame(&xen, guest::DATA)).unwrap().uses, 2);
    xen.store(xen.memory.entry(guest::PTE, 3), 2000 << 12 | 0x67);
    assert_eq!(
        (xen.memory.read(guest::PTE, 3), xen.hypervisor.refused),
        (Some(good), 1),
        "the frame does not belong to the guest"
    );
    xen.store(xen.memory.entry(guest::PMD, 3), 0);
    xen.store(xen.memory.entry(guest::GDT, 3), 0);
    assert_eq!((xen.hypervisor.emulated, xen.hypervisor.refused), (4, 3), "the store faults in the guest");
    xen.store(xen.memory.entry(guest::DATA, 3), 7);
    assert_eq!(
        (xen.memory.read(guest::DATA, 3), xen.hypervisor.emulated),
        (Some(7), 4),
        "a store to plain memory does not trap"
    );
}

#[test]
fn a_guest_can_use_memory_of_any_size_that_the_caller_keeps() {
    let size = Size { stored: 512, guest: 512, machine: 2048, first: 256 };
    let mut pages = vec![[0u8; 4096]; size.stored + 1];
    let start = std::ptr::NonNull::new(pages.as_mut_ptr().cast::<u8>()).unwrap();
    // SAFETY: within the vector, which is one page longer than needed.
    let aligned = unsafe { start.add(start.align_offset(4096)) };
    // SAFETY: the pages exist as long as the guest, and nothing else accesses them.
    let mut xen = XenVcpu::of(unsafe { Memory::over(aligned.cast(), size.stored) }, size);
    let seen: std::collections::BTreeSet<u64> = (0..512).map(|pfn| machine_frame(&xen, pfn)).collect();
    assert_eq!((seen.len(), seen.first(), seen.last()), (512, Some(&256), Some(&767)));
    assert_eq!(xen.hypervisor.base, machine_frame(&xen, guest::ROOT));
    let entry = xen.machine_entry(511, guest::TABLE_FLAGS);
    assert_eq!(update(&mut xen, guest::PTE, 3, entry), 0);
    assert_eq!(update(&mut xen, guest::PTE, 4, 255 << 12 | 0x67), EINVAL, "the frame belongs to the hypervisor");
    assert_eq!((xen.memory.read(511, 0), xen.memory.read(512, 0)), (Some(0), None));
}

#[test]
fn recycled_frames_have_the_same_state_before_and_after_a_call() {
    let mut xen = XenVcpu::new();
    xen.recycle_frames(&[guest::FRESH]);
    for _ in 0..3 {
        let frame = machine_frame(&xen, guest::FRESH);
        assert_eq!(xen.hypercall(xen.direct_mapping(guest::FRESH, false)), 0);
        assert_eq!(mmuext(&mut xen, MmuExtCmd::PinL1Table, frame), 0);
        xen.recycle();
        assert_eq!(xen.hypervisor.frames.get(frame).unwrap().kind, FrameType::Writable);
    }
}

/// Runs the Xen body of every op with the measured arguments: each on its own CPU model, or all on one model in the
/// state that earlier ops left.
struct XenBodyRunner {
    shared: Option<pvbench::op::model::Installed>,
    ops: usize,
    calls: u64,
}

impl OpVisitor for XenBodyRunner {
    fn visit<O: Op>(&mut self) {
        let mut own = None;
        let cpu = match &mut self.shared {
            Some(shared) => shared,
            None => own.insert(CpuModel::install().unwrap()),
        };
        let args = O::arguments(cpu);
        let refusals = |cpu: &CpuModel| (cpu.xen.hypervisor.refused, cpu.xen.multicall.failed);
        assert_eq!(refusals(cpu), (0, 0), "setting up {}", O::META.name);
        for time in 1..=3 {
            // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
            unsafe { O::xen(args) }.sink();
            assert_eq!(refusals(cpu), (0, 0), "{}, call {time}", O::META.name);
        }
        // The hypervisor checks batched calls only when they are sent.
        cpu.xen.flush();
        assert_eq!(refusals(cpu), (0, 0), "{}, batched calls", O::META.name);
        self.ops += 1;
        self.calls += cpu.xen.hypervisor.calls();
    }
}

#[test]
fn the_hypervisor_refuses_no_call_of_an_op_of_the_catalogue() {
    let mut runner = XenBodyRunner { shared: None, ops: 0, calls: 0 };
    catalogue::for_each(&mut runner);
    assert_eq!(runner.ops, catalogue::COUNT);
    assert!(runner.calls > 0);
}

#[test]
fn the_hypervisor_refuses_no_call_after_any_other_ops() {
    let mut runner = XenBodyRunner { shared: Some(CpuModel::install().unwrap()), ops: 0, calls: 0 };
    for _ in 0..2 {
        catalogue::for_each(&mut runner);
    }
    assert_eq!(runner.ops, 2 * catalogue::COUNT);
    assert!(runner.calls > 0);
}
