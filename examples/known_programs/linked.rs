//! Linked lists of objects with counters, as a kernel has them: walks, moves and frees.

use pvbench::prelude::*;

use crate::instances::{odd, store, value};

const NODES: usize = 1 << 11;

#[derive(Clone, Default)]
pub struct Node {
    next: u32,
    before: u32,
    users: u32,
    flags: u32,
    size: u64,
    owner: u64,
}

pub struct Lists {
    nodes: Vec<Node>,
    at: u32,
    moved: u64,
}

program!(
    /// The program.
    Linked, "known_linked", "lists of objects with counters", Lists, |mut random| {
        let mut nodes = vec![Node::default(); NODES];
        for (index, node) in nodes.iter_mut().enumerate() {
            node.next = ((index * 677 + 13) % NODES) as u32;
            node.before = random.below(NODES as u64) as u32;
            node.users = random.below(5) as u32;
            node.size = random.below(1 << 16);
        }
        Lists { nodes, at: 0, moved: 0 }
    }, step);

#[inline(never)]
fn step<D: Dispatch, const K: u64>(lists: &mut Lists) -> u64 {
    let mut sum = K;
    let mut at = lists.at as usize % NODES;
    for _ in 0..3 + K % 3 {
        let node = &mut lists.nodes[at];
        node.users = node.users.wrapping_add(1);
        if node.size & (1 << (K % 11)) != 0 {
            node.flags |= 1 << (K % 31);
            node.size = node.size.wrapping_mul(odd(K)) >> (48 - K % 16);
        } else if node.users > 3 + (K % 3) as u32 {
            node.users = 0;
            store::<D>(&mut node.owner, sum);
            node.flags &= !(2 << (K % 30));
        } else {
            sum = sum.wrapping_add(node.owner).rotate_left(3);
        }
        let (next, before) = (node.next as usize % NODES, node.before as usize % NODES);
        if sum & 7 == K & 7 {
            lists.nodes[next].before = at as u32;
            lists.nodes[before].next = next as u32;
            lists.moved += 1;
        }
        sum ^= lists.nodes[next].size;
        at = if node_is_odd(sum) { next } else { (next + 1 + K as usize) % NODES };
    }
    lists.at = value::<D>(at as u64) as u32;
    sum
}

#[inline(always)]
fn node_is_odd(sum: u64) -> bool {
    (sum ^ sum >> 7) & 3 != 0
}
