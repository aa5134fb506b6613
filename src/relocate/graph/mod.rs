//! A code image: functions with all that they call, copied to other addresses.
//!
//! The addresses of functions change a program's speed by a percent and more, in either direction (Mytkowicz et al.,
//! "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009). New addresses in every process turn
//! that effect into a difference between processes, which intervals include (Curtsinger and Berger, "Stabilizer:
//! Statistically Sound Performance Evaluation", ASPLOS 2013).
//!
//! A copy differs from the original in these ways:
//!
//! * Functions that never return, such as panics, are not copied; the copy calls the originals.
//! * A call through writable memory still reaches the original, unless the memory is data that the copy has its own
//!   copy of. Functions that such data points to are copied, and the data's copy points to the copies.
//! * A GOT call, which is how Rust calls a function of another codegen unit, stays an indirect call through a word
//!   beside the copy. The same holds for a GOT word that is loaded into a register once, if the address is only called:
//!   from this register, or from others and words of the stack that it is copied to.
//! * No unwind table covers a copy: a panic in one ends the process.

mod cache;
mod data;
mod loops;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(super) use self::cache::CallGraphNode;
pub use self::cache::DecodeCache;
pub use self::loops::{LoopCache, LoopFunction, LoopSource};
use super::decode::elf_image;
use super::layout::PERIOD_BYTES;
use super::memory::PAGE_BYTES;
use super::relocations::{PointerSlot, Relocations, WORD};
use super::{DecodedFunction, FunctionError};

/// Functions with all that they call, decoded with what is patched into them at that time.
#[derive(Default)]
pub struct CodeImage {
    /// In ascending order of their addresses.
    functions: Vec<Rc<CallGraphNode>>,
    /// Merged functions: the address of a jump, and the function that it leads to.
    merged: BTreeMap<u64, u64>,
    /// GOT words that the functions call through, and the address that each word holds.
    got_words: BTreeMap<u64, u64>,
    /// Data that the functions refer to and that each copy gets a copy of: address and length in bytes.
    data: Vec<(usize, usize)>,
    /// Words of this data that hold the address of a function or of a constant word.
    pointer_slots: Vec<PointerSlot>,
    /// Relocations of all references, from the first copy on.
    relocations: OnceCell<Relocations>,
    /// Whether a copy was decoded and compared with the original.
    checked: Cell<bool>,
}

impl CodeImage {
    /// Decodes the function at `root` and all functions that it calls.
    ///
    /// # Safety
    /// `root` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// If the extent of the root is unknown, or if a function does not decode.
    pub unsafe fn of(root: usize) -> Result<Self, FunctionError> {
        // SAFETY: `of_known` needs the address of a compiled function; this function's caller guarantees it for `root`.
        unsafe { Self::of_known(root, &mut DecodeCache::default()) }
    }

    /// The same with a cache: functions that are in `decoded` are not decoded again.
    ///
    /// # Safety
    /// As for [`CodeImage::of`].
    ///
    /// # Errors
    /// As for [`CodeImage::of`].
    pub unsafe fn of_known(root: usize, decoded: &mut DecodeCache) -> Result<Self, FunctionError> {
        // SAFETY: `find` and `gather` need the address of a compiled function; this function's caller guarantees it for
        // `root`.
        unsafe {
            DecodedFunction::find(root)?;
            let mut image = CodeImage::default();
            image.gather(&BTreeSet::from([root]), decoded)?;
            Ok(image)
        }
    }

    /// Decodes the functions at `roots`, compiled or assembly, and all compiled functions that they call.
    ///
    /// # Safety
    /// The roots are addresses of functions of this program. At least 16 bytes are mapped before each root that is
    /// assembly.
    ///
    /// # Errors
    /// If a function does not decode.
    pub unsafe fn of_callees(roots: &BTreeSet<usize>) -> Result<Self, FunctionError> {
        let mut image = CodeImage::default();
        // SAFETY: `gather` needs addresses of functions with 16 mapped bytes before assembly; the caller guarantees
        // both.
        unsafe { image.gather(roots, &mut DecodeCache::default()) }?;
        Ok(image)
    }

