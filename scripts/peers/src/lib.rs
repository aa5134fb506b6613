//! The loops that all tools measure: those of pvbench, with a fixed number of passes, so that no tool has a slower
//! loop.
//!
//! Two pairs: `pte_val` inline and through the table, `save_fl` direct and through the table. Neither body touches the
//! CPU model; the table holds the native bodies from the start.

use pvbench::op::BodyKind;
use pvbench::regime::{Loop, Regime};

/// Passes of the loop per iteration of a benchmark, with eight calls each: some microseconds, so that the resolution of
/// the clock and the cost of reading it are negligible.
pub const PASSES: u64 = 4096;

/// The pairs: name, op, from, to.
pub const PAIRS: [(&str, &str, &str, &str); 2] =
    [("pte_val", "pte_val", "inline", "table"), ("save_fl", "save_fl", "direct", "table")];

/// The throughput loop of an op with a mechanism, bound to the native body.
///
/// # Panics
/// If this build of pvbench has no such loop.
pub fn loop_of(op: &str, mechanism: &str) -> Loop {
    let ops = pvbench::pv_ops::op_entries();
    let entry = ops.iter().find(|entry| entry.meta.name == op).unwrap_or_else(|| panic!("no op {op}"));
    let pair = entry.pairs.iter().find(|pair| pair.mechanism.name == mechanism);
    let pair = pair.unwrap_or_else(|| panic!("{op} has no {mechanism}"));
    (pair.bind)(BodyKind::Native);
    pair.loop_of(Regime::Throughput).unwrap_or_else(|| panic!("{op} with {mechanism} has no loop"))
}

/// One iteration of a benchmark.
pub fn iterate(run: Loop) -> u64 {
    let args = [0x8000_0000_1234_5067; 4];
    // SAFETY: neither op uses the CPU model, and any word is a PTE; passes is at least 1.
    unsafe { run(&raw const args, PASSES) }
}
