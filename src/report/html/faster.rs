//! Cells and kernels that are faster than `inline`, by op and by the cause that the machine code of its body shows.

use std::collections::HashMap;

use super::carried::{BodyFacts, describe_body};
use crate::report::Report;
use crate::report::plots::number::{clipped, fixed, plain, plural};
use crate::report::schema::{Cell, Listing};
use crate::report::subject::{has_linux_ops, kernels, mechanism};

/// Minimum time of `inline` in core cycles at which an op can wait for a store: no CPU forwards one faster than a load
/// from its first-level cache takes.
const MIN_WAIT_CYCLES: f64 = 4.0;

/// Minimum gain, as a share of `inline`, that sharing one body explains. With copies of it that wait for one another,
/// `scripts/causes.py` finds 15 to 45%; ops that wait for something else gain at most 11% (`reports/causes.json`).
const MIN_SHARED_GAIN: f64 = 0.15;
/// Ops that NOPs in place make faster by half of the gain or more (`reports/causes.json`).
const PAUSES: [&str; 7] = [
    "flush_tlb_kernel",
    "flush_tlb_others",
    "get_tsc_khz",
    "get_wallclock",
    "load_gs_index",
    "read_msr_safe",
    "spin_unlock",
];

/// What is faster than `inline`, by cause. Each line is an op or a kernel, the largest difference first.
#[derive(Default)]
pub(super) struct Faster {
    /// Ops whose copies in place wait for one another through memory, behind calls of one body.
    pub carried: Vec<String>,
    /// Ops that a pause makes faster.
    pub pauses: Vec<String>,
    /// Ops whose body has a loop.
    pub loops: Vec<String>,
    /// Ops and kernels without a known cause.
    pub unknown: Vec<String>,
}

/// How the cells reach the body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reach {
    /// All sites call one body, and the code is hot.
    HotCall,
    /// Every site has a body of its own in place, and the code is hot.
    HotInPlace,
    /// The code is cold, or its targets change. No cause is known for such a gain.
    Other,
}

/// The faster cells of an op that share a way to its body.
struct OfOp<'a> {
    op: &'a str,
    reach: Reach,
    cells: usize,
    /// The cell with the largest difference.
    most: &'a Cell,
    gain: f64,
}

/// What is faster than `inline` in a report.
pub(super) fn list_faster(report: &Report) -> Faster {
    let mut ops: Vec<OfOp> = Vec::new();
    let mut indices: HashMap<(&str, Reach), usize> = HashMap::new();
    for cell in &report.cells {
        let Some(gain) = gain(cell) else { continue };
        let reach = find_reach(report, cell);
        let index = *indices.entry((cell.op.as_str(), reach)).or_insert_with(|| {
            ops.push(OfOp { op: &cell.op, reach, cells: 0, most: cell, gain });
            ops.len() - 1
        });
        let of_op = &mut ops[index];
        of_op.cells += 1;
        if gain > of_op.gain {
            (of_op.most, of_op.gain) = (cell, gain);
        }
    }
    ops.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    let codes: HashMap<&str, &str> =
        report.catalogue.ops.iter().map(|op| (op.name.as_str(), op.native_code.as_str())).collect();
    let is_linux = has_linux_ops(report);
    let mut found = Faster { unknown: list_kernels(report), ..Faster::default() };
    for of_op in &ops {
        let facts = codes.get(of_op.op).map_or_else(BodyFacts::default, |code| describe_body(code));
        let inline = of_op.most.native_cycles.filter(|cycles| *cycles >= MIN_WAIT_CYCLES);
        let is_large = inline.is_some_and(|inline| of_op.gain >= MIN_SHARED_GAIN * inline);
        match (of_op.reach, facts) {
            (Reach::HotCall, BodyFacts { carried: Some(word), .. }) if is_large => {
                found.carried.push(format!("{}; the op reads and writes {word}", describe(of_op)));
            }
            (Reach::HotCall | Reach::HotInPlace, _) if is_linux && PAUSES.contains(&of_op.op) => {
                found.pauses.push(describe(of_op));
            }
            (Reach::HotCall, BodyFacts { has_loop: true, carried: None }) => found.loops.push(describe(of_op)),
            (Reach::HotInPlace, _) => found.unknown.push(format!("{}, with the body in place", describe(of_op))),
            _ => found.unknown.push(describe(of_op)),
        }
    }
    found
}

