//! Where the target of an indirect call comes from: the values of registers and stack slots, followed through one
//! function.
//!
//! The values are symbolic. Instructions are read in the order of addresses. States meet at the targets of forward
//! jumps: what differs there is unknown. A function with a jump back is read twice: the first reading tells what each
//! loop changes, and the second one begins the loop with that unknown. So the time is linear in the size of the
//! function.

use std::hash::Hash;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic};
use rustc_hash::FxHashMap;

use super::ahead::Targets;
use super::control::is_call;
pub use super::pool::{Id, Value, number};
use super::pool::{Place, Pool, unknown};

pub(super) const GENERAL: usize = 16;
pub(super) const RAX: usize = 0;
pub(super) const RSP: usize = 4;
pub(super) const RBP: usize = 5;
/// Registers that a call may change (System V psABI for x86-64, figure 3.4), by their number in machine code.
const CHANGED_BY_CALL: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
/// Stores to the stack that are compared where ways meet. Twice as many double the time of functions with large
/// frames; half as many miss variables of functions without optimisation.
const MAX_STORES: usize = 32;

/// The values of all general registers.
pub(super) type Registers = [Id; GENERAL];

/// A store to a slot of the stack.
struct Store {
    slot: i64,
    /// What the slot had before, and the number of the store that wrote it.
    before: Option<(Id, usize)>,
}

/// The start of a loop.
#[derive(Default)]
struct Header {
    /// Registers and number of stores when it was reached in the first reading.
    reached: Option<(Registers, usize)>,
    /// Registers that the loop changes, with what is known of them in all rounds.
    changed: [Option<Id>; GENERAL],
    /// Stack slots that the loop changes.
    slots: Vec<i64>,
    /// The registers at the jump back.
    back: Option<Registers>,
}

/// The values of one function, read instruction by instruction.
pub struct Values {
    pub(super) pool: Pool,
    pub(super) registers: Registers,
    /// The two words in vector registers, from a load to a store: compilers copy pairs of words so.
    pub(super) vectors: [Option<(Id, Id)>; GENERAL],
    /// The value of a slot, and the number of the store that wrote it.
    slots: FxHashMap<i64, (Id, usize)>,
    stores: Vec<Store>,
    ahead: Targets,
    /// The starts of loops with their addresses, in the order of these.
    headers: Vec<(u64, Header)>,
    /// The first of `headers` that this reading has not passed.
    next_header: usize,
    is_second: bool,
    /// The state at the last jump that may lead anywhere in the function.
    at_table: Option<Registers>,
    /// The state at the last call or jump.
    at_branch: Registers,
    /// Whether the instruction before leads to the next one.
    flows: bool,
    /// The instruction that is read.
    pub(super) ip: u64,
    pub(super) info: InstructionInfoFactory,
}

impl Default for Values {
    fn default() -> Values {
        let mut pool = Pool::default();
        let zero = pool.id(Value::Constant(0));
        Values {
            pool,
            registers: [zero; GENERAL],
            vectors: [None; GENERAL],
            slots: FxHashMap::default(),
            stores: Vec::new(),
            ahead: Targets::default(),
            headers: Vec::new(),
            next_header: 0,
            is_second: false,
            at_table: None,
            at_branch: [zero; GENERAL],
            flows: true,
            ip: 0,
            info: InstructionInfoFactory::new(),
        }
    }
}

/// Empties a map. A map that one large function made large would take long to clear for each small one.
pub(super) fn clear_map<K: Eq + Hash, V>(map: &mut FxHashMap<K, V>) {
    const MAX_KEPT: usize = 1 << 14;
    if map.capacity() > MAX_KEPT {
        *map = FxHashMap::default();
    } else {
        map.clear();
    }
}

impl Values {
    /// Begins a function. `back_targets` are the targets of its jumps back.
    pub fn begin(&mut self, mut back_targets: Vec<u64>) {
        self.pool.clear();
        back_targets.sort_unstable();
        back_targets.dedup();
        self.headers = back_targets.into_iter().map(|target| (target, Header::default())).collect();
        self.is_second = false;
        self.start();
    }

    /// Begins the second reading of the function.
    pub fn restart(&mut self) {
        self.is_second = true;
        self.start();
    }

