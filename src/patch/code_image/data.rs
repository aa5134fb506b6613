//! Data that copies of functions have copies of, and what it leads to.

use std::collections::BTreeSet;

use iced_x86::Mnemonic;

use super::super::relocations::WORD;
use super::super::{DecodeCache, FunctionError, elf_image};
use super::CodeImage;

/// Of a vtable's words: how to drop, size, alignment, and the only method.
const METHOD: usize = 3;

/// The words of a vtable with one method, of what has no size; `None` where there is no such at an address.
fn vtable(address: usize) -> Option<&'static [usize]> {
    let words = elf_image::constants(address, METHOD + 1)?;
    (words[..METHOD] == [0, 0, 1] && elf_image::is_text(words[METHOD])).then_some(words)
}

impl CodeImage {
    /// Has copies refer to copies of their own of such `data` as the functions refer to: addresses and lengths. Where a
    /// word that they refer to leads to a function, or to a vtable of what has no size, this goes along, with all that
    /// it calls.
    ///
    /// # Safety
    /// It is data of this program, which is read and written by functions of this tree alone while a copy runs, and may
    /// be copied byte for byte. What its words lead to is not changed in it then, but by functions that `decoded`
    /// leaves.
    ///
    /// # Errors
    /// Where one of the functions does not decode.
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
        // By its distance, or through a constant word that holds its address, as data of another codegen unit is.
        // Whoever has an address may read all words from there.
        let (mut referred, mut single) = (BTreeSet::new(), BTreeSet::new());
        for (instruction, target) in self.functions.iter().flat_map(|function| function.code.references()) {
            let word = || elf_image::constants(target as usize, 1).and_then(|word| Some(*word.first()? as u64));
            let held = if instruction.is_ip_rel_memory_operand() { word() } else { None };
            for datum in data {
                if within(datum, target) {
                    referred.insert(*datum);
                    if instruction.mnemonic() == Mnemonic::Lea {
                        single.extend(words_of(*datum));
                    } else {
                        single.insert((*datum, target));
                    }
                } else if let Some(address) = held.filter(|address| within(datum, *address)) {
                    referred.insert(*datum);
                    single.extend(words_of(*datum));
                    self.words.insert(target, address);
                }
            }
        }
        self.data = referred.into_iter().collect();
        let mut roots = BTreeSet::new();
        for (datum, at) in single {
            let offset = (at as usize) - datum.0;
            if !at.is_multiple_of(WORD as u64) || offset + WORD > datum.1 {
                continue;
            }
            let Ok(index) = self.data.binary_search(&datum) else { continue };
            // SAFETY: a whole word of the data, which nobody writes now.
            let leads_to = unsafe { (at as *const usize).read() };
            let method = vtable(leads_to);
            if let Some(table) = method {
                let words = table.iter().enumerate();
                self.words.extend(words.map(|(word, held)| ((leads_to + word * WORD) as u64, *held as u64)));
            }
            let function = method.map_or(leads_to, |table| table[METHOD]);
            if elf_image::is_text(function) && !decoded.stays(function as u64) {
                roots.insert(function);
                self.held.push((index, offset, leads_to as u64));
            }
        }
        // SAFETY: what hooks are bound to is a function of this program (contract of this function).
        unsafe { self.gather(&roots, decoded) }?;
        self.leads = None;
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
    use crate::patch::{CodeMemory, DataMemory, DecodedFunction};

    static COUNTER: AtomicU64 = AtomicU64::new(7);

    /// Reads and writes the program's data.
    #[inline(never)]
    fn counted(step: u64) -> u64 {
        COUNTER.fetch_add(black_box(step), Ordering::Relaxed)
    }

