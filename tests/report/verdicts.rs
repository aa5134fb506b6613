//! Tests that verdicts agree with the figures beside them: in the document, on the page and in the terminal.

use std::collections::BTreeMap;

use crate::{loops, support};
use pvbench::estimate::Estimator;
use pvbench::measure::comparison::Comparison;
use pvbench::measure::samples::LoopSamples;
use pvbench::measure::variant::Variant;
use pvbench::op::BodyKind;
use pvbench::op::{Op, OpMeta, mmu::PteVal};
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Limit};
use pvbench::report::{Report, html, read, terminal, write};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const WORKERS: usize = 8;
const OFFSETS: [u32; 4] = [0, 29, 64, 93];

/// The figures of a cell, as printed.
#[derive(Debug, Default)]
struct Figures {
    estimate: f64,
    shown: [f64; 2],
    floor: f64,
    /// The noise, which only the document has.
    noise: Option<f64>,
    range: f64,
    modes: Vec<f64>,
    verdict: String,
}

impl Figures {
    /// Checks the verdict by its definition. Rounding keeps the order of figures, but may make two of them equal. So a
    /// figure that equals the floor counts as being on either side of it.
    fn check(&self) -> Result<(), String> {
        let [low, high] = self.shown;
        let beyond = low >= self.floor || high <= -self.floor;
        let within = low <= self.floor && high >= -self.floor;
        let size = self.estimate.abs();
        let modes = self.modes.iter().copied();
        let mode_range = modes.clone().fold(0.0, f64::max) - modes.fold(f64::INFINITY, f64::min);
        // A range that the overhead exceeds by the noise is as large; the page does not show the noise.
        let noise = self.noise.unwrap_or(self.floor);
        let holds = match self.verdict.as_str() {
            "yes" => beyond && size >= self.range,
            "floor" => within && size <= noise,
            "interval" => within && self.noise.is_none_or(|noise| size >= noise.max(self.range)),
            "modes" => within && (mode_range == f64::NEG_INFINITY || size <= mode_range + noise),
            "layout" => within && size <= self.range + noise,
            other => return Err(format!("{other} is not a verdict")),
        };
        if holds && low <= self.estimate && self.estimate <= high { Ok(()) } else { Err(format!("{self:?}")) }
    }

    fn of(cell: &Cell) -> Self {
        let overhead = cell.overhead.unwrap().cycles;
        Figures {
            estimate: overhead.estimate,
            shown: [overhead.low, overhead.high],
            floor: cell.floor_cycles.unwrap(),
            noise: cell.noise_cycles,
            range: cell.layout_range.unwrap_or(0.0),
            modes: cell.modes.iter().map(|mode| mode.cycles).collect(),
            verdict: if cell.resolved { "yes" } else { cell.limit.unwrap().word() }.to_owned(),
        }
    }
}

/// The true overhead of an op in core cycles, with its scatter at each level.
#[derive(Clone, Copy)]
struct Truth {
    overhead: f64,
    rounds: f64,
    workers: f64,
    layouts: f64,
    /// Share of the workers without any overhead.
    without: f64,
}