    fn start(&mut self) {
        clear_map(&mut self.slots);
        self.ahead.clear();
        self.next_header = 0;
        self.stores.clear();
        self.vectors = [None; GENERAL];
        for register in 0..GENERAL {
            self.registers[register] = self.pool.id(Value::Entry(register as u8));
        }
        self.registers[RSP] = self.pool.id(Value::Stack(0));
        (self.at_table, self.at_branch, self.flows) = (None, self.registers, true);
    }

    /// How a value came to be.
    #[must_use]
    pub fn value(&self, id: Id) -> Value {
        self.pool.value(id)
    }

    /// The constant that a value is.
    #[must_use]
    pub fn constant(&self, id: Id) -> Option<u64> {
        self.pool.constant(id)
    }

    /// The value of a register by its number in machine code.
    #[must_use]
    pub fn register(&self, number: usize) -> Id {
        self.registers[number % GENERAL]
    }

    /// The number of bytes that the function has on its stack; `None` if unknown.
    #[must_use]
    pub fn stack_bytes(&self) -> Option<i64> {
        match self.value(self.registers[RSP]) {
            Value::Stack(offset) => Some(offset.wrapping_neg()),
            _ => None,
        }
    }

    pub(super) fn unknown(&self, place: Place) -> Id {
        unknown(self.ip, place)
    }

    /// Prepares for an instruction: joins the states that meet there. To be called before the operands are asked for.
    pub fn arrive(&mut self, instruction: &Instruction) {
        self.ip = instruction.ip();
        let ahead = self.ahead.take(self.ip);
        while self.headers.get(self.next_header).is_some_and(|(start, _)| *start < self.ip) {
            self.next_header += 1;
        }
        if !self.flows && ahead.is_none() && instruction.mnemonic() == Mnemonic::Nop {
            // Padding before the target of a jump.
            return;
        }
        match (self.flows, ahead) {
            (true, None) => {}
            (true, Some(other)) => {
                self.meet(&other.registers);
                self.meet_slots(other.first);
            }
            (false, Some(other)) => {
                self.registers = other.registers;
                self.rewind_slots(other.last);
                self.meet_slots(other.first);
            }
            (false, None) => self.guess(),
        }
        if !self.flows || ahead.is_some() {
            self.vectors = [None; GENERAL];
        }
        self.begin_loop();
        self.flows = true;
    }

    /// The start of a loop that the instruction is.
    fn header(&mut self) -> Option<&mut Header> {
        self.headers.get_mut(self.next_header).filter(|(start, _)| *start == self.ip).map(|(_, header)| header)
    }

    fn meet(&mut self, other: &Registers) {
        let Values { pool, registers, ip, .. } = self;
        join(pool, registers, other, *ip);
    }

    /// Slots that were stored to since the store `first`, and before it had another value, are unknown.
    fn meet_slots(&mut self, first: usize) {
        let from = first.max(self.stores.len().saturating_sub(MAX_STORES));
        for (slot, _) in self.changed_slots(from) {
            let value = self.unknown(Place::Slot(slot));
            self.store_slot(slot, value);
        }
    }

    /// The slots that have another value than before the store `from`, with the value of then.
    fn changed_slots(&self, from: usize) -> Vec<(i64, Id)> {
        let mut changed = Vec::new();
        for store in self.stores.iter().skip(from).take(MAX_STORES) {
            // A variable that had no value before has the one that it got. Of several stores, the first one counts.
            let Some((before, number)) = store.before else { continue };
            if number < from && self.slot(store.slot) != Some(before) {
                changed.push((store.slot, before));
            }
        }
        changed
    }

    /// Gives slots the values that they had before the store `to`.
    fn rewind_slots(&mut self, to: usize) {
        let to = to.max(self.stores.len().saturating_sub(MAX_STORES));
        for (slot, before) in self.changed_slots(to) {
            self.store_slot(slot, before);
        }
    }

    /// The start of a loop: the first reading notes the state, the second one forgets what the loop changes.
    fn begin_loop(&mut self) {
        let (is_second, reached) = (self.is_second, (self.registers, self.stores.len()));
        let Some(header) = self.header() else { return };
        if !is_second {
            header.reached = Some(reached);
            return;
        }
        let (changed, slots) = (header.changed, std::mem::take(&mut header.slots));
        self.vectors = [None; GENERAL];
        for (register, changed) in self.registers.iter_mut().zip(changed) {
            *register = changed.unwrap_or(*register);
        }
        for slot in slots {
            let value = self.unknown(Place::Slot(slot));
            self.store_slot(slot, value);
        }
    }

