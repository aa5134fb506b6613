//! `pvbench linux replay`: times recordings as generated code, with the hooks behind each mechanism. Experimental.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{run_until_stopped, tick_during};
use crate::cli::Done;
use crate::cli::error::{CliError, warn};
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::cli::progress::ProgressLine;
use crate::clock::Clock;
use crate::host::pin;
use crate::linux::error::LinuxError;
use crate::linux::record::recording::Recording;
use crate::linux::record::{EXTENSION, read_all, shipped};
use crate::measure::workload_bench::WorkloadBench;
use crate::replay::measure::{ReplayPlan, measure};
use crate::replay::result::ReplayResult;
use crate::replay::{Assumptions, ReplayError, SiteKind, known};
use crate::run::session::Progress as _;
use crate::select::select;
use crate::stats::Interval;
use crate::suite::Suite;

pub const EXAMPLES: &str = "Examples:
  pvbench linux replay mmap_perf                       Debian's kernel 6.1, which ships with this program
  pvbench linux replay --recordings recordings --json
  pvbench linux replay mmap_perf --part 50             half of the recorded units
  pvbench linux replay mmap_perf --own                 a workload of the model kernel, whose cost is known";

/// Bound on the shown characters of a name, which comes from a file.
const MAX_NAME_CHARS: usize = 40;

/// Options of `linux replay`.
#[derive(Args)]
pub struct ReplayArgs {
    /// Workloads: getppid, mmap_perf, fault, .. (globs, separated by commas)
    #[arg(value_name = "WORKLOAD")]
    workload: Vec<String>,
    /// Recordings, or folders with some (default: those of Debian's kernel 6.1, which ship with this program)
    #[arg(long, value_name = "RECORDING", conflicts_with = "own")]
    recordings: Vec<PathBuf>,
    /// Replay workloads of this suite, which are recorded now: what their hooks cost can be measured
    #[arg(long)]
    own: bool,
    /// Folder to write the recordings of --own to
    #[arg(long, value_name = "DIR", requires = "own")]
    save: Option<PathBuf>,
    /// Mechanisms: patched, direct, table, retpoline (globs, separated by commas)
    #[arg(long, value_name = "GLOB")]
    mechanism: Vec<String>,
    /// Placements of code and data, each drawn anew
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=1000))]
    placements: u64,
    /// Blocks of each placement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    blocks: u64,
    /// Share of the recorded units to replay, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
    part: u64,
    /// Factor of the size of the stream that drives the replay: the result must not follow it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    stream_factor: u32,
    /// Operations that wait for the one before, in percent: a recording does not say it
    #[arg(long, value_name = "PERCENT", default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=100))]
    chained: u64,
    /// Accesses whose address waits for the last load, in percent: a recording does not say it
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
    after_load: u64,
    /// Seed of placements and orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// CPU to run on
    #[arg(long, value_name = "CPU")]
    cpu: Option<usize>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Replays recordings.
pub fn replay(args: &ReplayArgs, suite: &Suite) -> Done {
    run_until_stopped(|stop| run(args, suite, stop))
}

fn run(args: &ReplayArgs, suite: &Suite, stop: &AtomicBool) -> Done {
    if let (Clock::Os, reason) = Clock::choose(None) {
        return Err(ReplayError::Clock(reason.unwrap_or_else(|| "the OS clock is used".to_owned())).into());
    }
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    let mut failed = None;
    let recordings = if args.own { record_own(args, suite, &mut failed)? } else { read(args)? };
    let plan = plan(args)?;
    let progress = Mutex::new(ProgressLine::with_steps(recordings.len() * plan.placements));
    if let Ok(mut progress) = progress.lock() {
        progress.begin();
    }
    let mut results = Vec::new();
    let measured = tick_during(&progress, || {
        for recording in &recordings {
            let name = clip(&recording.about.workload);
            let step = |placement: usize| {
                if let Ok(mut progress) = progress.lock() {
                    progress.advance(name.clone(), format!("placement {}", placement + 1));
                }
            };
            match measure(recording, &plan, stop, &step) {
                Ok(result) => results.push(result),
                Err(error @ (ReplayError::Interrupted | ReplayError::Code(_))) => return Err(error),
                // The others go on.
                Err(error) => {
                    warn(&error.to_string());
                    failed = Some(error.is_usage());
                }
            }
        }
        Ok(())
    });
    drop(progress);
    measured?;
    if args.json {
        let mut out = stdout();
        serde_json::to_writer_pretty(&mut out, &results)?;
        writeln!(out)?;
    } else {
        print(&results)?;
    }
    Ok(match failed {
        None => Exit::Fine,
        Some(true) => Exit::Usage,
        Some(false) => Exit::Failed,
    })
}

