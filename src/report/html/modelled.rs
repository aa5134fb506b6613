//! What a report measures for real, what stands in for something else, and what its numbers may be used for.

use crate::op::{Kind, Since};
use crate::report::Report;
use crate::report::plots::number::{clipped, plural};
use crate::report::prediction_error::PredictionError;

/// Maximum number of modelled ops that are named.
const MAX_NAMED: usize = 12;

/// A part of the report.
pub struct Part {
    pub what: String,
    pub is: String,
    pub use_for: &'static str,
    pub not_for: &'static str,
}

fn part(what: &str, is: impl Into<String>, use_for: &'static str, not_for: &'static str) -> Part {
    Part { what: what.to_owned(), is: is.into(), use_for, not_for }
}

/// The parts that this report has.
pub fn list_parts(report: &Report) -> Vec<Part> {
    let mut parts = vec![part(
        "the way to an operation",
        "real: the machine code that a compiler or Linux makes, executed by this CPU in user mode",
        "what one way costs more than another",
        "what a kernel's own switches (IBRS, page tables, interrupts) add",
    )];
    let of = |kind| report.catalogue.ops.iter().filter(move |op| op.native_kind == kind);
    let (real, modelled) = (of(Kind::Real).count(), of(Kind::Modelled).count());
    if real > 0 {
        let is = format!("real: the very {}, {real} {}", plural(real, "instruction", "instructions"), ops(real));
        parts.push(part(
            "operations that user mode may execute",
            is,
            "the overhead, and the time of the operation",
            "-",
        ));
    }
    if modelled > 0 {
        let named: Vec<String> = of(Kind::Modelled).take(MAX_NAMED).map(|op| clipped(&op.name, 40)).collect();
        let more = if modelled > MAX_NAMED { format!(" and {} more", modelled - MAX_NAMED) } else { String::new() };
        parts.push(part(
            "privileged operations",
            format!(
                "modelled: loads and stores stand in for the instruction, {modelled} {} ({}{more})",
                ops(modelled),
                named.join(", ")
            ),
            "the overhead of a call of a short operation",
            "the time of the operation; a slow real instruction hides more of the call",
        ));
    }
    if report.catalogue.ops.iter().any(|op| op.since != Since::NotLinux) {
        parts.push(part(
            "patched sites, static calls, jump labels",
            "real: this process writes into its own code what Linux writes",
            "what a patched site costs to execute",
            "what patching itself costs",
        ));
    }
    parts.push(part(
        "cold",
        "modelled: other code overruns the predictors before 4,096 sites run once each; data stays in the caches",
        "the order of mechanisms where code runs rarely",
        "the time of a given cold path",
    ));
    if !report.workloads.is_empty() {
        parts.push(part(
            "workloads",
            "modelled: a kernel in user space without interrupts and devices; it calls hooks more densely than Linux",
            "the order of mechanisms; the cost of hooks beside that of other options",
            "the percentage that Linux pays",
        ));
    }
    if !report.catalogue.options.is_empty() {
        parts.push(part(
            "other kernel options",
            "modelled: what the option adds to the model kernel",
            "whether hooks cost more or less than usual options",
            "what the option costs in Linux",
        ));
    }
    if report.workloads.iter().flat_map(|it| &it.kernels).any(|kernel| kernel.predicted_percent.is_some()) {
        let error = PredictionError::of(report).map_or_else(String::new, |it| format!(". {}", it.sentence()));
        parts.push(part(
            "predictions",
            format!("computed. Simple product: calls of each hook times its overhead where the code is hot{error}"),
            "a first guess for a kernel whose calls were counted",
            "a plan: calls that hide behind other work cost less, and calls that lose predictions cost more",
        ));
    }
    if report.linux.is_some() {
        parts.push(part(
            "real kernels",
            "real code, counted under an emulator: instructions, no time",
            "which hooks Linux calls, and how often",
            "time",
        ));
    }
    parts
}

fn ops(count: usize) -> &'static str {
    plural(count, "op", "ops")
}
