//! Checks of a copy: it decodes to its source, and lies in memory as it was made.

use iced_x86::{Decoder, DecoderOptions};

use super::DISTANCE_BYTES;
use crate::relocate::layout::chain::Joint;
use crate::relocate::{DecodedFunction, FunctionError};

/// Checks a copy at `start` that was made with `targets`. References are decoded and compared; all other bytes are
/// compared with the original. So each instruction starts at the same offset as in the original and is the same.
pub fn same_function(
    function: &DecodedFunction,
    copy: &[u8],
    start: u64,
    mut targets: impl Iterator<Item = u64>,
) -> Result<(), FunctionError> {
    let bytes = function.bytes();
    let differs = |at: usize| FunctionError::CopyDiffers { entry: function.entry(), at: start + at as u64 };
    let same = |from: usize, to: usize| {
        if bytes[from..to] == copy[from..to] {
            return Ok(());
        }
        let mut pairs = bytes[from..to].iter().zip(&copy[from..to]);
        Err(differs(from + pairs.position(|(original, copied)| original != copied).unwrap_or(0)))
    };
    if copy.len() != bytes.len() {
        return Err(differs(copy.len().min(bytes.len())));
    }
    let mut checked = 0;
    for reference in &function.references {
        let original = &reference.instruction;
        let at = reference.from - original.len();
        same(checked, reference.field)?;
        let copied = Decoder::with_ip(64, &copy[at..], start + at as u64, DecoderOptions::NONE).decode();
        let in_memory = copied.is_ip_rel_memory_operand();
        let target = if in_memory { copied.ip_rel_memory_address() } else { copied.near_branch_target() };
        let is_same = copied.code() == original.code() && copied.len() == original.len();
        if !is_same || targets.next() != Some(target) {
            return Err(differs(at));
        }
        checked = (reference.field + DISTANCE_BYTES).min(reference.from);
    }
    same(checked, copy.len())
}

/// Checks that the code of a chain at `start` has a jump where a joint made one, and that it leads to its target.
pub fn leads_to_target(joint: &Joint, code: &[u8], start: u64) -> Result<(), FunctionError> {
    let at = start + joint.jump as u64;
    let rest = code.get(joint.jump..).unwrap_or_default();
    let jump = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
    let is_jump = jump.is_jmp_short_or_near() || jump.is_jcc_short_or_near();
    if is_jump && jump.near_branch_target() == start + joint.target as u64 {
        return Ok(());
    }
    Err(FunctionError::CopyDiffers { entry: start, at })
}

/// Checks that memory at `start` holds what was written there.
pub fn same_bytes(written: &[u8], found: &[u8], start: u64) -> Result<(), FunctionError> {
    if written == found {
        return Ok(());
    }
    let at = written.iter().zip(found).position(|(written, found)| written != found).unwrap_or(0);
    Err(FunctionError::CopyDiffers { entry: start, at: start + at as u64 })
}

#[cfg(test)]
mod tests {
    use super::super::append;
    use super::*;
    use crate::relocate::CodeMemory;

    #[test]
    fn a_check_finds_any_single_byte_that_differs_in_a_copy() {
        let entry = CodeMemory::new as *const () as usize;
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `CodeMemory::new`.
        let code = unsafe { DecodedFunction::at(entry) }.unwrap();
        let targets = || code.references().map(|(_, target)| target);
        assert!(targets().count() > 3);
        let start = code.entry() + 4096;
        let mut copy = Vec::new();
        append(&code, &mut copy, start as usize, targets()).unwrap();
        same_function(&code, &copy, start, targets()).unwrap();
        for at in 0..copy.len() {
            let mut other = copy.clone();
            other[at] ^= 1;
            assert!(same_function(&code, &other, start, targets()).is_err(), "byte {at}");
            assert!(same_bytes(&copy, &other, start).is_err(), "byte {at}");
        }
        assert!(same_function(&code, &copy, start, targets().skip(1)).is_err());
        assert!(same_function(&code, &copy[..copy.len() - 1], start, targets()).is_err());
    }

    #[test]
    fn a_joint_that_leads_elsewhere_is_found() {
        let joint = |target| Joint { at: 0, bytes: vec![0xe9, 3, 0, 0, 0], jump: 0, target };
        let code = &joint(8).bytes;
        assert!(leads_to_target(&joint(8), code, 4096).is_ok());
        assert!(leads_to_target(&joint(9), code, 4096).is_err());
        assert!(leads_to_target(&joint(8), &code[..4], 4096).is_err());
        assert!(leads_to_target(&joint(1), &[0x90], 4096).is_err(), "no jump");
    }
}
