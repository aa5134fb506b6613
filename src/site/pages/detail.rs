//! The page of a run, a commit or a machine: links, facts, changes, tables and runs.

use askama::Template;

use super::super::context::{Context, EventRow, Link, OverOps, Range, RunRow};
use super::super::model::Fact;
use super::super::names::Folder;
use super::Frame;
use super::front::regimes;
use super::trends::{CellText, Row, Trend};
use crate::report::plots::number::{NOTHING, clipped, plain, signed};

/// A link with its name.
pub struct Named {
    /// What it is.
    pub name: &'static str,
    /// Where it leads.
    pub target: Target,
}

/// What a link leads to.
pub enum Target {
    /// Commits.
    Range(Range),
    /// A page.
    Link(Link),
}

impl Link {
    /// Whether it leads out of the site.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.href.starts_with("https://") || self.href.starts_with("http://")
    }
}

/// A table.
pub struct Table {
    /// Its heading.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// What a row is.
    pub word: &'static str,
    /// Its columns.
    pub heads: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// The page.
#[derive(Template)]
#[template(path = "site_detail.html")]
pub struct DetailPage<'a> {
    /// What all pages have.
    pub frame: &'a Frame<'a>,
    /// The way to the front page.
    pub root: &'static str,
    /// Warnings.
    pub warnings: Vec<String>,
    /// `run`, `commit` or `machine`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its heading.
    pub heading: String,
    /// A line below the heading.
    pub summary: String,
    /// The feed, from the front page.
    pub feed: String,
    /// Links.
    pub links: Vec<Named>,
    /// Facts.
    pub facts: Vec<Fact>,
    /// Changes.
    pub events: Vec<EventRow>,
    /// Tables of values.
    pub tables: Vec<Table>,
    /// Plots.
    pub trends: Vec<Trend>,
    /// Runs.
    pub runs: Vec<RunRow>,
    /// Whether the table of runs names the machine.
    pub show_machine: bool,
}

impl<'a> DetailPage<'a> {
    /// A page with nothing but a heading.
    pub fn new(frame: &'a Frame<'a>, kind: &'static str, name: String, heading: String) -> Self {
        DetailPage {
            frame,
            root: "../",
            warnings: Vec::new(),
            kind,
            name,
            heading,
            summary: String::new(),
            feed: "feed.xml".to_owned(),
            links: Vec::new(),
            facts: Vec::new(),
            events: Vec::new(),
            tables: Vec::new(),
            trends: Vec::new(),
            runs: Vec::new(),
            show_machine: false,
        }
    }
}

/// The medians over ops of a run, with the difference from the run before where it is larger than the floor.
pub fn median_table(context: &Context, machine: usize, position: usize) -> Option<Table> {
    let medians = context.over_ops.get(machine)?;
    let heads = regimes(medians.iter().map(|it| it.regime.as_str()));
    let mut rows: Vec<Row> = Vec::new();
    let at = |it: &OverOps, position: usize| it.values.get(position).copied().filter(|value| value.is_finite());
    for group in medians.chunk_by(|a, b| a.mechanism == b.mechanism) {
        let Some(first) = group.first() else { continue };
        let cell = |regime: &String| {
            let nothing = CellText { text: NOTHING.to_owned(), ..CellText::default() };
            let Some(it) = group.iter().find(|it| it.regime == *regime) else { return nothing };
            let Some(value) = at(it, position) else { return nothing };
            let before = (0..position).rev().find_map(|before| at(it, before));
            let moved = before.map(|before| value - before).filter(|moved| moved.abs() > it.floor);
            CellText {
                anchor: None,
                text: plain(f64::from(value)),
                moved: moved.map_or_else(String::new, |moved| signed(f64::from(moved))),
            }
        };
        let cells: Vec<CellText> = heads.iter().map(cell).collect();
        if cells.iter().any(|cell| cell.text != NOTHING) {
            rows.push(Row {
                href: Some(Folder::Mechanism.page(&first.mechanism)),
                name: clipped(&first.mechanism, 80),
                cells,
            });
        }
    }
    (!rows.is_empty()).then(|| Table {
        title: "Medians over ops".to_owned(),
        note:
            "Overhead above inline in core cycles per op: the median over the ops. Below it: the difference from the \
               run before, where it is larger than the floor."
                .to_owned(),
        word: "mechanism",
        heads,
        rows,
    })
}
