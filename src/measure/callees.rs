//! What the loops of a group call, copied to a place that goes with the loops' own.
//!
//! A body stands where the linker put it, at one place for all layouts of its callers; the next build puts it elsewhere,
//! and predictors and caches that are indexed by addresses tell the two apart. So at every layout it stands at another
//! place, which is the same in all workers and all builds: then the range over layouts holds what it does, and an interval
//! over workers does not.
//!
//! Copied are the bodies, what tables lead to, and the trampoline of a static call, with the compiled functions that they
//! call. At their places stay the thunks of retpolines, one for all ops as in Linux, the methods of trait objects and
//! closures, and what a shared object or the linker's own stubs lead to.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Group;
use crate::dispatch::Platform;
use crate::patch::{CallTree, CodeMemory, FunctionError};
use crate::suite::OpEntry;

/// Where bodies may stand: compilers align functions to that.
const ALIGNMENT: usize = 16;
/// A page's offsets are visited in steps of a pair of cache lines.
const PAIR: usize = 128;

/// The callees of a group.
#[derive(Default)]
pub struct Callees {
    /// By op and platform: the addresses of the callees, and these decoded.
    trees: BTreeMap<(&'static str, Platform), (BTreeSet<usize>, CallTree)>,
    /// Those of the group whose loops are there.
    now: Option<(&'static str, Platform)>,
    /// Words of tables that lead to copies, and what they held.
    words: Vec<(*mut usize, usize)>,
}

impl Callees {
    /// Copies the bodies of an op, what `words` lead to and the trampolines, and has the words lead to the copies.
    ///
    /// # Errors
    /// Where a callee cannot be decoded, or there is no room.
    pub fn place(
        &mut self,
        op: &OpEntry,
        group: &Group,
        words: BTreeSet<*mut usize>,
        trampolines: impl Iterator<Item = usize>,
        memory: &mut CodeMemory,
    ) -> Result<(), FunctionError> {
        // SAFETY: mechanisms gave them for words that hold the address which is called, and nobody writes them meanwhile.
        let words: Vec<(*mut usize, usize)> = words.into_iter().map(|word| (word, unsafe { word.read() })).collect();
        let target = op.target(group.body);
        let mut roots: BTreeSet<usize> = [target.body, target.saving].into_iter().chain(trampolines).collect();
        roots.extend(words.iter().map(|(_, callee)| *callee));
        let key = (op.meta.name, group.body);
        let known = self.trees.get(&key).is_some_and(|(decoded, _)| roots.is_subset(decoded));
        if !known {
            // SAFETY: bodies, what bound tables lead to, and trampolines are functions of this program.
            let tree = unsafe { CallTree::of_callees(&roots) }?;
            self.trees.insert(key, (roots, tree));
        }
        self.now = Some(key);
        if let Some((_, tree)) = self.trees.get_mut(&key) {
            let layout = group.offset as usize;
            memory.reserve(layout * 7 % (4096 / PAIR) * PAIR, 0, 0)?;
            tree.place_at(memory, (layout / ALIGNMENT * 3 + 1) * ALIGNMENT % PAIR)?;
        }
        for (word, callee) in &words {
            if let Some(copy) = self.moved(*callee as u64) {
                // SAFETY: as above.
                unsafe { word.write(copy as usize) };
            }
        }
        self.words = words;
        Ok(())
    }

    /// Where a callee of the group stands.
    pub fn moved(&self, callee: u64) -> Option<u64> {
        self.tree()?.moved(callee)
    }

    /// The original of what runs at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        Some(self.tree()?.at(address)?.entry() as usize)
    }

    fn tree(&self) -> Option<&CallTree> {
        Some(&self.trees.get(self.now.as_ref()?)?.1)
    }

    /// Has tables lead to what they led to before: the copies will be gone.
    pub fn give_back(&mut self) {
        for (word, callee) in self.words.drain(..) {
            // SAFETY: as in `place`; words of tables last as long as the program.
            unsafe { word.write(callee) };
        }
        self.now = None;
    }
}

impl Drop for Callees {
    fn drop(&mut self) {
        self.give_back();
    }
}