    /// The state where no earlier instruction leads: that of a jump back, else that of the last jump through a table,
    /// else that of the last call or jump.
    fn guess(&mut self) {
        let header = if self.is_second { self.header() } else { None };
        if let Some((header, back)) = header.and_then(|header| header.back.map(|back| (header, back))) {
            header.changed = [None; GENERAL];
            self.registers = back;
        } else if let Some(registers) = self.at_table {
            self.registers = registers;
        } else {
            self.registers = self.at_branch;
        }
    }

    pub(super) fn slot(&self, at: i64) -> Option<Id> {
        self.slots.get(&at).map(|(value, _)| *value)
    }

    pub(super) fn store_slot(&mut self, at: i64, value: Id) {
        let before = self.slots.insert(at, (value, self.stores.len()));
        self.stores.push(Store { slot: at, before });
    }

    /// Follows an instruction.
    pub fn follow(&mut self, instruction: &Instruction) {
        match instruction.flow_control() {
            FlowControl::Next => self.compute(instruction),
            FlowControl::Call if !is_call(instruction) => self.compute(instruction),
            FlowControl::Call | FlowControl::IndirectCall => {
                self.vectors = [None; GENERAL];
                for register in CHANGED_BY_CALL {
                    self.registers[register] = self.unknown(Place::Written(register as u8));
                }
                self.registers[RAX] = self.pool.id(Value::Result(self.ip));
                self.at_branch = self.registers;
            }
            FlowControl::ConditionalBranch => {
                self.at_branch = self.registers;
                self.jump(instruction.near_branch_target());
            }
            FlowControl::UnconditionalBranch => {
                self.at_branch = self.registers;
                self.jump(instruction.near_branch_target());
                self.flows = false;
            }
            FlowControl::IndirectBranch => {
                // With an empty stack, it may be a call at the function's end.
                let is_end = |registers: &Registers| self.value(registers[RSP]) == Value::Stack(0);
                if self.at_table.is_none_or(|table| is_end(&table) || !is_end(&self.registers)) {
                    self.at_table = Some(self.registers);
                }
                self.flows = false;
            }
            FlowControl::Return => self.flows = false,
            // Code behind a software interrupt is reached, behind `ud2` it is not.
            _ => self.flows = instruction.mnemonic() == Mnemonic::Int,
        }
    }

    fn jump(&mut self, target: u64) {
        let stores = self.stores.len();
        if target <= self.ip {
            if !self.is_second {
                self.jump_back(target);
            }
            return;
        }
        if let Some(state) = self.ahead.note(target, &self.registers, stores) {
            join(&mut self.pool, &mut state.registers, &self.registers, target);
        }
    }

    fn jump_back(&mut self, target: u64) {
        let Ok(index) = self.headers.binary_search_by_key(&target, |(start, _)| *start) else { return };
        let Some((registers, stores)) = self.headers.get(index).and_then(|(_, header)| header.reached) else { return };
        let slots = self.changed_slots(stores);
        let Values { pool, headers, registers: own, .. } = self;
        let Some((_, header)) = headers.get_mut(index) else { return };
        for (register, changed) in header.changed.iter_mut().enumerate() {
            let before = changed.unwrap_or(registers[register]);
            if before != own[register] {
                *changed = Some(pool.join(before, own[register], target, Place::Met(register as u8)));
            }
        }
        for (slot, _) in slots {
            if header.slots.len() < MAX_STORES && !header.slots.contains(&slot) {
                header.slots.push(slot);
            }
        }
        match &mut header.back {
            Some(back) => join(pool, back, own, target),
            None => header.back = Some(*own),
        }
    }
}

/// Joins the registers of two jumps to a target.
fn join(pool: &mut Pool, state: &mut Registers, own: &Registers, target: u64) {
    if state == own {
        return;
    }
    for (register, (joined, own)) in state.iter_mut().zip(own).enumerate() {
        *joined = pool.join(*joined, *own, target, Place::Met(register as u8));
    }
}
