//! Builds bench targets with the features and the profile of the test: the library is the one that the test links.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A command of cargo for bench targets of this package and of the fixture's.
pub fn cargo_bench(targets: &[&str]) -> Command {
    let own = [
        ("default", cfg!(feature = "default")),
        ("catalogue", cfg!(feature = "catalogue")),
        ("cli", cfg!(feature = "cli")),
        ("html", cfg!(feature = "html")),
        ("linux", cfg!(feature = "linux")),
        ("workloads", cfg!(feature = "workloads")),
    ];
    let features: Vec<&str> = own.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["bench", "--offline", "--quiet", "--profile", "dev", "--package", "pvbench", "--package", "own_suite"]);
    cargo.args(["--no-default-features", "--features", &features.join(",")]).arg("--target-dir").arg(target);
    cargo.args(targets.iter().flat_map(|target| ["--bench", target])).current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

/// Builds bench targets. Returns the path of each program.
pub fn build(targets: &[&str]) -> BTreeMap<String, PathBuf> {
    let output = cargo_bench(targets).args(["--no-run", "--message-format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", read_output(&output));
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let programs = messages.filter_map(|message| {
        let path = PathBuf::from(message["executable"].as_str()?);
        Some((message["target"]["name"].as_str()?.to_owned(), path))
    });
    programs.collect()
}

/// All that a command printed.
pub fn read_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
