//! What a kernel's own tables tell of its call sites.
//!
//! Since Linux keeps lists of the sites that it patches at boot, a site in them needs no guess: `pv_ops`
//! (`.parainstructions`, `.altinstructions`), retpolines (`.retpoline_sites`), return thunks (`.return_sites`), static
//! calls (`.static_call_sites`), ftrace (`__mcount_loc`).

use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use rustc_hash::FxHashMap;

use super::document::BinaryKind;
use super::image::Image;
use super::kind::Kind;
use super::thunks::is_return;
use crate::linux::elf::Elf;
use crate::linux::hooks::Hooks;

/// Sites that the kernel's tables name.
#[derive(Debug, Default)]
pub struct Marks {
    kinds: FxHashMap<u64, Kind>,
    ops: FxHashMap<u64, String>,
    entries: Vec<u64>,
    has_pv: bool,
    fentry: Option<u64>,
}

impl Marks {
    /// Reads the tables of a kernel or module. Other binaries have none.
    #[must_use]
    pub fn read(image: &Image, bytes: &[u8]) -> Marks {
        let mut marks = Marks::default();
        if !matches!(image.kind, BinaryKind::Kernel | BinaryKind::KernelModule) {
            return marks;
        }
        marks.add_offsets(image, ".retpoline_sites", 4, Kind::Retpoline);
        marks.add_offsets(image, ".return_sites", 4, Kind::ReturnThunk);
        // A static call has two offsets: of the site, and of its key.
        marks.add_offsets(image, ".static_call_sites", 8, Kind::StaticCall);
        for section in image.sections("__mcount_loc") {
            for word in section.bytes.chunks_exact(8) {
                let site = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if image.is_code(site) {
                    marks.kinds.insert(site, Kind::Fentry);
                    marks.entries.push(entry_of(image, site));
                }
            }
        }
        if image.kind == BinaryKind::Kernel && !image.has_symbol_table {
            marks.find_fentry(image);
        }
        if image.kind == BinaryKind::Kernel {
            let hooks = Elf::of(Path::new(""), bytes).ok().and_then(|elf| Hooks::of(&elf).ok());
            if let Some(hooks) = hooks {
                for site in &hooks.sites {
                    marks.kinds.insert(site.address, Kind::Pv);
                    marks.ops.insert(site.address, hooks.name(site.slot));
                }
                marks.has_pv = !hooks.sites.is_empty();
            }
        }
        marks
    }

    /// The kind of the site at an address, if a table names it.
    #[must_use]
    pub fn kind(&self, address: u64) -> Option<Kind> {
        self.kinds.get(&address).copied()
    }

    /// The op of a site of `pv_ops`.
    #[must_use]
    pub fn op(&self, address: u64) -> Option<&str> {
        self.ops.get(&address).map(String::as_str)
    }

    /// The kind of a call through `pv_ops`. If the kernel's table of sites was read, then it decides which of these
    /// calls boot patches: the others are calls through a word.
    #[must_use]
    pub fn only_marked(&self, kind: Kind) -> Kind {
        if kind == Kind::Pv && self.has_pv { Kind::Memory } else { kind }
    }

    /// Whether an address is that of `__fentry__` in a kernel without symbols.
    #[must_use]
    pub fn is_fentry(&self, address: u64) -> bool {
        self.fentry == Some(address)
    }

    /// The functions that ftrace can patch.
    pub fn entries(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().copied()
    }

