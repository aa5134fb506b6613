//! Builds the items of one block.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::address::{Address, BASES};
use super::arena::Arena;
use super::data::is_access;
use super::flow::End;
use super::item::{Item, LEGACY, Operand, ZEROS};
use super::plan::{Assumptions, Field, Placed, Plan, PlannedBlock, Site};
use crate::linux::record::recording::{Class, Instruction};
use crate::stats::surroundings::LINE_BITS;

/// Bound on the factor of the stream's size.
const MAX_STREAM_FACTOR: u32 = 8;
/// Longest `push` and `pop`, in bytes. They access lines that have the shortest addresses.
const MAX_PUSH_BYTES: u8 = 2;

/// Chooses registers.
pub(super) struct Registers {
    pub rng: Pcg64Mcg,
    pub last: u8,
    pub last_load: u8,
    pub assumptions: Assumptions,
}

impl Registers {
    fn any(&mut self) -> u8 {
        ZEROS.get(self.rng.random_range(0..ZEROS.len())).copied().unwrap_or(0)
    }

    fn legacy(&mut self) -> u8 {
        ZEROS.get(self.rng.random_range(0..LEGACY)).copied().unwrap_or(0)
    }

    fn other(&mut self, length: u8) -> Item {
        let is_short = length < 3;
        let to = if is_short { self.legacy() } else { self.any() };
        let from = if self.rng.random_bool(self.assumptions.chained) {
            self.last
        } else if is_short {
            self.legacy()
        } else {
            self.any()
        };
        self.last = to;
        Item::Other { to, from, adds: self.rng.random_bool(0.5) }
    }

    fn after(&mut self) -> Option<u8> {
        self.rng.random_bool(self.assumptions.address_after_load).then_some(self.last_load)
    }
}

/// Builds a block.
pub(super) struct Builder<'a> {
    pub registers: &'a mut Registers,
    pub rows: Vec<Option<Placed>>,
    pub block: PlannedBlock,
    /// The row after the last use of each streamed address.
    pub last_use: [usize; BASES],
    /// Instructions too many, with those of earlier blocks.
    pub owed: usize,
}

