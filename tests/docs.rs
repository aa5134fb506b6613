//! README and docs are true: figures are those of the data, links and anchors resolve, and every command parses and is
//! run by a test, or is marked as needing what a test lacks.
//!
//! A block of commands (`sh`) has one of these comments in the line above it:
//!
//! ```text
//! <!-- needs: WHAT -->        what the tests lack, from `NEEDS`
//! <!-- run by: FILE -->       the test or script that runs such a command
//! <!-- test command -->       .ci/run runs it
//! ```
//!
//! A block without a comment is run here; it has only the subcommands of `RUN_HERE`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The longest README, in lines.
const MAX_README_LINES: usize = 150;
/// Reasons why the tests do not run a block.
const NEEDS: [&str; 9] = [
    "minutes",
    "qemu",
    "network",
    "kernels",
    "two builds",
    "a report",
    "root",
    "a CPU with branch records",
    "the compiler's LLVM tools",
];
/// A reason of pages about a crate that is not this one.
const OWN_CRATE: &str = "a crate of your own";
/// Subcommands of blocks without a comment. They take a moment and write nothing.
const RUN_HERE: [&str; 3] = ["list", "explain", "doctor"];
/// Programs of others, which only blocks with a comment may call.
const PROGRAMS_OF_OTHERS: [&str; 12] = [
    "apt-get",
    "bpftrace",
    "cargo install",
    "cargo add",
    "cargo test",
    "cargo bench",
    "gcc",
    "gcov",
    "llvm-",
    "perf",
    "podman",
    "valgrind",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README, the pages of docs, and the page of the examples, by their path from the root.
fn pages() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "examples/README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        names.push(format!("docs/{name}"));
    }
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(root().join(name)).unwrap())).collect()
}

/// A block of code, with the line above it and the number of its first line.
struct Fenced {
    above: String,
    language: String,
    lines: Vec<String>,
    number: usize,
}

/// A page without its blocks of code, and these blocks.
fn split(text: &str) -> (String, Vec<Fenced>) {
    let (mut prose, mut blocks, mut above) = (String::new(), Vec::new(), "");
    let mut open: Option<Fenced> = None;
    for (number, line) in text.lines().enumerate() {
        match (open.as_mut(), line.strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.to_owned();
                open = Some(Fenced { above: above.to_owned(), language, lines: Vec::new(), number: number + 1 });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        above = line;
    }
    assert!(open.is_none(), "a block of code has no end");
    (prose, blocks)
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = split(text);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links and pictures.
fn targets(prose: &str) -> Vec<&str> {
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
}

#[test]
fn the_readme_fits_on_a_page() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= MAX_README_LINES, "README.md has {lines} lines; move details to docs/");
}

#[test]
fn every_page_of_docs_begins_with_the_question_that_it_answers() {
    for (name, text) in pages().iter().filter(|(name, _)| name.starts_with("docs/")) {
        let title = text.lines().next().unwrap_or_default();
        assert!(title.starts_with("# ") && title.ends_with('?'), "{name}: the title is not a question: {title}");
    }
}

