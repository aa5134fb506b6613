//! The layout of page flags: the bits of `struct page.flags` that hold zone, node and section, and the bits that remain
//! (`include/linux/page-flags-layout.h`).
//!
//! Section, node, zone and last CPU fill the word from the top, the flags from the bottom. If the word is too short,
//! the last CPU moves out first, into a field of its own. Then the node moves out and is found by section or zone.

use std::fmt;

/// The part of a kernel's configuration that decides the layout of page flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Width of the word in bits: 32 or 64.
    pub(crate) word: u32,
    /// `NR_PAGEFLAGS`
    pub(crate) flags: u32,
    /// `MAX_NR_ZONES`
    pub(crate) zones: u32,
    /// `MAX_NUMNODES`
    pub(crate) nodes: u32,
    /// Sections of `SPARSEMEM` without a virtual memory map; 0 if flags do not hold the section.
    pub(crate) sections: u32,
    /// Bits of `_last_cpupid` (`NUMA_BALANCING`), or 0.
    pub(crate) last_cpu: u32,
}

/// The layout of page flags; widths in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageFlags {
    /// The kernel's configuration.
    pub(crate) of: Flags,
    /// `SECTIONS_WIDTH`
    pub(crate) sections: u32,
    /// `NODES_WIDTH`; 0 if the node moved out, or if the machine has one node.
    pub(crate) nodes: u32,
    /// `ZONES_WIDTH`
    pub(crate) zones: u32,
    /// `LAST_CPUPID_WIDTH`; 0 if the last CPU moved out.
    pub(crate) last_cpu: u32,
    /// Bits that remain for more flags.
    pub(crate) free: u32,
    /// `NODE_NOT_IN_PAGE_FLAGS`
    pub(crate) node_moved_out: bool,
}

/// `order_base_2`: the number of bits that distinguish `count` values.
fn bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// Computes the layout of page flags for a kernel's configuration.
#[must_use]
pub(crate) fn page_flags(of: Flags) -> PageFlags {
    let (sections, zones, nodes) = (bits(of.sections), bits(of.zones), bits(of.nodes));
    let fixed = of.flags + sections + zones;
    let fits = |more: u32| fixed + more <= of.word;
    let node_moved_out = !fits(nodes);
    let nodes = if node_moved_out { 0 } else { nodes };
    let last_cpu = if fits(nodes + of.last_cpu) { of.last_cpu } else { 0 };
    let free = of.word.saturating_sub(fixed + nodes + last_cpu);
    PageFlags { of, sections, nodes, zones, last_cpu, free, node_moved_out }
}

impl fmt::Display for PageFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageFlags { of, sections, nodes, zones, last_cpu, free, node_moved_out } = self;
        write!(
            f,
            "{} bits, {} nodes: {} flags, {sections} section, {nodes} node, {zones} zone, {last_cpu} last CPU, \
             {free} free",
            of.word, of.nodes, of.flags
        )?;
        if *node_moved_out {
            f.write_str("; the node moves out, into a table of sections")?;
        }
        if of.last_cpu > *last_cpu {
            f.write_str("; the last CPU moves out, into struct page")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_moves_out_when_one_more_flag_fills_the_word() {
        let kernel = Flags { word: 32, flags: 21, zones: 4, nodes: 16, sections: 32, last_cpu: 0 };
        let tight = page_flags(kernel);
        assert_eq!((tight.nodes, tight.zones, tight.sections, tight.free), (4, 2, 5, 0));
        let full = page_flags(Flags { flags: 22, ..kernel });
        assert!(full.node_moved_out && !tight.node_moved_out);
        assert_eq!((full.nodes, full.free), (0, 3));
        let wide = page_flags(Flags { word: 64, last_cpu: 21, ..kernel });
        assert_eq!((wide.last_cpu, wide.free), (21, 11));
    }
}
