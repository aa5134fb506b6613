//! The instructions of the guest, by address: what the recorder knows of each.

use crate::files::{self, File};

/// Bound on the number of known instructions: four times those of Debian's kernel with its boot. 64 MB at most.
const MAX_INSTRUCTIONS: usize = 1 << 20;
/// Entries of the table from addresses to instructions; twice the bound, so that searches are short.
const TABLE: usize = 2 * MAX_INSTRUCTIONS;
/// Bound on the items of a list of the control file.
const MAX_CONTROL: u64 = 1 << 20;

/// Flags of an instruction.
pub const USER: u8 = 1;
pub const IRET: u8 = 2;
pub const STAMP: u8 = 4;
pub const SYSCALL: u8 = 8;

/// An instruction at an address. The last translation counts: boot rewrites code.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Instruction {
    pub at: u64,
    pub next: u64,
    pub bytes: [u8; 16],
    /// Number of its site, from 1; 0 for other instructions.
    pub site: u32,
    /// Number of the kernel's own counter for it; 0 for none.
    pub counter: u32,
    /// The last window that executed it, from 1.
    pub window: u32,
    pub length: u8,
    pub flags: u8,
    /// The kind of entry of the kernel that begins here; 0 for none.
    pub entry: u8,
    /// The largest number of accesses in one execution: with fewer, a fault came in between.
    pub accesses: u8,
}

/// A list that stays until the emulator ends.
#[derive(Clone, Copy)]
pub struct List<T>(*const T, usize);

impl<T> List<T> {
    pub const EMPTY: List<T> = List(core::ptr::null(), 0);

    pub fn items(&self) -> &'static [T] {
        // SAFETY: `from_raw_parts` needs that many values that never change: `read` alone makes a list with values,
        // from memory that stays mapped and that nobody writes.
        if self.1 == 0 { &[] } else { unsafe { core::slice::from_raw_parts(self.0, self.1) } }
    }
}

impl<const N: usize> List<[u64; N]> {
    /// Reads a number, and as many items of `N` words.
    pub fn read(file: &mut File) -> Option<Self> {
        let length = file.read_word().filter(|length| *length <= MAX_CONTROL)? as usize;
        let items = files::zeroed::<[u64; N]>(length.max(1));
        if items.is_null() {
            return None;
        }
        for index in 0..length {
            for word in 0..N {
                let value = file.read_word()?;
                // SAFETY: the memory has `length` items of `N` words.
                unsafe { (*items.add(index))[word] = value };
            }
        }
        Some(List(items, length))
    }
}

/// All instructions that the emulator has translated.
pub struct Code {
    /// Addresses of sites, in order, with the numbers of the kernel's own counters.
    pub sites: List<[u64; 2]>,
    /// Addresses of entries of the kernel, in order, with their kinds.
    entries: List<[u64; 2]>,
    instructions: *mut Instruction,
    length: usize,
    /// Numbers of instructions plus 1, by a hash of their addresses.
    table: *mut u32,
}

impl Code {
    pub const EMPTY: Code = Code {
        sites: List::EMPTY,
        entries: List::EMPTY,
        instructions: core::ptr::null_mut(),
        length: 0,
        table: core::ptr::null_mut(),
    };

    /// Reads the addresses of sites, and those of entries with their kinds.
    pub fn read(file: &mut File) -> Option<Code> {
        let (sites, entries) = (List::read(file)?, List::read(file)?);
        let instructions: *mut Instruction = files::zeroed(MAX_INSTRUCTIONS);
        let table: *mut u32 = files::zeroed(TABLE);
        if instructions.is_null() || table.is_null() {
            return None;
        }
        Some(Code { sites, entries, instructions, length: 0, table })
    }

    pub fn known(&self) -> &'static [Instruction] {
        // SAFETY: the first `length` instructions are in use and stay.
        unsafe { core::slice::from_raw_parts(self.instructions, self.length) }
    }

    /// The record of the instruction at an address, new or with new bytes.
    pub fn record(&mut self, at: u64, bytes: &[u8; 16], length: u8) -> *mut Instruction {
        let mut slot = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % TABLE;
        // SAFETY: the table has `TABLE` entries, more than instructions, so an empty one ends the search; an entry that
        // is not 0 is the number of an instruction, plus 1. No other reference to the record exists.
        let record = unsafe {
            loop {
                let known = *self.table.add(slot) as usize;
                if known == 0 || (*self.instructions.add(known - 1)).at == at {
                    break;
                }
                slot = (slot + 1) % TABLE;
            }
            if *self.table.add(slot) == 0 {
                if self.length == MAX_INSTRUCTIONS {
                    files::abort();
                }
                self.length += 1;
                *self.table.add(slot) = self.length as u32;
            }
            &mut *self.instructions.add(*self.table.add(slot) as usize - 1)
        };
        let is_user = at >> 47 == 0;
        let starts = |code: &[u8]| bytes.starts_with(code);
        record.at = at;
        record.next = at.wrapping_add(u64::from(length));
        record.bytes = *bytes;
        record.length = length;
        record.flags = if is_user { USER } else { 0 };
        record.flags |= if starts(b"\x48\xcf") { IRET } else { 0 };
        record.flags |= if is_user && starts(b"\x0f\x31") { STAMP } else { 0 };
        record.flags |= if is_user && starts(b"\x0f\x05") { SYSCALL } else { 0 };
        let sites = self.sites.items();
        let site = sites.binary_search_by_key(&at, |site| site[0]);
        record.site = site.map_or(0, |index| index as u32 + 1);
        record.counter = site.map_or(0, |index| sites[index][1] as u32);
        let entries = self.entries.items();
        record.entry = entries.binary_search_by_key(&at, |entry| entry[0]).map_or(0, |index| entries[index][1] as u8);
        record
    }
}
