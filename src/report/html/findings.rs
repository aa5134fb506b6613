//! The findings of a run, in sentences that are made from the report alone.

use crate::host::Status;
use crate::op::Kind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::over_ops::{OverOps, paired};
use crate::report::plots::grid::{Column, Grid, Reading};
use crate::report::plots::number::{clipped, plain, plural};
use crate::report::schema::{Cell, SCHEMA};
use crate::report::subject::has_linux_ops;

/// A key figure below the sentences.
pub struct Tile {
    /// Name of the figure.
    pub name: String,
    /// The number, or `not resolved`.
    pub value: String,
    /// Unit of the number; empty without a number.
    pub unit: &'static str,
    /// The number of ops or comparisons behind the figure.
    pub note: String,
}

/// Warnings that the page shows above everything else.
pub fn warnings(report: &Report, grid: &Grid) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.run.complete {
        let failed = report.failures.len();
        let why = match failed {
            0 => "part of the plan was not measured".to_owned(),
            n => format!("{n} {} below", plural(n, "failure is listed", "failures are listed")),
        };
        warnings.push(format!("This run is incomplete: {why}. Missing values are unknown, not zero."));
    }
    if report.tool.build != "release" {
        warnings.push(format!(
            "This is a {} build: all times include debug assertions and overflow checks. Build with --release.",
            clipped(&report.tool.build, 40)
        ));
    }
    if let Some(check) = report.unoptimised() {
        warnings.push(format!("Unoptimised: {}.", clipped(&check.detail, 200)));
    }
    if grid.left_out != (0, 0) {
        let (mechanisms, ops) = grid.left_out;
        warnings.push(format!(
            "The sentences and plots leave out {mechanisms} mechanisms and {ops} ops for lack of room; \
             the table of all cells holds them."
        ));
    }
    if report.schema != SCHEMA {
        warnings.push(format!(
            "The report has schema {}, but this page is made for {SCHEMA}: numbers may be missing or wrong.",
            clipped(&report.schema, 60)
        ));
    }
    warnings
}

/// The mechanism of the headline: the pv_ops table before patching, or else the mechanism with the most resolved cells.
fn choose_mechanism<'a>(grid: &Grid<'a>) -> Option<Column<'a>> {
    let table = |c: &&Column| c.mechanism == "table" && c.state.is_none_or(|s| s == "unpatched");
    grid.columns
        .iter()
        .find(table)
        .or_else(|| {
            let resolved = |c: &&Column<'a>| {
                let readings = grid.readings(c, Regime::Throughput);
                readings.iter().filter(|(_, r)| matches!(r, Reading::Resolved(_))).count()
            };
            grid.columns.iter().filter(|c| c.mechanism != "inline").max_by_key(resolved)
        })
        .cloned()
}

fn name(report: &Report, column: &Column) -> String {
    match column.mechanism {
        "table" if has_linux_ops(report) => "the pv_ops table".to_owned(),
        "table" => "the table".to_owned(),
        _ => clipped(&column.label(), 40),
    }
}

/// Three sentences: the cost of the headline's mechanism, the parts of that cost, and the reliability of the run.
pub fn sentences(report: &Report, grid: &Grid) -> Vec<String> {
    let subject = choose_mechanism(grid);
    let price = match &subject {
        Some(column) => state_cost(report, grid, column),
        None if report.cells.is_empty() => "Nothing was measured: the report holds no cells.".to_owned(),
        None => "Only inline was measured: there is no mechanism to compare it with.".to_owned(),
    };
    let mut sentences = vec![price];
    sentences.extend(subject.as_ref().and_then(|column| state_parts(report, grid, column)));
    sentences.push(state_reliability(report));
    sentences
}

