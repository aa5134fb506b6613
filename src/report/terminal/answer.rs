//! The answer that a run prints at its end: what the ways to a body cost, what the model kernel pays, and how far to
//! trust it.

use super::width::{Columns, Lines, Overflow};
use super::{fixed, mark, reason, warnings};
use crate::host::Status;
use crate::op::Kind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::{Answer, Cost, KernelCost, TABLE_AND_DIRECT, cost_of};
use crate::report::claim::{CLAIM, Claim};
use crate::report::plots::grid::{Column, Grid};
use crate::report::plots::number::{self, clipped, grouped, plural};
use crate::report::schema::{Limit, WorkloadResult};
use crate::report::subject::{self, has_linux_ops, plain};
use crate::stats::Interval;

/// Most lines of the answer. Two lines follow it, with the page and the command for the tables; together they are 25.
const MAX_LINES: usize = 23;
/// Largest width of sentences, and of the table where there is no terminal, in columns. A log has room for it; twice as
/// long a line is hard to read.
const MAX_COLUMNS: usize = 100;
/// Width in columns below which sentences have their short form.
const MIN_COLUMNS_OF_SENTENCES: usize = 60;
/// Most warnings above the numbers; the others are counted.
const MAX_WARNINGS: usize = 2;
/// Most mechanisms in the table where none of the usual ways was measured: as many as there are usual ways.
const MAX_OTHERS: usize = 6;

/// The answer of a report, in at most 23 lines on a terminal of 80 columns or more. `width` is that of the terminal.
#[must_use]
pub fn answer(report: &Report, width: Option<usize>) -> String {
    let width = width.unwrap_or(MAX_COLUMNS);
    let text = Text { report, width, is_short: width < MIN_COLUMNS_OF_SENTENCES };
    let grid = Grid::new(report);
    let answer = Answer::of(report, &grid);
    let rows = list_rows(&grid, &answer);
    let regimes = choose_regimes(&rows);
    let mut lines = Lines::new(Some(width.min(MAX_COLUMNS)));
    text.add_warnings(&mut lines);
    text.add_claim(&mut lines);
    text.add_ways(&rows, &regimes, &mut lines);
    text.add_kernels(&answer.kernels, &mut lines);
    lines.skip();
    text.add_trust(&regimes, &mut lines);
    let whole = lines.into_text();
    let whole = whole.trim_start_matches('\n');
    if whole.lines().count() <= MAX_LINES {
        return whole.to_owned();
    }
    whole.lines().filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// A row of the table: a way, or another mechanism.
struct Row {
    name: String,
    costs: Vec<(Regime, Cost)>,
}

impl Row {
    fn cost(&self, regime: Regime) -> Option<Cost> {
        self.costs.iter().find(|(own, _)| *own == regime).map(|(_, cost)| *cost)
    }
}

/// The ways that were measured, and the difference between the two that are easily compared by eye; if none was, the
/// first mechanisms that were.
fn list_rows(grid: &Grid, answer: &Answer) -> Vec<Row> {
    let ways = answer.ways.iter().map(|way| Row { name: way.name.to_owned(), costs: way.costs.clone() });
    let differences = answer.differences.iter().filter(|it| it.name == TABLE_AND_DIRECT);
    let differences = differences.map(|it| Row { name: it.name.to_owned(), costs: it.costs.clone() });
    let rows: Vec<Row> = ways.chain(differences).collect();
    if !rows.is_empty() {
        return rows;
    }
    let columns = grid.columns.iter().filter(|column| column.mechanism != "inline");
    let row = |column: &Column| Row {
        name: subject::mechanism(column.mechanism, column.state),
        costs: Regime::ALL.into_iter().filter_map(|regime| Some((regime, cost_of(grid, column, regime)?))).collect(),
    };
    columns.map(row).filter(|row| !row.costs.is_empty()).take(MAX_OTHERS).collect()
}

/// A hot and a cold regime that were measured, or the first one that was.
fn choose_regimes(rows: &[Row]) -> Vec<Regime> {
    let is_measured = |regime: &Regime| rows.iter().any(|row| row.cost(*regime).is_some());
    let first = |wanted: &[Regime]| wanted.iter().copied().find(is_measured);
    let hot = first(&[Regime::Throughput, Regime::Latency, Regime::Pressure]);
    let cold = first(&[Regime::Cold, Regime::Flushed]);
    let chosen: Vec<Regime> = hot.into_iter().chain(cold).collect();
    if chosen.is_empty() { first(&Regime::ALL).into_iter().collect() } else { chosen }
}

/// The name of a regime in the table.
fn label(regime: Regime) -> &'static str {
    match regime {
        Regime::Throughput => "hot",
        other => other.name(),
    }
}

