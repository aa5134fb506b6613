//! Names of the addresses in a listing: the loop, the body, the table of pointers, and what lies between.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{Instruction, Mnemonic, SymbolResolver, SymbolResult};

use crate::dispatch::CallSequence;
use crate::op::{BodyKind, Since};
use crate::suite::{OpEntry, Pair};

/// What is known about the addresses of one traced loop.
pub(super) struct KnownAddresses<'a> {
    pub op: &'a OpEntry,
    pub pair: &'a Pair,
    /// The loop; empty where it is not a copy.
    pub span: Range<usize>,
    /// The native body.
    pub body: Range<usize>,
    /// Returns the original of the copied callee at an address.
    pub callee_at: &'a dyn Fn(usize) -> Option<usize>,
}

/// Largest size of a thunk, stub or check. A retpoline has 21 bytes; at twice this size, two stubs of one mechanism
/// would be taken for one.
const MAX_BYTES_BETWEEN: u64 = 64;

/// The names of the addresses that the instructions of a listing refer to, each with the address where the name begins.
#[derive(Default)]
pub(super) struct Names(BTreeMap<u64, (u64, &'static str)>);

impl Names {
    /// Names the targets of branches and the addresses of memory operands.
    pub fn find<'a>(instructions: impl Iterator<Item = &'a Instruction>, known: &KnownAddresses) -> Self {
        let mut names = BTreeMap::new();
        let mut between: Option<u64> = None;
        for instruction in instructions {
            if instruction.is_ip_rel_memory_operand() {
                let address = instruction.ip_rel_memory_address();
                names.insert(address, known.name_data(address as usize, instruction));
            }
            let target = instruction.near_branch_target();
            if target != 0 {
                let name = known.find_function(target as usize).unwrap_or_else(|| {
                    // Code on the way is entered first and then branches within itself.
                    let entry = between.filter(|entry| (*entry..entry + MAX_BYTES_BETWEEN).contains(&target));
                    (*between.insert(entry.unwrap_or(target)), known.name_between())
                });
                names.insert(target, name);
            }
        }
        Names(names)
    }
}

impl SymbolResolver for Names {
    fn symbol(&mut self, _: &Instruction, _: u32, _: Option<u32>, address: u64, _: u32) -> Option<SymbolResult<'_>> {
        self.0.get(&address).map(|(start, name)| SymbolResult::with_str(*start, name))
    }
}

impl KnownAddresses<'_> {
    /// Names an address that an instruction reads, writes or takes.
    fn name_data(&self, address: usize, instruction: &Instruction) -> (u64, &'static str) {
        if let Some(function) = self.find_function(address) {
            return function;
        }
        let (start, bytes) = (self.pair.data)().unwrap_or_default();
        if (start..start + bytes).contains(&address) {
            return (start as u64, self.name_table());
        }
        let name = match self.pair.mechanism.way {
            _ if self.pair.pointer.is_some_and(|pointer| pointer as usize == address) => "slot",
            _ if self.is_in_body(instruction.ip() as usize) => "data",
            CallSequence::CompareTree if instruction.mnemonic() == Mnemonic::Lea => "other_body",
            CallSequence::Plt | CallSequence::Got => "got",
            CallSequence::Branch => "flag",
            CallSequence::IndirectMemory => "slot",
            _ => "data",
        };
        (address as u64, name)
    }

    /// Names the loop, the body, or the body that saves registers, if the address is in one of them.
    fn find_function(&self, address: usize) -> Option<(u64, &'static str)> {
        if self.span.contains(&address) {
            return Some((self.span.start as u64, "loop"));
        }
        if self.body.contains(&address) {
            return Some((self.body.start as u64, "body"));
        }
        let saving = self.op.target(BodyKind::Native).saving;
        let original = (self.callee_at)(address);
        let name = match original {
            Some(original) if original == self.body.start => "body",
            Some(original) if original == saving => "saving_body",
            _ if address == saving => "saving_body",
            _ => return None,
        };
        Some((address as u64, name))
    }

    fn is_in_body(&self, address: usize) -> bool {
        self.body.contains(&address) || (self.callee_at)(address) == Some(self.body.start)
    }

    /// Names the data of the mechanism. Linux calls its table `pv_ops`.
    fn name_table(&self) -> &'static str {
        match self.pair.mechanism.way {
            CallSequence::IndirectMemory | CallSequence::Thunk if self.op.meta.since != Since::NotLinux => "pv_ops",
            CallSequence::Branch => "flag",
            CallSequence::Got | CallSequence::Plt => "got",
            _ => "table",
        }
    }

    /// Names code that is neither loop nor body.
    fn name_between(&self) -> &'static str {
        match self.pair.mechanism.way {
            CallSequence::Thunk => "thunk",
            CallSequence::Trampoline => "trampoline",
            CallSequence::Plt => "stub",
            CallSequence::CallerCheck | CallSequence::CalleeCheck => "check",
            CallSequence::Indirect => "method",
            _ => "code",
        }
    }
}
