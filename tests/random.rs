//! Calls whose targets change: that they do, between as many callees as the regime says, and by which mechanisms.

mod own_ops;

use std::collections::BTreeMap;

use own_ops::Called;
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::plan::{Comparison, Variant};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::op::{BodyKind, CpuModel};
use pvbench::regime::random::{DRAWS, TargetSequence, set_course};
use pvbench::regime::{Regime, SITES};
use pvbench::suite::{OpEntry, mechanisms};

/// Draws that repeat only after a prime number of them, so that no count of sites divides it.
fn sequence(targets: [usize; 8], count: u64) -> TargetSequence {
    let order = Box::new(std::array::from_fn::<u8, DRAWS, _>(|draw| ((draw % 61 * 37 % 61) as u64 % count) as u8));
    TargetSequence { targets, order, at: 0 }
}

#[test]
fn every_call_goes_to_the_callee_that_was_drawn_for_it() {
    let mut tracer = Tracer::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let columns: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
    let op = OpEntry::new::<Called>();
    let mut cpu = CpuModel::install().unwrap();
    let args = (op.arguments)(&mut cpu);
    for (regime, count) in [(Regime::Random2, 2), (Regime::Random4, 4), (Regime::Random8, 8)] {
        let group = Comparison { op: op.meta.name.to_owned(), body: BodyKind::Native, regime, offset: 0 };
        let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
        let mut run = Vec::new();
        for (column, offer) in columns.iter().zip(&offers) {
            let Prepared::Loop(copied) = offer else { continue };
            let targets = copied.targets.unwrap_or_else(|| panic!("{column} has no targets"));
            // SAFETY: no loop runs while the course is set.
            unsafe { set_course(|current| *current = Some(sequence(targets, count))) };
            let wanted: Vec<u64> = sequence(targets, count).order[..8 * SITES as usize]
                .iter()
                .map(|d| targets[usize::from(*d)] as u64)
                .collect();
            // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
            let steps = unsafe { tracer.trace(copied.run, &args, 8) }.unwrap_or_else(|e| panic!("{column}: {e}"));
            let entries: Vec<u64> =
                steps.iter().map(|step| step.address()).filter(|at| targets.contains(&(*at as usize))).collect();
            assert_eq!(entries, wanted, "{column} {}", regime.name());
            let mut visits = BTreeMap::new();
            entries.iter().for_each(|at| *visits.entry(at).or_insert(0) += 1);
            assert_eq!(visits.len() as u64, count, "{column} {}", regime.name());
            run.push(column.mechanism.as_str());
        }
        for name in ["table", "table_callee_save", "retpoline", "kcfi", "fineibt", "endbr", "fn_pointer", "got", "plt"]
        {
            assert!(run.contains(&name), "{name} is not in {run:?}");
        }
        for name in ["inline", "direct", "flag", "static_call"] {
            assert!(!run.contains(&name), "{name} has no target to change");
        }
    }
}
