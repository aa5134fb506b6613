//! A bench target with `harness = false`, as cargo and its test runners call it: with what criterion's targets and
//! libtest's harness understand, and with the options of `run`.
//!
//! | arguments | what happens |
//! |---|---|
//! | a subcommand first, `--help`, `--version` | the command line: see [`arguments`] |
//! | `--bench`, as `cargo bench` appends it | `run`, of what the filters match |
//! | neither `--bench` nor `--list`, or `--test` | each benchmark is tried once, as `cargo test --benches` wants it |
//! | `--list` | the names; none of them is ignored |
//!
//! A benchmark is an op or a workload of the suite, and has its name. Options of other harnesses are accepted and
//! change nothing: cargo sends the same arguments to every target of a workspace.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Command;

/// What a bench target is called for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A command line, which names its subcommand.
    CommandLine(Vec<OsString>),
    /// To list the benchmarks that match; with the count that libtest's pretty format ends with.
    List(Filter, Format),
    /// To try the benchmarks that match.
    Test(Filter),
    /// To measure what matches, with these options of `run`.
    Bench(Filter, Vec<OsString>),
}

/// How names are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Pretty,
    /// For programs: names alone.
    Terse,
}

/// Which benchmarks are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names contain one of these; all do where there are none.
    wanted: Vec<String>,
    /// Names contain none of these.
    skipped: Vec<String>,
    /// Names are these, and do not only contain them.
    is_exact: bool,
    /// The ignored ones, of which there are none.
    are_ignored: bool,
}

impl Filter {
    /// Whether a benchmark is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let one = |pattern: &String| if self.is_exact { name == pattern } else { name.contains(pattern.as_str()) };
        let wanted = self.wanted.is_empty() || self.wanted.iter().any(one);
        !self.are_ignored && wanted && !self.skipped.iter().any(one)
    }

    /// Whether all benchmarks are meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Filter { is_exact: self.is_exact, ..Filter::default() }
    }
}

/// Options of libtest and of criterion that take a value, and what they are called in short.
const VALUED: [&str; 23] = [
    "--test-threads",
    "--skip",
    "--format",
    "--color",
    "--colour",
    "--logfile",
    "--shuffle-seed",
    "-Z",
    "-c",
    "--save-baseline",
    "-s",
    "--baseline",
    "-b",
    "--baseline-lenient",
    "--load-baseline",
    "--profile-time",
    "--sample-size",
    "--warm-up-time",
    "--measurement-time",
    "--nresamples",
    "--noise-threshold",
    "--confidence-level",
    "--significance-level",
];

/// The same of criterion's plots and output.
const VALUED_OUTPUT: [&str; 2] = ["--plotting-backend", "--output-format"];

/// Options of libtest and of criterion without a value, or with one after `=`.
const FLAGS: [&str; 25] = [
    "--bench",
    "--test",
    "--list",
    "--exact",
    "--ignored",
    "--include-ignored",
    "--nocapture",
    "--no-capture",
    "--show-output",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--noplot",
    "-n",
    "--discard-baseline",
    "--fail-fast",
    "--shuffle",
    "--report-time",
    "--ensure-time",
    "--force-run-in-process",
    "--exclude-should-panic",
    "--no-fail-fast",
    "--no-run",
    "--quick",
];

/// Options that are for the whole command line.
const FOR_ALL: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// What the arguments (the first is the program) of a bench target ask for. `command` is its command line.
#[must_use]
pub fn call(args: Vec<OsString>, command: &Command) -> Call {
    let texts: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    // No subcommand has `--exact`: it goes with the name of a benchmark, which may be called like a subcommand.
    let is_exact = texts.iter().any(|arg| arg == "--exact");
    if texts.first().is_some_and(|first| !is_exact && is_subcommand(command, first)) {
        return Call::CommandLine(without_bench(args));
    }
    if texts.iter().take_while(|arg| *arg != "--").any(|arg| FOR_ALL.contains(&arg.as_str())) {
        let program = args.into_iter().take(1);
        let asked = texts.into_iter().filter(|arg| FOR_ALL.contains(&arg.as_str())).take(1).map(OsString::from);
        return Call::CommandLine(program.chain(asked).collect());
    }
    let mut found = Found::default();
    found.read(&args[1.min(args.len())..], command);
    let Found { filter, flags, format, run_options } = found;
    let has = |flag: &str| flags.contains_key(flag);
    let quick = || has("--quick").then(|| OsString::from("--quick"));
    if has("--bench") && !has("--test") && !has("--list") {
        return Call::Bench(filter, run_options.into_iter().chain(quick()).collect());
    }
    if !run_options.is_empty() {
        // Options of `run` without `run`: what is wrong with that, clap says best.
        return Call::CommandLine(args);
    }
    if has("--list") { Call::List(filter, format) } else { Call::Test(filter) }
}

