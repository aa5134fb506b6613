//! A function that exists to be overwritten: whether a writer works here is tried, not asked.

use std::arch::naked_asm;
use std::io;
use std::ops::Range;

use super::Writer;
use crate::patch::text::serialise;

/// `mov eax, 1; ret`: the second byte is the low byte of the number.
#[unsafe(naked)]
extern "C" fn number() -> u32 {
    naked_asm!("mov eax, 1", "ret", ".balign 16, 0xcc")
}

/// `text`, widened to hold the function that is overwritten.
pub fn include(text: Range<usize>) -> Range<usize> {
    let here = number as *const () as usize;
    if text.is_empty() {
        return here..here + 16;
    }
    text.start.min(here)..text.end.max(here + 16)
}

/// Has the function return 2, 3 and 1 again. Three times, for valgrind notices the first change of a memfd but not the
/// second.
pub fn run(writer: &mut dyn Writer) -> io::Result<()> {
    let immediate = number as *const () as usize + 1;
    let called: extern "C" fn() -> u32 = std::hint::black_box(number);
    for wanted in [2u8, 3, 1] {
        // SAFETY: the immediate of an instruction that nobody else runs.
        unsafe { writer.write(immediate, &[wanted]) }?;
        serialise();
        let found = called();
        if found != u32::from(wanted) {
            let message = format!("was written, but old code ran on ({found}, not {wanted}), as under an emulator");
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}