/// A report of samples with random truths: overheads from zero to cycles, each with its own scatter.
fn sampled() -> Report {
    let mut rng = Pcg64Mcg::seed_from_u64(22);
    let mut report = support::synthetic();
    let names: Vec<&'static str> = report.catalogue.ops.iter().map(|op| &*op.name.clone().leak()).collect();
    let metas: Vec<OpMeta> = names.iter().map(|name| OpMeta { name, ..PteVal::META }).collect();
    let mut estimator = Estimator::default();
    let mut groups = Vec::new();
    let (_, table) = loops::with_table([]);
    for regime in [Regime::Throughput, Regime::Latency] {
        for name in &names {
            let size =
                |rng: &mut Pcg64Mcg| if rng.random_bool(0.4) { 10f64.powf(rng.random_range(-3.0..0.5)) } else { 0.0 };
            let truth = Truth {
                overhead: size(&mut rng) * if rng.random_bool(0.2) { -1.0 } else { 1.0 },
                rounds: 1e-4,
                workers: size(&mut rng),
                layouts: size(&mut rng),
                without: if rng.random_bool(0.2) { 0.3 } else { 0.0 },
            };
            for offset in OFFSETS {
                let group = Comparison { op: (*name).to_owned(), body: BodyKind::Native, regime, offset };
                let moved = truth.layouts * rng.random_range(-1.0..1.0);
                for worker in 0..WORKERS {
                    estimator.add(worker, &group, samples(table, &truth, moved, &mut rng));
                }
                groups.push(group);
            }
        }
    }
    let estimates = estimator.finish(&loops::settings(&loops::with_table(groups).0), &metas, 2.6e9);
    (report.floor, report.floors, report.cells) = (estimates.floor, estimates.floors, estimates.cells);
    report
}

fn samples(table: Variant, truth: &Truth, moved: f64, rng: &mut Pcg64Mcg) -> LoopSamples {
    let own = truth.workers * rng.random_range(-1.0..1.0);
    let overhead = if rng.random_bool(truth.without) { 0.0 } else { truth.overhead + own + moved };
    let mut twice = |cycles: f64| [(); 2].map(|()| 0.7 * cycles * (1.0 + truth.rounds * rng.random_range(-1.0..1.0)));
    let mut block = || loops::block(0.7, 4.0, &[8.0, 8.0, 8.0, 8.0 + overhead].map(&mut twice));
    loops::samples(table, (0..3).map(|_| block()).collect(), 26)
}

/// The cells of the page: op, mechanism with its state, regime, and the text of the cell.
fn cells(page: &str) -> Vec<[String; 4]> {
    let text = |html: &str| {
        let inner = html.split('<').enumerate().map(|(index, part)| match index {
            0 => part,
            _ => part.split_once('>').map_or("", |it| it.1),
        });
        inner.collect::<String>().trim().to_owned()
    };
    let between = |text: &str, from: &str, to: &str| {
        text.split_once(from).unwrap().1.split_once(to).unwrap().0.split_once('>').unwrap().1.to_owned()
    };
    let mut found = Vec::new();
    for op in page.split("<details class=\"op\"").skip(1) {
        let name = text(&between(op, "<summary", "</code>"));
        for table in op.split("<table class=\"data cells\"").skip(1).map(|it| it.split_once("</table>").unwrap().0) {
            let (head, body) = table.split_once("<tbody>").unwrap();
            let regimes: Vec<String> =
                head.split("<th").skip(3).map(|th| text(th.split_once('>').unwrap().1)).collect();
            for row in body.split("<tr>").skip(1) {
                let mut parts = row.split("<td");
                let mechanism = text(parts.next().unwrap());
                for (regime, cell) in regimes.iter().zip(parts) {
                    // Floor and layout range, which are shown on demand, follow.
                    let cell = cell.split_once('>').unwrap().1;
                    let cell = text(cell.split("<p>").next().unwrap_or_default());
                    if !cell.is_empty() {
                        found.push([name.clone(), mechanism.clone(), regime.clone(), cell]);
                    }
                }
            }
        }
    }
    found
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<f64> {
    let text = text.replace('\u{2212}', "-");
    let words = text.split(|c: char| !(c.is_ascii_digit() || ".-e".contains(c))).filter(|word| !word.is_empty());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The verdict and the figures of a cell of the page: estimate, half-width, and the layouts or modes behind a limit;
/// `None` if the cell has no overhead.
fn printed(cell: &str) -> Option<(&'static str, Vec<f64>)> {
    if cell.starts_with("reason ") {
        return None;
    }
    let words = [("more time", "interval"), ("by layout: ", "layout"), ("modes: ", "modes")];
    let verdict = match words.iter().find(|word| cell.contains(word.0)) {
        Some(word) => word.1,
        None if cell.starts_with('~') => "floor",
        None if cell.starts_with('\u{d7}') => "traps",
        None => "yes",
    };
    Some((verdict, numbers(cell)))
}

/// Checks the figures of a cell of the page by those of the document, and the verdict by the shown figures.
fn check_printed(cell: &Cell, verdict: &str, shown: &[f64]) -> Result<(), String> {
    let own = Figures::of(cell);
    let half_width = own.shown[1] - own.estimate;
    // A figure has two digits of the width of the interval, and at most four after the point.
    let rounding = (0.101 * half_width).max(0.000_051);
    let agrees = (shown[0] - own.estimate).abs() <= rounding && (shown[1] - half_width).abs() <= rounding;
    let layouts: Vec<f64> = shown[2..].iter().step_by(2).copied().collect();
    let range = layouts.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        - layouts.iter().copied().fold(f64::INFINITY, f64::min);
    let holds = match verdict {
        "yes" => shown[0].abs() + rounding >= shown[1],
        "floor" => shown[0].abs() <= own.noise.unwrap() + rounding,
        "layout" => layouts.len() == 2 && shown[0].abs() <= range + own.noise.unwrap() + 3.0 * rounding,
        _ => true,
    };
    if agrees && holds && verdict == own.verdict { Ok(()) } else { Err(format!("{verdict} {shown:?} of {own:?}")) }
}

/// Writes a report and reads it back, as `pvbench report` does.
fn written(report: &Report) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, write::json(report).unwrap()).unwrap();
    read::report(&path).unwrap()
}

