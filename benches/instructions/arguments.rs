//! The command line: what cargo and its test runners ask for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use pvbench::cli::bench_target::{self, Call, Filter, Format};

use super::selection::Pairs;
use super::{Subject, tools, totals};

/// The name of this bench target.
const NAME: &str = "instructions";
/// Environment variable of a child that starts the runner: the name of its subject.
const SUBJECT: &str = "PVBENCH_INSTRUCTIONS_OF";
/// First argument of a process under callgrind. The fifth is the path of its function, with the subject in second
/// place.
const UNDER_CALLGRIND: &str = "--iai-run";

const USAGE: &str = "\
Counts instructions per op and per unit of a workload under callgrind: cargo bench --bench instructions
  [FILTER]                names that contain it
  --list, --test          list the benchmarks; run each once without callgrind
  PVBENCH_BENCH=all       count with all mechanisms, not only with those that decide
Criterion's other options have no effect; iai-callgrind's own ones pass with `=`: --tools=dhat.";

/// The subject that this process counts.
pub struct CountedSubject {
    pub name: String,
    pub is_all: bool,
}

/// Returns the subject of a process that was started to count.
pub fn counted_subject() -> Option<CountedSubject> {
    let mut args = std::env::args().skip(1);
    if args.next().is_some_and(|first| first == UNDER_CALLGRIND) {
        let path = args.nth(3).unwrap_or_default();
        // The `main` of all groups also knows those of a few.
        return Some(CountedSubject { name: path.split("::").nth(1).unwrap_or_default().to_owned(), is_all: true });
    }
    let name = std::env::var(SUBJECT).ok()?;
    Some(CountedSubject { name, is_all: Pairs::from_env() == Pairs::All })
}

/// Does what the arguments ask for.
pub fn run(subjects: &[&Subject]) -> ExitCode {
    let pairs = Pairs::from_env();
    let selected = |filter: &Filter| -> Vec<&Subject> {
        subjects.iter().copied().filter(|subject| filter.matches(subject.name)).collect()
    };
    match bench_target::parse(std::env::args_os().collect(), &clap::Command::new(NAME)) {
        Call::CommandLine(args) => explain_usage(&args),
        Call::List(filter, format) => list(&selected(&filter), format),
        Call::Test(filter) => run_once(&selected(&filter), pairs),
        Call::Bench(filter, options) => count(&selected(&filter), pairs, &options),
    }
}

/// Prints the usage: asked for, or after unknown options without `--bench`.
fn explain_usage(args: &[OsString]) -> ExitCode {
    let is_asked = args.iter().any(|arg| ["-h", "--help", "-V", "--version", "help"].iter().any(|it| arg == it));
    if is_asked {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    eprintln!("{NAME}: unknown options {args:?}\n{USAGE}", args = args.get(1..).unwrap_or_default());
    ExitCode::from(2)
}

/// Prints the names in the format of libtest, which nextest reads.
fn list(subjects: &[&Subject], format: Format) -> ExitCode {
    for subject in subjects {
        println!("{}: benchmark", subject.name);
    }
    if format == Format::Pretty {
        println!("\n0 tests, {} benchmarks", subjects.len());
    }
    ExitCode::SUCCESS
}

/// Runs each subject once with each mechanism, as `cargo test` does.
fn run_once(subjects: &[&Subject], pairs: Pairs) -> ExitCode {
    for subject in subjects {
        println!("Testing {}", subject.name);
        for mechanism in mechanisms(subject, pairs) {
            (subject.run_once)(subject.name, mechanism);
        }
        println!("Success");
    }
    ExitCode::SUCCESS
}

/// Counts each subject in a process of its own, whose arguments the runner reads, and prints the differences.
fn count(subjects: &[&Subject], pairs: Pairs, options: &[OsString]) -> ExitCode {
    if subjects.is_empty() {
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = tools::find_missing() {
        eprintln!("{NAME}: skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    pairs.announce(NAME, "four ops and four workloads with a few mechanisms that decide");
    let Ok(program) = std::env::current_exe() else {
        eprintln!("{NAME}: the path of this program is unknown, so no copy of it can be counted");
        return ExitCode::from(4);
    };
    let home = find_target(&program).join("iai");
    for subject in subjects {
        let mut child = Command::new(&program);
        // Criterion's own option, which `run` of a suite also has; the runner does not know it.
        let options = options.iter().filter(|option| *option != "--quick");
        child.arg(format!("--home={}", home.display())).args(options);
        child.env(SUBJECT, subject.name).env("CARGO_PKG_NAME", env!("CARGO_PKG_NAME"));
        match child.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("{NAME}: {}: iai-callgrind ended with {status}; its message is above", subject.name);
                return ExitCode::from(4);
            }
            Err(error) => {
                eprintln!("{NAME}: {}: {} cannot be started: {error}", subject.name, program.display());
                return ExitCode::from(4);
            }
        }
    }
    totals::print(&home.join(env!("CARGO_PKG_NAME")).join(NAME), subjects, pairs);
    ExitCode::SUCCESS
}

/// Returns the names of the mechanisms that a subject is counted with.
pub fn mechanisms(subject: &Subject, pairs: Pairs) -> impl Iterator<Item = &'static str> {
    let [deciding, others] = subject.mechanisms;
    let others = if pairs == Pairs::All { others } else { &[] };
    deciding.iter().chain(others).copied()
}

/// Returns cargo's target folder: `target/PROFILE/deps/instructions-HASH` is this program.
fn find_target(program: &std::path::Path) -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let above = || program.ancestors().nth(3).map(std::path::Path::to_owned);
    named.or_else(above).unwrap_or_else(|| PathBuf::from("target"))
}
