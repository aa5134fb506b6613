//! Output files of options: links, mount points, pipes, file systems without fsync.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{ffi::CString, io, os::unix::ffi::OsStrExt};

use crate::sandbox::{Refused, refuse_with};
use crate::{Case, VERDICTS, code, pvbench, stderr, verdict};

const FSYNC: Refused = Refused(libc::SYS_fsync, None);

#[test]
fn a_verdict_survives_a_file_system_without_fsync() {
    let case = Case::new();
    for (expected, bound) in VERDICTS {
        for error in [libc::EINVAL, libc::ENOTSUP, libc::ENOSYS, libc::EPERM] {
            let mut command = case.gate(bound);
            command.arg("--json").arg(case.path("verdict.json"));
            refuse_with(&mut command, &[FSYNC], error);
            let output = command.output().unwrap();
            assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""));
            assert_eq!(verdict(&case.path("verdict.json")), expected as u64);
        }
    }
}

#[test]
fn a_disk_that_loses_data_is_reported_and_does_not_hide_an_exceeded_budget() {
    let case = Case::new();
    for (expected, bound) in VERDICTS {
        let mut command = case.gate(bound);
        command.arg("--json").arg(case.path("verdict.json"));
        refuse_with(&mut command, &[FSYNC], libc::EIO);
        let output = command.output().unwrap();
        assert_eq!(code(&output), if expected == 1 { 1 } else { 4 }, "{}", stderr(&output));
        assert!(stderr(&output).contains("verdict.json"), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("pte_val"), "the table is printed in any case");
        assert!(!case.path("verdict.json").exists());
    }
}

#[test]
fn a_run_on_a_file_system_without_fsync_prints_its_summary_and_ends_with_0() {
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
    command.arg(case.path("out"));
    refuse_with(&mut command, &[FSYNC], libc::EINVAL);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("index.html"));
    pvbench::report::read::report(&case.path("out/report.json")).unwrap();
}

#[test]
fn a_verdict_file_that_does_not_fit_is_reported_and_does_not_hide_an_exceeded_budget() {
    let case = Case::new();
    for option in ["--json", "--junit", "--markdown"] {
        for (expected, bound) in VERDICTS {
            fs::write(case.path("verdict"), "old").unwrap();
            let gate = case.gate(bound);
            let mut limited = Command::new("sh");
            limited.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(gate.get_program()).args(gate.get_args());
            let output = limited.arg(option).arg(case.path("verdict")).output().unwrap();
            assert_eq!(code(&output), if expected == 1 { 1 } else { 4 }, "{option} {}", stderr(&output));
            assert!(stderr(&output).contains("untouched"), "{}", stderr(&output));
            assert!(String::from_utf8_lossy(&output.stdout).contains("pte_val"), "the table is printed in any case");
            assert_eq!(fs::read_to_string(case.path("verdict")).unwrap(), "old");
        }
    }
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let case = Case::new();
    let elsewhere = case.path("elsewhere");
    fs::create_dir_all(case.path("a/b")).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("old.json"), "old").unwrap();
    symlink(&elsewhere, case.path("a/linked")).unwrap();
    let links = [
        ("a/absolute", elsewhere.join("old.json"), "elsewhere/old.json"),
        ("a/b/relative", "../../elsewhere/old.json".into(), "elsewhere/old.json"),
        ("a/b/chain", "relative".into(), "elsewhere/old.json"),
        ("a/dangling", "b/new.json".into(), "a/b/new.json"),
        ("a/deep", "../made/on/the/way.json".into(), "made/on/the/way.json"),
        // The folder is a link, so `..` is above its target.
        ("elsewhere/up", "../a/b/up.json".into(), "a/b/up.json"),
    ];
    for (link, leads_to, file) in &links {
        symlink(leads_to, case.path(link)).unwrap();
        let named = case.path(&link.replace("elsewhere/up", "a/linked/up"));
        for (expected, bound) in VERDICTS {
            let output = case.gate(bound).arg("--json").arg(&named).output().unwrap();
            assert_eq!(code(&output), expected, "{link} {}", stderr(&output));
            assert_eq!(fs::read_link(case.path(link)).unwrap(), *leads_to);
            assert_eq!(verdict(&case.path(file)), expected as u64, "{link}");
        }
    }
}

#[test]
fn the_missing_target_folder_of_a_link_is_made_and_the_link_stays() {
    let case = Case::new();
    fs::create_dir(case.path("a")).unwrap();
    symlink("../latest/of", case.path("a/out")).unwrap();
    symlink("a/out", case.path("out")).unwrap();
    let report =
        |out: &str| pvbench().arg("report").arg(case.path("report.json")).arg("--out").arg(case.path(out)).output();
    assert_eq!(code(&report("out").unwrap()), 0);
    assert!(case.path("latest/of/plots").is_dir() && case.path("latest/of/index.html").is_file());
    assert!(case.path("a/out").is_symlink() && case.path("out").is_symlink());
    symlink("b", case.path("c")).unwrap();
    symlink("c", case.path("b")).unwrap();
    assert_eq!(code(&report("b").unwrap()), 2);
}

#[test]
fn a_path_that_cannot_be_written_ends_with_2_before_anything_is_judged() {
    let case = Case::new();
    symlink("b", case.path("a")).unwrap();
    symlink("a", case.path("b")).unwrap();
    fs::create_dir(case.path("folder")).unwrap();
    for path in ["a", "folder", "report.json/verdict.json"] {
        let output = case.gate("2 cycles").arg("--json").arg(case.path(path)).output().unwrap();
        assert_eq!(code(&output), 2, "{path} {}", stderr(&output));
        assert!(stderr(&output).contains("cannot write to") && output.stdout.is_empty(), "{}", stderr(&output));
    }
}

