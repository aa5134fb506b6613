//! The records of the program's own call sites: Linux's `.parainstructions`, `__jump_table`, `.static_call_sites` and
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
//! The hash of the op's name distinguishes ops that share a slot in two suites of one program. Patching one suite
//! leaves the other's sites as they are.
//!
//! The flag `R` keeps the linker from collecting records, and with them unused functions that hold sites. So the number
//! of records depends on optimisation and LTO.

use std::arch::global_asm;
use std::ops::Range;

// Creates the section even if no site is compiled, so that the linker's symbols for its ends exist.
global_asm!(".pushsection pvsites, \"aR\", @progbits", ".popsection");

/// The kind of a site, which decides what may be written over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SiteKind {
    /// A pv_ops call site where all caller-saved registers may change (`PARAVIRT_CALL`).
    Pv = 0,
    /// A pv_ops call site where only `rax` may change (`PVOP_CALLEE`).
    PvCalleeSave = 1,
    /// A jump label: a 5-byte NOP or a jump to the record's target (`arch_static_branch`).
    JumpLabel = 2,
    /// A call of a static call's trampoline (`static_call()`).
    StaticCall = 3,
    /// The trampoline itself: a jump to the body.
    Trampoline = 4,
    /// A direct call of the default body, which is replaced if a feature is present (`ALTERNATIVE`).
    Alternative = 5,
    /// A plain call of the platform's body: the target of a jump label.
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

/// A record in the section.
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

/// A stretch of machine code that may be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of its first byte.
    pub address: usize,
    /// Length in bytes.
    pub length: usize,
    /// The op's slot in the pv_ops table.
    pub slot: usize,
    /// Hash of the op's name ([`OpMeta::hash`](crate::op::OpMeta::hash)).
    pub op: u32,
    /// What may be written there.
    pub kind: SiteKind,
    /// Target of a jump label; 0 for other kinds.
    pub target: usize,
}

/// Why the section of records is malformed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Its size is not a multiple of a record's size.
    #[error("section pvsites has {size} bytes, which is not a whole number of records; check the linker script")]
    Size {
        /// Size of the section in bytes.
        size: usize,
    },
    /// A record has a kind that this build does not know.
    #[error("record {index} of section pvsites has the unknown kind {kind}; link only one version of pvbench")]
    SiteKind {
        /// Index of the record.
        index: usize,
        /// Its kind.
        kind: u8,
    },
}

/// The sites of this program, in ascending order of their addresses.
///
/// # Errors
/// If the section does not hold records of this build.
pub fn recorded() -> Result<Vec<Site>, RecordError> {
    let start = &raw const __start_pvsites as usize;
    let size = &raw const __stop_pvsites as usize - start;
    if !size.is_multiple_of(size_of::<Record>()) {
        return Err(RecordError::Size { size });
    }
    let mut sites = Vec::with_capacity(size / size_of::<Record>());
    for index in 0..size / size_of::<Record>() {
        let at = start + index * size_of::<Record>();
        // SAFETY: `read_unaligned` needs mapped memory: the record lies within the section, which is read-only data of
        // this program. Any alignment is allowed.
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
    /// The sites among `sites` (sorted by address) that lie within a function, moved to its copy at `copy`.
    #[must_use]
    pub fn copied(sites: &[Site], function: Range<usize>, copy: usize) -> Vec<Site> {
        let from = sites.partition_point(|site| site.address < function.start);
        let to = sites.partition_point(|site| site.address < function.end);
        let relocate = |address: usize| {
            if function.contains(&address) { address - function.start + copy } else { address }
        };
        sites[from..to]
            .iter()
            .map(|site| Site { address: relocate(site.address), target: relocate(site.target), ..*site })
            .collect()
    }

    /// The bytes of the site as they are now.
    ///
    /// # Safety
    /// The site lies in this program or in a copy that still exists, and nothing writes there during the call.
    #[must_use]
    pub unsafe fn bytes(&self) -> Vec<u8> {
        // SAFETY: `from_raw_parts` needs mapped bytes that nothing writes; the caller guarantees both.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }.to_vec()
    }
}
