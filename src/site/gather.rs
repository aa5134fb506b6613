//! From kept runs and events to a model: run by run, so that only the numbers of pages stay in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::model::{Commit, Fact, Key, Machine, Model, Run, Series, Skipped};
use crate::history::commits::CommitOrder;
use crate::history::event::{Events, StreamName};
use crate::history::kept::{CellName, Commit as KeptCommit, Header, KeptRun, KeptValue, KernelName, Subject};
use crate::report::plots::number::{fixed, plural};
use crate::report::schema::Limit;

/// Suite and preset that titles do not name.
const USUAL: (&str, &str) = ("pv_ops", "default");

/// A run, as it is gathered.
struct Gathered {
    stem: String,
    stream: usize,
    /// Number of runs that were added before it.
    sequence: usize,
    header: Header,
    /// Value and standard error by key; shorter than the keys that later runs bring.
    values: Vec<[f32; 2]>,
}

/// Gathers runs.
#[derive(Default)]
pub struct Gatherer {
    streams: Vec<StreamName>,
    runs: Vec<Gathered>,
    keys: Vec<Key>,
    /// By stream and key: floor of the newest run that has one, and whether the op traps.
    facts: Vec<Vec<(f32, bool)>>,
    by_cell: HashMap<Arc<CellName>, usize>,
    by_kernel: HashMap<Arc<KernelName>, usize>,
    /// The cells of the last run: the next run mostly has the same ones in the same order.
    last: Vec<(Arc<CellName>, usize)>,
}

/// A number that is finite also in half of its bits.
fn finite(value: Option<f64>) -> Option<f32> {
    value.map(|value| value as f32).filter(|value| value.is_finite())
}

/// A value that was not measured.
const NOTHING: [f32; 2] = [f32::NAN, 0.0];

impl Gatherer {
    /// Adds a run: those of a stream in the order of its axis. `stem` is the name of its file without the extension.
    pub fn add(&mut self, stem: &str, run: &KeptRun) {
        let header = run.header.clone();
        let name = StreamName {
            machine_class: header.machine_class.clone(),
            suite: header.suite.clone(),
            preset: header.preset.clone(),
        };
        let stream = self.streams.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.streams.push(name);
            self.facts.push(Vec::new());
            self.streams.len() - 1
        });
        let mut values = vec![NOTHING; self.keys.len()];
        let mut put = |index: usize, value: Option<KeptValue>| {
            if index >= values.len() {
                values.resize(index + 1, NOTHING);
            }
            if let Some(value) = value.filter(|it| it.value.is_finite()) {
                values[index] = [value.value as f32, value.standard_error.abs() as f32];
            }
        };
        for (place, cell) in run.cells.iter().enumerate() {
            let index = self.find_cell(place, &cell.name);
            put(index, cell.overhead);
            self.note(stream, index, finite(cell.floor_cycles), cell.limit == Some(Limit::Traps));
        }
        for workload in &run.workloads {
            for kernel in &workload.kernels {
                let index = self.find_kernel(&kernel.name);
                put(index, kernel.overhead_percent);
                let floor = kernel.floor_percent.unwrap_or(workload.floor_percent);
                self.note(stream, index, finite(Some(floor)), false);
            }
        }
        let sequence = self.runs.len();
        self.runs.push(Gathered { stem: stem.to_owned(), stream, sequence, header, values });
    }

    /// Keeps the floor of a run, if it has one, and whether the op traps.
    fn note(&mut self, stream: usize, key: usize, floor: Option<f32>, traps: bool) {
        let facts = &mut self.facts[stream];
        if key >= facts.len() {
            facts.resize(key + 1, (0.0, false));
        }
        facts[key] = (floor.unwrap_or(facts[key].0), traps);
    }

    fn find_cell(&mut self, place: usize, name: &Arc<CellName>) -> usize {
        if let Some((_, index)) = self.last.get(place).filter(|(known, _)| known == name) {
            return *index;
        }
        let index = self.by_cell.get(name).copied().unwrap_or_else(|| {
            self.by_cell.insert(name.clone(), self.keys.len());
            self.keys.push(cell_key(name));
            self.keys.len() - 1
        });
        match self.last.get_mut(place) {
            Some(last) => *last = (name.clone(), index),
            None => self.last.push((name.clone(), index)),
        }
        index
    }

    fn find_kernel(&mut self, name: &Arc<KernelName>) -> usize {
        self.by_kernel.get(name).copied().unwrap_or_else(|| {
            self.by_kernel.insert(name.clone(), self.keys.len());
            self.keys.push(kernel_key(name));
            self.keys.len() - 1
        })
    }

    /// The model of all runs.
    ///
    /// # Errors
    /// If the document of the events cannot be written as JSON.
    pub fn finish(
        mut self,
        commits: &CommitOrder,
        events: &Events,
        skipped: Vec<Skipped>,
    ) -> Result<Model, serde_json::Error> {
        // The site lists runs by time; an axis has them in the order in which they were added.
        self.runs.sort_by(|a, b| {
            let key = |it: &Gathered| (it.header.started_seconds, it.stem.clone());
            key(a).cmp(&key(b))
        });
        let commits = order_commits(&self.runs, commits);
        let mut model = Model { skipped, ..Model::default() };
        let mut events_json = serde_json::to_vec_pretty(events)?;
        events_json.push(b'\n');
        model.events_json = events_json;
        model.commits = commits.list;
        let place = |run: &Gathered| commit_of(run).and_then(|it| commits.places.get(it.id.as_str()).copied());
        for (index, run) in self.runs.iter().enumerate() {
            let commit = place(run);
            if let Some(commit) = commit.and_then(|commit| model.commits.get_mut(commit)) {
                commit.runs.push(index);
            }
            model.runs.push(Run {
                stem: run.stem.clone(),
                machine: run.stream,
                commit,
                time: run.header.started.clone(),
                facts: run_facts(&run.header),
                changes: Vec::new(),
                is_incomplete: !run.header.complete,
            });
        }
        for (stream, name) in self.streams.iter().enumerate() {
            let mut runs: Vec<usize> = (0..self.runs.len()).filter(|run| self.runs[*run].stream == stream).collect();
            runs.sort_by_key(|run| self.runs[*run].sequence);
            let newest = runs.last().and_then(|run| self.runs.get(*run)).map(|run| &run.header);
            model.machines.push(machine(name, newest, runs));
        }
        model.keys = std::mem::take(&mut self.keys);
        model.series = transpose(&model, &mut self);
        sort_machines(&mut model, &mut self.streams);
        super::gather_events::add(&mut model, events, &self.streams, |subject| match subject {
            Subject::Cell(name) => self.by_cell.get(name).copied(),
            Subject::Kernel(name) => self.by_kernel.get(name).copied(),
        });
        Ok(model)
    }
}

