//! The GitHub action, the workflows to copy, and the container file: their commands exist, and the steps of the action
//! do what they say.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvbench");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a part of a file in YAML: those below `key:` that are further to the right.
fn part<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim_end() != key);
    let above = indent(lines.next().unwrap_or_else(|| panic!("there is no {key}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > above).collect()
}

/// The keys of a part at its first level.
fn keys(lines: &[&str]) -> BTreeSet<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let first = lines.iter().find(|line| !line.trim().is_empty()).map_or(0, |line| indent(line));
    let own = lines.iter().filter(|line| indent(line) == first && !line.trim_start().starts_with('#'));
    own.filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned())).collect()
}

/// Whether the program accepts these arguments; `--help` at the end ends it after it has read the others.
fn assert_accepted(args: &[&str]) {
    let output = Command::new(PROGRAM).args(args).arg("--help").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_action_uses_each_of_its_inputs_and_runs_steps_that_its_script_has() {
    let (action, script) = (read("action.yml"), read("scripts/action.sh"));
    let inputs = keys(&part(&action, "inputs:"));
    assert!(inputs.contains("budget") && inputs.contains("baseline") && inputs.contains("args"), "{inputs:?}");
    for input in &inputs {
        assert!(action.contains(&format!("${{{{ inputs.{input} }}}}")), "the input {input} has no effect");
    }
    for used in action.split("inputs.").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        assert!(inputs.contains(used), "there is no input {used}");
    }
    let steps: Vec<&str> = action
        .lines()
        .filter_map(|line| line.trim().strip_prefix("run: "))
        .map(|run| {
            assert!(!run.contains("${{"), "{run}: text of an input would be a part of the command");
            run.trim_matches('\'').strip_prefix("\"$GITHUB_ACTION_PATH/scripts/action.sh\" ").expect(run)
        })
        .collect();
    assert_eq!(steps, ["key", "install", "doctor", "gate"]);
    for step in steps {
        assert!(script.contains(&format!("\n{step}) ")), "scripts/action.sh has no step {step}");
    }
    // Variables with `PVBENCH_` that steps get are those that the script reads.
    for variable in action.lines().filter_map(|line| line.trim().split_once(": ${{ inputs.")).map(|(name, _)| name) {
        let reads = script.contains(&format!("${{{variable}:-")) || !variable.starts_with("PVBENCH_");
        assert!(reads, "scripts/action.sh does not read {variable}");
    }
    // The versions of other actions are those of the workflows to copy.
    let workflows = read("scripts/github-actions.yml") + &read("scripts/github-actions-own.yml");
    for uses in action.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
        assert!(workflows.contains(&format!("uses: {uses}\n")), "{uses} is not what the workflows use");
    }
}

/// Scripts and workflows of a job.
const SCRIPTS: [&str; 5] = [
    "scripts/action.sh",
    "scripts/gate.sh",
    "scripts/github-actions.yml",
    "scripts/github-actions-own.yml",
    "scripts/github-actions-history.yml",
];

/// Options that scripts and workflows pass to cargo.
const CARGO_OPTIONS: [&str; 8] =
    ["--locked", "--release", "--bin", "--bench", "--no-run", "--root", "--version", "--path"];

/// Every word that follows `pvbench` as a program, or `--` of `cargo bench`, in a script or workflow.
fn subcommands(text: &str) -> BTreeSet<String> {
    let starts = [
        "target/release/pvbench ",
        " bin/pvbench ",
        "\"$BENCH\" -- ",
        "    pvbench ",
        "\"$PVBENCH\" ",
        "doctor) pvbench ",
    ];
    let after = |start: &'static str| text.split(start).skip(1).filter_map(|rest| rest.split_whitespace().next());
    let words = starts.into_iter().flat_map(after);
    let is_word = |word: &&str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.filter(is_word).map(str::to_owned).collect()
}

