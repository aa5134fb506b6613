//! A trial of a writer: it overwrites a function that exists for this purpose, and the result shows whether the writer
//! works here.

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

/// `text`, widened to include the function that is overwritten.
pub fn widen(text: Range<usize>) -> Range<usize> {
    let here = number as *const () as usize;
    if text.is_empty() {
        return here..here + 16;
    }
    text.start.min(here)..text.end.max(here + 16)
}

/// Makes the function return 2, 3 and then 1 again. One change is not enough: valgrind notices the first change of a
/// memfd but not the second.
pub fn run(writer: &mut dyn Writer) -> io::Result<()> {
    let immediate = number as *const () as usize + 1;
    let called: extern "C" fn() -> u32 = std::hint::black_box(number);
    for wanted in [2u8, 3, 1] {
        // SAFETY: `write` needs text that no thread runs and that stays valid: only this function calls `number`, and
        // any immediate is valid.
        unsafe { writer.write(immediate, &[wanted]) }?;
        serialise();
        let found = called();
        if found != u32::from(wanted) {
            let message = format!(
                "the write succeeded, but the old code still ran (it returned {found} instead of {wanted}), as under \
                 an emulator"
            );
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}
