//! The callees of a comparison's loops, copied to addresses that depend on the layout of the loops.
//!
//! The linker gives a body one address for all layouts of its callers, and the next build gives it another. Predictors
//! and caches that are indexed by addresses see a difference. So every layout has its own address for a body, the same
//! in all workers and all builds, and the effect is included in the layout range.
//!
//! Copied are the bodies, the targets of tables and vtables, and the trampoline of a static call, with the compiled
//! functions that they call. Not copied are the thunks of retpolines, one for all ops as in Linux, and the targets of
//! shared objects and of the linker's own stubs. No unwind table knows a copy: a panic in one ends the process.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::Comparison;
use crate::op::BodyKind;
use crate::relocate::decode::elf_image;
use crate::relocate::{CodeImage, CodeMemory, FunctionError, Layout, LinkedCopy, RedirectedWord, link};
use crate::suite::{OpEntry, Pair};

/// Alignment of bodies in bytes: compilers align functions to this.
const ALIGNMENT_BYTES: usize = 16;
/// Step between start offsets within a page in bytes: a pair of cache lines.
const LINE_PAIR_BYTES: usize = 128;

/// Distance in bytes between copies, and from the last copy to the loops, as in programs, where a call and its body
/// rarely share a page. On a Zen 4 a trampoline costs a cycle more where its body is in another page. The jump behind a
/// kCFI preamble costs another cycle where its body is a megabyte away. The distance is no power of two, so that copies
/// share no sets of caches.
const MAX_DISTANCE_BYTES: usize = (1 << 20) + 3 * 4096 + 5 * LINE_PAIR_BYTES;
/// Largest address space of all copies in bytes; the distance shrinks to fit.
const MAX_ROOM_BYTES: usize = 32 << 20;

/// The functions that a bound mechanism reaches through its pointer or vtable, before they are copied.
pub(super) fn targets(pair: &Pair) -> Vec<usize> {
    let read = |word: *mut usize| {
        // SAFETY: the mechanism named this word, and nothing else writes it meanwhile.
        unsafe { word.read() }
    };
    let table = pair.vtable.and_then(|(word, length)| elf_image::constants(read(word), length));
    // A vtable also has sizes, and a plug-in has functions outside the text.
    let all = pair.pointer.map(read).into_iter().chain(table.into_iter().flatten().copied());
    all.filter(|callee| elf_image::is_text(*callee)).collect()
}

/// The callees of a comparison.
#[derive(Default)]
pub struct Callees {
    /// By op and body: the addresses of the callees, and their image.
    images: BTreeMap<(&'static str, BodyKind), (BTreeSet<usize>, CodeImage)>,
    /// The present copy.
    copy: Option<LinkedCopy>,
    /// Words of this program that lead to the copy.
    words: Vec<RedirectedWord>,
}

impl Callees {
    /// Copies the bodies of an op, the targets of the mechanisms in `bound`, and `trampolines`. Then it points these
    /// mechanisms at the copies.
    ///
    /// # Errors
    /// [`FunctionError`] where a callee cannot be decoded, or memory is short.
    pub(crate) fn place<'p>(
        &mut self,
        op: &OpEntry,
        comparison: &Comparison,
        bound: impl Iterator<Item = &'p Pair> + Clone,
        trampolines: impl Iterator<Item = usize>,
        memory: &mut CodeMemory,
    ) -> Result<(), FunctionError> {
        // Mechanisms may share words.
        let words: BTreeSet<*mut usize> = bound.clone().filter_map(|pair| pair.pointer).collect();
        let vtables: BTreeMap<*mut usize, usize> = bound.filter_map(|pair| pair.vtable).collect();
        let read = |word: *mut usize| {
            // SAFETY: mechanisms named these words, and nothing else writes them meanwhile.
            (word, unsafe { word.read() })
        };
        let words: Vec<(*mut usize, usize)> = words.into_iter().map(read).collect();
        let vtables: Vec<(*mut usize, &[usize])> = vtables
            .into_iter()
            .map(|(word, length)| (read(word), length))
            .filter_map(|((word, table), length)| Some((word, elf_image::constants(table, length)?)))
            .collect();
        let target = op.target(comparison.body);
        let mut roots: BTreeSet<usize> = [target.body, target.saving].into_iter().chain(trampolines).collect();
        roots.extend(words.iter().map(|(_, callee)| callee).chain(vtables.iter().flat_map(|(_, table)| *table)));
        // A vtable also has sizes, and a plug-in has functions outside the text.
        roots.retain(|callee| elf_image::is_text(*callee));
        let key = (op.meta.name, comparison.body);
        if !self.images.get(&key).is_some_and(|(decoded, _)| roots.is_subset(decoded)) {
            // SAFETY: bodies, the targets of bound tables, and trampolines are functions of this program.
            let image = unsafe { CodeImage::of_callees(&roots) }?;
            self.images.insert(key, (roots, image));
        }
        let Some((_, image)) = self.images.get(&key) else { return Ok(()) };
        let layout = comparison.offset as usize;
        memory.reserve(layout * 7 % (4096 / LINE_PAIR_BYTES) * LINE_PAIR_BYTES, 0, 0)?;
        let distance = MAX_DISTANCE_BYTES.min(MAX_ROOM_BYTES / (image.len() + 1) / LINE_PAIR_BYTES * LINE_PAIR_BYTES);
        let offset = (layout / ALIGNMENT_BYTES * 3 + 1) * ALIGNMENT_BYTES % LINE_PAIR_BYTES;
        let copy = link(image, &Layout::in_order(image, offset, distance), memory)?;
        let relocated = |callee: usize| copy.address_of(callee as u64).map_or(callee, |copy| copy as usize);
        for (word, callee) in words {
            // SAFETY: `new` needs a word that nothing else uses: a mechanism named this static, no other thread runs,
            // and no loop runs now. The copy of the callee is a function of the same type.
            self.words.push(unsafe { RedirectedWord::new(word, relocated(callee)) });
        }
        for (word, functions) in vtables {
            let copied = memory.reserve(size_of_val(functions), 0, 0)?;
            let bytes: Vec<u8> = functions.iter().flat_map(|function| relocated(*function).to_ne_bytes()).collect();
            memory.write(copied, &bytes)?;
            // SAFETY: `new` needs a word that nobody else uses: a mechanism named this static, no other thread runs,
            // and no loop runs now. The copied vtable has functions of the same types.
            self.words.push(unsafe { RedirectedWord::new(word, copied) });
        }
        // The loops follow at the same distance.
        memory.reserve(distance, 0, 0)?;
        self.copy = Some(copy);
        Ok(())
    }

    /// The address of a callee's copy.
    pub(crate) fn relocated(&self, callee: u64) -> Option<u64> {
        self.copy.as_ref()?.address_of(callee)
    }

    /// The original of the function that runs at an address.
    pub(crate) fn function_at(&self, address: u64) -> Option<usize> {
        Some(self.copy.as_ref()?.original_at(address)? as usize)
    }

    /// The present copy; `None` before the first one, and where callees stay in place.
    pub(crate) fn copy(&self) -> Option<&LinkedCopy> {
        self.copy.as_ref()
    }

    /// Restores the program's words: the copies will be freed.
    pub(crate) fn restore(&mut self) {
        self.words.clear();
        self.copy = None;
    }
}
