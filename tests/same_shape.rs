//! User ops execute exactly as many instructions as built-in ops of the same shape, with every mechanism, state and
//! regime.

#[path = "fixtures/own_suite/src/twins.rs"]
mod twins;

use std::collections::BTreeMap;

use pvbench::clock::Clock;
use pvbench::measure::comparison::Comparison;
use pvbench::measure::loop_bench::{LoopBench, LoopConditions, LoopJob};
use pvbench::measure::samples::Unavailability;
use pvbench::measure::variant::{MechanismState, Treatments, Variant};
use pvbench::op::BodyKind;
use pvbench::op::irq::SaveFl;
use pvbench::op::mmu::{AllocPte, PteVal, SetPte, SetPteAt};
use pvbench::regime::Regime;
use pvbench::suite::{OpEntry, mechanisms};
use twins::{Flags, Nothing, Same, Store, StoreAt};

/// Instructions per op by variant, or the reason why there are none.
fn count_instructions(
    bench: &mut LoopBench,
    op: &str,
    regime: Regime,
    mechanisms: &[MechanismState],
) -> BTreeMap<String, String> {
    let comparison = Comparison { op: op.to_owned(), body: BodyKind::Native, regime, offset: 0 };
    let mut treatments = Treatments::default();
    let ids = treatments.add_mechanisms(mechanisms.iter().cloned());
    let job = LoopJob { comparison: &comparison, treatments: &ids, blocks: 1, count: true };
    let table = bench.measure(&job, &treatments).unwrap().table;
    let name = |id| treatments.mechanism(id).unwrap().to_string();
    let counts = table.counts.iter().map(|count| {
        let variant = match count.variant {
            Variant::Treatment(id) => name(id),
            other => format!("{other:?}"),
        };
        (variant, format!("{:?}", count.instructions.as_ref().unwrap()))
    });
    let unavailable = table.unavailable.iter().map(|missing| {
        // The reason is left out because it names the op.
        let why = match missing.why {
            Unavailability::Never => "no such state",
            Unavailability::Refused(_) => "refused",
            Unavailability::Unsupported(_) => "missing",
        };
        (name(missing.treatment), why.to_owned())
    });
    counts.chain(unavailable).collect()
}

#[test]
fn a_user_op_executes_as_many_instructions_as_a_built_in_op_of_its_shape() {
    let pairs: [[OpEntry; 2]; 5] = [
        [OpEntry::new::<SaveFl>(), OpEntry::new::<Flags>()],
        [OpEntry::new::<PteVal>(), OpEntry::new::<Same>()],
        [OpEntry::new::<SetPte>(), OpEntry::new::<Store>()],
        [OpEntry::new::<SetPteAt>(), OpEntry::new::<StoreAt>()],
        [OpEntry::new::<AllocPte>(), OpEntry::new::<Nothing>()],
    ];
    let names = pairs.each_ref().map(|pair| pair.each_ref().map(|op| op.meta.name));
    let conditions = LoopConditions {
        seed: 1,
        clock: Clock::Tsc,
        window_cycles: 1_000,
        min_adds_per_cycle: 0.0,
        counters: false,
        instructions: true,
    };
    let mut bench = LoopBench::new(pairs.into_iter().flatten().collect(), conditions).unwrap();
    let columns: Vec<MechanismState> =
        mechanisms().iter().flat_map(MechanismState::list).filter(|c| c.mechanism != "inline").collect();
    for [built_in, own] in names {
        for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
            if regime == Regime::Latency && built_in != "pte_val" {
                continue;
            }
            let (expected, found) = (
                count_instructions(&mut bench, built_in, regime, &columns),
                count_instructions(&mut bench, own, regime, &columns),
            );
            assert!(expected.len() > columns.len(), "{built_in}: {} of {}", expected.len(), columns.len());
            assert_eq!(found, expected, "{own} against {built_in} in {}", regime.name());
        }
    }
}
