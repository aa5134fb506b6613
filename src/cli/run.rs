//! `pvbench run`

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::conditions::Conditions;
use super::error::CliError;
use super::exit::Exit;
use super::inherited::stop_on_signals;
use super::measured::{Here, measure};
use super::output::{Unwritten, stdout};
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
  pvbench run --quick                            a few ops, throughput alone, in under 20 s
  pvbench run --op 'pte_val,set_*' --mechanism 'table,direct' --regime throughput --time 20
  pvbench run --seed 7 --cpu 1 --out /tmp/report";

/// Options of `run`.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Keep the samples in FILE, too: `pvbench report --samples FILE` makes the report from them again
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Where report.json, index.html and plots/ go
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,
}

/// What is measured, and how hard.
#[derive(Args)]
pub struct Selection {
    /// A few ops of different shape, as the suite chose them, throughput alone: under 20 s
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All ops and regimes at 64 layouts, in 20 minutes
    #[arg(long)]
    full: bool,
    /// Ops to measure: a glob, several with commas or by repeating
    #[arg(long, value_name = "GLOB")]
    op: Vec<String>,
    /// Mechanisms to measure beside inline
    #[arg(long, value_name = "GLOB")]
    mechanism: Vec<String>,
    /// Regimes: throughput, latency, pressure, cold, flushed, random2, random4, random8
    #[arg(long, value_name = "GLOB")]
    regime: Vec<String>,
    /// Bodies the mechanisms are bound to: native, xen (of a function of yours: alternative); the baseline is inline
    /// native always
    #[arg(long, value_name = "GLOB", default_value = "native")]
    body: Vec<String>,
    /// Macro benchmarks, which `list workloads` names; with neither --op nor --regime, they alone
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    #[command(flatten)]
    pub conditions: Conditions,
    /// Seconds the workers may take altogether; twice the time for widths smaller by a third
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    time: Option<u32>,
    /// Exactly so many worker processes, each through everything, however long that takes
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = clap::value_parser!(u16).range(2..=1000))]
    workers: Option<u16>,
    /// At how many offsets within 128 bytes to have every loop, up to 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_LAYOUTS as i64))]
    layouts: Option<u8>,
}

/// The part of `--time` that workloads get where there are cells, too.
const WORK_SHARE: f64 = 0.45;

