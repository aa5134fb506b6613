//! The cost model: a workload's predicted overhead, from its calls of hooks and the cost of a call.
//!
//! `overhead = sum over ops of (calls x overhead of the op's cell in throughput)`. The model ignores how a call and the
//! code around it affect each other; its error is itself a result.

use std::collections::BTreeMap;

use crate::measure::workload_bench::whole_kernel;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::Cell;

/// The cost of a call in core cycles above `inline`, by op, mechanism and state.
pub struct Costs<'a> {
    cells: BTreeMap<(&'a str, &'a str, Option<&'a str>), f64>,
}

impl<'a> Costs<'a> {
    /// The costs from a report's cells in throughput with native bodies.
    #[must_use]
    pub fn of(cells: &'a [Cell]) -> Self {
        let is_used = |cell: &&Cell| cell.regime == Regime::Throughput && cell.body == BodyKind::Native;
        let cost = |cell: &'a Cell| {
            let cycles = cell.overhead.as_ref()?.cycles.estimate;
            Some(((cell.op.as_str(), cell.mechanism.as_str(), cell.state.as_deref()), cycles))
        };
        Costs { cells: cells.iter().filter(is_used).filter_map(cost).collect() }
    }

    /// The core cycles of a call of `op` above `inline`, in a kernel whose sites are in `state`. The op may have
    /// another state there, see [`whole_kernel`].
    #[must_use]
    pub fn of_call(&self, op: &str, mechanism: &str, state: Option<State>) -> Option<f64> {
        let Some(state) = state else { return self.cells.get(&(op, mechanism, None)).copied() };
        whole_kernel(state).iter().find_map(|state| self.cells.get(&(op, mechanism, Some(state.name()))).copied())
    }

    /// The core cycles above `inline` of the given numbers of calls by op.
    ///
    /// # Errors
    /// The ops without a cell.
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
