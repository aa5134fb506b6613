//! What stands beside the results: plan, machine, calibration, checks.

use crate::dispatch::Platform;
use crate::host::{Check, Machine, Status};
use crate::report::Report;
use crate::report::plots::grid::finite;
use crate::report::plots::number::{NOTHING, clipped, fixed, grouped, interval, plain, plural};
use crate::report::schema::{Calibration, PlanSummary, RegimeFloor};

/// A name and what is known of it.
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// A fact of a name of this page and a value that is safe to show.
pub fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.to_owned(), value: value.into() }
}

/// Untrusted text, shown whole up to a length that no honest report needs.
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
        fact("bodies", list(plan.bodies.iter().map(|b| Platform::name(*b)))),
        fact("layouts", format!("loop heads at {} within 128 bytes", list(plan.layouts.iter()))),
        fact("workers", workers(plan)),
        fact("rounds", format!("{} per group and worker, and one more at one layout", plan.rounds)),
        fact("window", format!("at least {} core cycles", grouped(&plan.window_cycles.to_string()))),
        fact(
            "pinned to",
            match (plan.cpu, plan.beside) {
                (None, _) => "no CPU: pinning was not allowed".to_owned(),
                (Some(cpu), None) => format!("CPU {cpu}"),
                (Some(cpu), Some(beside)) => format!("CPU {cpu}; workloads to CPU {beside}, too"),
            },
        ),
        fact("confidence", format!("{}%", fixed(plan.confidence * 100.0, 0))),
        fact("started", shown(&run.started)),
        fact("took", format!("{} s", plain(run.duration_seconds))),
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

/// The machine, without what it does about flaws. What could not be read is said to be unknown.
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
        fact("CPUs allowed", machine.cpus_allowed.as_ref().map_or_else(|| "unknown".to_owned(), |cpus| allowed(cpus))),
        fact(
            "hypervisor",
            match machine.virtualised.as_deref() {
                None => "none shows itself".to_owned(),
                Some("") => "one without a name".to_owned(),
                Some(name) => shown(name),
            },
        ),
        fact("kernel", text(&machine.kernel)),
        fact("system", text(&machine.os)),
        fact(
            "time stamp counter",
            machine.tsc_hz.map_or_else(
                || "CPUID does not tell its rate".to_owned(),
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

/// Count and list, so that neither is taken for the other: `2 (CPU 0, 1)`.
fn allowed(cpus: &[u32]) -> String {
    if cpus.is_empty() { NOTHING.to_owned() } else { format!("{} (CPU {})", cpus.len(), list(cpus)) }
}

/// What the kernel does about the CPU's flaws.
pub fn mitigations(machine: &Machine) -> Vec<Fact> {
    machine.mitigations.iter().map(|(name, state)| fact(&shown(name), shown(state))).collect()
}

/// Floor and calibration, as short as the side panel needs.
pub fn panel(report: &Report) -> Vec<Fact> {
    let mut facts = Vec::new();
    match &report.floor {
        Some(floor) => {
            let what = if report.floors.is_empty() { "floor" } else { "floor over all regimes" };
            facts.push(fact(what, format!("{} cycles, or {}%", plain(floor.cycles), plain(floor.ratio * 100.0))));
            facts.push(fact("from", format!("{} {}", floor.groups, plural(floor.groups, "group", "groups"))));
            facts.push(fact(
                "typical A/A",
                format!(
                    "same loop {}, a copy of it {} cycles",
                    plain(floor.same_loop_cycles),
                    plain(floor.copied_loop_cycles)
                ),
            ));
        }
        None => facts.push(fact("floor", "none: no group was finished")),
    }
    facts.extend(report.floors.iter().map(floor_of));
    match &report.calibration {
        Some(it) => facts.extend(calibration(it)),
        None => facts.push(fact("calibration", "none: no round was finished")),
    }
    facts
}

fn floor_of(floor: &RegimeFloor) -> Fact {
    let RegimeFloor { regime, cycles, ratio, groups, .. } = floor;
    let groups = format!("{groups} {}", plural(*groups, "group", "groups"));
    fact(
        &format!("floor, {}", regime.name()),
        format!("{} cycles, or {}%; {groups}", plain(*cycles), plain(ratio * 100.0)),
    )
}

fn calibration(it: &Calibration) -> Vec<Fact> {
    let range = |e| finite(e).map_or_else(|| NOTHING.to_owned(), interval);
    let clock = match &it.clock_reason {
        Some(reason) => format!("{}, since {}", shown(&it.clock), shown(reason)),
        None => shown(&it.clock),
    };
    vec![
        fact("core", format!("{} GHz", range(it.core_ghz))),
        fact(
            "adds per cycle",
            format!(
                "{}: what the core gave to this thread",
                it.adds_per_cycle.map_or_else(|| NOTHING.to_owned(), range)
            ),
        ),
        fact(
            "disturbed",
            format!("{}% of the rounds: another thread had part of the core", fixed(it.disturbed_share * 100.0, 0)),
        ),
        fact(
            "dropped",
            format!(
                "{} of {} rounds, and {} values in the others: the machine changed its pace, or another thread came in between",
                it.dropped_rounds,
                it.rounds + it.dropped_rounds,
                it.dropped_values
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

/// The checks of a status.
pub fn checks(report: &Report, status: Status) -> Vec<Checked> {
    let (class, mark, word) = match status {
        Status::Bad => ("bad", "\u{2715}", "bad"),
        Status::Unknown => ("unk", "?", "unknown"),
        Status::Known => ("ok", "\u{2713}", "fine"),
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
        0 => format!("{} processes, one after the other", plan.workers),
        again => {
            format!(
                "{} processes, one after the other, and {again} more for what was disturbed or undecided",
                plan.workers
            )
        }
    }
}
