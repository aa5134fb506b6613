//! How each load and store of the replay gets its address.
//!
//! An access that always touches one line has it as a constant. Others take it from the stream, which costs a load, or
//! lie at a constant distance from one of the last streamed addresses, as the fields of an object do. The fewer are
//! streamed, the less the replay differs from what it replays.

use super::data::{Accesses, NO_LINE, PAGE_LINE_BITS, is_access};
use super::flow::Flow;
use crate::linux::record::recording::Recording;

/// Registers that hold streamed addresses.
pub(super) const BASES: usize = 4;
/// Largest distance from a streamed address, in lines: four pages.
pub(super) const MAX_DISTANCE: i64 = 256;
/// Passes over the window. More find no more distances.
const ROUNDS: usize = 6;

/// The address of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Always this line, an index of [`Accesses::lines`].
    Fixed(u32),
    /// The stream has it; it stays in a register.
    Streamed(u8),
    /// At a distance in lines from the address in a register.
    Near(u8, i32),
}

/// The addresses of all accesses, and their lines in order.
pub(super) struct Addresses {
    /// Index of the first access of each block.
    first: Vec<u32>,
    /// The addresses of all accesses, block by block.
    all: Vec<Address>,
}

/// What is known of an access while addresses are chosen.
#[derive(Clone, Copy)]
struct Choice {
    address: Address,
    is_locked: bool,
    /// The distance from each register, if it is always the same; `i64::MAX` before the first, `i64::MIN` if it
    /// changes.
    distances: [i64; BASES],
    /// The last access that wrote each register.
    writers: [u32; BASES],
}

const UNKNOWN: i64 = i64::MAX;
const CHANGES: i64 = i64::MIN;

impl Addresses {
    /// Chooses the addresses of the accesses of a window.
    pub(super) fn of(recording: &Recording, flow: &Flow, accesses: &Accesses) -> Addresses {
        let mut first = Vec::with_capacity(flow.blocks.len() + 1);
        let mut is_rep = Vec::new();
        for block in 0..flow.blocks.len() as u32 {
            first.push(is_rep.len() as u32);
            is_rep.extend(flow.code(recording, block).iter().filter(|it| is_access(it)).map(|it| it.is_rep));
        }
        first.push(is_rep.len() as u32);
        let executed = list_executed(flow, &first, accesses);
        let mut fixed: Vec<Option<u32>> = vec![None; is_rep.len()];
        let mut changes = is_rep.clone();
        for (slot, line) in &executed {
            if let (Some(fixed), Some(changes)) = (fixed.get_mut(*slot as usize), changes.get_mut(*slot as usize)) {
                *changes |= fixed.is_some_and(|fixed| fixed != *line);
                *fixed = Some(*line);
            }
        }
        let stacks = find_stack_lines(&executed, accesses, is_rep.len());
        let mut choices = Vec::with_capacity(is_rep.len());
        for (slot, ((fixed, is_rep), stack)) in fixed.iter().zip(&is_rep).zip(stacks).enumerate() {
            let changing = changes.get_mut(slot).filter(|changes| **changes);
            let address = match (changing, stack) {
                (Some(changes), Some(line)) if !is_rep => {
                    *changes = false;
                    Address::Fixed(line)
                }
                (Some(_), _) => Address::Streamed(base(slot)),
                (None, _) => Address::Fixed(fixed.unwrap_or(0)),
            };
            let (distances, writers) = ([UNKNOWN; BASES], [u32::MAX; BASES]);
            choices.push(Choice { address, is_locked: *is_rep, distances, writers });
        }
        let executed: Vec<(u32, i64)> = executed
            .into_iter()
            .filter(|(slot, _)| changes.get(*slot as usize) == Some(&true))
            .map(|(slot, line)| (slot, accesses.lines.get(line as usize).map_or(0, |line| *line as i64)))
            .collect();
        for round in 0..ROUNDS {
            find_distances(&executed, &mut choices);
            choose(&mut choices, round + 1 == ROUNDS);
        }
        // What was chosen last must hold, too.
        loop {
            find_distances(&executed, &mut choices);
            if !choose(&mut choices, true) {
                break;
            }
        }
        Addresses { first, all: choices.into_iter().map(|choice| choice.address).collect() }
    }

    /// The addresses of a block's accesses.
    pub(super) fn of_block(&self, block: u32) -> &[Address] {
        let range = self.first.get(block as usize).zip(self.first.get(block as usize + 1));
        range.and_then(|(from, to)| self.all.get(*from as usize..*to as usize)).unwrap_or_default()
    }
}

