//! Rules that hold for every op of the catalogue.

use std::collections::HashSet;

use pvbench::op::catalogue::{self, OpVisitor};
use pvbench::op::{Args, CpuModel, Op, Ret, xen_entry};

/// Both bodies of every op run many times in a row with the measured arguments: the inline form, the inline form with
/// clobbers, and the callee.
#[test]
fn every_form_of_a_body_runs_many_times_with_the_measured_arguments() {
    struct Runner(usize);
    impl OpVisitor for Runner {
        fn visit<O: Op>(&mut self) {
            let mut cpu = CpuModel::install().unwrap();
            let args = O::arguments(&mut cpu);
            for _ in 0..100 {
                let [a, b, c, d] = args.into_regs();
                // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
                unsafe {
                    O::inline(args).sink();
                    O::inline_clobber(args).sink();
                    O::Ret::from_reg(O::native(a, b, c, d)).sink();
                }
            }
            let args = O::arguments(&mut cpu);
            for _ in 0..100 {
                let [a, b, c, d] = args.into_regs();
                // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
                unsafe {
                    O::xen(args).sink();
                    O::Ret::from_reg(xen_entry::<O>(a, b, c, d)).sink();
                }
            }
            self.0 += 1;
        }
    }
    let mut runner = Runner(0);
    catalogue::for_each(&mut runner);
    assert_eq!(runner.0, catalogue::COUNT);
}

#[test]
fn names_and_slots_are_unique_and_every_entry_is_complete() {
    let ops = pvbench::pv_ops::op_entries();
    let names: HashSet<_> = ops.iter().map(|op| op.meta.name).collect();
    assert_eq!(names.len(), ops.len());
    for (position, op) in ops.iter().enumerate() {
        assert_eq!(op.slot, position, "the slot of {} is not its position in the catalogue", op.meta.name);
        for text in [op.meta.prototype, op.meta.purpose, op.meta.source] {
            assert!(!text.is_empty(), "an entry of {} is empty", op.meta.name);
        }
        assert!(op.meta.prototype.contains(op.meta.name), "{}: {}", op.meta.name, op.meta.prototype);
    }
}
