//! Sites of the program's text and what is written over them: all or nothing, and looked at again afterwards.

use std::arch::x86_64::__cpuid;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions};

use super::rules::{self, Target};
use super::site::{self, RecordError, Site, SiteKind};
use super::state::State;
use super::writer::{self, Writer, WriterError};
use crate::op::meta::hash;

/// To be called between writing code and running it: code written through another address is only sure to be seen after
/// a serialising instruction (Intel SDM volume 3, 10.1.3 "Handling Self- and Cross-Modifying Code").
pub fn serialise() {
    std::hint::black_box(__cpuid(0));
}

/// Why sites were not switched.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// No way to write.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// A record without an op.
    #[error("the site at {address:#x} is of slot {slot}, which no op of this program has; nothing was written")]
    UnknownSlot {
        /// The site.
        address: usize,
        /// Its slot.
        slot: usize,
    },
    /// Something else has written there.
    #[error("the site of {op} at {address:#x} holds {found}, not {expected}; nothing was written")]
    Unexpected {
        /// The op.
        op: &'static str,
        /// The site.
        address: usize,
        /// What the record and what was written before say.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The kernel refused to write.
    #[error(
        "the site of {op} at {address:#x} could not be written through {writer} ({source}); all sites are as before"
    )]
    Write {
        /// The op.
        op: &'static str,
        /// The site.
        address: usize,
        /// Through what.
        writer: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// What was written is not what is there.
    #[error("the site of {op} at {address:#x} holds {found} after {expected} was written; all sites are as before")]
    Differs {
        /// The op.
        op: &'static str,
        /// The site.
        address: usize,
        /// What was written.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Writing failed, and so did taking it back.
    #[error("sites are half patched, the first at {address:#x}: {source}; end this process")]
    HalfPatched {
        /// The first site that could not be restored.
        address: usize,
        /// Why.
        source: io::Error,
    },
}

/// A site of an op that is not meant: of another kind, or of another suite in the same program.
const ANOTHER: &str = "another op";

/// How many sites are in which state.
pub type Census = BTreeMap<State, usize>;

/// The sites of the program and a way to write them.
pub struct Text {
    sites: Vec<HeldSite>,
    writer: Box<dyn Writer>,
}

/// A site with what the compiler left there and what is there now.
struct HeldSite {
    site: Site,
    original: Vec<u8>,
    now: Vec<u8>,
}

impl Text {
    /// All recorded sites of this program, with the first writer that works.
    ///
    /// # Safety
    /// As for [`writer::choose`]; and there is one `Text` at a time.
    ///
    /// # Errors
    /// Where the records are damaged, or no writer works.
    pub unsafe fn own() -> Result<Self, PatchError> {
        let sites = site::recorded()?;
        // SAFETY: the caller's contract.
        let writer = unsafe { writer::choose(span(&sites)) }?;
        // SAFETY: recorded sites are text of this program.
        Ok(unsafe { Self::new(sites, writer) })
    }

    /// These sites, with this writer.
    ///
    /// # Safety
    /// The sites lie in the program's text, and the writer can write there.
    #[must_use]
    pub unsafe fn new(sites: Vec<Site>, writer: Box<dyn Writer>) -> Self {
        let hold = |site: Site| {
            // SAFETY: the caller's contract.
            let original = unsafe { site.bytes() };
            HeldSite { site, now: original.clone(), original }
        };
        Text { sites: sites.into_iter().map(hold).collect(), writer }
    }

    /// What is written through.
    #[must_use]
    pub fn writer(&self) -> &'static str {
        self.writer.name()
    }

    /// The sites, by address.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().map(|held| &held.site)
    }

    /// Brings all sites into the state that a kernel gives them which boots on the platform that `targets` (by slot)
    /// describes. Sites of an op that has one of these slots in another suite are left as they are.
    ///
    /// # Safety
    /// No other thread runs any of the sites until this returns, and none of them is being run by this one. The bodies
    /// that `targets` names are those of the ops.
    ///
    /// # Errors
    /// Where a site does not hold what it should, or cannot be written. All sites are as before then, but for
    /// [`PatchError::HalfPatched`].
    pub unsafe fn boot(&mut self, targets: &BTreeMap<usize, Target>) -> Result<Census, PatchError> {
        let mut census = Census::new();
        let mut wanted = Vec::with_capacity(self.sites.len());
        for held in &self.sites {
            let Site { address, slot, .. } = held.site;
            let target = targets.get(&slot).ok_or(PatchError::UnknownSlot { address, slot })?;
            if hash(target.op) != held.site.op {
                wanted.push((ANOTHER, held.now.clone()));
                continue;
            }
            let (state, code) = rules::booted(&held.site, target, &held.original);
            *census.entry(state).or_default() += 1;
            wanted.push((target.op, code));
        }
        // SAFETY: the caller's contract; the rules made the code.
        unsafe { self.write(&wanted) }?;
        Ok(census)
    }

    /// Brings the sites of one kind, of the ops in `targets`, into one state, leaving those for which the rules know no
    /// such state, or which refuse it, as the compiler left them.
    ///
    /// # Safety
    /// As for [`Text::boot`].
    ///
    /// # Errors
    /// As for [`Text::boot`].
    pub unsafe fn set_state(
        &mut self,
        targets: &BTreeMap<usize, Target>,
        kind: SiteKind,
        state: State,
    ) -> Result<Census, PatchError> {
        // SAFETY: the caller's contract.
        unsafe { self.set_first_supported(targets, kind, &[state]) }
    }

    /// As [`set_state`](Self::set_state), each site into the first of `states` that the rules know for its op.
    ///
    /// # Safety
    /// As for [`Text::boot`].
    ///
    /// # Errors
    /// As for [`Text::boot`].
    pub unsafe fn set_first_supported(
        &mut self,
        targets: &BTreeMap<usize, Target>,
        kind: SiteKind,
        states: &[State],
    ) -> Result<Census, PatchError> {
        let mut census = Census::new();
        let mut wanted = Vec::with_capacity(self.sites.len());
        for held in &self.sites {
            let meant = |target: &&Target| held.site.kind == kind && hash(target.op) == held.site.op;
            let Some(target) = targets.get(&held.site.slot).filter(meant) else {
                wanted.push((ANOTHER, held.now.clone()));
                continue;
            };
            let mut chosen = (State::Unpatched, held.original.clone());
            for &state in states {
                match rules::code(&held.site, target, state, &held.original) {
                    Ok(Some(code)) => {
                        chosen = (state, code);
                        break;
                    }
                    Ok(None) => {}
                    Err(_) => chosen.0 = State::Refused,
                }
            }
            let (state, code) = chosen;
            *census.entry(state).or_default() += 1;
            wanted.push((target.op, code));
        }
        // SAFETY: the caller's contract; the rules made the code.
        unsafe { self.write(&wanted) }?;
        Ok(census)
    }

    /// Puts the original bytes of every site back.
    ///
    /// # Safety
    /// As for [`Text::boot`].
    ///
    /// # Errors
    /// As for [`Text::boot`].
    pub unsafe fn restore(&mut self) -> Result<(), PatchError> {
        let wanted: Vec<_> = self.sites.iter().map(|held| ("a site", held.original.clone())).collect();
        // SAFETY: the caller's contract; the compiler made the code.
        unsafe { self.write(&wanted) }
    }

    /// Runs of sites that change and are near enough to be written at once.
    fn batches(&self, wanted: &[(&'static str, Vec<u8>)]) -> Vec<Range<usize>> {
        let mut batches: Vec<Range<usize>> = Vec::new();
        for (index, (held, (_, code))) in self.sites.iter().zip(wanted).enumerate() {
            if held.now == *code {
                continue;
            }
            match batches.last_mut() {
                Some(batch) if held.site.address - self.sites[batch.end - 1].site.address < NEAR => {
                    batch.end = index + 1;
                }
                _ => batches.push(index..index + 1),
            }
        }
        batches
    }

    /// Writes all sites or none. `wanted` has the op's name and the code for each.
    unsafe fn write(&mut self, wanted: &[(&'static str, Vec<u8>)]) -> Result<(), PatchError> {
        for (held, (op, _)) in self.sites.iter().zip(wanted) {
            // SAFETY: sites are text of this program (contract of `new`).
            let found = unsafe { held.site.bytes() };
            if found != held.now {
                let (expected, found) = (hex(&held.now), hex(&found));
                return Err(PatchError::Unexpected { op, address: held.site.address, expected, found });
            }
        }
        let writer = self.writer.name();
        let mut failed = None;
        let mut reached = 0;
        for batch in self.batches(wanted) {
            reached = batch.end;
            let (first, last) = (self.sites[batch.start].site, self.sites[batch.end - 1].site);
            let span = first.address..last.address + last.length;
            // SAFETY: from one site of the text to another one close by.
            let mut code = unsafe { std::slice::from_raw_parts(span.start as *const u8, span.len()) }.to_vec();
            for (held, (_, wanted)) in self.sites[batch.clone()].iter().zip(&wanted[batch.clone()]) {
                let at = held.site.address - span.start;
                code[at..at + wanted.len()].copy_from_slice(wanted);
            }
            // SAFETY: the caller's contract; between the sites, what is there already.
            if let Err(source) = unsafe { self.writer.write(span.start, &code) } {
                failed = Some(PatchError::Write { op: wanted[batch.start].0, address: span.start, writer, source });
                break;
            }
            for (held, (op, code)) in self.sites[batch.clone()].iter().zip(&wanted[batch]) {
                // SAFETY: as above.
                let found = unsafe { held.site.bytes() };
                if found != *code || !decodes(code, held.site.address) {
                    let (expected, found) = (hex(code), hex(&found));
                    failed = Some(PatchError::Differs { op, address: held.site.address, expected, found });
                }
            }
            if failed.is_some() {
                break;
            }
        }
        if let Some(error) = failed {
            for held in &self.sites[..reached] {
                // SAFETY: sites are text of this program (contract of `new`).
                if unsafe { held.site.bytes() } == held.now {
                    continue;
                }
                // SAFETY: what was there before.
                if let Err(source) = unsafe { self.writer.write(held.site.address, &held.now) } {
                    serialise();
                    return Err(PatchError::HalfPatched { address: held.site.address, source });
                }
            }
            serialise();
            return Err(error);
        }
        serialise();
        for (held, (_, code)) in self.sites.iter_mut().zip(wanted) {
            held.now.clone_from(code);
        }
        Ok(())
    }
}

/// How far apart sites may be that are written at once. A write costs a system call and a look-up of the page.
const NEAR: usize = 256;

/// From the first to the last site.
fn span(sites: &[Site]) -> Range<usize> {
    match (sites.first(), sites.last()) {
        (Some(first), Some(last)) => first.address..last.address + last.length,
        _ => 0..0,
    }
}

/// Whether the bytes are whole instructions.
pub(super) fn decodes(code: &[u8], address: usize) -> bool {
    let mut decoder = Decoder::with_ip(64, code, address as u64, DecoderOptions::NONE);
    while decoder.can_decode() {
        if decoder.decode().is_invalid() {
            return false;
        }
    }
    true
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
