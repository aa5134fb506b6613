//! The pairs that a bench target measures: those that decide, or all of them with `PVBENCH_BENCH=all`.

use pvbench::pv_ops::WORKLOAD_MECHANISMS;

/// The environment variable that selects the pairs.
const VARIABLE: &str = "PVBENCH_BENCH";

/// A selection of pairs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// The mechanisms that decide the argument about paravirt_ops. All bench targets together take three minutes.
    Deciding,
    /// Every pair of the build. It takes the better part of an hour.
    All,
}

impl Pairs {
    /// Reads the selection from the environment. Ends the process with exit code 2 if its value is unknown.
    pub fn from_env() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(std::env::VarError::NotPresent) => Pairs::Deciding,
            Ok("all") => Pairs::All,
            Ok(other) => refuse(other),
            Err(_) => refuse("not UTF-8"),
        }
    }

    /// Whether the selection has a mechanism.
    pub fn has(self, mechanism: &str) -> bool {
        self == Pairs::All || mechanism == "inline" || WORKLOAD_MECHANISMS.contains(&mechanism)
    }

    /// Says in one line how to measure the other pairs, where `cargo bench` measures.
    pub fn announce(self, target: &str, what: &str) {
        let has = |option: &str| std::env::args().any(|arg| arg == option);
        if self == Pairs::Deciding && has("--bench") && !has("--list") && !has("--test") {
            eprintln!("{target}: {what}; {VARIABLE}=all measures the rest");
        }
    }
}

fn refuse(value: &str) -> ! {
    eprintln!("{VARIABLE} is '{value}', which selects nothing; leave it out, or set it to 'all'");
    std::process::exit(2)
}
