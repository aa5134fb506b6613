//! The flow of control of a recording: its blocks, their order, and where each one continues.
//!
//! A block is a row of instructions that is always executed from its first to its last. The order of blocks is that of
//! the recording, repeated: the last block of the window is followed by the first.

use std::collections::HashSet;

use super::ReplayError;
use crate::linux::record::recording::{Class, Instruction, Recording};

/// Bound on the executed blocks: four times those of a usual recording. They take 16 bytes of memory each.
const MAX_EXECUTED_BLOCKS: u64 = 1 << 23;
/// Bound on the depth of calls: more than a kernel's stack has room for.
pub(super) const MAX_DEPTH: usize = 1 << 14;
/// How many calls a return may leave at once.
const MAX_LEFT: usize = 64;
/// Depth above which a return that matches no call empties the stack of calls.
const USUAL_DEPTH: usize = 1 << 10;

/// How a block ends, by what the recording did after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It always continues with the next block in memory.
    Falls,
    /// It always jumps to one block.
    Jumps(u32),
    /// It jumps to one block or continues with the next.
    Branches(u32),
    /// It jumps to several blocks.
    Leads,
    /// It calls one block.
    Calls(u32),
    /// It calls one of several blocks.
    CallsSome,
    /// It returns to the last call.
    Returns,
    /// It returns, and at least once not to the last call.
    Leaves,
    /// It calls a hook: the block of its body.
    Hook(u32),
}

/// A block of instructions.
#[derive(Clone, Debug)]
pub(super) struct FlowBlock {
    /// Index of its first instruction.
    pub first: u32,
    /// Number of instructions.
    pub length: u32,
    /// How it ends.
    pub end: End,
    /// Number of executions.
    pub executed: u32,
}

/// An executed block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The block.
    pub block: u32,
    /// Depth of calls after its end.
    pub depth: u32,
}

/// The flow of a window.
pub(super) struct Flow {
    pub blocks: Vec<FlowBlock>,
    pub steps: Vec<Step>,
    /// Calls of the window whose return was found.
    pub matched_returns: u64,
    /// Returns that match no call, or not the last.
    pub unmatched_returns: u64,
}

/// What is known of the successors of a block.
#[derive(Clone, Copy, Default)]
struct Successors {
    falls: bool,
    jump: Option<u32>,
    has_more: bool,
    is_unmatched: bool,
}

impl Flow {
    /// Finds the blocks of executed runs `runs` of a recording, and how they continue.
    pub(super) fn of(recording: &Recording, runs: std::ops::Range<usize>) -> Result<Flow, ReplayError> {
        let sequence = recording.sequence.get(runs).unwrap_or_default();
        let block_of = number_blocks(recording, sequence);
        let mut blocks: Vec<FlowBlock> = Vec::new();
        for (index, block) in block_of.iter().enumerate().filter_map(|(index, block)| Some((index, (*block)?))) {
            match blocks.get_mut(block as usize) {
                Some(known) => known.length += 1,
                None => blocks.push(FlowBlock { first: index as u32, length: 1, end: End::Falls, executed: 0 }),
            }
        }
        let workload = || recording.about.workload.clone();
        let mut steps = Vec::new();
        for run in sequence {
            let Some(run) = recording.runs.get(*run as usize) else { continue };
            let (mut at, end) = (run.first, run.first.saturating_add(run.length));
            while at < end {
                let Some(block) = block_of.get(at as usize).copied().flatten() else { break };
                steps.push(Step { block, depth: 0 });
                at += blocks.get(block as usize).map_or(1, |block| block.length.max(1));
            }
            if steps.len() as u64 > MAX_EXECUTED_BLOCKS {
                let (found, bound) = (steps.len() as u64, MAX_EXECUTED_BLOCKS);
                return Err(ReplayError::TooLarge { workload: workload(), what: "executed blocks", found, bound });
            }
        }
        if steps.is_empty() {
            return Err(ReplayError::Empty { workload: workload() });
        }
        let mut flow = Flow { blocks, steps, matched_returns: 0, unmatched_returns: 0 };
        flow.find_ends(recording)?;
        Ok(flow)
    }

