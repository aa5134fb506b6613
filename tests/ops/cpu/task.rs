//! The task state segment: stacks, I/O bitmaps and I/O privileges.

use super::*;

#[test]
fn load_sp0_stores_the_stack_natively_and_in_xen() {
    let prepare = |cpu: &mut CpuModel| {
        LoadSp0::arguments(cpu);
        (0xffff_c900_1234_5000,)
    };
    both::<LoadSp0>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.sp0, 0xffff_c900_1234_5000));
}

#[test]
fn linuxs_segment_limit_is_one_below_the_offset_of_the_invalid_bitmap() {
    assert_eq!(IO_BITMAP_OFFSET_INVALID, 0x4087 + 1);
}

#[test]
fn invalidate_io_bitmap_forbids_all_ports_natively_and_in_xen() {
    let prepare = |cpu: &mut CpuModel| cpu.cpu.tss.io_bitmap_base = IO_BITMAP_OFFSET_VALID_MAP;
    both::<InvalidateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.io_bitmap_base, IO_BITMAP_OFFSET_INVALID));
}

#[test]
fn update_io_bitmap_selects_the_bitmap_by_the_permissions_of_the_task() {
    for (flags, iopl, base) in [
        (0, 0, IO_BITMAP_OFFSET_INVALID),
        (0, 3, IO_BITMAP_OFFSET_INVALID),
        (TIF_IO_BITMAP, 3, IO_BITMAP_OFFSET_VALID_ALL),
        (TIF_IO_BITMAP, 0, IO_BITMAP_OFFSET_VALID_MAP),
    ] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.task.flags = flags;
            cpu.cpu.task.iopl_emul = iopl;
            cpu.cpu.tss.io_bitmap_base = 1;
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.io_bitmap_base, base));
    }
}

#[test]
fn update_io_bitmap_copies_another_tasks_ports_up_to_the_longer_of_both_bitmaps() {
    for (prev_max, max, copied) in [(8, 24, 3), (24, 8, 3), (0, 8192, 1024), (0, u32::MAX, 1024)] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.tss.prev_sequence = 4;
            cpu.cpu.tss.prev_max = prev_max;
            let task = &mut cpu.cpu.task.io_bitmap;
            (task.sequence, task.max) = (5, max);
            task.bitmap.fill(0x5555);
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| {
            let tss = &cpu.cpu.tss;
            assert_eq!((tss.prev_sequence, tss.prev_max), (5, max));
            assert!(tss.bitmap[..copied].iter().all(|&word| word == 0x5555));
            assert!(tss.bitmap[copied..].iter().all(|&word| word == !0));
        });
    }
}

#[test]
fn update_io_bitmap_copies_nothing_if_the_tasks_bitmap_is_in_the_segment_already() {
    let prepare = |cpu: &mut CpuModel| {
        UpdateIoBitmap::arguments(cpu);
        cpu.cpu.task.io_bitmap.max = 8;
        cpu.cpu.task.io_bitmap.bitmap.fill(0x5555);
    };
    both::<UpdateIoBitmap>(prepare, |cpu, _| assert_eq!(cpu.cpu.tss.bitmap[0], !0));
}

#[test]
fn update_io_bitmap_loads_the_task_register_if_the_limit_was_shortened() {
    for (invalid, tr) in [(0, 0), (1, 0x40)] {
        let prepare = |cpu: &mut CpuModel| {
            UpdateIoBitmap::arguments(cpu);
            cpu.cpu.tss.limit_invalid = invalid;
        };
        both::<UpdateIoBitmap>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.tables.tr, cpu.cpu.tss.limit_invalid), (tr, 0));
        });
    }
}

#[test]
fn io_delay_writes_to_the_port_of_its_kind_and_in_xen_to_no_port() {
    for (kind, ports) in [(0, (1, 0)), (1, (0, 1)), (2, (0, 0)), (3, (0, 0))] {
        let prepare = |cpu: &mut CpuModel| {
            IoDelay::arguments(cpu);
            cpu.cpu.io_delay.kind = kind;
        };
        native::<IoDelay>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.io_delay.port_80, cpu.cpu.io_delay.port_ed), ports);
        });
        xen::<IoDelay>(prepare, |cpu, _| {
            assert_eq!((cpu.cpu.io_delay.port_80, cpu.cpu.io_delay.port_ed), (0, 0));
        });
    }
}

#[test]
fn set_iopl_mask_is_an_empty_function_on_bare_metal_that_is_called() {
    assert_eq!(SetIoplMask::META.bytes, Bytes::Call);
    both::<SetIoplMask>(SetIoplMask::arguments, |cpu, _| {
        assert_eq!((cpu.irq.enabled, cpu.cpu.tss.io_bitmap_base), (1, IO_BITMAP_OFFSET_INVALID));
    });
}
