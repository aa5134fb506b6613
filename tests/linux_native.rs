//! `pvbench linux native`: the real kernel's workloads as processes of the running kernel.
#![cfg(feature = "linux")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use pvbench::linux::workload::WORKLOADS;
use pvbench::report::native::Native;

/// `struct sock_filter`, `linux/filter.h`
#[repr(C)]
struct Instruction(u16, u8, u8, u32);
/// `struct sock_fprog`
#[repr(C)]
struct Filter(u16, *const Instruction);

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const FORK: u32 = 57;

fn native(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["linux", "native", "--json", "--time", "1"]).args(options);
    command
}

fn times(output: &Output) -> Native {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

#[test]
fn every_workload_has_a_time_with_an_interval_and_the_kernel_is_named() {
    let output = native(&[]).output().unwrap();
    let native = times(&output);
    assert_eq!(output.status.code(), Some(0), "{native:?}");
    let measured: Vec<&str> = native.workloads.iter().map(|it| it.workload.as_str()).collect();
    assert_eq!(measured, WORKLOADS.map(|workload| workload.name), "{:?}", native.absent);
    for it in &native.workloads {
        assert!(it.cycles.low <= it.cycles.estimate && it.cycles.estimate <= it.cycles.high, "{it:?}");
        // A system call takes more than ten cycles, and 64 faults less than a second.
        assert!(it.cycles.estimate > 10.0 && it.ns < 1e9 && it.units > 0 && it.processes == 9, "{it:?}");
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(native.kernel.release.as_deref(), Some(release.trim()));
}

#[test]
fn a_workload_that_a_filter_of_system_calls_refuses_is_absent_with_the_reason_and_the_rest_goes_on() {
    let instructions = [
        Instruction(LOAD_WORD, 0, 0, 0),
        Instruction(JUMP_IF_EQUAL, 0, 1, FORK),
        Instruction(RETURN, 0, 0, ERRNO | libc::EPERM as u32),
        Instruction(RETURN, 0, 0, ALLOW),
    ];
    let mut command = native(&["--workload", "getppid,fork_exit"]);
    let refuse = move || {
        let filter = Filter(4, instructions.as_ptr());
        // SAFETY: two system calls, with arguments as prctl(2) documents; the filter outlives the second.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(refuse) };
    let output = command.output().unwrap();
    let native = times(&output);
    assert_eq!(output.status.code(), Some(0), "{native:?}");
    assert_eq!((native.workloads.len(), native.workloads[0].workload.as_str()), (1, "getppid"));
    assert_eq!((native.absent.len(), native.absent[0].what.as_str()), (1, "fork_exit"));
    assert!(native.absent[0].reason.contains("a system call of the workload failed"), "{native:?}");
}

#[test]
fn without_a_compiler_the_command_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = native(&["--workload", "getppid"]);
    let output = command.env("RUSTC", "/nowhere/rustc").env("XDG_CACHE_HOME", folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("/nowhere/rustc") && said.contains("RUSTC"), "{said}");
}

#[test]
fn a_run_refuses_recordings_that_it_cannot_read_or_use_before_it_measures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (options, word) in [
        (&["--recordings", "/nowhere"][..], "/nowhere"),
        (&["--recordings", folder], folder),
        (&["--recordings", folder, "--op", "save_fl"], "--recordings prices the hooks of a whole run"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
        let output = command.arg("run").args(["--out", folder]).args(options).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(word), "{options:?}: {said}");
    }
}
