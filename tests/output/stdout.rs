//! Standard output: readers that leave, full disks, non-blocking pipes.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Case, VERDICTS, code, pvbench, stderr};

/// Makes a pipe; returns its reading and its writing end.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), OwnedFd::from(writer))
}

/// Makes a pipe of one page, with flags at its writing end.
fn small_pipe(flags: libc::c_int) -> (File, OwnedFd) {
    let (reader, writer) = pipe();
    // SAFETY: plain system calls on an open descriptor.
    unsafe {
        assert!(libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) > 0);
        assert_eq!(libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags), 0);
    }
    (reader, writer)
}

/// Runs a command whose reader has left before the start.
fn unread(command: &mut Command) -> Output {
    let (reader, writer) = pipe();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

/// Runs a command with /dev/full as standard output.
fn full(command: &mut Command) -> Output {
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

const OUTPUTS: [&[&str]; 5] =
    [&[], &["--json", "-"], &["--markdown", "-"], &["--junit", "-"], &["--json", "/dev/fd/1"]];

#[test]
fn a_hundred_verdicts_survive_a_reader_that_left() {
    let case = Case::new();
    let tries = OUTPUTS.iter().flat_map(|options| VERDICTS.map(|verdict| (verdict, options)));
    for ((expected, bound), options) in tries.cycle().take(100) {
        let output = unread(case.gate(bound).args(*options));
        assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""), "{options:?}");
    }
}

#[test]
fn a_verdict_survives_a_reader_that_leaves_after_the_first_line() {
    let case = Case::new();
    for options in OUTPUTS {
        for (expected, bound) in VERDICTS {
            // The pipe holds less than the output, so the command still writes when its reader leaves.
            let (mut reader, writer) = small_pipe(0);
            let mut command = case.gate(bound);
            let child = command.args(options).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
            drop(command);
            let mut byte = [0];
            while byte != *b"\n" {
                reader.read_exact(&mut byte).unwrap();
            }
            drop(reader);
            let output = child.wait_with_output().unwrap();
            assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""), "{options:?}");
        }
    }
}

#[test]
fn a_verdict_survives_a_terminal_that_hung_up_and_a_socket_that_was_closed() {
    let case = Case::new();
    for (expected, bound) in VERDICTS {
        let child = case.gate(bound).stdout(hung_up()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        let (other, mut own) = UnixStream::pair().unwrap();
        // The socket is closed with unread bytes.
        own.write_all(b"unread").unwrap();
        drop(other);
        let child = case.gate(bound).stdout(OwnedFd::from(own)).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""));
    }
}

/// Opens a terminal whose other side is closed.
fn hung_up() -> OwnedFd {
    // SAFETY: plain system calls; this function opened the descriptor and alone owns it.
    let (master, name) = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
        (OwnedFd::from_raw_fd(master), CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned())
    };
    let mut options = File::options();
    let terminal = options.write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    drop(master);
    terminal.into()
}

#[test]
fn the_results_of_an_incomplete_report_and_of_a_comparison_survive_a_reader_that_left() {
    let case = Case::new();
    let (before, after) = (case.report("before.json", 3.0, true), case.report("after.json", 5.0, true));
    for (a, b, expected) in [(&before, &before, 0), (&before, &after, 1), (&after, &before, 0)] {
        for options in [&[][..], &["--json", "-"]] {
            let output = unread(pvbench().arg("compare").args([a, b]).args(options));
            assert_eq!(code(&output), expected, "{options:?} {}", stderr(&output));
        }
    }
    case.report("report.json", 3.0, false);
    assert_eq!(code(&unread(&mut case.gate("4 cycles"))), 4);
    assert_eq!(code(&unread(pvbench().args(["gate", "no/such/report.json"]))), 2);
    assert_eq!(code(&unread(pvbench().args(["export", "no/such/report.json", "--format", "csv"]))), 2);
}

