//! The table of a real kernel's hooks in the running kernel's time.

use super::reason;
use super::width::{Columns, Lines, Overflow};
use crate::report::Report;
use crate::report::claim::{KERNELS, Percent};
use crate::report::kernel_time::KernelTime;
use crate::report::native::Denominator;
use crate::report::plots::number::{clipped, fixed, signed};
use crate::report::subject::plain;

/// Adds the table; nothing if the running kernel was not measured.
pub(super) fn add(report: &Report, lines: &mut Lines) {
    let Some(time) = &report.kernel_time else { return };
    lines.skip();
    lines.say(&format!(
        "Percent of the running kernel's time (Linux {}) that the hooks of {} take: likely, and bounds, if the work \
         around them hides them, to if nothing does",
        time.native.kernel.release.as_deref().map_or("of unknown release".to_owned(), plain),
        plain(&clipped(&time.recorded.kernel, 60)),
    ));
    let header: Vec<&str> = ["workload", "unit", "hooks", "cold", "instructions", "cycles"]
        .into_iter()
        .chain(KERNELS.iter().map(|(.., name)| *name))
        .collect();
    let rows: Vec<Vec<String>> = time.native.workloads.iter().map(|native| row(time, native)).collect();
    let numbers = header.len() - 2;
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 2, numbers, overflow: Overflow::Split });
    if time.recorded.workloads.iter().any(|it| it.never_patched_percent.is_some()) {
        lines.say("instructions: how many more the kernel executes per unit if it is never patched, counted exactly");
    }
    for it in &time.native.workloads {
        if let Some(why) = &it.inflated {
            lines.say(&format!("{} is inflated: {}", plain(&it.workload), reason(why)));
        }
    }
    for absent in &time.native.absent {
        lines.say(&format!("{} was not measured: {}", plain(&absent.what), reason(&absent.reason)));
    }
}

fn row(time: &KernelTime, native: &Denominator) -> Vec<String> {
    let recorded = time.recorded.workload(&native.workload);
    let hooks = recorded.map_or(0.0, |it| it.hooks());
    let cold: f64 = recorded.map_or(0.0, |it| it.calls.values().map(|calls| calls.cold).sum());
    let price = |(mechanism, state, _): &(&str, Option<&str>, &str)| {
        let percent = time.price(&native.workload, mechanism, *state).and_then(Percent::of);
        percent.map_or_else(|| "-".to_owned(), Percent::columns)
    };
    [
        plain(&native.workload),
        plain(&native.unit),
        fixed(hooks, 1),
        format!("{}%", fixed(if hooks > 0.0 { 100.0 * cold / hooks } else { 0.0 }, 1)),
        recorded
            .and_then(|it| it.never_patched_percent)
            .map_or_else(|| "-".to_owned(), |it| format!("{}%", signed(it.estimate))),
        fixed(native.cycles.estimate, 0),
    ]
    .into_iter()
    .chain(KERNELS.iter().map(price))
    .collect()
}
