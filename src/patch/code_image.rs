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
//!   beside the copy. The same holds for a GOT word that is loaded into a register once, if the register is only
//!   called.
//! * No unwind table covers a copy: a panic in one ends the process.

mod data;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand::{Rng, RngExt};

use super::decode_cache::{CallGraphNode, DecodeCache};
use super::offsets::{ALIGNMENT, Offsets, PERIOD_BYTES};
use super::relocations::{PointerSlot, Relocations, WORD};
use super::{CodeMemory, DataMemory, DecodedFunction, FunctionError, elf_image};

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
    /// Offsets of the functions within cache lines, for the next copies.
    offsets: Offsets,
    /// Start addresses of the functions in the last copy.
    addresses: Vec<u64>,
    /// Relocations of all references; present once the first copy was made and checked.
    relocations: Option<Relocations>,
}

const PAGE: usize = 4096;
/// Bytes of a cache line; tables are aligned to it.
const LINE: usize = 64;

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
        self.data.iter().map(|(_, length)| length + PAGE).sum()
    }

    /// Number of functions that a copy has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is at least the root")]
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

    /// Writes a copy: functions in random order at the next offsets of the orthogonal array, data at random offsets
    /// within pages of `data`.
    ///
    /// [`CodeImage::relocated`] gives the new addresses. The caller calls [`serialise`](super::text::serialise) before
    /// the copy runs.
    ///
    /// The first copy of an image is decoded again and compared with the original. Later copies differ from it in
    /// distances only and are not checked.
    ///
    /// # Errors
    /// If memory is full, a target is out of reach, or the copy does not decode to the original.
    pub fn place(
        &mut self,
        memory: &mut CodeMemory,
        data: &mut DataMemory,
        rng: &mut impl Rng,
    ) -> Result<(), FunctionError> {
        let mut copies = Vec::with_capacity(self.data.len());
        for (start, length) in &self.data {
            // SAFETY: `from_raw_parts` needs readable bytes that nobody writes; `with_data` demands that of each piece
            // of data.
            let bytes = unsafe { std::slice::from_raw_parts(*start as *const u8, *length) };
            copies.push(data.copy(bytes, rng.random_range(0..PAGE / LINE) * LINE)? as u64);
        }
        let mut order: Vec<usize> = (0..self.functions.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        let mut offsets = std::mem::take(&mut self.offsets);
        let written = self.write(memory, order, 0, &copies, offsets.draw(self.functions.len(), rng));
        self.offsets = offsets;
        written
    }

    /// Writes a copy whose functions keep the order of their addresses, with `apart` unused bytes before each.
    ///
    /// The first function starts at `offset` within 128 bytes, each next one 48 bytes further within its own 128. Over
    /// all offsets that are multiples of 16, each function takes every offset once.
    ///
    /// # Errors
    /// As for [`CodeImage::place`].
    pub fn place_at(&mut self, memory: &mut CodeMemory, offset: usize, apart: usize) -> Result<(), FunctionError> {
        let in_turn = |i| (offset + i * 3 * ALIGNMENT) % PERIOD_BYTES;
        let data: Vec<u64> = self.data.iter().map(|(start, _)| *start as u64).collect();
        self.write(memory, (0..self.functions.len()).collect(), apart, &data, in_turn)
    }

    fn write(
        &mut self,
        memory: &mut CodeMemory,
        order: Vec<usize>,
        apart: usize,
        data: &[u64],
        mut offset: impl FnMut(usize) -> usize,
    ) -> Result<(), FunctionError> {
        // The words share no cache line with code.
        let got = memory.reserve((self.got_words.len() * WORD).next_multiple_of(PERIOD_BYTES), 0, 0)? as u64;
        self.addresses.resize(self.functions.len(), 0);
        for &i in &order {
            memory.reserve(apart, 0, 0)?;
            self.addresses[i] = self.functions[i].code.reserve(memory, offset(i))? as u64;
        }
        let (relocations, checked) = match self.relocations.take() {
            Some(relocations) => (relocations, true),
            None => {
                let index_of = |target| self.index_of(target);
                (Relocations::new(&self.functions, &self.got_words, &self.data, &self.pointer_slots, index_of), false)
            }
        };
        let bases = relocations.bases(got, data, &self.addresses);
        if data.iter().zip(&self.data).any(|(copy, (original, _))| *copy != *original as u64) {
            for (word, target) in relocations.pointer_slots(&bases) {
                // SAFETY: the word lies in a copy of the data that was just made, and nothing else refers to it yet.
                unsafe { (word as *mut u64).write(target) };
            }
        }
        // Neighbouring functions are written in one call; a gap of 256 bytes or more starts the next call.
        let mut start = got as usize;
        let mut code: Vec<u8> = relocations.got_words(&bases).flat_map(u64::to_le_bytes).collect();
        for index in order {
            let (function, address) = (&self.functions[index].code, self.addresses[index] as usize);
            let begin = address - function.preamble().len();
            if begin - start >= code.len() + 2 * PERIOD_BYTES {
                memory.write(start, &code)?;
                code.clear();
                start = begin;
            }
            code.resize(begin - start, 0);
            function.append(&mut code, address, relocations.targets(index, &bases))?;
        }
        memory.write(start, &code)?;
        if !checked {
            for (index, (function, address)) in self.functions.iter().zip(&self.addresses).enumerate() {
                let copy = memory.read(*address as usize, function.code.bytes().len());
                function.code.check(copy, *address, relocations.targets(index, &bases))?;
            }
        }
        self.relocations = Some(relocations);
        Ok(())
    }

    /// Address in the last copy of the function whose original starts at `entry`; `None` if it is not copied.
    #[must_use]
    pub fn relocated(&self, entry: u64) -> Option<u64> {
        self.addresses.get(self.index_of(entry)?).copied()
    }

    /// The function that contains an address of the last copy.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<&DecodedFunction> {
        let mut placed = self.functions.iter().zip(&self.addresses);
        placed
            .find(|(function, start)| (**start..*start + function.code.bytes().len() as u64).contains(&address))
            .map(|(function, _)| &function.code)
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
    use crate::patch::decode_cache::find_branch_targets;
    use crate::patch::text::serialise;

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

    fn no_data() -> DataMemory {
        DataMemory::new(root as *const () as usize, 0).unwrap()
    }

    fn image() -> CodeImage {
        // SAFETY: `of` needs the address of a compiled function, and `root` is one.
        unsafe { CodeImage::of(root as *const () as usize) }.unwrap()
    }

    #[test]
    fn copies_at_different_addresses_return_the_same_results_as_the_original() {
        let mut image = image();
        let mut memory = memory(&image);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let addresses = [(); 2].map(|()| {
            image.place(&mut memory, &mut no_data(), &mut rng).unwrap();
            image.relocated(root as *const () as u64).unwrap()
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
        let mut image = image();
        // The root and the two functions that it calls.
        assert_eq!(
            image.len(),
            3,
            "{:#x?}",
            image.functions.iter().map(|function| function.code.entry()).collect::<Vec<_>>()
        );
        let mut memory = memory(&image);
        image.place(&mut memory, &mut no_data(), &mut Pcg64Mcg::seed_from_u64(2)).unwrap();
        let address = image.relocated(root as *const () as u64).unwrap();
        let original = image.function_at(address).unwrap();
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
        let mut image = image();
        let mut memory = CodeMemory::new(root as *const () as usize, 8 * image.room()).unwrap();
        let mut offsets = BTreeSet::new();
        for offset in (0..PERIOD_BYTES).step_by(ALIGNMENT) {
            image.place_at(&mut memory, offset, 0).unwrap();
            offsets.extend(
                image.addresses.iter().enumerate().map(|(index, address)| (index, *address % PERIOD_BYTES as u64)),
            );
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
        let mut image = unsafe { CodeImage::of_callees(&BTreeSet::from([entry, body])) }.unwrap();
        assert_eq!(image.len(), 2);
        let mut memory = memory(&image);
        image.place_at(&mut memory, 32, 0).unwrap();
        serialise();
        let [at, to] = [entry, body].map(|function| image.relocated(function as u64).unwrap());
        assert_eq!(memory.read(at as usize - 4, 4), 12345_u32.to_le_bytes(), "the bytes that a caller compares");
        // SAFETY: the address is that of a copy of a function with this signature, and `memory` still holds it.
        let call = unsafe { std::mem::transmute::<usize, unsafe extern "C" fn(u64) -> u64>(at as usize) };
        // SAFETY: both functions take any number and touch no memory.
        assert_eq!(unsafe { (call(0), call(41)) }, (7, 42));
        let code = DecodedFunction::decode(
            at,
            memory.read(at as usize, image.function_at(at).unwrap().bytes().len()).to_vec(),
        )
        .unwrap();
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
    fn an_address_that_is_not_the_start_of_a_function_is_refused() {
        // SAFETY: `of` reads no code where no unwind table knows a function, and none starts at this address.
        let refused = unsafe { CodeImage::of(root as *const () as usize + 1) };
        assert!(matches!(refused, Err(FunctionError::NoExtent { .. })));
    }
}
