//! Histories by the command line: real processes, real clones, full disks, killed commands.

mod commits;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pvbench::history::kept::KeptRun;
use pvbench::history::names::Names;
use pvbench::history::store::read_run;
use pvbench::report::{Report, write};

/// A folder with reports, a history, and clones.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Case { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in the folder, without a clone around it.
    fn pvbench(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("GIT_CEILING_DIRECTORIES", self.folder.path().parent().unwrap());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.pvbench(arguments).output().unwrap()
    }

    /// Runs a command that ends with 0, and returns its output.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a made report whose run started at a second of a minute.
    fn report(&self, name: &str, second: u32) {
        self.write_report(name, &made(second));
    }

    fn write_report(&self, name: &str, report: &Report) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, write::json(report).unwrap()).unwrap();
    }

    /// The run files of a history, sorted.
    fn files(&self, history: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for class in fs::read_dir(self.path(history).join("runs")).into_iter().flatten() {
            let entries = fs::read_dir(class.unwrap().path()).unwrap().map(|entry| entry.unwrap().path());
            files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "pvr")));
        }
        files.sort();
        files
    }

    fn git(&self, clone: &str, arguments: &[&str]) -> String {
        self.git_at(clone, 1_764_500_000, arguments)
    }

    /// Runs git in a clone, with a time for its commits.
    fn git_at(&self, clone: &str, seconds: i64, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path(clone)).args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"]);
        command.args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Nobody").env(format!("GIT_{who}_EMAIL"), "nobody@example.org");
            command.env(format!("GIT_{who}_DATE"), format!("{seconds} +0000"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes a repository with commits at the given seconds, and returns their ids.
    fn commits(&self, clone: &str, times: &[i64]) -> Vec<String> {
        fs::create_dir_all(self.path(clone)).unwrap();
        self.git(clone, &["init", "-q"]);
        let commit = |(index, seconds): (usize, &i64)| {
            fs::write(self.path(clone).join("file"), index.to_string()).unwrap();
            self.git(clone, &["add", "file"]);
            self.git_at(clone, *seconds, &["commit", "-q", "-m", &format!("Change {index}")]);
            self.git(clone, &["rev-parse", "HEAD"])
        };
        times.iter().enumerate().map(commit).collect()
    }
}

fn made(second: u32) -> Report {
    let mut report = support::synthetic();
    report.run.started = format!("2026-11-30T19:17:{second:02}Z");
    report
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(path: &Path) -> KeptRun {
    read_run(path, &mut Names::default()).unwrap()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The commands of the page are run in the order of the page, in a clone with a report.
#[test]
fn the_example_of_the_page_works() {
    let case = Case::new();
    case.commits(".", &[1_764_500_000]);
    case.report("reports/latest/report.json", 1);
    case.report("old-reports/report.json", 2);
    case.report("colleague/report.json", 3);
    case.done(&["history", "add", "colleague", "--to", "colleague/history"]);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/history.md")).unwrap();
    let bin = case.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pvbench"), bin.join("pvbench")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let blocks = page.split("<!-- run by: tests/history/main.rs -->\n```sh\n").skip(1);
    let mut commands = 0;
    for block in blocks {
        for line in block.split("```").next().unwrap().lines() {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).current_dir(case.folder.path()).env("PATH", &path);
            let output = shell.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
            commands += 1;
        }
    }
    assert!(commands >= 5, "{commands} commands");
    assert_eq!(case.files("reports/history").len(), 2, "the page adds one run and imports one");
    let merge = "cp -r colleague/history/runs reports/history/";
    assert!(page.contains(merge));
    let mut shell = Command::new("sh");
    assert!(shell.args(["-c", merge]).current_dir(case.folder.path()).status().unwrap().success());
    assert!(case.done(&["history", "list"]).contains("\n3 runs"), "the page merges one run");
}
