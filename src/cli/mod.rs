//! The command line: a file per subcommand.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod ab;
#[cfg(feature = "audit")]
mod audit;
#[doc(hidden)]
pub mod bench_target;
mod compare;
mod completions;
mod conditions;
mod counted;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
mod export;
mod gate;
mod handshake;
pub mod history;
mod inherited;
#[cfg(feature = "linux")]
mod linux;
mod list;
mod man;
mod measured;
#[cfg(feature = "linux")]
mod native;
mod open;
mod output;
mod pager;
mod predict;
mod progress;
mod report;
mod run;
mod selection;
mod selftest;
mod show;
mod site;
mod tried;
mod words;

use crate::suite::{Suite, SuiteError};
use bench_target::{Call, Filter};
use error::CliError;
use exit::Exit;

/// Measures the cost of reaching a low-level machine operation through an indirection instead of inline.
#[derive(Parser)]
#[command(name = "pvbench", version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 fine; 1 a budget is exceeded or something regressed; 2 bad usage or input; \
                        3 inconclusive; 4 the measurement failed, or its output could not be written. If several \
                        apply, the first of 1, 2, 4, 3 is the exit code.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and write report.json, index.html and plots
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// List ops, mechanisms, regimes, workloads and kernel options
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Print the tables of a report
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Render the HTML page and the plots of a report again
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Judge overheads by budgets, in a report or in a new run
    #[command(after_help = gate::EXAMPLES)]
    Gate(gate::GateArgs),
    /// Compare two reports
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::CompareArgs),
    /// Measure two builds in turn, and compare them
    #[command(after_help = ab::EXAMPLES)]
    Ab(ab::AbArgs),
    /// Build the published site of a history
    #[command(after_help = site::EXAMPLES)]
    Site(site::SiteArgs),
    /// Write a report in the format of another tool
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Keep the runs of a project over its commits
    #[command(after_help = history::EXAMPLES)]
    History(history::HistoryArgs),
    /// Print the instructions of one op with a mechanism, decoded
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Predict the cost of hooks in a workload, from its counts of calls
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// List the call sites of a program by kind, without running it
    #[cfg(feature = "audit")]
    #[command(after_help = audit::EXAMPLES)]
    Audit(audit::AuditArgs),
    /// Count instructions and hook calls of real Linux kernels
    #[cfg(feature = "linux")]
    #[command(after_help = linux::EXAMPLES)]
    Linux(linux::LinuxArgs),
    /// Measure known differences, and check that the intervals hold them
    #[command(after_help = selftest::EXAMPLES)]
    Selftest(selftest::SelftestArgs),
    /// Check whether this machine is fit to measure on
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for bash, zsh or fish
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write a page for every subcommand
    #[command(after_help = man::EXAMPLES)]
    Man(man::ManArgs),
    /// Worker process of `run`; reads its assignment from standard input
    #[command(hide = true)]
    Worker,
}

/// Runs the command line of this process for a suite. It is the whole `main` of a program, or of a bench target with
/// `harness = false`.
///
/// The command line has all subcommands of `pvbench`, for the suite's ops, mechanisms and workloads. Workers are this
/// program, started again. Reports go to `reports/NAME/latest`, with the suite's name.
///
/// A suite behaves as criterion's bench targets do. Under `cargo bench` the subcommand is `run` unless another one is
/// named: `cargo bench` measures, and `cargo bench -- --quick` takes a few seconds. A name is a filter: `cargo bench --
/// read` measures the ops and workloads whose names contain it. `cargo test --benches` runs each of them once, and
/// `--list` lists them for test runners.
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
    inherited::reset();
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => {
            error::print(&error.into());
            return Exit::Usage.into();
        }
    };
    words::set_name(suite.name());
    let called = match parse_call(&suite) {
        Ok(Invocation::Parsed(cli)) => *cli,
        Ok(Invocation::Done(done)) => return finish(done),
        // Help and version are output of a command.
        Err(error) if !error.use_stderr() => {
            let done = write!(output::stdout(), "{}", error.render().ansi());
            return finish(done.map(|()| Exit::Fine).map_err(CliError::Output));
        }
        Err(error) => error.exit(),
    };
    let done = match called.command {
        Command::Run(args) => run::run(&args, &suite),
        Command::List(args) => list::list(&args, &suite),
        Command::Show(args) => show::show(&args),
        Command::Report(args) => report::report(&args, &suite),
        Command::Gate(args) => gate::gate(&args, &suite),
        Command::Compare(args) => compare::compare(&args),
        Command::Ab(args) => ab::ab(&args, &suite),
        Command::Site(args) => site::site(&args),
        Command::Export(args) => export::export(&args),
        Command::History(args) => history::history(&args),
        Command::Explain(args) => explain::explain(&args, &suite),
        Command::Predict(args) => predict::predict(&args),
        #[cfg(feature = "audit")]
        Command::Audit(args) => audit::audit(&args),
        #[cfg(feature = "linux")]
        Command::Linux(args) => linux::linux(&args, &suite),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Doctor(args) => doctor::doctor(&args, &suite),
        Command::Completions(args) => completions::completions(&args, &suite),
        Command::Man(args) => man::man(&args, &suite),
        Command::Worker => run::worker(suite),
    };
    finish(done)
}

