//! What pages share: axes of machines, changes of series, medians over ops, and the rows of tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::model::{Direction, Event, Key, Model, Series};
use super::names::{self, Folder};
use super::plot::{Axis, Drawn, plot};
use super::repository::Repository;
use super::trend::{Columns, median};
use crate::report::plots::PlotError;
use crate::report::plots::number::{clipped, plural};

/// Most characters of a name on a page.
pub const MAX_NAME_CHARS: usize = 120;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where to, from the front page, or an address.
    pub href: String,
    /// Its text.
    pub text: String,
}

/// The axis of a machine, made once.
pub struct MachineAxis {
    /// Columns of plots of the whole history.
    pub columns: Columns,
    /// Page and day of each run.
    pub runs: Vec<(String, String)>,
    /// Positions at which the machine changed.
    pub marks: Vec<usize>,
}

/// The median over ops of a mechanism in a regime, per run of a machine.
pub struct OverOps {
    /// Mechanism with its state.
    pub mechanism: String,
    /// Regime.
    pub regime: String,
    /// Per run: the median, NaN where nothing was measured.
    pub values: Vec<f32>,
    /// Number of ops in the newest run that has any.
    pub ops: usize,
    /// Median of the floors.
    pub floor: f32,
    /// Positions at which more than half of the ops have a new level.
    pub changes: Vec<usize>,
}

/// What pages are made from.
pub struct Context<'a> {
    /// The model.
    pub model: &'a Model,
    /// Title of the site.
    pub title: &'a str,
    /// Links to the repository.
    pub repository: Option<&'a Repository>,
    /// File names of the reports that lie beside, by the stem of their run.
    pub reports: &'a BTreeMap<String, String>,
    /// Axis of each machine.
    pub axes: Vec<MachineAxis>,
    /// Position of each run on its axis.
    pub positions: Vec<usize>,
    /// Medians over ops, per machine.
    pub over_ops: Vec<Vec<OverOps>>,
    changes: HashMap<(usize, usize), Vec<usize>>,
    series: Vec<BTreeMap<usize, usize>>,
}

impl<'a> Context<'a> {
    /// Prepares a model.
    #[must_use]
    pub fn new(
        model: &'a Model,
        title: &'a str,
        repository: Option<&'a Repository>,
        reports: &'a BTreeMap<String, String>,
    ) -> Self {
        let positions = model.positions();
        let axes = model.machines.iter().map(|machine| {
            let run = |run: &usize| model.runs.get(*run);
            let named = machine.runs.iter().filter_map(run);
            MachineAxis {
                columns: Columns::of(machine.runs.len()),
                runs: named.map(|run| (Folder::Run.page(&run.stem), day(&run.time))).collect(),
                marks: (0..machine.runs.len())
                    .filter(|at| machine.runs.get(*at).and_then(run).is_some_and(|run| !run.changes.is_empty()))
                    .collect(),
            }
        });
        let mut series = vec![BTreeMap::new(); model.machines.len()];
        for (index, it) in model.series.iter().enumerate() {
            if let Some(own) = series.get_mut(it.machine) {
                own.insert(it.key, index);
            }
        }
        let mut context = Context {
            model,
            title,
            repository,
            reports,
            axes: axes.collect(),
            changes: find_changes(model, &positions),
            positions,
            over_ops: Vec::new(),
            series,
        };
        context.over_ops = (0..model.machines.len()).map(|machine| context.median_over_ops(machine)).collect();
        context
    }

