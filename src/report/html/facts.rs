//! Facts second the results: plan, machine, calibration and environment checks.

use crate::host::{Check, Machine, Status};
use crate::op::BodyKind;
use crate::report::Report;
use crate::report::plots::number::{NOTHING, clipped, fixed, grouped, interval, plain, plural};
use crate::report::schema::{Calibration, CentralRange, PlanSummary, RegimeFloor};
use crate::stats::Interval;

/// A name with its value.
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// Makes a fact from a name of this page and a value that is safe to show.
pub fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.to_owned(), value: value.into() }
}

/// Untrusted text, cut at 400 characters, more than an honest report needs.
fn shown(text: &str) -> String {
    clipped(text, 400)
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|it| it.to_string()).collect();
    if all.is_empty() { NOTHING.to_owned() } else { clipped(&all.join(", "), 1200) }
}

/// The plan.
pub fn plan(report: &Report) -> Vec<Fact> {
    let run = &report.run;
    let plan = &run.plan;
    vec![
        fact("preset", shown(&plan.preset)),
        fact("seed", run.seed.to_string()),
        fact("ops", plan.ops.to_string()),
        fact("mechanisms", list(plan.mechanisms.iter().map(|m| shown(m)))),
        fact("regimes", list(plan.regimes.iter().map(|r| r.name()))),
        fact("bodies", list(plan.bodies.iter().map(|b| BodyKind::name(*b)))),
        fact("layouts", format!("loop heads at offsets {} within 128 bytes", list(plan.layouts.iter()))),
        fact("workers", workers(plan)),
        fact("blocks", format!("{} per comparison and worker; one layout has one more", plan.rounds)),
        fact("window", format!("at least {} core cycles", grouped(&plan.window_cycles.to_string()))),
        fact(
            "pinned to",
            match (plan.cpu, plan.second_cpu) {
                (None, _) => "no CPU: pinning was not allowed".to_owned(),
                (Some(cpu), None) => format!("CPU {cpu}"),
                (Some(cpu), Some(second)) => format!("CPU {cpu}; workload workers also to CPU {second}"),
            },
        ),
        fact("confidence", format!("{}%", fixed(plan.confidence * 100.0, 0))),
        fact("started", shown(&run.started)),
        fact("duration", format!("{} s", plain(run.duration_seconds))),
        fact(
            "made by",
            format!(
                "{} {} ({} build)",
                shown(&report.tool.name),
                shown(&report.tool.version),
                shown(&report.tool.build)
            ),
        ),
    ]
}

fn bytes(number: u64) -> String {
    let (unit, name) = match number {
        n if n >= 1 << 30 => (f64::from(1 << 30), "GiB"),
        n if n >= 1 << 20 => (f64::from(1 << 20), "MiB"),
        _ => (1024.0, "KiB"),
    };
    let value = number as f64 / unit;
    format!("{} {name}", fixed(value, usize::from(value.fract() != 0.0)))
}

/// The facts of the machine, without mitigations. Values that could not be read are shown as unknown.
pub fn machine(machine: &Machine) -> Vec<Fact> {
    let text = |it: &Option<String>| it.as_deref().map_or_else(|| "unknown".to_owned(), shown);
    let number = |it: Option<u32>| it.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let mut facts = vec![
        fact("CPU", text(&machine.cpu_model)),
        fact("vendor", text(&machine.cpu_vendor)),
        fact(
            "family, model, stepping",
            format!(
                "{}, {}, {}",
                number(machine.cpu_family),
                number(machine.cpu_model_number),
                number(machine.cpu_stepping)
            ),
        ),
        fact("microcode", text(&machine.microcode)),
        fact("CPUs online", number(machine.cpus_online)),
        fact(
            "CPUs allowed",
            machine.cpus_allowed.as_ref().map_or_else(|| "unknown".to_owned(), |cpus| count_cpus(cpus)),
        ),
        fact(
            "hypervisor",
            match machine.virtualised.as_deref() {
                None => "none detected".to_owned(),
                Some("") => "detected, without a name".to_owned(),
                Some(name) => shown(name),
            },
        ),
        fact("kernel", text(&machine.kernel)),
        fact("system", text(&machine.os)),
        fact(
            "time stamp counter",
            machine.tsc_hz.map_or_else(
                || "CPUID does not give its rate".to_owned(),
                |hz| format!("{} MHz", fixed(hz as f64 / 1e6, 1)),
            ),
        ),
    ];
    let caches: Vec<String> = machine
        .caches
        .iter()
        .take(16)
        .map(|c| format!("L{} {} {}", c.level, clipped(&c.kind, 20).to_lowercase(), bytes(c.size_bytes)))
        .collect();
    facts.push(fact("caches", if caches.is_empty() { "unknown".to_owned() } else { caches.join(", ") }));
    facts.push(fact("memory", machine.memory_bytes.map_or_else(|| "unknown".to_owned(), bytes)));
    facts
}