#[test]
fn commands_without_a_verdict_end_with_0_if_their_reader_left() {
    let case = Case::new();
    let report = case.path("report.json");
    let counts = case.path("counts.toml");
    fs::write(&counts, "[calls]\npte_val = 3\n").unwrap();
    let (report, counts) = (report.to_str().unwrap(), counts.to_str().unwrap());
    let commands: [&[&str]; 13] = [
        &["list"],
        &["list", "ops", "--json"],
        &["list", "options"],
        &["explain", "pte_val", "table"],
        &["export", report, "--format", "csv"],
        &["gate", report, "--init"],
        &["predict", counts, "--report", report],
        &["report", report],
        &["show", report],
        &["show", report, "cells"],
        &["doctor"],
        &["--help"],
        &["--version"],
    ];
    for arguments in commands {
        let output = unread(pvbench().args(arguments));

        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn an_interrupted_run_whose_reader_left_ends_with_4_and_writes_its_report() {
    let case = Case::new();
    let (reader, writer) = pipe();
    drop(reader);
    let mut command = pvbench();
    command.args(["run", "--op", "*_val,save_fl,set_pte", "--mechanism", "table,flag", "--workers", "900", "--out"]);
    let child = command.arg(case.path("out")).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let workers = format!("/proc/{0}/task/{0}/children", child.id());
    // Once there is a worker, the signal handlers are installed.
    while fs::read_to_string(&workers).unwrap().is_empty() {
        std::thread::yield_now();
    }
    // A shell that starts the tests in the background makes them ignore SIGINT.
    // SAFETY: the child has not been waited for, so its process id is valid.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) }, 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(!pvbench::report::read::report(&case.path("out/report.json")).unwrap().run.complete);
}

#[test]
fn a_run_whose_reader_left_ends_with_0_and_writes_its_report() {
    let case = Case::new();
    let mut command = pvbench();
    command.args([
        "run",
        "--op",
        "pte_val",
        "--mechanism",
        "table",
        "--regime",
        "throughput",
        "--workers",
        "2",
        "--out",
    ]);
    let output = unread(command.arg(case.path("out")));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(pvbench::report::read::report(&case.path("out/report.json")).unwrap().run.complete);
}

#[test]
fn lost_output_on_a_full_disk_is_reported_and_does_not_hide_an_exceeded_budget() {
    let case = Case::new();
    for (verdict, bound) in VERDICTS {
        for options in OUTPUTS {
            let output = full(case.gate(bound).args(options));
            assert_eq!(code(&output), if verdict == 1 { 1 } else { 4 }, "{options:?} {}", stderr(&output));
            assert!(stderr(&output).contains("cannot write to standard output"), "{}", stderr(&output));
        }
    }
    for arguments in [&["list"][..], &["--help"], &["list", "ops", "--json"]] {
        let output = full(pvbench().args(arguments));
        assert_eq!(code(&output), 4, "{arguments:?}");
        assert!(stderr(&output).contains("cannot write to standard output"), "{}", stderr(&output));
    }
    // Bad usage comes before any verdict.
    assert_eq!(code(&full(pvbench().args(["gate", "no/such/report.json"]))), 2);
}

#[test]
fn output_into_a_non_blocking_pipe_arrives_whole() {
    let case = Case::new();
    let expected = case.gate("4 cycles").args(["--json", "-"]).output().unwrap();
    let (mut reader, writer) = small_pipe(libc::O_NONBLOCK);
    let mut command = case.gate("4 cycles");
    let mut child = command.args(["--json", "-"]).stdout(writer).spawn().unwrap();
    drop(command);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(read.len() > 2 * 4096, "it did not fit into the pipe at once");
    assert!(read == expected.stdout);
}

/// A second place would also have to handle a reader that leaves.
#[test]
fn the_command_line_writes_to_standard_output_in_one_place() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let writes = |line: &&str| ["anstream::stdout", " println!", " print!"].iter().any(|it| line.contains(it));
            assert_eq!(text.lines().find(writes), None, "{}", path.display());
        }
    }
}
