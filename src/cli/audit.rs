//! `pvbench audit`: the call sites of a program, by kind.

mod against;
mod run;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::error::{self, CliError};
use super::exit::Exit;
use super::output::{self, FailedWrites};
use super::pager;
use super::words;
use crate::audit::document::{Audit, Function, FunctionSource, SCHEMA};
use crate::audit::kind::Kind;
use crate::audit::names::visible;
use crate::audit::terminal::{self, View};
use crate::audit::words::Group;
use crate::audit::{Options, audit_file, page};
use crate::select::{self, FilterError};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench audit target/release/app                        call sites by kind, and the functions with most indirections
  pvbench audit target/release/app --function 'uart_*'    instructions of these functions, each call site marked
  pvbench audit target/release/app --kind table,virtual   the sites of these kinds
  pvbench audit target/release/app --html app.html
  pvbench audit libuart.a uart.o --json > sites.json
  pvbench audit target/release/app --against old/app     sites that changed their kind; exit code 1: one became indirect
  pvbench audit target/release/app --run -- --frames 10  how often the sites run, and what they cost

A binary is an x86-64 ELF file: a program, a library, an object file or an archive of them, a kernel module, a vmlinux
or a bzImage. Without --run, it is read and not run. With --run, it runs twice: alone for its CPU time, and under
callgrind, which counts calls exactly and takes some 50 times as long; `--counts FILE` takes a file of callgrind, branch
records as `perf script` prints them, or JSON of gcov or llvm-cov.
`docs/audit.md` describes the kinds and what the machine code does not tell.";

/// Names that stand for the kinds of a group.
const GROUPS: [(&str, Group); 2] = [("own", Group::Own), ("linker", Group::Linker)];
/// Number of functions that a message suggests.
const MAX_SUGGESTIONS: usize = 3;

/// Options of `audit`.
#[derive(Args)]
pub struct AuditArgs {
    /// Programs, libraries, object files, archives, kernel modules or kernels
    #[arg(value_name = "BINARY", required = true)]
    binaries: Vec<PathBuf>,
    /// List the instructions of functions: globs of names or symbols, separated by commas or in repeated options
    #[arg(long, value_name = "GLOB")]
    function: Vec<String>,
    /// List the sites of kinds: direct, plt, got, memory, table, virtual, register, retpoline, pv, static_call, fentry,
    /// jump_table, return_thunk, thunk, unknown; `own` and `linker` stand for several
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Print the audit as JSON; reports/schema/audit-1.json describes it
    #[arg(long)]
    json: bool,
    /// Write the audit as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with an older build: which sites changed their kind
    #[arg(long, value_name = "BINARY", conflicts_with_all = ["function", "kind", "html", "run", "counts"])]
    against: Option<PathBuf>,
    /// Run the program, with the arguments after `--`
    #[arg(long, conflicts_with_all = ["function", "kind", "html", "counts"])]
    run: bool,
    /// Take the counts of a run from a file of callgrind, perf script, gcov or llvm-cov
    #[arg(long, value_name = "FILE", conflicts_with_all = ["function", "kind", "html"])]
    counts: Option<PathBuf>,
    /// With --run or --counts: CPU time of the run, for percent
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<f64>,
    /// With --run or --counts: report whose cells give the cost of a call (default: reports/latest/report.json)
    #[arg(long, value_name = "REPORT.json")]
    report: Option<PathBuf>,
    /// With --run: the arguments of the program
    #[arg(last = true, requires = "run", value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Audits binaries and prints the result. Binaries that cannot be audited are named; the others are printed.
pub fn audit(args: &AuditArgs) -> Done {
    if args.against.is_some() || args.run || args.counts.is_some() {
        let [binary] = args.binaries.as_slice() else {
            let message = "--against, --run and --counts take one binary; name one";
            return Err(CliError::Usage(message.to_owned()));
        };
        return follow(args, binary);
    }
    if args.seconds.is_some() || args.report.is_some() {
        return Err(CliError::Usage("--seconds and --report need --run or --counts".to_owned()));
    }
    let kinds = choose_kinds(&args.kind)?;
    let functions = split_globs(&args.function)?;
    if let Some(path) = &args.html {
        output::prepare(path)?;
    }
    let options = Options { functions, lines: true };
    let (mut audit, mut exit) = (new_document(), Exit::Fine);
    for path in &args.binaries {
        match audit_file(path, &options) {
            Ok(binaries) => audit.binaries.extend(binaries),
            Err(failure) => {
                error::print(&failure.into());
                exit = Exit::Usage;
            }
        }
    }
    if audit.binaries.is_empty() {
        return Ok(Exit::Usage);
    }
    if let Some(glob) = options.functions.iter().find(|glob| !has_function(&audit, glob)) {
        return Err(CliError::Usage(describe_no_match(glob, &args.binaries, &audit)));
    }
    let is_listing = !options.functions.is_empty();
    retain_kinds(&mut audit, &kinds);
    let mut failed = FailedWrites::default();
    if let Some(path) = &args.html {
        let page = page::page(&audit)?;
        failed.note(output::file(path, page.as_bytes()));
    }
    if args.json {
        output::json(&audit)?;
    } else if !args.html.as_deref().is_some_and(output::is_stdout) {
        let text = terminal::show(&audit, &View { kinds, is_listing }, pager::width());
        pager::print(text.trim_start_matches('\n'));
    }
    // The process ends: to free millions of names would take a tenth of a second.
    std::mem::forget(audit);
    Ok(failed.ended(exit))
}

/// Compares one binary with an older build, or prices a run of it.
fn follow(args: &AuditArgs, binary: &Path) -> Done {
    if let Some(before) = &args.against {
        return against::against(binary, before, args.json);
    }
    let folder = PathBuf::from(words::folder(words::BUILT_IN)).join("report.json");
    let report = args.report.as_deref().unwrap_or(&folder);
    let costs = run::Costs { report, is_named: args.report.is_some(), seconds: args.seconds };
    match &args.counts {
        Some(file) => run::counts(binary, file, &costs, args.json),
        None => run::run(binary, &args.arguments, &costs, args.json),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(seconds)
    } else {
        Err("the time is above 0 and below 10^9 seconds".to_owned())
    }
}

fn new_document() -> Audit {
    Audit { schema: SCHEMA.to_owned(), tool: env!("CARGO_PKG_VERSION").to_owned(), binaries: Vec::new() }
}

/// The kinds that are named, each once.
fn choose_kinds(named: &[String]) -> Result<Vec<Kind>, CliError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).chain(GROUPS.map(|(name, _)| name)).collect();
    let chosen = select::select("kind", named, &names)?;
    let is_chosen = |kind: &Kind| {
        chosen.iter().any(|index| match Kind::ALL.get(*index) {
            Some(named) => named == kind,
            None => GROUPS.get(index - Kind::ALL.len()).is_some_and(|(_, group)| *group == Group::of(*kind)),
        })
    };
    Ok(Kind::ALL.into_iter().filter(is_chosen).collect())
}

