//! Variants of a kernel in which pv_ops stays unpatched.
//!
//! `nopatch` leaves every hook an indirect call, unless there are native instructions for it; `noalt` has none of these
//! either, so that hooks are called through the table as before the first patch. Two of the spinlock's, the unlock and
//! `vcpu_is_preempted`, hang on CPU features of their own and keep their instructions. The difference is in the tables
//! that the kernel reads when it boots: no instruction of it is another, none moves.

use std::path::PathBuf;

use super::elf::{Elf, ElfError};
use super::hooks::{Form, Hooks, HooksError, XENPV};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unpatching {
    /// As it came.
    Stock,
    /// No site becomes a direct call.
    Nopatch,
    /// And none becomes native instructions.
    Noalt,
}

impl Unpatching {
    /// All, in the order of tables.
    pub const ALL: [Unpatching; 3] = [Unpatching::Stock, Unpatching::Nopatch, Unpatching::Noalt];

    /// As shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unpatching::Stock => "stock",
            Unpatching::Nopatch => "nopatch",
            Unpatching::Noalt => "noalt",
        }
    }
}

/// Why there is no such variant.
#[derive(Debug, thiserror::Error)]
pub enum UnpatchError {
    /// The sites are not known.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// What is to be changed is not where it should be.
    #[error("{}: {what}; nothing was written, since this kernel is none of those the edit is known for", path.display())]
    Unrecognised {
        /// Which file.
        path: PathBuf,
        /// What was looked for and seen.
        what: String,
    },
}

impl From<ElfError> for UnpatchError {
    fn from(error: ElfError) -> Self {
        UnpatchError::Hooks(error.into())
    }
}

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Sites that stay indirect calls.
    pub sites: usize,
    /// Alternatives with native instructions that are never applied.
    pub alternatives: usize,
    /// Alternatives there are.
    pub of_alternatives: usize,
}

/// Makes a variant in place.
///
/// # Errors
/// Where the kernel is not recognised.
pub fn unpatch(elf: &mut Elf, hooks: &Hooks, variant: Unpatching) -> Result<Edits, UnpatchError> {
    let mut edits = Edits { of_alternatives: hooks.alternatives.len(), ..Edits::default() };
    if variant == Unpatching::Stock {
        return Ok(edits);
    }
    edits.sites = hooks.sites.len();
    if elf.section(".parainstructions").is_some() {
        empty_loop(elf)?;
    } else {
        // A direct call is made where its feature, which all CPUs have, is there: negated, it never is.
        for it in hooks.alternatives.iter().filter(|it| it.direct_call) {
            set_negated(elf, hooks.form, it.entry, true)?;
        }
    }
    if variant == Unpatching::Noalt {
        for it in hooks.alternatives.iter().filter(|it| it.negated && it.feature == XENPV && !it.direct_call) {
            set_negated(elf, hooks.form, it.entry, false)?;
            edits.alternatives += 1;
        }
    }
    Ok(edits)
}

/// An instruction that begins so, `mov $imm32,%rdi` and `mov $imm32,%rsi`, holds a 32-bit address.
const MOV_RDI: &[u8] = b"\x48\xc7\xc7";
const MOV_RSI: &[u8] = b"\x48\xc7\xc6";
/// How far apart the two arguments of a call are set.
const NEAR: usize = 32;

/// `apply_paravirt(__parainstructions, __parainstructions_end)` gets the end for both.
fn empty_loop(elf: &mut Elf) -> Result<(), UnpatchError> {
    let path = elf.path.clone();
    let unrecognised = |what: String| UnpatchError::Unrecognised { path: path.clone(), what };
    let table = elf.need(".parainstructions", "no pv_ops")?.addresses();
    let text = elf.need(".init.text", "an x86 kernel sets itself up there")?.clone();
    let code = elf.data(&text);
    let loads = |what: &[u8], from: usize, to: usize, address: u64| -> Vec<usize> {
        // 32 bits, sign-extended: the kernel's own addresses.
        let bytes = [what, &(address as u32).to_le_bytes()].concat();
        let window = code.get(from..to).unwrap_or_default();
        window.windows(bytes.len()).enumerate().filter(|(_, it)| *it == bytes).map(|(at, _)| at + from).collect()
    };
    let starts = loads(MOV_RDI, 0, code.len(), table.start);
    let [start] = starts[..] else {
        return Err(unrecognised(format!(
            "{} instructions in .init.text load the start of .parainstructions, {:#x}, where one was expected",
            starts.len(),
            table.start
        )));
    };
    let ends = loads(MOV_RSI, start.saturating_sub(NEAR), (start + NEAR).min(code.len()), table.end);
    if ends.len() != 1 {
        let end = table.end;
        return Err(unrecognised(format!("no instruction beside it loads the end of .parainstructions, {end:#x}")));
    }
    let address = text.address + (start + MOV_RDI.len()) as u64;
    let written = elf.write(address, &(table.end as u32).to_le_bytes());
    if written { Ok(()) } else { Err(unrecognised(format!("{address:#x} is not in the file"))) }
}

fn set_negated(elf: &mut Elf, form: Form, entry: u64, negated: bool) -> Result<(), UnpatchError> {
    let (at, bit) = match form {
        // The high byte of the feature.
        Form::Twelve => (entry + 9, 0x80),
        // The low byte of the flags.
        Form::Fourteen => (entry + 10, 0x01),
    };
    let old = elf.at(at, 1).and_then(|bytes| bytes.first().copied());
    let written = old.is_some_and(|old| elf.write(at, &[if negated { old | bit } else { old & !bit }]));
    if written {
        return Ok(());
    }
    let what = format!("the alternative at {entry:#x} is not in the file");
    Err(UnpatchError::Unrecognised { path: elf.path.clone(), what })
}
