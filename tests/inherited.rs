//! Inherited state of a process does not change its results, and the end of a run ends all its processes.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use pvbench::report::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// pvbench, with `inherit` called in the process before it starts.
fn pvbench(inherit: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    // SAFETY: between fork and exec tests make plain system calls only, which allocate nothing.
    unsafe { command.pre_exec(inherit) };
    command
}

/// A run small enough for a test.
fn small(command: &mut Command, out: &Path, workers: usize) {
    command.args(["run", "--op", "pte_val", "--mechanism", "table,direct", "--regime", "throughput", "--seed", "7"]);
    command.args(["--workers", &workers.to_string(), "--out"]).arg(out);
}

/// Sets the disposition of signals: ignored or default.
fn disposed(signals: &'static [i32], disposition: libc::sighandler_t) -> impl FnMut() -> io::Result<()> {
    move || {
        for signal in signals {
            // SAFETY: neither disposition runs code of this program.
            if unsafe { libc::signal(*signal, disposition) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

fn blocked(signals: &'static [i32]) -> io::Result<()> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, and the other calls use that set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
    disposed(signals, libc::SIG_DFL)()
}

/// Starts a run of 900 workers without output.
fn long(mut command: Command, out: &Path) -> Child {
    small(&mut command, out, 900);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn send(process: u32, signal: i32) {
    // SAFETY: this test started the process and has not waited for it.
    unsafe { libc::kill(process as libc::pid_t, signal) };
}

/// The first worker process of a run, once there is one.
fn first_worker(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    loop {
        let children = std::fs::read_to_string(&path).expect("the parent is gone");
        for child in children.split_whitespace() {
            if std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default().ends_with(b"\0worker\0") {
                return child.parse().unwrap();
            }
        }
        std::thread::yield_now();
    }
}

/// Whether a process has ended, even if nobody has waited for it.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn report(out: &Path) -> Report {
    pvbench::report::read::report(&out.join("report.json")).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const STOP: &[i32] = &[libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

#[test]
fn an_ignored_sigchld_does_not_change_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pvbench(disposed(&[libc::SIGCHLD], libc::SIG_IGN));
    small(&mut command, folder.path(), 2);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(folder.path());
    assert!(report.run.complete && report.failures.is_empty(), "{:?}", report.failures);
}

#[test]
fn doctor_reads_the_version_of_valgrind_with_an_ignored_sigchld() {
    let folder = tempfile::tempdir().unwrap();
    let (script, program) = (folder.path().join("script"), folder.path().join("valgrind"));
    std::fs::write(&script, "#!/bin/sh\necho valgrind-3.19.0\n").unwrap();
    // A separate process writes the file, so that no child of another test has it open for writing (ETXTBSY).
    assert!(Command::new("install").args(["-m", "755"]).arg(&script).arg(&program).status().unwrap().success());
    let mut command = pvbench(disposed(&[libc::SIGCHLD], libc::SIG_IGN));
    let output = command.args(["doctor", "--json"]).env("PATH", folder.path()).output().unwrap();
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let valgrind = checks.as_array().unwrap().iter().find(|check| check["id"] == "valgrind").unwrap();
    assert_eq!(valgrind["status"], "ok", "{valgrind}");
}

#[test]
fn a_stop_signal_ends_a_run_with_4_and_an_incomplete_report() {
    for signal in STOP {
        let folder = tempfile::tempdir().unwrap();
        let child = long(pvbench(disposed(STOP, libc::SIG_DFL)), folder.path());
        let worker = first_worker(child.id());
        send(child.id(), *signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "signal {signal}");
        assert!(!report(folder.path()).run.complete, "signal {signal}");
        assert!(has_ended(worker), "a worker was left behind");
    }
}

#[test]
fn a_stop_signal_ends_every_measuring_command_with_4_and_all_its_workers() {
    let program = env!("CARGO_BIN_EXE_pvbench");
    let commands: [&[&str]; 3] = [
        &["gate", "--run", "--confirm", "9", "--time", "600", "--budget", "reports/budgets.toml"],
        &["ab", "--baseline", program, "--op", "pte_val", "--regime", "throughput", "--time", "600"],
        &["selftest", "--workers", "1000"],
    ];
    for arguments in commands {
        let mut command = pvbench(disposed(STOP, libc::SIG_DFL));
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let worker = first_worker(child.id());
        send(child.id(), libc::SIGTERM);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", said(&output));
        assert!(has_ended(worker), "{arguments:?}");
    }
}

#[test]
fn stop_signals_that_were_blocked_at_the_start_end_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let child = long(pvbench(|| blocked(STOP)), folder.path());
    first_worker(child.id());
    send(child.id(), libc::SIGTERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(4));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pvbench(disposed(STOP, libc::SIG_IGN));
    small(&mut command, folder.path(), 2);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    first_worker(child.id());
    STOP.iter().for_each(|signal| send(child.id(), *signal));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    assert!(report(folder.path()).run.complete);
}

#[test]
fn a_killed_run_leaves_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = long(pvbench(|| Ok(())), folder.path());
    let worker = first_worker(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel kills the worker; this test hangs if it does not.
    while !has_ended(worker) {
        std::thread::yield_now();
    }
}

/// Sets the soft limit of a resource.
fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let limit = getrlimit(resource);
    let current = Some(limit.maximum.map_or(to, |most| most.min(to)));
    Ok(setrlimit(resource, Rlimit { current, ..limit })?)
}

#[test]
fn a_small_soft_limit_on_the_stack_does_not_stop_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pvbench(|| limit(Resource::Stack, 64 << 10));
    small(&mut command, folder.path(), 2);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(report(folder.path()).failures.is_empty());
}

#[test]
fn a_run_without_addresses_for_copies_of_loops_ends_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    // The program itself takes addresses; the rest suffices for a run with little to spare.
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_pvbench")).unwrap().len();
    let mut command = pvbench(move || limit(Resource::As, program + (134 << 20)));
    small(&mut command, folder.path(), 2);
    let output = command.output().unwrap();
    assert!([Some(0), Some(4)].contains(&output.status.code()), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

/// Runs pvbench as a separate user with a limit on processes; each thread counts as one.
fn limited(processes: u64) -> Option<(Output, tempfile::TempDir)> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become a user that has no other processes");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let anyone = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let (program, out) = (folder.path().join("pvbench"), folder.path().join("out"));
    // A separate process writes the file, as above.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_pvbench")).arg(&program).status().unwrap().success());
    std::fs::create_dir(&out).unwrap();
    anyone(folder.path(), 0o755);
    anyone(&program, 0o755);
    anyone(&out, 0o777);
    let mut command = Command::new(&program);
    small(&mut command, &out, 2);
    // An unused user id, different for each limit that is tested at the same time.
    let user = 40_000 + std::process::id() % 10_000 + 10_000 * processes as u32 % 20_000;
    command.uid(user).gid(user).current_dir(folder.path()).env("TMPDIR", &out);
    // SAFETY: between fork and exec only async-signal-safe calls may be made: `limit` makes one system call.
    unsafe { command.pre_exec(move || limit(Resource::Nproc, processes)) };
    Some((command.output().unwrap(), folder))
}

#[test]
fn two_processes_are_enough_for_a_run() {
    let Some((output, folder)) = limited(2) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(&folder.path().join("out"));
    assert!(report.run.complete && report.failures.is_empty(), "{:?}", report.failures);
}

#[test]
fn a_run_that_cannot_start_a_worker_reports_it_and_ends_with_4() {
    let Some((output, _folder)) = limited(1) else { return };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("cannot start a worker process") && said.contains("ulimit"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
