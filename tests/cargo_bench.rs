//! `cargo bench` of this package: every target accepts what criterion's targets accept.

mod built_benches;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use built_benches::{build, cargo_bench, read_output};

/// The bench targets of this package.
const TARGETS: [&str; 5] = ["gate", "instructions", "macro", "micro", "patch"];

/// A filter that matches no benchmark, so that a target parses its options and measures nothing.
const NOTHING: &str = "no_such_benchmark";

/// Builds the bench targets once. Returns the path of a program.
fn built(name: &str) -> &'static Path {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    &BUILT.get_or_init(|| build(&TARGETS))[name]
}

/// A bench target with arguments. Criterion keeps its results in the folder.
fn bench(name: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(built(name));
    command.args(args).env("CRITERION_HOME", folder).env_remove("PVBENCH_BENCH").current_dir(folder);
    command
}

/// Runs a bench target, asserts exit code 0, and returns what it printed on standard output.
fn fine(name: &str, folder: &Path, args: &[&str]) -> String {
    let output = bench(name, folder, args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{name} {args:?}: {}", read_output(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The options in criterion's own help, each with a value where it takes one.
fn criterion_options() -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let help = fine("micro", folder.path(), &["--help"]);
    let mut options = Vec::new();
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        for option in
            line.split_whitespace().map(|word| word.trim_end_matches(',')).filter(|word| word.starts_with('-'))
        {
            let value = match option {
                "--color" | "-c" => "never",
                "--format" => "pretty",
                "--output-format" => "bencher",
                "--plotting-backend" => "plotters",
                "--sample-size" => "10",
                "--confidence-level" | "--significance-level" | "--noise-threshold" => "0.5",
                _ => "1",
            };
            let value = line.contains('<').then_some(value);
            options.push(std::iter::once(option).chain(value).map(str::to_owned).collect());
        }
    }
    options
}

#[test]
fn every_target_accepts_every_option_of_criterion() {
    let folder = tempfile::tempdir().unwrap();
    let options = criterion_options();
    let known: BTreeSet<&str> = options.iter().map(|option| option[0].as_str()).collect();
    for option in ["--list", "--save-baseline", "--baseline", "--profile-time", "--noplot", "--quick", "-s", "-b"] {
        assert!(known.contains(option), "criterion's help has no {option}: {known:?}");
    }
    // These appear in no help.
    let hidden = ["--test", "--nocapture", "--show-output", "--include-ignored", "--exact"];
    let hidden = hidden.map(|option| vec![option.to_owned()]);
    for option in options.iter().chain(&hidden) {
        let mut args: Vec<&str> = option.iter().map(String::as_str).collect();
        if args[0] == "--load-baseline" {
            args.extend(["--baseline", "1"]);
        }
        args.extend([NOTHING, "--bench"]);
        for target in TARGETS {
            fine(target, folder.path(), &args);
        }
    }
}

#[test]
fn every_target_lists_its_benchmarks_as_nextest_reads_them_and_runs_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let listed = fine(target, folder.path(), &["--list", "--format", "terse"]);
        let names: Vec<&str> = listed.lines().map(|line| line.strip_suffix(": benchmark").expect(line)).collect();
        let different: BTreeSet<&&str> = names.iter().collect();
        assert!(!names.is_empty() && different.len() == names.len(), "{target}: {names:?}");
        assert_eq!(fine(target, folder.path(), &["--list", "--format", "terse", "--ignored"]), "", "{target}");
        // As nextest runs it.
        let tried = fine(target, folder.path(), &[names[0], "--exact", "--nocapture"]);
        assert!(tried.contains(&format!("Testing {}\nSuccess", names[0])), "{target}: {tried}");
        assert_eq!(tried.matches("Testing ").count(), 1, "{target}: {tried}");
    }
}

#[test]
fn cargo_test_runs_the_matching_benchmarks_of_a_target_once() {
    let folder = tempfile::tempdir().unwrap();
    for (target, filter, tried) in [
        ("micro", "pte_val/.*e", "Testing pte_val/table"),
        ("macro", "mmap_perf/table", "Testing mmap_perf/table"),
        ("instructions", "pte_val", "Testing pte_val\nSuccess"),
        ("instructions", "mmap_perf", "Testing mmap_perf\nSuccess"),
        ("gate", "baseline", "a baseline\nSuccess"),
    ] {
        for args in [&[filter][..], &["--test", filter], &["--test", filter, "--bench"]] {
            let output = fine(target, folder.path(), args);
            assert!(output.contains(tried) && output.contains("Success"), "{target} {args:?}: {output}");
        }
    }
}

/// Options that make a measurement short enough for a test.
const SHORT: [&str; 7] = ["--sample-size", "10", "--warm-up-time", "0.01", "--measurement-time", "0.02", "--noplot"];

#[test]
fn a_baseline_is_saved_and_compared_with() {
    let folder = tempfile::tempdir().unwrap();
    for (target, filter) in [("micro", "pte_val/table"), ("macro", "mmap_perf/table"), ("patch", "")] {
        let run =
            |option: &str| fine(target, folder.path(), &[&[option, "x", filter][..], &SHORT, &["--bench"]].concat());
        let saved = run("--save-baseline");
        assert!(saved.contains("time:") && !saved.contains("change:"), "{target}: {saved}");
        let compared = run("--baseline");
        assert!(compared.contains("change:"), "{target}: {compared}");
    }
}

/// Runs the target that counts, in bench mode, with the only folder on the PATH.
fn count(folder: &Path, path: &Path) -> Output {
    bench("instructions", folder, &["pte_val", "--save-baseline", "x", "--bench"]).env("PATH", path).output().unwrap()
}

