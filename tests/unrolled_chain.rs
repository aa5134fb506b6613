//! Trains of loops: every site is executed once, in whatever state it is.

mod own_ops;

use std::collections::HashMap;

use own_ops::{Add, Called};
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::plan::{Comparison, Variant};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{COLD_SITES, Regime, SITES};
use pvbench::suite::{OpEntry, mechanisms};

#[test]
fn a_train_runs_every_copy_once_and_returns() {
    let mut tracer = Tracer::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let columns: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
    for op in [OpEntry::new::<Add>(), OpEntry::new::<Called>()] {
        let mut cpu = CpuModel::install().unwrap();
        let args = (op.arguments)(&mut cpu);
        let group = Comparison { op: op.meta.name.to_owned(), body: BodyKind::Native, regime: Regime::Cold, offset: 0 };
        let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
        let mut run = 0;
        for (column, offer) in columns.iter().zip(&offers) {
            let Prepared::Loop(copied) = offer else { continue };
            // A million instructions, each of which the tracer copies.
            if column.mechanism == "compare_tree_16" {
                continue;
            }
            loops.activate(copied).unwrap();
            let unrolled = copied.unrolled.clone().unwrap();
            assert_eq!(unrolled.copies as u64 * SITES, COLD_SITES);
            // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
            let steps = unsafe { tracer.trace(copied.run, &args, unrolled.copies as u64) };
            let mut visits = HashMap::new();
            for step in steps.unwrap_or_else(|error| panic!("{column}: {error}")) {
                *visits.entry(step.address()).or_insert(0) += 1;
            }
            let stretch = unrolled.start as u64..(unrolled.start + unrolled.length) as u64;
            let inside: Vec<_> = visits.iter().filter(|(address, _)| stretch.contains(address)).collect();
            assert!(inside.iter().all(|(_, times)| **times == 1), "{column}: an instruction ran twice");
            assert!(inside.len() as u64 > COLD_SITES, "{column}: only {} instructions", inside.len());
            run += 1;
        }
        assert!(run > 30, "{run} of {}", columns.len());
    }
}

#[test]
fn the_ops_that_are_measured_cold_have_trains_by_nearly_every_mechanism() {
    let mut loops = Loops::new().unwrap();
    let columns: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
    for name in pvbench::pv_ops::COLD_OPS {
        let op = op_entries().into_iter().find(|op| op.meta.name == name).unwrap();
        let _cpu = CpuModel::install().unwrap();
        let group = Comparison { op: name.to_owned(), body: BodyKind::Native, regime: Regime::Flushed, offset: 0 };
        let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
        let mut without = Vec::new();
        for (column, offer) in columns.iter().zip(&offers) {
            if let Prepared::Unavailable(reason) = offer {
                // How a loop is laid out is the compiler's to decide, and now and then there is no room for a longer
                // jump.
                assert!(reason.to_string().contains("does not reach the next copy"), "{name} {column}: {reason}");
                without.push(column.to_string());
            }
        }
        assert!(without.len() <= 2, "{name}: {without:?}");
    }
}