/// The series of all streams. The values of a run are dropped as soon as they are in their series.
fn transpose(model: &Model, gatherer: &mut Gatherer) -> Vec<Series> {
    let mut all = Vec::new();
    for (stream, machine) in model.machines.iter().enumerate() {
        let count = machine.runs.len();
        let mut series: Vec<Series> = (0..model.keys.len())
            .map(|key| Series {
                key,
                machine: stream,
                values: Vec::new(),
                errors: Vec::new(),
                floor: gatherer.facts[stream].get(key).map_or(0.0, |it| it.0),
                traps: gatherer.facts[stream].get(key).is_some_and(|it| it.1),
            })
            .collect();
        for (position, run) in machine.runs.iter().enumerate() {
            let values = std::mem::take(&mut gatherer.runs[*run].values);
            for (it, [value, error]) in series.iter_mut().zip(values) {
                if value.is_finite() {
                    if it.values.is_empty() {
                        it.values = vec![f32::NAN; count];
                        it.errors = vec![0.0; count];
                    }
                    it.values[position] = value;
                    it.errors[position] = error;
                }
            }
        }
        // What was never measured here has no series.
        all.extend(series.into_iter().filter(|it| !it.values.is_empty()));
    }
    all
}

/// The machine with the newest run first.
fn sort_machines(model: &mut Model, streams: &mut Vec<StreamName>) {
    let mut order: Vec<usize> = (0..model.machines.len()).collect();
    let newest = |machine: &Machine| machine.runs.iter().max().copied();
    order.sort_by(|a, b| {
        let (a, b) = (&model.machines[*a], &model.machines[*b]);
        newest(b).cmp(&newest(a)).then_with(|| a.class.cmp(&b.class))
    });
    let mut places = vec![0; order.len()];
    for (place, machine) in order.iter().enumerate() {
        places[*machine] = place;
    }
    model.machines = order.iter().map(|machine| model.machines[*machine].clone()).collect();
    *streams = order.iter().map(|machine| streams[*machine].clone()).collect();
    model.runs.iter_mut().for_each(|run| run.machine = places[run.machine]);
    model.series.iter_mut().for_each(|it| it.machine = places[it.machine]);
}

struct Commits {
    list: Vec<Commit>,
    places: HashMap<String, usize>,
}

fn commit_of(run: &Gathered) -> Option<&KeptCommit> {
    run.header.commit.as_ref()
}