/// The register of a streamed address.
fn base(slot: usize) -> u8 {
    (slot % BASES) as u8
}

/// The executed accesses, each with its number and line. One without a touch has the line that it had last.
fn list_executed(flow: &Flow, first: &[u32], accesses: &Accesses) -> Vec<(u32, u32)> {
    let mut executed = Vec::with_capacity(accesses.executed.len());
    let mut lines = accesses.executed.iter();
    for step in &flow.steps {
        let range = first.get(step.block as usize).zip(first.get(step.block as usize + 1));
        let Some((from, to)) = range else { continue };
        for (slot, line) in (*from..*to).zip(lines.by_ref()) {
            if *line != NO_LINE {
                executed.push((slot, *line));
            }
        }
    }
    executed
}

/// The most frequent line of each access that always touches a stack. The depth of a stack differs from call to call;
/// the lines of a stack are warm all the same.
fn find_stack_lines(executed: &[(u32, u32)], accesses: &Accesses, slots: usize) -> Vec<Option<u32>> {
    // A vote: the line that is left is the most frequent one, if it has more than half.
    let mut votes: Vec<Option<(u32, u32)>> = vec![Some((0, 0)); slots];
    for (slot, line) in executed {
        let page = accesses.lines.get(*line as usize).map_or(0, |line| line >> PAGE_LINE_BITS);
        let Some(vote) = votes.get_mut(*slot as usize) else { continue };
        *vote = match *vote {
            _ if !accesses.stacks.contains(&page) => None,
            Some((_, 0)) => Some((*line, 1)),
            Some((chosen, votes)) if chosen == *line => Some((chosen, votes + 1)),
            Some((chosen, votes)) => Some((chosen, votes - 1)),
            None => None,
        };
    }
    votes.into_iter().map(|vote| vote.map(|(line, _)| line)).collect()
}

/// Finds the distance of each access from each register. The window repeats, so it begins with the registers of its
/// end.
fn find_distances(executed: &[(u32, i64)], choices: &mut [Choice]) {
    for choice in choices.iter_mut() {
        (choice.distances, choice.writers) = ([UNKNOWN; BASES], [u32::MAX; BASES]);
    }
    let mut bases: [(Option<i64>, u32); BASES] = [(None, u32::MAX); BASES];
    for is_first in [true, false] {
        for (slot, line) in executed {
            let Some(choice) = choices.get_mut(*slot as usize) else { continue };
            if !is_first {
                let known = choice.distances.iter_mut().zip(&mut choice.writers);
                for ((distance, writer), (base, wrote)) in known.zip(&bases) {
                    let now = base.map_or(CHANGES, |base| line - base);
                    if *distance == UNKNOWN && now.unsigned_abs() <= MAX_DISTANCE as u64 {
                        *distance = now;
                    } else if *distance == CHANGES || now == CHANGES || now != *distance {
                        *distance = CHANGES;
                    }
                    *writer = *wrote;
                }
            }
            if let Address::Streamed(base) = choice.address
                && let Some(base) = bases.get_mut(usize::from(base))
            {
                *base = (Some(*line), *slot);
            }
        }
    }
}

/// Makes streamed accesses near ones where the distance is constant, and near ones streamed where it is not. Returns
/// whether something changed. With `only_undo`, only the latter.
fn choose(choices: &mut [Choice], only_undo: bool) -> bool {
    let mut changed = false;
    let mut pinned = vec![false; choices.len()];
    for at in 0..choices.len() {
        let Some(choice) = choices.get(at).copied() else { continue };
        let address = match choice.address {
            Address::Near(base, distance) => {
                if choice.distances.get(usize::from(base)) == Some(&i64::from(distance)) {
                    continue;
                }
                Address::Streamed(self::base(at))
            }
            Address::Streamed(_) if !only_undo && !choice.is_locked && !pinned.get(at).copied().unwrap_or(true) => {
                let usable =
                    choice.distances.iter().zip(&choice.writers).enumerate().find(|(_, (distance, writer))| {
                        let holds = distance.unsigned_abs() <= MAX_DISTANCE as u64;
                        holds
                            && matches!(choices.get(**writer as usize).map(|it| it.address), Some(Address::Streamed(_)))
                    });
                let Some((base, (distance, writer))) = usable else { continue };
                if let Some(pinned) = pinned.get_mut(*writer as usize) {
                    *pinned = true;
                }
                Address::Near(base as u8, *distance as i32)
            }
            _ => continue,
        };
        changed = true;
        if let Some(choice) = choices.get_mut(at) {
            choice.address = address;
            choice.is_locked |= matches!(address, Address::Streamed(_));
        }
    }
    changed
}
