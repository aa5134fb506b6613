//! `pvbench linux native`: times the real kernel's workloads on the kernel that is running.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{run_until_stopped, tick_during};
use crate::cli::Done;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::native::{Wanted, measure};
use crate::cli::output::stdout;
use crate::cli::progress::ProgressLine;
use crate::linux::workload::WORKLOADS;
use crate::report::native::Native;
use crate::run::session::Progress as _;
use crate::select::select;

pub const EXAMPLES: &str = "Examples:
  pvbench linux native                                 all workloads, in 20 seconds
  pvbench linux native --workload mmap_perf --json
  pvbench linux native --cpu 1 --time 60";

/// Options of `linux native`.
#[derive(Args)]
pub struct NativeArgs {
    /// Workloads: getppid, mmap_perf, fault, .. (globs, separated by commas)
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    /// The CPU that the workloads run on (default: the one that `run` measures on)
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Seconds for all workloads together
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Times the workloads and prints their times.
pub fn native(args: &NativeArgs) -> Done {
    run_until_stopped(|stop| measure_until(args, stop))
}

fn measure_until(args: &NativeArgs, stop: &AtomicBool) -> Done {
    let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let workloads = select("workload", &args.workload, &names)?;
    let wanted = Wanted { workloads, time: Duration::from_secs(args.time), cpu: args.cpu };
    let mut progress = ProgressLine::with_steps(wanted.processes());
    progress.begin();
    let progress = Mutex::new(progress);
    let step = |workload: &str| {
        if let Ok(mut progress) = progress.lock() {
            progress.advance("running kernel".to_owned(), workload.to_owned());
        }
    };
    let measured = tick_during(&progress, || measure(&wanted, stop, &step));
    drop(progress);
    let native = measured?;
    if args.json {
        let mut out = stdout();
        serde_json::to_writer_pretty(&mut out, &native)?;
        writeln!(out)?;
    } else {
        print(&native)?;
    }
    Ok(if native.workloads.is_empty() { Exit::Failed } else { Exit::Fine })
}

fn print(native: &Native) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(out, "{}", native.kernel.describe())?;
    let mut table = Table::new();
    let head = ["workload", "unit", "cycles", "+-", "ns", "kernel", "blocks"];
    table.load_style(presets::NOTHING).set_header(head);
    for it in &native.workloads {
        let cycles = it.cycles;
        table.add_row([
            it.workload.clone(),
            it.unit.clone(),
            format!("{:.0}", cycles.estimate),
            format!("{:.1}%", (cycles.high - cycles.low) / 2.0 / cycles.estimate * 100.0),
            format!("{:.0}", it.ns),
            it.kernel_share.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0)),
            it.blocks.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "\ncore cycles per unit, as processes of the running kernel\n{table}")?;
    if native.workloads.iter().all(|it| it.kernel_share.is_none()) {
        writeln!(out, "The share of the kernel is unknown: it needs hardware counters.")?;
    }
    for it in &native.workloads {
        if let Some(why) = &it.inflated {
            writeln!(out, "{} is inflated: {why}", it.workload)?;
        }
    }
    for absent in &native.absent {
        writeln!(out, "{} was not measured: {}", absent.what, absent.reason)?;
    }
    Ok(())
}