/// The measured commits in order.
fn order_commits(runs: &[Gathered], order: &CommitOrder) -> Commits {
    let mut known: BTreeMap<&str, &KeptCommit> = BTreeMap::new();
    for commit in runs.iter().filter_map(commit_of) {
        let entry = known.entry(&commit.id).or_insert(commit);
        // The run that was added with a clone at hand tells most.
        if entry.subject.is_none() && commit.subject.is_some() {
            *entry = commit;
        }
    }
    let mut ordered: Vec<&KeptCommit> = known.into_values().collect();
    ordered.sort_by_key(|commit| order.rank(&commit.id));
    let list: Vec<Commit> = ordered
        .iter()
        .enumerate()
        .map(|(place, commit)| {
            let before = place.checked_sub(1);
            let earlier = before.and_then(|before| ordered.get(before));
            let distance = earlier.and_then(|earlier| order.count_between(&earlier.id, &commit.id));
            Commit {
                id: commit.id.clone(),
                subject: commit.subject.clone(),
                before,
                distance: distance.and_then(|it| u32::try_from(it).ok()),
                runs: Vec::new(),
            }
        })
        .collect();
    let places = list.iter().enumerate().map(|(place, commit)| (commit.id.clone(), place)).collect();
    Commits { list, places }
}

fn cell_key(name: &CellName) -> Key {
    Key {
        subject: name.op.to_string(),
        body: name.body.to_string(),
        mechanism: name.mechanism.to_string(),
        state: name.state.as_ref().map(ToString::to_string),
        regime: name.regime.to_string(),
    }
}

fn kernel_key(name: &KernelName) -> Key {
    let option = name.option.as_ref().map(|option| format!("option {option}"));
    let mechanism = name.mechanism.as_ref().map(ToString::to_string).or(option);
    Key {
        subject: name.workload.to_string(),
        body: String::new(),
        mechanism: mechanism.unwrap_or_else(|| "inline".to_owned()),
        state: name.state.as_ref().map(ToString::to_string),
        regime: String::new(),
    }
}

fn machine(name: &StreamName, newest: Option<&Header>, runs: Vec<usize>) -> Machine {
    let mut class = name.machine_class.clone();
    let mut title = newest.and_then(|it| it.machine.cpu_model.clone()).unwrap_or_else(|| class.clone());
    if (name.suite.as_str(), name.preset.as_str()) != USUAL {
        class = format!("{class}.{}.{}", name.suite, name.preset);
        let suite = if name.suite == USUAL.0 { String::new() } else { format!("{}, ", name.suite) };
        title = format!("{title} ({suite}{})", name.preset);
    }
    let mut facts = vec![fact("Machine class", name.machine_class.clone())];
    if let Some(header) = newest {
        facts.push(fact("Suite, preset", format!("{}, {}", name.suite, name.preset)));
        facts.extend(machine_facts(header));
    }
    Machine { class, title, facts, runs }
}

fn fact(name: &str, value: String) -> Fact {
    Fact { name: name.to_owned(), value }
}

fn machine_facts(header: &Header) -> Vec<Fact> {
    let machine = &header.machine;
    let mut facts = Vec::new();
    let mut put = |name: &str, value: Option<String>| facts.extend(value.map(|value| fact(name, value)));
    put("CPU", machine.cpu_model.clone());
    put("Microcode", machine.microcode.clone());
    put("Hypervisor", machine.virtualised.clone());
    put("Kernel", machine.kernel.clone());
    put("System", machine.os.clone());
    facts
}

fn run_facts(header: &Header) -> Vec<Fact> {
    let mut facts = machine_facts(header);
    let mut put = |name: &str, value: String| facts.push(fact(name, value));
    put("Suite, preset", format!("{}, {}", header.suite, header.preset));
    put("Tool", format!("pvbench {} ({})", header.tool.version, header.tool.build));
    if let Some(rustc) = &header.tool.rustc {
        put("Compiler", rustc.clone());
    }
    put("Duration", format!("{} s", fixed(header.duration_seconds, 0)));
    put("Workers", header.workers.to_string());
    if let Some(core) = &header.core {
        let contended = fixed(core.contended_share * 100.0, 1);
        put("Core", format!("{} GHz, {contended}% of the blocks contended", fixed(core.ghz.median, 2)));
    }
    if header.commit.as_ref().is_some_and(|commit| commit.dirty == Some(true)) {
        put("Commit", "tracked files differed from the commit".to_owned());
    }
    for check in &header.checks {
        put("Check", format!("{}: {}", check.id, check.detail));
    }
    for absent in &header.absent {
        put("Unavailable", format!("{}: {}", absent.what, absent.reason));
    }
    if header.failures > 0 {
        put("Failures", format!("{} {} of workers", header.failures, plural(header.failures, "failure", "failures")));
    }
    facts
}