#[test]
fn every_verdict_agrees_with_its_figures_in_the_document_and_on_the_page() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for report in [written(&sampled()), written(&support::synthetic())] {
        let measured = report.cells.iter().filter(|cell| cell.overhead.is_some());
        for cell in measured.clone() {
            let figures = Figures::of(cell);
            figures.check().unwrap_or_else(|wrong| panic!("{} {}: {wrong}", cell.op, cell.mechanism));
            *seen.entry(figures.verdict).or_default() += 1;
        }
        let page = html::page(&report).unwrap();
        let all = cells(&page);
        assert_eq!(all.len(), report.cells.len());
        let mut shown = 0;
        let mut by_name: BTreeMap<[&str; 3], &Cell> = BTreeMap::new();
        for cell in &report.cells {
            by_name.insert([&cell.op, &cell.mechanism, cell.regime.name()], cell);
        }
        for [op, mechanism, regime, text] in &all {
            let cell = by_name[&[op.as_str(), mechanism, regime]];
            let Some((verdict, figures)) = printed(text) else { continue };
            shown += 1;
            check_printed(cell, verdict, &figures)
                .unwrap_or_else(|wrong| panic!("{op} {mechanism} {regime}, '{text}': {wrong}"));
        }
        assert_eq!(shown, measured.count());
    }
    for verdict in ["yes", "floor", "interval", "modes", "layout"] {
        assert!(seen.get(verdict).is_some_and(|count| *count > 3), "{verdict} of {seen:?}");
    }
}

#[test]
fn the_remedy_of_a_limit_is_shown_at_the_cell_and_in_the_terminal() {
    let mut report = support::synthetic();
    let table = report.cells.iter().position(|cell| cell.mechanism == "table" && cell.overhead.is_some()).unwrap();
    let name = report.cells[table].op.clone();
    for (limit, at_the_cell, meaning) in [
        (Limit::Floor, "~", "no difference is visible"),
        (Limit::Interval, "more time", "more time narrows the interval"),
        (Limit::Layout, "by layout: ", "more time does not help, read the layouts"),
        (Limit::Modes, "modes:", "more time does not help, read the modes"),
        (Limit::Traps, "\u{d7}", "measure it on bare metal"),
    ] {
        (report.cells[table].resolved, report.cells[table].limit) = (false, Some(limit));
        let page = html::page(&report).unwrap();
        let regime = report.cells[table].regime.name();
        let all = cells(&page);
        let shown = all.iter().find(|it| it[0] == name && it[1] == "table" && it[2] == regime).unwrap();
        assert!(shown[3].contains(at_the_cell), "{shown:?}");
        assert!(page.contains(meaning), "{meaning}");
        let text = terminal::summary(&report);
        let line = text.lines().find(|line| line.contains(&format!(" by {}: ", limit.word()))).unwrap();
        assert!(line.starts_with("not resolved: ") && line.ends_with(meaning), "{line}");
    }
}

