//! Values and entries of page tables.

use super::*;

fn check_value_ops<L: Level>() {
    for conventions in [Val::<L>::META.conventions, Make::<L>::META.conventions] {
        assert_eq!(conventions, Conventions::CalleeSave);
    }
    native::<Val<L>>(|_| (0x1234_5067,), |_, _, value| assert_eq!(value, 0x1234_5067));
    native::<Make<L>>(|_| (0x1234_5067,), |_, _, entry| assert_eq!(entry, 0x1234_5067));
    xen::<Val<L>>(Val::<L>::arguments, |_, _, value| assert_eq!(value, guest::DATA << 12 | 0x67));
    xen::<Make<L>>(Make::<L>::arguments, |cpu, _, entry| assert_eq!(entry, cpu.xen.machine_entry(guest::DATA, 0x67)));
    xen::<Val<L>>(
        |_| (0x5066,),
        |_, _, value| assert_eq!(value, 0x5066, "an entry that is not present is not translated"),
    );
    xen::<Make<L>>(
        |_| (0x5066,),
        |_, _, entry| assert_eq!(entry, 0x5066, "an entry that is not present is not translated"),
    );
    xen::<Val<L>>(
        |_| (2000 << 12 | 0x67,),
        |_, _, value| assert_eq!(value, 0x66, "the frame belongs to another domain"),
    );
}

#[test]
fn values_equal_entries_on_bare_metal_and_are_translated_in_xen_on_every_level() {
    check_value_ops::<Pte>();
    check_value_ops::<Pmd>();
    check_value_ops::<Pud>();
    check_value_ops::<P4d>();
    check_value_ops::<Pgd>();
}

#[test]
fn a_chain_of_translations_stays_within_the_guests_frames() {
    let mut cpu = CpuModel::install().unwrap();
    let (mut value, mut entry) = (PteVal::arguments(&mut cpu).0, MakePte::arguments(&mut cpu).0);
    for _ in 0..5000 {
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        value = unsafe { PteVal::xen((value,)) };
        entry = unsafe { MakePte::xen((entry,)) };
        assert_eq!((value & 1, entry & 1), (1, 1));
    }
}

#[test]
fn set_pte_stores_and_in_xen_makes_one_hypercall_which_lazy_mode_batches() {
    native::<SetPte>(SetPte::arguments, |cpu, (ptep, pte), _| {
        assert_eq!(load(ptep), pte);
        assert_eq!(cpu.xen.hypervisor.refused, 0);
    });
    xen::<SetPte>(SetPte::arguments, |cpu, (ptep, pte), _| {
        assert_eq!((load(ptep), count_calls(cpu, CallKind::MmuUpdate)), (pte, 1));
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = SetPte::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        args
    };
    xen::<SetPte>(lazy, |cpu, (ptep, pte), _| {
        assert_eq!((load(ptep), cpu.xen.multicall.pending().len()), (0, 1));
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { LazyLeave::xen(()) };
        assert_eq!((load(ptep), cpu.xen.lazy), (pte, LazyMode::None));
    });
}

fn check_set_entry<L: Upper>(updates: u64) {
    native::<SetEntry<L>>(SetEntry::<L>::arguments, |_, (entry, value), _| assert_eq!(load(entry), value));
    xen::<SetEntry<L>>(SetEntry::<L>::arguments, |cpu, (entry, value), _| {
        assert_eq!((load(entry), count_calls(cpu, CallKind::MmuUpdate)), (value, updates));
        let user = cpu.xen.memory.read(guest::USER_ROOT, 7);
        assert_eq!(user, Some(if L::ROOT { value } else { 0 }), "user mode's root");
    });
    let unpinned = |cpu: &mut CpuModel| {
        let (_, value) = SetEntry::<L>::arguments(cpu);
        let table = if L::ROOT { guest::NEW_ROOT } else { guest::NEW_PMD };
        (cpu.xen.memory.entry(table, 7), value)
    };
    xen::<SetEntry<L>>(unpinned, |cpu, (entry, value), _| {
        assert_eq!((load(entry), cpu.xen.hypervisor.calls()), (value, 0), "a plain store");
        assert_eq!(cpu.xen.memory.read(guest::NEW_USER_ROOT, 7), Some(if L::ROOT { value } else { 0 }));
    });
    let lazy = |cpu: &mut CpuModel| {
        let args = SetEntry::<L>::arguments(cpu);
        cpu.xen.lazy = LazyMode::Mmu;
        args
    };
    xen::<SetEntry<L>>(lazy, |cpu, (entry, _), _| {
        assert_eq!((load(entry), cpu.xen.multicall.pending().len() as u64), (0, updates));
        assert_eq!(cpu.xen.multicall.entries(), 1);
    });
}

#[test]
fn set_pmd_and_above_store_and_in_xen_are_batched_if_pinned_and_also_set_user_modes_root() {
    check_set_entry::<Pmd>(1);
    check_set_entry::<Pud>(1);
    check_set_entry::<P4d>(2);
    check_set_entry::<Pgd>(2);
}

#[test]
fn an_entry_of_the_kernels_half_is_not_set_in_user_modes_root() {
    let kernel = |cpu: &mut CpuModel| {
        let (_, value) = SetP4d::arguments(cpu);
        (cpu.xen.memory.entry(guest::ROOT, 300), value)
    };
    xen::<SetP4d>(kernel, |cpu, _, _| {
        assert_eq!(count_calls(cpu, CallKind::MmuUpdate), 1);
        assert_eq!(cpu.xen.memory.read(guest::USER_ROOT, 300), Some(0));
    });
}

#[test]
fn modifying_protection_clears_the_entry_and_in_xen_leaves_it_unchanged() {
    let present = |cpu: &mut CpuModel| {
        let args = PtepModifyProtStart::arguments(cpu);
        cpu.xen.memory.write(guest::PTE, 9, 0x5065);
        args
    };
    native::<PtepModifyProtStart>(present, |_, args, old| assert_eq!((load(args.2), old), (0, 0x5065)));
    xen::<PtepModifyProtStart>(present, |_, args, old| assert_eq!((load(args.2), old), (0x5065, 0x5065)));
}

#[test]
fn committing_protection_stores_and_in_xen_keeps_the_accessed_and_dirty_bits() {
    native::<PtepModifyProtCommit>(PtepModifyProtCommit::arguments, |_, args, _| assert_eq!(load(args.2), args.3));
    let clean = |cpu: &mut CpuModel| {
        let (vma, addr, ptep, _) = PtepModifyProtCommit::arguments(cpu);
        let dirty = cpu.xen.machine_entry(guest::DATA, 0x65);
        cpu.xen.memory.write(guest::PTE, 9, dirty);
        (vma, addr, ptep, cpu.xen.machine_entry(guest::DATA, 0x5))
    };
    xen::<PtepModifyProtCommit>(clean, |cpu, args, _| {
        assert_eq!((load(args.2), count_calls(cpu, CallKind::MmuUpdate)), (args.3 | 0x60, 1));
    });
}