    /// Decodes the function at `entry`, compiled or assembly, without the functions that it calls.
    ///
    /// # Safety
    /// `entry` is the address of a function of this program, with 16 bytes mapped before it.
    ///
    /// # Errors
    /// If the function does not decode.
    pub unsafe fn of_callee(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `callee` needs a function with 16 mapped bytes before it; the caller guarantees both.
        let code = unsafe { DecodedFunction::callee(entry) }?;
        Ok(Self::alone(Rc::new(CallGraphNode::alone(code))))
    }

    /// An image of one function without those that it calls.
    fn alone(function: Rc<CallGraphNode>) -> Self {
        CodeImage { functions: vec![function], ..CodeImage::default() }
    }

    /// As for [`CodeImage::of_callees`].
    unsafe fn gather(&mut self, roots: &BTreeSet<usize>, decoded: &mut DecodeCache) -> Result<(), FunctionError> {
        let mut seen: BTreeSet<u64> = self.functions.iter().map(|function| function.code.entry()).collect();
        let mut open: Vec<u64> = roots.iter().map(|root| *root as u64).collect();
        while let Some(entry) = open.pop() {
            if decoded.leaves_in_place(entry) || !seen.insert(entry) {
                continue;
            }
            let is_root = roots.contains(&(entry as usize));
            let function = if is_root || elf_image::is_text(entry as usize) {
                // SAFETY: `callee` needs a function with 16 mapped bytes before it. The caller guarantees it for roots;
                // every other entry is the target of a call in this program, and text has more than 16 bytes before it.
                unsafe { decoded.callee(entry as usize) }
            } else {
                Err(FunctionError::NoExtent { entry })
            };
            match function {
                Ok(function) if function.code.entry() != entry => {
                    self.merged.insert(entry, function.code.entry());
                    open.push(function.code.entry());
                }
                Ok(function) if is_root || function.returns => {
                    self.got_words.extend(function.words.iter().copied());
                    open.extend(&function.calls);
                    self.functions.push(function);
                }
                Ok(_) | Err(FunctionError::NoExtent { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.functions.sort_by_key(|function| function.code.entry());
        Ok(())
    }

    /// Bytes that the copies of the data need at most.
    #[must_use]
    pub fn data_room(&self) -> usize {
        self.data.iter().map(|(_, length)| length + PAGE_BYTES).sum()
    }

    /// Number of functions that a copy has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an image without functions can be copied like any other")]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of code memory that one copy needs at most.
    #[must_use]
    pub fn room(&self) -> usize {
        let length = |function: &DecodedFunction| function.preamble().len() + function.bytes().len();
        // A function starts in the next period of offsets, at one of the offsets in it.
        let functions: usize = self.functions.iter().map(|function| length(&function.code) + 2 * PERIOD_BYTES).sum();
        // GOT words are aligned to a period of offsets and fill whole periods.
        functions + (self.got_words.len() * WORD).next_multiple_of(PERIOD_BYTES) + PERIOD_BYTES
    }

    /// The function with an index, in ascending order of the addresses.
    pub(super) fn function(&self, index: usize) -> &DecodedFunction {
        &self.functions[index].code
    }

    /// Merged functions, in ascending order: the address of a jump, and the function that it leads to.
    pub(super) fn merged(&self) -> impl Iterator<Item = (u64, u64)> {
        self.merged.iter().map(|(jump, function)| (*jump, *function))
    }

    /// Number of pieces of data that a copy may have copies of.
    pub(super) fn pieces_of_data(&self) -> usize {
        self.data.len()
    }

    /// The data that a copy may have a copy of.
    pub(super) fn data(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: `from_raw_parts` needs readable bytes that nobody writes; `with_data` demands that of each piece of
        // data.
        self.data.iter().map(|(start, length)| unsafe { std::slice::from_raw_parts(*start as *const u8, *length) })
    }

    /// The relocations of all references, resolved at the first call.
    pub(super) fn relocations(&self) -> &Relocations {
        let index_of = |target| self.index_of(target);
        let resolve = || Relocations::new(&self.functions, &self.got_words, &self.data, &self.pointer_slots, index_of);
        self.relocations.get_or_init(resolve)
    }

    /// Whether a copy was decoded and compared with the original.
    pub(super) fn is_checked(&self) -> bool {
        self.checked.get()
    }

    /// Notes that a copy was decoded and compared with the original.
    pub(super) fn set_checked(&self) {
        self.checked.set(true);
    }

    /// Index of the function that starts at `target`, or that the function at `target` is merged with.
    fn index_of(&self, target: u64) -> Option<usize> {
        let entry = *self.merged.get(&target).unwrap_or(&target);
        self.functions.binary_search_by_key(&entry, |function| function.code.entry()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::arch::naked_asm;
    use std::hint::black_box;

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::patch::text::serialise;
    use crate::relocate::graph::cache::find_branch_targets;
    use crate::relocate::layout::ALIGNMENT;
    use crate::relocate::{CodeMemory, Layout, RandomLayouts, link};

    #[inline(never)]
    fn leaf(value: u64) -> u64 {
        black_box(value) + 1
    }

    #[inline(never)]
    fn branch(value: u64) -> u64 {
        leaf(value) * leaf(value + 1)
    }

    /// May panic; calls `branch` directly and through a pointer, and `leaf` directly.
    #[inline(never)]
    fn root(values: &[u64; 4], at: usize) -> u64 {
        let far: fn(u64) -> u64 = black_box(branch);
        branch(values[at]) + leaf(3) + far(values[0])
    }

    type Root = fn(&[u64; 4], usize) -> u64;

    fn memory(image: &CodeImage) -> CodeMemory {
        CodeMemory::new(root as *const () as usize, 2 * image.room()).unwrap()
    }

    fn image() -> CodeImage {
        // SAFETY: `of` needs the address of a compiled function, and `root` is one.
        unsafe { CodeImage::of(root as *const () as usize) }.unwrap()
    }

    #[test]
    fn copies_at_different_addresses_return_the_same_results_as_the_original() {
        let image = image();
        let mut memory = memory(&image);
        let (mut layouts, mut rng) = (RandomLayouts::default(), Pcg64Mcg::seed_from_u64(1));
        let addresses = [(); 2].map(|()| {
            let copy = link(&image, &layouts.draw(&image, &mut rng), &mut memory).unwrap();
            copy.address_of(root as *const () as u64).unwrap()
        });
        serialise();
        assert_ne!(addresses[0], addresses[1]);
        for address in addresses {
            // SAFETY: the address is that of a copy of a function with this signature, and `memory` still holds it.
            let copy = unsafe { std::mem::transmute::<usize, Root>(address as usize) };
            for at in 0..4 {
                assert_eq!(copy(&[5, 6, 7, 8], at), root(&[5, 6, 7, 8], at));
            }
        }
    }

    #[test]
    fn copied_functions_call_each_other_and_call_the_original_panic_functions() {
        let image = image();
        // The root and the two functions that it calls.
        assert_eq!(
            image.len(),
            3,
            "{:#x?}",
            image.functions.iter().map(|function| function.code.entry()).collect::<Vec<_>>()
        );
        let mut memory = memory(&image);
        let layout = RandomLayouts::default().draw(&image, &mut Pcg64Mcg::seed_from_u64(2));
        let linked = link(&image, &layout, &mut memory).unwrap();
        let address = linked.address_of(root as *const () as u64).unwrap();
        let original = image.function(image.index_of(linked.original_at(address).unwrap()).unwrap());
        assert_eq!(original.entry(), root as *const () as u64);
        let copy =
            DecodedFunction::decode(address, memory.read(address as usize, original.bytes().len()).to_vec()).unwrap();
        let [before, after] = [original, &copy].map(|function| find_branch_targets(function).collect::<Vec<_>>());
        let originals: Vec<u64> = image.functions.iter().map(|function| function.code.entry()).collect();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(originals.contains(before), before != after, "{before:#x} became {after:#x}");
        }
        assert!(before.iter().any(|target| originals.contains(target)));
        // A function of another codegen unit is called through a GOT word.
        let mut targets = before.iter().chain(image.got_words.values());
        assert!(
            targets.any(|target| !originals.contains(target)),
            "a bounds check calls a function that never returns"
        );
    }

    #[test]
    fn functions_take_every_offset_when_they_are_placed_at_all_offsets() {
        let image = image();
        let mut memory = CodeMemory::new(root as *const () as usize, 8 * image.room()).unwrap();
        let mut offsets = BTreeSet::new();
        for offset in (0..PERIOD_BYTES).step_by(ALIGNMENT) {
            let copy = link(&image, &Layout::in_order(&image, offset, 0), &mut memory).unwrap();
            let entries = image.functions.iter().map(|function| function.code.entry());
            offsets.extend(entries.map(|entry| (entry, copy.address_of(entry).unwrap() % PERIOD_BYTES as u64)));
        }
        assert_eq!(offsets.len(), image.len() * PERIOD_BYTES / ALIGNMENT);
    }

    /// A body behind a preamble that jumps to another body, as the bodies of `kcfi` do.
    #[unsafe(naked)]
    unsafe extern "C" fn checked(_: u64) -> u64 {
        naked_asm!(".nops 11", "mov eax, 12345", "test rdi, rdi", "je 2f", "jmp {body}", "2: mov eax, 7", "ret",
            ".balign 16, 0xcc", body = sym plain)
    }

    #[unsafe(naked)]
    unsafe extern "C" fn plain(_: u64) -> u64 {
        naked_asm!("lea rax, [rdi + 1]", "ret", ".balign 16, 0xcc")
    }

    #[test]
    fn assembly_is_copied_with_its_preamble_and_jumps_to_the_copy_of_its_target() {
        let (entry, body) = (checked as *const () as usize + 16, plain as *const () as usize);
        // SAFETY: both entries are functions of this program; 16 bytes of `checked` and the text before `plain` are
        // mapped.
        let image = unsafe { CodeImage::of_callees(&BTreeSet::from([entry, body])) }.unwrap();
        assert_eq!(image.len(), 2);
        let mut memory = memory(&image);
        let copy = link(&image, &Layout::in_order(&image, 32, 0), &mut memory).unwrap();
        serialise();
        let [at, to] = [entry, body].map(|function| copy.address_of(function as u64).unwrap());
        assert_eq!(memory.read(at as usize - 4, 4), 12345_u32.to_le_bytes(), "the bytes that a caller compares");
        // SAFETY: the address is that of a copy of a function with this signature, and `memory` still holds it.
        let call = unsafe { std::mem::transmute::<usize, unsafe extern "C" fn(u64) -> u64>(at as usize) };
        // SAFETY: both functions take any number and touch no memory.
        assert_eq!(unsafe { (call(0), call(41)) }, (7, 42));
        let length = image.function(image.index_of(entry as u64).unwrap()).bytes().len();
        let code = DecodedFunction::decode(at, memory.read(at as usize, length).to_vec()).unwrap();
        assert_eq!(find_branch_targets(&code).collect::<Vec<_>>(), [to]);
    }

    #[test]
    fn a_retpoline_is_copied_whole() {
        let thunk = crate::dispatch::thunks()[0];
        // SAFETY: the thunk is assembly in the middle of this program's text, so 16 bytes before it are mapped.
        let code = unsafe { DecodedFunction::assembly(thunk) }.unwrap();
        let last = code.instructions().last().unwrap().0;
        assert_eq!(last.mnemonic(), iced_x86::Mnemonic::Ret);
        assert_eq!(code.references().count(), 0, "the call and the loop stay inside");
    }

    #[test]
    fn a_copy_that_does_not_fit_takes_no_memory() {
        let image = image();
        let mut memory = CodeMemory::new(root as *const () as usize, 4096).unwrap();
        let layout = Layout::in_order(&image, 0, 2048);
        let free = memory.next_address();
        assert!(matches!(link(&image, &layout, &mut memory), Err(FunctionError::Code(_))));
        assert_eq!(memory.next_address(), free);
        assert!(!image.is_checked());
    }

    #[test]
    fn an_address_that_is_not_the_start_of_a_function_is_refused() {
        // SAFETY: `of` reads no code where no unwind table knows a function, and none starts at this address.
        let refused = unsafe { CodeImage::of(root as *const () as usize + 1) };
        assert!(matches!(refused, Err(FunctionError::NoExtent { .. })));
    }
}