#[test]
fn relative_links_and_anchors_resolve() {
    let mut faults = Vec::new();
    for (name, text) in pages() {
        let (prose, _) = split(&text);
        for target in targets(&prose).into_iter().filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            let folder = root().join(&name).parent().map(Path::to_owned).unwrap();
            let file = if path.is_empty() { root().join(&name) } else { folder.join(path) };
            if !file.exists() {
                faults.push(format!("{name}: {target}: there is no such file"));
            } else if let Some(anchor) = anchor.filter(|_| file.extension().is_some_and(|e| e == "md"))
                && !anchors(&fs::read_to_string(&file).unwrap()).contains(anchor)
            {
                faults.push(format!("{name}: {target}: the page has no such heading"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs the script of the figures in a folder. `None` without Python 3.11, whose standard library reads TOML.
fn figures(folder: &Path, args: &[&str]) -> Option<Output> {
    let python = || Command::new("python3");
    let available = python().args(["-c", "import tomllib"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !available {
        eprintln!("python3 3.11 or later is not installed: figures are not checked");
        return None;
    }
    Some(python().arg("-B").arg(folder.join("scripts/figures.py")).args(args).output().unwrap())
}

#[test]
fn figures_are_those_of_the_committed_data() {
    let Some(output) = figures(&root(), &["--check"]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_figure_without_data_and_an_unknown_figure_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("scripts")).unwrap();
    for script in ["scripts/figures.py", "scripts/figures_audit.py"] {
        fs::copy(root().join(script), folder.path().join(script)).unwrap();
    }
    for (figure, fault) in [("no-such-figure", "no figure has the name"), ("acceptance-setting", "acceptance.json")] {
        let text = format!("It is <!-- figures: {figure} -->1<!-- end -->.\n");
        fs::write(folder.path().join("README.md"), text).unwrap();
        let Some(output) = figures(folder.path(), &["--check"]) else { return };
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(figure) && message.contains(fault), "{message}");
    }
}

/// A command line of a block, without its comment.
fn command(line: &str) -> Option<&str> {
    let line = line.strip_prefix("$ ").unwrap_or(line).trim();
    let line = line.split(" #").next().unwrap_or_default().trim();
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// The words of a command line. There is nothing in quotes but globs.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

/// The arguments for pvbench of a command line that runs it, or a program with its command line: a bench target or an
/// example of a suite. A bench target runs `run` where no subcommand is named.
fn pvbench_args(line: &str) -> Option<Vec<String>> {
    let words = words(line);
    if words[0] == "pvbench" {
        return Some(words[1..].to_vec());
    }
    let after = words.iter().position(|word| word == "--").filter(|_| words[0] == "cargo")?;
    let args = &words[after + 1..];
    // Criterion's own bench targets.
    let suite = !words.iter().any(|word| ["micro", "macro"].contains(&word.as_str()));
    let implied = args.first().is_some_and(|first| first.starts_with('-'));
    suite.then(|| if implied { [&["run".to_owned()], args].concat() } else { args.to_vec() })
}

/// The program, where this build has it.
const PROGRAM: Option<&str> = option_env!("CARGO_BIN_EXE_pvbench");

/// Whether the program accepts the arguments. `--help` at the end ends it after it has read the others.
fn parse(args: &[String]) -> Result<(), String> {
    let Some(program) = PROGRAM else { return Ok(()) };
    if !cfg!(feature = "linux") && args.first().is_some_and(|first| first == "linux") {
        return Ok(());
    }
    if !cfg!(feature = "audit") && args.first().is_some_and(|first| first == "audit") {
        return Ok(());
    }
    // What follows `--` are the arguments of another program.
    let own = args.iter().position(|arg| arg == "--").and_then(|at| args.get(..at)).unwrap_or(args);
    let output = Command::new(program).args(own).arg("--help").output().unwrap();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Checks a command line; `marked` tells whether the block has a comment.
fn check(line: &str, marked: bool) -> Result<(), String> {
    if let Some(args) = pvbench_args(line) {
        parse(&args)?;
        if !marked && !args.first().is_some_and(|first| RUN_HERE.contains(&first.as_str())) {
            return Err("it takes long, or writes files; mark its block".to_owned());
        }
        let Some(program) = PROGRAM.filter(|_| !marked) else { return Ok(()) };
        let output = Command::new(program).args(&args).output().unwrap();
        let message = || format!("it ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        return output.status.success().then_some(()).ok_or_else(message);
    }
    if let Some(script) = words(line).first().filter(|word| word.starts_with("scripts/")) {
        let mode =
            fs::metadata(root().join(script)).map_err(|error| format!("{script}: {error}"))?.permissions().mode();
        return (mode & 0o100 != 0).then_some(()).ok_or_else(|| format!("{script} is not executable"));
    }
    let known = PROGRAMS_OF_OTHERS.iter().any(|program| line.starts_with(program));
    (known && marked).then_some(()).ok_or_else(|| "nothing runs it; mark its block".to_owned())
}

/// Checks the comment above a block: its form, and that the named test or script mentions the subcommands.
fn check_comment(block: &Fenced) -> Result<(), String> {
    let Some(comment) = block.above.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else {
        return Ok(());
    };
    if let Some(needs) = comment.strip_prefix("needs: ") {
        let known = |need: &str| NEEDS.contains(&need) || need == OWN_CRATE;
        return needs.split(", ").all(known).then_some(()).ok_or_else(|| format!("'{needs}' is not in NEEDS"));
    }
    if let Some(file) = comment.strip_prefix("run by: ") {
        let text = fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
        for args in block.lines.iter().filter_map(|line| pvbench_args(command(line)?)) {
            let subcommand = args.first().cloned().unwrap_or_default();
            if !text.contains(&format!("\"{subcommand}\"")) {
                return Err(format!("{file} does not run `{subcommand}`"));
            }
        }
        return Ok(());
    }
    (comment == "test command").then_some(()).ok_or_else(|| format!("unknown comment: {comment}"))
}

#[test]
fn commands_parse_and_are_run_by_a_test_or_marked() {
    let mut faults = Vec::new();
    for (name, text) in pages() {
        for block in split(&text).1.iter().filter(|block| ["sh", "console"].contains(&block.language.as_str())) {
            let mut fault = |line: usize, what: String| faults.push(format!("{name}:{line}: {what}"));
            check_comment(block).unwrap_or_else(|what| fault(block.number, what));
            let marked = block.above.starts_with("<!-- ");
            for (at, line) in block.lines.iter().enumerate() {
                let Some(line) = command(line) else { continue };
                check(line, marked).unwrap_or_else(|what| fault(block.number + at + 1, format!("{line}: {what}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_has_the_test_command_that_ci_runs() {
    let (_, blocks) = split(&fs::read_to_string(root().join("README.md")).unwrap());
    let found = blocks.iter().find(|block| block.above == "<!-- test command -->").map(|block| block.lines.clone());
    assert_eq!(found, Some(vec!["cargo test --locked".to_owned()]));
}

#[cfg(feature = "cli")]
#[test]
fn budgets_in_the_pages_are_valid() {
    for (name, text) in pages() {
        for block in split(&text).1.iter().filter(|block| block.lines.iter().any(|line| line == "[[budget]]")) {
            let parsed = pvbench::gate::budget::Budgets::parse(Path::new(&name), &block.lines.join("\n"));
            assert!(
                parsed.is_ok(),
                "{name}:{}: {}",
                block.number,
                parsed.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }
}

#[test]
fn the_density_of_linux_on_the_page_is_that_of_the_shipped_recording() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&read("reports/linux/recorded.json")).unwrap();
    let of_claim = |it: &&serde_json::Value| it["workload"] == "mmap_perf";
    let rate = recorded.as_array().unwrap().iter().find(of_claim).unwrap()["hooks_per_1000"].as_f64().unwrap();
    let source = read("src/report/html/first_screen.rs");
    assert!(source.contains(&format!("const LINUX_HOOKS_PER_1000: f64 = {rate:.2};")), "{rate}");
}
