//! The options that criterion's bench targets and libtest's harness know.

/// Options of libtest and of criterion that take a value, in their long and short forms.
pub const VALUED: [&str; 23] = [
    "--test-threads",
    "--skip",
    "--format",
    "--color",
    "--colour",
    "--logfile",
    "--shuffle-seed",
    "-Z",
    "-c",
    "--save-baseline",
    "-s",
    "--baseline",
    "-b",
    "--baseline-lenient",
    "--load-baseline",
    "--profile-time",
    "--sample-size",
    "--warm-up-time",
    "--measurement-time",
    "--nresamples",
    "--noise-threshold",
    "--confidence-level",
    "--significance-level",
];

/// Options of criterion's plots and output that take a value.
pub const VALUED_OUTPUT: [&str; 2] = ["--plotting-backend", "--output-format"];

/// Options of libtest and of criterion without a value, or with a value after `=`.
pub const FLAGS: [&str; 25] = [
    "--bench",
    "--test",
    "--list",
    "--exact",
    "--ignored",
    "--include-ignored",
    "--nocapture",
    "--no-capture",
    "--show-output",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--noplot",
    "-n",
    "--discard-baseline",
    "--fail-fast",
    "--shuffle",
    "--report-time",
    "--ensure-time",
    "--force-run-in-process",
    "--exclude-should-panic",
    "--no-fail-fast",
    "--no-run",
    "--quick",
];

/// Options of the whole command line.
pub const GLOBAL_OPTIONS: [&str; 4] = ["-h", "--help", "-V", "--version"];