/// The arguments of the program `pvbench` itself, which is no bench target: but `cargo bench` appends `--bench` to
/// those of one that measures the built-in suite, and then `run` goes without saying.
#[must_use]
pub fn arguments(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let appended = args.len() > 1 && args.last().is_some_and(|last| last == "--bench");
    let mut args = without_bench(args);
    let first = args.get(1).map(|first| first.to_string_lossy().into_owned());
    let names_one = |first: &str| !first.starts_with('-') || FOR_ALL.contains(&first) || is_subcommand(command, first);
    if appended && !first.is_some_and(|first| names_one(&first)) {
        args.insert(1, "run".into());
    }
    args
}

fn without_bench(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.len() > 1 && args.last().is_some_and(|last| last == "--bench") {
        args.pop();
    }
    args
}

fn is_subcommand(command: &Command, name: &str) -> bool {
    name == "help" || command.find_subcommand(name).is_some()
}

/// Arguments, taken apart.
#[derive(Default)]
struct Found {
    filter: Filter,
    flags: BTreeMap<&'static str, ()>,
    format: Format,
    run_options: Vec<OsString>,
}

impl Found {
    fn read(&mut self, args: &[OsString], command: &Command) {
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let text = arg.to_string_lossy();
            if text == "--" {
                self.filter.wanted.extend(rest.by_ref().map(|arg| arg.to_string_lossy().into_owned()));
            } else if !text.starts_with('-') || text == "-" {
                self.filter.wanted.push(text.into_owned());
            } else {
                let (name, value) = split(&text);
                if let Some(flag) = FLAGS.into_iter().find(|flag| *flag == name) {
                    self.flag(flag);
                } else if let Some(option) = VALUED.into_iter().chain(VALUED_OUTPUT).find(|option| *option == name) {
                    let next = || rest.next().map(|next| next.to_string_lossy().into_owned());
                    self.option(option, &value.or_else(next).unwrap_or_default());
                } else {
                    self.run_options.push(arg.clone());
                    if value.is_none() && takes_value(command, name) {
                        self.run_options.extend(rest.next().cloned());
                    }
                }
            }
        }
    }

    fn flag(&mut self, flag: &'static str) {
        match flag {
            "--exact" => self.filter.is_exact = true,
            "--ignored" => self.filter.are_ignored = true,
            _ => {}
        }
        self.flags.insert(flag, ());
    }

    fn option(&mut self, option: &str, value: &str) {
        match option {
            "--skip" => self.filter.skipped.push(value.to_owned()),
            "--format" if value != "pretty" => self.format = Format::Terse,
            "--color" | "--colour" | "-c" => color(value),
            _ => {}
        }
    }
}

/// An option's name, and its value where it is written in one with it: `--skip=x`, `-Zunstable-options`.
fn split(text: &str) -> (&str, Option<String>) {
    if let Some((name, value)) = text.split_once('=') {
        return (name, Some(value.to_owned()));
    }
    let is_long = text.starts_with("--");
    match text.char_indices().nth(2) {
        Some((end, _)) if !is_long && VALUED.contains(&&text[..end]) => (&text[..end], Some(text[end..].to_owned())),
        _ => (text, None),
    }
}

/// Whether an option of `run` has its value in the next argument.
fn takes_value(command: &Command, name: &str) -> bool {
    let run = command.find_subcommand("run");
    let options = run.into_iter().flat_map(Command::get_arguments);
    let is_it = |option: &&clap::Arg| option.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
    options.into_iter().find(is_it).is_some_and(|option| option.get_action().takes_values())
}

