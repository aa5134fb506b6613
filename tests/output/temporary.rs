//! Temporary files and folders of killed commands.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use pvbench::report::write::{self, temporary};
use temporary::{FILE_PREFIX, FOLDER_PREFIX, MARK, STALE_AFTER, TemporaryFolder};

use crate::{Case, pvbench};

/// Sets the time of the last change back by more than `STALE_AFTER`.
fn age(path: &Path) {
    let back = SystemTime::now() - STALE_AFTER - Duration::from_secs(60);
    File::open(path).unwrap().set_modified(back).unwrap();
}

fn leftover(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{FILE_PREFIX}{name}"));
    fs::write(&path, "half a repo").unwrap();
    path
}

fn temporaries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(FILE_PREFIX)).collect()
}

#[test]
fn the_next_command_removes_temporary_files_of_a_killed_one() {
    let case = Case::new();
    let out = case.path("out");
    fs::create_dir(&out).unwrap();
    assert!(Command::new("mkfifo").arg(out.join("index.html")).status().unwrap().success());
    let report = |out: &Path| {
        let mut command = pvbench();
        command.arg("report").arg(case.path("report.json")).arg("--out").arg(out).stdout(Stdio::null());
        command
    };
    let mut killed = report(&out).spawn().unwrap();
    // The page does not fit into the pipe, so the command waits with report.json in a temporary file.
    let fifo = File::open(out.join("index.html")).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    drop(fifo);
    fs::remove_file(out.join("index.html")).unwrap();
    let left = temporaries(&out);
    assert_eq!(left.len(), 1, "{left:?}");

    assert!(report(&out).status().unwrap().success());
    assert_eq!(temporaries(&out), left, "it may belong to a command that still runs");
    left.iter().for_each(|path| age(path));
    assert!(report(&out).status().unwrap().success());
    assert_eq!(temporaries(&out), [""; 0].map(PathBuf::from));
}

#[test]
fn the_gate_removes_stale_temporary_files_in_the_folder_of_its_output_and_nothing_else() {
    let case = Case::new();
    let stale = leftover(case.folder.path(), "stale1");
    let (locked, young) = (leftover(case.folder.path(), "locked"), leftover(case.folder.path(), "young1"));
    let lock = File::open(&locked).unwrap();
    lock.lock().unwrap();
    let own = ["report.json", "pvbench-results.txt", ".tmpAbCdEf"].map(|name| case.path(name));
    own.iter().skip(1).for_each(|path| fs::write(path, "mine").unwrap());
    own.iter().chain([&stale, &locked]).for_each(|path| age(path));
    let status = case.gate("4 cycles").arg("--json").arg(case.path("verdict.json")).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    assert!(!stale.exists());
    assert!(locked.exists() && young.exists() && own.iter().all(|path| path.exists()));
}

#[test]
fn temporary_files_of_another_user_stay() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = leftover(folder.path(), "theirs");
    age(&theirs);
    if let Err(error) = chown(&theirs, Some(4_321), None) {
        eprintln!("skipped: a file cannot be given to another user: {error}");
        return;
    }
    write::prepare(folder.path()).unwrap();
    assert!(theirs.exists());
}

#[test]
fn a_temporary_folder_is_removed_unless_it_is_in_use_kept_or_unmarked() {
    let parent = tempfile::tempdir().unwrap();
    let left = abandoned(parent.path(), "linux");
    let unmarked = parent.path().join(format!("{FOLDER_PREFIX}results"));
    fs::create_dir(&unmarked).unwrap();
    let in_use = TemporaryFolder::new(parent.path(), "linux").unwrap();
    let kept = TemporaryFolder::new(parent.path(), "linux").unwrap().keep();
    [unmarked.as_path(), in_use.path(), &kept].into_iter().for_each(age);
    let next = TemporaryFolder::new(parent.path(), "linux").unwrap();
    assert!(!left.exists(), "its command was killed");
    assert!(unmarked.exists() && in_use.path().exists() && kept.exists());
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0, "the mark is gone");
    let paths = [in_use.path().to_owned(), next.path().to_owned()];
    drop((in_use, next));
    assert!(paths.iter().all(|path| !path.exists()));
}

/// Makes a stale folder of a killed command.
fn abandoned(parent: &Path, name: &str) -> PathBuf {
    let left = parent.join(format!("{FOLDER_PREFIX}{name}-killed"));
    fs::create_dir_all(left.join("boot")).unwrap();
    fs::write(left.join(MARK), "").unwrap();
    fs::write(left.join("boot/vmlinuz"), "a kernel").unwrap();
    age(&left);
    left
}

#[test]
fn the_next_boot_or_build_removes_folders_of_killed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let left = abandoned(folder.path(), "linux");
    let mut boot = pvbench();
    boot.args(["linux", "ab", "/dev/null", "--out"]).arg(folder.path().join("out")).env("TMPDIR", folder.path());
    // Without QEMU the command ends before it builds or boots anything.
    boot.env("PATH", "");
    assert!(!boot.output().unwrap().status.success());
    assert!(!left.exists());
    let left = abandoned(folder.path(), "init");
    pvbench::linux::guest::Guest::build_with("false".as_ref(), folder.path()).unwrap_err();
    assert!(!left.exists());
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["out"], "nor is anything else left");
}