#[test]
fn one_line_tells_how_to_get_what_counting_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let version = lock.split_once("name = \"iai-callgrind\"\nversion = \"").unwrap().1.split_once('"').unwrap().0;
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let program = |name: &str, script: &str| {
        fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let skipped = |why: &str| {
        let output = count(folder.path(), &bin);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", read_output(&output));
        assert!(text.lines().count() == 1 && text.contains(why), "{text}");
        text
    };
    assert!(skipped("valgrind is not on the PATH").contains("apt-get install valgrind"));
    program("valgrind", "exit 1");
    let install = format!("cargo install iai-callgrind-runner --version {version} --locked");
    assert!(skipped("iai-callgrind-runner is not on the PATH").contains(&install));
    program("iai-callgrind-runner", "echo \"runner (0.1.0) is older than iai-callgrind ($1)\" >&2; exit 1");
    assert!(skipped(&format!("is not version {version}")).contains(&install));
    // A runner of the right version is started; this one fails, and the bench says so.
    program("iai-callgrind-runner", "echo 'no input' >&2; exit 1");
    let output = count(folder.path(), &bin);
    assert_eq!(output.status.code(), Some(4), "{}", read_output(&output));
}

#[test]
fn the_default_has_the_pairs_that_decide_and_an_environment_variable_adds_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let list = |target: &str, pairs: Option<&str>| -> BTreeSet<String> {
        let mut command = bench(target, folder.path(), &["--list", "--format", "terse"]);
        command.envs(pairs.map(|pairs| ("PVBENCH_BENCH", pairs)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", read_output(&output));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    for target in ["micro", "macro"] {
        let (some, all) = (list(target, None), list(target, Some("all")));
        assert!(some.is_subset(&all) && all.len() > 3 * some.len(), "{target}: {} of {}", some.len(), all.len());
    }
    let micro = list("micro", None);
    assert_eq!(micro.len(), 12 * 7, "{micro:?}");
    assert!(micro.contains("pte_val/table: benchmark") && !micro.contains("pte_val/once_lock_dyn: benchmark"));
    assert!(list("micro", Some("all")).contains("pte_val/once_lock_dyn: benchmark"));
    for target in ["micro", "macro", "instructions"] {
        let output = bench(target, folder.path(), &["--list"]).env("PVBENCH_BENCH", "al").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{target}: {}", read_output(&output));
        assert!(read_output(&output).contains("PVBENCH_BENCH is 'al'"), "{target}: {}", read_output(&output));
    }
    // While it measures, one line names the variable.
    let measured = [&["pte_val/table"][..], &SHORT, &["--bench"]].concat();
    let output = bench("micro", folder.path(), &measured).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("PVBENCH_BENCH=all measures the rest"));
}

#[test]
fn cargo_bench_runs_the_bench_targets_and_nothing_else() {
    built("micro");
    let output = cargo_bench(&[]).args(["--no-run", "--message-format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", read_output(&output));
    let mut run = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let is_own = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
        // Cargo builds the program pvbench for the bench targets, and does not run it.
        if is_own && message["executable"].is_string() && message["target"]["kind"][0] != "bin" {
            run.insert(message["target"]["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(run, TARGETS.map(str::to_owned).into(), "each of them is run by a plain `cargo bench`");
}

#[cfg(feature = "html")]
#[test]
fn library_and_program_are_no_bench_targets_and_no_target_has_the_harness_of_libtest() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let is_off = |target: &toml::Value, key: &str| target.get(key).and_then(toml::Value::as_bool) == Some(false);
    assert!(is_off(&manifest["lib"], "bench"));
    assert!(manifest["bin"].as_array().unwrap().iter().all(|bin| is_off(bin, "bench")));
    let benches = manifest["bench"].as_array().unwrap();
    assert!(benches.iter().all(|bench| is_off(bench, "harness")));
    let named: BTreeSet<&str> = benches.iter().filter_map(|bench| bench["name"].as_str()).collect();
    assert_eq!(named, TARGETS.into(), "of Cargo.toml and of this test");
    let found = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")).unwrap();
    let found =
        found.filter_map(|entry| entry.unwrap().file_name().into_string().ok()?.strip_suffix(".rs").map(str::to_owned));
    assert_eq!(found.collect::<BTreeSet<_>>(), TARGETS.map(str::to_owned).into(), "of the folder");
}

/// `cargo bench --no-run` builds every dependency of the tests.
#[cfg(feature = "html")]
#[test]
fn a_release_build_optimises_no_dependency_that_only_tests_use_except_criterion() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let profiles = manifest["profile"].as_table().unwrap();
    for (profile, settings) in profiles.iter().filter(|(profile, _)| *profile != "dev") {
        // Without an override of its own, a profile inherits those of the release profile.
        assert!(profile == "release" || settings.get("package").is_none(), "{profile} has overrides of its own");
    }
    let packages = profiles["release"]["package"].as_table().unwrap();
    let level = |name: &str| packages.get(name).and_then(|package| package["opt-level"].as_integer());
    assert_eq!((level("*"), level("criterion")), (Some(0), Some(1)));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"]).current_dir(folder);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", read_output(&output));
    let tree = String::from_utf8(output.stdout).unwrap();
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let unused: Vec<&String> = packages
        .keys()
        .filter(|name| !["*", "criterion"].contains(&name.as_str()))
        .filter(|name| !used.contains(name.as_str()))
        .collect();
    assert!(unused.is_empty(), "the program does not use {unused:?}");
}