    /// The instructions of a block.
    pub(super) fn code<'a>(&self, recording: &'a Recording, block: u32) -> &'a [Instruction] {
        let block = self.blocks.get(block as usize);
        let range = block.map(|block| block.first as usize..block.first as usize + block.length as usize);
        range.and_then(|range| recording.code.get(range)).unwrap_or_default()
    }

    /// The block that follows another one in memory, if there is one.
    pub(super) fn next_in_memory(&self, recording: &Recording, block: u32) -> Option<u32> {
        let last = self.code(recording, block).last()?;
        let next = self.code(recording, block + 1).first()?;
        (last.address.wrapping_add(u64::from(last.length)) == next.address).then_some(block + 1)
    }

    fn find_ends(&mut self, recording: &Recording) -> Result<(), ReplayError> {
        let next: Vec<Option<u32>> =
            (0..self.blocks.len() as u32).map(|block| self.next_in_memory(recording, block)).collect();
        let last_class = |block: u32| self.code(recording, block).last().map(|it| it.class);
        let classes: Vec<Option<Class>> = (0..self.blocks.len() as u32).map(last_class).collect();
        let order: Vec<u32> = self.steps.iter().map(|step| step.block).collect();
        let following = |at: usize| order.get((at + 1) % order.len().max(1)).copied().unwrap_or(0);
        // An indirect transfer is a call if something returns to the instruction after it.
        let mut returned: HashSet<u32> = HashSet::new();
        for (at, block) in order.iter().enumerate() {
            if matches!(classes.get(*block as usize), Some(Some(Class::Return))) {
                returned.insert(following(at));
            }
        }
        let calls = |block: u32| match classes.get(block as usize) {
            Some(Some(Class::Hook(_) | Class::Call)) => true,
            Some(Some(Class::Indirect)) => {
                next.get(block as usize).copied().flatten().is_some_and(|next| returned.contains(&next))
            }
            _ => false,
        };
        let mut successors = vec![Successors::default(); self.blocks.len()];
        let mut stack: Vec<u32> = Vec::new();
        let (mut matched, mut unmatched) = (0, 0);
        for (at, step) in self.steps.iter_mut().enumerate() {
            let to = following(at);
            let Some(known) = successors.get_mut(step.block as usize) else { continue };
            let behind = next.get(step.block as usize).copied().flatten();
            if Some(to) == behind && !calls(step.block) {
                known.falls = true;
            } else {
                known.has_more |= known.jump.is_some_and(|jump| jump != to);
                known.jump = known.jump.or(Some(to));
            }
            if calls(step.block) {
                // A call whose successor in memory is unknown returns nowhere.
                stack.push(behind.unwrap_or(u32::MAX));
            } else if classes.get(step.block as usize) == Some(&Some(Class::Return)) {
                let depth = stack.iter().rev().take(MAX_LEFT).position(|expected| *expected == to);
                known.is_unmatched |= depth != Some(0);
                *if depth == Some(0) { &mut matched } else { &mut unmatched } += 1;
                match depth {
                    Some(depth) => stack.truncate(stack.len().saturating_sub(depth + 1)),
                    None if stack.len() > USUAL_DEPTH => stack.clear(),
                    None => {}
                }
            }
            if stack.len() > MAX_DEPTH {
                let (found, bound) = (stack.len() as u64, MAX_DEPTH as u64);
                let workload = recording.about.workload.clone();
                return Err(ReplayError::TooLarge { workload, what: "calls without return", found, bound });
            }
            step.depth = stack.len() as u32;
        }
        for step in &self.steps {
            if let Some(block) = self.blocks.get_mut(step.block as usize) {
                block.executed += 1;
            }
        }
        let all_calls: Vec<bool> = (0..self.blocks.len() as u32).map(calls).collect();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let (Some(known), Some(class)) = (successors.get(index), classes.get(index).copied().flatten()) else {
                continue;
            };
            let is_call = all_calls.get(index).copied().unwrap_or(false);
            block.end = match (class, known.jump) {
                (Class::Hook(_), Some(to)) if !known.has_more && next.get(index).copied().flatten().is_some() => {
                    End::Hook(to)
                }
                (_, Some(to)) if is_call && !known.has_more => End::Calls(to),
                (_, Some(_)) if is_call => End::CallsSome,
                (Class::Return, _) if known.is_unmatched => End::Leaves,
                (Class::Return, _) => End::Returns,
                (_, None) => End::Falls,
                (_, Some(to)) if !known.has_more && known.falls => End::Branches(to),
                (_, Some(to)) if !known.has_more => End::Jumps(to),
                _ => End::Leads,
            };
        }
        (self.matched_returns, self.unmatched_returns) = (matched, unmatched);
        Ok(())
    }
}

/// The block of each instruction that executed runs have.
fn number_blocks(recording: &Recording, sequence: &[u32]) -> Vec<Option<u32>> {
    let mut executed = vec![false; recording.code.len()];
    let mut begins = vec![false; recording.code.len() + 1];
    let mut mark = |index: usize| begins.get_mut(index).map(|begins| *begins = true);
    for run in sequence.iter().collect::<HashSet<_>>() {
        let Some(run) = recording.runs.get(*run as usize) else { continue };
        let (first, end) = (run.first as usize, run.first as usize + run.length as usize);
        executed.get_mut(first..end).into_iter().flatten().for_each(|it| *it = true);
        mark(first);
        mark(end);
    }
    let mut last: Option<&Instruction> = None;
    for (index, it) in recording.code.iter().enumerate() {
        // A privileged instruction ends a block only where the recording continues elsewhere.
        let ends = !matches!(it.class, Class::Load | Class::Store | Class::Other | Class::Privileged(_));
        if ends {
            mark(index + 1);
        }
        if last.is_none_or(|last| last.address.wrapping_add(u64::from(last.length)) != it.address) {
            mark(index);
        }
        last = Some(it);
    }
    let mut next = 0u32;
    let mut open = false;
    let numbered = executed.iter().zip(&begins).map(|(executed, begins)| {
        if !executed {
            open = false;
            return None;
        }
        if *begins || !open {
            next += 1;
        }
        open = true;
        Some(next - 1)
    });
    numbered.collect()
}
