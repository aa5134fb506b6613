//! `pvbench run`: measures and writes a report.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::conditions::Conditions;
use super::error::CliError;
use super::exit::Exit;
use super::inherited::stop_on_signals;
use super::measured::{HostContext, measure};
use super::output::{FailedWrites, stdout};
use super::{Done, error};
use crate::measure::plan::{Comparison, MAX_LAYOUTS, Plan, Preset, Variant, WINDOW_CYCLES, Workers, offsets};
use crate::measure::work::KernelVariant;
use crate::measure::work_parent::WorkPlan;
use crate::measure::worker::serve;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::Unavailable;
use crate::report::{Report, terminal, write};
use crate::run::catalogue::option_infos;
use crate::run::samples::{FORMAT, Header, SamplesWriter};
use crate::select::select;
use crate::selftest;
use crate::suite::Suite;

pub const EXAMPLES: &str = "Examples:
  pvbench run                                    all ops, in three minutes
  pvbench run --quick                            a few ops, throughput only, in under 20 s
  pvbench run --op 'pte_val,set_*' --mechanism 'table,direct' --regime throughput --time 20
  pvbench run --seed 7 --cpu 1 --out /tmp/report";

/// Options of `run`.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Also keep the samples in FILE; `pvbench report --samples FILE` makes the report from them again
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Folder for report.json, index.html and plots/
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,
}

/// The ops, mechanisms and workloads to measure, and the effort for them.
#[derive(Args)]
pub struct Selection {
    /// A few ops of different shape, chosen by the suite; throughput only; under 20 s
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All ops and regimes at 64 layouts, in 20 minutes
    #[arg(long)]
    full: bool,
    /// Ops to measure: globs, separated by commas or in repeated options
    #[arg(long, value_name = "GLOB")]
    op: Vec<String>,
    /// Mechanisms to compare with inline
    #[arg(long, value_name = "GLOB")]
    mechanism: Vec<String>,
    /// Regimes: throughput, latency, pressure, cold, flushed, random2, random4, random8
    #[arg(long, value_name = "GLOB")]
    regime: Vec<String>,
    /// Bodies of the ops: native, xen (alternative for functions of your own); the reference is always native inline
    #[arg(long, value_name = "GLOB", default_value = "native")]
    body: Vec<String>,
    /// Workloads to run (`list workloads` has all); cells are skipped unless --op or --regime is given
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    #[command(flatten)]
    pub conditions: Conditions,
    /// Seconds for all workers together; twice the time narrows intervals by a third
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    time: Option<u32>,
    /// Number of worker processes, each of which measures everything; ignores the preset's time
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = clap::value_parser!(u16).range(2..=1000))]
    workers: Option<u16>,
    /// Code offsets of each loop within 128 bytes, 1 to 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_LAYOUTS as i64))]
    layouts: Option<u8>,
}

/// Share of `--time` that workloads get if cells are measured, too.
const WORKLOAD_SHARE: f64 = 0.45;