/// The worker process's side.
pub fn worker(suite: Suite) -> Done {
    let (mut ops, workloads) = suite.into_parts();
    ops.extend(selftest::entries());
    serve(ops, workloads, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
    Ok(Exit::Fine)
}

/// Plans, measures, estimates, reports.
pub fn run(args: &RunArgs, suite: &Suite) -> Done {
    let stop = stop_on_signals()?;
    let here = Here::ask(&args.selection.conditions);
    let plan = plan(&args.selection, suite, &here)?;
    let mut work = work_plan(&args.selection, suite, plan.preset)?;
    work.plan.second_cpu = here.second_cpu(&args.selection.conditions, suite, &work.plan.workloads);
    // Before a minute of measuring: can it be written, and may the workers be pinned?
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
    // Page and summary are made from the numbers as they were written, so that `pvbench report` makes the same page.
    let report: Report = serde_json::from_slice(&document)?;
    let mut unwritten = Unwritten::default();
    unwritten.report(&args.out, &report, document);
    let mut out = stdout();
    write!(out, "{}", terminal::summary(&report))?;
    if unwritten.is_empty() {
        writeln!(out, "\n{}", args.out.join("index.html").display())?;
    }
    if stop.load(Ordering::Relaxed) && unwritten.is_empty() {
        error::warn("interrupted: the report holds what was measured until then and says so");
    }
    let measured = report.cells.iter().any(|cell| cell.overhead.is_some())
        || report.workloads.iter().any(|workload| workload.inline_cycles.is_some());
    Ok(unwritten.ended(if report.run.complete && measured { Exit::Fine } else { Exit::Failed }))
}

/// The plan of a selection.
pub fn plan(args: &Selection, suite: &Suite, here: &Here) -> Result<Plan, CliError> {
    let movable = here.movable();
    let preset = match (args.quick, args.full) {
        (true, _) => Preset::Quick,
        (_, true) => Preset::Full,
        _ => Preset::Default,
    };
    let ops = suite.ops();
    let names: Vec<&str> = ops.iter().map(|op| op.meta.name).collect();
    let quick = owned(suite.choices().quick_ops);
    let wanted = if args.op.is_empty() && preset == Preset::Quick { &quick } else { &args.op };
    let chosen = select("op", wanted, &names)?;
    let regimes: Vec<Regime> = if args.regime.is_empty() && preset == Preset::Quick {
        vec![Regime::Throughput]
    } else {
        let names = Regime::ALL.map(Regime::name);
        select("regime", &args.regime, &names)?.into_iter().map(|i| Regime::ALL[i]).collect()
    };
    let bodies = [BodyKind::Native, BodyKind::Xen];
    // Outside the catalogue the other body is no Xen's.
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
        // Those that cannot reach it would measure the native body under the name of Xen's.
        mechanisms.retain(|m| m.switches);
    }
    if mechanisms.is_empty() && args.mechanism.iter().all(|m| m != "inline") {
        return Err(CliError::Usage(
            "none of these mechanisms can reach that body; see `pvbench list mechanisms`".into(),
        ));
    }
    // A choice of ops or regimes is meant for the cold ones, too.
    let narrow = args.op.is_empty() && args.regime.is_empty() && preset != Preset::Full;
    // Loops that cannot be copied are at one place, whichever it is.
    let layouts = if movable { offsets(args.layouts.map_or(preset.layouts(), usize::from)) } else { vec![0] };
    let cold = |name| suite.choices().cold_ops.is_none_or(|ops| ops.contains(&name));
    let mut groups = Vec::new();
    for op in chosen.iter().map(|&i| &ops[i]) {
        for &regime in regimes.iter().filter(|&&regime| op.pairs.iter().all(|p| p.loop_of(regime).is_some())) {
            // Every copy of a train lies at an offset of its own: one layout has them all.
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
        let message = "these ops have no loop in these regimes: latency needs an argument and a result";
        return Err(CliError::Usage(message.into()));
    }
    let with_workloads = args.op.is_empty() && args.regime.is_empty() || !args.workload.is_empty();
    let share = if with_workloads { 1.0 - WORK_SHARE } else { 1.0 };
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
    let least = 2.0 * plan.worker_seconds();
    if let Some(seconds) = args.time
        && least > time.as_secs_f64()
    {
        return Err(CliError::Usage(format!(
            "--time {seconds}: two workers over {} groups take about {least:.0} s; name fewer ops, mechanisms or regimes, \
             or --layouts {}",
            plan.comparisons.len(),
            (plan.layouts() / 2).max(1)
        )));
    }
    Ok(plan)
}

/// Whether cells are left out: workloads were named, and neither ops nor regimes.
fn only_workloads(args: &Selection) -> bool {
    !args.workload.is_empty() && args.op.is_empty() && args.regime.is_empty()
}

/// The names of a choice; none where there is no choice, which stands for all.
fn owned(names: Option<&[&str]>) -> Vec<String> {
    names.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}

/// Rounds of a workload per worker, each with kernels at other places: so many take as long as getting ready for them.
pub const WORK_ROUNDS: usize = 8;

/// Workloads that were chosen.
pub struct Chosen {
    /// Those that can be had here.
    pub plan: WorkPlan,
    /// The others, and why.
    pub absent: Vec<Unavailable>,
}

/// Which workloads to measure, on which kernels, and which cannot be had here. None where ops or regimes were named and
/// no workload.
pub fn work_plan(args: &Selection, suite: &Suite, preset: Preset) -> Result<Chosen, CliError> {
    let entries = suite.workloads();
    let names: Vec<&str> = entries.iter().map(|entry| entry.meta.name).collect();
    let quick = owned(suite.choices().quick_workloads);
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
        let message = "workloads are measured on bare metal; leave --body out, or name native, too";
        return Err(CliError::Usage(message.to_owned()));
    }
    if !native {
        chosen.clear();
    }
    let lacking = |&i: &usize| {
        let reason = (entries[i].unavailable)()?;
        Some(Unavailable { what: format!("workload {}", names[i]), reason })
    };
    let absent: Vec<Unavailable> = chosen.iter().filter_map(lacking).collect();
    chosen.retain(|i| lacking(i).is_none());
    if let (true, Some(Unavailable { what, reason })) = (chosen.is_empty(), absent.first()) {
        return Err(CliError::Usage(format!("{what}: {reason}")));
    }
    let all = suite.mechanism_metas();
    let mechanism_names: Vec<&str> = all.iter().map(|m| m.name).collect();
    let decisive = owned(suite.choices().workload_mechanisms);
    let wanted = if args.mechanism.is_empty() && preset != Preset::Full { &decisive[..] } else { &args.mechanism };
    let mechanisms = select("mechanism", wanted, &mechanism_names)?;
    let columns = mechanisms.into_iter().map(|i| all[i]).filter(|m| m.name != "inline");
    let columns = columns.flat_map(|mechanism| Variant::of(&mechanism));
    // A whole kernel has no NOP where an op does something; where it does nothing, `inline` is that NOP.
    let columns = columns.filter(|column| column.state != Some(State::Nop)).map(KernelVariant::Mechanism);
    let mut options = Vec::new();
    // Those are the model kernel's.
    if entries.iter().any(|entry| !entry.options.is_empty()) {
        options = option_infos();
    }
    let options = options.into_iter().map(|option| KernelVariant::Option(option.name));
    let time = match (args.time, only_workloads(args)) {
        (None, _) => preset.work_time(),
        (Some(seconds), true) => Duration::from_secs(seconds.into()),
        (Some(seconds), false) => Duration::from_secs(seconds.into()).mul_f64(WORK_SHARE),
    };
    let plan = WorkPlan {
        workloads: chosen.into_iter().map(|i| names[i].to_owned()).collect(),
        kernels: columns.chain(options).collect(),
        workers: args.workers.map_or(Workers::Within(time), |workers| Workers::Exactly(workers.into())),
        rounds: WORK_ROUNDS,
        second_cpu: None,
    };
    Ok(Chosen { plan, absent })
}
