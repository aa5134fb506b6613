//! What was found, in sentences made from the data and nothing else.

use crate::host::Status;
use crate::op::Kind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::plots::grid::{Column, Grid, Reading, finite};
use crate::report::plots::number::{clipped, plain, plural, quantile, sorted};
use crate::report::schema::SCHEMA;
use crate::report::subject::is_of_linux;

/// A figure beside the sentences.
pub struct Tile {
    /// What it is of.
    pub name: String,
    /// The number, or that there is none.
    pub value: String,
    /// Its unit; empty where there is no number.
    pub unit: &'static str,
    /// How it came about.
    pub note: String,
}

/// What must be known before anything else is read.
pub fn warnings(report: &Report, grid: &Grid) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.run.complete {
        let failed = report.failures.len();
        let why = match failed {
            0 => "not all that was planned was done".to_owned(),
            n => format!("{n} {} below", plural(n, "failure is listed", "failures are listed")),
        };
        warnings.push(format!("This run is incomplete: {why}. What is missing is not zero, it is unknown."));
    }
    if report.tool.build != "release" {
        warnings.push(format!(
            "This is a {} build: debug assertions and overflow checks are part of what it measures. Build with --release.",
            clipped(&report.tool.build, 40)
        ));
    }
    if let Some(check) = report.unoptimised() {
        warnings.push(format!("Unoptimised: {}.", clipped(&check.detail, 200)));
    }
    if grid.left_out != (0, 0) {
        let (mechanisms, ops) = grid.left_out;
        warnings.push(format!(
            "There is no room for {mechanisms} mechanisms and {ops} ops in sentences and plots; the table has them all."
        ));
    }
    if report.schema != SCHEMA {
        warnings.push(format!(
            "The document calls itself {}; this page is made for {SCHEMA} and may misread it.",
            clipped(&report.schema, 60)
        ));
    }
    warnings
}

/// The mechanism that the page speaks of: the pv_ops table as it is before patching, else the one with the most
/// resolved cells.
fn subject<'a>(grid: &Grid<'a>) -> Option<Column<'a>> {
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
        "table" if is_of_linux(report) => "the pv_ops table".to_owned(),
        "table" => "the table".to_owned(),
        _ => clipped(&column.label(), 40),
    }
}

/// Three sentences: the price, where it comes from, and how far to trust it.
pub fn sentences(report: &Report, grid: &Grid) -> Vec<String> {
    let subject = subject(grid);
    let price = match &subject {
        Some(column) => price(report, grid, column),
        None if report.cells.is_empty() => "Nothing was measured: the report holds no cells.".to_owned(),
        None => "Only inline was measured: there is no mechanism to compare it with.".to_owned(),
    };
    let mut sentences = vec![price];
    sentences.extend(subject.as_ref().and_then(|column| origin(report, grid, column)));
    sentences.push(trust(report, grid));
    sentences
}

fn price(report: &Report, grid: &Grid, column: &Column) -> String {
    let name = name(report, column);
    let mut resolved: Vec<(&str, f64)> = Vec::new();
    let mut others = 0;
    for row in &grid.rows {
        match grid.reading(row.op, column, Regime::Throughput) {
            Reading::Resolved(it) => resolved.push((row.op, it.estimate)),
            Reading::Unresolved(_) => others += 1,
            Reading::Absent(_) => {}
        }
    }
    resolved.sort_by(|a, b| a.1.total_cmp(&b.1));
    let values = sorted(resolved.iter().map(|r| r.1));
    let (Some(median), Some(first), Some(last)) = (quantile(&values, 0.5), resolved.first(), resolved.last()) else {
        return match others {
            0 => format!("In throughput, {name} was not measured."),
            n => format!(
                "In throughput, no overhead of {name} over inline is resolved, of {n} {} measured.",
                plural(n, "op", "ops")
            ),
        };
    };
    let ns = sorted(
        report
            .cells
            .iter()
            .filter(|c| c.body == grid.body && c.regime == Regime::Throughput && c.resolved)
            .filter(|c| c.mechanism == column.mechanism && c.state.as_deref() == column.state)
            .filter_map(|c| finite(c.overhead?.ns))
            .map(|it| it.estimate),
    );
    let ns = quantile(&ns, 0.5).map_or_else(String::new, |ns| format!(" ({} ns)", plain(ns)));
    let count = resolved.len();
    let range = if count > 1 {
        format!(", from {} ({}) to {} ({})", plain(first.1), clipped(first.0, 40), plain(last.1), clipped(last.0, 40))
    } else {
        String::new()
    };
    let rest = match others {
        0 => String::new(),
        n => format!("; {n} more {} not resolved", plural(n, "op is", "ops are")),
    };
    format!(
        "Reaching the {} body through {name} costs {} core cycles{ns} per call over inline in throughput, the median of {count} resolved {}{range}{rest}.",
        grid.body.name(),
        plain(median),
        plural(count, "op", "ops"),
    )
}