    #[test]
    fn a_copy_with_data_of_its_own_has_it_elsewhere_each_time_and_leaves_the_original_alone() {
        let entry = counted as *const () as usize;
        let data = [(&raw const COUNTER as usize, 8), (entry - 4096, 8)];
        // SAFETY: a compiled function, and a number that nothing else of the test uses.
        let tree = unsafe { CodeImage::of(entry).unwrap().with_data(&data, &mut DecodeCache::default()) };
        let mut tree = tree.unwrap();
        assert_eq!(tree.data.len(), 1, "it does not refer to the other");
        let mut memory = CodeMemory::new(entry, 4 * tree.room()).unwrap();
        let mut data = DataMemory::new(entry, 4 * tree.data_room()).unwrap();
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        for _ in 0..4 {
            tree.place(&mut memory, &mut data, &mut rng).unwrap();
            serialise();
            let copy = tree.relocated(entry as u64).unwrap() as usize;
            // SAFETY: a copy of this very function, in memory that is still there.
            let copy = unsafe { std::mem::transmute::<usize, fn(u64) -> u64>(copy) };
            assert_eq!([copy(2), copy(3), copy(0)], [7, 9, 12]);
        }
        assert_eq!(COUNTER.load(Ordering::Relaxed), 7);
    }

    /// Says where it runs.
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
            // SAFETY: an address.
            unsafe { asm!("lea {}, [rip]", out(reg) ip) };
            ip
        }
    }

    struct Hooks(UnsafeCell<(extern "C" fn() -> usize, &'static dyn Here)>);

    // SAFETY: nobody writes it.
    unsafe impl Sync for Hooks {}

    static HOOKS: Hooks = Hooks(UnsafeCell::new((here, &Hook)));

    /// Calls what is called by naming it, what a table leads to, and what a vtable does.
    #[inline(never)]
    fn hooked(at: &mut [usize; 3]) {
        // SAFETY: as above; volatile, for a table is another one at every call.
        let (function, object) = unsafe { HOOKS.0.get().read_volatile() };
        *at = [here(), function(), object.here()];
    }

    #[test]
    fn assembly_and_what_tables_and_vtables_lead_to_run_in_the_copy() {
        let entry = hooked as *const () as usize;
        let data = [(HOOKS.0.get() as usize, size_of::<Hooks>())];
        let mut decoded = DecodeCache::default();
        // SAFETY: a compiled function, and data that nobody writes.
        let tree = unsafe { CodeImage::of(entry).unwrap().with_data(&data, &mut decoded) };
        let mut tree = tree.unwrap();
        let mut memory = CodeMemory::new(entry, tree.room()).unwrap();
        let mut data = DataMemory::new(entry, tree.data_room()).unwrap();
        tree.place(&mut memory, &mut data, &mut Pcg64Mcg::seed_from_u64(4)).unwrap();
        serialise();
        let copy = tree.relocated(entry as u64).unwrap() as usize;
        // SAFETY: a copy of this very function, in memory that is still there.
        let copy = unsafe { std::mem::transmute::<usize, fn(&mut [usize; 3])>(copy) };
        let mut at = [[0; 3]; 2];
        hooked(&mut at[0]);
        copy(&mut at[1]);
        let [original, copied] = at.map(|at| at.map(|at| tree.at(at as u64).map(DecodedFunction::entry)));
        assert_eq!(original, [None; 3]);
        let named = here as *const () as u64;
        assert_eq!(copied[..2], [Some(named); 2]);
        assert!(copied[2].is_some(), "the method");
    }

    #[test]
    fn what_is_left_is_called_where_it_is() {
        let entry = hooked as *const () as usize;
        let mut decoded = DecodeCache::leaving(std::iter::once(here as *const () as usize));
        // SAFETY: as above.
        let tree = unsafe { CodeImage::of_known(entry, &mut decoded) }.unwrap();
        assert_eq!(tree.relocated(here as *const () as u64), None);
        // SAFETY: as above.
        assert!(unsafe { CodeImage::of(entry) }.unwrap().index_of(here as *const () as u64).is_some());
    }
}