/// Number and list of CPUs, in a form that keeps them apart: `2 (CPU 0, 1)`.
fn count_cpus(cpus: &[u32]) -> String {
    if cpus.is_empty() { NOTHING.to_owned() } else { format!("{} (CPU {})", cpus.len(), list(cpus)) }
}

/// The kernel's mitigations of CPU flaws.
pub fn mitigations(machine: &Machine) -> Vec<Fact> {
    machine.mitigations.iter().map(|(name, state)| fact(&shown(name), shown(state))).collect()
}

/// Noise and calibration, short enough for the side panel.
pub fn panel(report: &Report) -> Vec<Fact> {
    let mut facts = Vec::new();
    match &report.floor {
        Some(floor) => {
            // Noise over all regimes holds for none of them where each has its own.
            if report.floors.is_empty() {
                facts
                    .push(fact("noise", format!("{} cycles, or {}%", plain(floor.cycles), plain(floor.ratio * 100.0))));
            }
            facts.push(fact(
                "from",
                format!("{} {}", floor.comparisons, plural(floor.comparisons, "A/A comparison", "A/A comparisons")),
            ));
            facts.push(fact(
                "typical A/A",
                format!(
                    "{} cycles for the same loop, {} for its copy",
                    plain(floor.same_loop_cycles),
                    plain(floor.copied_loop_cycles)
                ),
            ));
        }
        None => facts.push(fact("noise", "none: no comparison was finished")),
    }
    facts.extend(report.floors.iter().map(describe_noise));
    match &report.calibration {
        Some(it) => facts.extend(calibration(it)),
        None => facts.push(fact("calibration", "none: no block was finished")),
    }
    facts
}

fn describe_noise(floor: &RegimeFloor) -> Fact {
    let RegimeFloor { regime, cycles, ratio, comparisons, .. } = floor;
    let comparisons = format!("{comparisons} {}", plural(*comparisons, "comparison", "comparisons"));
    fact(
        &format!("noise, {}", regime.name()),
        format!("{} cycles, or {}%; {comparisons}", plain(*cycles), plain(ratio * 100.0)),
    )
}

fn calibration(it: &Calibration) -> Vec<Fact> {
    let range = |CentralRange { median, low, high }| {
        let in_order = median.is_finite() && low.is_finite() && high.is_finite() && low <= high;
        if in_order { interval(Interval { estimate: median, low, high }) } else { NOTHING.to_owned() }
    };
    let clock = match &it.clock_reason {
        Some(reason) => format!("{}, because {}", shown(&it.clock), shown(reason)),
        None => shown(&it.clock),
    };
    vec![
        fact("core", format!("{} GHz", range(it.core_ghz))),
        fact(
            "core throughput",
            format!(
                "{} independent adds per cycle: the part of the core that this thread had",
                it.adds_per_cycle.map_or_else(|| NOTHING.to_owned(), range)
            ),
        ),
        fact(
            "contended",
            format!(
                "{}% of {} blocks: another thread had part of the core, and no time was left to wait for its end. A \
                 cell leaves them out if six workers have other blocks",
                fixed(it.contended_share * 100.0, 0),
                grouped(&it.rounds.to_string())
            ),
        ),
        fact(
            "dropped",
            format!(
                "{} more blocks, which were measured again: the core's frequency changed, or another thread came while \
                 there was time to wait. In the kept blocks, {} values whose two windows disagree",
                grouped(&it.dropped_rounds.to_string()),
                grouped(&it.dropped_values.to_string())
            ),
        ),
        fact("ticks per cycle", range(it.ticks_per_cycle)),
        fact("clock", format!("{clock}, {} ticks per \u{b5}s", plain(it.ticks_per_second / 1e6))),
    ]
}

/// An environment check as text.
pub struct Checked {
    pub id: String,
    pub detail: String,
    pub advice: Option<String>,
    pub class: &'static str,
    pub mark: &'static str,
    pub word: &'static str,
}

/// The environment checks with a status.
pub fn checks(report: &Report, status: Status) -> Vec<Checked> {
    let (class, mark, word) = match status {
        Status::Warning => ("bad", "\u{2715}", "warning"),
        Status::Unknown => ("unk", "?", "unknown"),
        Status::Ok => ("ok", "\u{2713}", "ok"),
    };
    let checked = |check: &Check| Checked {
        id: shown(&check.id),
        detail: shown(&check.detail),
        advice: check.advice.as_deref().map(shown),
        class,
        mark,
        word,
    };
    report.environment.iter().filter(|c| c.status == status).map(checked).collect()
}

fn workers(plan: &PlanSummary) -> String {
    match plan.workers_again {
        0 => format!("{} processes, one after another", plan.workers),
        again => {
            format!(
                "{} processes, one after another, and {again} more for contended or undecided comparisons",
                plan.workers
            )
        }
    }
}