    /// The series of a key on a machine.
    #[must_use]
    pub fn series(&self, machine: usize, key: usize) -> Option<&'a Series> {
        self.model.series.get(*self.series.get(machine)?.get(&key)?)
    }

    /// All series of a machine by key.
    pub fn all_series(&self, machine: usize) -> impl Iterator<Item = (&'a Key, &'a Series)> {
        let own = self.series.get(machine).into_iter().flatten();
        own.filter_map(|(key, index)| Some((self.model.keys.get(*key)?, self.model.series.get(*index)?)))
    }

    /// The positions at which a series has a new level.
    #[must_use]
    pub fn changes(&self, machine: usize, key: usize) -> &[usize] {
        self.changes.get(&(machine, key)).map_or(&[], Vec::as_slice)
    }

    /// The medians over ops of a machine: of the native bodies, without the ops that trap.
    fn median_over_ops(&self, machine: usize) -> Vec<OverOps> {
        let mut groups: BTreeMap<(String, &str), Vec<&Series>> = BTreeMap::new();
        for (key, series) in self.all_series(machine) {
            if !key.is_workload() && key.body != "xen" && !series.traps {
                groups.entry((key.mechanism_text(), &key.regime)).or_default().push(series);
            }
        }
        let runs = self.axes.get(machine).map_or(0, |axis| axis.runs.len());
        let mut sorted = Vec::new();
        let mut medians = Vec::with_capacity(groups.len());
        for ((mechanism, regime), members) in groups {
            let mut ops = 0;
            let mut middle = |values: &mut dyn Iterator<Item = f32>| {
                sorted.clear();
                sorted.extend(values.filter(|it| it.is_finite()).map(f64::from));
                sorted.sort_by(f64::total_cmp);
                ops = if sorted.is_empty() { ops } else { sorted.len() };
                median(&sorted) as f32
            };
            let floor = middle(&mut members.iter().map(|it| it.floor));
            let of_run = |run: usize| members.iter().filter_map(move |it| it.values.get(run).copied());
            let values = (0..runs).map(|run| middle(&mut of_run(run))).collect();
            let changes = self.common_changes(machine, &members);
            medians.push(OverOps { mechanism, regime: regime.to_owned(), values, ops, floor, changes });
        }
        medians
    }

    /// The positions at which more than half of some series have a new level.
    fn common_changes(&self, machine: usize, members: &[&Series]) -> Vec<usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for position in members.iter().flat_map(|it| self.changes(machine, it.key)) {
            *counts.entry(*position).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| 2 * count > members.len()).map(|(position, _)| position).collect()
    }

    /// The plot of a series on the axis of its machine.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn plot(&self, id: &str, machine: usize, key: &Key, series: &Series) -> Result<Option<String>, PlotError> {
        let Some(axis) = self.axes.get(machine) else { return Ok(None) };
        let title = key.text();
        let drawn = Drawn {
            id,
            title: &title,
            unit: unit(key),
            values: &series.values,
            errors: &series.errors,
            floor: f64::from(series.floor),
            changes: self.changes(machine, series.key),
            marks: &axis.marks,
        };
        plot(&drawn, &Axis { columns: &axis.columns, runs: &axis.runs })
    }

    /// The link to the page of a commit.
    #[must_use]
    pub fn commit_link(&self, commit: usize) -> Option<Link> {
        let commit = self.model.commits.get(commit)?;
        Some(Link { href: Folder::Commit.page(&commit.id), text: clipped(commit.short(), 40) })
    }

    /// The commits from one that was measured to another.
    #[must_use]
    pub fn range(&self, good: Option<usize>, bad: Option<usize>, commits: Option<u32>) -> Range {
        let id = |index: Option<usize>| index.and_then(|index| self.model.commits.get(index)).map(|it| it.id.as_str());
        let compare = self.repository.zip(id(good)).zip(id(bad)).and_then(|((it, good), bad)| it.compare(good, bad));
        let link = |index: Option<usize>| index.and_then(|index| self.commit_link(index));
        let count = commits.map(|count| format!("{count} {}", plural(count as usize, "commit", "commits")));
        Range { good: link(good), bad: link(bad), compare, commits: count.unwrap_or_default() }
    }

    /// The commits from the measured commit before to this one.
    #[must_use]
    pub fn range_to(&self, commit: Option<usize>) -> Range {
        let it = commit.and_then(|commit| self.model.commits.get(commit));
        self.range(it.and_then(|it| it.before), commit, it.and_then(|it| it.distance))
    }

    /// The link to the page of a machine.
    #[must_use]
    pub fn machine_link(&self, machine: usize) -> Option<Link> {
        let machine = self.model.machines.get(machine)?;
        Some(Link { href: Folder::Machine.page(&machine.class), text: clipped(&machine.title, MAX_NAME_CHARS) })
    }

    /// The row of an event.
    #[must_use]
    pub fn event_row(&self, event: &Event) -> EventRow {
        let first = event.first_run.and_then(|run| self.model.runs.get(run));
        EventRow {
            href: Folder::Event.page(&event.id),
            id: names::slug(&event.id),
            what: clipped(&event.what, 300),
            size: clipped(&event.size, 120),
            direction: direction_text(event.direction),
            class: direction_class(event.direction, event.is_open),
            day: day(first.map_or(event.updated.as_str(), |run| run.time.as_str())),
            range: self.range(event.good, event.bad, event.commits),
            cause: event.cause,
            state: event.state,
            machines: event.machines.iter().filter_map(|machine| self.machine_link(*machine)).collect(),
        }
    }

    /// The row of a run.
    #[must_use]
    pub fn run_row(&self, index: usize) -> Option<RunRow> {
        let run = self.model.runs.get(index)?;
        let commit = run.commit.and_then(|commit| self.model.commits.get(commit));
        let mut notes = run.changes.iter().map(|it| clipped(it, 160)).collect::<Vec<_>>();
        if run.is_incomplete {
            notes.push("incomplete".to_owned());
        }
        Some(RunRow {
            href: Folder::Run.page(&run.stem),
            time: minute(&run.time),
            subject: commit.and_then(|it| it.subject.as_ref()).map_or_else(String::new, |it| clipped(it, 100)),
            range: self.range_to(run.commit),
            machine: self.machine_link(run.machine),
            report: self.reports.get(&run.stem).cloned(),
            notes: notes.join("; "),
        })
    }
}

