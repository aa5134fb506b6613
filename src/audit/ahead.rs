//! What is known at the targets of jumps that come later in a function.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::values::{Registers, clear_map};

/// What is known at the target of a jump.
#[derive(Clone, Copy)]
pub struct Ahead {
    pub registers: Registers,
    /// Numbers of stores at the first and at the last jump.
    pub first: usize,
    pub last: usize,
}

/// The targets that the reading has not reached.
#[derive(Default)]
pub struct Targets {
    states: FxHashMap<u64, Ahead>,
    /// The addresses of `states`. Most instructions are none of them and need no search.
    next: BinaryHeap<Reverse<u64>>,
}

impl Targets {
    /// Forgets all targets.
    pub fn clear(&mut self) {
        clear_map(&mut self.states);
        self.next.clear();
    }

    /// Takes what is known at an address. Targets before it are within other instructions: nothing reaches them.
    pub fn take(&mut self, address: u64) -> Option<Ahead> {
        while let Some(Reverse(next)) = self.next.peek().copied().filter(|next| next.0 <= address) {
            self.next.pop();
            if next == address {
                return self.states.remove(&address);
            }
        }
        None
    }

    /// Notes a jump to a target. If it is not the first one, returns what the others know there.
    pub fn note(&mut self, target: u64, registers: &Registers, stores: usize) -> Option<&mut Ahead> {
        match self.states.entry(target) {
            Entry::Vacant(entry) => {
                entry.insert(Ahead { registers: *registers, first: stores, last: stores });
                self.next.push(Reverse(target));
                None
            }
            Entry::Occupied(entry) => {
                let state = entry.into_mut();
                state.last = stores;
                Some(state)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Targets;
    use crate::audit::pool::{Place, unknown};

    #[test]
    fn a_target_is_taken_once_and_one_within_an_instruction_never() {
        let registers = [unknown(0, Place::Other(0)); 16];
        let mut targets = Targets::default();
        for (jump, target) in [30, 10, 12, 30].into_iter().enumerate() {
            assert_eq!(targets.note(target, &registers, jump).is_some(), jump == 3);
        }
        let taken = [5, 10, 10, 20, 30, 31].map(|address| targets.take(address).map(|it| (it.first, it.last)));
        assert_eq!(taken, [None, Some((1, 1)), None, None, Some((0, 3)), None]);
    }
}
