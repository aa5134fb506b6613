//! Is this machine fit to measure on? One answer per question, in an order that does not change.

mod access;
mod build;
mod clock;
mod layout;
mod load;
mod mitigations;
mod pmu;
mod power;
mod tools;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Probes, Root};

pub use build::optimised;
pub(super) use pmu::paranoid_level;

/// The check of what the compiler made of what is measured.
pub const OPTIMISED: &str = "optimised";

/// What is known of a condition of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is known, and fit for measuring.
    Known,
    /// It cannot be determined here.
    Unknown,
    /// It is known, and harmful.
    Bad,
}

/// One condition of measuring: what was seen, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// A name that does not change, as `governor`.
    pub id: String,
    /// Whether it helps or harms.
    pub status: Status,
    /// What was seen, in one line.
    pub detail: String,
    /// What to do: always there unless the status is `known`, and there too where a fit machine could be fitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn known(id: &str, detail: impl AsRef<str>) -> Self {
        Self::new(id, Status::Known, detail.as_ref(), None)
    }

    /// Fit, and could be fitter.
    fn improvable(id: &str, detail: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Known, detail.as_ref(), Some(advice.as_ref()))
    }

    fn unknown(id: &str, detail: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Unknown, detail.as_ref(), Some(advice.as_ref()))
    }

    fn bad(id: &str, detail: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Bad, detail.as_ref(), Some(advice.as_ref()))
    }

    fn new(id: &str, status: Status, detail: &str, advice: Option<&str>) -> Self {
        Self { id: id.to_owned(), status, detail: one_line(detail), advice: advice.map(one_line) }
    }
}

/// Text of files and of the environment goes into the lines of a terminal: no breaks, no escapes.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long `doctor` watches other processes. /proc/stat counts hundredths of it; half would double the error of a
/// tick.
const WATCHED: Duration = Duration::from_secs(1);

/// All checks of the machine under `root`, asking the running system what no file tells. Runs `valgrind --version`
/// where there is one, and no other program. Takes a second, in which it is seen what other processes take.
pub fn checks(root: &Root) -> Vec<Check> {
    let probes = Probes::ask(root);
    if probes.cpu_time.is_ok() {
        std::thread::sleep(WATCHED);
    }
    checks_with(root, &probes)
}

/// All checks of the machine under `root`, with the answers of system calls and of CPUID given.
pub fn checks_with(root: &Root, probes: &Probes) -> Vec<Check> {
    vec![
        clock::tsc_constant(&probes.cpu),
        clock::tsc_invariant(&probes.cpu),
        clock::clock(&probes.cpu),
        power::governor(root, probes),
        power::turbo(root, probes),
        load::smt_sibling(root, probes),
        load::cpu_affinity(probes),
        load::load(root, probes),
        load::steal(root, probes),
        load::virtualised(root, &probes.cpu),
        pmu::pmu(root, probes),
        pmu::perf_event_paranoid(root),
        layout::aslr(root, probes),
        layout::thp(root),
        mitigations::mitigations(root),
        mitigations::microcode(root, probes),
        tools::valgrind(probes),
        tools::iai_callgrind_runner(probes),
        access::memfd(probes),
        access::ptrace(root),
    ]
}
