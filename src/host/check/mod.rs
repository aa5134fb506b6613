//! The checks of `pvbench doctor`: whether this machine is fit to measure on. Their order does not change.

mod access;
mod build;
mod clock;
mod layout;
mod load;
mod mitigations;
mod pmu;
mod power;
mod tools;
mod trial;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Probes, Root};

pub use build::optimised;
pub(super) use pmu::read_paranoid_level;
pub use trial::measuring;

/// The id of the check that the measured code is optimised and not instrumented.
pub(crate) const OPTIMISED: &str = "optimised";

/// The status of one condition of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The condition is fit for measuring. Older reports say `known`.
    #[serde(alias = "known")]
    Ok,
    /// The condition cannot be determined on this machine.
    Unknown,
    /// The condition harms measurements. Older reports say `bad`.
    #[serde(alias = "bad")]
    Warning,
}

/// One condition of measuring: its state on this machine, and advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// A stable name, such as `governor`.
    pub id: String,
    /// Whether the condition is fit for measuring.
    pub status: Status,
    /// The observation, in one line.
    pub detail: String,
    /// What the condition changes in the numbers: present if the status is `warning`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// Advice: present unless the status is `ok`, and also present where a fit machine can be improved. The advice on a
    /// warning has the command that mends it, between backticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(id: &str, detail: impl AsRef<str>) -> Self {
        Self::new(id, Status::Ok, detail.as_ref(), None, None)
    }

    /// A fit condition that can be improved.
    fn ok_with_advice(id: &str, detail: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Ok, detail.as_ref(), None, Some(advice.as_ref()))
    }

    fn unknown(id: &str, detail: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Unknown, detail.as_ref(), None, Some(advice.as_ref()))
    }

    /// A condition that harms measurements: the observation, what it changes in the numbers, and the command that mends
    /// it.
    fn warning(id: &str, detail: impl AsRef<str>, effect: &str, advice: impl AsRef<str>) -> Self {
        Self::new(id, Status::Warning, detail.as_ref(), Some(effect), Some(advice.as_ref()))
    }

    fn new(id: &str, status: Status, detail: &str, effect: Option<&str>, advice: Option<&str>) -> Self {
        let (detail, effect, advice) = (one_line(detail), effect.map(one_line), advice.map(one_line));
        Self { id: id.to_owned(), status, detail, effect, advice }
    }
}

/// Replaces control characters by blanks: text of files and of the environment is printed in terminal lines.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Time for which `doctor` observes the load of other processes and stolen time. /proc/stat counts in ticks of 1/100 s;
/// half of this time would double the error of a tick.
const LOAD_OBSERVATION: Duration = Duration::from_secs(1);

/// All checks of the machine under `root`, with the answers of the running system to system calls.
///
/// Runs `valgrind --version` if Valgrind is installed, and no other program. Takes a second, in which the load of other
/// processes and stolen time are measured.
pub fn checks(root: &Root) -> Vec<Check> {
    let probes = Probes::ask(root);
    if probes.cpu_time.is_ok() {
        std::thread::sleep(LOAD_OBSERVATION);
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
