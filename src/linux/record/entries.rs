//! The entries of a kernel for interrupts and exceptions, found in its file.
//!
//! The recorder must tell an interrupt, which comes in between, from a fault, which is the work of the workload. Both
//! begin at an entry of the interrupt table. Boot fills that table from arrays of `struct idt_data`, and from a row of
//! stubs for device interrupts (`irq_entries_start`), each of which pushes its number.

use std::collections::BTreeMap;

use super::RecordError;
use crate::linux::elf::Elf;

/// What begins at an entry; `src/linux/record/plugin/state.rs` has the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An interrupt: the instruction before it is complete.
    Interrupt = 1,
    /// A page fault: the instruction before it is complete only if its successor could not be fetched.
    PageFault = 2,
    /// Another fault: the instruction before it is incomplete.
    Fault = 3,
    /// A trap: the instruction before it is complete.
    Trap = 4,
}

/// `FIRST_EXTERNAL_VECTOR`
const FIRST_EXTERNAL: u32 = 0x20;
const PAGE_FAULT: u32 = 14;
/// Vectors of traps: debug, breakpoint, overflow. The non-maskable interrupt (2) counts as an interrupt.
const TRAPS: [u32; 3] = [1, 3, 4];
/// Size of `struct idt_data`, in bytes: vector, segment, bits, address.
const ENTRY_BYTES: usize = 24;
/// `__KERNEL_CS`
const KERNEL_SEGMENT: u32 = 0x10;
/// Number of stubs that a row has at least; Linux has 224, and 256 minus that of the system's own vectors.
const MIN_STUBS: usize = 64;
const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// Finds all entries, by address.
///
/// # Errors
/// If the page fault or the stubs of interrupts are not found.
pub fn find(elf: &Elf) -> Result<BTreeMap<u64, Entry>, RecordError> {
    let missing = |what| RecordError::Entries { path: elf.path.clone(), what };
    let mut entries = BTreeMap::new();
    let gates = find_gates(elf);
    if !gates.iter().any(|(vector, _)| *vector == PAGE_FAULT) {
        return Err(missing("the entry of page faults was not found"));
    }
    for (vector, address) in gates {
        let entry = match vector {
            PAGE_FAULT => Entry::PageFault,
            2 | FIRST_EXTERNAL.. => Entry::Interrupt,
            trap if TRAPS.contains(&trap) => Entry::Trap,
            _ => Entry::Fault,
        };
        entries.insert(address, entry);
    }
    let stubs = find_stubs(elf);
    if stubs.is_empty() {
        return Err(missing("the entries of device interrupts were not found"));
    }
    entries.extend(stubs.into_iter().map(|address| (address, Entry::Interrupt)));
    Ok(entries)
}

/// Vectors and addresses of all `struct idt_data`.
fn find_gates(elf: &Elf) -> Vec<(u32, u64)> {
    let Some(text) = elf.section(".text").map(|text| text.addresses()) else { return Vec::new() };
    let mut gates = Vec::new();
    for name in [".init.data", ".init.rodata", ".rodata", ".data"] {
        let Some(section) = elf.section(name) else { continue };
        let data = elf.data(section);
        for at in (0..data.len().saturating_sub(ENTRY_BYTES - 1)).step_by(8) {
            let word = |from: usize, length: usize| {
                let bytes = data.get(at + from..at + from + length).unwrap_or_default();
                bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
            };
            // The bits: an index of a stack, then a gate for interrupts (0xe) that is present, for ring 0 or 3.
            let bits = word(8, 2);
            let is_gate = matches!(bits & 0xff00, 0x8e00 | 0xee00) && bits & 0xf8 == 0 && word(10, 6) == 0;
            let address = word(16, 8);
            if word(0, 4) < 256 && word(4, 4) == u64::from(KERNEL_SEGMENT) && is_gate && text.contains(&address) {
                gates.push((word(0, 4) as u32, address));
            }
        }
    }
    gates
}

/// Addresses of the stubs of device interrupts: `push $vector; jmp common`, at equal distances.
fn find_stubs(elf: &Elf) -> Vec<u64> {
    let Some(text) = elf.section(".text") else { return Vec::new() };
    let code = elf.data(text);
    let is_stub = |at: usize, vector: u8| {
        let bytes = code.get(at..).unwrap_or_default();
        let bytes = bytes.strip_prefix(ENDBR64).unwrap_or(bytes);
        matches!(bytes, [0x6a, number, 0xe9 | 0xeb, ..] if *number == vector)
    };
    let first = FIRST_EXTERNAL as u8;
    for start in (0..code.len()).step_by(8) {
        if !is_stub(start, first) {
            continue;
        }
        for stride in [8, 16] {
            let stubs = (first..=u8::MAX).zip((start..).step_by(stride));
            let row: Vec<u64> = stubs
                .take_while(|(vector, at)| is_stub(*at, *vector))
                .map(|(_, at)| text.address + at as u64)
                .collect();
            if row.len() >= MIN_STUBS {
                return row;
            }
        }
    }
    Vec::new()
}
