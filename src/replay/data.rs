//! Which line each load and store touched.
//!
//! A recording has the lines that a run touched in order, and not which instruction touched which. Touches of one line
//! in a row are one, so there are fewer touches than accesses. The most likely assignment is found by dynamic
//! programming: instructions keep the line of their last execution, loads do not write, stores do not only read.

use std::collections::{HashMap, HashSet};

use crate::linux::record::recording::{Class, Instruction, Recording, Touch};

/// Costs of an assignment, in no unit: the cheapest one counts.
const OTHER_LINE: u32 = 4;
const NO_TOUCH: u32 = 6;
const WRONG_KIND: u32 = 8;
const SECOND_TOUCH: u32 = 3;
const LEFT_OVER: u32 = 7;
/// Bound on the size of a table of the dynamic programming; a longer run is assigned in proportion.
const MAX_TABLE: usize = 1 << 14;

/// Lines of a page, as a power of two.
pub(super) const PAGE_LINE_BITS: u32 = 6;
/// An access without a touch.
pub(super) const NO_LINE: u32 = u32::MAX;

/// The lines of the accesses of a window.
pub(super) struct Accesses {
    /// All lines, in the order of their first use.
    pub lines: Vec<u64>,
    /// For each executed load and store, in order: the index of its line, or [`NO_LINE`].
    pub executed: Vec<u32>,
    /// For each executed string instruction, in order: the number of its lines.
    pub repeated: Vec<u32>,
    /// The pages that calls and returns touched: stacks.
    pub stacks: HashSet<u64>,
    /// Touches that no instruction has.
    pub left_over: u64,
}

/// Whether an instruction has an access of its own in the replay.
pub(super) fn is_access(it: &Instruction) -> bool {
    matches!(it.class, Class::Load | Class::Store)
}

/// Whether it may touch a line.
fn touches(it: &Instruction) -> bool {
    is_access(it) || matches!(it.class, Class::Hook(_) | Class::Call | Class::Indirect | Class::Return)
}

/// What is known while touches are assigned.
struct Assigner {
    /// The last line of each instruction, and the one before it.
    last: Vec<[u64; 2]>,
    costs: Vec<u32>,
    choices: Vec<u8>,
    /// Lines of the accesses of a run, in order.
    found: Vec<Option<u64>>,
    /// Further lines of a string instruction, and the first that it writes.
    repeats: Vec<(u32, Option<u64>)>,
}

/// What an instruction takes of the touches.
const NONE: u8 = 0;
/// The one before, which another instruction has, too.
const SHARED: u8 = 1;
const ONE: u8 = 2;
const TWO: u8 = 3;
/// Leaves a touch out.
const SKIP: u8 = 4;

impl Accesses {
    /// Assigns the touches of executed runs `runs`.
    pub(super) fn of(recording: &Recording, runs: std::ops::Range<usize>) -> Accesses {
        let mut all = Accesses {
            lines: Vec::new(),
            executed: Vec::new(),
            stacks: HashSet::new(),
            repeated: Vec::new(),
            left_over: 0,
        };
        let mut numbers = HashMap::new();
        let mut assigner = Assigner {
            last: vec![[u64::MAX; 2]; recording.code.len()],
            costs: Vec::new(),
            choices: Vec::new(),
            found: Vec::new(),
            repeats: Vec::new(),
        };
        let executed = recording.sequence.iter().zip(recording.executions());
        for (run, execution) in executed.take(runs.end).skip(runs.start) {
            let first = recording.runs.get(*run as usize).map_or(0, |run| run.first as usize);
            let wanting: Vec<usize> =
                (0..execution.code.len()).filter(|index| execution.code.get(*index).is_some_and(touches)).collect();
            assigner.assign(execution.code, first, &wanting, execution.touches, &mut all);
            for ((index, line), (repeats, written)) in wanting.iter().zip(&assigner.found).zip(&assigner.repeats) {
                let Some(it) = execution.code.get(*index) else { continue };
                if !is_access(it) {
                    if let (Class::Call | Class::Return, Some(line)) = (it.class, line) {
                        all.stacks.insert(line >> PAGE_LINE_BITS);
                    }
                    continue;
                }
                // A copy reads a line first; the replay writes only.
                let copied = written.filter(|to| it.is_rep && line.is_none_or(|line| line.abs_diff(*to) > 1));
                if it.is_rep {
                    all.repeated.push(repeats + u32::from(copied.is_none() && line.is_some()));
                }
                let line = copied.or(*line);
                let number = line.map_or(NO_LINE, |line| {
                    let next = numbers.len() as u32;
                    let number = *numbers.entry(line).or_insert(next);
                    if number == next {
                        all.lines.push(line);
                    }
                    number
                });
                all.executed.push(number);
            }
        }
        all
    }
}

