//! The price of hooks: from how often they are called and how warm their sites are, and from the cells, to a range.
//!
//! ```text
//! low   = LOW_SHARE x extra instructions / adds per cycle            every call
//! high  = HIGH_FACTOR x max(throughput, latency, pressure)           a hot call
//!         HIGH_FACTOR x max(the same, cold)                          a cold call
//! ```
//!
//! A call that hides completely still takes room for its instructions, except where the core waits anyway. A call that
//! hides nothing costs what the loop of its dearest regime shows. Both constants are checked on programs whose overhead
//! is measured (`scripts/price_validation.py`, docs/validation.md).

use std::collections::BTreeMap;

use crate::measure::workload_bench::whole_kernel;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::kernel_time::{KernelTime, Price, Range};
use crate::report::native::Native;
use crate::report::recorded::{Recorded, RecordedCalls, RecordedWorkload};
use crate::report::schema::{Cell, Estimate, Report, WorkloadKernel, WorkloadResult};
use crate::stats::Interval;
use crate::stats::location::median;

/// Share of the room for its instructions that a hidden call takes. Code that waits for memory has room to spare.
pub const LOW_SHARE: f64 = 0.5;
/// Factor of the dearest cell. The code around a call also loses registers and predictions, which a loop keeps.
pub const HIGH_FACTOR: f64 = 1.5;
/// Additions per cycle of a core whose calibration has none: all x86-64 cores since 2006 issue four instructions.
const USUAL_ADDS_PER_CYCLE: f64 = 4.0;

/// The mechanisms, with states, whose prices a report has: what a kernel's hooks are, were or could be.
pub const PRICED: [(&str, Option<State>); 7] = [
    ("site", Some(State::Inline)),
    ("site", Some(State::Direct)),
    ("site", Some(State::Unpatched)),
    ("direct", None),
    ("table", None),
    ("flag", None),
    ("retpoline", None),
];

/// The bounds of a call, in core cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallPrice {
    /// The low bound of every call.
    pub low: f64,
    /// The high bound of a call whose code is hot.
    pub hot: f64,
    /// The high bound of a call whose code is cold; `None` without a cold cell.
    pub cold: Option<f64>,
}

/// The prices of calls, from the cells of a report.
pub struct Prices<'a> {
    cells: BTreeMap<(&'a str, &'a str, Option<&'a str>, Regime), &'a Cell>,
    ops: Vec<&'a str>,
    adds_per_cycle: f64,
}

impl<'a> Prices<'a> {
    /// The prices from a report's cells with native bodies. Ops that trap into a hypervisor have none.
    #[must_use]
    pub fn from_report(report: &'a Report) -> Self {
        let is_used = |cell: &&Cell| cell.body == BodyKind::Native && cell.overhead.is_some() && !cell.traps();
        let key =
            |cell: &'a Cell| ((cell.op.as_str(), cell.mechanism.as_str(), cell.state.as_deref(), cell.regime), cell);
        let adds = report.calibration.as_ref().and_then(|it| it.adds_per_cycle.as_ref()).map(|adds| adds.median);
        Prices {
            cells: report.cells.iter().filter(is_used).map(key).collect(),
            ops: report.catalogue.ops.iter().map(|op| op.name.as_str()).collect(),
            adds_per_cycle: adds.filter(|adds| *adds > 0.0).unwrap_or(USUAL_ADDS_PER_CYCLE),
        }
    }

    /// The cell of an op in a kernel whose sites are in `state`. The op may have another state there.
    fn cell(&self, op: &str, mechanism: &str, state: Option<State>, regime: Regime) -> Option<&'a Cell> {
        let find = |state: Option<&str>| self.cells.get(&(op, mechanism, state, regime)).copied();
        let Some(state) = state else { return find(None) };
        whole_kernel(state).iter().find_map(|state| find(Some(state.name())))
    }

    /// The bounds of a call of an op; `None` without a cell in throughput.
    fn of_op(&self, op: &str, mechanism: &str, state: Option<State>) -> Option<CallPrice> {
        let high = |regime| Some(self.cell(op, mechanism, state, regime)?.overhead.as_ref()?.cycles.high);
        let throughput = self.cell(op, mechanism, state, Regime::Throughput)?;
        let extra = throughput.instructions.as_ref().map_or(0.0, |counted| counted.extra);
        let issue = extra.max(0.0) / self.adds_per_cycle;
        let hot = [Regime::Throughput, Regime::Latency, Regime::Pressure].into_iter().filter_map(high);
        let hot = HIGH_FACTOR * hot.fold(issue, f64::max);
        let cold = high(Regime::Cold).map(|cold| (HIGH_FACTOR * cold).max(hot));
        Some(CallPrice { low: LOW_SHARE * issue, hot, cold })
    }

    /// The median bounds over all ops, for those without a cell.
    #[must_use]
    pub fn usual(&self, mechanism: &str, state: Option<State>) -> Option<CallPrice> {
        let all: Vec<CallPrice> = self.ops.iter().filter_map(|op| self.of_op(op, mechanism, state)).collect();
        let over = |of: fn(&CallPrice) -> Option<f64>| median(&all.iter().filter_map(of).collect::<Vec<_>>());
        Some(CallPrice { low: over(|it| Some(it.low))?, hot: over(|it| Some(it.hot))?, cold: over(|it| it.cold) })
    }

    /// The median over all ops of the high bound in one regime.
    #[must_use]
    pub fn usual_high(&self, mechanism: &str, regime: Regime) -> Option<f64> {
        let high = |op: &&str| Some(self.cell(op, mechanism, None, regime)?.overhead.as_ref()?.cycles.high);
        Some(HIGH_FACTOR * median(&self.ops.iter().filter_map(high).collect::<Vec<_>>())?)
    }

    /// The price of a workload's calls; `time` is that of a unit in core cycles. `None` if nothing was measured of the
    /// mechanism.
    #[must_use]
    pub fn price(
        &self,
        (workload, calls): (&str, &BTreeMap<String, RecordedCalls>),
        (mechanism, state): (&str, Option<State>),
        time: Option<Interval>,
    ) -> Option<Price> {
        let usual = self.usual(mechanism, state)?;
        let mut cycles = Range { low: 0.0, high: 0.0 };
        let (mut hooks, mut cold_calls, mut unmeasured, mut cold_as_hot) = (0.0, 0.0, 0.0, 0.0);
        for (op, RecordedCalls { hot, cold }) in calls {
            let own = self.of_op(op, mechanism, state);
            let price = own.unwrap_or(usual);
            hooks += hot + cold;
            cold_calls += cold;
            unmeasured += if own.is_none() { hot + cold } else { 0.0 };
            // Cold cells are measured for a few ops of different shape.
            let cold_price = price.cold.or(usual.cold);
            cold_as_hot += if cold_price.is_none() { *cold } else { 0.0 };
            cycles.low += (hot + cold) * price.low;
            cycles.high += hot * price.hot + cold * cold_price.unwrap_or(price.hot).max(price.hot);
        }
        let share = |part: f64| if hooks > 0.0 { part / hooks } else { 0.0 };
        let percent = time.map(|time| Range {
            low: 100.0 * cycles.low / time.high,
            // An interval that reaches 0 says nothing of the time.
            high: 100.0 * cycles.high / time.low.max(time.estimate / 2.0),
        });
        Some(Price {
            workload: workload.to_owned(),
            mechanism: mechanism.to_owned(),
            state: state.map(|state| state.name().to_owned()),
            hooks,
            cold_share: share(cold_calls),
            unmeasured_share: share(unmeasured),
            cold_as_hot_share: share(cold_as_hot),
            cycles,
            likely_cycles: None,
            likely_percent: None,
            cycles_per_hook: cycles.scaled(if hooks > 0.0 { 1.0 / hooks } else { 0.0 }),
            percent: percent.filter(|percent| percent.low.is_finite() && percent.high.is_finite()),
        })
    }
}