/// The text of a report at a width.
struct Text<'a> {
    report: &'a Report,
    width: usize,
    /// Whether sentences have their short form.
    is_short: bool,
}

impl Text<'_> {
    fn add_warnings(&self, lines: &mut Lines) {
        let warnings = warnings(self.report);
        for warning in warnings.iter().take(MAX_WARNINGS) {
            lines.say(&self.clip(warning));
        }
        let more = warnings.len().saturating_sub(MAX_WARNINGS);
        if more > 0 {
            lines.say(&format!("{more} more {} above the tables", plural(more, "warning stands", "warnings stand")));
        }
    }

    /// Adds what a real kernel's hooks cost in the running kernel's time.
    fn add_claim(&self, lines: &mut Lines) {
        let Some(claim) = Claim::from_report(self.report) else { return };
        lines.say(&match self.is_short {
            true => format!("Linux's hooks: {}", claim.brief()),
            false => format!("{} {}{}", claim.sentence(), claim.verdict(), claim.caveat()),
        });
        lines.skip();
    }

    /// A text cut to a line, on a narrow terminal to two.
    fn clip(&self, text: &str) -> String {
        // The mark of the cut becomes two dots.
        clipped(text, self.width.clamp(MIN_COLUMNS_OF_SENTENCES, MAX_COLUMNS) - 1)
    }

    /// Adds the table of ways, with as many columns as there is room for.
    fn add_ways(&self, rows: &[Row], regimes: &[Regime], lines: &mut Lines) {
        if rows.is_empty() {
            if self.report.workloads.is_empty() {
                lines.say("Nothing was measured.");
            }
            return;
        }
        lines.say(match self.is_short {
            true => "Core cycles above inline, median:",
            false => "Core cycles per call above inline, median over the ops:",
        });
        let is_wide = |table: &str| table.lines().any(|line| line.chars().count() > self.width);
        let mut parts = PARTS;
        let mut table = format_ways(rows, regimes, parts);
        while parts > 1 && is_wide(&table) {
            parts -= 1;
            table = format_ways(rows, regimes, parts);
        }
        lines.add(&table);
        let legend = self.legend(rows, regimes, parts);
        if !legend.is_empty() {
            lines.say(&format!(" {legend}"));
        }
    }

    /// What the columns mean.
    fn legend(&self, rows: &[Row], regimes: &[Regime], parts: usize) -> String {
        let mut said: Vec<String> = Vec::new();
        let costs = || rows.iter().flat_map(|row| regimes.iter().filter_map(|regime| row.cost(*regime)));
        if !self.is_short {
            said.extend(regimes.contains(&Regime::Throughput).then(|| "hot: repeated calls".to_owned()));
            said.extend(
                regimes.contains(&Regime::Cold).then(|| "cold: the predictors have forgotten each site".to_owned()),
            );
        }
        if parts >= 2 {
            said.push(format!("+-: half the width of the {}interval", self.confidence()));
        }
        if parts >= 3 {
            said.push("range: over ops".to_owned());
        }
        if parts < PARTS && !self.is_short {
            let most = |regime: &Regime| {
                let ops = rows.iter().filter_map(|row| row.cost(*regime)).map(|cost| cost.ops).max();
                format!("{} {}", ops.unwrap_or(0), label(*regime))
            };
            said.push(format!("ops: up to {}", regimes.iter().map(most).collect::<Vec<_>>().join(", ")));
        }
        if costs().any(|cost| !cost.is_resolved) {
            said.push("<: not resolved, less than that".to_owned());
        }
        for (word, meaning) in [("layout", "depends on it"), ("time", "needs more")] {
            if parts >= 2 && costs().any(|cost| !cost.is_resolved && limit_word(&cost) == Some(word)) {
                said.push(format!("{word}: {meaning}"));
            }
        }
        said.join("; ")
    }

    /// `95% `; nothing if the report's confidence is not a share.
    fn confidence(&self) -> String {
        let share = self.report.run.plan.confidence;
        if (0.0..1.0).contains(&share) { format!("{:.0}% ", share * 100.0) } else { String::new() }
    }

    /// Adds what the model kernel pays, or the workloads of a suite.
    fn add_kernels(&self, kernels: &[KernelCost], lines: &mut Lines) {
        let workloads = self.report.workloads.len();
        if workloads == 0 {
            return;
        }
        lines.skip();
        let kernel = if has_linux_ops(self.report) { "The model kernel" } else { "A workload" };
        let workload = self.report.workloads.iter().find(|workload| workload.name == CLAIM);
        let range = workload.and_then(WorkloadResult::placement_range);
        let range =
            range.map_or_else(String::new, |it| format!(" (placement range in {CLAIM}: {}%)", number::plain(it)));
        if kernels.is_empty() {
            lines.say(&format!("{} measured, none of them with the table", count(workloads, "workload")));
            return;
        }
        lines.say(&match self.is_short {
            true => format!("Time above inline, {}:", count(workloads, "workload")),
            false => format!("{kernel}'s time above inline, over {}{range}:", count(workloads, "workload")),
        });
        for kernel in kernels {
            lines.say(&self.describe_kernel(kernel));
        }
    }

    /// `  table: mmap_perf 8.80% +-0.05, from null_syscall 0.95% to context_switch 18.9%, 2 not resolved`
    fn describe_kernel(&self, kernel: &KernelCost) -> String {
        let name = if kernel.way.state.is_some() { "patched" } else { kernel.way.mechanism };
        let mut parts = Vec::new();
        let first = kernel.on(CLAIM).map(|found| (CLAIM, found));
        let first = first.or_else(|| kernel.workloads.first().map(|(name, it, resolved)| (*name, (*it, *resolved))));
        if let Some((workload, (it, is_resolved))) = first {
            let half = if self.is_short { String::new() } else { format!(" +-{}", half_width(it)) };
            parts.push(format!("{} {}{}%{half}", plain(workload), mark(is_resolved), number::plain(it.estimate)));
        }
        match kernel.resolved_ends() {
            _ if kernel.workloads.len() < 2 => {}
            None => parts.push("no workload is resolved".to_owned()),
            Some([(least, low), (most, high)]) => {
                let [low, high] = [low, high].map(number::plain);
                parts.push(format!("from {} {low}% to {} {high}%", plain(least), plain(most)));
                let open = kernel.workloads.iter().filter(|(.., is_resolved)| !is_resolved).count();
                parts.extend((open > 0).then(|| format!("{open} not resolved")));
            }
        }
        format!("  {name}: {}", parts.join(", "))
    }

    /// Adds floor, resolved share, conditions and the run.
    fn add_trust(&self, regimes: &[Regime], lines: &mut Lines) {
        let facts: Vec<String> =
            [self.state_resolved(regimes), self.state_core(), self.state_ops(), self.state_failures()]
                .into_iter()
                .flatten()
                .collect();
        if self.is_short {
            facts.iter().for_each(|fact| lines.say(fact));
        } else if !facts.is_empty() {
            lines.say(&format!("How far to trust it: {}", facts.join(" ")));
        }
        let is_warning = |status| status == Status::Warning;
        let checks: Vec<_> = self.report.environment.iter().filter(|check| is_warning(check.status)).collect();
        if let Some((first, others)) = checks.split_first() {
            let more: Vec<String> = others.iter().map(|check| plain(&check.id)).collect();
            let more = if more.is_empty() { String::new() } else { format!(" (and {})", more.join(", ")) };
            let detail = if self.is_short { String::new() } else { format!(": {}", reason(&first.detail)) };
            lines.say(&self.clip(&format!("Warning: {}{detail}{more}", plain(&first.id))));
        }
        lines.say(&self.state_run());
    }

    fn state_resolved(&self, regimes: &[Regime]) -> Option<String> {
        let compared = |cell: &&crate::report::schema::Cell| cell.mechanism != "inline" && cell.overhead.is_some();
        let compared: Vec<_> = self.report.cells.iter().filter(compared).filter(|cell| !cell.traps()).collect();
        if compared.is_empty() {
            return None;
        }
        let resolved = compared.iter().filter(|cell| cell.resolved).count();
        let [resolved, all] = [resolved, compared.len()].map(|number| grouped(&number.to_string()));
        let floors: Vec<String> = regimes
            .iter()
            .filter_map(|regime| {
                Some(format!("{} {}", number::plain(self.report.typical_floor(*regime)?), label(*regime)))
            })
            .collect();
        let floors = floors.join(", ");
        Some(match (floors.is_empty(), self.is_short) {
            (true, _) => format!("{resolved} of {all} overheads are resolved; the run has no floor."),
            (false, true) => format!("{resolved} of {all} overheads are resolved; typical floor {floors}."),
            (false, false) => {
                format!("{resolved} of {all} overheads are resolved; the typical floor in cycles is {floors}.")
            }
        })
    }

    fn state_core(&self) -> Option<String> {
        let share = self.report.calibration.as_ref()?.contended_share * 100.0;
        // Less is shown as 0%.
        (share >= 0.5).then(|| format!("{share:.0}% of the blocks were contended."))
    }

    fn state_ops(&self) -> Option<String> {
        let ops = &self.report.catalogue.ops;
        let modelled = ops.iter().filter(|op| op.native_kind == Kind::Modelled).count();
        (modelled > 0 && !self.report.cells.is_empty())
            .then(|| format!("{modelled} of {} {} modelled.", count(ops.len(), "op"), plural(modelled, "is", "are")))
    }

    fn state_failures(&self) -> Option<String> {
        let failures = self.report.failures.len();
        (failures > 0).then(|| format!("{} of workers.", count(failures, "failure")))
    }

    /// `Run: AMD EPYC, 3.69 GHz, 170 s, seed 101`
    fn state_run(&self) -> String {
        let report = self.report;
        let cpu = report.machine.cpu_model.as_deref().filter(|_| !self.is_short).map(plain);
        let clock =
            report.calibration.as_ref().map(|calibration| format!("{} GHz", fixed(calibration.core_ghz.median)));
        let time = format!("{:.0} s", report.run.duration_seconds.clamp(0.0, 1e9));
        let parts: Vec<String> =
            cpu.into_iter().chain(clock).chain([time, format!("seed {}", report.run.seed)]).collect();
        format!("Run: {}", parts.join(", "))
    }
}