fn state_cost(report: &Report, grid: &Grid, column: &Column) -> String {
    let name = name(report, column);
    let Some(over) = OverOps::of(grid.cells_of(column, Regime::Throughput)) else {
        return format!("In throughput, {name} was not measured.");
    };
    let (count, resolved) = (over.cells.len(), over.resolved);
    let Some([least, most]) = over.resolved_ends() else {
        return format!(
            "In throughput, no overhead of {name} over inline is resolved ({count} {} measured).",
            plural(count, "op", "ops")
        );
    };
    let cycles = |cell: &Cell| plain(cell.overhead.map_or(f64::NAN, |overhead| overhead.cycles.estimate));
    let ends = match resolved {
        1 => format!("{} ({})", cycles(least), clipped(&least.op, 40)),
        _ => format!(
            "from {} ({}) to {} ({})",
            cycles(least),
            clipped(&least.op, 40),
            cycles(most),
            clipped(&most.op, 40)
        ),
    };
    if !over.median_is_resolved() {
        return format!(
            "In throughput, the overhead of {name} over inline is resolved for {resolved} of {count} {}, {ends}: \
             too few for a resolved median.",
            plural(count, "op", "ops")
        );
    }
    let ns = over.median_ns().map_or_else(String::new, |ns| format!(" ({} ns)", plain(ns)));
    format!(
        "Reaching the {} body through {name} costs {} core cycles{ns} per call over inline in throughput, \
         the median of {count} {}; {resolved} of them {} resolved, {ends}.",
        grid.body.name(),
        plain(over.median()),
        plural(count, "op", "ops"),
        plural(resolved, "is", "are"),
    )
}

/// The overheads of a mechanism without states over the ops, in throughput.
fn over_ops<'a>(grid: &Grid<'a>, mechanism: &str) -> Option<OverOps<'a>> {
    let column = grid.columns.iter().find(|c| c.mechanism == mechanism && c.state.is_none())?;
    OverOps::of(grid.cells_of(column, Regime::Throughput))
}

/// The parts of the cost: call, indirection and lost registers. Only resolved parts get a number.
fn state_parts(report: &Report, grid: &Grid, column: &Column) -> Option<String> {
    let floor = report.floor_of(Regime::Throughput).unwrap_or(0.0);
    let name = name(report, column);
    let own = OverOps::of(grid.cells_of(column, Regime::Throughput))?;
    let amount = |over: &OverOps, value: f64, what: &str| match over.median_is_resolved() && value.abs() > floor {
        false => format!("{what} has no resolved cost"),
        true => format!("{what} costs {} cycles", plain(value)),
    };
    let clobber = over_ops(grid, "inline_clobber").and_then(|clobber| {
        let pair = paired(&clobber, &own)?;
        Some(amount(&clobber, pair.first, "giving up the caller-saved registers without a call"))
    });
    let direct = over_ops(grid, "direct").filter(|_| column.mechanism != "direct");
    let call = direct.and_then(|direct| {
        let pair = paired(&direct, &own)?;
        // The difference of two overheads counts as resolved if one of them is resolved.
        let resolved = (direct.median_is_resolved() || own.median_is_resolved()) && pair.difference.abs() > floor;
        let indirection = match pair.difference {
            _ if !resolved => format!("{name} adds no resolved difference"),
            more if more > 0.0 => format!("{name} adds {} more", plain(more)),
            less => format!("{name} takes {} less", plain(-less)),
        };
        let count = format!("{} {} measured with both", pair.ops, plural(pair.ops, "op", "ops"));
        let call = amount(&direct, pair.first, "a direct call");
        Some(format!("{call} and {indirection} (medians over {count})"))
    });
    let parts: Vec<String> = call.into_iter().chain(clobber).collect();
    (!parts.is_empty()).then(|| format!("Parts of that cost: {}.", parts.join("; ")))
}