fn color(choice: &str) {
    match choice {
        "always" => anstream::ColorChoice::Always.write_global(),
        "never" => anstream::ColorChoice::Never.write_global(),
        // What is no choice is for another harness to refuse.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn called(args: &[&str]) -> Call {
        let args = std::iter::once("uart").chain(args.iter().copied()).map(OsString::from).collect();
        call(args, &super::super::Cli::command())
    }

    fn wanted(names: &[&str]) -> Filter {
        Filter { wanted: names.iter().map(|name| (*name).to_owned()).collect(), ..Filter::default() }
    }

    fn exact(name: &str) -> Filter {
        Filter { is_exact: true, ..wanted(&[name]) }
    }

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_first_argument_that_is_a_subcommand_is_that_subcommand() {
        for args in [&["list", "ops"][..], &["gate", "--run", "--bench"], &["worker"], &["help"], &["run", "x"]] {
            let without = args.iter().copied().filter(|arg| *arg != "--bench").collect::<Vec<_>>();
            assert_eq!(called(args), Call::CommandLine(os(&[&["uart"][..], &without].concat())), "{args:?}");
        }
    }

    #[test]
    fn help_and_version_are_those_of_the_command_line() {
        assert_eq!(called(&["--help", "--bench"]), Call::CommandLine(os(&["uart", "--help"])));
        assert_eq!(called(&["--quick", "-V", "--bench"]), Call::CommandLine(os(&["uart", "-V"])));
    }

    #[test]
    fn cargo_bench_measures_what_the_filter_matches_with_the_options_of_run() {
        assert_eq!(called(&["--bench"]), Call::Bench(Filter::default(), Vec::new()));
        assert_eq!(called(&["read", "--bench"]), Call::Bench(wanted(&["read"]), Vec::new()));
        assert_eq!(called(&["--quick", "--bench"]), Call::Bench(Filter::default(), os(&["--quick"])));
        let options = ["--op", "uart_*", "--time=20", "read", "--seed", "7", "--bench"];
        assert_eq!(
            called(&options),
            Call::Bench(wanted(&["read"]), os(&["--op", "uart_*", "--time=20", "--seed", "7"]))
        );
        assert_eq!(called(&["--exact", "uart_read", "--bench"]), Call::Bench(exact("uart_read"), Vec::new()));
    }

    #[test]
    fn without_bench_or_with_test_each_is_tried_once() {
        for args in [&[][..], &["--test"], &["--test", "--bench"], &["--bench", "--test"], &["--nocapture"]] {
            assert_eq!(called(args), Call::Test(Filter::default()), "{args:?}");
        }
        assert_eq!(called(&["uart_read", "--exact", "--nocapture"]), Call::Test(exact("uart_read")));
        assert_eq!(
            called(&["run", "--exact", "--nocapture"]),
            Call::Test(exact("run")),
            "an op called like a subcommand"
        );
        assert_eq!(called(&["--quick"]), Call::Test(Filter::default()), "as criterion's targets do");
    }

    #[test]
    fn names_are_listed_and_none_is_ignored() {
        assert_eq!(called(&["--list", "--format", "terse"]), Call::List(Filter::default(), Format::Terse));
        assert_eq!(called(&["--list", "--bench"]), Call::List(Filter::default(), Format::Pretty));
        let Call::List(ignored, Format::Terse) = called(&["--list", "--format=terse", "--ignored"]) else {
            panic!("no list")
        };
        assert!(!ignored.matches("uart_read"));
    }

    #[test]
    fn options_of_other_harnesses_change_nothing() {
        let libtest = [
            "--nocapture --no-capture --show-output --quiet -q --include-ignored --fail-fast --force-run-in-process",
            "--test-threads 1 --test-threads=1 --color never --color=auto --format json --format=junit --logfile x",
            "-Z unstable-options -Zunstable-options --report-time --report-time=plain --ensure-time --shuffle",
            "--shuffle-seed 1 --exclude-should-panic",
        ];
        let criterion = [
            "--save-baseline x -s x --baseline x -b x --baseline-lenient x --load-baseline x --discard-baseline",
            "--sample-size 10 --warm-up-time 1 --measurement-time 1 --nresamples 1 --noise-threshold 1 --noplot -n",
            "--confidence-level 0.9 --significance-level 0.1 --profile-time 1 --verbose -v --colour always -c auto",
            "--plotting-backend plotters --output-format bencher",
        ];
        for options in libtest.into_iter().chain(criterion) {
            let args: Vec<&str> = options.split_whitespace().collect();
            assert_eq!(called(&args), Call::Test(Filter::default()), "{options}");
            assert_eq!(
                called(&[&args[..], &["--bench"]].concat()),
                Call::Bench(Filter::default(), Vec::new()),
                "{options}"
            );
        }
    }

    #[test]
    fn options_of_run_without_it_are_for_clap_to_refuse() {
        for args in [&["--op", "x"][..], &["--no-such-option"], &["--op", "x", "--test", "--bench"]] {
            assert_eq!(called(args), Call::CommandLine(os(&[&["uart"][..], args].concat())), "{args:?}");
        }
    }

    #[test]
    fn a_filter_matches_by_substring_and_exactly_where_that_is_asked_for() {
        assert!(wanted(&["read", "line"]).matches("uart_read") && wanted(&["read", "line"]).matches("uart_line"));
        assert!(!wanted(&["read"]).matches("uart_write"));
        assert!(exact("uart_read").matches("uart_read") && !exact("read").matches("uart_read"));
        let Call::Test(skipping) = called(&["--skip", "read", "--skip=line"]) else { panic!("no test") };
        assert!(skipping.matches("uart_write") && !skipping.matches("uart_read") && !skipping.matches("uart_line"));
        let Call::Test(after) = called(&["--", "--read"]) else { panic!("no test") };
        assert_eq!(after, wanted(&["--read"]));
    }

    #[test]
    fn the_built_in_program_runs_under_cargo_bench_where_no_command_is_named() {
        let given = |args: &[&str]| {
            let args = os(&[&["pvbench"][..], args].concat());
            arguments(args, &super::super::Cli::command()).split_off(1)
        };
        assert_eq!(given(&["--bench"]), os(&["run"]));
        assert_eq!(given(&["--quick", "--bench"]), os(&["run", "--quick"]));
        assert_eq!(given(&["list", "ops", "--bench"]), os(&["list", "ops"]));
        assert_eq!(given(&["--help", "--bench"]), os(&["--help"]));
        assert_eq!(given(&["list"]), os(&["list"]));
        assert_eq!(given(&[]), os(&[]));
    }
}
