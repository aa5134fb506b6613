//! The section on a real kernel's hooks in the running kernel's time, with every factor of the percentages.

use super::{NOTHING, clipped};
use crate::report::Report;
use crate::report::claim::{KERNELS, digits, show};
use crate::report::kernel_time::{KernelTime, Range};
use crate::report::native::Denominator;
use crate::report::plots::number::{fixed, grouped, signed};
use crate::report::prediction_error::{state_coverage, state_likely_error};
use crate::report::schema::WorkloadResult;
use crate::stats::surroundings::Surroundings;

/// The section.
pub(super) struct Section {
    pub recorded: String,
    pub running: String,
    /// How many predictions of the report's own workloads hold within such bounds; empty without any.
    pub coverage: String,
    /// The mechanisms of the columns.
    pub kernels: Vec<&'static str>,
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
    pub beside: Vec<Beside>,
}

/// A workload of the model kernel beside that of the recorded kernel.
pub(super) struct Beside {
    pub name: String,
    pub model: Hooks,
    pub linux: Hooks,
}

/// What surrounds the hooks.
pub(super) struct Hooks {
    pub per_1000: String,
    pub distance: String,
    pub cold: String,
}

/// A workload.
pub(super) struct Row {
    pub workload: String,
    pub unit: String,
    pub hooks: String,
    pub per_1000: String,
    pub cold: String,
    /// Instructions that the kernel executes more if it is never patched; empty if they were not counted.
    pub instructions: String,
    pub cycles: String,
    pub kernel_share: String,
    pub prices: Vec<Priced>,
}

/// The price of a workload with a mechanism.
pub(super) struct Priced {
    /// What is likely between the bounds; empty if that is unknown.
    pub likely: String,
    pub percent: String,
    pub per_hook: String,
}

/// The section; `None` if the running kernel was not measured.
pub(super) fn section(report: &Report) -> Option<Section> {
    let time = report.kernel_time.as_ref()?;
    let rows: Vec<Row> = time.native.workloads.iter().filter_map(|native| row(time, native)).collect();
    Some(Section {
        recorded: describe_recorded(time),
        running: clipped(&time.native.kernel.describe(), 300),
        coverage: [state_coverage(report), state_likely_error(report)].join(" "),
        kernels: KERNELS.iter().map(|(.., name)| *name).collect(),
        rows,
        notes: list_notes(time),
        beside: report.workloads.iter().filter_map(|workload| compare(time, workload)).collect(),
    })
}

fn row(time: &KernelTime, native: &Denominator) -> Option<Row> {
    let recorded = time.recorded.workload(&native.workload)?;
    let priced = |(mechanism, state, _): &(&str, Option<&str>, &str)| {
        let price = time.price(&native.workload, mechanism, *state);
        let cycles = |range: Range| format!("{} to {} cycles a hook", fixed(range.low, 2), fixed(range.high, 1));
        Priced {
            percent: price.and_then(|it| it.percent).map_or_else(|| NOTHING.to_owned(), show),
            likely: price.and_then(|it| it.likely_percent).map_or_else(String::new, |it| format!("{}%", digits(it))),
            per_hook: price.map_or_else(String::new, |it| cycles(it.cycles_per_hook)),
        }
    };
    let cold: f64 = recorded.calls.values().map(|calls| calls.cold).sum();
    let per = |part: f64, all: f64| if all > 0.0 { part / all } else { 0.0 };
    let half = (native.cycles.high - native.cycles.low) / 2.0;
    Some(Row {
        workload: clipped(&native.workload, 60),
        unit: clipped(&native.unit, 40),
        hooks: fixed(recorded.hooks(), 1),
        per_1000: fixed(per(1000.0 * recorded.hooks(), recorded.instructions), 2),
        cold: format!("{}%", fixed(100.0 * per(cold, recorded.hooks()), 1)),
        instructions: recorded
            .never_patched_percent
            .map_or_else(String::new, |it| format!("{}% instructions if never patched", signed(it.estimate))),
        cycles: format!(
            "{} \u{b1}{}%",
            grouped(&format!("{:.0}", native.cycles.estimate)),
            fixed(100.0 * per(half, native.cycles.estimate), 1)
        ),
        kernel_share: native
            .kernel_share
            .map_or_else(String::new, |share| format!("{}% in the kernel", fixed(100.0 * share, 0))),
        prices: KERNELS.iter().map(priced).collect(),
    })
}

fn compare(time: &KernelTime, workload: &WorkloadResult) -> Option<Beside> {
    let model = workload.surroundings?;
    let linux = time.recorded.workloads.iter().find(|it| it.model.as_ref() == Some(&workload.name))?.surroundings?;
    let hooks = |it: Surroundings| Hooks {
        per_1000: fixed(it.hooks_per_1000, 1),
        distance: format!(
            "{} ({} to {})",
            fixed(it.distance_median, 0),
            fixed(it.distance_p10, 0),
            fixed(it.distance_p90, 0)
        ),
        cold: format!("{}%", fixed(100.0 * it.cold_share, 1)),
    };
    Some(Beside { name: clipped(&workload.name, 60), model: hooks(model), linux: hooks(linux) })
}

fn describe_recorded(time: &KernelTime) -> String {
    let parameters = match time.recorded.parameters.as_str() {
        "" => String::new(),
        parameters => format!(", booted with {}", clipped(parameters, 80)),
    };
    format!("{}{parameters}", clipped(&time.recorded.kernel, 90))
}

fn list_notes(time: &KernelTime) -> Vec<String> {
    let inflated = time.native.workloads.iter().filter_map(|it| Some((it, it.inflated.as_ref()?)));
    let mut notes: Vec<String> =
        inflated.map(|(it, why)| format!("{} is inflated: {}", clipped(&it.workload, 60), clipped(why, 300))).collect();
    let most = |of: fn(&crate::report::kernel_time::Price) -> f64| time.prices.iter().map(of).fold(0.0, f64::max);
    let unmeasured = most(|price| price.unmeasured_share);
    if unmeasured > 0.0 {
        notes.push(format!(
            "Up to {}% of the hooks call an op that this run did not measure: they have the median price of the others",
            fixed(100.0 * unmeasured, 0)
        ));
    }
    let as_hot = most(|price| price.cold_as_hot_share);
    if as_hot > 0.0 {
        notes.push(format!(
            "This run has no cold cells: up to {}% of the hooks are cold and priced as hot, so the upper bounds are \
             too low",
            fixed(100.0 * as_hot, 0)
        ));
    }
    let absent = time.native.absent.iter();
    notes.extend(absent.map(|it| format!("{} was not measured: {}", clipped(&it.what, 60), clipped(&it.reason, 300))));
    notes
}
