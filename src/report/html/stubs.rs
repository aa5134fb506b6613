//! Indirect calls that cost more cold than a call of a stub with an indirect jump, although the stub is one step more.

use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::difference_of;
use crate::report::plots::grid::{Column, Grid};
use crate::report::plots::number::{clipped, interval_ends, plain};
use crate::report::schema::Listing;

/// Why the stub is cheaper.
pub(super) const MEANING: &str = "The call through a word is at every site, so each site runs an indirect branch that \
    no predictor knows, and waits for its target. A stub keeps the indirect jump in one place, which all sites of \
    the op share: it is predicted from the second site on, and a site has only a direct call. Where the word lies \
    matters less. With a stub per site, each run for the first time, the stub costs more than the indirect call \
    (docs/validation.md).";

/// The way from a site to a body, where it has one indirect step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indirect {
    /// Every site has an indirect call of its own.
    AtSite,
    /// Every site calls a stub directly, and the stub, which all sites share, jumps indirectly.
    InStub,
}

/// The indirect step of a mechanism, by its machine code. `None` if it has none or more than one.
fn find_indirect(listing: &Listing) -> Option<Indirect> {
    let steps: Vec<(usize, bool, &str)> = listing
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.text.starts_with("call ") || line.text.starts_with("jmp "))
        .map(|(index, line)| (index, line.place == "site", line.text.as_str()))
        .collect();
    match steps[..] {
        [(_, true, call)] if call.starts_with("call qword ptr") => Some(Indirect::AtSite),
        [(at, true, call), (next, false, jump)]
            if next == at + 1 && call.starts_with("call ") && jump.starts_with("jmp qword ptr") =>
        {
            Some(Indirect::InStub)
        }
        _ => None,
    }
}

/// The mechanisms whose listings all have this step.
fn find_columns<'g, 'a>(report: &Report, grid: &'g Grid<'a>, wanted: Indirect) -> Vec<&'g Column<'a>> {
    let has_step = |column: &&Column| {
        let info = report.catalogue.mechanisms.iter().find(|it| it.name == column.mechanism);
        let listings = info.map_or(&[][..], |info| &info.listings);
        column.state.is_none() && !listings.is_empty() && listings.iter().all(|it| find_indirect(it) == Some(wanted))
    };
    grid.columns.iter().filter(has_step).collect()
}

/// Pairs of a call through a word and a call of a stub, with the resolved difference where the code is cold.
pub(super) fn list_cheaper_stubs(report: &Report, grid: &Grid) -> Vec<String> {
    let at_site = find_columns(report, grid, Indirect::AtSite);
    // The words of the GOT are those of stubs, too; without that mechanism, any table will do.
    let Some(call) = at_site.iter().find(|it| it.mechanism == "got").or(at_site.first()) else { return Vec::new() };
    let mut found = Vec::new();
    for stub in find_columns(report, grid, Indirect::InStub) {
        for regime in [Regime::Cold, Regime::Flushed] {
            let cost = difference_of(grid, call, stub, regime);
            if let Some(cost) = cost.filter(|it| it.is_resolved && it.median.estimate > 0.0) {
                found.push(format!(
                    "{} costs {} cycles ({}) more than {} in {}",
                    clipped(&call.label(), 60),
                    plain(cost.median.estimate),
                    interval_ends(cost.median),
                    clipped(&stub.label(), 60),
                    regime.name()
                ));
            }
        }
    }
    found
}
