//! The command line: output, exit codes, files.

use std::path::Path;
use std::process::{Command as Plain, Stdio};

use assert_cmd::Command;
use pvbench::report::Report;
use serde_json::Value;

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run small enough for a test: one op, two mechanisms, two workers.
fn small_run(out: &Path) -> Command {
    let mut command = pvbench();
    command.args(["run", "--op", "pte_val", "--mechanism", "table,direct", "--regime", "throughput"]);
    command.args(["--workers", "2", "--seed", "7", "--out"]).arg(out);
    command
}

#[test]
fn a_run_writes_a_report_that_reads_back_and_prints_the_path_of_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("made/on/the/way");
    let output = small_run(&out).assert().code(0).get_output().clone();
    // A log has the first line of progress at once.
    assert!(stderr(&output).starts_with("0% measured, time unknown; "), "{}", stderr(&output));
    assert!(output.stderr.is_ascii(), "{}", stderr(&output));
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("\nPage: ") && answer.contains("/on/the/way/index.html\n"), "{answer}");
    assert!(answer.lines().count() <= 25 && answer.contains("the pv_ops table"), "{answer}");
    // The last line is the command for the tables.
    let command = answer.lines().last().and_then(|line| line.strip_prefix("Tables: pvbench ")).unwrap();
    let output = pvbench().args(command.split(' ')).assert().code(0).get_output().clone();
    assert!(String::from_utf8_lossy(&output.stdout).contains("overhead over inline"));
    let report = pvbench::report::read::report(&out.join("report.json")).unwrap();
    assert_eq!(report.run.seed, 7);
    assert!(report.run.complete);
    let mechanisms: Vec<&str> = report.cells.iter().map(|cell| cell.mechanism.as_str()).collect();
    assert_eq!(mechanisms, ["inline", "direct", "table"]);
    assert!(report.cells.iter().all(|cell| cell.overhead.is_some() && !cell.layouts.is_empty()));
    // A busy machine drops rounds, and then some layouts may have no worker of the two.
    let given_up =
        report.calibration.as_ref().is_some_and(|found| found.dropped_rounds > 0 || found.dropped_values > 0);
    assert!(given_up || report.cells.iter().all(|cell| cell.layouts.len() == 8));
    assert!(out.join("index.html").is_file());
    assert!(out.join("plots").is_dir());
}

#[test]
fn a_time_too_short_for_two_workers_ends_with_2_and_suggests_fewer_layouts() {
    let output = pvbench().args(["run", "--full", "--time", "1"]).assert().code(2).get_output().clone();
    let message = stderr(&output);
    assert!(message.contains("--time 1") && message.contains("--layouts 32"), "{message}");
}

#[test]
fn more_time_gives_more_workers_and_the_layouts_are_those_of_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pvbench();
    command.args(["run", "--op", "pte_val", "--mechanism", "table", "--regime", "throughput", "--layouts", "3"]);
    command.args(["--time", "2", "--out"]).arg(folder.path()).assert().code(0);
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    assert_eq!(report.run.plan.layouts.len(), 3);
    assert!(report.run.plan.workers >= 6, "{:?}", report.run.plan);
    assert!(report.run.plan.error_per_cell > 0.0 && report.run.plan.error_per_cell < 0.05);
    let spread = report.cells[1].spread.unwrap();
    assert!(spread.between_rounds.is_some() && spread.between_layouts.is_some(), "{spread:?}");
}

#[test]
fn the_xen_body_is_measured_against_native_inline() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).args(["--body", "xen"]).assert().code(0);
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    let mechanisms: Vec<&str> = report.cells.iter().map(|cell| cell.mechanism.as_str()).collect();
    assert_eq!(mechanisms, ["inline", "table"], "direct cannot reach the Xen body");
}

