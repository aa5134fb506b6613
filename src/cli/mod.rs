//! The command line: a file per subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ab;
mod compare;
mod conditions;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
mod export;
pub mod filter;
mod gate;
mod list;
mod predict;
mod progress;
mod report;
mod run;
mod selftest;

use error::CliError;
use exit::Exit;

/// What it costs to reach a low-level machine operation through an indirection instead of inline.
#[derive(Parser)]
#[command(name = "pvbench", version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 fine; 1 a budget is exceeded or something regressed; 2 bad usage or input; \
                        3 inconclusive; 4 the measurement failed.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and write report.json, index.html and plots
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Show what can be measured
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Make the HTML page and the plots again from a report
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Hold overheads against budgets: of a report, or measured now
    #[command(after_help = gate::EXAMPLES)]
    Gate(gate::GateArgs),
    /// What changed from one report to another
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::CompareArgs),
    /// Measure two builds in turn, and say what differs
    #[command(after_help = ab::EXAMPLES)]
    Ab(ab::AbArgs),
    /// A report in the format of another tool
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// The instructions that one op executes by a mechanism, decoded
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// What hooks cost a workload of yours, from how often it calls them
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// Measure what is known beforehand: does the instrument find it?
    #[command(after_help = selftest::EXAMPLES)]
    Selftest(selftest::SelftestArgs),
    /// Is this machine fit to measure on?
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// What `run` starts; reads an assignment from standard input
    #[command(hide = true)]
    Worker,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    ignore_file_size_signal();
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::list(&args),
        Command::Report(args) => report::report(&args),
        Command::Gate(args) => gate::gate(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Ab(args) => ab::ab(&args),
        Command::Export(args) => export::export(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Worker => run::worker(),
    };
    match done {
        Ok(exit) => exit.into(),
        // Whoever read our output has gone, as `head` does: nothing is wrong.
        Err(error) if error.is_broken_pipe() => Exit::Fine.into(),
        Err(error) => {
            error::print(&error);
            error.exit().into()
        }
    }
}

/// Makes a write past a limit on file sizes (`ulimit -f`) an error that names the file instead of a sudden death.
fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours; nothing else in this process handles SIGXFSZ.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// The result of a subcommand.
type Done = Result<Exit, CliError>;
