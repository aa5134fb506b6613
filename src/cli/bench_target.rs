//! Command line of a bench target with `harness = false`, as cargo and its test runners call it. It accepts the options
//! of criterion's targets, of libtest's harness and of `run`.
//!
//! | arguments | what happens |
//! |---|---|
//! | a subcommand first, `--help`, `--version` | the command line: see `arguments` |
//! | `--bench`, as `cargo bench` appends it | `run`, for the benchmarks that match the filters |
//! | neither `--bench` nor `--list`, or `--test` | each benchmark runs once, as `cargo test --benches` expects |
//! | `--list` | the names of the benchmarks; none of them is ignored |
//!
//! A benchmark is an op or a workload of the suite, under its name. Options of other harnesses are accepted and have no
//! effect: cargo sends the same arguments to every target of a workspace.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Command;

use crate::select::find_nearest;
use options::{FLAGS, GLOBAL_OPTIONS, VALUED, VALUED_OUTPUT};

mod options;

/// The request in the arguments of a bench target.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A command line that names its subcommand.
    CommandLine(Vec<OsString>),
    /// List the benchmarks that match; the pretty format ends with their count, as libtest's does.
    List(Filter, Format),
    /// Run each benchmark that matches once.
    Test(Filter),
    /// Measure the benchmarks that match, with these options of `run`.
    Bench(Filter, Vec<OsString>),
}

/// The format of `--list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: names and a count.
    #[default]
    Pretty,
    /// For programs: names only.
    Terse,
}

/// The benchmarks that the arguments select.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A selected name contains one of these patterns; an empty list selects all names.
    wanted: Vec<String>,
    /// A selected name contains none of these patterns.
    skipped: Vec<String>,
    /// A name must equal a pattern, not only contain it.
    is_exact: bool,
    /// `--ignored` selects ignored benchmarks; a suite has none.
    are_ignored: bool,
}

impl Filter {
    /// Whether the filter selects a benchmark.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let one = |pattern: &String| if self.is_exact { name == pattern } else { name.contains(pattern.as_str()) };
        let wanted = self.wanted.is_empty() || self.wanted.iter().any(one);
        !self.are_ignored && wanted && !self.skipped.iter().any(one)
    }

    /// Returns the name that is most similar to a pattern of the filter, if any is similar enough to be suggested.
    #[must_use]
    pub(crate) fn find_nearest(&self, names: &[&str]) -> Option<String> {
        self.wanted.iter().find_map(|pattern| find_nearest(pattern, names))
    }

    /// Whether the filter selects all benchmarks.
    #[must_use]
    pub(crate) fn is_all(&self) -> bool {
        *self == Filter { is_exact: self.is_exact, ..Filter::default() }
    }
}

/// Parses the arguments of a bench target; the first one is the program. `command` is the command line of the suite.
#[must_use]
pub fn parse(args: Vec<OsString>, command: &Command) -> Call {
    let texts: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    // No subcommand has `--exact`: it follows the name of a benchmark, which may equal that of a subcommand.
    let is_exact = texts.iter().any(|arg| arg == "--exact");
    if texts.first().is_some_and(|first| !is_exact && is_subcommand(command, first)) {
        return Call::CommandLine(without_bench(args));
    }
    if texts.iter().take_while(|arg| *arg != "--").any(|arg| GLOBAL_OPTIONS.contains(&arg.as_str())) {
        let program = args.into_iter().take(1);
        let asked = texts.into_iter().filter(|arg| GLOBAL_OPTIONS.contains(&arg.as_str())).take(1).map(OsString::from);
        return Call::CommandLine(program.chain(asked).collect());
    }
    let mut found = SortedArguments::default();
    found.read(&args[1.min(args.len())..], command);
    let SortedArguments { filter, flags, format, run_options } = found;
    let has = |flag: &str| flags.contains_key(flag);
    let quick = || has("--quick").then(|| OsString::from("--quick"));
    if has("--bench") && !has("--test") && !has("--list") {
        return Call::Bench(filter, run_options.into_iter().chain(quick()).collect());
    }
    if !run_options.is_empty() {
        // Options of `run` without `run`: clap reports the error.
        return Call::CommandLine(args);
    }
    if has("--list") { Call::List(filter, format) } else { Call::Test(filter) }
}

