//! A body at another place of the address space, which some CPUs predict more slowly.

use crate::regime::Regime;
use crate::report::answer::difference_of;
use crate::report::plots::grid::Grid;
use crate::report::plots::number::{interval_ends, plain};

/// Why the far body costs more.
pub(super) const MEANING: &str = "Both call through a word with one instruction, but the body of dlsym is in a shared \
    object. On an AMD EPYC (Zen 4), an indirect call or jump takes 3 cycles more if its target differs in bit 37 of \
    the address or above: shown with machine code alone (docs/validation.md). A program and its shared libraries \
    usually lie so far apart. The bodies of plt and got are in the program here; in a library they cost as much more.";

/// The regimes in which dlsym costs more than the table.
pub(super) fn list_far_bodies(grid: &Grid) -> Vec<String> {
    let find = |name: &str| grid.columns.iter().find(|it| it.mechanism == name && it.state.is_none());
    let (Some(far), Some(near)) = (find("dlsym"), find("table")) else { return Vec::new() };
    let describe = |regime: Regime| {
        let cost = difference_of(grid, far, near, regime)?;
        let is_more = cost.is_resolved && cost.median.estimate > 0.0;
        is_more.then(|| {
            format!(
                "dlsym costs {} cycles ({}) more than table over the ops, in {}",
                plain(cost.median.estimate),
                interval_ends(cost.median),
                regime.name()
            )
        })
    };
    Regime::ALL.into_iter().filter_map(describe).collect()
}
