//! The running program as its ELF file describes it: its text, and the words that are constant once it has started.
//!
//! The dynamic linker fills some words and makes them read-only (`PT_GNU_RELRO`; System V gABI, "Program Header"). Rust
//! calls a function of another codegen unit through one of them, an entry of the GOT.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

#[derive(Default)]
struct Segments {
    text: Range<usize>,
    constant: Range<usize>,
}

fn loaded_segments() -> &'static Segments {
    static SEGMENTS: OnceLock<Segments> = OnceLock::new();
    SEGMENTS.get_or_init(read_segments)
}

/// Whether an address lies in this program's text.
pub(crate) fn is_text(address: usize) -> bool {
    loaded_segments().text.contains(&address)
}

/// The `count` constant words at `address`; `None` if not all of them are constant words.
pub(crate) fn constants(address: usize, count: usize) -> Option<&'static [usize]> {
    let constant = &loaded_segments().constant;
    let end = address.checked_add(count.checked_mul(8)?)?;
    if !constant.contains(&address) || end > constant.end || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: `from_raw_parts` needs aligned, mapped words that nobody writes; the lines above check the alignment and
    // that all lie in the read-only segment.
    Some(unsafe { std::slice::from_raw_parts(address as *const usize, count) })
}

/// The function of this program whose address a constant word at `slot` holds; `None` if the word is not constant or
/// holds something else.
pub(crate) fn function_at(slot: u64) -> Option<u64> {
    let function = *constants(usize::try_from(slot).ok()?, 1)?.first()?;
    is_text(function).then_some(function as u64)
}

/// Reads the program headers; ranges are empty if there are no such segments.
fn read_segments() -> Segments {
    /// # Safety
    /// `dl_iterate_phdr` calls it, with `found` pointing to a [`Segments`].
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: libc::size_t, found: *mut c_void) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid `info` for the duration of the call, and `found` as its caller
        // passed it (dl_iterate_phdr(3)).
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Segments>()) };
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers (dl_iterate_phdr(3)), and is not null.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        for header in headers {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            match header.p_type {
                // Whole pages are protected; a page that other data shares stays writable.
                libc::PT_GNU_RELRO => found.constant = start..(end & !4095).max(start),
                libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => found.text = start..end,
                _ => {}
            }
        }
        // The program itself is the first object, and the only one that matters here.
        1
    }
    let mut found = Segments::default();
    // SAFETY: `first` has the type that `dl_iterate_phdr` calls, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_word_that_the_program_may_write_is_not_constant() {
        static WORD: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        assert_eq!(super::function_at(WORD.as_ptr() as u64), None);
        let local = 1u64;
        assert_eq!(super::function_at(&raw const local as u64), None);
        assert_eq!(super::function_at(0), None);
    }
}
