//! User ops execute exactly as many instructions as built-in ops of the same shape, with every mechanism, state and
//! regime.

#[path = "fixtures/own_suite/src/twins.rs"]
mod twins;

use std::collections::BTreeMap;

use pvbench::clock::Clock;
use pvbench::measure::Sampler;
use pvbench::measure::plan::{Comparison, Variant};
use pvbench::measure::wire::Task;
use pvbench::op::BodyKind;
use pvbench::op::irq::SaveFl;
use pvbench::op::mmu::{AllocPte, PteVal, SetPte, SetPteAt};
use pvbench::regime::Regime;
use pvbench::suite::{OpEntry, mechanisms};
use twins::{Flags, Nothing, Same, Store, StoreAt};

/// Instructions per op by variant, or the reason why there are none.
fn count_instructions(
    sampler: &mut Sampler,
    op: &str,
    regime: Regime,
    columns: &[Variant],
) -> BTreeMap<String, String> {
    let group = Comparison { op: op.to_owned(), body: BodyKind::Native, regime, offset: 0 };
    let samples =
        sampler.measure(&Task { comparison: group, rounds: 1, variants: None, count: true }, columns).unwrap();
    let present = samples.variants.iter().map(|&column| columns[column].to_string());
    let names = std::iter::once("inline".to_owned()).chain(present);
    let counts = samples.instructions.iter().map(|count| format!("{count:?}"));
    let absent = samples.absent.iter().map(|&column| (columns[column].to_string(), "no such state".to_owned()));
    let missing = samples.missing.iter().map(|missing| {
        // The reason is left out because it names the op.
        (columns[missing.variant].to_string(), format!("missing, refused: {}", missing.refused))
    });
    names.zip(counts).chain(absent).chain(missing).collect()
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
    let mut sampler = Sampler::new(pairs.into_iter().flatten().collect(), 1, Clock::Tsc, 1_000, false, true).unwrap();
    let columns: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).filter(|c| c.mechanism != "inline").collect();
    for [built_in, own] in names {
        for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
            if regime == Regime::Latency && built_in != "pte_val" {
                continue;
            }
            let (expected, found) = (
                count_instructions(&mut sampler, built_in, regime, &columns),
                count_instructions(&mut sampler, own, regime, &columns),
            );
            assert!(expected.len() > columns.len(), "{built_in}: {} of {}", expected.len(), columns.len());
            assert_eq!(found, expected, "{own} against {built_in} in {}", regime.name());
        }
    }
}
