//! The command line: a file per subcommand.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod ab;
mod bench_target;
mod compare;
mod conditions;
mod counted;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
mod export;
mod gate;
mod handshake;
mod inherited;
#[cfg(feature = "linux")]
mod linux;
mod list;
mod measured;
mod output;
mod predict;
mod progress;
mod report;
mod run;
mod selftest;
mod tried;
mod words;

use crate::suite::{Suite, SuiteError};
use bench_target::{Call, Filter};
use error::CliError;
use exit::Exit;

/// What it costs to reach a low-level machine operation through an indirection instead of inline.
#[derive(Parser)]
#[command(name = "pvbench", version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 fine; 1 a budget is exceeded or something regressed; 2 bad usage or input; \
                        3 inconclusive; 4 the measurement failed, or its output could not be written. Of several, the \
                        first of 1, 2, 4, 3 counts.")]
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
/// `cargo bench -- --quick` does it in a few seconds. A name there is a filter: `cargo bench -- read` measures the ops
/// and workloads whose names contain it. `cargo test --benches` tries each of them once, and test runners get their
/// list with `--list`: a suite behaves as criterion's bench targets do. Reports go to `reports/NAME/latest`, with the
/// suite's name.
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
    inherited::settle();
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => {
            error::print(&error.into());
            return Exit::Usage.into();
        }
    };
    words::set_name(suite.name());
    let called = match called(&suite) {
        Ok(Called::Parsed(cli)) => cli,
        Ok(Called::Done(done)) => return ended(done),
        // Help and version are output, too.
        Err(error) if !error.use_stderr() => {
            let done = write!(output::stdout(), "{}", error.render().ansi());
            return ended(done.map(|()| Exit::Fine).map_err(CliError::Output));
        }
        Err(error) => error.exit(),
    };
    let done = match called.command {
        Command::Run(args) => run::run(&args, &suite),
        Command::List(args) => list::list(&args, &suite),
        Command::Report(args) => report::report(&args, &suite),
        Command::Gate(args) => gate::gate(&args, &suite),
        Command::Compare(args) => compare::compare(&args),
        Command::Ab(args) => ab::ab(&args, &suite),
        Command::Export(args) => export::export(&args),
        Command::Explain(args) => explain::explain(&args, &suite),
        Command::Predict(args) => predict::predict(&args),
        #[cfg(feature = "linux")]
        Command::Linux(args) => linux::linux(&args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Doctor(args) => doctor::doctor(&args, &suite),
        Command::Worker => run::worker(suite),
    };
    ended(done)
}

/// The exit code of a subcommand, with its error printed, whatever became of its output.
fn ended(done: Done) -> ExitCode {
    let exit = done.unwrap_or_else(|error| {
        error::print(&error);
        error.exit()
    });
    output::ended(exit).into()
}

/// What the arguments of this process come to.
enum Called {
    /// A subcommand to run.
    Parsed(Cli),
    /// What a test runner wanted.
    Done(Done),
}

/// Reads the arguments: those of a bench target, or of the program `pvbench`.
fn called(suite: &Suite) -> Result<Called, clap::Error> {
    let command = words::command(Cli::command(), suite.name());
    let args: Vec<OsString> = std::env::args_os().collect();
    if suite.name() == words::BUILT_IN {
        let args = bench_target::arguments(args, &command);
        return parse(command, args).map(Called::Parsed);
    }
    match bench_target::call(args, &command) {
        Call::CommandLine(args) => parse(command, args).map(Called::Parsed),
        Call::List(filter, format) => Ok(Called::Done(tried::list(suite, &filter, format))),
        Call::Test(filter) => Ok(Called::Done(tried::test(suite, &filter))),
        Call::Bench(filter, options) => match run_of(suite, &filter, options) {
            Some(args) => parse(command, args).map(Called::Parsed),
            None => {
                error::note(&format!("{}: no op and no workload matches, and nothing is measured", suite.name()));
                Ok(Called::Done(Ok(Exit::Fine)))
            }
        },
    }
}

/// The arguments of a `run` of what a filter matches; none where it matches nothing.
fn run_of(suite: &Suite, filter: &Filter, options: Vec<OsString>) -> Option<Vec<OsString>> {
    let mut args: Vec<OsString> = vec![suite.name().into(), "run".into()];
    args.extend(options);
    if !filter.is_all() {
        let (ops, workloads) = tried::names(suite, filter);
        if ops.is_empty() && workloads.is_empty() {
            return None;
        }
        args.extend(ops.into_iter().map(|name| format!("--op={name}").into()));
        args.extend(workloads.into_iter().map(|name| format!("--workload={name}").into()));
    }
    Some(args)
}

fn parse(mut command: clap::Command, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The result of a subcommand.
type Done = Result<Exit, CliError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_suites_name() {
        let command = words::command(Cli::command(), "uart");
        let help = parse(command, vec!["uart".into(), "--help".into()]).err().map(|error| error.to_string());
        assert!(help.is_some_and(|help| help.contains("Usage: uart <COMMAND>")));
    }
}