impl Assigner {
    /// Finds the line of each instruction of `wanting`.
    fn assign(&mut self, code: &[Instruction], first: usize, wanting: &[usize], touches: &[Touch], all: &mut Accesses) {
        let (rows, columns) = (wanting.len(), touches.len());
        self.found.clear();
        self.found.resize(rows, None);
        self.repeats.clear();
        self.repeats.resize(rows, (0, None));
        if columns == 0 {
            return;
        }
        if (rows + 1) * (columns + 1) > MAX_TABLE {
            self.assign_in_proportion(wanting, touches, all);
            return;
        }
        let width = columns + 1;
        self.costs.clear();
        self.costs.resize((rows + 1) * width, u32::MAX);
        self.choices.clear();
        self.choices.resize((rows + 1) * width, NONE);
        if let Some(start) = self.costs.first_mut() {
            *start = 0;
        }
        for row in 0..=rows {
            let it = wanting.get(row).and_then(|index| Some((code.get(*index)?, *self.last.get(first + index)?)));
            for column in 0..=columns {
                let cost = self.costs.get(row * width + column).copied().unwrap_or(u32::MAX);
                if cost == u32::MAX {
                    continue;
                }
                let next = touches.get(column);
                let mut offer = |row: usize, column: usize, more: u32, choice: u8| {
                    let at = row * width + column;
                    if let (Some(known), Some(chosen)) = (self.costs.get_mut(at), self.choices.get_mut(at))
                        && cost + more < *known
                    {
                        (*known, *chosen) = (cost + more, choice);
                    }
                };
                if let Some((it, last)) = it {
                    offer(row + 1, column, NO_TOUCH, NONE);
                    let before = column.checked_sub(1).and_then(|column| touches.get(column));
                    if let Some(before) = before {
                        offer(row + 1, column, price(it, last, before, true), SHARED);
                    }
                    if let Some(next) = next {
                        offer(row + 1, column + 1, price(it, last, next, false), ONE);
                        if column + 2 <= columns {
                            // A hook reads its table and writes its return address.
                            let second = if matches!(it.class, Class::Hook(_)) { 0 } else { SECOND_TOUCH };
                            offer(row + 1, column + 2, price(it, last, next, false) + second, TWO);
                        }
                    }
                }
                if next.is_some() && column < columns {
                    let is_rep = row.checked_sub(1).and_then(|row| code.get(*wanting.get(row)?));
                    let more = if is_rep.is_some_and(|it| it.is_rep) { 0 } else { LEFT_OVER };
                    offer(row, column + 1, more, SKIP);
                }
            }
        }
        let (mut row, mut column) = (rows, columns);
        while row > 0 || column > 0 {
            let choice = self.choices.get(row * width + column).copied().unwrap_or(NONE);
            if choice == SKIP {
                column = column.saturating_sub(1);
                let above = row.checked_sub(1);
                let is_rep = above.and_then(|row| code.get(*wanting.get(row)?)).is_some_and(|it| it.is_rep);
                let touch = touches.get(column);
                match above.and_then(|row| self.repeats.get_mut(row)).filter(|_| is_rep) {
                    // Of a copy, what it writes counts.
                    Some((repeats, written)) if touch.is_some_and(|touch| touch.is_store) => {
                        (*repeats, *written) = (*repeats + 1, touch.map(|touch| touch.line));
                    }
                    Some(_) => {}
                    None => all.left_over += 1,
                }
                continue;
            }
            let Some(above) = row.checked_sub(1) else { break };
            row = above;
            let taken = match choice {
                SHARED => column.checked_sub(1),
                ONE => column.checked_sub(1),
                TWO => column.checked_sub(2),
                _ => None,
            };
            column = if choice == SHARED || choice == NONE { column } else { taken.unwrap_or(0) };
            let line = taken.and_then(|taken| touches.get(taken)).map(|touch| touch.line);
            if let Some(found) = self.found.get_mut(row) {
                *found = line;
            }
            let known = wanting.get(row).and_then(|index| self.last.get_mut(first + index));
            if let (Some(known), Some(line)) = (known, line)
                && known[0] != line
            {
                *known = [line, known[0]];
            }
        }
    }

    fn assign_in_proportion(&mut self, wanting: &[usize], touches: &[Touch], all: &mut Accesses) {
        for (row, found) in self.found.iter_mut().enumerate() {
            *found = touches.get(row * touches.len() / wanting.len().max(1)).map(|touch| touch.line);
        }
        all.left_over += (touches.len().saturating_sub(wanting.len())) as u64;
    }
}

/// The cost of a touch as that of an instruction.
fn price(it: &Instruction, last: [u64; 2], touch: &Touch, is_shared: bool) -> u32 {
    let line = if last[0] == touch.line {
        0
    } else if last[1] == touch.line {
        1
    } else if last[0] == u64::MAX {
        2
    } else {
        OTHER_LINE
    };
    // A shared touch may owe its kind to the other instruction.
    let is_wrong = match it.class {
        Class::Store | Class::Call => !touch.is_store,
        Class::Load | Class::Return => touch.is_store && !is_shared,
        _ => false,
    };
    // A load in front of a store of the same line is frequent, so a wrong kind is not excluded.
    line + if is_wrong { if matches!(it.class, Class::Load) { 1 } else { WRONG_KIND } } else { 0 }
}