#[test]
fn a_document_with_contradictions_is_refused_with_their_position() {
    type Break = fn(&mut Report);
    let breaks: [(Break, &str); 6] = [
        (|r| r.cells[5].overhead.as_mut().unwrap().cycles.low = 1e9, "overhead.cycles: "),
        (|r| r.cells[5].overhead.as_mut().unwrap().cycles.standard_error = -1.0, "a standard error must be"),
        (|r| r.cells[5].layouts[0].cycles.degrees_of_freedom = 0.5, "degrees of freedom must be"),
        (
            |r| (r.cells[5].resolved, r.cells[5].limit) = (true, Some(Limit::Floor)),
            "a resolved cell must not have a limit",
        ),
        (
            |r| r.floors[1].regime = r.floors[0].regime,
            "floors[1] (throughput): the report has another floor for this regime",
        ),
        (|r| r.floors[0].cycles = f64::NAN, "floors[0] (throughput): NaN"),
    ];
    for (change, said) in breaks {
        let mut report = support::synthetic();
        assert_eq!(read::check(&report), Ok(()));
        change(&mut report);
        let error = read::check(&report).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn headline_table_terminal_and_markdown_show_the_same_median_without_trapping_ops() {
    let mut report = support::synthetic();
    // Of 73 ops, 52 are resolved, 20 are not, and one traps.
    let ops: Vec<String> = report.catalogue.ops.iter().map(|op| op.name.clone()).collect();
    let of_table = |cell: &&mut Cell| cell.mechanism == "table" && cell.regime == Regime::Throughput;
    for cell in report.cells.iter_mut().filter(of_table).filter(|cell| cell.overhead.is_some()) {
        let place = ops.iter().position(|op| *op == cell.op).unwrap();
        let (cycles, limit) = match place {
            0 => (900.0, Some(Limit::Traps)),
            1..=20 => (0.07, Some(Limit::Interval)),
            _ => (3.0 + place as f64 / 50.0, None),
        };
        (cell.resolved, cell.limit) = (limit.is_none(), limit);
        let it = &mut cell.overhead.as_mut().unwrap().cycles;
        (it.estimate, it.low, it.high) = (cycles, cycles - 0.01, cycles + 0.01);
    }
    // The median of 72 ops lies between indices 37 and 38: 20 ops are below, and swapgs, at index 26, was not measured.
    let page = html::page(&report).unwrap();
    let headline = "through the pv_ops table costs 3.75 core cycles";
    assert!(page.contains(headline), "{}", &page[page.find("Reaching the").unwrap()..][..300]);
    assert!(page.contains("the median of 72 ops)"));
    let row = page.split_once("#way-table\">table</a> <small>").unwrap().1.split_once("</tr>").unwrap().0;
    let row = row.split_once("</th>").unwrap().1;
    assert!(row.starts_with("<td>3.75 <small>3.7"), "{row}");
    let text = terminal::summary(&report);
    let line = text.lines().find(|line| line.trim_start().starts_with("table ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[1], &words[words.len() - 4..words.len() - 1]), ("3.75", &["52", "of", "72"][..]), "{line}");
    let markdown = pvbench::report::export::markdown::export(&report);
    let line = markdown.lines().find(|line| line.starts_with("| table |")).unwrap();
    assert!(line.starts_with("| table | 3.75 (0.07 .. 4.46) |"), "{line}");
}
