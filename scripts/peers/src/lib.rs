//! What all peers measure: the loops that pvbench itself times, with a fixed number of passes, so that nobody is
//! handicapped by a loop of its own.
//!
//! Two pairs: `pte_val` inline and through the table, `save_fl` direct and through the table. Neither body touches the
//! CPU model; the table holds the native bodies from the start.

use pvbench::op::BodyKind;
use pvbench::regime::{Loop, Regime};
use pvbench::suite;

/// Passes of the loop in one iteration of a benchmark, eight calls each: some microseconds, so that no tool's figures
/// are steps of the clock or the cost of reading it.
pub const PASSES: u64 = 4096;

/// The pairs: name, op, from, to.
pub const PAIRS: [(&str, &str, &str, &str); 2] =
    [("pte_val", "pte_val", "inline", "table"), ("save_fl", "save_fl", "direct", "table")];

/// The throughput loop of an op behind a mechanism, bound to the native body.
///
/// # Panics
/// Where this build of pvbench has no such loop: then there is nothing to compare.
pub fn loop_of(op: &str, mechanism: &str) -> Loop {
    let ops = pv_ops::op_entries();
    let entry = ops.iter().find(|entry| entry.meta.name == op).unwrap_or_else(|| panic!("no op {op}"));
    let pair = entry.pairs.iter().find(|pair| pair.mechanism.name == mechanism);
    let pair = pair.unwrap_or_else(|| panic!("{op} has no {mechanism}"));
    (pair.bind)(BodyKind::Native);
    pair.loop_of(Regime::Throughput).unwrap_or_else(|| panic!("{op} by {mechanism} has no loop"))
}

/// One iteration of a benchmark.
pub fn iterate(run: Loop) -> u64 {
    let args = [0x8000_0000_1234_5067; 4];
    // SAFETY: neither op looks at the CPU model, and any word is a PTE; passes is at least 1.
    unsafe { run(&raw const args, PASSES) }
}
