//! The script that keeps a history in a branch: two jobs at once lose nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/history_branch.sh")
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@localhost"]).args(args).current_dir(folder);
    let output = command.output().expect("git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A repository with a commit, and this many clones of it.
fn clones(folder: &Path, count: usize) -> Vec<PathBuf> {
    git(folder, &["init", "--quiet", "--bare", "origin.git"]);
    git(folder, &["clone", "--quiet", "origin.git", "first"]);
    let first = folder.join("first");
    fs::write(first.join("README"), "a project").unwrap();
    git(&first, &["add", "README"]);
    git(&first, &["commit", "--quiet", "--message", "First"]);
    git(&first, &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let clone = |number: usize| {
        let name = format!("clone{number}");
        git(folder, &["clone", "--quiet", "--branch", "main", "origin.git", &name]);
        folder.join(name)
    };
    (0..count).map(clone).collect()
}

fn start(clone: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(script());
    command.args(args).current_dir(clone).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("bash")
}

fn finish(child: Child) -> Output {
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn add(clone: &Path, run: usize) {
    let class = clone.join("kept/runs/class");
    fs::create_dir_all(&class).unwrap();
    fs::write(class.join(format!("{run}.pvr")), format!("run {run}")).unwrap();
}

/// The files of the branch.
fn kept(folder: &Path) -> Vec<String> {
    let list = git(&folder.join("origin.git"), &["ls-tree", "-r", "--name-only", "history"]);
    list.lines().map(str::to_owned).collect()
}

#[test]
fn jobs_that_push_at_once_lose_no_run_also_where_the_branch_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let clones = clones(folder.path(), 4);
    for round in 0..2 {
        for clone in &clones {
            finish(start(clone, &["checkout", "kept"]));
        }
        for (number, clone) in clones.iter().enumerate() {
            add(clone, round * clones.len() + number);
        }
        let pushes: Vec<Child> = clones.iter().map(|clone| start(clone, &["push", "kept"])).collect();
        pushes.into_iter().for_each(|push| drop(finish(push)));
        let expected: Vec<String> =
            (0..(round + 1) * clones.len()).map(|run| format!("runs/class/{run}.pvr")).collect();
        assert_eq!(kept(folder.path()), expected, "round {round}");
        for clone in &clones {
            git(clone, &["worktree", "remove", "--force", "kept"]);
        }
    }
}

#[test]
fn a_push_without_a_new_run_changes_nothing_and_wrong_usage_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let clones = clones(folder.path(), 1);
    finish(start(&clones[0], &["checkout", "kept"]));
    add(&clones[0], 0);
    finish(start(&clones[0], &["push", "kept"]));
    let tip = git(&folder.path().join("origin.git"), &["rev-parse", "history"]);
    finish(start(&clones[0], &["push", "kept"]));
    assert_eq!(git(&folder.path().join("origin.git"), &["rev-parse", "history"]), tip);
    let wrong = start(&clones[0], &["pull"]).wait_with_output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("checkout FOLDER"));
}
