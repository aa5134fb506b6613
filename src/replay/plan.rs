//! The instructions of each block: those of the recording by class, and what drives them.
//!
//! What reads the stream takes the place of an instruction without memory, where the block has one, so that the number
//! of instructions stays.

use std::collections::HashSet;

use rand_pcg::Pcg64Mcg;

use super::address::{Addresses, BASES};
use super::arena::Arena;
use super::block::{Builder, Registers};
use super::flow::{End, Flow};
use super::item::Item;
use crate::linux::record::recording::Recording;
use crate::op::{BodyKind, Bytes};
use crate::patch::rules::targets;

/// Instructions of a hook's body that is put in the place of its call; a longer body stays a function.
const MAX_BODY: usize = 8;
/// Blocks of such a body.
const MAX_BODY_BLOCKS: u32 = 4;

/// What a recording does not say, and the replay must assume.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Assumptions {
    /// Share of the operations that wait for the result of the one before.
    pub chained: f64,
    /// Share of the accesses whose address waits for the last load.
    pub address_after_load: f64,
    /// Factor of the stream's size; more than 1 is to find out whether the result follows the stream.
    pub stream_factor: u32,
}

/// A field of a record of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The place of the line of an access, by its number in the block.
    Line { access: u32 },
    /// The number of eight-byte words of a string instruction, by its number in the block.
    Words { access: u32 },
    /// The block that follows.
    Target,
    /// The depth of the stack.
    Stack,
    /// Whether the branch is taken.
    Taken { to: u32 },
    /// Nothing: the record must not be empty.
    Padding,
}

impl Field {
    /// Its size in bytes.
    pub(super) fn bytes(self) -> usize {
        if matches!(self, Field::Taken { .. } | Field::Padding) { 1 } else { 4 }
    }
}

/// An item, and the length of the instruction in whose place it is; 0 for an additional one.
pub(super) type Placed = (Item, u8);

/// The code of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct PlannedBlock {
    /// What it executes.
    pub items: Vec<Placed>,
    /// Its record of the stream, in order, each with its offset in bytes.
    pub fields: Vec<(Field, i32)>,
    /// Bytes of the record.
    pub record: i32,
}

/// A call site of a hook.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The block of the body.
    pub body: u32,
    /// The instructions of the body, if it is short.
    pub inline: Option<Vec<Placed>>,
    /// Number of the slot in the table.
    pub slot: u32,
    /// Length of the recorded call.
    pub recorded: u8,
    /// Index of the op.
    pub op: u16,
    /// Whether Linux puts the body in the place of the call.
    pub is_patched: bool,
}

/// The code of all blocks.
pub(super) struct Plan {
    pub blocks: Vec<PlannedBlock>,
    pub sites: Vec<Site>,
    /// Blocks of bodies, by slot.
    pub slots: Vec<u32>,
}

impl Plan {
    pub(super) fn of(
        recording: &Recording,
        flow: &Flow,
        addresses: &Addresses,
        arena: &Arena,
        assumptions: Assumptions,
        rng: Pcg64Mcg,
    ) -> Plan {
        let mut plan = Plan { blocks: Vec::with_capacity(flow.blocks.len()), sites: Vec::new(), slots: Vec::new() };
        let mut registers = Registers { rng, last: 0, last_load: 0, assumptions };
        let head = flow.steps.first().map(|step| step.block);
        // What earlier blocks of about as many executions have too much of.
        let mut owed = Owed::default();
        for (block, known) in (0u32..).zip(&flow.blocks) {
            let code = flow.code(recording, block);
            let mut builder = Builder {
                registers: &mut registers,
                rows: Vec::with_capacity(code.len() + 4),
                block: PlannedBlock::default(),
                last_use: [0; BASES],
                owed: owed.carried(known.executed),
            };
            builder.straight(code, addresses.of_block(block), arena, known.end);
            if head == Some(block) {
                builder.field(Field::Padding);
            }
            builder.end(code.last(), known.end, &mut plan);
            builder.repay();
            owed = Owed { instructions: builder.owed, executed: known.executed };
            let mut planned = builder.finish();
            if head == Some(block) {
                planned.items.insert(0, (Item::Head, 0));
            }
            plan.blocks.push(planned);
        }
        let patched: HashSet<&str> =
            targets(BodyKind::Native).values().filter(|it| it.bytes != Bytes::Call).map(|it| it.op).collect();
        for site in &mut plan.sites {
            site.is_patched =
                recording.about.ops.get(usize::from(site.op)).is_some_and(|op| patched.contains(op.as_str()));
            site.inline = find_body(flow, &plan.blocks, site.body);
        }
        plan
    }
}

/// Additional instructions of the blocks before, which later ones do without.
#[derive(Clone, Copy, Default)]
struct Owed {
    instructions: usize,
    executed: u32,
}

impl Owed {
    /// What a block with this number of executions can repay: it must be within an eighth.
    fn carried(self, executed: u32) -> usize {
        if executed.abs_diff(self.executed) <= self.executed / 8 { self.instructions } else { 0 }
    }
}

/// The items of a short body without its return.
fn find_body(flow: &Flow, blocks: &[PlannedBlock], first: u32) -> Option<Vec<Placed>> {
    let mut body = Vec::new();
    for block in (first..).take(MAX_BODY_BLOCKS as usize) {
        let items = &blocks.get(block as usize)?.items;
        match flow.blocks.get(block as usize)?.end {
            End::Falls => body.extend(items),
            End::Returns => {
                body.extend(items.iter().filter(|(item, _)| *item != Item::Return));
                let is_straight = |item: &Item| {
                    matches!(
                        item,
                        Item::Other { .. }
                            | Item::Filler
                            | Item::Load { .. }
                            | Item::Store { .. }
                            | Item::Address { .. }
                            | Item::Advance { .. }
                    )
                };
                let is_short = body.len() <= MAX_BODY && body.iter().all(|(item, _)| is_straight(item));
                return is_short.then_some(body);
            }
            _ => return None,
        }
    }
    None
}
