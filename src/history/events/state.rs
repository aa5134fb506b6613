//! What the search keeps of a stream: the values of each cell since its last confirmed event, and the medians of
//! groups.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::facts::{RunFacts, axis_changes};
use crate::history::event::{AxisChange, RunName, Unit};
use crate::history::kept::{Code, KeptRun, Subject};
use crate::history::scatter::{self, MIN_RUNS};
use crate::history::series::{Names, Observed, WORKLOAD, observe, references};

/// Runs that are looked back on. At half of it, a single cell needs two more runs after a step; at twice of it, the
/// search takes twice as long.
pub(super) const WINDOW: usize = 64;

/// Runs that a level is first known from. Its median stands for the level from then on, so that the values of a group
/// are differences from something fixed.
const LEVEL_RUNS: usize = 8;

/// Counts of one cell that are remembered.
const MAX_COUNTS: usize = 16;

/// A scatter below this share is not believed: values are kept with some six digits.
const MIN_SCATTER: f64 = 2e-5;

/// A value of a cell in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) run: u32,
    pub(super) value: f64,
    pub(super) error: f32,
}

/// A cell, or a kernel of a workload.
pub(super) struct Cell {
    pub(super) subject: Subject,
    pub(super) names: Names,
    pub(super) unit: Unit,
    pub(super) groups: Vec<usize>,
    /// What a change of 1 is a share of.
    pub(super) whole: f64,
    pub(super) values: VecDeque<Value>,
    /// First run of the current level.
    pub(super) start: u32,
    /// The current level.
    pub(super) level: f64,
    /// Number of values of the current level.
    pub(super) runs: usize,
    pub(super) instructions: Option<f64>,
    /// Counts that runs of one commit differed in: the count depends on the run.
    pub(super) other_counts: Vec<f64>,
    pub(super) code: Option<Code>,
    /// Runs at which the bytes changed, of those that are looked back on.
    pub(super) code_changes: VecDeque<u32>,
    /// Scatter between runs as a share; the pool's while there are too few runs.
    pub(super) scatter: f64,
    own_scatter: Option<f64>,
    pool: usize,
}

impl Cell {
    /// The values of runs in a range.
    pub(super) fn values(&self, from: u32, to: u32) -> impl Iterator<Item = &Value> {
        self.values.iter().filter(move |it| (from..to).contains(&it.run))
    }

    /// The median of the values of runs in a range, and their number.
    pub(super) fn median(&self, from: u32, to: u32) -> Option<(f64, usize)> {
        let mut values: Vec<f64> = self.values(from, to).map(|it| it.value).collect();
        let count = values.len();
        scatter::median(&mut values).map(|it| (it, count))
    }

    /// Whether the bytes changed after `good`, up to and with `bad`.
    pub(super) fn code_changed(&self, good: u32, bad: u32) -> bool {
        self.code_changes.iter().any(|&it| good < it && it <= bad)
    }

    fn restart(&mut self) {
        let level = self.median(self.start, u32::MAX);
        (self.level, self.runs) = level.unwrap_or((self.level, 0));
    }
}

/// The median of a group in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) run: u32,
    pub(super) value: f64,
}

/// Cells that have names in common.
pub(super) struct Group {
    pub(super) names: Names,
    pub(super) cells: Vec<usize>,
    pub(super) rows: VecDeque<Row>,
}

/// The scatter of a mechanism in a regime.
pub(super) struct Pool {
    pub(super) mechanism: String,
    pub(super) regime: Arc<str>,
    pub(super) cells: Vec<usize>,
    pub(super) share: Option<f64>,
    pub(super) degrees_of_freedom: f64,
}

/// Degrees of freedom of the pools of a regime, and the median of their scatters.
#[derive(Default)]
struct RegimeScatter {
    share: Option<f64>,
    degrees_of_freedom: f64,
}

/// The references of the runs that are looked back on: cycles of `inline` by name, per regime.
pub(super) type References = BTreeMap<Arc<str>, HashMap<(Arc<str>, Arc<str>), f64>>;

/// What the search knows of a stream.
#[derive(Default)]
pub(super) struct State {
    pub(super) runs: Vec<RunFacts>,
    pub(super) cells: Vec<Cell>,
    pub(super) groups: Vec<Group>,
    pub(super) pools: Vec<Pool>,
    pub(super) axis: Vec<AxisChange>,
    pub(super) references: VecDeque<(u32, References)>,
    regimes: HashMap<Arc<str>, RegimeScatter>,
    cell_of: HashMap<Subject, usize>,
    group_of: HashMap<Names, usize>,
    pool_of: HashMap<(String, Arc<str>), usize>,
}

