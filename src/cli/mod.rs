//! The command line: a file per subcommand.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod ab;
mod compare;
mod conditions;
mod counted;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
mod export;
pub mod filter;
mod gate;
mod handshake;
#[cfg(feature = "linux")]
mod linux;
mod list;
mod measured;
mod predict;
mod progress;
mod report;
mod run;
mod selftest;

use crate::suite::{Suite, SuiteError};
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
    /// Real Linux kernels, counted to the instruction
    #[cfg(feature = "linux")]
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

/// Runs the command line of this process for a suite: what `main` of a program or of a bench target with
/// `harness = false` consists of.
///
/// All subcommands of `pvbench` are there, for the suite's ops, mechanisms and workloads. Workers are this program, started
/// again. Under `cargo bench` the command is `run` where none is named, so that `cargo bench` measures and
/// `cargo bench -- --quick` does it in a few seconds.
///
/// ```no_run
/// # struct Read;
/// # impl pvbench::op::Function for Read {
/// #     const NAME: &'static str = "read";
/// #     const SLOT: usize = pvbench::op::FIRST_USER_SLOT;
/// #     type Args = ();
/// #     type Ret = u64;
/// #     fn native(_: ()) -> u64 { 1 }
/// #     fn arguments() {}
/// # }
/// fn main() -> std::process::ExitCode {
///     pvbench::main(pvbench::Suite::builder("uart").op::<Read>().build())
/// }
/// ```
#[must_use]
pub fn main(suite: Result<Suite, SuiteError>) -> ExitCode {
    ignore_file_size_signal();
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => {
            error::print(&error.into());
            return Exit::Usage.into();
        }
    };
    if std::env::args_os().len() == 1 && suite.name() != env!("CARGO_PKG_NAME") {
        // `cargo test --benches` starts a bench target like this: that the suite is in order is all there is to test.
        return ended(list::list(&list::ListArgs::default(), &suite));
    }
    let cli = match parse(suite.name(), std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Run(args) => run::run(&args, &suite),
        Command::List(args) => list::list(&args, &suite),
        Command::Report(args) => report::report(&args),
        Command::Gate(args) => gate::gate(&args, &suite),
        Command::Compare(args) => compare::compare(&args),
        Command::Ab(args) => ab::ab(&args, &suite),
        Command::Export(args) => export::export(&args),
        Command::Explain(args) => explain::explain(&args, &suite),
        Command::Predict(args) => predict::predict(&args),
        #[cfg(feature = "linux")]
        Command::Linux(args) => linux::linux(&args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Worker => run::worker(suite),
    };
    ended(done)
}

/// The exit code of a subcommand, with its error printed.
fn ended(done: Done) -> ExitCode {
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

/// The command line under the suite's name.
fn parse(name: &'static str, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command().name(name).bin_name(name);
    let matches = command.try_get_matches_from_mut(arguments(args))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// `cargo bench` appends `--bench` to what it was given; then `run` goes without saying.
fn arguments(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.len() > 1 && args.last().is_some_and(|last| last == "--bench") {
        args.pop();
        let first = args.get(1).map(|first| first.to_string_lossy().into_owned());
        let for_all = |option: &str| ["-h", "--help", "-V", "--version"].contains(&option);
        if first.is_none_or(|first| first.starts_with('-') && !for_all(&first)) {
            args.insert(1, "run".into());
        }
    }
    args
}

/// Makes a write past a limit on file sizes (`ulimit -f`) an error that names the file instead of a sudden death.
fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours; nothing else in this process handles SIGXFSZ.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// The result of a subcommand.
type Done = Result<Exit, CliError>;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(args: &[&str]) -> Vec<String> {
        let args = std::iter::once("uart").chain(args.iter().copied()).map(OsString::from).collect();
        arguments(args).into_iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn cargo_bench_runs_where_no_command_is_named() {
        assert_eq!(given(&["--bench"]), ["run"]);
        assert_eq!(given(&["--quick", "--bench"]), ["run", "--quick"]);
        assert_eq!(given(&["list", "ops", "--bench"]), ["list", "ops"]);
        assert_eq!(given(&["--help", "--bench"]), ["--help"]);
        assert_eq!(given(&["list"]), ["list"]);
        assert_eq!(given(&[]), [""; 0]);
    }

    #[test]
    fn the_command_has_the_suites_name() {
        let help = parse("uart", vec!["uart".into(), "--help".into()]).err().map(|error| error.to_string());
        assert!(help.is_some_and(|help| help.contains("Usage: uart <COMMAND>")));
    }
}
