//! Where each block lies: at its recorded place within its page and line, as far as lengths allow.
//!
//! Pages that are neighbours stay neighbours; groups of pages are shuffled by the placement. An instruction that is
//! longer than the recorded one pushes those after it on, and they are shorter where they can be, until all are in
//! place again.

use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::ReplayError;
use super::arena::PAGE_BYTES;
use super::flow::Flow;
use super::item::{Item, MAX_BYTES, encode};
use super::plan::Plan;
use crate::linux::record::recording::Recording;

/// Bound on the bytes of the code: thirty times those of the largest recording.
const MAX_CODE_BYTES: u64 = 64 << 20;
/// Tries to place short branches. Each makes at least one longer.
const MAX_TRIES: usize = 64;
/// How many bytes an instruction may be longer than the recorded one to catch up.
const MAX_LONGER: i64 = 3;
/// Bytes of `cmp r14, [rbp + d32]; jae rel32`
pub(super) const HEAD_BYTES: usize = 13;
/// Bytes of a call through a table.
pub(super) const TABLE_CALL_BYTES: usize = 6;

/// The places of all blocks.
pub(super) struct Places {
    /// Offset of each block from the start of the image.
    pub blocks: Vec<u32>,
    /// Offset behind each block.
    ends: Vec<u32>,
    /// How far each block lies behind its recorded place, in bytes.
    pub late: Vec<i64>,
    /// Whether the branch at the end of each block has a distance of one byte.
    pub is_short: Vec<bool>,
    /// The width of each site.
    pub widths: Vec<usize>,
    /// Bytes of the image.
    pub bytes: usize,
}

/// A row of blocks without a gap.
#[derive(Clone, Copy)]
struct Fragment {
    first: u32,
    blocks: u32,
    address: u64,
}

impl Places {
    /// Places all blocks behind `reserved` bytes.
    pub(super) fn of(
        recording: &Recording,
        flow: &Flow,
        plan: &Plan,
        reserved: usize,
        rng: &mut Pcg64Mcg,
    ) -> Result<Places, ReplayError> {
        let groups = group(find_fragments(recording, flow), rng);
        let widths = plan.sites.iter().map(|site| {
            let body: usize =
                site.inline.iter().flatten().map(|(item, length)| encode(*item, usize::from(*length)).len()).sum();
            body.max(TABLE_CALL_BYTES).max(usize::from(site.recorded))
        });
        let mut places = Places {
            blocks: vec![0; flow.blocks.len()],
            ends: vec![0; flow.blocks.len()],
            late: vec![0; flow.blocks.len()],
            is_short: vec![true; flow.blocks.len()],
            widths: widths.collect(),
            bytes: 0,
        };
        for (block, is_short) in plan.blocks.iter().zip(&mut places.is_short) {
            *is_short = block.items.last().is_none_or(|(_, length)| *length <= 2);
        }
        for attempt in 0.. {
            places.place(recording, flow, plan, reserved, &groups)?;
            if !places.lengthen(plan, attempt >= MAX_TRIES) {
                break;
            }
        }
        Ok(places)
    }

    fn place(
        &mut self,
        recording: &Recording,
        flow: &Flow,
        plan: &Plan,
        reserved: usize,
        groups: &[Vec<Fragment>],
    ) -> Result<(), ReplayError> {
        let mut end = reserved as u64;
        for group in groups {
            let Some(first) = group.first() else { continue };
            let base = end.next_multiple_of(PAGE_BYTES as u64);
            let page = first.address & !(PAGE_BYTES as u64 - 1);
            end = base;
            for fragment in group {
                let wanted = |address: u64| base.saturating_add(address.wrapping_sub(page));
                end = end.max(wanted(fragment.address));
                for block in fragment.first..fragment.first + fragment.blocks {
                    if end > MAX_CODE_BYTES {
                        let workload = recording.about.workload.clone();
                        let (found, bound) = (end, MAX_CODE_BYTES);
                        return Err(ReplayError::TooLarge { workload, what: "bytes of code", found, bound });
                    }
                    let at = flow.code(recording, block).first().map_or(0, |it| wanted(it.address));
                    let (start, late) = (end, end as i64 - at as i64);
                    end += self.measure(plan, block, late) as u64;
                    let index = block as usize;
                    let places = self.blocks.get_mut(index).zip(self.ends.get_mut(index)).zip(self.late.get_mut(index));
                    if let Some(((place, behind), known)) = places {
                        (*place, *behind, *known) = (start as u32, end as u32, late);
                    }
                }
            }
        }
        // Bytes that trap behind the last block.
        self.bytes = (end as usize + MAX_BYTES).next_multiple_of(PAGE_BYTES);
        Ok(())
    }