/// What the last run changed exactly.
#[derive(Default)]
pub(super) struct Exact {
    /// Cells whose instructions changed, with the count before.
    pub(super) instructions: Vec<(usize, f64)>,
}

impl State {
    /// Takes a run, and returns what changed exactly.
    pub(super) fn take(&mut self, name: RunName, run: &KeptRun) -> Exact {
        let at = self.runs.len() as u32;
        let facts = RunFacts::new(name, run);
        let mut is_replicate = false;
        if let Some(before) = self.runs.last() {
            self.axis.extend(axis_changes(before, &facts));
            is_replicate = facts.is_replicate_of(before);
        }
        self.runs.push(facts);
        let mut by_regime = References::new();
        for it in references(run) {
            by_regime.entry(it.regime).or_default().insert(it.name, it.cycles);
        }
        self.references.push_back((at, by_regime));
        if self.references.len() > WINDOW {
            self.references.pop_front();
        }
        let mut exact = Exact::default();
        for observed in observe(run) {
            let index = self.intern(&observed, at);
            self.update(index, &observed, at, is_replicate, &mut exact);
        }
        exact
    }

    fn intern(&mut self, observed: &Observed, at: u32) -> usize {
        if let Some(&index) = self.cell_of.get(&observed.subject) {
            return index;
        }
        let index = self.cells.len();
        let names = Names::new(&observed.subject);
        let mut groups = Vec::new();
        for group in names.groups() {
            let found = *self.group_of.entry(group.clone()).or_insert_with(|| {
                self.groups.push(Group { names: group, cells: Vec::new(), rows: VecDeque::new() });
                self.groups.len() - 1
            });
            self.groups[found].cells.push(index);
            groups.push(found);
        }
        let regime = names.regime.clone().unwrap_or_else(|| WORKLOAD.into());
        let pool = *self.pool_of.entry((names.mechanism_text(), Arc::clone(&regime))).or_insert_with(|| {
            let mechanism = names.mechanism_text();
            self.pools.push(Pool { mechanism, regime, cells: Vec::new(), share: None, degrees_of_freedom: 0.0 });
            self.pools.len() - 1
        });
        self.pools[pool].cells.push(index);
        self.cells.push(Cell {
            subject: observed.subject.clone(),
            names,
            unit: observed.unit,
            groups,
            whole: observed.whole,
            values: VecDeque::new(),
            start: at,
            level: 0.0,
            runs: 0,
            instructions: None,
            other_counts: Vec::new(),
            code: None,
            code_changes: VecDeque::new(),
            scatter: MIN_SCATTER,
            own_scatter: None,
            pool,
        });
        self.cell_of.insert(observed.subject.clone(), index);
        index
    }

    fn update(&mut self, index: usize, observed: &Observed, at: u32, is_replicate: bool, exact: &mut Exact) {
        let cell = &mut self.cells[index];
        if let Some(count) = observed.instructions {
            // The counts of a workload depend on what it draws; those of a cell are exact.
            let tolerance = if cell.unit == Unit::Percent { 1e-3 * count.abs() } else { 1e-6 };
            let same = |other: f64| (other - count).abs() <= tolerance;
            match cell.instructions {
                Some(before) if !same(before) => {
                    let varies = cell.other_counts.iter().any(|&it| same(it));
                    if is_replicate && cell.other_counts.len() < MAX_COUNTS {
                        cell.other_counts.push(before);
                        cell.other_counts.push(count);
                    }
                    if !varies && !is_replicate {
                        exact.instructions.push((index, before));
                    }
                    cell.instructions = Some(count);
                }
                Some(_) => {}
                None => cell.instructions = Some(count),
            }
        }
        if let Some(code) = observed.code {
            if cell.code.is_some_and(|before| before != code) {
                cell.code_changes.push_back(at);
                if cell.code_changes.len() > WINDOW {
                    cell.code_changes.pop_front();
                }
            }
            cell.code = Some(code);
        }
        let Some(overhead) = observed.overhead else { return };
        if cell.values.is_empty() {
            cell.whole = observed.whole;
        }
        let error = overhead.standard_error as f32;
        cell.values.push_back(Value { run: at, value: overhead.value, error });
        if cell.values.len() > WINDOW {
            cell.values.pop_front();
        }
        cell.runs += 1;
        if cell.runs <= LEVEL_RUNS {
            cell.restart();
        }
    }