/// Medians over the ops that two mechanisms share: of the first, and of the difference of the second to it.
fn paired(grid: &Grid, first: &str, second: &Column) -> Option<(f64, f64, usize)> {
    let first = grid.columns.iter().find(|c| c.mechanism == first && c.state.is_none())?;
    let pairs: Vec<(f64, f64)> = grid
        .rows
        .iter()
        .filter_map(|row| {
            let of = |c| grid.reading(row.op, c, Regime::Throughput).estimate();
            Some((of(first)?, of(second)?))
        })
        .collect();
    let own = quantile(&sorted(pairs.iter().map(|p| p.0)), 0.5)?;
    let more = quantile(&sorted(pairs.iter().map(|p| p.1 - p.0)), 0.5)?;
    Some((own, more, pairs.len()))
}

fn origin(report: &Report, grid: &Grid, column: &Column) -> Option<String> {
    let floor = grid.floor.unwrap_or(0.0);
    let amount = |value: f64, what: &str| match value {
        v if v.abs() <= floor => format!("{what} costs nothing that stands clear of the floor"),
        v => format!("{what} costs {} cycles", plain(v)),
    };
    let clobber = paired(grid, "inline_clobber", column)
        .map(|(own, _, _)| amount(own, "giving up the caller-saved registers without a call"));
    let call = paired(grid, "direct", column).filter(|_| column.mechanism != "direct").map(|(own, more, count)| {
        let indirection = if more.abs() <= floor {
            format!("{} adds nothing to that beyond the floor", name(report, column))
        } else if more > 0.0 {
            format!("{} adds {} more", name(report, column), plain(more))
        } else {
            format!("{} takes {} less", name(report, column), plain(-more))
        };
        let count = format!("{count} {} measured both ways", plural(count, "op", "ops"));
        format!("{} and {indirection} (medians over {count})", amount(own, "a direct call"))
    });
    let parts: Vec<String> = call.into_iter().chain(clobber).collect();
    if parts.is_empty() {
        return None;
    }
    Some(format!("Where that comes from: {}.", parts.join("; ")))
}

fn trust(report: &Report, grid: &Grid) -> String {
    let mut parts = Vec::new();
    parts.push(match &report.floor {
        Some(floor) if grid.floor.is_some() => format!(
            "A/A comparisons of {} {} put the floor at {} cycles",
            floor.groups,
            plural(floor.groups, "group", "groups"),
            plain(floor.cycles)
        ),
        _ => "The run has no floor, so nothing in it can be told from noise".to_owned(),
    });
    let compared: Vec<_> = report.cells.iter().filter(|c| c.mechanism != "inline" && c.overhead.is_some()).collect();
    if !compared.is_empty() {
        let resolved = compared.iter().filter(|c| c.resolved).count();
        parts.push(format!("{resolved} of {} comparisons with inline are resolved", compared.len()));
    }
    let modelled = report.catalogue.ops.iter().filter(|op| op.native_kind == Kind::Modelled).count();
    if modelled > 0 {
        let ops = report.catalogue.ops.len();
        parts.push(format!("{modelled} of {ops} ops stand in for privileged instructions (modelled)"));
    }
    parts.push(match report.failures.len() {
        0 if report.run.complete => "nothing failed".to_owned(),
        0 => "the run is incomplete".to_owned(),
        n if report.run.complete => format!("{n} {}", plural(n, "failure", "failures")),
        n => format!("{n} {} and an incomplete run", plural(n, "failure", "failures")),
    });
    let bad: Vec<String> =
        report.environment.iter().filter(|c| c.status == Status::Bad).map(|c| clipped(&c.id, 40)).collect();
    if !bad.is_empty() {
        parts.push(format!("bad environment {}: {}", plural(bad.len(), "check", "checks"), bad.join(", ")));
    }
    format!("{}.", parts.join("; "))
}

/// The subject in each regime, and the floor.
pub fn tiles(report: &Report, grid: &Grid) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(column) = subject(grid) {
        for regime in Regime::ALL {
            let readings = grid.readings(&column, regime);
            let resolved = readings.iter().filter(|(_, r)| matches!(r, Reading::Resolved(_)));
            let values = sorted(resolved.filter_map(|(_, r)| r.estimate()));
            let (count, all) = (values.len(), readings.len());
            if all == 0 {
                continue;
            }
            let median = quantile(&values, 0.5);
            tiles.push(Tile {
                name: format!("{}, {}", clipped(&column.label(), 30), regime.name()),
                value: median.map_or_else(|| "not resolved".to_owned(), plain),
                unit: median.map_or("", |_| "cycles"),
                note: match median {
                    Some(_) => format!("median of {count} resolved {}, of {all}", plural(count, "op", "ops")),
                    None => format!("in any of {all} {}", plural(all, "op", "ops")),
                },
            });
        }
    }
    if let Some(floor) = report.floor.as_ref().filter(|_| grid.floor.is_some()) {
        tiles.push(Tile {
            name: "floor".to_owned(),
            value: plain(floor.cycles),
            unit: "cycles",
            note: format!("A/A over {} {}", floor.groups, plural(floor.groups, "group", "groups")),
        });
    }
    tiles
}