fn find_reach(report: &Report, cell: &Cell) -> Reach {
    if cell.regime.is_cold() || cell.regime.targets().is_some() {
        return Reach::Other;
    }
    let info = report.catalogue.mechanisms.iter().find(|it| it.name == cell.mechanism);
    let mut listings = info.iter().flat_map(|info| &info.listings).filter(|it| it.state == cell.state).peekable();
    let is_in_place = |listing: &Listing| listing.lines.iter().all(|line| line.place == "site");
    let in_place = listings.peek().is_some() && listings.all(is_in_place);
    if in_place { Reach::HotInPlace } else { Reach::HotCall }
}

/// What a cell takes less than `inline` in core cycles, if that is resolved.
fn gain(cell: &Cell) -> Option<f64> {
    let cycles = cell.overhead.filter(|_| cell.resolved && cell.mechanism != "inline")?.cycles.estimate;
    (cycles < 0.0 && cycles.is_finite()).then_some(-cycles)
}

/// `clts, 53 cells: 3.30 of 7.42 cycles less by direct in throughput`
fn describe(of_op: &OfOp) -> String {
    let OfOp { op, cells, most, gain, .. } = of_op;
    let all = most.native_cycles.map_or_else(String::new, |cycles| format!(" of {}", plain(cycles)));
    format!(
        "{}, {cells} {}: up to {}{all} cycles less, by {} in {}",
        clipped(op, 40),
        plural(*cells, "cell", "cells"),
        plain(*gain),
        mechanism(&most.mechanism, most.state.as_deref()),
        most.regime.name()
    )
}

/// Kernels that take less time than the one with `inline`.
fn list_kernels(report: &Report) -> Vec<String> {
    let mut found: Vec<(f64, String)> = kernels(report)
        .filter_map(|(workload, kernel)| {
            let percent = kernel.overhead_percent.filter(|_| kernel.resolved && kernel.option.is_none())?.estimate;
            let name = mechanism(kernel.mechanism.as_deref()?, kernel.state.as_deref());
            let line = || format!("{} with {name}: {}% of the time", clipped(&workload.name, 40), fixed(percent, 2));
            (percent < 0.0).then(|| (percent, line()))
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|it| it.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Rows of the experiment that this file's constants come from.
    fn experiment() -> Vec<Value> {
        // Read here, because the published crate has no reports.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/causes.json");
        let found: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        found["waits"].as_array().unwrap().clone()
    }

    fn number(row: &Value, field: &str) -> f64 {
        row[field].as_f64().unwrap()
    }

    #[test]
    fn nops_in_place_take_half_of_the_gain_or_more_off_every_op_that_is_said_to_need_a_pause() {
        for op in PAUSES {
            let row = experiment().into_iter().find(|row| row["op"] == op).expect(op);
            let by_nops = number(&row, "in_place") - number(&row, "best_after_nops");
            assert!(by_nops >= 0.5 * number(&row, "report_gain"), "{row}");
        }
    }

    #[test]
    fn a_large_gain_comes_from_sharing_one_body() {
        let large = |row: &Value| {
            let (gain, inline) = (number(row, "report_gain"), number(row, "report_inline"));
            inline >= MIN_WAIT_CYCLES && gain >= MIN_SHARED_GAIN * inline
        };
        let rows: Vec<Value> = experiment().into_iter().filter(large).collect();
        let explained = rows.iter().filter(|row| {
            let shared = number(row, "in_place") - number(row, "calls_of_one_body");
            let own = number(row, "in_place") - number(row, "calls_of_a_body_per_site");
            let nops = number(row, "in_place") - number(row, "best_after_nops");
            shared > 0.5 && own < 0.5 * shared && nops < 0.5 * shared
        });
        assert!(rows.len() >= 5 && explained.count() == rows.len(), "{rows:?}");
    }
}
