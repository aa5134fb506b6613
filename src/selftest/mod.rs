//! Truths: loops whose cost above another loop is known beforehand. They are measured with the same plan, workers,
//! benches and statistics as everything else.
//!
//! Truths take the form of ops and mechanisms, so that nothing between plan and estimate can treat them differently.

pub mod loops;

use crate::dispatch::Mechanism;

use crate::clock::Clock;
use crate::measure::comparison::{Comparison, Matrix, offsets};
use crate::measure::variant::MechanismState;
use crate::op::BodyKind;
use crate::op::{CpuModel, OpMeta};
use crate::regime::{Loop, Regime};
use crate::report::schema::{Cell, Estimate};
use crate::run::plan::{Effort, Plan, Preset, WINDOW_CYCLES, WorkloadPlan};
use crate::suite::{OpEntry, Pair};
use loops::{BASE, adds, imul, nothing, store_load};

/// The expected result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    /// Cycles above the baseline.
    Cycles(f64),
    /// Ratio to the baseline.
    Ratio(f64),
}

/// A loop, the baseline that it is compared with, and the known difference.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// Name of its op. Truths of one op are measured in the same blocks, against the same baseline.
    pub op: &'static str,
    /// Name of its mechanism.
    pub name: &'static str,
    /// Description in one line.
    pub(crate) summary: &'static str,
    /// The expected result.
    pub expected: Expected,
    /// Source of the expected result.
    pub(crate) source: &'static str,
    run: Loop,
}

/// Windows of full length in a block of [`plan`]: the chain of adds and `inline` twice each, the independent adds twice
/// at half the length, and `inline`, its copy and the variants twice each. Preparation is not included.
#[must_use]
pub(crate) fn windows_per_block(plan: &Plan) -> f64 {
    let treatments = plan.matrix.comparisons.first().map_or(0, |planned| planned.treatments.len());
    (2 + 2 + 1 + 2 * (2 + treatments)) as f64
}

/// Windows of full length in a block that is dropped after its first probe: the chain, and the independent adds at half
/// the length.
pub(crate) const WINDOWS_GIVEN_UP: f64 = 1.5;

impl Truth {
    /// The measured result in the unit of the expected one; `None` if the cell has no overhead.
    #[must_use]
    pub(crate) fn measured(&self, cell: &Cell) -> Option<Estimate> {
        let overhead = cell.overhead.as_ref()?;
        Some(match self.expected {
            Expected::Cycles(_) => overhead.cycles,
            Expected::Ratio(_) => overhead.ratio,
        })
    }
}

impl Expected {
    /// The expected value, in cycles or as a ratio.
    #[must_use]
    pub(crate) fn value(self) -> f64 {
        match self {
            Expected::Cycles(value) | Expected::Ratio(value) => value,
        }
    }
}

/// Makes a plan for the truths of one op.
#[must_use]
pub fn plan(op: &str, truths: &[Truth], seed: u64, cpu: Option<usize>, clock: Clock, effort: Effort) -> Plan {
    let comparison =
        |offset| Comparison { op: op.to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset };
    let own = truths.iter().filter(|truth| truth.op == op).map(|truth| MechanismState::plain(truth.name));
    let mut matrix = Matrix::default();
    let treatments = matrix.treatments.add_mechanisms(own);
    matrix.plan(offsets(Preset::Quick.layouts()).into_iter().map(comparison), &treatments);
    Plan {
        preset: Preset::Quick,
        seed,
        matrix,
        effort,
        work: WorkloadPlan { workloads: Vec::new(), kernels: Vec::new(), effort },
        window_cycles: WINDOW_CYCLES,
        cpu,
        second_cpu: None,
        clock,
    }
}

const ADD: &str = "add r,r has a latency of 1 (Agner Fog, Instruction tables)";
const IMUL: &str =
    "imul r64,r64 has a latency of 3 (AMD from Zen, Intel with AVX-512VL; Agner Fog, Instruction tables)";
const TWICE: &str = "twice the links take twice the time";

/// Name of the op whose truths are chains of adds.
const ADDS: &str = "selftest_adds";
const FIFTY: &str = "selftest_50_adds";
const HUNDRED: &str = "selftest_100_adds";
const TWO_HUNDRED: &str = "selftest_200_adds";
const FOUR_HUNDRED: &str = "selftest_400_adds";
const THOUSAND: &str = "selftest_1000_adds";
const STORE_LOAD: &str = "selftest_store_load";

const fn cycles(name: &'static str, k: f64, run: Loop) -> Truth {
    let summary = "dependent adds above the baseline's";
    Truth { op: ADDS, name, summary, expected: Expected::Cycles(k), source: ADD, run }
}

const fn ratio(op: &'static str, name: &'static str, summary: &'static str, ratio: f64, run: Loop) -> Truth {
    Truth { op, name, summary, expected: Expected::Ratio(ratio), source: ADD, run }
}

