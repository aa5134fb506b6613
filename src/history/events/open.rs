//! The life of an event: found, looked at again with every run, then confirmed or gone.

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::{self, Move, measure_move};
use super::cover::{Chosen, cover};
use super::evidence;
use super::state::{Exact, State};
use crate::history::cause::Evidence;
use crate::history::event::State as Stage;

/// What an event is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Executed instructions changed: exact.
    Instructions,
    /// The time moved.
    Time,
}

/// A cell of an event.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// First run of the level before.
    old_start: u32,
    /// The level that the first runs showed.
    first_after: Option<f64>,
    pub(super) moved: Option<Move>,
    /// The counts before and since.
    pub(super) instructions: Option<(f64, f64)>,
    pub(super) code_changed: Option<bool>,
    /// Whether values of the old level were seen since, or of the new one before: shares of modes changed.
    pub(super) shares_changed: bool,
}

/// An event while it is searched for.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) class: Class,
    /// The last run at the old level.
    pub(super) good: u32,
    /// The first run at the new level.
    pub(super) first: u32,
    /// The run that made it an event.
    detected: u32,
    pub(super) stage: Stage,
    pub(super) confirmed_by: Option<u32>,
    /// The newest run that bears on it.
    pub(super) last: u32,
    /// Whether every run of it was of the session of the first one.
    pub(super) one_session: bool,
    pub(super) cells: BTreeMap<usize, Held>,
    pub(super) parts: Vec<Chosen>,
    pub(super) residual: BTreeSet<usize>,
    pub(super) evidence: Evidence,
    trigger: Option<usize>,
    /// Cells that moved in the first run and are back: they are not looked at again.
    back: BTreeSet<usize>,
}

/// The events of a stream.
#[derive(Default)]
pub(super) struct Search {
    pub(super) found: Vec<Found>,
}

impl Search {
    /// Looks at the last run: first at the events that are open, then for new ones.
    pub(super) fn look(&mut self, state: &mut State, exact: &Exact) {
        let last = state.runs.len() as u32 - 1;
        for index in 0..self.found.len() {
            if self.found[index].stage == Stage::Suspected {
                self.review(state, index, last);
            }
        }
        if !exact.instructions.is_empty() {
            self.open_exact(state, exact, last);
        }
        // Each step that is found leaves its cells at new levels, so that the next one is another one.
        for _ in 0..8 {
            let Some(step) = candidate::find_group_step(state) else { break };
            if !self.open_time(state, step.first, Some(step.group), &BTreeSet::new(), last) {
                break;
            }
        }
        let mut by_run: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for (index, cell) in state.cells.iter().enumerate() {
            let step = candidate::moved_with_its_bytes(state, cell).then_some(last);
            if let Some(first) = step.or_else(|| candidate::find_cell_step(state, cell)) {
                by_run.entry(first).or_default().insert(index);
            }
        }
        for (first, cells) in by_run {
            self.open_time(state, first, None, &cells, last);
        }
    }

    fn open_exact(&mut self, state: &mut State, exact: &Exact, last: u32) {
        let mut found = Found::new(Class::Instructions, last, last);
        for &(index, before) in &exact.instructions {
            let cell = &state.cells[index];
            let counts = cell.instructions.map(|after| (before, after));
            found.cells.insert(index, Held { instructions: counts, ..Held::new(state, index, last) });
        }
        let moved = found.cells.keys().copied().collect();
        let could = counted(state);
        (found.parts, found.residual) = cover(&state.groups, &moved, &could);
        found.settle(state);
        self.found.push(found);
    }

    /// Opens an event of the cells that moved at a run. Returns whether there are any.
    fn open_time(
        &mut self,
        state: &mut State,
        first: u32,
        trigger: Option<usize>,
        sure: &BTreeSet<usize>,
        last: u32,
    ) -> bool {
        let open = self
            .found
            .iter()
            .position(|it| it.stage == Stage::Suspected && it.class == Class::Time && it.first == first);
        let mut found = open.map_or_else(|| Found::new(Class::Time, first, last), |at| self.found[at].clone());
        found.trigger = found.trigger.or(trigger);
        let before = found.cells.len();
        found.search(state, sure, trigger);
        if found.cells.len() == before {
            return false;
        }
        found.settle(state);
        match open {
            Some(at) => self.found[at] = found,
            None => self.found.push(found),
        }
        true
    }

    /// Looks at an open event again.
    fn review(&mut self, state: &mut State, index: usize, last: u32) {
        let mut found = self.found[index].clone();
        match found.class {
            Class::Instructions => found.review_exact(state, last),
            Class::Time => found.review_time(state, last),
        }
        self.found[index] = found;
    }
}

/// The cells of the last run that have a count.
fn counted(state: &State) -> BTreeSet<usize> {
    state.cells.iter().enumerate().filter(|(_, it)| it.instructions.is_some()).map(|(index, _)| index).collect()
}

impl Held {
    /// First run of the level before.
    pub(super) fn old_start(&self) -> u32 {
        self.old_start
    }