fn plan(args: &ReplayArgs) -> Result<ReplayPlan, CliError> {
    let names: Vec<&str> = SiteKind::TREATMENTS.iter().map(|kind| kind.name()).collect();
    let chosen = select("mechanism", &args.mechanism, &names)?;
    Ok(ReplayPlan {
        mechanisms: chosen.iter().filter_map(|index| SiteKind::TREATMENTS.get(*index).copied()).collect(),
        placements: args.placements as usize,
        blocks: args.blocks as usize,
        assumptions: Assumptions {
            chained: args.chained as f64 / 100.0,
            address_after_load: args.after_load as f64 / 100.0,
            stream_factor: args.stream_factor,
        },
        part: args.part as f64 / 100.0,
        seed: args.seed,
    })
}

fn read(args: &ReplayArgs) -> Result<Vec<Recording>, CliError> {
    let recordings = if args.recordings.is_empty() { shipped::read() } else { read_all(&args.recordings) };
    let recordings = recordings.map_err(LinuxError::from)?;
    let names: Vec<&str> = recordings.iter().map(|recording| recording.about.workload.as_str()).collect();
    let chosen = select("workload", &args.workload, &names)?;
    let is_chosen = |index: usize| chosen.contains(&index);
    Ok(recordings.into_iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, it)| it).collect())
}

/// Records workloads of this suite by tracing them. `failed` says whether one could not be, and whether the input is at
/// fault.
fn record_own(args: &ReplayArgs, suite: &Suite, failed: &mut Option<bool>) -> Result<Vec<Recording>, CliError> {
    let (ops, workloads) = (suite.ops(), suite.workloads());
    let names: Vec<&str> = workloads.iter().map(|entry| entry.meta.name).collect();
    let chosen = select("workload", &args.workload, &names)?;
    let mut recordings = Vec::new();
    for entry in chosen.iter().filter_map(|index| workloads.get(*index)) {
        let workload = entry.meta.name;
        let untraceable = |reason: String| ReplayError::Untraceable { workload: workload.to_owned(), reason };
        let bench = WorkloadBench::new(ops, workloads.to_vec(), args.seed, Clock::Tsc);
        let mut bench = bench.map_err(|error| untraceable(error.to_string()))?;
        match known::record(&mut bench, workload, entry.meta.unit) {
            Ok(recording) => {
                if let Some(folder) = &args.save {
                    save(&recording, folder)?;
                }
                recordings.push(recording);
            }
            Err(reason) => {
                warn(&untraceable(reason).to_string());
                *failed = Some(false);
            }
        }
    }
    Ok(recordings)
}

/// Writes a recording to a folder.
fn save(recording: &Recording, folder: &Path) -> Result<(), LinuxError> {
    let path = folder.join(format!("{}.{EXTENSION}", recording.about.workload));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, recording.to_bytes()?));
    written.map_err(|source| LinuxError::File { path, source })
}

fn clip(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

fn print(results: &[ReplayResult]) -> Result<(), CliError> {
    let mut out = stdout();
    let shown = |it: &Interval| format!("{:.1} ({:.1} to {:.1})", it.estimate, it.low, it.high);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mechanisms: Vec<&str> =
        results.first().map(|it| it.cycles_per_hook.keys().copied().collect()).unwrap_or_default();
    let head = ["workload", "hooks per unit", "cycles per unit, inline", "A/A, repeat", "A/A, copy"];
    table.set_header(head.iter().chain(&mechanisms).copied().collect::<Vec<_>>());
    for it in results {
        let mut row = vec![
            clip(&it.workload),
            format!("{:.1}", it.hooks_per_unit),
            format!("{:.0}", it.inline_cycles.estimate),
            shown(&it.repeat_cycles_per_hook),
            shown(&it.copy_cycles_per_hook),
        ];
        row.extend(it.cycles_per_hook.values().map(shown));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "core cycles per hook above inline, in the replayed surroundings (experimental)\n{table}")?;
    writeln!(out, "\nThe replay has the recorded order, lines and branches; what instructions wait for is assumed.")?;
    writeln!(out, "docs/validation.md has where it holds and where it does not.")?;
    Ok(())
}
