//! The sites that the program records of itself: Linux's `.parainstructions`, `__jump_table`, `.static_call_sites` and
//! `.altinstructions` in one section.
//!
//! A mechanism that can be patched emits a record beside each of its call sites:
//!
//! ```text
//! 771: call qword ptr [rip + pv_ops + 8*slot]     the site, in .text
//!      .nops ..
//! 772:
//! .pushsection pvsites, "aR", @progbits           the record
//! .long 771b - ., target - .                      relative, so that it needs no relocation
//! .long hash
//! .short slot; .byte 772b - 771b, kind
//! .popsection
//! ```
//!
//! The hash of the op's name tells ops apart that have the same slot in two suites of one program: what one suite
//! patches leaves the other's sites as they are.
//!
//! `R` keeps records (and with them unused functions that hold sites) from being collected by the linker; so how many
//! there are differs with optimisation and LTO.

use std::arch::global_asm;
use std::ops::Range;

// The section exists, and with it the linker's symbols for its ends, even where no site was compiled in.
global_asm!(".pushsection pvsites, \"aR\", @progbits", ".popsection");

/// What kind of site it is, and so what may be written over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SiteKind {
    /// A pv_ops call site that gives up all caller-saved registers (`PARAVIRT_CALL`).
    Pv = 0,
    /// A pv_ops call site that gives up `rax` alone (`PVOP_CALLEE`).
    PvCalleeSave = 1,
    /// A jump label: a 5-byte NOP or a jump to the record's target (`arch_static_branch`).
    JumpLabel = 2,
    /// A call of a static call's trampoline (`static_call()`).
    StaticCall = 3,
    /// The trampoline itself: a jump to the body.
    Trampoline = 4,
    /// A direct call of the default body, to be replaced where a feature is there (`ALTERNATIVE`).
    Alternative = 5,
    /// A plain call that follows the platform: what a jump label jumps to.
    Call = 6,
}

impl SiteKind {
    const ALL: [SiteKind; 7] = [
        SiteKind::Pv,
        SiteKind::PvCalleeSave,
        SiteKind::JumpLabel,
        SiteKind::StaticCall,
        SiteKind::Trampoline,
        SiteKind::Alternative,
        SiteKind::Call,
    ];
}

/// A record, as it stands in the section.
#[repr(C)]
struct Record {
    site: i32,
    target: i32,
    op: u32,
    slot: u16,
    length: u8,
    kind: u8,
}

unsafe extern "C" {
    /// First byte of the section (ld(1), a section whose name is a C identifier).
    static __start_pvsites: u8;
    /// First byte after it.
    static __stop_pvsites: u8;
}

/// A place in the machine code that may be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its first byte.
    pub address: usize,
    /// How many bytes belong to it.
    pub length: usize,
    /// The op, by its place in the pv_ops table.
    pub slot: usize,
    /// The op, by the hash of its name ([`Meta::hash`](crate::op::Meta::hash)).
    pub op: u32,
    /// What may be written there.
    pub kind: SiteKind,
    /// Where a jump label goes; 0 for others.
    pub target: usize,
}

/// What is wrong with the section.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not a whole number of records.
    #[error("section pvsites: {size} bytes are no whole number of records; the linker script has changed it")]
    Size {
        /// Its size.
        size: usize,
    },
    /// A kind that this build does not know.
    #[error("section pvsites, record {index}: no kind {kind}; a library of another version is linked in")]
    SiteKind {
        /// Which record.
        index: usize,
        /// What it says.
        kind: u8,
    },
}

/// The sites of this program, by address.
///
/// # Errors
/// Where the section does not hold records of this build.
pub fn recorded() -> Result<Vec<Site>, RecordError> {
    let start = &raw const __start_pvsites as usize;
    let size = &raw const __stop_pvsites as usize - start;
    if !size.is_multiple_of(size_of::<Record>()) {
        return Err(RecordError::Size { size });
    }
    let mut sites = Vec::with_capacity(size / size_of::<Record>());
    for index in 0..size / size_of::<Record>() {
        let at = start + index * size_of::<Record>();
        // SAFETY: within the section, which is read-only data of this program; records may stand at any address.
        let record = unsafe { (at as *const Record).read_unaligned() };
        let target = at + std::mem::offset_of!(Record, target);
        sites.push(Site {
            address: at.wrapping_add_signed(record.site as isize),
            length: usize::from(record.length),
            slot: usize::from(record.slot),
            op: record.op,
            kind: *SiteKind::ALL
                .get(usize::from(record.kind))
                .ok_or(RecordError::SiteKind { index, kind: record.kind })?,
            target: if record.target == 0 { 0 } else { target.wrapping_add_signed(record.target as isize) },
        });
    }
    sites.sort_unstable_by_key(|site| site.address);
    Ok(sites)
}

impl Site {
    /// The sites among `sites` (by address) that lie within a function, as they lie in its copy at `copy`.
    #[must_use]
    pub fn copied(sites: &[Site], function: Range<usize>, copy: usize) -> Vec<Site> {
        let from = sites.partition_point(|site| site.address < function.start);
        let to = sites.partition_point(|site| site.address < function.end);
        let moved = |address: usize| {
            if function.contains(&address) { address - function.start + copy } else { address }
        };
        sites[from..to]
            .iter()
            .map(|site| Site { address: moved(site.address), target: moved(site.target), ..*site })
            .collect()
    }

    /// The bytes that are there now.
    ///
    /// # Safety
    /// The site is one of this program or of a copy that still exists, and nothing writes there meanwhile.
    #[must_use]
    pub unsafe fn bytes(&self) -> Vec<u8> {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }.to_vec()
    }
}
