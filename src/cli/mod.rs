//! The command line: a file per subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod conditions;
mod counted;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
pub mod filter;
mod linux;
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
    /// The instructions that one op executes by a mechanism, decoded
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// What hooks cost a workload of yours, from how often it calls them
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// Real Linux kernels, counted to the instruction
    #[command(after_help = linux::EXAMPLES)]
    Linux(linux::LinuxArgs),
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
        Command::Explain(args) => explain::explain(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Linux(args) => linux::linux(&args),
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