/// The states that a whole kernel can be in.
pub const KERNEL_STATES: [State; 5] = [State::Unpatched, State::Direct, State::Inline, State::Off, State::On];

/// Bounds the predictions of a report's own workloads, with the cells of the same report.
pub fn bound_predictions(report: &mut Report) {
    let prices = Prices::from_report(report);
    let bound = |workload: &WorkloadResult| -> Vec<Option<Range>> {
        let cold_share = workload.surroundings.map_or(0.0, |it| it.cold_share);
        let calls = workload.calls.iter().map(|(op, calls)| {
            let cold = calls * cold_share;
            (op.clone(), RecordedCalls { hot: calls - cold, cold })
        });
        let calls: BTreeMap<String, RecordedCalls> = calls.collect();
        let time = workload.inline_cycles.as_ref().map(Estimate::interval);
        let of_kernel = |kernel: &WorkloadKernel| {
            let state = match kernel.state.as_deref() {
                None => None,
                Some(name) => Some(KERNEL_STATES.into_iter().find(|state| state.name() == name)?),
            };
            // A prediction that lacks cells has no bounds either.
            kernel.predicted_percent?;
            prices.price((&workload.name, &calls), (kernel.mechanism.as_deref()?, state), time)?.percent
        };
        workload.kernels.iter().map(of_kernel).collect()
    };
    let bounds: Vec<Vec<Option<Range>>> = report.workloads.iter().map(bound).collect();
    let kernels = report.workloads.iter_mut().flat_map(|workload| &mut workload.kernels);
    kernels.zip(bounds.into_iter().flatten()).for_each(|(kernel, range)| kernel.predicted_range_percent = range);
}

/// How far a measured overhead lies from the low to the high bound of its prediction, with the mechanism of a price:
/// the median over the workloads of a report, which [`bound_predictions`] bounded.
fn visible_share(report: &Report, price: &Price) -> Option<f64> {
    let is_same =
        |kernel: &&WorkloadKernel| kernel.mechanism.as_ref() == Some(&price.mechanism) && kernel.state == price.state;
    let share = |workload: &WorkloadResult| {
        let kernel = workload.kernels.iter().find(is_same)?;
        let (range, measured) = (kernel.predicted_range_percent?, kernel.overhead_percent?);
        let share = (measured.estimate - range.low) / (range.high - range.low);
        share.is_finite().then_some(share.clamp(0.0, 1.0))
    };
    median(&report.workloads.iter().filter_map(share).collect::<Vec<_>>())
}

/// Prices the recorded workloads with the cells of a report.
#[must_use]
pub fn price_kernel(report: &Report, recorded: Recorded, native: Native) -> KernelTime {
    let prices = Prices::from_report(report);
    let of = |workload: &RecordedWorkload| -> Vec<Price> {
        let named = (workload.workload.as_str(), &workload.calls);
        let Some(time) = native.denominator(&workload.workload) else { return Vec::new() };
        let time = time.cycles.interval();
        let price = |kernel: (&'static str, Option<State>)| {
            let mut price = prices.price(named, kernel, Some(time))?;
            let share = visible_share(report, &price);
            price.likely_cycles = share.map(|share| price.cycles.at(share));
            price.likely_percent = price.likely_cycles.map(|cycles| 100.0 * cycles / time.estimate);
            Some(price)
        };
        PRICED.into_iter().filter_map(price).collect()
    };
    let prices = recorded.workloads.iter().flat_map(of).collect();
    KernelTime { recorded, native, prices }
}
