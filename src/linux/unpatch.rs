//! Variants of a kernel in which pv_ops stays unpatched.
//!
//! `nopatch` leaves every hook without native instructions an indirect call. `noalt` drops the native instructions,
//! too, so all hooks are called through the table as before the first patch. Two hooks of the spinlock, the unlock and
//! `vcpu_is_preempted`, depend on CPU features of their own and keep their instructions. Only the tables that the
//! kernel reads at boot are edited: no instruction changes or moves.

use std::path::PathBuf;

use super::elf::{Elf, ElfError};
use super::hooks::{Form, Hooks, HooksError, XENPV};
use super::layout::KNOWN;

/// A variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unpatching {
    /// The unchanged kernel.
    Stock,
    /// No site becomes a direct call.
    Nopatch,
    /// No site becomes a direct call or native instructions.
    Noalt,
}

impl Unpatching {
    /// All variants, in the order of tables.
    pub const ALL: [Unpatching; 3] = [Unpatching::Stock, Unpatching::Nopatch, Unpatching::Noalt];

    /// Name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unpatching::Stock => "stock",
            Unpatching::Nopatch => "nopatch",
            Unpatching::Noalt => "noalt",
        }
    }
}

/// Why a variant cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UnpatchError {
    /// The sites are missing or in an unknown form.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// The tables differ from those that this edit knows.
    #[error(
        "{}: {what}; the edit does not know this kernel, and nothing was written; name a kernel of Linux {KNOWN}",
        path.display()
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// The expectation and the finding.
        what: String,
    },
}

impl From<ElfError> for UnpatchError {
    fn from(error: ElfError) -> Self {
        UnpatchError::Hooks(error.into())
    }
}

/// Counts of edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Sites that stay indirect calls.
    pub sites: usize,
    /// Alternatives with native instructions that boot no longer applies.
    pub alternatives: usize,
    /// All alternatives.
    pub of_alternatives: usize,
}

/// Turns the kernel into a variant, in place.
///
/// # Errors
/// If the tables of the kernel are not recognised.
pub fn unpatch(elf: &mut Elf, hooks: &Hooks, variant: Unpatching) -> Result<Edits, UnpatchError> {
    let mut edits = Edits { of_alternatives: hooks.alternatives.len(), ..Edits::default() };
    if variant == Unpatching::Stock {
        return Ok(edits);
    }
    edits.sites = hooks.sites.len();
    if elf.section(".parainstructions").is_some() {
        empty_patch_loop(elf)?;
    } else {
        // Boot writes a direct call if its feature is present, which all CPUs have. Negated, it is never written.
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

/// First bytes of `mov $imm32,%rdi`; a 32-bit address follows.
const MOV_RDI: &[u8] = b"\x48\xc7\xc7";
/// First bytes of `mov $imm32,%rsi`; a 32-bit address follows.
const MOV_RSI: &[u8] = b"\x48\xc7\xc6";
/// Bound on the distance between the loads of the two arguments of a call, in bytes.
const MAX_ARGUMENT_DISTANCE: usize = 32;

/// Makes `apply_paravirt(__parainstructions, __parainstructions_end)` get the end for both arguments.
fn empty_patch_loop(elf: &mut Elf) -> Result<(), UnpatchError> {
    let path = elf.path.clone();
    let unrecognised = |what: String| UnpatchError::Unrecognised { path: path.clone(), what };
    let table = elf.need(".parainstructions", "the kernel has no pv_ops")?.addresses();
    let text = elf.need(".init.text", "the file is not a complete x86 kernel; name its vmlinuz or vmlinux")?.clone();
    let code = elf.data(&text);
    let find_loads = |what: &[u8], from: usize, to: usize, address: u64| -> Vec<usize> {
        // Addresses of the kernel are 32 bits, sign-extended.
        let bytes = [what, &(address as u32).to_le_bytes()].concat();
        let window = code.get(from..to).unwrap_or_default();
        window.windows(bytes.len()).enumerate().filter(|(_, it)| *it == bytes).map(|(at, _)| at + from).collect()
    };
    let starts = find_loads(MOV_RDI, 0, code.len(), table.start);
    let [start] = starts[..] else {
        return Err(unrecognised(format!(
            "{} instructions in .init.text load the start of .parainstructions, {:#x}, where one was expected",
            starts.len(),
            table.start
        )));
    };
    let (from, to) = (start.saturating_sub(MAX_ARGUMENT_DISTANCE), start + MAX_ARGUMENT_DISTANCE);
    let ends = find_loads(MOV_RSI, from, to.min(code.len()), table.end);
    if ends.len() != 1 {
        let end = table.end;
        return Err(unrecognised(format!(
            "no instruction within {MAX_ARGUMENT_DISTANCE} bytes loads the end of .parainstructions, {end:#x}"
        )));
    }
    let address = text.address + (start + MOV_RDI.len()) as u64;
    let written = elf.write(address, &(table.end as u32).to_le_bytes());
    if written { Ok(()) } else { Err(unrecognised(format!("address {address:#x} is outside the file"))) }
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
    let what = format!("the alternative at {entry:#x} is outside the file");
    Err(UnpatchError::Unrecognised { path: elf.path.clone(), what })
}