/// Truths of every x86-64 core.
const EVERYWHERE: [Truth; 15] = [
    cycles("0 adds", 0.0, adds::<BASE>),
    cycles("1 add", 1.0, adds::<{ BASE + 1 }>),
    cycles("2 adds", 2.0, adds::<{ BASE + 2 }>),
    cycles("3 adds", 3.0, adds::<{ BASE + 3 }>),
    cycles("4 adds", 4.0, adds::<{ BASE + 4 }>),
    cycles("5 adds", 5.0, adds::<{ BASE + 5 }>),
    cycles("6 adds", 6.0, adds::<{ BASE + 6 }>),
    cycles("7 adds", 7.0, adds::<{ BASE + 7 }>),
    cycles("8 adds", 8.0, adds::<{ BASE + 8 }>),
    ratio(HUNDRED, "100 adds", "against 100 adds: no difference", 1.0, adds::<100>),
    ratio(HUNDRED, "101 adds", "against 100 adds: 1% more", 1.01, adds::<101>),
    ratio(FIFTY, "51 adds", "against 50 adds: 2% more", 1.02, adds::<51>),
    ratio(TWO_HUNDRED, "201 adds", "against 200 adds: 0.5% more", 1.005, adds::<201>),
    ratio(FOUR_HUNDRED, "401 adds", "against 400 adds: 0.25% more", 1.0025, adds::<401>),
    ratio(THOUSAND, "1001 adds", "against 1000 adds: 0.1% more", 1.001, adds::<1001>),
];

const LINKS: Truth = Truth {
    op: STORE_LOAD,
    name: "2 links",
    summary: "store, load and add twice, against once",
    expected: Expected::Ratio(2.0),
    source: TWICE,
    run: store_load::<2>,
};

const MULTIPLICATION: Truth = Truth {
    op: ADDS,
    name: "imul",
    summary: "a 64-bit multiplication in the chain",
    expected: Expected::Cycles(3.0),
    source: IMUL,
    run: imul,
};

/// The facts about a CPU that decide which truths are documented for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Core<'a> {
    /// Vendor as `cpuid` gives it.
    pub vendor: Option<&'a str>,
    /// Family, with the extended family added.
    pub family: Option<u32>,
    /// Whether it has AVX-512VL.
    pub avx512vl: bool,
    /// Whether it has the instruction SERIALIZE.
    pub serialize: bool,
}

/// The truths that are documented for a CPU.
///
/// Not every Intel CPU multiplies in three cycles: Atoms and Xeon Phi take longer. None of them has AVX-512VL, and all
/// large cores since Skylake's servers have it.
///
/// Intel's cores from Alder Lake and Sapphire Rapids on, which are those with SERIALIZE, predict the value that a load
/// gets from an earlier store ("Fast Store Forwarding Predictor", Intel, 2022). There a link of a chain through memory
/// takes either the full latency or one cycle, so twice the links no longer take twice the time.
#[must_use]
pub fn truths(core: Core) -> Vec<Truth> {
    let (multiplies, waits) = match core.vendor {
        Some("AuthenticAMD") => (core.family.is_some_and(|family| family >= 0x17), true),
        Some("GenuineIntel") => (core.avx512vl, !core.serialize),
        _ => (false, false),
    };
    EVERYWHERE.into_iter().chain(waits.then_some(LINKS)).chain(multiplies.then_some(MULTIPLICATION)).collect()
}

/// All truths as ops and mechanisms, for the plan and the workers.
#[must_use]
pub fn entries() -> Vec<OpEntry> {
    let baselines: [(&'static str, Loop); 7] = [
        (ADDS, adds::<BASE>),
        (FIFTY, adds::<50>),
        (HUNDRED, adds::<100>),
        (TWO_HUNDRED, adds::<200>),
        (FOUR_HUNDRED, adds::<400>),
        (THOUSAND, adds::<1000>),
        (STORE_LOAD, store_load::<1>),
    ];
    let all = || EVERYWHERE.into_iter().chain([LINKS, MULTIPLICATION]);
    baselines
        .into_iter()
        .map(|(name, baseline)| {
            let own = all().filter(|truth| truth.op == name).map(|truth| pair(truth.name, truth.run));
            entry(name, std::iter::once(pair("inline", baseline)).chain(own).collect())
        })
        .collect()
}

fn pair(name: &'static str, run: Loop) -> Pair {
    Pair::plain(Mechanism { name, ..Mechanism::BASE }, run)
}

fn entry(name: &'static str, pairs: Vec<Pair>) -> OpEntry {
    OpEntry {
        id: std::any::TypeId::of::<Truth>(),
        meta: OpMeta { name, ..OpMeta::BASE },
        slot: 0,
        arity: 0,
        returns: false,
        arguments: |_: &mut CpuModel| [0; 4],
        body: |_| nothing,
        saving: |_| nothing,
        spoils: false,
        assembly: true,
        instructions: None,
        probe: None,
        pairs,
    }
}