/// Columns of a regime: the median, half the width of its interval, the range over the ops, and their number.
const PARTS: usize = 4;

/// The table of ways with the first `parts` columns of each regime.
fn format_ways(rows: &[Row], regimes: &[Regime], parts: usize) -> String {
    let names = |regime: &Regime| [label(*regime), "+-", "range", "ops"].into_iter().take(parts);
    let header: Vec<&str> = std::iter::once("").chain(regimes.iter().flat_map(names)).collect();
    let cells = |cost: Option<Cost>| {
        let Some(cost) = cost else { return [(); PARTS].map(|()| "-".to_owned()) };
        let (median, half) = match cost.is_resolved {
            true => (fixed(cost.median.estimate), half_width(cost.median)),
            false => (cost.bound_text().replace(' ', ""), limit_word(&cost).unwrap_or("-").to_owned()),
        };
        [median, half, format!("{} .. {}", fixed(cost.range[0]), fixed(cost.range[1])), cost.ops.to_string()]
    };
    let row = |row: &Row| {
        let values = regimes.iter().flat_map(|regime| cells(row.cost(*regime)).into_iter().take(parts));
        std::iter::once(row.name.clone()).chain(values).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let numbers = header.len() - 1;
    Columns { header: &header, rows: &rows, names: 1, numbers, overflow: Overflow::Split }.format(None)
}

/// Why a median is not resolved although its interval excludes zero, in a word of the legend.
fn limit_word(cost: &Cost) -> Option<&'static str> {
    match cost.limit? {
        Limit::Layout => Some("layout"),
        Limit::Interval => Some("time"),
        _ => None,
    }
}

/// Half the width of an interval.
fn half_width(it: Interval) -> String {
    let half = it.half_width();
    if half < 0.005 { "<0.01".to_owned() } else { fixed(half) }
}

/// `1 op`, `2 ops`
fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(&number.to_string()), if number == 1 { "" } else { "s" })
}