fn state_reliability(report: &Report) -> String {
    let mut parts = Vec::new();
    parts.push(
        state_floors(report)
            .unwrap_or_else(|| "The run has no floor, so no difference can be distinguished from noise".to_owned()),
    );
    let compared: Vec<_> = report.cells.iter().filter(|c| c.mechanism != "inline" && c.overhead.is_some()).collect();
    if !compared.is_empty() {
        let resolved = compared.iter().filter(|c| c.resolved).count();
        parts.push(format!("{resolved} of {} comparisons with inline are resolved", compared.len()));
    }
    let modelled = report.catalogue.ops.iter().filter(|op| op.native_kind == Kind::Modelled).count();
    if modelled > 0 {
        let ops = report.catalogue.ops.len();
        parts.push(format!("{modelled} of {ops} ops are modelled stand-ins for privileged instructions"));
    }
    parts.push(match report.failures.len() {
        0 if report.run.complete => "nothing failed".to_owned(),
        0 => "the run is incomplete".to_owned(),
        n if report.run.complete => format!("{n} {}", plural(n, "failure", "failures")),
        n => format!("{n} {} and an incomplete run", plural(n, "failure", "failures")),
    });
    let bad: Vec<String> =
        report.environment.iter().filter(|c| c.status == Status::Warning).map(|c| clipped(&c.id, 40)).collect();
    if !bad.is_empty() {
        parts.push(format!("environment {}: {}", plural(bad.len(), "warning", "warnings"), bad.join(", ")));
    }
    format!("{}.", parts.join("; "))
}

/// `The floor is 0.00012 cycles (throughput, 128 A/A comparisons) to 0.25 cycles (flushed, 4 A/A comparisons)`
fn state_floors(report: &Report) -> Option<String> {
    let run = report.floor.as_ref().filter(|floor| floor.cycles.is_finite() && floor.cycles >= 0.0)?;
    let of = |cycles: f64, groups: usize, regime: &str| {
        let comparisons = plural(groups, "A/A comparison", "A/A comparisons");
        format!("{} cycles ({regime}{groups} {comparisons})", plain(cycles))
    };
    let mut own: Vec<_> = report.floors.iter().filter(|own| report.floor_of(own.regime) == Some(own.cycles)).collect();
    own.sort_by(|a, b| a.cycles.total_cmp(&b.cycles));
    let own: Vec<String> =
        own.into_iter().map(|own| of(own.cycles, own.comparisons, &format!("{}, ", own.regime.name()))).collect();
    let words = match &own[..] {
        [] => of(run.cycles, run.comparisons, ""),
        [only] => only.clone(),
        [least, .., greatest] => format!("{least} to {greatest}"),
    };
    Some(format!("The floor is {words}"))
}

/// The medians of the headline's mechanism in each regime, and the floor.
pub fn tiles(report: &Report, grid: &Grid) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(column) = choose_mechanism(grid) {
        for regime in Regime::ALL {
            let Some(over) = OverOps::of(grid.cells_of(&column, regime)) else { continue };
            let (resolved, all) = (over.resolved, over.cells.len());
            let found = over.median_is_resolved();
            tiles.push(Tile {
                name: format!("{}, {}", clipped(&column.label(), 30), regime.name()),
                value: if found { plain(over.median()) } else { "not resolved".to_owned() },
                unit: if found { "cycles" } else { "" },
                note: match found {
                    true => format!("median of {all} {}, {resolved} resolved", plural(all, "op", "ops")),
                    false => format!("{resolved} of {all} {} resolved", plural(all, "op", "ops")),
                },
            });
        }
    }
    if let Some((floor, cycles)) = report.floor.as_ref().zip(report.floor_of(Regime::Throughput)) {
        let own = report.floors.iter().find(|floor| floor.regime == Regime::Throughput);
        let (of, groups) = own.map_or(("", floor.comparisons), |own| (", throughput", own.comparisons));
        tiles.push(Tile {
            name: format!("floor{of}"),
            value: plain(cycles),
            unit: "cycles",
            note: format!("{groups} {}", plural(groups, "A/A comparison", "A/A comparisons")),
        });
    }
    tiles
}