/// Adjusts the arguments of the built-in suite's program. `cargo bench` appends `--bench` to those of a bench target
/// that measures the built-in suite; the subcommand is then `run` unless another one is named.
#[must_use]
pub(crate) fn insert_run(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let appended = args.len() > 1 && args.last().is_some_and(|last| last == "--bench");
    let mut args = without_bench(args);
    let first = args.get(1).map(|first| first.to_string_lossy().into_owned());
    let names_one =
        |first: &str| !first.starts_with('-') || GLOBAL_OPTIONS.contains(&first) || is_subcommand(command, first);
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

/// The arguments by kind.
#[derive(Default)]
struct SortedArguments {
    filter: Filter,
    flags: BTreeMap<&'static str, ()>,
    format: Format,
    run_options: Vec<OsString>,
}

impl SortedArguments {
    fn read(&mut self, args: &[OsString], command: &Command) {
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let text = arg.to_string_lossy();
            if text == "--" {
                self.filter.wanted.extend(rest.by_ref().map(|arg| arg.to_string_lossy().into_owned()));
            } else if !text.starts_with('-') || text == "-" {
                self.filter.wanted.push(text.into_owned());
            } else {
                let (name, value) = split_value(&text);
                if let Some(flag) = FLAGS.into_iter().find(|flag| *flag == name) {
                    self.add_flag(flag);
                } else if let Some(option) = VALUED.into_iter().chain(VALUED_OUTPUT).find(|option| *option == name) {
                    let next = || rest.next().map(|next| next.to_string_lossy().into_owned());
                    self.add_option(option, &value.or_else(next).unwrap_or_default());
                } else {
                    self.run_options.push(arg.clone());
                    if value.is_none() && takes_value(command, name) {
                        self.run_options.extend(rest.next().cloned());
                    }
                }
            }
        }
    }

    fn add_flag(&mut self, flag: &'static str) {
        match flag {
            "--exact" => self.filter.is_exact = true,
            "--ignored" => self.filter.are_ignored = true,
            _ => {}
        }
        self.flags.insert(flag, ());
    }

    fn add_option(&mut self, option: &str, value: &str) {
        match option {
            "--skip" => self.filter.skipped.push(value.to_owned()),
            "--format" if value != "pretty" => self.format = Format::Terse,
            "--color" | "--colour" | "-c" => set_color(value),
            _ => {}
        }
    }
}

/// Splits an option from a value in the same argument: `--skip=x`, `-Zunstable-options`.
fn split_value(text: &str) -> (&str, Option<String>) {
    if let Some((name, value)) = text.split_once('=') {
        return (name, Some(value.to_owned()));
    }
    let is_long = text.starts_with("--");
    match text.char_indices().nth(2) {
        Some((end, _)) if !is_long && VALUED.contains(&&text[..end]) => (&text[..end], Some(text[end..].to_owned())),
        _ => (text, None),
    }
}

/// Whether the value of an option of `run` is the next argument.
fn takes_value(command: &Command, name: &str) -> bool {
    let run = command.find_subcommand("run");
    let options = run.into_iter().flat_map(Command::get_arguments);
    let is_it = |option: &&clap::Arg| option.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
    options.into_iter().find(is_it).is_some_and(|option| option.get_action().takes_values())
}