    /// Learns the scatter of all cells and pools from the values so far.
    pub(super) fn learn(&mut self) {
        let at = self.runs.len();
        // Later, the values of eight more runs change little.
        if at > 2 * LEVEL_RUNS && !at.is_multiple_of(LEVEL_RUNS) {
            return;
        }
        for cell in &mut self.cells {
            let values: Vec<f64> = cell.values(cell.start, u32::MAX).map(|it| it.value).collect();
            if values.len() >= MIN_RUNS || cell.own_scatter.is_none() {
                let own = scatter::between_neighbours(&values);
                cell.own_scatter = own.map(|it| it / cell.whole).or(cell.own_scatter);
            }
        }
        for pool in &mut self.pools {
            let cells = || pool.cells.iter().map(|&it| &self.cells[it]);
            let mut shares: Vec<f64> = cells().filter_map(|it| it.own_scatter).collect();
            pool.share = scatter::median(&mut shares);
            // A median of differences knows about a third of what a variance does.
            let runs: f64 = cells().map(|it| it.values.len().saturating_sub(1) as f64).sum();
            pool.degrees_of_freedom = runs / 3.0;
        }
        self.learn_regimes();
        for cell in &mut self.cells {
            let pool = &self.pools[cell.pool];
            let regime = self.regimes.get(&pool.regime).and_then(|it| it.share);
            // A mechanism of few cells has the scatter of its regime.
            let known = pool.share.filter(|_| pool.degrees_of_freedom >= scatter::MIN_DEGREES_OF_FREEDOM);
            let pooled = known.or(regime).unwrap_or(MIN_SCATTER);
            cell.scatter = scatter::moderate(cell.own_scatter, cell.values.len(), pooled).max(MIN_SCATTER);
        }
    }

    /// Whether the scatter of a cell's mechanism and regime is still learnt.
    pub(super) fn is_learning(&self, cell: &Cell) -> bool {
        let pool = &self.pools[cell.pool];
        let regime = self.regimes.get(&pool.regime).map_or(0.0, |it| it.degrees_of_freedom);
        pool.degrees_of_freedom.max(regime) < scatter::MIN_DEGREES_OF_FREEDOM
    }

    fn learn_regimes(&mut self) {
        let mut shares: HashMap<Arc<str>, (Vec<f64>, f64)> = HashMap::new();
        for pool in &self.pools {
            let regime = shares.entry(Arc::clone(&pool.regime)).or_default();
            regime.0.extend(pool.share);
            regime.1 += pool.degrees_of_freedom;
        }
        for (regime, (mut shares, degrees_of_freedom)) in shares {
            let share = scatter::median(&mut shares);
            self.regimes.insert(regime, RegimeScatter { share, degrees_of_freedom });
        }
    }

    /// Computes the medians of groups again for the runs from `from` on: of all groups, or of those of some cells.
    pub(super) fn tabulate(&mut self, from: u32, cells: Option<&[usize]>) {
        let mut stale: Vec<usize> = match cells {
            None => (0..self.groups.len()).collect(),
            Some(cells) => cells.iter().flat_map(|&it| self.cells[it].groups.iter().copied()).collect(),
        };
        stale.sort_unstable();
        stale.dedup();
        let end = self.runs.len() as u32;
        let from = from.max(end.saturating_sub(WINDOW as u32));
        for index in stale {
            let group = &self.groups[index];
            let mut by_run: Vec<Vec<f64>> = vec![Vec::new(); (end - from) as usize];
            for &cell in &group.cells {
                let cell = &self.cells[cell];
                for value in cell.values.iter().rev().take_while(|it| it.run >= from) {
                    if value.run >= cell.start {
                        by_run[(value.run - from) as usize].push((value.value - cell.level) / cell.whole);
                    }
                }
            }
            let group = &mut self.groups[index];
            // Runs before the current level of a cell keep the medians that they had.
            while group.rows.back().is_some_and(|it| it.run >= from) {
                group.rows.pop_back();
            }
            for (offset, mut values) in by_run.into_iter().enumerate() {
                if let Some(value) = scatter::median(&mut values) {
                    group.rows.push_back(Row { run: from + offset as u32, value });
                }
            }
            while group.rows.len() > WINDOW {
                group.rows.pop_front();
            }
        }
    }

    /// Whether the level of any cell still follows its values.
    pub(super) fn unsettled(&self) -> Option<u32> {
        let last = self.runs.len().saturating_sub(1) as u32;
        let new = |it: &&Cell| it.runs <= LEVEL_RUNS && it.values.back().is_some_and(|value| value.run == last);
        self.cells.iter().filter(new).map(|it| it.start).min()
    }

    /// Starts a new level of a cell at a run, or sets it back to an older one.
    pub(super) fn set_start(&mut self, cell: usize, start: u32) {
        self.cells[cell].start = start;
        self.cells[cell].restart();
    }
}
