//! Unrolled chains: every site is executed once per pass, in every state.

mod own_ops;

use std::collections::HashMap;

use own_ops::{Add, Called};
use pvbench::measure::comparison::Comparison;
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::measure::variant::MechanismState;
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{COLD_SITES, Regime, SITES};
use pvbench::suite::{OpEntry, mechanisms};

#[test]
fn an_unrolled_chain_runs_every_copy_once_and_returns() {
    let mut tracer = Tracer::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let variants: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    for op in [OpEntry::new::<Add>(), OpEntry::new::<Called>()] {
        let mut cpu = CpuModel::install().unwrap();
        let args = (op.arguments)(&mut cpu);
        let comparison =
            Comparison { op: op.meta.name.to_owned(), body: BodyKind::Native, regime: Regime::Cold, offset: 0 };
        let (_, all_prepared) = loops.prepare(&op, &comparison, &variants).unwrap();
        let mut run = 0;
        for (variant, prepared) in variants.iter().zip(&all_prepared) {
            let Prepared::Loop(copied) = prepared else { continue };
            // Left out: a million instructions, each of which the tracer copies.
            if variant.mechanism == "compare_tree_16" {
                continue;
            }
            loops.activate(copied).unwrap();
            let unrolled = copied.unrolled.clone().unwrap();
            assert_eq!(unrolled.copies as u64 * SITES, COLD_SITES);
            // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
            let steps = unsafe { tracer.trace(copied.run, &args, unrolled.copies as u64) };
            let mut visits = HashMap::new();
            for step in steps.unwrap_or_else(|error| panic!("{variant}: {error}")) {
                *visits.entry(step.address()).or_insert(0) += 1;
            }
            let chain = unrolled.start as u64..(unrolled.start + unrolled.length) as u64;
            let inside: Vec<_> = visits.iter().filter(|(address, _)| chain.contains(address)).collect();
            assert!(inside.iter().all(|(_, times)| **times == 1), "{variant}: an instruction ran twice");
            assert!(inside.len() as u64 > COLD_SITES, "{variant}: only {} instructions", inside.len());
            run += 1;
        }
        assert!(run > 30, "{run} of {}", variants.len());
    }
}

#[test]
fn ops_that_are_measured_cold_have_unrolled_chains_with_nearly_every_mechanism() {
    let mut loops = Loops::new().unwrap();
    let variants: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    for name in pvbench::pv_ops::COLD_OPS {
        let op = op_entries().into_iter().find(|op| op.meta.name == name).unwrap();
        let _cpu = CpuModel::install().unwrap();
        let comparison = Comparison { op: name.to_owned(), body: BodyKind::Native, regime: Regime::Flushed, offset: 0 };
        let (_, all_prepared) = loops.prepare(&op, &comparison, &variants).unwrap();
        let mut without = Vec::new();
        for (variant, prepared) in variants.iter().zip(&all_prepared) {
            if let Prepared::Unavailable(reason) = prepared {
                // The compiler decides the layout of a loop, and some loops have no room for a jump to the next copy.
                let (text, rest) = (reason.to_string(), "for a jump to the next copy");
                assert!(text.contains("no room") && text.contains(rest), "{name} {variant}: {reason}");
                without.push(variant.to_string());
            }
        }
        assert!(without.len() <= 2, "{name}: {without:?}");
    }
}