#[test]
fn subcommands_and_options_of_the_scripts_and_workflows_exist() {
    for (name, wanted) in [
        ("scripts/action.sh", &["doctor", "gate"][..]),
        ("scripts/gate.sh", &["gate"]),
        ("scripts/github-actions.yml", &["doctor", "export"]),
        ("scripts/github-actions-own.yml", &["doctor", "gate"]),
        ("scripts/github-actions-history.yml", &["history", "run", "site"]),
    ] {
        let found = subcommands(&read(name));
        assert_eq!(found, wanted.iter().map(|word| (*word).to_owned()).collect(), "{name}");
        found.iter().for_each(|subcommand| assert_accepted(&[subcommand]));
    }
    let help_of = |words: &[&str]| {
        let output = Command::new(PROGRAM).args(words).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let help = |subcommand: &str| help_of(&[subcommand]);
    let help = help("gate") + &help("export") + &help("run") + &help("site") + &help_of(&["history", "add"]);
    let known: BTreeSet<&str> = help.split_whitespace().collect();
    for name in SCRIPTS {
        let text = read(name);
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for option in code.flat_map(str::split_whitespace).map(|word| word.trim_start_matches("options+=(")) {
            let option = option.trim_start_matches("options=(").trim_start_matches("summary=(");
            let is_option = option.len() > 2 && option.starts_with("--");
            let is_known = || CARGO_OPTIONS.contains(&option) || known.contains(option);
            assert!(!is_option || is_known(), "{name}: no subcommand has {option}");
        }
    }
}

/// Runs a step of the action in a folder, with these variables.
fn step(folder: &Path, step: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(root().join("scripts/action.sh"));
    command.arg(step).current_dir(folder).env("RUNNER_TEMP", folder).env("PVBENCH", PROGRAM);
    command.env("GITHUB_OUTPUT", folder.join("output")).env("GITHUB_STEP_SUMMARY", folder.join("summary.md"));
    command.envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A rule on counted instructions, which no noise moves.
fn budget(folder: &Path, bound: u32) {
    let rule = format!(
        "[[budget]]\nop = \"pte_val\"\nmechanism = \"table\"\nregime = \"throughput\"\n\
         extra_instructions = \"{bound} instructions\"\n"
    );
    fs::write(folder.join("budgets.toml"), rule).unwrap();
}

#[test]
fn the_gate_of_the_action_writes_summary_report_and_exit_code() {
    for (bound, code) in [(2, 0), (1, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        budget(folder, bound);
        let output = step(folder, "gate", &[("PVBENCH_ARGS", "--time 1 --all"), ("PVBENCH_BUDGET", "budgets.toml")]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        let outputs = fs::read_to_string(folder.join("output")).unwrap();
        let report = folder.join("pvbench-report");
        assert!(outputs.contains(&format!("report={}\n", report.display())), "{outputs}");
        assert!(outputs.contains(&format!("status={code}\n")), "{outputs}");
        for file in ["report.json", "verdict.json", "gate.xml"] {
            assert!(report.join(file).is_file(), "{file}: {}", said(&output));
        }
        let summary = fs::read_to_string(folder.join("summary.md")).unwrap();
        let wanted = if code == 0 { "pvbench gate: kept" } else { "pvbench gate: EXCEEDED" };
        assert!(summary.contains(wanted), "{summary}");
    }
}

#[test]
fn an_inconclusive_gate_warns_and_every_other_code_fails_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    budget(folder, 2);
    let program = folder.join("fake");
    for (code, ended) in [(3, 0), (2, 2), (4, 4)] {
        fs::write(&program, format!("#!/bin/sh\nexit {code}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let output = step(folder, "gate", &[("PVBENCH", program.to_str().unwrap())]);
        assert_eq!(output.status.code(), Some(ended), "{}", said(&output));
        assert_eq!(said(&output).contains("::warning::"), code == 3, "{}", said(&output));
        assert!(fs::read_to_string(folder.join("output")).unwrap().contains(&format!("status={code}\n")));
    }
}

#[test]
fn an_input_is_never_a_part_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    budget(folder, 2);
    let output = step(folder, "gate", &[("PVBENCH_ARGS", "--time 1; touch made $(touch made)")]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(!folder.join("made").exists());
    let absent = step(folder, "gate", &[("PVBENCH_BUDGET", "absent; touch made")]);
    assert!(!absent.status.success() && !folder.join("made").exists(), "{}", said(&absent));
    assert_eq!(step(folder, "no_such_step", &[]).status.code(), Some(2));
}

#[test]
fn the_key_of_the_cache_follows_the_sources_and_the_version() {
    let key = |variables: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[package]").unwrap();
        let output = step(folder.path(), "key", variables);
        assert!(output.status.success(), "{}", said(&output));
        let outputs = fs::read_to_string(folder.path().join("output")).unwrap();
        assert!(outputs.lines().any(|line| line.starts_with("path=")), "{outputs}");
        outputs.lines().find_map(|line| line.strip_prefix("key=").map(str::to_owned)).unwrap()
    };
    let sources = key(&[]);
    assert!(sources.len() > 40 && sources == key(&[]), "{sources}");
    assert!(key(&[("PVBENCH_VERSION", "0.1.0")]).ends_with("-0.1.0"));
    assert_ne!(key(&[("PVBENCH_BENCH_TARGET", "uart")]), sources);
    let folder = tempfile::tempdir().unwrap();
    let installed = step(folder.path(), "install", &[]);
    assert!(installed.status.success() && said(&installed).contains("installed already"), "{}", said(&installed));
}

#[test]
fn the_lines_of_a_workflow_in_the_page_use_inputs_of_the_action() {
    let inputs = keys(&part(&read("action.yml"), "inputs:"));
    let page = read("docs/gate.md");
    let block = page.split("```yaml\n").nth(1).expect("a block in YAML").split("```").next().unwrap();
    assert!(block.contains("- uses: actions/checkout@v4\n- uses: OWNER/pvbench@"), "{block}");
    let used = keys(&part(block, "  with:"));
    assert!(!used.is_empty() && used.is_subset(&inputs), "{used:?} of {inputs:?}");
    assert!(block.lines().count() <= 5, "{block}");
}

#[test]
fn the_container_runs_a_command_that_exists_on_the_version_of_rust_that_the_crate_needs() {
    let text = read("Containerfile");
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).expect(start);
    let array = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
    assert_eq!(array(line("ENTRYPOINT ")), ["pvbench"]);
    let args = array(line("CMD "));
    assert_accepted(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let manifest = read("Cargo.toml");
    let version = manifest.split_once("rust-version = \"").unwrap().1.split_once('"').unwrap().0;
    assert!(line("FROM ").contains(&format!("rust:{version}-")), "the crate needs Rust {version}");
    assert!(text.contains("cargo install --locked"));
    // The build needs these; the file of exclusions must not have them.
    let excluded = read(".dockerignore");
    for needed in ["/src", "/benches", "/examples", "/tests", "/Cargo.lock", "/askama.toml"] {
        assert!(root().join(&needed[1..]).exists() && !excluded.lines().any(|line| line == needed), "{needed}");
    }
}