/// Any user can make a link in /tmp to a file of this user. The kernel does not follow it, and neither does pvbench.
#[test]
fn another_users_link_in_a_shared_folder_is_not_followed() {
    let case = Case::new();
    let (shared, own) = (case.path("shared"), case.path("own.txt"));
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(&own, "mine").unwrap();
    symlink(&own, shared.join("verdict.json")).unwrap();
    if let Err(error) = lchown(shared.join("verdict.json"), Some(4_321), None) {
        eprintln!("skipped: a link cannot be given to another user: {error}");
        return;
    }
    let output = case.gate("2 cycles").arg("--json").arg(shared.join("verdict.json")).output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("another user"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(own).unwrap(), "mine");
}

#[test]
fn pipes_and_devices_are_written_to_and_a_reader_that_left_is_not_an_error() {
    let case = Case::new();
    for (expected, bound) in VERDICTS {
        let fifo = case.path(&format!("fifo-{expected}"));
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let child = case.gate(bound).arg("--json").arg(&fifo).stdout(Stdio::null()).spawn().unwrap();
        let mut text = String::new();
        File::open(&fifo).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(expected));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["exit_code"], expected);

        // The path that bash makes of `--json >(true)`.
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let number = writer.as_raw_fd();
        // SAFETY: a plain system call on an open descriptor.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }, 0);
        let output = case.gate(bound).arg("--json").arg(format!("/dev/fd/{number}")).output().unwrap();
        assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""));

        // The standard error of a service is a socket.
        let (mut journal, socket) = UnixStream::pair().unwrap();
        let mut command = case.gate(bound);
        command.args(["--json", "/dev/fd/2"]).stdout(Stdio::null()).stderr(OwnedFd::from(socket));
        let child = command.spawn().unwrap();
        drop(command);
        let mut text = String::new();
        journal.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(expected));
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");

        let output = case.gate(bound).args(["--json", "/dev/full"]).output().unwrap();
        assert_eq!(code(&output), if expected == 1 { 1 } else { 4 });
        assert!(stderr(&output).contains("/dev/full"), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("pte_val"), "the table is printed in any case");
    }
}

#[test]
fn other_paths_of_standard_output_are_written_to_and_not_replaced() {
    let case = Case::new();
    for name in ["/dev/fd/1", "/proc/self/fd/1"] {
        let mut file = File::options().read(true).append(true).create(true).open(case.path("out.json")).unwrap();
        let status = case.gate("2 cycles").args(["--json", name]).stdout(file.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(verdict(&case.path("out.json")), 1, "the same file, and nothing but the verdict in it");
        io::Seek::rewind(&mut file).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(text.starts_with('{'));
        fs::remove_file(case.path("out.json")).unwrap();
    }
}

/// Mounts `source` at `place` for the child of `command`, in its own mount namespace; with `read_only` the folder of
/// `place` is read-only. The child does not start if mounting is not permitted.
fn mount_over(command: &mut Command, source: &Path, place: &Path, read_only: bool) {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (source, place, folder) = (text(source), text(place), text(place.parent().unwrap()));
    let mount = |from: Option<&CString>, to: &CString, flags: libc::c_ulong| {
        let from = from.map_or(std::ptr::null(), |from| from.as_ptr());
        // SAFETY: the paths end with a zero and outlive the call.
        let done = unsafe { libc::mount(from, to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let root = CString::new("/").unwrap();
    let enter = move || {
        // SAFETY: plain system calls; a child between fork and exec has one thread.
        let entered = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0
        };
        if !entered {
            return Err(io::Error::last_os_error());
        }
        mount(None, &root, libc::MS_REC | libc::MS_PRIVATE)?;
        if read_only {
            mount(Some(&folder), &folder, libc::MS_BIND)?;
            mount(None, &folder, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY)?;
        }
        mount(Some(&source), &place, libc::MS_BIND)
    };
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(enter) };
}

#[test]
fn a_file_that_is_a_mount_point_is_written_in_place() {
    let case = Case::new();
    fs::create_dir(case.path("container")).unwrap();
    let (outside, inside) = (case.path("outside.json"), case.path("container/verdict.json"));
    for (read_only, (expected, bound)) in [false, true].into_iter().flat_map(|it| VERDICTS.map(|verdict| (it, verdict)))
    {
        // One old file is longer than a verdict, one is shorter.
        for old in ["old ".repeat(100_000), "old".to_owned()] {
            fs::write(&outside, old).unwrap();
            fs::write(&inside, "below the mount").unwrap();
            let mut command = case.gate(bound);
            command.arg("--json").arg(&inside);
            mount_over(&mut command, &outside, &inside, read_only);
            let output = match command.output() {
                Ok(output) => output,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    eprintln!("skipped: nothing can be mounted here: {error}");
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!((code(&output), stderr(&output).as_str()), (expected, ""));
            assert_eq!(verdict(&outside), expected as u64);
            assert_eq!(fs::read_to_string(&inside).unwrap(), "below the mount");
            assert_eq!(fs::read_dir(case.path("container")).unwrap().count(), 1, "nothing temporary is left");
        }
    }
}

#[test]
fn a_full_mount_point_keeps_its_old_content() {
    let case = Case::new();
    fs::create_dir(case.path("container")).unwrap();
    let (outside, inside) = (case.path("outside.json"), case.path("container/verdict.json"));
    fs::write(&outside, "old").unwrap();
    fs::write(&inside, "below the mount").unwrap();
    let gate = case.gate("2 cycles");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(gate.get_program()).args(gate.get_args());
    limited.arg("--json").arg(&inside);
    mount_over(&mut limited, &outside, &inside, true);
    let output = match limited.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: nothing can be mounted here: {error}");
            return;
        }
    };
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("untouched"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "old");
}
