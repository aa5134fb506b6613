//! What the calls of hooks in a real kernel cost in cycles: calls counted there, times the cells measured here.

use super::predict::Costs;
use crate::patch::State;
use crate::report::linux::{Linux, LinuxPrediction, LinuxShare, LinuxWorkload};
use crate::report::schema::Cell;

/// What a kernel of today and one of 2009 do with a call: patched on bare metal, and never patched.
const KERNELS: [(&str, Option<State>); 3] =
    [("site", Some(State::Inline)), ("site", Some(State::Unpatched)), ("table", None)];
/// Ops that are named.
const NAMED: usize = 6;

/// For every workload whose calls were counted, on every kernel that the cells know.
#[must_use]
pub fn predictions(linux: &Linux, cells: &[Cell]) -> Vec<LinuxPrediction> {
    let costs = Costs::of(cells);
    let counted = linux.workloads.iter().filter(|workload| !workload.calls.is_empty());
    counted.flat_map(|workload| KERNELS.iter().filter_map(|kernel| prediction(workload, kernel, &costs))).collect()
}

fn prediction(
    workload: &LinuxWorkload,
    (mechanism, state): &(&str, Option<State>),
    costs: &Costs,
) -> Option<LinuxPrediction> {
    let (mut from, mut unknown) = (Vec::new(), Vec::new());
    for (op, calls) in &workload.calls {
        match costs.of_call(op, mechanism, *state) {
            Some(cycles) => from.push(LinuxShare { op: op.clone(), calls: *calls, cycles: calls * cycles }),
            None => unknown.push(op.clone()),
        }
    }
    if from.is_empty() {
        return None;
    }
    let cycles = from.iter().map(|share| share.cycles).sum();
    from.sort_by(|a, b| b.cycles.abs().total_cmp(&a.cycles.abs()));
    from.truncate(NAMED);
    Some(LinuxPrediction {
        workload: workload.name.clone(),
        mechanism: (*mechanism).to_owned(),
        state: state.map(|state| state.name().to_owned()),
        cycles,
        unknown,
        from,
    })
}