#[test]
fn the_os_clock_gives_similar_overheads_and_the_report_names_it() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).args(["--clock", "os"]).assert().code(0);
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    let calibration = report.calibration.unwrap();
    assert_eq!(calibration.clock, "os");
    assert!(calibration.clock_reason.is_some());
    assert_eq!(calibration.ticks_per_second, 1e9);
    let table = report.cells.iter().find(|cell| cell.mechanism == "table").unwrap();
    let cycles = table.overhead.unwrap().cycles.estimate;
    assert!((1.0..20.0).contains(&cycles), "a call costs some cycles, by any clock: {cycles}");
}

#[test]
fn a_written_report_validates_against_the_published_schema_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).assert().code(0);
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string("reports/schema/report-2.json").unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    if let Err(error) = validator.validate(&value) {
        panic!("{error} at {}", error.instance_path());
    }
    value["cells"][0]["regime"] = "sideways".into();
    assert!(!validator.is_valid(&value));
}

#[test]
fn unknown_names_end_with_2_and_suggest_the_nearest_name() {
    for (option, name, nearest) in [
        ("--op", "pte_vla", "pte_val"),
        ("--mechanism", "tabel", "table"),
        ("--regime", "throughputs", "throughput"),
        ("--body", "xem", "xen"),
        ("--body", "alternativ", "alternative"),
        ("--workload", "mmap_perv", "mmap_perf"),
        ("--clock", "tscc", "tsc"),
    ] {
        let output = pvbench().args(["run", option, name]).assert().code(2).get_output().clone();
        let message = stderr(&output);
        assert!(message.contains(name) && message.contains(&format!("'{nearest}'")), "{message}");
    }
    let output = pvbench().args(["run", "--quik"]).assert().code(2).get_output().clone();
    assert!(stderr(&output).contains("--quick"), "{}", stderr(&output));
    pvbench().args(["run", "--op", "[a"]).assert().code(2);
    for (option, value) in [
        ("--workers", "0"),
        ("--time", "0"),
        ("--time", "-3"),
        ("--seed", "-1"),
        ("--seed", "99999999999999999999"),
        ("--layouts", "0"),
        ("--layouts", "65"),
    ] {
        let output = pvbench().args(["run", option, value]).assert().code(2).get_output().clone();
        assert!(stderr(&output).contains(value), "{option} {value}: {}", stderr(&output));
    }
    pvbench().args(["run", "--workers", "6", "--time", "5"]).assert().code(2);
    for (command, name, nearest) in [
        (&["list"][..], "mechanims", "mechanisms"),
        (&["show", "x.json"], "mechanisim", "mechanisms"),
        (&["explain", "pte_val"], "tabel", "table"),
        (&["explain", "--state", "inlin", "pte_val"], "site", "inline"),
        (&["export", "x.json", "--format"], "markdwn", "markdown"),
        (&["selftest", "--tries", "2", "--truth"], "101 add", "101 adds"),
        (&["linux", "run", "vmlinuz", "--workload"], "mmap_perv", "mmap_perf"),
        (&[], "explian", "explain"),
    ] {
        let output = pvbench().args(command).arg(name).assert().code(2).get_output().clone();
        assert!(stderr(&output).contains(&format!("'{nearest}'")), "{name}: {}", stderr(&output));
    }
    for (command, name) in [(&["list"][..], "Regime"), (&["list"], "OPTIONS"), (&["explain", "PTE-val"], "Table")] {
        pvbench().args(command).arg(name).assert().code(0);
    }
}

#[test]
fn a_cpu_that_does_not_exist_ends_with_2_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = small_run(folder.path()).args(["--cpu", "1000000"]).assert().code(2).get_output().clone();
    assert!(stderr(&output).contains("1000000"), "{}", stderr(&output));
}

#[test]
fn an_output_folder_that_cannot_be_made_ends_with_2_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let output = small_run(&file.join("below")).assert().code(2).get_output().clone();
    assert!(stderr(&output).contains("below"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn a_disk_that_fills_up_ends_with_4_and_leaves_the_old_report_untouched() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).assert().code(0);
    let before = std::fs::read(folder.path().join("report.json")).unwrap();
    // A limit on file sizes replaces a full disk: writes beyond it fail in the same way.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 4; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pvbench")]);
    limited.args(["run", "--op", "pte_val", "--workers", "2", "--out"]).arg(folder.path());
    let output = limited.assert().code(4).get_output().clone();
    assert!(stderr(&output).contains("untouched"), "{}", stderr(&output));
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(summary.contains("above inline") && !summary.contains("index.html"), "{summary}");
    assert!(!summary.contains("pvbench show"), "{summary}");
    assert_eq!(std::fs::read(folder.path().join("report.json")).unwrap(), before);
    let names =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('.')), "a temporary file was left behind");
}