impl Builder<'_> {
    pub(super) fn field(&mut self, field: Field) -> i32 {
        let at = self.block.record;
        self.block.fields.push((field, at));
        self.block.record += field.bytes() as i32;
        at
    }

    /// Everything but the transfer of control at the end.
    pub(super) fn straight(&mut self, code: &[Instruction], addresses: &[Address], arena: &Arena, end: End) {
        let mut access = 0;
        for (index, it) in code.iter().enumerate() {
            let is_last = index + 1 == code.len();
            let item = match it.class {
                _ if is_access(it) => {
                    let address = addresses.get(access as usize).copied().unwrap_or(Address::Fixed(0));
                    let item = self.access(it, address, access, arena);
                    access += 1;
                    item
                }
                Class::Other => self.registers.other(it.length),
                Class::Branch if is_last && end == End::Falls => {
                    self.flags(Item::Test);
                    Item::Untaken
                }
                // `end` makes the transfer of control.
                Class::Hook(_) | Class::Return | Class::Call | Class::Indirect | Class::Branch | Class::Jump
                    if is_last && end != End::Falls =>
                {
                    continue;
                }
                _ => Item::Filler,
            };
            self.rows.push(Some((item, it.length)));
        }
    }

    fn access(&mut self, it: &Instruction, address: Address, access: u32, arena: &Arena) -> Item {
        // The offset in the line is not recorded.
        let within = 8 * self.registers.rng.random_range(0..8);
        let operand = match address {
            Address::Fixed(_) if it.length <= MAX_PUSH_BYTES && !it.is_rep => {
                Operand::Fixed { distance: 8 * self.registers.rng.random_range(-16..16), after: None }
            }
            Address::Fixed(line) => {
                Operand::Fixed { distance: arena.offset(line) as i32 + within, after: self.registers.after() }
            }
            Address::Near(base, distance) => {
                self.note_use(base);
                Operand::Base { base, distance: (distance << LINE_BITS) + within }
            }
            Address::Streamed(base) => {
                let at = self.field(Field::Line { access });
                let after = self.registers.last_load;
                let earliest = self.last_use.get(usize::from(base)).copied().unwrap_or(0);
                self.drive(Item::Address { base, at, after }, earliest);
                self.note_use(base);
                Operand::Base { base, distance: within }
            }
        };
        if it.is_rep {
            let at = self.field(Field::Words { access });
            return Item::Repeat { operand, at };
        }
        if it.class == Class::Store {
            return Item::Store { from: self.registers.last, operand };
        }
        let to = if it.length < 4 { self.registers.legacy() } else { self.registers.any() };
        (self.registers.last, self.registers.last_load) = (to, to);
        Item::Load { to, operand }
    }

    fn note_use(&mut self, base: u8) {
        if let Some(last_use) = self.last_use.get_mut(usize::from(base)) {
            *last_use = self.rows.len() + 1;
        }
    }

    /// Puts an item in the place of an operation, at `earliest` or later; else adds it at the end.
    fn drive(&mut self, item: Item, earliest: usize) {
        let is_free = |row: &Option<Placed>| matches!(row, Some((Item::Other { .. }, _)));
        if let Some((_, row)) = self.rows.iter_mut().enumerate().skip(earliest).rfind(|(_, row)| is_free(row)) {
            *row = row.map(|(_, length)| (item, length));
            return;
        }
        self.give_up_other();
        self.rows.push(Some((item, 0)));
    }

    /// Adds an item that sets the flags, which nothing after it may change.
    fn flags(&mut self, item: Item) {
        self.give_up_other();
        self.rows.push(Some((item, 0)));
    }

    /// Takes an operation out of the block, the last one.
    fn give_up_other(&mut self) {
        match self.rows.iter_mut().rfind(|row| matches!(row, Some((Item::Other { .. }, _)))) {
            Some(row) => *row = None,
            None => self.owed += 1,
        }
    }

    /// Gives up operations for what earlier blocks have too much of.
    pub(super) fn repay(&mut self) {
        for _ in 0..std::mem::take(&mut self.owed) {
            self.give_up_other();
        }
    }

    pub(super) fn end(&mut self, last: Option<&Instruction>, end: End, plan: &mut Plan) {
        let (class, length) = last.map_or((Class::Other, 0), |last| (last.class, last.length));
        let is_indirect = class == Class::Indirect;
        // A fault or an interrupt left a block whose last instruction is in place already.
        let length =
            if matches!(class, Class::Load | Class::Store | Class::Other | Class::Privileged(_)) { 0 } else { length };
        let mut flags = None;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        match end {
            End::Falls => {}
            End::Jumps(block) if class == Class::Branch => {
                flags = Some(Item::Test);
                after.push(Item::Taken { block });
            }
            End::Jumps(block) if is_indirect => {
                before.push(Item::KnownTarget { block });
                after.push(Item::JumpTarget);
            }
            End::Jumps(block) => after.push(Item::Jump { block }),
            End::Branches(block) => {
                let with = self.registers.last_load;
                flags = Some(Item::Compare { at: self.field(Field::Taken { to: block }), with });
                after.push(Item::Taken { block });
            }
            End::Leads | End::CallsSome => {
                let at = self.field(Field::Target);
                before.push(Item::Target { at });
                after.push(if end == End::Leads { Item::JumpTarget } else { Item::CallTarget });
            }
            End::Calls(block) if is_indirect => {
                before.push(Item::KnownTarget { block });
                after.push(Item::CallTarget);
            }
            End::Calls(block) => after.push(Item::Call { block }),
            End::Returns => after.push(Item::Return),
            End::Leaves => {
                let (stack, target) = (self.field(Field::Stack), self.field(Field::Target));
                after.push(Item::Leave { stack, target });
            }
            End::Hook(body) => {
                let slot = plan.slots.iter().position(|slot| *slot == body).unwrap_or_else(|| {
                    plan.slots.push(body);
                    plan.slots.len() - 1
                });
                after.push(Item::Site { site: plan.sites.len() as u32 });
                let op = if let Class::Hook(op) = class { op } else { 0 };
                let slot = slot as u32;
                plan.sites.push(Site { body, inline: None, slot, recorded: length, op, is_patched: false });
            }
        }
        for item in before {
            self.flags(item);
        }
        if self.block.record > 0 {
            // The rest of the record is never read.
            self.block.record *= self.registers.assumptions.stream_factor.clamp(1, MAX_STREAM_FACTOR) as i32;
            self.give_up_other();
            let bytes = self.block.record;
            self.rows.push(Some((Item::Advance { bytes }, 0)));
        }
        if let Some(item) = flags {
            self.flags(item);
        }
        for item in after {
            self.rows.push(Some((item, length)));
        }
    }

    /// The block. After the advance, offsets in the stream count from the next record.
    pub(super) fn finish(mut self) -> PlannedBlock {
        let mut items: Vec<Placed> = self.rows.into_iter().flatten().collect();
        let mut back = 0;
        for (item, _) in &mut items {
            match item {
                Item::Advance { bytes } => back = *bytes,
                Item::Address { at, .. } | Item::Repeat { at, .. } | Item::Compare { at, .. } | Item::Target { at } => {
                    *at -= back;
                }
                Item::Leave { stack, target } => (*stack, *target) = (*stack - back, *target - back),
                _ => {}
            }
        }
        self.block.items = items;
        self.block
    }
}
