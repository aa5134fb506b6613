//! Calls whose targets change: the targets follow the draws, among the number of callees of the regime, and only with
//! mechanisms that call through a pointer.

mod own_ops;

use std::collections::BTreeMap;

use own_ops::Called;
use pvbench::measure::comparison::Comparison;
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::measure::variant::MechanismState;
use pvbench::op::{BodyKind, CpuModel};
use pvbench::regime::random::{DRAWS, TargetSequence, set_sequence};
use pvbench::regime::{Regime, SITES};
use pvbench::suite::{OpEntry, mechanisms};

/// A sequence of draws with a prime period, so that it is no multiple of the number of sites.
fn sequence(targets: [usize; 8], count: u64) -> TargetSequence {
    let order = Box::new(std::array::from_fn::<u8, DRAWS, _>(|draw| ((draw % 61 * 37 % 61) as u64 % count) as u8));
    TargetSequence { targets, order, at: 0 }
}

#[test]
fn every_call_reaches_the_callee_that_was_drawn_for_it() {
    let mut tracer = Tracer::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let variants: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    let op = OpEntry::new::<Called>();
    let mut cpu = CpuModel::install().unwrap();
    let args = (op.arguments)(&mut cpu);
    for (regime, count) in [(Regime::Random2, 2), (Regime::Random4, 4), (Regime::Random8, 8)] {
        let comparison = Comparison { op: op.meta.name.to_owned(), body: BodyKind::Native, regime, offset: 0 };
        let (_, all_prepared) = loops.prepare(&op, &comparison, &variants).unwrap();
        let mut run = Vec::new();
        for (variant, prepared) in variants.iter().zip(&all_prepared) {
            let Prepared::Loop(copied) = prepared else { continue };
            let targets = copied.targets.unwrap_or_else(|| panic!("{variant} has no targets"));
            // SAFETY: no loop runs while the sequence is set.
            unsafe { set_sequence(|current| *current = Some(sequence(targets, count))) };
            let wanted: Vec<u64> = sequence(targets, count).order[..8 * SITES as usize]
                .iter()
                .map(|d| targets[usize::from(*d)] as u64)
                .collect();
            // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
            let steps = unsafe { tracer.trace(copied.run, &args, 8) }.unwrap_or_else(|e| panic!("{variant}: {e}"));
            let entries: Vec<u64> =
                steps.iter().map(|step| step.address()).filter(|at| targets.contains(&(*at as usize))).collect();
            assert_eq!(entries, wanted, "{variant} {}", regime.name());
            let mut visits = BTreeMap::new();
            entries.iter().for_each(|at| *visits.entry(at).or_insert(0) += 1);
            assert_eq!(visits.len() as u64, count, "{variant} {}", regime.name());
            run.push(variant.mechanism.as_str());
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
