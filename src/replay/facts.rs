//! Counts what a replay has of its recording.

use std::collections::HashSet;

use super::address::{Address, Addresses};
use super::data::Accesses;
use super::flow::{End, Flow};
use super::item::Item;
use super::place::Places;
use super::plan::{Field, Plan};
use super::skeleton::Facts;
use crate::linux::record::recording::Recording;
use crate::stats::surroundings::LINE_BITS;

/// Counts over the whole window.
pub(super) fn count(
    recording: &Recording,
    flow: &Flow,
    accesses: &Accesses,
    addresses: &Addresses,
    plan: &Plan,
    places: &Places,
    stream: usize,
) -> Facts {
    let mut facts = Facts {
        data_lines: accesses.lines.len() as u64,
        accesses: accesses.executed.len() as u64,
        unassigned_touches: accesses.left_over,
        matched_returns: flow.matched_returns,
        unmatched_returns: flow.unmatched_returns,
        stream_bytes: stream as u64,
        ..Facts::default()
    };
    let (mut recorded, mut own) = (HashSet::new(), HashSet::new());
    for (index, (block, planned)) in (0u32..).zip(flow.blocks.iter().zip(&plan.blocks)) {
        let times = u64::from(block.executed);
        let code = flow.code(recording, index);
        facts.recorded_instructions += times * u64::from(block.length);
        facts.instructions += times * planned.items.iter().map(|(item, _)| count_instructions(*item)).sum::<u64>();
        recorded.extend(code.iter().flat_map(|it| [it.line(), it.last_line()]));
        let mut at = places.blocks.get(index as usize).map_or(0, |place| *place as usize);
        let late = places.late.get(index as usize).copied().unwrap_or(0);
        places.for_each_item(plan, index, late, |_, _, length| {
            own.extend([at >> LINE_BITS, (at + length.max(1) - 1) >> LINE_BITS]);
            at += length;
        });
        let is_streamed = |address: &&Address| matches!(address, Address::Streamed(_));
        facts.streamed += times * addresses.of_block(index).iter().filter(is_streamed).count() as u64;
        let is_branch = |(field, _): &&(Field, i32)| matches!(field, Field::Taken { .. });
        facts.streamed_branches += times * planned.fields.iter().filter(is_branch).count() as u64;
        if let (End::Hook(_), Some((Item::Site { site }, _))) = (block.end, planned.items.last()) {
            facts.hooks += times;
            let is_inlined = plan.sites.get(*site as usize).is_some_and(|site| site.inline.is_some());
            facts.inlined_hooks += if is_inlined { times } else { 0 };
        }
    }
    (facts.recorded_code_lines, facts.code_lines) = (recorded.len() as u64, own.len() as u64);
    facts
}

fn count_instructions(item: Item) -> u64 {
    match item {
        Item::Head | Item::Target { .. } => 2,
        Item::Repeat { .. } => 5,
        Item::Leave { .. } => 6,
        _ => 1,
    }
}
