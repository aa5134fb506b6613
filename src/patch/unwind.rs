//! How long a compiled function is, by the unwind tables that every x86-64 Linux program carries (System V psABI, 3.7
//! "Stack Unwind Algorithm"; Linux Standard Base, "Exception Frames"). They survive stripping, and unlike control flow
//! they tell where a function ends that ends in a call which does not return.

use std::ffi::c_void;

/// `struct dwarf_eh_bases` (libgcc `unwind-dw2-fde.h`); filled in, not read.
#[repr(C)]
struct Bases {
    text: *mut c_void,
    data: *mut c_void,
    function: *mut c_void,
}

unsafe extern "C" {
    /// The frame description entry that covers `pc`; in libgcc_eh, libgcc_s and LLVM's libunwind, of which the standard
    /// library links one.
    fn _Unwind_Find_FDE(pc: *const c_void, bases: *mut Bases) -> *const u8;
}

/// The length in bytes of the function that starts at `entry`; `None` where the tables know none that starts there (a
/// naked function has no entry), or encode it in a way no x86-64 compiler uses.
pub fn of(entry: usize) -> Option<usize> {
    let mut bases = Bases { text: std::ptr::null_mut(), data: std::ptr::null_mut(), function: std::ptr::null_mut() };
    // SAFETY: looks an address up in tables; any address is allowed.
    let fde = unsafe { _Unwind_Find_FDE(entry as *const c_void, &raw mut bases) };
    if fde.is_null() {
        return None;
    }
    // Length, offset of the CIE, then start (relative to its own place) and range, each four bytes in the encoding
    // DW_EH_PE_pcrel | DW_EH_PE_sdata4.
    // SAFETY: an entry is at least 16 bytes long in that encoding, and longer in every other.
    let (start, range) = unsafe {
        let field = fde.add(8);
        let distance = field.cast::<i32>().read_unaligned();
        ((field as usize).wrapping_add_signed(distance as isize), field.add(4).cast::<u32>().read_unaligned())
    };
    // Another encoding does not give the address that was asked for.
    (start == entry).then_some(range as usize)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_compiled_function_has_a_length_and_a_place_inside_it_has_none() {
        let entry = super::of as *const () as usize;
        assert!(super::of(entry).is_some_and(|length| length > 16));
        assert_eq!(super::of(entry + 1), None);
        assert_eq!(super::of(0), None);
    }
}