#[test]
fn a_killed_worker_loses_its_comparison_and_the_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let child = Plain::new(env!("CARGO_BIN_EXE_pvbench"))
        .args([
            "run",
            "--op",
            "pte_val,set_pte,save_fl",
            "--regime",
            "throughput,pressure",
            "--mechanism",
            "table,flag",
        ])
        .args(["--seed", "3", "--workers", "12", "--out"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let victim = first_worker(child.id());
    assert!(Plain::new("kill").args(["-KILL", &victim.to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
    assert!(report.failures[0].message.contains("SIGKILL"), "{:?}", report.failures);
    assert!(report.run.complete, "every group was measured by another worker");
    assert!(report.cells.iter().all(|cell| cell.overhead.is_some()));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_interrupted_run_writes_an_incomplete_report_ends_with_4_and_leaves_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let child = Plain::new(env!("CARGO_BIN_EXE_pvbench"))
        .args(["run", "--op", "*_val,save_fl,set_pte", "--mechanism", "table,flag", "--workers", "900", "--out"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let worker = first_worker(child.id());
    // A shell that starts the tests in the background makes them ignore SIGINT.
    assert!(Plain::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    assert!(!report.run.complete);
    assert!(!Path::new(&format!("/proc/{worker}")).exists(), "a worker was left behind");
}

/// The first worker process of a run, once there is one.
fn first_worker(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    loop {
        let children = std::fs::read_to_string(&path).expect("the parent is gone");
        for child in children.split_whitespace() {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if command.ends_with(b"\0worker\0") {
                return child.parse().unwrap();
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn list_has_every_op_and_mechanism_as_table_and_as_json() {
    let output = pvbench().args(["list", "ops", "--json"]).assert().code(0).get_output().clone();
    let ops: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ops.as_array().unwrap().len(), pvbench::op::catalogue::COUNT);
    let save_fl = ops.as_array().unwrap().iter().find(|op| op["name"] == "save_fl").unwrap();
    assert_eq!(save_fl["native_code"], "9c58", "pushf; pop %rax");
    let output = pvbench().args(["list", "mechanisms"]).assert().code(0).get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "inline",
        "inline_clobber",
        "direct",
        "flag",
        "enum",
        "dyn",
        "table",
        "fn_pointer",
        "once_lock",
        "once_lock_dyn",
    ] {
        assert!(text.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name} is missing:\n{text}");
    }
    assert!(!text.contains('\x1b'), "a pipe gets no colour");
    let output = pvbench().args(["list", "mechanisms", "--json"]).assert().code(0).get_output().clone();
    let mechanisms: Value = serde_json::from_slice(&output.stdout).unwrap();
    let site = mechanisms.as_array().unwrap().iter().find(|m| m["name"] == "site").unwrap();
    assert_eq!(site["states"], serde_json::json!(["unpatched", "direct", "inline", "nop"]));
    assert_eq!((&site["available"], &site["states_unavailable"]), (&true.into(), &Value::Null));
    let line = text.lines().find(|line| line.split_whitespace().next() == Some("site")).unwrap();
    assert!(line.contains("unpatched direct inline nop") && line.contains(" yes "), "{line}");
    pvbench().arg("list").assert().code(0);
}

#[test]
fn list_has_workloads_options_and_layouts_of_page_flags() {
    let list = |what: &str| {
        let output = pvbench().args(["list", what]).assert().code(0).get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let workloads = list("workloads");
    for name in ["mmap_perf", "lat_mmap", "page_fault", "prot_fault", "fork_exit", "exec", "context_switch"] {
        assert!(workloads.lines().any(|line| line.split_whitespace().next() == Some(name)), "{workloads}");
    }
    let options = list("options");
    for name in ["security", "audit", "init_on_free", "sanitize_mem", "page_poison", "node_table"] {
        assert!(options.lines().any(|line| line.split_whitespace().next() == Some(name)), "{options}");
    }
    assert!(options.contains("32 bits, 16 nodes: 23 flags") && options.contains("the node moves out"), "{options}");
}

#[test]
fn doctor_gives_each_check_a_status_and_advice_unless_it_is_ok() {
    let output = pvbench().args(["doctor", "--json"]).assert().code(0).get_output().clone();
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    for check in checks.as_array().unwrap() {
        let status = check["status"].as_str().unwrap();
        assert!(["ok", "unknown", "warning"].contains(&status), "{check}");
        assert!(status == "ok" || check["advice"].is_string(), "{check}");
        assert_eq!(status == "warning", check["effect"].is_string(), "{check}");
    }
    assert_eq!(checks.as_array().unwrap().iter().filter(|check| check["id"] == "optimised").count(), 1);
    let measuring = checks.as_array().unwrap().iter().find(|check| check["id"] == "measuring").unwrap();
    assert_eq!(measuring["status"], "ok", "{measuring}");
    let plain = pvbench().arg("doctor").env("NO_COLOR", "1").assert().code(0).get_output().clone();
    assert!(!String::from_utf8_lossy(&plain.stdout).contains('\x1b'));
}

#[test]
fn a_reader_that_leaves_early_is_not_an_error() {
    let status = Plain::new("sh")
        .args([
            "-c",
            "set -e; { \"$0\" list ops --json; echo $? >&2; } | head -c 1 >/dev/null",
            env!("CARGO_BIN_EXE_pvbench"),
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stderr).trim(), "0");
}

/// The examples in the help of a command.
fn examples(command: &str) -> Vec<String> {
    let output = pvbench().args(command.split(' ')).arg("--help").assert().code(0).get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    let lines = help.lines().filter(|line| line.starts_with("  pvbench "));
    lines.map(|line| line.trim_start().split("   ").next().unwrap().to_owned()).collect()
}

/// Builds the binaries that the examples of `audit` name.
fn build_audited(folder: &Path) {
    let source = "int (*hook)(int);\nextern \"C\" int uart_poll(int n) { return hook(n) + 1; }\n\
                  namespace uart { int poll(int n) { return hook(n) + 2; } }\nint main() { return 0; }\n";
    std::fs::write(folder.join("uart.cpp"), source).unwrap();
    std::fs::create_dir_all(folder.join("target/release")).unwrap();
    let build = "g++ -O1 -g -c uart.cpp && g++ -g -o target/release/app uart.o && ar rc libuart.a uart.o";
    std::fs::create_dir_all(folder.join("old")).unwrap();
    let mut shell = Plain::new("sh");
    assert!(shell.args(["-c", build]).current_dir(folder).status().unwrap().success(), "{build}");
    std::fs::copy(folder.join("target/release/app"), folder.join("old/app")).unwrap();
    let budget = "[[budget]]\nbinary = \"target/release/app\"\nfunction = \"uart_poll\"\nindirect_calls = 1\n";
    std::fs::write(folder.join("binaries.toml"), budget).unwrap();
}

/// The commands that measure for longer than a test may, or boot kernels, are only parsed: by a test of `cli`.
#[test]
fn the_examples_of_quick_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut run = pvbench();
    run.args(["run", "--op", "*", "--mechanism", "table,dyn", "--regime", "throughput", "--layouts", "1"]);
    run.args(["--workers", "2", "--seed", "7", "--out", "reports/latest", "--samples", "run.samples"]);
    run.current_dir(folder.path()).assert().code(0);
    for copy in ["old.json", "new.json", "old/report.json", "new/report.json"] {
        std::fs::create_dir_all(path(copy).parent().unwrap()).unwrap();
        std::fs::copy(path("reports/latest/report.json"), path(copy)).unwrap();
    }
    std::fs::write(path("counts.toml"), "time_ns = 2500000\n[calls]\nset_pte = 12000\n").unwrap();
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/src/linux/record/debian-6.1/getppid.pvrec");
    std::fs::create_dir_all(path("recordings")).unwrap();
    std::fs::copy(recording, path("recordings/getppid.pvrec")).unwrap();
    std::fs::write(path("native.json"), "{\"kernel\":{},\"workloads\":[]}").unwrap();
    let rule = "[[budget]]\nmechanism = \"table\"\noverhead = \"900 cycles\"\n";
    std::fs::write(path("reports/budgets.toml"), rule).unwrap();
    // Programs that read the output, and a browser.
    for tool in ["bin/bencher", "bin/jq", "bin/man", "bin/xdg-open"] {
        std::fs::create_dir_all(path("bin")).unwrap();
        std::fs::write(path(tool), "#!/bin/sh\nif [ -t 0 ]; then :; else cat >/dev/null; fi\n").unwrap();
        assert!(Plain::new("chmod").arg("+x").arg(path(tool)).status().unwrap().success());
    }
    for shell in ["home/.local/share/bash-completion/completions", "home/.zfunc", "home/.config/fish/completions"] {
        std::fs::create_dir_all(path(shell)).unwrap();
    }
    let built = Path::new(env!("CARGO_BIN_EXE_pvbench")).parent().unwrap();
    let search = format!("{}:{}:{}", path("bin").display(), built.display(), std::env::var("PATH").unwrap());
    let mut quick = vec![
        "list",
        "show",
        "report",
        "gate",
        "compare",
        "export",
        "explain",
        "doctor",
        "predict",
        "completions",
        "man",
    ];
    if cfg!(feature = "audit") {
        build_audited(folder.path());
        quick.push("audit");
    }
    for command in quick {
        for example in examples(command) {
            // These need a run of their own, or counts of a kernel.
            if ["--run", "pvbench run", "linux"].iter().any(|word| example.contains(word)) {
                continue;
            }
            let mut shell = Command::new("sh");
            shell.args(["-c", &example]).current_dir(folder.path());
            shell.env("PATH", &search).env("HOME", path("home")).env_remove("BROWSER");
            let output = shell.output().unwrap();
            let code = output.status.code().unwrap();
            assert!([0, 1, 3].contains(&code), "{example} ends with {code}: {}", stderr(&output));
            assert!(code == 0 || ["gate", "compare"].contains(&command), "{example}: {}", stderr(&output));
        }
    }
    assert!(path("home/.local/share/man/man1/pvbench-explain.1").is_file());
}

#[test]
fn completions_have_the_subcommands_and_options_of_the_program() {
    for shell in ["bash", "zsh", "fish", "BASH"] {
        let output = pvbench().args(["completions", shell]).assert().code(0).get_output().clone();
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["explain", "mechanism", "full"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
        for hidden in ["Worker process", "pvbench,worker"] {
            assert!(!script.contains(hidden), "the hidden subcommand appears in {shell}");
        }
    }
    // Bash completes a subcommand and an option of it.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("pvbench");
    std::fs::write(&script, pvbench().args(["completions", "bash"]).output().unwrap().stdout).unwrap();
    let complete = |words: &str, at: usize| {
        let asked = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _pvbench pvbench \"${{COMP_WORDS[{at}]}}\" \
             \"${{COMP_WORDS[{at}-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Plain::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("pvbench expl", 1), "explain");
    assert_eq!(complete("pvbench run --mech", 2), "--mechanism");
    assert_eq!(complete("pvbench export --format b", 3), "bmf");
    let output = pvbench().args(["completions", "bsh"]).assert().code(2).get_output().clone();
    assert!(stderr(&output).contains("'bash'"), "{}", stderr(&output));
}

#[test]
fn manual_pages_have_the_options_and_examples_of_every_subcommand() {
    let output = pvbench().arg("man").assert().code(0).get_output().clone();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains(".TH pvbench 1") && page.contains("pvbench\\-explain(1)"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("made/man1");
    let output = pvbench().arg("man").arg("--out").arg(&out).assert().code(0).get_output().clone();
    let written = String::from_utf8(output.stdout).unwrap();
    assert_eq!(written.lines().count(), std::fs::read_dir(&out).unwrap().count());
    assert!(written.lines().all(|path| Path::new(path).is_file()), "{written}");
    assert!(!out.join("pvbench-worker.1").exists());
    let page = std::fs::read_to_string(out.join("pvbench-run.1")).unwrap();
    for word in [".TH pvbench-run 1", "\\-\\-mechanism", "\n  pvbench run \\-\\-quick"] {
        assert!(page.contains(word), "{word}:\n{page}");
    }
}

#[test]
fn a_page_is_opened_by_the_browser_and_without_one_the_exit_code_stays() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).assert().code(0);
    let report = folder.path().join("report.json");
    let opened = folder.path().join("opened");
    let browser = folder.path().join("browser");
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display())).unwrap();
    assert!(Plain::new("chmod").arg("+x").arg(&browser).status().unwrap().success());
    let mut command = pvbench();
    command.arg("report").arg(&report).arg("--open").env("BROWSER", &browser);
    assert_eq!(stderr(command.assert().code(0).get_output()), "");
    assert!(std::fs::read_to_string(&opened).unwrap().trim().ends_with("/index.html"));
    let mut without = small_run(folder.path());
    without.arg("--open").env("BROWSER", "no-such-browser").env("PATH", folder.path());
    let output = without.assert().code(0).get_output().clone();
    let message = stderr(&output);
    assert!(message.contains("no browser opened the page") && message.contains("index.html"), "{message}");
}

#[test]
fn a_report_is_rendered_again_and_a_malformed_one_is_refused_with_the_position() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path()).assert().code(0);
    let path = folder.path().join("report.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let out = folder.path().join("again");
    pvbench().arg("report").arg(&path).arg("--out").arg(&out).assert().code(0);
    assert_eq!(
        std::fs::read(out.join("index.html")).unwrap(),
        std::fs::read(folder.path().join("index.html")).unwrap()
    );
    assert_eq!(std::fs::read_to_string(out.join("report.json")).unwrap(), text, "read and written again is the same");

    let refused = |name: &str, content: &[u8], place: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let output = pvbench().arg("report").arg(&path).assert().code(2).get_output().clone();
        let message = stderr(&output);
        assert!(message.contains(name) && message.contains(place), "{name}: {message}");
    };
    refused("truncated.json", &text.as_bytes()[..text.len() / 2], ".json:");
    refused("empty.json", b"", ":1:0");
    refused("version.json", text.replace("pvbench.report/2", "pvbench.report/9").as_bytes(), "pvbench.report/9");
    refused("nan.json", text.replacen("\"estimate\":", "\"estimate\":NaN,\"x\":", 1).as_bytes(), ".json:");
    refused("huge.json", text.replacen("\"estimate\":", "\"estimate\":1e999,\"x\":", 1).as_bytes(), ".json:");
    refused("unknown.json", text.replacen("\"seed\"", "\"sede\"", 1).as_bytes(), "sede");
    let mut report: Report = serde_json::from_str(&text).unwrap();
    report.cells[1].op = "no_such_op".to_owned();
    refused("op.json", &serde_json::to_vec(&report).unwrap(), "cells[1]");
    let file = std::fs::File::create(folder.path().join("large.json")).unwrap();
    file.set_len(100 << 20).unwrap();
    let output = pvbench().arg("report").arg(folder.path().join("large.json")).assert().code(2).get_output().clone();
    assert!(stderr(&output).contains("104857600"), "{}", stderr(&output));
    pvbench().args(["report", "no/such/report.json"]).assert().code(2);
    pvbench().arg("report").arg(folder.path()).assert().code(2);
}

#[test]
fn a_worker_without_an_assignment_names_the_command_that_starts_workers() {
    let output = pvbench().arg("worker").write_stdin("nonsense\n").assert().failure().get_output().clone();
    assert!(stderr(&output).contains("pvbench run"), "{}", stderr(&output));
}