/// Runs this process as a worker.
pub fn worker(suite: Suite) -> Done {
    let (mut ops, workloads) = suite.into_parts();
    ops.extend(selftest::entries());
    serve(ops, workloads, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
    Ok(Exit::Fine)
}

/// Plans, measures, and writes the report with its page.
pub fn run(args: &RunArgs, suite: &Suite) -> Done {
    let stop = stop_on_signals()?;
    let here = HostContext::ask(&args.selection.conditions);
    let plan = plan(&args.selection, suite, &here)?;
    let mut work = work_plan(&args.selection, suite, plan.preset)?;
    work.plan.second_cpu = here.second_cpu(&args.selection.conditions, suite, &work.plan.workloads);
    // A folder that cannot be written ends the command before it measures.
    write::prepare(&args.out)?;
    let writer = match &args.samples {
        Some(path) => {
            let (plan, kernels) = (plan.clone(), work.plan.kernels.clone());
            let header = Header { format: FORMAT.to_owned(), suite: suite.name().to_owned(), plan, kernels };
            Some(SamplesWriter::begin(path, &header)?)
        }
        None => None,
    };
    let document = measure(&plan, &work, suite, &here, writer, &stop)?;
    // Page and summary are made from the numbers as written, so that `pvbench report` makes the same page.
    let report: Report = serde_json::from_slice(&document)?;
    let mut unwritten = FailedWrites::default();
    unwritten.report(&args.out, &report, document);
    let mut out = stdout();
    write!(out, "{}", terminal::summary(&report))?;
    if unwritten.is_empty() {
        writeln!(out, "\n{}", args.out.join("index.html").display())?;
    }
    if stop.load(Ordering::Relaxed) && unwritten.is_empty() {
        error::warn("interrupted: the report is incomplete and has only what was measured before");
    }
    let measured = report.cells.iter().any(|cell| cell.overhead.is_some())
        || report.workloads.iter().any(|workload| workload.inline_cycles.is_some());
    Ok(unwritten.ended(if report.run.complete && measured { Exit::Fine } else { Exit::Failed }))
}

/// Makes the plan of a selection of cells.
///
/// # Errors
/// A name matches nothing, nothing is left to measure, or `--time` is too short for two workers.
pub fn plan(args: &Selection, suite: &Suite, here: &HostContext) -> Result<Plan, CliError> {
    let movable = here.movable();
    let preset = match (args.quick, args.full) {
        (true, _) => Preset::Quick,
        (_, true) => Preset::Full,
        _ => Preset::Default,
    };
    let ops = suite.ops();
    let names: Vec<&str> = ops.iter().map(|op| op.meta.name).collect();
    let quick = to_owned_names(suite.choices().quick_ops);
    let wanted = if args.op.is_empty() && preset == Preset::Quick { &quick } else { &args.op };
    let chosen = select("op", wanted, &names)?;
    let regimes: Vec<Regime> = if args.regime.is_empty() && preset == Preset::Quick {
        vec![Regime::Throughput]
    } else {
        let names = Regime::ALL.map(Regime::name);
        select("regime", &args.regime, &names)?.into_iter().map(|i| Regime::ALL[i]).collect()
    };
    let bodies = [BodyKind::Native, BodyKind::Xen];
    // In suites of one's own the second body is named `alternative`.
    let asked: Vec<String> = args.body.iter().map(|body| body.replace("alternative", "xen")).collect();
    let chosen_bodies = select("body", &asked, &bodies.map(BodyKind::name))?;
    let all = suite.mechanism_metas();
    let mechanism_names: Vec<&str> = all.iter().map(|m| m.name).collect();
    let mut mechanisms: Vec<_> = select("mechanism", &args.mechanism, &mechanism_names)?
        .into_iter()
        .map(|i| all[i])
        .filter(|m| m.name != "inline")
        .collect();
    let xen = chosen_bodies.iter().any(|&i| bodies[i] == BodyKind::Xen);
    if xen {
        // Mechanisms that cannot reach Xen's body would measure the native one under its name.
        mechanisms.retain(|m| m.switches);
    }
    if mechanisms.is_empty() && args.mechanism.iter().all(|m| m != "inline") {
        return Err(CliError::Usage(
            "none of these mechanisms can reach that body; see the column bodies of `pvbench list mechanisms`".into(),
        ));
    }
    // Cold regimes measure only the suite's cold ops, unless ops or regimes are named.
    let narrow = args.op.is_empty() && args.regime.is_empty() && preset != Preset::Full;
    // Loops that cannot be copied have a single address, which the linker chose.
    let layouts = if movable { offsets(args.layouts.map_or(preset.layouts(), usize::from)) } else { vec![0] };
    let cold = |name| suite.choices().cold_ops.is_none_or(|ops| ops.contains(&name));
    let mut groups = Vec::new();
    for op in chosen.iter().map(|&i| &ops[i]) {
        for &regime in regimes.iter().filter(|&&regime| op.pairs.iter().all(|p| p.loop_of(regime).is_some())) {
            // The copies of an unrolled chain lie at all offsets, so one layout covers them.
            let layouts = if regime.is_cold() || regime.targets().is_some() { &layouts[..1] } else { &layouts[..] };
            let apart = regime.is_cold() || regime.targets().is_some();
            if apart && (!movable || (narrow && !cold(op.meta.name))) {
                continue;
            }
            for &body in &chosen_bodies {
                for &offset in layouts {
                    groups.push(Comparison { op: op.meta.name.to_owned(), body: bodies[body], regime, offset });
                }
            }
        }
    }
    if only_workloads(args) {
        groups.clear();
    } else if groups.is_empty() {
        let message = "these ops have no loop in these regimes; name others (latency needs an argument and a result)";
        return Err(CliError::Usage(message.into()));
    }
    let with_workloads = args.op.is_empty() && args.regime.is_empty() || !args.workload.is_empty();
    let share = if with_workloads { 1.0 - WORKLOAD_SHARE } else { 1.0 };
    let time = args.time.map_or(preset.time(), |seconds| Duration::from_secs(seconds.into()).mul_f64(share));
    let plan = Plan {
        preset,
        seed: args.conditions.seed(),
        comparisons: groups,
        variants: mechanisms.iter().flat_map(Variant::of).collect(),
        variants_by_comparison: Vec::new(),
        workers: args.workers.map_or(Workers::Within(time), |workers| Workers::Exactly(workers.into())),
        rounds: 1,
        window_cycles: WINDOW_CYCLES,
        cpu: here.cpu(&args.conditions),
        clock: here.clock,
    };
    let min_seconds = 2.0 * plan.worker_seconds();
    if let Some(seconds) = args.time
        && min_seconds > time.as_secs_f64()
    {
        return Err(CliError::Usage(format!(
            "--time {seconds} is too short: two workers over {} comparisons take about {min_seconds:.0} s; name fewer \
             ops, mechanisms or regimes, or --layouts {}",
            plan.comparisons.len(),
            (plan.layouts() / 2).max(1)
        )));
    }
    Ok(plan)
}

/// Whether cells are skipped: workloads are named, and neither ops nor regimes.
fn only_workloads(args: &Selection) -> bool {
    !args.workload.is_empty() && args.op.is_empty() && args.regime.is_empty()
}

/// Copies the names of a choice; no choice gives no names, which stands for all.
fn to_owned_names(names: Option<&[&str]>) -> Vec<String> {
    names.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}

/// Rounds of a workload per worker, each with its own kernel placement. They take about as long as their preparation.
pub const ROUNDS_PER_WORKLOAD: usize = 8;

/// The selected workloads.
pub struct WorkloadSelection {
    /// The plan of those that are available on this machine.
    pub plan: WorkPlan,
    /// The unavailable ones, with the reasons.
    pub absent: Vec<Unavailable>,
}

/// Makes the plan of the selected workloads. It is empty if ops or regimes are named and no workload.
///
/// # Errors
/// A name matches nothing, or none of the selected workloads is available.
pub fn work_plan(args: &Selection, suite: &Suite, preset: Preset) -> Result<WorkloadSelection, CliError> {
    let entries = suite.workloads();
    let names: Vec<&str> = entries.iter().map(|entry| entry.meta.name).collect();
    let quick = to_owned_names(suite.choices().quick_workloads);
    let wanted = if args.workload.is_empty() && preset == Preset::Quick { &quick[..] } else { &args.workload };
    let mut chosen = select("workload", wanted, &names)?;
    if args.workload.is_empty() && !(args.op.is_empty() && args.regime.is_empty()) {
        chosen.clear();
    }
    if args.workload.is_empty() && preset != Preset::Full {
        chosen.retain(|&i| entries[i].by_default);
    }
    let native = select("body", &args.body, &[BodyKind::Native, BodyKind::Xen].map(BodyKind::name))
        .is_ok_and(|bodies| bodies.contains(&0));
    if !native && !args.workload.is_empty() {
        let message = "workloads have native bodies only; leave --body out, or name native, too";
        return Err(CliError::Usage(message.to_owned()));
    }
    if !native {
        chosen.clear();
    }
    let find_absence = |&i: &usize| {
        let reason = (entries[i].unavailable)()?;
        Some(Unavailable { what: format!("workload {}", names[i]), reason })
    };
    let absent: Vec<Unavailable> = chosen.iter().filter_map(find_absence).collect();
    chosen.retain(|i| find_absence(i).is_none());
    if let (true, Some(Unavailable { what, reason })) = (chosen.is_empty(), absent.first()) {
        return Err(CliError::Usage(format!("{what}: {reason}")));
    }
    let all = suite.mechanism_metas();
    let mechanism_names: Vec<&str> = all.iter().map(|m| m.name).collect();
    let decisive = to_owned_names(suite.choices().workload_mechanisms);
    let wanted = if args.mechanism.is_empty() && preset != Preset::Full { &decisive[..] } else { &args.mechanism };
    let mechanisms = select("mechanism", wanted, &mechanism_names)?;
    let columns = mechanisms.into_iter().map(|i| all[i]).filter(|m| m.name != "inline");
    let columns = columns.flat_map(|mechanism| Variant::of(&mechanism));
    // A whole kernel cannot replace ops that do something by NOPs; where ops do nothing, `inline` has NOPs already.
    let columns = columns.filter(|column| column.state != Some(State::Nop)).map(KernelVariant::Mechanism);
    let mut options = Vec::new();
    // Only the model kernel has options.
    if entries.iter().any(|entry| !entry.options.is_empty()) {
        options = option_infos();
    }
    let options = options.into_iter().map(|option| KernelVariant::Option(option.name));
    let time = match (args.time, only_workloads(args)) {
        (None, _) => preset.work_time(),
        (Some(seconds), true) => Duration::from_secs(seconds.into()),
        (Some(seconds), false) => Duration::from_secs(seconds.into()).mul_f64(WORKLOAD_SHARE),
    };
    let plan = WorkPlan {
        workloads: chosen.into_iter().map(|i| names[i].to_owned()).collect(),
        kernels: columns.chain(options).collect(),
        workers: args.workers.map_or(Workers::Within(time), |workers| Workers::Exactly(workers.into())),
        rounds: ROUNDS_PER_WORKLOAD,
        second_cpu: None,
    };
    Ok(WorkloadSelection { plan, absent })
}