/// A range of commits as links.
#[derive(Clone, Debug)]
pub struct Range {
    /// The last commit at the old level.
    pub good: Option<Link>,
    /// The first commit at the new level.
    pub bad: Option<Link>,
    /// Address of the difference.
    pub compare: Option<String>,
    /// Number of commits in words; empty if it is not known.
    pub commits: String,
}

/// A row of a table of events.
pub struct EventRow {
    /// Path of its page.
    pub href: String,
    /// Its anchor.
    pub id: String,
    /// What moved.
    pub what: String,
    /// By how much.
    pub size: String,
    /// `more`, `less`, `both`.
    pub direction: &'static str,
    /// Class of its colour.
    pub class: &'static str,
    /// Day of the first run at the new level.
    pub day: String,
    /// The commits.
    pub range: Range,
    /// The cause in a word.
    pub cause: &'static str,
    /// The state in a word.
    pub state: &'static str,
    /// The machines.
    pub machines: Vec<Link>,
}

/// A row of a table of runs.
pub struct RunRow {
    /// Path of its page.
    pub href: String,
    /// When.
    pub time: String,
    /// Subject of the commit.
    pub subject: String,
    /// The commits since the measured one before.
    pub range: Range,
    /// The machine.
    pub machine: Option<Link>,
    /// The report, if it lies beside.
    pub report: Option<String>,
    /// What changed on the machine, and what is missing.
    pub notes: String,
}

/// The unit of a series.
#[must_use]
pub fn unit(key: &Key) -> &'static str {
    if key.is_workload() { "%" } else { "cycles" }
}

fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Worse => "costs more",
        Direction::Better => "costs less",
        Direction::Mixed => "more and less",
        Direction::Neither => "other bytes",
    }
}

fn direction_class(direction: Direction, is_open: bool) -> &'static str {
    match direction {
        _ if !is_open => "unk",
        Direction::Neither => "unk",
        Direction::Worse | Direction::Mixed => "bad",
        Direction::Better => "ok",
    }
}

/// The day of a time in RFC 3339.
#[must_use]
pub fn day(time: &str) -> String {
    clipped(time.split('T').next().unwrap_or_default(), 12)
}

/// Day and minute of a time in RFC 3339.
#[must_use]
pub fn minute(time: &str) -> String {
    clipped(&time.chars().take(16).collect::<String>().replace('T', " "), 20)
}

/// The positions of changes of each series, from the events that nobody has found to be gone.
fn find_changes(model: &Model, positions: &[usize]) -> HashMap<(usize, usize), Vec<usize>> {
    let mut changes: HashMap<(usize, usize), BTreeSet<usize>> = HashMap::new();
    for event in model.events.iter().filter(|event| !event.is_gone) {
        for machine in &event.machines {
            let Some(position) = position_on(model, event, *machine, positions) else { continue };
            for key in event.cells.iter().filter_map(|cell| cell.key) {
                changes.entry((*machine, key)).or_default().insert(position);
            }
        }
    }
    changes.into_iter().map(|(key, positions)| (key, positions.into_iter().collect())).collect()
}

/// The position of the first run of an event on a machine: its own, or that of its commit there.
pub fn position_on(model: &Model, event: &Event, machine: usize, positions: &[usize]) -> Option<usize> {
    let is_here = |run: &usize| model.runs.get(*run).is_some_and(|it| it.machine == machine);
    let own = event.first_run.filter(is_here);
    let of_commit = || model.commits.get(event.bad?)?.runs.iter().copied().find(is_here);
    positions.get(own.or_else(of_commit)?).copied()
}