    /// Finds `__fentry__` in a kernel without symbols: nearly every function calls it first, and it only returns. The
    /// calls tell where functions start.
    fn find_fentry(&mut self, image: &Image) {
        /// A kernel with ftrace has tens of thousands of these calls.
        const MIN_CALLS: usize = 1000;
        let mut calls: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
        let mut instruction = Instruction::default();
        for chunk in image.code() {
            let mut decoder = Decoder::with_ip(64, &chunk.bytes, chunk.address, DecoderOptions::NONE);
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
                if instruction.flow_control() == FlowControl::Call && instruction.is_call_near() {
                    calls.entry(instruction.near_branch_target()).or_default().push(instruction.ip());
                }
            }
        }
        let returns = |target: u64| {
            let bytes = image.bytes_from(target);
            let jumps_to = |bytes: &[u8]| {
                let distance = bytes.strip_prefix(&[0xe9])?.first_chunk::<4>()?;
                Some(target.wrapping_add(5).wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
            };
            is_return(image, target) || jumps_to(bytes).is_some_and(|target| is_return(image, target))
        };
        let most = (calls.into_iter()).filter(|(target, sites)| sites.len() >= MIN_CALLS && returns(*target));
        let Some((target, sites)) = most.max_by_key(|(_, sites)| sites.len()) else { return };
        self.fentry = Some(target);
        self.entries.extend(sites.iter().map(|site| entry_of(image, *site)));
    }

    /// Adds the sites of a table of 32-bit offsets, each relative to its own address; an entry has `stride` bytes.
    fn add_offsets(&mut self, image: &Image, section: &str, stride: usize, kind: Kind) {
        for section in image.sections(section) {
            for (index, entry) in section.bytes.chunks_exact(stride).enumerate() {
                let Some(offset) = entry.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes)) else { continue };
                let place = section.address.wrapping_add((index * stride) as u64);
                let site = place.wrapping_add_signed(i64::from(offset));
                if image.is_code(site) {
                    self.kinds.insert(site, kind);
                }
            }
        }
    }
}

/// The start of the function whose call of `__fentry__` is at `site`: behind `endbr64`, if the function has one.
fn entry_of(image: &Image, site: u64) -> u64 {
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    let before = site.wrapping_sub(4);
    if image.is_code(before) && image.bytes_from(before).starts_with(ENDBR64) { before } else { site }
}

#[cfg(test)]
mod tests {
    use object::elf;

    use crate::audit::document::BinaryKind;
    use crate::audit::kind::Kind;
    use crate::audit::made::{ENDBR64, Made, sites};

    #[test]
    fn tables_of_a_module_name_the_kinds_of_its_sites() {
        let mut made = Made::new();
        made.data(".modinfo", "info", b"license=GPL\0");
        made.data(".gnu.linkonce.this_module", "__this_module", &[0; 64]);
        let other = made.external("other");
        // endbr64; then a call each of: ftrace's hook, a retpoline, a static call; and a jump to the return thunk.
        let call = [0xe8, 0, 0, 0, 0];
        let code = [ENDBR64, &call, &call, &call, &[0xe9, 0, 0, 0, 0]].concat();
        let (function, at) = made.function("probe", &code);
        for offset in [5, 10, 15, 20] {
            made.relocate(at + offset, other, elf::R_X86_64_PLT32, -4);
        }
        let (mcount, _) = made.data("__mcount_loc", "mcount", &[0; 8]);
        made.relocate_in(mcount, 0, function, elf::R_X86_64_64, 4);
        for (section, offset, size) in
            [(".retpoline_sites", 9, 4), (".static_call_sites", 14, 8), (".return_sites", 19, 4)]
        {
            let (section, _) = made.data(section, section, &vec![0; size]);
            made.relocate_in(section, 0, function, elf::R_X86_64_PC32, offset);
        }
        let binary = made.audit();
        assert_eq!(binary.kind, BinaryKind::KernelModule);
        let kinds: Vec<(Kind, bool)> = sites(&binary, "probe").iter().map(|(kind, tail, _)| (*kind, *tail)).collect();
        let expected =
            [(Kind::Fentry, false), (Kind::Retpoline, false), (Kind::StaticCall, false), (Kind::ReturnThunk, true)];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn the_same_tables_in_another_object_file_say_nothing() {
        let mut made = Made::new();
        let other = made.external("other");
        let (function, at) = made.function("probe", &[0xe8, 0, 0, 0, 0, 0xc3]);
        made.relocate(at + 1, other, elf::R_X86_64_PLT32, -4);
        let (section, _) = made.data(".retpoline_sites", "sites", &[0; 4]);
        made.relocate_in(section, 0, function, elf::R_X86_64_PC32, 0);
        assert_eq!(sites(&made.audit(), "probe"), [(Kind::Direct, false, Some("other"))]);
    }
}
