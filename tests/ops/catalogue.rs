//! What holds for every op of the catalogue.

use std::collections::HashSet;

use pvbench::op::catalogue::{self, OpVisitor};
use pvbench::op::{Args, CpuModel, Op, Ret, xen_entry};

/// Both bodies of every op run with the arguments that measuring uses, many times in a row, and the inline form, the
/// inline form with clobbers and the callee agree.
#[test]
fn every_form_of_a_body_takes_the_arguments_of_measuring_many_times() {
    struct Run(usize);
    impl OpVisitor for Run {
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
    let mut run = Run(0);
    catalogue::for_each(&mut run);
    assert_eq!(run.0, catalogue::COUNT);
}

#[test]
fn names_and_slots_are_unique_and_every_entry_says_what_it_is() {
    let ops = pvbench::pv_ops::op_entries();
    let names: HashSet<_> = ops.iter().map(|op| op.meta.name).collect();
    assert_eq!(names.len(), ops.len());
    for (position, op) in ops.iter().enumerate() {
        assert_eq!(op.slot, position, "{} is not where the catalogue lists it", op.meta.name);
        for text in [op.meta.prototype, op.meta.purpose, op.meta.source] {
            assert!(!text.is_empty(), "{} has an empty entry", op.meta.name);
        }
        assert!(op.meta.prototype.contains(op.meta.name), "{}: {}", op.meta.name, op.meta.prototype);
    }
}
