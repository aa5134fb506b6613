//! A separate process for each test that changes its own process.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::process::Command;

const TEST_VARIABLE: &str = "PVBENCH_TEST_ALONE";

/// Runs `body` in a child process: this test binary again, with only the test of that name. A failure shows the output
/// of the child.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(TEST_VARIABLE).is_some_and(|marked| marked == test) {
        body();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(TEST_VARIABLE, test)
        .output()
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test}: {}\n{printed}", output.status);
    assert!(printed.contains("1 passed"), "there is no test '{test}' in this binary\n{printed}");
}

/// Lists the mappings of this process that are both writable and executable.
pub fn writable_and_executable() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let both = |line: &&str| line.split_whitespace().nth(1).is_some_and(|p| p.contains('w') && p.contains('x'));
    maps.lines().filter(both).map(str::to_owned).collect()
}