fn set_color(choice: &str) {
    match choice {
        "always" => anstream::ColorChoice::Always.write_global(),
        "never" => anstream::ColorChoice::Never.write_global(),
        // Other harnesses may know more choices.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(args: &[&str]) -> Call {
        let args = std::iter::once("uart").chain(args.iter().copied()).map(OsString::from).collect();
        parse(args, &super::super::Cli::command())
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
    fn a_subcommand_as_first_argument_is_parsed() {
        for args in [&["list", "ops"][..], &["gate", "--run", "--bench"], &["worker"], &["help"], &["run", "x"]] {
            let without = args.iter().copied().filter(|arg| *arg != "--bench").collect::<Vec<_>>();
            assert_eq!(parsed(args), Call::CommandLine(os(&[&["uart"][..], &without].concat())), "{args:?}");
        }
    }

    #[test]
    fn help_and_version_come_from_the_command_line() {
        assert_eq!(parsed(&["--help", "--bench"]), Call::CommandLine(os(&["uart", "--help"])));
        assert_eq!(parsed(&["--quick", "-V", "--bench"]), Call::CommandLine(os(&["uart", "-V"])));
    }

    #[test]
    fn cargo_bench_measures_the_matching_benchmarks_with_the_options_of_run() {
        assert_eq!(parsed(&["--bench"]), Call::Bench(Filter::default(), Vec::new()));
        assert_eq!(parsed(&["read", "--bench"]), Call::Bench(wanted(&["read"]), Vec::new()));
        assert_eq!(parsed(&["--quick", "--bench"]), Call::Bench(Filter::default(), os(&["--quick"])));
        let options = ["--op", "uart_*", "--time=20", "read", "--seed", "7", "--bench"];
        assert_eq!(
            parsed(&options),
            Call::Bench(wanted(&["read"]), os(&["--op", "uart_*", "--time=20", "--seed", "7"]))
        );
        assert_eq!(parsed(&["--exact", "uart_read", "--bench"]), Call::Bench(exact("uart_read"), Vec::new()));
    }

    #[test]
    fn benchmarks_run_once_without_bench_or_with_test() {
        for args in [&[][..], &["--test"], &["--test", "--bench"], &["--bench", "--test"], &["--nocapture"]] {
            assert_eq!(parsed(args), Call::Test(Filter::default()), "{args:?}");
        }
        assert_eq!(parsed(&["uart_read", "--exact", "--nocapture"]), Call::Test(exact("uart_read")));
        assert_eq!(
            parsed(&["run", "--exact", "--nocapture"]),
            Call::Test(exact("run")),
            "an op with the name of a subcommand"
        );
        assert_eq!(parsed(&["--quick"]), Call::Test(Filter::default()), "as criterion's targets do");
    }

    #[test]
    fn a_list_has_all_names_and_no_ignored_ones() {
        assert_eq!(parsed(&["--list", "--format", "terse"]), Call::List(Filter::default(), Format::Terse));
        assert_eq!(parsed(&["--list", "--bench"]), Call::List(Filter::default(), Format::Pretty));
        let Call::List(ignored, Format::Terse) = parsed(&["--list", "--format=terse", "--ignored"]) else {
            panic!("no list")
        };
        assert!(!ignored.matches("uart_read"));
    }

    #[test]
    fn options_of_other_harnesses_have_no_effect() {
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
            assert_eq!(parsed(&args), Call::Test(Filter::default()), "{options}");
            assert_eq!(
                parsed(&[&args[..], &["--bench"]].concat()),
                Call::Bench(Filter::default(), Vec::new()),
                "{options}"
            );
        }
    }

    #[test]
    fn options_of_run_without_run_are_left_to_clap() {
        for args in [&["--op", "x"][..], &["--no-such-option"], &["--op", "x", "--test", "--bench"]] {
            assert_eq!(parsed(args), Call::CommandLine(os(&[&["uart"][..], args].concat())), "{args:?}");
        }
    }

    #[test]
    fn a_filter_matches_substrings_or_with_exact_whole_names() {
        assert!(wanted(&["read", "line"]).matches("uart_read") && wanted(&["read", "line"]).matches("uart_line"));
        assert!(!wanted(&["read"]).matches("uart_write"));
        assert!(exact("uart_read").matches("uart_read") && !exact("read").matches("uart_read"));
        let Call::Test(skipping) = parsed(&["--skip", "read", "--skip=line"]) else { panic!("no test") };
        assert!(skipping.matches("uart_write") && !skipping.matches("uart_read") && !skipping.matches("uart_line"));
        let Call::Test(after) = parsed(&["--", "--read"]) else { panic!("no test") };
        assert_eq!(after, wanted(&["--read"]));
    }

    #[test]
    fn the_built_in_program_under_cargo_bench_runs_unless_a_subcommand_is_named() {
        let given = |args: &[&str]| {
            let args = os(&[&["pvbench"][..], args].concat());
            insert_run(args, &super::super::Cli::command()).split_off(1)
        };
        assert_eq!(given(&["--bench"]), os(&["run"]));
        assert_eq!(given(&["--quick", "--bench"]), os(&["run", "--quick"]));
        assert_eq!(given(&["list", "ops", "--bench"]), os(&["list", "ops"]));
        assert_eq!(given(&["--help", "--bench"]), os(&["--help"]));
        assert_eq!(given(&["list"]), os(&["list"]));
        assert_eq!(given(&[]), os(&[]));
    }
}