/// Prints the error of a subcommand, if any, and returns the exit code with regard to lost output.
fn finish(done: Done) -> ExitCode {
    let exit = done.unwrap_or_else(|error| {
        error::print(&error);
        error.exit()
    });
    output::ended(exit).into()
}

/// The arguments of this process, parsed.
enum Invocation {
    /// A subcommand to run.
    Parsed(Box<Cli>),
    /// The result of a request of a test runner.
    Done(Done),
}

/// Parses the arguments of a bench target, or of the program `pvbench`.
fn parse_call(suite: &Suite) -> Result<Invocation, clap::Error> {
    let command = words::command(Cli::command(), suite.name());
    let args: Vec<OsString> = std::env::args_os().collect();
    if suite.name() == words::BUILT_IN {
        let args = bench_target::insert_run(args, &command);
        return parse(command, args).map(Box::new).map(Invocation::Parsed);
    }
    match bench_target::parse(args, &command) {
        Call::CommandLine(args) => parse(command, args).map(Box::new).map(Invocation::Parsed),
        Call::List(filter, format) => Ok(Invocation::Done(tried::list(suite, &filter, format))),
        Call::Test(filter) => Ok(Invocation::Done(tried::test(suite, &filter))),
        Call::Bench(filter, options) => match build_run(suite, &filter, options) {
            Some(args) => parse(command, args).map(Box::new).map(Invocation::Parsed),
            None => {
                let (mut names, workloads) = tried::names(suite, &Filter::default());
                names.extend(workloads);
                let nearest = filter.find_nearest(&names).map(|name| format!("; did you mean '{name}'?"));
                error::note(&format!(
                    "{}: no op or workload matches the filter, so nothing is measured{}",
                    suite.name(),
                    nearest.unwrap_or_default()
                ));
                Ok(Invocation::Done(Ok(Exit::Fine)))
            }
        },
    }
}

/// Builds the arguments of a `run` of the benchmarks that a filter selects; `None` if it selects none.
fn build_run(suite: &Suite, filter: &Filter, options: Vec<OsString>) -> Option<Vec<OsString>> {
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

    /// Splits a command as a shell does; there are only single quotes.
    fn split_words(command: &str) -> Vec<OsString> {
        let mut words: Vec<String> = Vec::new();
        let (mut is_quoted, mut is_inside) = (false, false);
        for c in command.chars() {
            match c {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => {
                    is_inside = false;
                    continue;
                }
                _ => {}
            }
            if !is_inside {
                words.push(String::new());
                is_inside = true;
            }
            if let Some(word) = words.last_mut().filter(|_| c != '\'') {
                word.push(c);
            }
        }
        words.into_iter().map(OsString::from).collect()
    }

    /// Checks the examples of a command and of its subcommands; returns their number. `path` is the command as typed.
    fn check_examples(command: &clap::Command, path: &str) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut found = 0;
        for line in help.lines().filter(|line| line.starts_with("  pvbench ")) {
            // A description follows two blanks; a pipe, a redirection or a second command follow the first.
            let typed = line.trim_start().split("  ").next().unwrap_or_default();
            let commands = typed.split(" && ").flat_map(|part| part.split([';', '|', '>']).take(1));
            for typed in commands.map(str::trim).filter(|typed| typed.starts_with("pvbench ")) {
                let parsed = parse(words::command(Cli::command(), words::BUILT_IN), split_words(typed));
                assert!(parsed.is_ok(), "{typed}: {}", parsed.err().map(|it| it.to_string()).unwrap_or_default());
                found += usize::from(format!("{typed} ").starts_with(&format!("{path} ")));
            }
        }
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = format!("{path} {}", sub.get_name());
            assert!(check_examples(sub, &path) > 0, "the help of {path} has no example of it");
        }
        found
    }

    #[test]
    fn every_subcommand_has_an_example_and_every_example_is_accepted() {
        check_examples(&Cli::command(), words::BUILT_IN);
    }

    #[test]
    fn the_command_line_has_the_name_of_its_suite() {
        let command = words::command(Cli::command(), "uart");
        let help = parse(command, vec!["uart".into(), "--help".into()]).err().map(|error| error.to_string());
        assert!(help.is_some_and(|help| help.contains("Usage: uart <COMMAND>")));
    }
}
