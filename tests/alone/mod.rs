//! Tests that change the process they run in, each in a process of its own.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::process::Command;

const MARK: &str = "PVBENCH_TEST_ALONE";

/// Runs `body` in a child process: this test binary again, with the test of that name alone. What the child prints
/// appears where it fails.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|marked| marked == test) {
        body();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test}: {}\n{printed}", output.status);
    assert!(printed.contains("1 passed"), "there is no test '{test}' in this binary\n{printed}");
}

/// Mappings of this process that are writable and executable.
pub fn writable_and_executable() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let both = |line: &&str| line.split_whitespace().nth(1).is_some_and(|p| p.contains('w') && p.contains('x'));
    maps.lines().filter(both).map(str::to_owned).collect()
}
