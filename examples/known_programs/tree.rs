//! A search tree in an array: looks up areas, splits and merges them, as a kernel does with its mappings.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const NODES: usize = 1 << 11;

#[derive(Clone, Default)]
pub struct Area {
    start: u64,
    end: u64,
    flags: u64,
    pages: u64,
}

pub struct Areas {
    areas: Vec<Area>,
    next: u64,
}

program!(
    /// The program.
    Tree, "known_tree", "areas in a search tree", Areas, |mut random| {
        // A heap's order of a sorted row: children of n are 2n + 1 and 2n + 2.
        let mut areas = vec![Area::default(); NODES];
        for (index, area) in areas.iter_mut().enumerate() {
            let level = (index + 1).ilog2();
            let within = (index + 1 - (1 << level)) as u64;
            area.start = (2 * within + 1) << (31 - level);
            area.end = area.start + random.below(1 << 18);
            area.flags = random.below(16);
        }
        Areas { areas, next: random.below(1 << 30) | 1 }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(areas: &mut Areas) -> u64 {
    areas.next = areas.next.wrapping_mul(odd(K)) ^ areas.next >> 27;
    let address = value::<D>(areas.next >> 32);
    let (mut at, mut depth) = (0usize, 0u64);
    while at < NODES && depth < 7 + K % 4 {
        let area = &areas.areas[at];
        if address >= area.start && address < area.end {
            break;
        }
        at = 2 * at + 1 + usize::from(address >= area.start);
        depth += 1;
    }
    let area = &mut areas.areas[at % NODES];
    match area.flags & 3 {
        0 if area.end > area.start => {
            let middle = u64::midpoint(area.start, area.end);
            area.pages = area.pages.wrapping_add(middle >> (12 + K % 4));
            area.flags ^= 4 + (K & 8);
        }
        1 => store::<D>(&mut area.pages, address ^ depth),
        2 => {
            area.flags = area.flags.wrapping_add(1 + K % 5);
            area.pages = area.pages.rotate_left((K % 13) as u32) ^ area.flags;
        }
        _ => {
            let other = (at * 3 + K as usize) % NODES;
            let pages = areas.areas[other].pages;
            areas.areas[at % NODES].pages = pages.wrapping_mul(odd(K + 11)) >> 7;
            areas.areas[other].flags ^= 1;
        }
    }
    depth.wrapping_add(areas.areas[at % NODES].pages)
}
