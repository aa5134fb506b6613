//! Functions with all that they call, copied to other places.
//!
//! Where functions stand in memory moves a program by a percent and more, either way and for no reason that is its own
//! (Mytkowicz et al., "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009). Placing them anew
//! for every process makes that a part of what differs between processes, of which intervals are made (Curtsinger and
//! Berger, "Stabilizer: Statistically Sound Performance Evaluation", ASPLOS 2013).
//!
//! What never returns stays where it is: ways out of a panic. So does what is called through memory that can change,
//! but for a copy's own data: what that leads to is copied along, and the copy of the data leads to the copies. A call
//! through the GOT, which is how Rust calls a function of another codegen unit, stays one, and goes through a word
//! beside the copy; so it does where the word is loaded once and the register called, if it is kept for nothing else.
//! No unwind table knows a copy: a panic in one ends the process.

mod data;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand::{Rng, RngExt};

use super::decode_cache::{CallGraphNode, DecodeCache};
use super::offsets::{ALIGNMENT, Offsets, WITHIN};
use super::relocations::{PointerSlots, Relocations, WORD};
use super::{CodeMemory, DataMemory, DecodedFunction, FunctionError, elf_image};

/// Functions and those that they call, decoded as they are now: with what is patched into them.
#[derive(Default)]
pub struct CodeImage {
    /// In the order of their addresses.
    functions: Vec<Rc<CallGraphNode>>,
    /// Functions that are merged with another: a jump, and where it leads.
    merged: BTreeMap<u64, u64>,
    /// Constant words that they call through, and where those lead.
    words: BTreeMap<u64, u64>,
    /// Data that they refer to and that copies have copies of: where it is, and how many bytes.
    data: Vec<(usize, usize)>,
    /// Words of this data that they refer to and that lead to one of them, or to a constant word.
    held: Vec<PointerSlots>,
    /// Where they begin within lines in copies to come.
    offsets: Offsets,
    /// Where the functions of the last copy start.
    places: Vec<u64>,
    /// What the references of all of them lead to in a copy: known from the first on, which is decoded again.
    leads: Option<Relocations>,
}

const PAGE: usize = 4096;
/// Bytes of a cache line, to which tables are aligned.
const LINE: usize = 64;

