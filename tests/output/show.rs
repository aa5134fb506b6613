//! `pvbench show`: tables of a report in a pipe and on a terminal, selections, pagers.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pvbench::report::{Report, write};

use crate::support::full::full;
use crate::{code, pvbench, stderr};

/// A folder with a report of every part of a run.
fn folder(change: impl Fn(&mut Report)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut report = full();
    change(&mut report);
    fs::write(folder.path().join("report.json"), write::json(&report).unwrap()).unwrap();
    folder
}

/// `pvbench show` without the variables of the terminal that runs the tests.
fn show(report: &Path, args: &[&str]) -> Command {
    let mut command = pvbench();
    for variable in ["COLUMNS", "PAGER", "LESS"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm").arg("show").arg(report).args(args);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (2, 0), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn show_prints_the_tables_of_a_report_or_of_its_folder() {
    let folder = folder(|_| {});
    let whole = stdout(&mut show(folder.path(), &[]));
    assert_eq!(whole, stdout(&mut show(&folder.path().join("report.json"), &[])));
    for part in
        ["throughput: ", "latency: ", "workloads: ", "floor: ", "core: ", "seed: 24301", "no counters: ", "failed: "]
    {
        assert!(whole.contains(part), "{part}:\n{whole}");
    }
    assert!(!whole.starts_with('\n') && !whole.contains('\u{1b}'));
    let answer = stdout(&mut show(folder.path(), &["answer"]));
    assert!(answer.starts_with("Core cycles per call above inline"), "{answer}");
    let cells = stdout(&mut show(folder.path(), &["cells"]));
    // A heading, and the header of the table.
    assert_eq!(cells.lines().count(), full().cells.len() + 2);
    let all = stdout(&mut show(folder.path(), &["ALL"]));
    for part in [&whole, &answer, &cells] {
        assert!(part.lines().all(|line| all.contains(line)), "{part}");
    }
    let two = stdout(&mut show(folder.path(), &["floors", "workload"]));
    assert!(
        two.starts_with("workloads: ") && two.contains("\nnoise: inline") && !two.contains("throughput: independent")
    );
}

#[test]
fn options_select_ops_mechanisms_regimes_and_workloads() {
    let folder = folder(|_| {});
    let cells =
        stdout(&mut show(folder.path(), &["--op", "save_fl", "--regime", "cold,LATENCY", "--mechanism", "table"]));
    assert!(cells.starts_with("cells (op save_fl, body native, mechanism table): "), "{cells}");
    assert_eq!(cells.lines().filter(|line| line.contains(" yes")).count(), 2, "{cells}");
    let cold = stdout(&mut show(folder.path(), &["--regime", "cold", "--mechanism", "table*"]));
    assert!(cold.starts_with("cold: ") && !cold.contains("latency: ") && !cold.contains("retpoline"), "{cold}");
    let fork = stdout(&mut show(folder.path(), &["--workload", "fork*"]));
    assert!(fork.contains("fork_exit: ") && fork.contains("page_poison") && !fork.contains("mmap_perf"), "{fork}");
    let both = stdout(&mut show(folder.path(), &["--mechanism", "retpoline"]));
    assert!(both.contains("throughput: ") && both.contains("workloads: ") && !both.contains("page_poison"), "{both}");
    let floors = stdout(&mut show(folder.path(), &["floors", "--regime", "cold"]));
    assert!(floors.contains("  cold: ") && !floors.contains("  flushed: "), "{floors}");
}

#[test]
fn unknown_names_get_the_nearest_and_empty_selections_name_what_there_is() {
    let all = folder(|_| {});
    for (args, nearest) in [
        (&["--op", "save_lf"][..], "save_fl"),
        (&["--mechanism", "tabel"], "table"),
        (&["--regime", "cald"], "cold"),
        (&["--workload", "mmap_perv"], "mmap_perf"),
        (&["mechanisim"], "mechanisms"),
    ] {
        let message = refused(&mut show(all.path(), args));
        assert!(message.contains(&format!("'{nearest}'")), "{message}");
    }
    let cells = folder(|report| {
        report.cells.retain(|cell| cell.op != "save_fl" || cell.mechanism == "table");
        report.workloads.clear();
    });
    let message = refused(&mut show(cells.path(), &["--op", "save_fl", "--mechanism", "direct"]));
    assert!(message.contains("no cell is in this selection") && message.contains("throughput, "), "{message}");
    assert!(message.contains("some of table"), "{message}");
    assert!(refused(&mut show(cells.path(), &["workloads"])).contains("the report has no workloads"));
    let workloads = folder(|report| report.cells.clear());
    assert!(refused(&mut show(workloads.path(), &["cells"])).contains("the report has no cells"));
    let message = refused(&mut show(all.path(), &["workloads", "--mechanism", "kcfi"]));
    assert!(message.contains("the report has mmap_perf, ") && message.contains("retpoline"), "{message}");
    // The other tables are printed where one is empty.
    assert!(stdout(&mut show(workloads.path(), &[])).contains("workloads: "));
    for missing in ["no/such", "/dev/null"] {
        assert_eq!(code(&show(Path::new(missing), &[]).output().unwrap()), 2, "{missing}");
    }
}

#[test]
fn the_variable_columns_sets_the_width_and_a_pipe_has_none() {
    let folder = folder(|_| {});
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    for columns in ["40", "80"] {
        let text = stdout(show(folder.path(), &[]).env("COLUMNS", columns));
        assert!(widest(&text) <= columns.parse().unwrap(), "{columns}: {text}");
    }
    for columns in ["", "0", "-1", "wide", "99999999999999999999"] {
        assert!(widest(&stdout(show(folder.path(), &[]).env("COLUMNS", columns))) > 120, "{columns}");
    }
}

/// A terminal of 60 columns: the side that shows it, and the side for a program.
fn terminal() -> (File, OwnedFd) {
    // SAFETY: plain system calls on a descriptor that this function opened and alone owns.
    let (screen, name) = unsafe {
        let screen = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        assert!(screen >= 0 && libc::grantpt(screen) == 0 && libc::unlockpt(screen) == 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(screen, name.as_mut_ptr(), name.len()), 0);
        (File::from_raw_fd(screen), std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned())
    };
    let size = libc::winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is an open terminal, and the size is read by the call.
    assert_eq!(unsafe { libc::ioctl(screen.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    let program = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    (screen, program.into())
}

/// Runs a command on a terminal; returns its output and what the terminal shows.
fn on_terminal(command: &mut Command) -> (Output, String) {
    let (mut screen, program) = terminal();
    let child = command.stdout(program).stderr(Stdio::piped()).spawn().unwrap();
    // The command holds its side of the terminal.
    command.stdout(Stdio::null());
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // After the last program has closed its side, reading fails with EIO.
        let _ = screen.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).replace("\r\n", "\n")
    });
    let output = child.wait_with_output().unwrap();
    (output, reader.join().unwrap())
}

/// A program that keeps its input in a file.
fn pager(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("pager");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_terminal_gets_the_pager_and_its_own_width() {
    let folder = folder(|_| {});
    let kept = folder.path().join("kept");
    let pager = pager(folder.path(), &format!("cat > {}; echo \"$1 $LESS\"", kept.display()));
    let (output, shown) = on_terminal(show(folder.path(), &[]).env("PAGER", format!("{} -x", pager.display())));
    assert_eq!((code(&output), stderr(&output).as_str(), shown.as_str()), (0, "", "-x FRX\n"));
    let text = fs::read_to_string(&kept).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    assert_eq!(text, stdout(show(folder.path(), &[]).env("COLUMNS", "60")));
}

#[test]
fn without_a_pager_a_terminal_gets_the_text_itself() {
    let folder = folder(|_| {});
    let text = stdout(show(folder.path(), &[]).env("COLUMNS", "60"));
    let plain = [("PAGER", ""), ("TERM", "dumb"), ("PATH", "/no/such/folder")];
    for (variable, value) in plain {
        let (output, shown) = on_terminal(show(folder.path(), &[]).env(variable, value));
        assert_eq!((code(&output), stderr(&output).as_str(), shown.as_str()), (0, "", text.as_str()), "{variable}");
    }
    let (output, shown) = on_terminal(show(folder.path(), &[]).env("PAGER", "no-such-pager"));
    assert_eq!((code(&output), shown.as_str()), (0, text.as_str()));
    assert!(stderr(&output).contains("the pager no-such-pager cannot be started"), "{}", stderr(&output));
}

#[test]
fn a_pager_that_ends_early_ends_the_command_with_0() {
    let folder = folder(|_| {});
    let pager = pager(folder.path(), "head -n 1; exit 3");
    // The text of all tables is larger than a pipe holds.
    let (output, shown) = on_terminal(show(folder.path(), &["all"]).env("PAGER", &pager));
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(shown.lines().count(), 1);
}
