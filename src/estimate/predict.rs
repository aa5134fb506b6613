//! The cost model: what a workload should cost, from how often it calls each hook and what a call costs.
//!
//! `overhead = sum over ops of (calls x overhead of the op's cell in throughput)`. It knows nothing of what the code
//! around a call does to it, and the reverse; how far it is off is itself a result.

use std::collections::BTreeMap;

use crate::measure::work::whole_kernel;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::Cell;

/// The cells that speak for ops, by op, mechanism and state.
pub struct Costs<'a> {
    cells: BTreeMap<(&'a str, &'a str, Option<&'a str>), f64>,
}

impl<'a> Costs<'a> {
    /// Of a report's cells: those in throughput with native bodies.
    #[must_use]
    pub fn of(cells: &'a [Cell]) -> Self {
        let speaks = |cell: &&Cell| cell.regime == Regime::Throughput && cell.body == BodyKind::Native;
        let cost = |cell: &'a Cell| {
            let cycles = cell.overhead.as_ref()?.cycles.estimate;
            Some(((cell.op.as_str(), cell.mechanism.as_str(), cell.state.as_deref()), cycles))
        };
        Costs { cells: cells.iter().filter(speaks).filter_map(cost).collect() }
    }

    /// Cycles that a call of `op` takes above `inline`, in the state that it has in a kernel whose sites are in
    /// `state`.
    #[must_use]
    pub fn of_call(&self, op: &str, mechanism: &str, state: Option<State>) -> Option<f64> {
        let Some(state) = state else { return self.cells.get(&(op, mechanism, None)).copied() };
        whole_kernel(state).iter().find_map(|state| self.cells.get(&(op, mechanism, Some(state.name()))).copied())
    }

    /// Cycles above `inline` of so many calls by op.
    ///
    /// # Errors
    /// The ops that no cell speaks for.
    pub fn of_calls(
        &self,
        calls: &BTreeMap<String, f64>,
        mechanism: &str,
        state: Option<State>,
    ) -> Result<f64, Vec<String>> {
        let (mut sum, mut unknown) = (0.0, Vec::new());
        for (op, calls) in calls {
            match self.of_call(op, mechanism, state) {
                Some(cycles) => sum += calls * cycles,
                None => unknown.push(op.clone()),
            }
        }
        if unknown.is_empty() { Ok(sum) } else { Err(unknown) }
    }
}
