//! The predicted cost of hooks in a real kernel, in cycles: the calls counted there times the cells measured here.

use super::predict::Costs;
use crate::patch::State;
use crate::report::linux::{Linux, LinuxPrediction, LinuxShare, LinuxWorkload};
use crate::report::schema::Cell;

/// The predicted kernels, by mechanism and state: a current kernel patched for bare metal, the same kernel unpatched,
/// and a kernel of 2009 with its table of function pointers.
const KERNELS: [(&str, Option<State>); 3] =
    [("site", Some(State::Inline)), ("site", Some(State::Unpatched)), ("table", None)];
/// Largest number of ops that a prediction lists, by descending cost.
const MAX_LISTED_OPS: usize = 6;

/// The predictions for every workload with counted calls, for each of the kernels above that has a cell.
#[must_use]
pub fn predictions(linux: &Linux, cells: &[Cell]) -> Vec<LinuxPrediction> {
    let costs = Costs::of(cells);
    let counted = linux.workloads.iter().filter(|workload| !workload.calls.is_empty());
    counted
        .flat_map(|workload| KERNELS.iter().filter_map(|kernel| predict_workload(workload, kernel, &costs)))
        .collect()
}

fn predict_workload(
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
    from.truncate(MAX_LISTED_OPS);
    Some(LinuxPrediction {
        workload: workload.name.clone(),
        mechanism: (*mechanism).to_owned(),
        state: state.map(|state| state.name().to_owned()),
        cycles,
        unknown,
        from,
    })
}