    fn new(state: &State, index: usize, first: u32) -> Self {
        let cell = &state.cells[index];
        let good = cell.values.iter().rev().find(|it| it.run < first).map_or(0, |it| it.run);
        Held {
            old_start: cell.start,
            first_after: cell.median(first, u32::MAX).map(|it| it.0),
            moved: measure_move(cell, cell.start, first),
            instructions: None,
            code_changed: cell.code.map(|_| cell.code_changed(good, first)),
            shares_changed: false,
        }
    }
}

impl Found {
    fn new(class: Class, first: u32, last: u32) -> Self {
        Found {
            class,
            good: first.saturating_sub(1),
            first,
            detected: last,
            stage: Stage::Suspected,
            confirmed_by: None,
            last,
            one_session: true,
            cells: BTreeMap::new(),
            parts: Vec::new(),
            residual: BTreeSet::new(),
            evidence: Evidence::default(),
            trigger: None,
            back: BTreeSet::new(),
        }
    }

    /// Finds the cells that moved at the first run, and describes them.
    fn search(&mut self, state: &State, sure: &BTreeSet<usize>, trigger: Option<usize>) {
        let (mut moved, mut could) = (BTreeSet::new(), BTreeSet::new());
        let mut moves = BTreeMap::new();
        for (index, cell) in state.cells.iter().enumerate() {
            let held = self.cells.get(&index);
            let start = held.map_or(cell.start, |it| it.old_start);
            if self.back.contains(&index) || start >= self.first || held.is_none() && cell.start >= self.first {
                continue;
            }
            let Some(it) = measure_move(cell, start, self.first) else { continue };
            could.insert(index);
            if it.is_clear || sure.contains(&index) {
                moved.insert(index);
                moves.insert(index, it);
            }
        }
        let (mut parts, mut rest) = cover(&state.groups, &moved, &could);
        // In one run, many cells are in another one of their modes.
        let start = |index: usize| self.cells.get(&index).map_or(state.cells[index].start, |it| it.old_start);
        let is_new =
            |it: &Chosen, up: bool| candidate::is_coherent(state, &state.groups[it.group], self.first, up, &start);
        let (new, old): (Vec<Chosen>, Vec<Chosen>) =
            parts.into_iter().partition(|it| is_new(it, true) || is_new(it, false));
        parts = new;
        rest.extend(old.iter().flat_map(|it| &state.groups[it.group].cells).filter(|it| moved.contains(it)));
        if parts.is_empty()
            && let Some(group) = trigger.or(self.trigger)
        {
            let count = |set: &BTreeSet<usize>| state.groups[group].cells.iter().filter(|it| set.contains(it)).count();
            parts.push(Chosen { group, moved: count(&moved), cells: count(&could) });
        }
        // A single cell beside the groups must be sure by itself: many have modes, and one run says nothing of them.
        let residual: BTreeSet<usize> = rest
            .into_iter()
            .filter(|it| sure.contains(it) || self.residual.contains(it) && moved.contains(it))
            .filter(|it| !parts.iter().any(|part| state.groups[part.group].cells.contains(it)))
            .collect();
        let in_parts = parts.iter().flat_map(|it| &state.groups[it.group].cells).copied();
        let kept: BTreeSet<usize> = in_parts.filter(|it| moved.contains(it)).chain(residual.iter().copied()).collect();
        self.cells.retain(|index, _| kept.contains(index));
        for index in kept {
            let held = self.cells.entry(index).or_insert_with(|| Held::new(state, index, self.first));
            held.moved = moves.get(&index).copied();
            held.shares_changed = shares_changed(state, index, held, self.first);
        }
        (self.parts, self.residual) = (parts, residual);
    }

    /// Puts the cells at their new levels.
    fn settle(&mut self, state: &mut State) {
        let cells: Vec<usize> = self.cells.keys().copied().collect();
        let good = cells
            .iter()
            .filter_map(|&it| state.cells[it].values.iter().rev().map(|it| it.run).find(|&run| run < self.first));
        self.good = good.max().unwrap_or(self.good);
        for &cell in &cells {
            if state.cells[cell].start < self.first {
                state.set_start(cell, self.first);
            }
        }
        state.tabulate(self.first, Some(&cells));
        self.evidence = evidence::gather(state, self);
    }

    /// Puts cells back to their old levels.
    fn give_back(&self, state: &mut State, cells: &[(usize, u32)]) {
        for &(cell, old_start) in cells {
            if state.cells[cell].start == self.first {
                state.set_start(cell, old_start);
            }
        }
        let cells: Vec<usize> = cells.iter().map(|it| it.0).collect();
        state.tabulate(self.first, Some(&cells));
    }

