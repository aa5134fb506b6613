//! The smallest description of the cells that moved.

use std::collections::BTreeSet;

use super::state::Group;

/// A group of the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Index of the group.
    pub(super) group: usize,
    /// Number of its cells that moved.
    pub(super) moved: usize,
    /// Number of its cells that could have moved.
    pub(super) cells: usize,
}

/// Describes the cells that moved by groups, each of which saves bits: the names of its cells, less its own name and
/// those of its cells that stayed. Returns the groups, those that save most first, and the cells that are in none.
///
/// `could` are the cells that could have moved: those with values before and since.
pub(super) fn cover(
    groups: &[Group],
    moved: &BTreeSet<usize>,
    could: &BTreeSet<usize>,
) -> (Vec<Chosen>, BTreeSet<usize>) {
    let bits = |of: usize| (of.max(2) as f64).log2();
    let mut rest = moved.clone();
    let mut chosen: Vec<Chosen> = Vec::new();
    while rest.len() > 1 {
        let mut best: Option<(f64, Chosen)> = None;
        for (index, group) in groups.iter().enumerate() {
            let new = group.cells.iter().filter(|it| rest.contains(it)).count();
            if new < 2 {
                continue;
            }
            let cells = group.cells.iter().filter(|it| could.contains(it)).count();
            let all = group.cells.iter().filter(|it| moved.contains(it)).count();
            // A median over the group that moves is a move of more than half of it.
            if 2 * all <= cells {
                continue;
            }
            let stayed = cells - all;
            let names = 1.0 + group.names.len() as f64 * bits(groups.len()) / 2.0;
            let saved = new as f64 * bits(could.len()) - names - stayed as f64 * bits(cells);
            let this = Chosen { group: index, moved: all, cells };
            if saved > 0.0 && best.is_none_or(|(most, _)| saved > most) {
                best = Some((saved, this));
            }
        }
        let Some((_, group)) = best else { break };
        chosen.push(group);
        for cell in &groups[group.group].cells {
            rest.remove(cell);
        }
    }
    (chosen, rest)
}
