//! The programs that counting needs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The lock file, which names the version that the runner must have: that of the library.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The runner, unless the library was compiled for another path.
const RUNNER: &str = match option_env!("IAI_CALLGRIND_RUNNER") {
    Some(path) => path,
    None => "iai-callgrind-runner",
};

/// Why nothing can be counted, and how to get what is missing, in one line; `None` if all is there.
pub fn find_missing() -> Option<String> {
    let version = library_version().unwrap_or("0.16.1");
    let install = format!("cargo install iai-callgrind-runner --version {version} --locked");
    if find_on_path("valgrind").is_none() {
        return Some(
            "valgrind is not on the PATH; `apt-get install valgrind` or scripts/setup.sh installs it".to_owned(),
        );
    }
    let Some(runner) = find_on_path(RUNNER) else {
        return Some(format!("iai-callgrind-runner is not on the PATH; get it with `{install}`"));
    };
    // The runner has no option for its version. It compares the first argument with its own, and names both if they
    // differ.
    let output = Command::new(&runner).arg(version).stdin(Stdio::null()).output();
    match output {
        Err(error) => Some(format!("{} cannot be run: {error}; get it with `{install}`", runner.display())),
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr);
            let differs = ["is older than", "is newer than"].iter().any(|words| message.contains(words));
            differs.then(|| format!("{} is not version {version}; get it with `{install}`", runner.display()))
        }
    }
}

/// The version of iai-callgrind in the lock file.
fn library_version() -> Option<&'static str> {
    let (_, rest) = LOCK.split_once("name = \"iai-callgrind\"\nversion = \"")?;
    rest.split_once('"').map(|(version, _)| version)
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
