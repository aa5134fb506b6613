//! The identity of machine code: a hash of its bytes without what depends on where the code lies.

use super::decode::Reference;
use super::{CodeImage, DecodedFunction};

/// Start and factor of FNV-1a with 64 bits. A cryptographic hash is not needed: nobody gains from two functions that
/// are alike by their hash.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_FACTOR: u64 = 0x0100_0000_01b3;
/// Bytes of a distance that is no short branch: `rel32`, `disp32`.
const DISTANCE_BYTES: usize = 4;

impl CodeImage {
    /// The identity of the functions: equal for two builds of the same source, whatever the addresses are and in which
    /// order the linker put the functions.
    #[must_use]
    pub fn identity(&self) -> u32 {
        let mut hashes: Vec<u64> = (0..self.len()).map(|index| hash_function(self.function(index))).collect();
        hashes.sort_unstable();
        fold(hashes.iter().fold(FNV_START, |hash, function| add(hash, &function.to_le_bytes())))
    }
}

/// The identity of code together with pieces of it that were rewritten: their offsets in the code, their addresses, and
/// their new bytes. Bytes that do not decode count as they are.
#[must_use]
pub fn identity_of_rewritten<'c>(code: u32, pieces: impl Iterator<Item = (usize, usize, &'c [u8])>) -> u32 {
    let mut hash = add(FNV_START, &code.to_le_bytes());
    for (offset, address, bytes) in pieces {
        hash = add(hash, &(offset as u64).to_le_bytes());
        hash = match DecodedFunction::decode(address as u64, bytes.to_vec()) {
            Ok(decoded) => add(hash, &hash_function(&decoded).to_le_bytes()),
            Err(_) => add(hash, bytes),
        };
    }
    fold(hash)
}

/// The hash of a function: its bytes with zeros for the distances to addresses outside of it. What lies before its
/// entry does not count: before assembly without a preamble, that is the end of another function.
fn hash_function(function: &DecodedFunction) -> u64 {
    let mut bytes = function.bytes().to_vec();
    for Reference { instruction, field, from, .. } in &function.references {
        // A short branch has a distance of one byte at its end.
        let length = if instruction.is_ip_rel_memory_operand() { DISTANCE_BYTES } else { from - field };
        if let Some(distance) = bytes.get_mut(*field..field + length) {
            distance.fill(0);
        }
    }
    add(FNV_START, &bytes)
}

fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_FACTOR))
}

fn fold(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(entry: u64, bytes: &[u8]) -> u64 {
        hash_function(&DecodedFunction::decode(entry, bytes.to_vec()).unwrap())
    }

    /// `mov rax, [rip+there]; cmp dword ptr [rip+there], 7; jmp there; ret` at an address, with distances to one place.
    fn code(entry: u64, there: u64, number: u8) -> Vec<u8> {
        let distance = |end: u64| ((there.wrapping_sub(entry + end)) as u32).to_le_bytes();
        let mut bytes = vec![0x48, 0x8b, 0x05];
        bytes.extend(distance(7));
        bytes.extend([0x83, 0x3d]);
        bytes.extend(distance(14));
        bytes.push(number);
        bytes.push(0xe9);
        bytes.extend(distance(19));
        bytes.push(0xc3);
        bytes
    }

    #[test]
    fn addresses_do_not_change_the_identity_and_an_immediate_does() {
        let here = hash(0x1000, &code(0x1000, 0x9000, 7));
        assert_eq!(here, hash(0x5_0000, &code(0x5_0000, 0x7777, 7)));
        assert_ne!(here, hash(0x1000, &code(0x1000, 0x9000, 8)));
    }

    #[test]
    fn a_branch_within_the_function_is_part_of_the_identity() {
        // `jmp +1; nop; nop; ret` and `jmp +2; ..`: both stay inside.
        let [one, other] = [1, 2].map(|distance| hash(0, &[0xeb, distance, 0x90, 0x90, 0xc3]));
        assert_ne!(one, other);
        // A short branch out of the function, behind whatever follows there.
        let [one, other] = [0x20, 0x30].map(|distance| hash(0, &[0xeb, distance, 0x90]));
        assert_eq!(one, other);
    }

    #[test]
    fn rewritten_sites_count_by_their_instructions_and_places() {
        let call = |address: u64, target: u64| {
            let mut bytes = vec![0xe8];
            bytes.extend((target.wrapping_sub(address + 5) as u32).to_le_bytes());
            bytes
        };
        let identity = |offset, address: u64, bytes: &[u8]| {
            identity_of_rewritten(1, [(offset, address as usize, bytes)].into_iter())
        };
        let direct = identity(3, 0x1003, &call(0x1003, 0x8000));
        assert_eq!(direct, identity(3, 0x2003, &call(0x2003, 0x8100)), "the same call elsewhere");
        assert_ne!(direct, identity(4, 0x1004, &call(0x1004, 0x8000)), "at another place of the loop");
        assert_ne!(direct, identity(3, 0x1003, &[0x90; 5]), "no call");
    }

    #[inline(never)]
    fn halved(value: u64) -> u64 {
        std::hint::black_box(value) / 2
    }

    #[test]
    fn an_image_of_compiled_functions_has_an_identity_and_another_function_has_another() {
        let identity = |root: usize| {
            // SAFETY: `of` needs the address of a compiled function of this program.
            unsafe { CodeImage::of(root) }.unwrap().identity()
        };
        let root = halved as *const () as usize;
        assert_eq!(identity(root), identity(root));
        assert_ne!(identity(root), identity(fold as *const () as usize));
    }
}
