//! The length of a compiled function, from the unwind tables that every x86-64 Linux program carries (System V psABI,
//! 3.7 "Stack Unwind Algorithm"; Linux Standard Base, "Exception Frames").
//!
//! The tables survive stripping. Unlike control flow, they give the end of a function whose last instruction is a call
//! that does not return.

use std::ffi::c_void;

/// `struct dwarf_eh_bases` (libgcc `unwind-dw2-fde.h`); filled in, never read.
#[repr(C)]
struct Bases {
    text: *mut c_void,
    data: *mut c_void,
    function: *mut c_void,
}

unsafe extern "C" {
    /// The frame description entry that covers `pc`. libgcc_eh, libgcc_s and LLVM's libunwind define it; the standard
    /// library links one of them.
    fn _Unwind_Find_FDE(pc: *const c_void, bases: *mut Bases) -> *const u8;
}

/// The length in bytes of the function that starts at `entry`. `None` if the tables have no function that starts there
/// (naked functions have no entry), or use an encoding that no x86-64 compiler uses.
pub fn find_length(entry: usize) -> Option<usize> {
    let mut bases = Bases { text: std::ptr::null_mut(), data: std::ptr::null_mut(), function: std::ptr::null_mut() };
    // SAFETY: the function only looks an address up in tables, and allows any address.
    let fde = unsafe { _Unwind_Find_FDE(entry as *const c_void, &raw mut bases) };
    if fde.is_null() {
        return None;
    }
    // An entry begins with its length, the offset of its CIE, the start (relative to its own address) and the range:
    // four bytes each in the encoding DW_EH_PE_pcrel | DW_EH_PE_sdata4.
    // SAFETY: both reads need mapped bytes: an entry is at least 16 bytes long in that encoding, and longer in every
    // other.
    let (start, range) = unsafe {
        let field = fde.add(8);
        let distance = field.cast::<i32>().read_unaligned();
        ((field as usize).wrapping_add_signed(distance as isize), field.add(4).cast::<u32>().read_unaligned())
    };
    // With another encoding the start differs from the address that was looked up.
    (start == entry).then_some(range as usize)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_start_of_a_compiled_function_has_a_length() {
        let entry = super::find_length as *const () as usize;
        assert!(super::find_length(entry).is_some_and(|length| length > 16));
        assert_eq!(super::find_length(entry + 1), None);
        assert_eq!(super::find_length(0), None);
    }
}