    fn review_exact(&mut self, state: &mut State, last: u32) {
        let measured = |index: &usize| state.cells[*index].values.back().is_some_and(|it| it.run == last);
        let (mut same, mut other) = (0, 0);
        for (index, held) in self.cells.iter().filter(|(index, _)| measured(index)) {
            let count = state.cells[*index].instructions;
            let is_same = held.instructions.zip(count).is_some_and(|(it, count)| (it.1 - count).abs() <= 1e-6);
            *if is_same { &mut same } else { &mut other } += 1;
        }
        if same + other == 0 {
            return;
        }
        for (&index, held) in &mut self.cells {
            held.moved = measure_move(&state.cells[index], held.old_start, self.first);
        }
        let is_replicate = state.runs[last as usize].is_replicate_of(&state.runs[self.first as usize]);
        self.one_session &= !state.runs[last as usize].is_apart_from(&state.runs[self.first as usize]);
        if other > same && is_replicate {
            self.withdraw(state, last);
        } else {
            self.confirm(state, last);
        }
    }

    fn review_time(&mut self, state: &mut State, last: u32) {
        let shows = |run: u32| self.shows(state, run);
        let Some(_) = shows(last) else { return };
        self.drop_parts_that_are_back(state, last);
        let shows = |run: u32| self.shows(state, run);
        let Some(shows_now) = shows(last) else { return };
        let shown: Vec<bool> = (self.first..=last).filter_map(shows).collect();
        let yes = shown.iter().filter(|it| **it).count();
        let no = shown.len() - yes;
        self.last = last;
        if !shows_now && no >= yes {
            self.withdraw(state, last);
            return;
        }
        let old: Vec<(usize, u32)> = self.cells.iter().map(|(&index, it)| (index, it.old_start)).collect();
        self.search(state, &BTreeSet::new(), None);
        if self.cells.is_empty() {
            self.give_back(state, &old);
            self.stage = Stage::Gone;
            return;
        }
        let dropped: Vec<(usize, u32)> = old.into_iter().filter(|it| !self.cells.contains_key(&it.0)).collect();
        self.give_back(state, &dropped);
        self.settle(state);
        let apart = state.runs[last as usize].is_apart_from(&state.runs[self.first as usize]);
        self.one_session &= !apart;
        if shows_now && apart && last > self.detected && yes >= 2 && yes >= 3 * no {
            self.confirm(state, last);
        }
    }

    /// Where some parts of the description are back at the old level and others are not, goes on without those.
    fn drop_parts_that_are_back(&mut self, state: &mut State, last: u32) {
        let is_back = |part: &Chosen| {
            let cells = &state.groups[part.group].cells;
            let of_part = |index: &usize| cells.contains(index);
            self.shows_in(state, last, &of_part) == Some(false)
        };
        let (back, there): (Vec<Chosen>, Vec<Chosen>) = self.parts.iter().partition(|it| is_back(it));
        if there.is_empty() || back.is_empty() {
            return;
        }
        let in_parts =
            |parts: &[Chosen], index: &usize| parts.iter().any(|it| state.groups[it.group].cells.contains(index));
        let dropped: Vec<(usize, u32)> = self
            .cells
            .iter()
            .filter(|(index, _)| in_parts(&back, index) && !in_parts(&there, index))
            .map(|(&index, held)| (index, held.old_start))
            .collect();
        for (index, _) in &dropped {
            self.cells.remove(index);
            self.back.insert(*index);
        }
        self.parts = there;
        self.give_back(state, &dropped);
    }

    /// Whether a run shows the event: most of its cells are nearer to the new level than to the old one. `None` if the
    /// run lacks them.
    fn shows(&self, state: &State, run: u32) -> Option<bool> {
        self.shows_in(state, run, &|_| true)
    }

    fn shows_in(&self, state: &State, run: u32, of: &dyn Fn(&usize) -> bool) -> Option<bool> {
        let mut parts: Vec<f64> = Vec::new();
        for (&index, held) in self.cells.iter().filter(|it| of(it.0)) {
            let value = state.cells[index].values(run, run + 1).next();
            if let (Some(value), Some(after), Some(it)) = (value, held.first_after, held.moved) {
                parts.push((value.value - it.before) / (after - it.before));
            }
        }
        crate::history::scatter::median(&mut parts).map(|it| it > 0.5)
    }

    fn withdraw(&mut self, state: &mut State, last: u32) {
        let cells: Vec<(usize, u32)> = self.cells.iter().map(|(&index, it)| (index, it.old_start)).collect();
        self.give_back(state, &cells);
        (self.stage, self.last) = (Stage::Gone, last);
    }

    /// Confirms the event: from here on its range and its cells are fixed, and older values are no longer looked at.
    fn confirm(&mut self, state: &mut State, last: u32) {
        self.evidence = evidence::gather(state, self);
        (self.stage, self.last, self.confirmed_by) = (Stage::Confirmed, last, Some(last));
        for index in self.cells.keys() {
            let cell = &mut state.cells[*index];
            cell.values.retain(|it| it.run >= self.first || cell.start < self.first);
        }
    }
}

/// Whether a cell was at the new level before the event, or at the old one since.
fn shares_changed(state: &State, index: usize, held: &Held, first: u32) -> bool {
    let Some(it) = held.moved else { return false };
    let bound = f64::midpoint(it.before, it.after);
    let cell = &state.cells[index];
    let up = it.after > bound;
    cell.values(held.old_start, first).any(|value| (value.value > bound) == up)
        || cell.values(first, u32::MAX).any(|value| (value.value > bound) != up)
}
