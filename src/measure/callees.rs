//! What the loops of a group call, copied to a place that goes with the loops' own.
//!
//! A body stands where the linker put it, at one place for all layouts of its callers; the next build puts it
//! elsewhere, and predictors and caches that are indexed by addresses tell the two apart. So at every layout it stands
//! at another place, the same in all workers and all builds: what that does is in the range over layouts.
//!
//! Copied are the bodies, what tables and vtables lead to, and the trampoline of a static call, with the compiled
//! functions that they call. At their places stay the thunks of retpolines, one for all ops as in Linux, and what a
//! shared object or the linker's own stubs lead to. No unwind table knows a copy: a panic in one ends the process.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Comparison;
use crate::op::BodyKind;
use crate::patch::{CodeImage, CodeMemory, FunctionError, elf_image};
use crate::suite::{OpEntry, Pair};

/// Where bodies may stand: compilers align functions to that.
const ALIGNMENT: usize = 16;
/// A page's offsets are visited in steps of a pair of cache lines.
const PAIR: usize = 128;

/// So far lies each from the one before it, and the loops from the last: as far as in programs, where a call and its
/// body are rarely in one page. It matters: on a Zen 4 a trampoline costs a cycle more where its body is in another
/// page, and the jump behind a kCFI preamble another cycle where that is a megabyte away. No power of two, so that they
/// share no sets of caches.
const APART: usize = (1 << 20) + 3 * 4096 + 5 * PAIR;
/// All of them take no more address space than that.
const MAX_ROOM: usize = 32 << 20;

/// The callees of a group.
#[derive(Default)]
pub struct Callees {
    /// By op and platform: the addresses of the callees, and these decoded.
    trees: BTreeMap<(&'static str, BodyKind), (BTreeSet<usize>, CodeImage)>,
    /// Those of the group whose loops are there.
    now: Option<(&'static str, BodyKind)>,
    /// Words of this program that lead to copies, and what they held.
    words: Vec<(*mut usize, usize)>,
}

impl Callees {
    /// Copies the bodies of an op, what the mechanisms of `bound` lead to and `trampolines`, and has these mechanisms
    /// lead to the copies.
    ///
    /// # Errors
    /// Where a callee cannot be decoded, or there is no room.
    pub fn place<'p>(
        &mut self,
        op: &OpEntry,
        group: &Comparison,
        bound: impl Iterator<Item = &'p Pair> + Clone,
        trampolines: impl Iterator<Item = usize>,
        memory: &mut CodeMemory,
    ) -> Result<(), FunctionError> {
        // Mechanisms share them.
        let words: BTreeSet<*mut usize> = bound.clone().filter_map(|pair| pair.pointer).collect();
        let vtables: BTreeMap<*mut usize, usize> = bound.filter_map(|pair| pair.vtable).collect();
        let held = |word: *mut usize| {
            // SAFETY: mechanisms gave them for words that nobody writes meanwhile.
            (word, unsafe { word.read() })
        };
        let words: Vec<(*mut usize, usize)> = words.into_iter().map(held).collect();
        let vtables: Vec<(*mut usize, usize, &[usize])> = vtables
            .into_iter()
            .map(|(word, length)| (held(word), length))
            .filter_map(|((word, table), length)| Some((word, table, elf_image::constants(table, length)?)))
            .collect();
        let target = op.target(group.body);
        let mut roots: BTreeSet<usize> = [target.body, target.saving].into_iter().chain(trampolines).collect();
        roots.extend(words.iter().map(|(_, callee)| callee).chain(vtables.iter().flat_map(|(.., table)| *table)));
        // Sizes in a vtable, and what a plug-in has.
        roots.retain(|callee| elf_image::is_text(*callee));
        let key = (op.meta.name, group.body);
        if !self.trees.get(&key).is_some_and(|(decoded, _)| roots.is_subset(decoded)) {
            // SAFETY: bodies, what bound tables lead to, and trampolines are functions of this program.
            let tree = unsafe { CodeImage::of_callees(&roots) }?;
            self.trees.insert(key, (roots, tree));
        }
        let Some((_, tree)) = self.trees.get_mut(&key) else { return Ok(()) };
        let layout = group.offset as usize;
        memory.reserve(layout * 7 % (4096 / PAIR) * PAIR, 0, 0)?;
        let apart = APART.min(MAX_ROOM / (tree.len() + 1) / PAIR * PAIR);
        tree.place_at(memory, (layout / ALIGNMENT * 3 + 1) * ALIGNMENT % PAIR, apart)?;
        let relocated = |callee: usize| tree.relocated(callee as u64).map_or(callee, |copy| copy as usize);
        for (word, callee) in words {
            self.words.push((word, callee));
            // SAFETY: as above.
            unsafe { word.write(relocated(callee)) };
        }
        for (word, table, functions) in vtables {
            let copy = memory.reserve(size_of_val(functions), 0, 0)?;
            let bytes: Vec<u8> = functions.iter().flat_map(|function| relocated(*function).to_ne_bytes()).collect();
            memory.write(copy, &bytes)?;
            self.words.push((word, table));
            // SAFETY: as above.
            unsafe { word.write(copy) };
        }
        // The loops follow.
        memory.reserve(apart, 0, 0)?;
        self.now = Some(key);
        Ok(())
    }

    /// Where a callee of the group stands.
    pub fn relocated(&self, callee: u64) -> Option<u64> {
        self.tree()?.relocated(callee)
    }

    /// The original of what runs at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        Some(self.tree()?.function_at(address)?.entry() as usize)
    }

    fn tree(&self) -> Option<&CodeImage> {
        Some(&self.trees.get(self.now.as_ref()?)?.1)
    }

    /// Has the program's words lead to what they led to before: the copies will be gone.
    pub fn restore(&mut self) {
        for (word, held) in self.words.drain(..) {
            // SAFETY: as in `place`; a mechanism's words last as long as the program.
            unsafe { word.write(held) };
        }
        self.now = None;
    }
}

impl Drop for Callees {
    fn drop(&mut self) {
        self.restore();
    }
}
