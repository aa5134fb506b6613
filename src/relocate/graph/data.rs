//! The data that a copy of a code image gets its own copy of, and the functions that this data points to.

use std::collections::BTreeSet;

use iced_x86::Mnemonic;

use super::{CodeImage, DecodeCache};
use crate::relocate::FunctionError;
use crate::relocate::decode::elf_image;
use crate::relocate::relocations::WORD;

/// Index of the only method among a vtable's words; the words before it are drop function, size and alignment.
const METHOD: usize = 3;

/// The words at `address` if they form the vtable of a zero-sized type with one method.
fn vtable(address: usize) -> Option<&'static [usize]> {
    let words = elf_image::constants(address, METHOD + 1)?;
    (words[..METHOD] == [0, 0, 1] && elf_image::is_text(words[METHOD])).then_some(words)
}

impl CodeImage {
    /// Gives copies their own copy of each piece of `data` (address and length in bytes) that the functions refer to.
    ///
    /// If a word that the functions refer to holds the address of a function, that function is copied too, with all
    /// that it calls. The same holds for the method of a zero-sized type's vtable.
    ///
    /// # Safety
    /// Each piece is data of this program that may be copied byte for byte. While a copy runs, only functions of this
    /// image read and write it. Only functions that `decoded` leaves in place change the words that point to functions.
    ///
    /// # Errors
    /// If a function does not decode.
    pub unsafe fn with_data(
        mut self,
        data: &[(usize, usize)],
        decoded: &mut DecodeCache,
    ) -> Result<Self, FunctionError> {
        let within = |(start, length): &(usize, usize), address: u64| {
            (*start as u64..(*start + *length) as u64).contains(&address)
        };
        let words_of =
            |datum: (usize, usize)| (0..datum.1 / WORD).map(move |word| (datum, (datum.0 + word * WORD) as u64));
        // Code refers to data by its distance, or through a constant word with its address if another codegen unit has
        // the data. Code that has an address may read every word from there on.
        let (mut referred, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for (instruction, target) in self.functions.iter().flat_map(|function| function.code.references()) {
            let word = || elf_image::constants(target as usize, 1).and_then(|word| Some(*word.first()? as u64));
            let content = if instruction.is_ip_rel_memory_operand() { word() } else { None };
            for datum in data {
                if within(datum, target) {
                    referred.insert(*datum);
                    if instruction.mnemonic() == Mnemonic::Lea {
                        slots.extend(words_of(*datum));
                    } else {
                        slots.insert((*datum, target));
                    }
                } else if let Some(address) = content.filter(|address| within(datum, *address)) {
                    referred.insert(*datum);
                    slots.extend(words_of(*datum));
                    self.got_words.insert(target, address);
                }
            }
        }
        self.data = referred.into_iter().collect();
        let mut roots = BTreeSet::new();
        for (datum, at) in slots {
            let offset = (at as usize) - datum.0;
            if !at.is_multiple_of(WORD as u64) || offset + WORD > datum.1 {
                continue;
            }
            let Ok(index) = self.data.binary_search(&datum) else { continue };
            // SAFETY: `read` needs an aligned word that nobody writes. The lines above check alignment and bounds; the
            // caller guarantees that nobody writes the data.
            let target = unsafe { (at as *const usize).read() };
            let method = vtable(target);
            if let Some(table) = method {
                let words = table.iter().enumerate();
                self.got_words.extend(words.map(|(word, content)| ((target + word * WORD) as u64, *content as u64)));
            }
            let function = method.map_or(target, |table| table[METHOD]);
            if elf_image::is_text(function) && !decoded.leaves_in_place(function as u64) {
                roots.insert(function);
                self.pointer_slots.push((index, offset, target as u64));
            }
        }
        // SAFETY: `gather` needs functions of this program; `is_text` checked each root, and the caller guarantees that
        // the words hold functions.
        unsafe { self.gather(&roots, decoded) }?;
        self.relocations.take();
        self.checked.set(false);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::arch::{asm, naked_asm};
    use std::cell::UnsafeCell;
    use std::hint::black_box;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::patch::text::serialise;
    use crate::relocate::{CodeMemory, RandomLayouts, link};

    static COUNTER: AtomicU64 = AtomicU64::new(7);

    /// Reads and writes a static of the program.
    #[inline(never)]
    fn counted(step: u64) -> u64 {
        COUNTER.fetch_add(black_box(step), Ordering::Relaxed)
    }

    #[test]
    fn each_copy_has_its_own_copy_of_the_data_and_never_changes_the_original() {
        let entry = counted as *const () as usize;
        let data = [(&raw const COUNTER as usize, 8), (entry - 4096, 8)];
        // SAFETY: `of` needs a compiled function, which `counted` is; `with_data` needs data that nobody else uses, and
        // only this test uses `COUNTER`.
        let image = unsafe { CodeImage::of(entry).unwrap().with_data(&data, &mut DecodeCache::default()) };
        let image = image.unwrap();
        assert_eq!(image.data.len(), 1, "it does not refer to the other");
        let mut memory = CodeMemory::with_data(entry, 4 * image.room(), 4 * image.data_room()).unwrap();
        let (mut layouts, mut rng) = (RandomLayouts::default(), Pcg64Mcg::seed_from_u64(3));
        for _ in 0..4 {
            let copy = link(&image, &layouts.draw(&image, &mut rng), &mut memory).unwrap();
            serialise();
            let copy = copy.address_of(entry as u64).unwrap() as usize;
            // SAFETY: the address is that of a copy of `counted`, which has this signature, and `memory` still holds
            // it.
            let copy = unsafe { std::mem::transmute::<usize, fn(u64) -> u64>(copy) };
            assert_eq!([copy(2), copy(3), copy(0)], [7, 9, 12]);
        }
        assert_eq!(COUNTER.load(Ordering::Relaxed), 7);
    }

    /// Returns its own address, near enough.
    #[unsafe(naked)]
    extern "C" fn here() -> usize {
        naked_asm!("lea rax, [rip]", "ret", ".balign 16, 0xcc")
    }

    trait Here: Sync {
        fn here(&self) -> usize;
    }

    struct Hook;

    impl Here for Hook {
        fn here(&self) -> usize {
            let ip: usize;
            // SAFETY: `lea` computes an address and touches neither memory nor flags.
            unsafe { asm!("lea {}, [rip]", out(reg) ip) };
            ip
        }
    }

    struct Hooks(UnsafeCell<(extern "C" fn() -> usize, &'static dyn Here)>);

    // SAFETY: shared references are sound because nobody writes the contents.
    unsafe impl Sync for Hooks {}

    static HOOKS: Hooks = Hooks(UnsafeCell::new((here, &Hook)));

    /// Records the addresses that a named function, a function in a table and a method behind a vtable run at.
    #[inline(never)]
    fn hooked(at: &mut [usize; 3]) {
        // SAFETY: the static holds initialised pointers that nobody writes. The read is volatile because each copy has
        // its own table.
        let (function, object) = unsafe { HOOKS.0.get().read_volatile() };
        *at = [here(), function(), object.here()];
    }

    #[test]
    fn assembly_and_the_functions_of_tables_and_vtables_run_in_the_copy() {
        let entry = hooked as *const () as usize;
        let data = [(HOOKS.0.get() as usize, size_of::<Hooks>())];
        let mut decoded = DecodeCache::default();
        // SAFETY: `of` needs a compiled function, which `hooked` is; `with_data` needs data that nobody writes, which
        // `HOOKS` is.
        let image = unsafe { CodeImage::of(entry).unwrap().with_data(&data, &mut decoded) };
        let image = image.unwrap();
        let mut memory = CodeMemory::with_data(entry, image.room(), image.data_room()).unwrap();
        let layout = RandomLayouts::default().draw(&image, &mut Pcg64Mcg::seed_from_u64(4));
        let linked = link(&image, &layout, &mut memory).unwrap();
        serialise();
        let copy = linked.address_of(entry as u64).unwrap() as usize;
        // SAFETY: the address is that of a copy of `hooked`, which has this signature, and `memory` still holds it.
        let copy = unsafe { std::mem::transmute::<usize, fn(&mut [usize; 3])>(copy) };
        let mut at = [[0; 3]; 2];
        hooked(&mut at[0]);
        copy(&mut at[1]);
        let [original, copied] = at.map(|at| at.map(|at| linked.original_at(at as u64)));
        assert_eq!(original, [None; 3]);
        let named = here as *const () as u64;
        assert_eq!(copied[..2], [Some(named); 2]);
        assert!(copied[2].is_some(), "the method");
    }

    #[test]
    fn a_function_that_is_left_in_place_is_not_copied() {
        let entry = hooked as *const () as usize;
        let mut decoded = DecodeCache::leaving(std::iter::once(here as *const () as usize));
        // SAFETY: `of_known` needs the address of a compiled function, and `hooked` is one.
        let image = unsafe { CodeImage::of_known(entry, &mut decoded) }.unwrap();
        assert_eq!(image.index_of(here as *const () as u64), None);
        // SAFETY: `of` needs the address of a compiled function, and `hooked` is one.
        assert!(unsafe { CodeImage::of(entry) }.unwrap().index_of(here as *const () as u64).is_some());
    }
}