    /// Bytes of a block that begins `late` bytes after its recorded place.
    fn measure(&self, plan: &Plan, block: u32, late: i64) -> usize {
        let mut sum = 0;
        self.for_each_item(plan, block, late, |_, _, length| sum += length);
        sum
    }

    /// Calls `each` with the items of a block, the length that each should have and the one that it has.
    pub(super) fn for_each_item(
        &self,
        plan: &Plan,
        block: u32,
        mut late: i64,
        mut each: impl FnMut(Item, usize, usize),
    ) {
        let is_short = self.is_short.get(block as usize).copied().unwrap_or(false);
        for (item, recorded) in plan.blocks.get(block as usize).into_iter().flat_map(|block| &block.items) {
            let recorded = i64::from(*recorded);
            let wanted = if recorded == 0 { 0 } else { (recorded - late).clamp(1, recorded + MAX_LONGER) as usize };
            let length = self.length(*item, wanted, is_short);
            each(*item, wanted, length);
            late += length as i64 - recorded;
        }
    }

    fn length(&self, item: Item, wanted: usize, is_short: bool) -> usize {
        match item {
            Item::Taken { .. } => {
                if is_short {
                    2
                } else {
                    6
                }
            }
            Item::Untaken => {
                if wanted < 6 {
                    2
                } else {
                    6
                }
            }
            Item::Jump { .. } => {
                if is_short {
                    2
                } else {
                    5
                }
            }
            Item::Call { .. } => 5,
            Item::KnownTarget { .. } => 7,
            Item::Head => HEAD_BYTES,
            Item::Site { site } => self.widths.get(site as usize).copied().unwrap_or(TABLE_CALL_BYTES),
            item => encode(item, wanted).len(),
        }
    }

    /// Makes branches longer whose target is out of reach; with `all`, all of them. Returns whether there were some.
    fn lengthen(&mut self, plan: &Plan, all: bool) -> bool {
        let mut found = false;
        for index in 0..self.is_short.len() {
            let target = match plan.blocks.get(index).and_then(|block| block.items.last()) {
                Some((Item::Taken { block } | Item::Jump { block }, _)) => *block,
                _ => continue,
            };
            let place = |block: usize| self.blocks.get(block).map_or(0, |place| i64::from(*place));
            let end = self.ends.get(index).map_or(0, |end| i64::from(*end));
            let is_near = i8::try_from(place(target as usize) - end).is_ok();
            if let Some(is_short) = self.is_short.get_mut(index).filter(|is_short| **is_short && (all || !is_near)) {
                (*is_short, found) = (false, true);
            }
        }
        found
    }
}

fn find_fragments(recording: &Recording, flow: &Flow) -> Vec<Fragment> {
    let mut fragments: Vec<Fragment> = Vec::new();
    for block in 0..flow.blocks.len() as u32 {
        let follows = block.checked_sub(1).is_some_and(|before| flow.next_in_memory(recording, before).is_some());
        match fragments.last_mut() {
            Some(fragment) if follows => fragment.blocks += 1,
            _ => {
                let address = flow.code(recording, block).first().map_or(0, |it| it.address);
                fragments.push(Fragment { first: block, blocks: 1, address });
            }
        }
    }
    fragments
}

/// Groups fragments in neighbouring pages, and shuffles the groups.
fn group(mut fragments: Vec<Fragment>, rng: &mut Pcg64Mcg) -> Vec<Vec<Fragment>> {
    fragments.sort_by_key(|fragment| (fragment.address, fragment.first));
    let page = |fragment: &Fragment| fragment.address / PAGE_BYTES as u64;
    let mut groups: Vec<Vec<Fragment>> = Vec::new();
    for fragment in fragments {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| page(&fragment) - page(last) <= 1) => group.push(fragment),
            _ => groups.push(vec![fragment]),
        }
    }
    groups.shuffle(rng);
    groups
}
