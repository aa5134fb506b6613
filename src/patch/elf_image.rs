//! The program in memory: its text, and words of it that do not change any more.
//!
//! The dynamic linker fills some words in and makes them read-only (`PT_GNU_RELRO`; System V gABI, "Program Header").
//! Rust calls a function of another codegen unit through one of them, an entry of the GOT.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

#[derive(Default)]
struct Segments {
    text: Range<usize>,
    constant: Range<usize>,
}

fn known() -> &'static Segments {
    static SEGMENTS: OnceLock<Segments> = OnceLock::new();
    SEGMENTS.get_or_init(segments)
}

/// Whether an address lies in this program's text.
pub(crate) fn is_text(address: usize) -> bool {
    known().text.contains(&address)
}

/// The constant words at `address`; `None` where there are not so many.
pub(crate) fn constants(address: usize, count: usize) -> Option<&'static [usize]> {
    let constant = &known().constant;
    let end = address.checked_add(count.checked_mul(8)?)?;
    if !constant.contains(&address) || end > constant.end || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: mapped words that nobody writes.
    Some(unsafe { std::slice::from_raw_parts(address as *const usize, count) })
}

/// The function of this program that a constant word at `slot` leads to; `None` where the word is not one of those.
pub(super) fn function_at(slot: u64) -> Option<u64> {
    let function = *constants(usize::try_from(slot).ok()?, 1)?.first()?;
    is_text(function).then_some(function as u64)
}

/// Empty ranges where there are none.
fn segments() -> Segments {
    /// # Safety
    /// As `dl_iterate_phdr` calls it; `found` points to segments.
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: libc::size_t, found: *mut c_void) -> c_int {
        // SAFETY: valid for the call (dl_iterate_phdr(3)).
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Segments>()) };
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        // SAFETY: so many headers stand there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        for header in headers {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            match header.p_type {
                // Whole pages are protected; what is on a page with other data stays writable.
                libc::PT_GNU_RELRO => found.constant = start..(end & !4095).max(start),
                libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => found.text = start..end,
                _ => {}
            }
        }
        // The program is the first, and all that is asked for.
        1
    }
    let mut found = Segments::default();
    // SAFETY: the callback keeps to its contract, and the segments live until the call returns.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_program_writes_is_no_constant_word() {
        static WORD: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        assert_eq!(super::function_at(WORD.as_ptr() as u64), None);
        let local = 1u64;
        assert_eq!(super::function_at(&raw const local as u64), None);
        assert_eq!(super::function_at(0), None);
    }
}