impl CodeImage {
    /// Decodes the function at `root` and all that it calls directly.
    ///
    /// # Safety
    /// `root` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// Where the root's extent is unknown, or one of the functions does not decode.
    pub unsafe fn of(root: usize) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        unsafe { Self::of_known(root, &mut DecodeCache::default()) }
    }

    /// The same where what was `decoded` before is not decoded again.
    ///
    /// # Safety
    /// As for [`CodeImage::of`].
    ///
    /// # Errors
    /// As for [`CodeImage::of`].
    pub unsafe fn of_known(root: usize, decoded: &mut DecodeCache) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        unsafe {
            DecodedFunction::find(root)?;
            let mut tree = CodeImage::default();
            tree.gather(&BTreeSet::from([root]), decoded)?;
            Ok(tree)
        }
    }

    /// Decodes the functions at `roots`, compiled or assembly, and all compiled ones that they call directly.
    ///
    /// # Safety
    /// The roots are addresses of functions of this program, with 16 bytes mapped before each that is assembly.
    ///
    /// # Errors
    /// Where one of the functions does not decode.
    pub unsafe fn of_callees(roots: &BTreeSet<usize>) -> Result<Self, FunctionError> {
        let mut tree = CodeImage::default();
        // SAFETY: the caller's contract.
        unsafe { tree.gather(roots, &mut DecodeCache::default()) }?;
        Ok(tree)
    }

    /// # Safety
    /// As for [`CodeImage::of_callees`].
    unsafe fn gather(&mut self, roots: &BTreeSet<usize>, decoded: &mut DecodeCache) -> Result<(), FunctionError> {
        let mut seen: BTreeSet<u64> = self.functions.iter().map(|function| function.code.entry()).collect();
        let mut open: Vec<u64> = roots.iter().map(|root| *root as u64).collect();
        while let Some(entry) = open.pop() {
            if decoded.stays(entry) || !seen.insert(entry) {
                continue;
            }
            let is_root = roots.contains(&(entry as usize));
            let function = if is_root || elf_image::is_text(entry as usize) {
                // SAFETY: the caller's contract; a function of this program calls it, and text begins with more than
                // that.
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
                    self.words.extend(function.words.iter().copied());
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

    /// Room that copies of the data may take, in bytes.
    #[must_use]
    pub fn data_room(&self) -> usize {
        self.data.iter().map(|(_, length)| length + PAGE).sum()
    }

    /// How many functions are copied.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is at least the root")]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Room that a copy may take, in bytes.
    #[must_use]
    pub fn room(&self) -> usize {
        let length = |function: &DecodedFunction| function.preamble().len() + function.bytes().len();
        // To the next block of offsets, and to one of them.
        let functions: usize = self.functions.iter().map(|function| length(&function.code) + 2 * WITHIN).sum();
        // Words are aligned to a block of offsets and fill whole ones.
        functions + (self.words.len() * WORD).next_multiple_of(WITHIN) + WITHIN
    }

    /// Writes a copy, functions in random order and at offsets in turn, and its data to random offsets within pages of
    /// `data`;
    /// [`CodeImage::relocated`] says where functions are then. [`serialise`](super::text::serialise) is still to be called.
    ///
    /// The first copy of a tree is checked by decoding it again. Further ones differ from it in distances alone.
    ///
    /// # Errors
    /// Where there is no room, something is out of reach, or the copy does not decode to the original.
    pub fn place(
        &mut self,
        memory: &mut CodeMemory,
        data: &mut DataMemory,
        rng: &mut impl Rng,
    ) -> Result<(), FunctionError> {
        let mut copies = Vec::with_capacity(self.data.len());
        for (start, length) in &self.data {
            // SAFETY: data of this program, which nobody writes now (contract of `with_data`).
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

    /// The same with functions in the order of their addresses, the first at `offset` within 128 bytes, each other 48
    /// bytes on from the one before it, with `apart` bytes of nothing in front of each. Over all offsets that are
    /// multiples of 16, each function is at all of them.
    ///
    /// # Errors
    /// As for [`CodeImage::place`].
    pub fn place_at(&mut self, memory: &mut CodeMemory, offset: usize, apart: usize) -> Result<(), FunctionError> {
        let in_turn = |i| (offset + i * 3 * ALIGNMENT) % WITHIN;
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
        // Not on a cache line with code.
        let words = memory.reserve((self.words.len() * WORD).next_multiple_of(WITHIN), 0, 0)? as u64;
        self.places.resize(self.functions.len(), 0);
        for &i in &order {
            memory.reserve(apart, 0, 0)?;
            self.places[i] = self.functions[i].code.reserve(memory, offset(i))? as u64;
        }
        let (leads, checked) = match self.leads.take() {
            Some(leads) => (leads, true),
            None => {
                let index_of = |target| self.index_of(target);
                (Relocations::of(&self.functions, &self.words, &self.data, &self.held, index_of), false)
            }
        };
        let bases = leads.bases(words, data, &self.places);
        if data.iter().zip(&self.data).any(|(copy, (original, _))| *copy != *original as u64) {
            for (word, leads_to) in leads.held(&bases) {
                // SAFETY: a word of a copy that was made just now, and that nobody else knows.
                unsafe { (word as *mut u64).write(leads_to) };
            }
        }
        // What lies together is written together, in the order of its addresses: two offsets apart at most.
        let mut start = words as usize;
        let mut code: Vec<u8> = leads.words(&bases).flat_map(u64::to_le_bytes).collect();
        for index in order {
            let (function, place) = (&self.functions[index].code, self.places[index] as usize);
            let begin = place - function.preamble().len();
            if begin - start >= code.len() + 2 * WITHIN {
                memory.write(start, &code)?;
                code.clear();
                start = begin;
            }
            code.resize(begin - start, 0);
            function.append(&mut code, place, leads.targets(index, &bases))?;
        }
        memory.write(start, &code)?;
        if !checked {
            for (index, (function, place)) in self.functions.iter().zip(&self.places).enumerate() {
                let copy = memory.read(*place as usize, function.code.bytes().len());
                function.code.check(copy, *place, leads.targets(index, &bases))?;
            }
        }
        self.leads = Some(leads);
        Ok(())
    }

    /// Where the function that stood at an address is in the last copy.
    #[must_use]
    pub fn relocated(&self, entry: u64) -> Option<u64> {
        self.places.get(self.index_of(entry)?).copied()
    }

    /// The function that runs at an address of the last copy.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&DecodedFunction> {
        let mut placed = self.functions.iter().zip(&self.places);
        placed
            .find(|(function, place)| (**place..*place + function.code.bytes().len() as u64).contains(&address))
            .map(|(function, _)| &function.code)
    }

    /// Which of the functions starts at an address, or is merged with what does.
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
    use crate::patch::decode_cache::called;
    use crate::patch::text::serialise;

    #[inline(never)]
    fn leaf(value: u64) -> u64 {
        black_box(value) + 1
    }

    #[inline(never)]
    fn branch(value: u64) -> u64 {
        leaf(value) * leaf(value + 1)
    }

    /// May panic, calls the same function by two ways and one through memory.
    #[inline(never)]
    fn root(values: &[u64; 4], at: usize) -> u64 {
        let far: fn(u64) -> u64 = black_box(branch);
        branch(values[at]) + leaf(3) + far(values[0])
    }

    type Root = fn(&[u64; 4], usize) -> u64;

    fn memory(tree: &CodeImage) -> CodeMemory {
        CodeMemory::new(root as *const () as usize, 2 * tree.room()).unwrap()
    }

    fn no_data() -> DataMemory {
        DataMemory::new(root as *const () as usize, 0).unwrap()
    }

    fn tree() -> CodeImage {
        // SAFETY: a compiled function.
        unsafe { CodeImage::of(root as *const () as usize) }.unwrap()
    }

    #[test]
    fn copies_give_what_the_original_gives_from_places_of_their_own() {
        let mut tree = tree();
        let mut memory = memory(&tree);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let places = [(); 2].map(|()| {
            tree.place(&mut memory, &mut no_data(), &mut rng).unwrap();
            tree.relocated(root as *const () as u64).unwrap()
        });
        serialise();
        assert_ne!(places[0], places[1]);
        for place in places {
            // SAFETY: a copy of the function, in memory that is still there.
            let copy = unsafe { std::mem::transmute::<usize, Root>(place as usize) };
            for at in 0..4 {
                assert_eq!(copy(&[5, 6, 7, 8], at), root(&[5, 6, 7, 8], at));
            }
        }
    }

    #[test]
    fn functions_call_copies_of_each_other_and_the_way_into_a_panic_stays() {
        let mut tree = tree();
        // The root, and both that it calls.
        assert_eq!(
            tree.len(),
            3,
            "{:#x?}",
            tree.functions.iter().map(|function| function.code.entry()).collect::<Vec<_>>()
        );
        let mut memory = memory(&tree);
        tree.place(&mut memory, &mut no_data(), &mut Pcg64Mcg::seed_from_u64(2)).unwrap();
        let place = tree.relocated(root as *const () as u64).unwrap();
        let original = tree.at(place).unwrap();
        assert_eq!(original.entry(), root as *const () as u64);
        let copy =
            DecodedFunction::decode(place, memory.read(place as usize, original.bytes().len()).to_vec()).unwrap();
        let [before, after] = [original, &copy].map(|function| called(function).collect::<Vec<_>>());
        let originals: Vec<u64> = tree.functions.iter().map(|function| function.code.entry()).collect();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(originals.contains(before), before != after, "{before:#x} became {after:#x}");
        }
        assert!(before.iter().any(|target| originals.contains(target)));
        // Another unit's function is called through a word.
        let mut targets = before.iter().chain(tree.words.values());
        assert!(targets.any(|target| !originals.contains(target)), "a bounds check calls what never returns");
    }

    #[test]
    fn functions_that_are_placed_in_turn_are_at_every_offset() {
        let mut tree = tree();
        let mut memory = CodeMemory::new(root as *const () as usize, 8 * tree.room()).unwrap();
        let mut offsets = BTreeSet::new();
        for offset in (0..WITHIN).step_by(ALIGNMENT) {
            tree.place_at(&mut memory, offset, 0).unwrap();
            offsets.extend(tree.places.iter().enumerate().map(|(index, place)| (index, *place % WITHIN as u64)));
        }
        assert_eq!(offsets.len(), tree.len() * WITHIN / ALIGNMENT);
    }

    /// A body behind a preamble that jumps to another, as those of `kcfi` do.
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
    fn assembly_goes_with_its_preamble_and_jumps_to_the_copy_of_what_it_jumped_to() {
        let (entry, body) = (checked as *const () as usize + 16, plain as *const () as usize);
        // SAFETY: functions of this program.
        let mut tree = unsafe { CodeImage::of_callees(&BTreeSet::from([entry, body])) }.unwrap();
        assert_eq!(tree.len(), 2);
        let mut memory = memory(&tree);
        tree.place_at(&mut memory, 32, 0).unwrap();
        serialise();
        let [at, to] = [entry, body].map(|function| tree.relocated(function as u64).unwrap());
        assert_eq!(memory.read(at as usize - 4, 4), 12345_u32.to_le_bytes(), "what a caller looks at");
        // SAFETY: a copy of the function, in memory that is still there.
        let call = unsafe { std::mem::transmute::<usize, unsafe extern "C" fn(u64) -> u64>(at as usize) };
        // SAFETY: it takes any number.
        assert_eq!(unsafe { (call(0), call(41)) }, (7, 42));
        let code =
            DecodedFunction::decode(at, memory.read(at as usize, tree.at(at).unwrap().bytes().len()).to_vec()).unwrap();
        assert_eq!(called(&code).collect::<Vec<_>>(), [to]);
    }

    #[test]
    fn a_retpoline_is_copied_whole() {
        let thunk = crate::dispatch::thunks()[0];
        // SAFETY: assembly of this program.
        let code = unsafe { DecodedFunction::assembly(thunk) }.unwrap();
        let last = code.instructions().last().unwrap().0;
        assert_eq!(last.mnemonic(), iced_x86::Mnemonic::Ret);
        assert_eq!(code.references().count(), 0, "call and loop lead inside");
    }

    #[test]
    fn what_is_no_function_is_refused() {
        // SAFETY: nothing is read where no unwind table knows a function.
        let refused = unsafe { CodeImage::of(root as *const () as usize + 1) };
        assert!(matches!(refused, Err(FunctionError::NoExtent { .. })));
    }
}