/// The globs of functions. A name of C++ has commas within its parentheses and brackets.
fn split_globs(named: &[String]) -> Result<Vec<String>, CliError> {
    let mut globs = Vec::new();
    for text in named {
        let mut depth = 0_usize;
        let parts = text.split(|c| {
            match c {
                '(' | '<' | '{' | '[' => depth += 1,
                ')' | '>' | '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        globs.extend(parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    }
    match globs.is_empty() && !named.is_empty() {
        true => Err(CliError::Usage("--function has no name; name a function, or use '*' for all".to_owned())),
        false => Ok(globs),
    }
}

fn has_function(audit: &Audit, glob: &str) -> bool {
    let mut functions = audit.binaries.iter().flat_map(|binary| &binary.functions);
    functions.any(|function| list_names(function).any(|name| select::matches_glob(glob, name)))
}

fn list_names(function: &Function) -> impl Iterator<Item = &str> {
    let aliases = function.aliases.iter().map(String::as_str);
    [function.name.as_str()].into_iter().chain(function.symbol.as_deref()).chain(aliases)
}

/// Why no function matches, with functions of similar names.
fn describe_no_match(glob: &str, paths: &[PathBuf], audit: &Audit) -> String {
    let shown = visible(glob);
    if let Err(error @ FilterError::Malformed { .. }) = select::select("function", &[glob.to_owned()], &[]) {
        return error.to_string();
    }
    if audit.binaries.iter().all(|binary| binary.function_source != FunctionSource::Symbols) {
        return format!(
            "no function matches '{shown}': the symbols are stripped; audit the file as it was before `strip`, or name \
             a function by its address, such as 0x401000"
        );
    }
    let all = paths.iter().filter_map(|path| audit_file(path, &Options::default()).ok()).flatten();
    let names: Vec<String> = all.flat_map(|binary| binary.functions).map(|function| function.name).collect();
    let plain = glob.trim_matches('*').to_lowercase();
    let holds = |name: &&String| !plain.is_empty() && name.to_lowercase().contains(&plain);
    let mut nearest: Vec<String> = names.iter().filter(holds).take(MAX_SUGGESTIONS).cloned().collect();
    if nearest.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        nearest.extend(select::find_nearest(glob, &names));
    }
    let nearest: Vec<String> = nearest.iter().map(|name| format!("'{}'", visible(name))).collect();
    match nearest.is_empty() {
        true => format!("no function matches '{shown}'; * matches any characters: '*{shown}*'"),
        false => format!("no function matches '{shown}'; did you mean {}?", nearest.join(" or ")),
    }
}

/// Removes functions and sites of other kinds. Counts stay those of the binary.
fn retain_kinds(audit: &mut Audit, kinds: &[Kind]) {
    if kinds.is_empty() {
        return;
    }
    for binary in &mut audit.binaries {
        binary.functions.retain(|function| kinds.iter().any(|kind| function.counts.contains_key(kind)));
        for function in &mut binary.functions {
            function.sites.retain(|site| kinds.contains(&site.kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(named: &[&str]) -> Result<Vec<Kind>, String> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        choose_kinds(&named).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_have_forgiving_names_and_groups() {
        assert_eq!(kinds(&["Jump-Table,PLT"]), Ok(vec![Kind::Plt, Kind::JumpTable]));
        assert_eq!(kinds(&["linker", "got"]), Ok(vec![Kind::Plt, Kind::Got]));
        assert_eq!(kinds(&["own"]), Ok(Group::Own.kinds().collect()));
        assert_eq!(kinds(&[]), Ok(Vec::new()));
        assert!(kinds(&["virtul"]).is_err_and(|message| message.contains("did you mean 'virtual'?")));
    }

    #[test]
    fn a_comma_within_the_parameters_of_a_function_separates_nothing() {
        let split = |text: &str| split_globs(&[text.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(split("a, b::*"), Ok(vec!["a".to_owned(), "b::*".to_owned()]));
        assert_eq!(split("f(int, long),{a,b}*"), Ok(vec!["f(int, long)".to_owned(), "{a,b}*".to_owned()]));
        assert!(split(" , ").is_err());
    }
}
