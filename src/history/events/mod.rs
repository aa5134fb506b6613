//! Events: what changed between the runs of a history, when, by how much, and why.
//!
//! The runs of a stream are taken one after the other in the order of their commits. A step of a whole group of cells
//! (a mechanism, an op, everything) is an event in the run where it appears: the median over the group scatters
//! hundreds of times less than a step of 1%. A step of a single cell needs company: enough runs that chance, whatever
//! its distribution, does not explain them. Instructions are exact.
//!
//! What was confirmed stays: a confirmed event begins the series of its cells anew, and nothing older is looked at.

mod candidate;
mod cover;
mod document;
mod evidence;
mod open;
mod state;
pub mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::commits::CommitOrder;
use super::event::{Event, Events, RunName, SCHEMA, State as Stage, StreamName};
use super::kept::{Header, KeptRun, Subject};

/// The level of a series since its last confirmed event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The median over its runs.
    pub value: f64,
    /// Standard deviation between runs.
    pub scatter: f64,
    /// Number of runs that it comes from, of those that are looked back on.
    pub runs: usize,
    /// Whether the scatter is still learnt: nothing can be judged yet.
    pub learning: bool,
    /// Executed instructions.
    pub instructions: Option<f64>,
}

/// The search for events in a stream. Runs are given in the order of [`order`].
#[derive(Default)]
pub struct Detector {
    state: state::State,
    search: open::Search,
}

impl Detector {
    /// Takes the next run.
    pub fn append(&mut self, name: RunName, run: &KeptRun) {
        let exact = self.state.take(name, run);
        self.state.learn();
        let last = self.state.runs.len() as u32 - 1;
        self.state.tabulate(self.state.unsettled().unwrap_or(last), None);
        self.search.look(&mut self.state, &exact);
    }

    /// Returns the events so far, oldest first.
    #[must_use]
    pub fn events(&self, name: &StreamName, commits: &CommitOrder) -> Vec<Event> {
        document::events(&self.state, &self.search.found, name, commits)
    }

    /// Returns what was searched.
    #[must_use]
    pub fn stream(&self, name: &StreamName) -> super::event::Stream {
        document::stream(&self.state, name)
    }

    /// Returns the last confirmed level of every cell and kernel.
    pub fn levels(&self) -> impl Iterator<Item = (&Subject, Level)> {
        let open: Vec<_> = self.search.found.iter().filter(|it| it.stage == Stage::Suspected).collect();
        self.state.cells.iter().enumerate().filter_map(move |(index, cell)| {
            let (from, to, counts) = open
                .iter()
                .find_map(|it| it.cells.get(&index).map(|held| (held.old_start(), it.first, held.instructions)))
                .unwrap_or((cell.start, u32::MAX, None));
            let (value, runs) = cell.median(from, to)?;
            let instructions = counts.map(|it| it.0).or(cell.instructions);
            let scatter = cell.scatter * cell.whole;
            let learning = self.state.is_learning(cell);
            Some((&cell.subject, Level { value, scatter, runs, learning, instructions }))
        })
    }
}

/// The order of runs on the axis: by their commits, those of one commit by time. A run whose commit has no place among
/// the commits stands after the runs that were measured before it.
#[must_use]
pub fn order(runs: &[(RunName, &Header)], commits: &CommitOrder) -> Vec<usize> {
    let mut by_time: Vec<usize> = (0..runs.len()).collect();
    by_time.sort_by_key(|&it| (runs[it].1.started_seconds, &runs[it].0.stem));
    let mut rank = 0;
    let mut ranks = vec![0; runs.len()];
    for &it in &by_time {
        rank = runs[it].1.commit.as_ref().and_then(|it| commits.rank(&it.id)).unwrap_or(rank);
        ranks[it] = rank;
    }
    by_time.sort_by_key(|&it| ranks[it]);
    by_time
}

/// The stream of a run.
#[must_use]
pub fn stream_of(run: &KeptRun) -> StreamName {
    StreamName {
        machine_class: run.header.machine_class.clone(),
        suite: run.header.suite.clone(),
        preset: run.header.preset.clone(),
    }
}

/// Finds the events of a history. The runs come in any order; those of one commit and machine class are replicates.
#[must_use]
pub fn find_events(runs: &[(RunName, &KeptRun)], commits: &CommitOrder) -> Events {
    let mut streams: BTreeMap<StreamName, Vec<(RunName, &KeptRun)>> = BTreeMap::new();
    for (name, run) in runs {
        streams.entry(stream_of(run)).or_default().push((name.clone(), *run));
    }
    let (mut searched, mut events) = (Vec::new(), Vec::new());
    for (name, runs) in streams {
        let mut detector = Detector::default();
        let headers: Vec<_> = runs.iter().map(|it| (it.0.clone(), &it.1.header)).collect();
        for at in order(&headers, commits) {
            detector.append(runs[at].0.clone(), runs[at].1);
        }
        searched.push(detector.stream(&name));
        events.extend(detector.events(&name, commits));
    }
    collect(searched, events)
}

/// Makes the document of what was searched and found: newest first, and with the other machines that show the same.
#[must_use]
pub fn collect(streams: Vec<super::event::Stream>, mut events: Vec<Event>) -> Events {
    let others: Vec<Vec<String>> = events.iter().map(|event| machines_with(event, &events)).collect();
    for (event, others) in events.iter_mut().zip(others) {
        event.also_on = others;
    }
    events.sort_by(|a, b| b.first_run.started.cmp(&a.first_run.started).then_with(|| a.id.cmp(&b.id)));
    Events { schema: SCHEMA.to_owned(), tool: env!("CARGO_PKG_VERSION").to_owned(), streams, events }
}

/// The other machine classes whose events have the same first commit, and at least half of their cells in common.
fn machines_with(event: &Event, all: &[Event]) -> Vec<String> {
    let Some(bad) = &event.range.bad.commit else { return Vec::new() };
    let mut classes: Vec<String> = all
        .iter()
        .filter(|it| it.stream.machine_class != event.stream.machine_class && it.state != Stage::Gone)
        .filter(|it| it.range.bad.commit.as_ref() == Some(bad))
        .filter(|it| {
            let common = |cell: &&super::event::MovedCell| it.cells.iter().any(|other| other.subject == cell.subject);
            2 * event.cells.iter().filter(common).count() >= it.cells.len().min(event.cells.len())
        })
        .map(|it| it.stream.machine_class.clone())
        .collect();
    classes.sort();
    classes.dedup();
    classes
}
