//! The sites of the program's text, and changes to them: all or nothing, and verified afterwards.

use std::arch::asm;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions};

use super::rules::{self, Target};
use super::site::{self, RecordError, Site, SiteKind};
use super::state::State;
use super::writer::{self, Writer, WriterError};
use crate::op::meta::hash;

/// Serialises the CPU; to be called between writing code and running it. Code that was written through another address
/// is only certain to be seen after a serialising instruction (Intel SDM volume 3, 10.1.3 "Handling Self- and
/// Cross-Modifying Code").
///
/// It is an interrupt return to the next instruction, as in Linux's `iret_to_self()`. `cpuid` serialises, too, but
/// every hypervisor intercepts it: one exit takes as long as thousands of instructions, and states change often.
pub fn serialise() {
    // SAFETY: the frame on the stack holds this thread's own segments, flags and stack pointer (`add` takes back the
    // push before it), so `iretq` changes nothing but the instruction pointer, which it sets to the next instruction.
    // Without `nostack`, the compiler keeps nothing below the stack pointer.
    unsafe {
        asm!(
            "mov {word:e}, ss",
            "push {word}",
            "push rsp",
            "add qword ptr [rsp], 8",
            "pushfq",
            "mov {word:e}, cs",
            "push {word}",
            "lea {word}, [rip + 2f]",
            "push {word}",
            "iretq",
            "2:",
            word = out(reg) _,
        );
    }
}

/// Why sites could not be patched.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The records are malformed.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// No writer works.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// No op has the slot of a record.
    #[error("the site at {address:#x} has slot {slot}, which no op of this program has; nothing was written")]
    UnknownSlot {
        /// Address of the site.
        address: usize,
        /// Slot of the site.
        slot: usize,
    },
    /// The site holds unknown bytes: something else wrote there.
    #[error("the site of {op} at {address:#x} holds {found}, not {expected}; nothing was written")]
    Unexpected {
        /// The op.
        op: &'static str,
        /// Address of the site.
        address: usize,
        /// The bytes that the last write left there.
        expected: String,
        /// The bytes that are there.
        found: String,
    },
    /// The kernel refused the write.
    #[error(
        "the site of {op} at {address:#x} could not be written through {writer} ({source}); all sites are unchanged"
    )]
    Write {
        /// The op.
        op: &'static str,
        /// Address of the site.
        address: usize,
        /// Name of the writer.
        writer: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The site does not hold the bytes that were written.
    #[error("the site of {op} at {address:#x} holds {found} after {expected} was written; all sites are restored")]
    Differs {
        /// The op.
        op: &'static str,
        /// Address of the site.
        address: usize,
        /// The bytes that were written.
        expected: String,
        /// The bytes that are there.
        found: String,
    },
    /// A write failed, and so did the restoration of the sites.
    #[error(
        "the site at {address:#x} could not be restored after a failed patch ({source}); end this process, its \
         code is half patched"
    )]
    HalfPatched {
        /// The first site that could not be restored.
        address: usize,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Name for a site that is left as it is: of another kind, or of an op of another suite in the same program.
const OTHER_OP: &str = "another op";

/// Number of sites by state.
pub type Census = BTreeMap<State, usize>;

/// The sites of the program and a writer for them.
pub struct Text {
    sites: Vec<TrackedSite>,
    writer: Box<dyn Writer>,
}

/// A site with the bytes that the compiler left there and its present bytes.
struct TrackedSite {
    site: Site,
    original: Vec<u8>,
    now: Vec<u8>,
}

impl Text {
    /// All recorded sites of this program, with the first writer that works.
    ///
    /// # Safety
    /// As for [`writer::choose`]. There is one `Text` at a time.
    ///
    /// # Errors
    /// If the records are malformed, or no writer works.
    pub unsafe fn own() -> Result<Self, PatchError> {
        let sites = site::recorded()?;
        // SAFETY: `choose` needs that no other thread runs code in the range of the sites; the caller guarantees it.
        let writer = unsafe { writer::choose(span(&sites)) }?;
        // SAFETY: `new` needs sites in this program's text that the writer can write: these are its own records, and
        // `choose` tried the writer.
        Ok(unsafe { Self::new(sites, writer) })
    }

    /// Takes these sites and this writer.
    ///
    /// # Safety
    /// The sites lie in the program's text, and the writer can write there.
    #[must_use]
    pub unsafe fn new(sites: Vec<Site>, writer: Box<dyn Writer>) -> Self {
        let track = |site: Site| {
            // SAFETY: `bytes` needs sites in mapped text that nothing writes meanwhile; the caller guarantees the
            // first, and only this `Text` writes sites.
            let original = unsafe { site.bytes() };
            TrackedSite { site, now: original.clone(), original }
        };
        Text { sites: sites.into_iter().map(track).collect(), writer }
    }

    /// Name of the writer.
    #[must_use]
    pub fn writer(&self) -> &'static str {
        self.writer.name()
    }

    /// The sites, in ascending order of their addresses.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().map(|tracked| &tracked.site)
    }

    /// Brings every site into the state that it has on a kernel which boots on a platform. `targets` describes that
    /// platform's ops by slot. Sites of another suite's ops with the same slots are left as they are.
    ///
    /// # Safety
    /// No thread runs any of the sites before this returns, and this thread is not in the middle of one. The bodies in
    /// `targets` are those of the ops.
    ///
    /// # Errors
    /// If a site does not hold the expected bytes, or cannot be written. Then all sites are unchanged, except with
    /// [`PatchError::HalfPatched`].
    pub unsafe fn boot(&mut self, targets: &BTreeMap<usize, Target>) -> Result<Census, PatchError> {
        let mut census = Census::new();
        let mut wanted = Vec::with_capacity(self.sites.len());
        for tracked in &self.sites {
            let Site { address, slot, .. } = tracked.site;
            let target = targets.get(&slot).ok_or(PatchError::UnknownSlot { address, slot })?;
            if hash(target.op) != tracked.site.op {
                wanted.push((OTHER_OP, tracked.now.clone()));
                continue;
            }
            let (state, code) = rules::booted(&tracked.site, target, &tracked.original);
            *census.entry(state).or_default() += 1;
            wanted.push((target.op, code));
        }
        // SAFETY: `write` needs sites that nobody runs, which the caller guarantees, and whole instructions, which the
        // rules produce.
        unsafe { self.write(&wanted) }?;
        Ok(census)
    }

    /// Brings the sites of one kind, of the ops in `targets`, into one state. Sites stay as the compiler left them if
    /// the rules have no such state for the op, or if the site refuses it.
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
        // SAFETY: the contract of `set_first_supported` is that of `boot`, and this function's caller meets the same
        // one.
        unsafe { self.set_first_supported(targets, kind, &[state]) }
    }

    /// As [`set_state`](Self::set_state), with the first of `states` that the rules have for the op of each site.
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
        for tracked in &self.sites {
            let is_target = |target: &&Target| tracked.site.kind == kind && hash(target.op) == tracked.site.op;
            let Some(target) = targets.get(&tracked.site.slot).filter(is_target) else {
                wanted.push((OTHER_OP, tracked.now.clone()));
                continue;
            };
            let mut chosen = (State::Unpatched, tracked.original.clone());
            for &state in states {
                match rules::code(&tracked.site, target, state, &tracked.original) {
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
        // SAFETY: `write` needs sites that nobody runs, which the caller guarantees, and whole instructions, which the
        // rules produce.
        unsafe { self.write(&wanted) }?;
        Ok(census)
    }

    /// Restores the original bytes of every site.
    ///
    /// # Safety
    /// As for [`Text::boot`].
    ///
    /// # Errors
    /// As for [`Text::boot`].
    pub unsafe fn restore(&mut self) -> Result<(), PatchError> {
        let wanted: Vec<_> = self.sites.iter().map(|tracked| ("a site", tracked.original.clone())).collect();
        // SAFETY: `write` needs sites that nobody runs, which the caller guarantees, and whole instructions, which the
        // compiler produced.
        unsafe { self.write(&wanted) }
    }

    /// Groups the sites that change into runs that are close enough to be written at once.
    fn batches(&self, wanted: &[(&'static str, Vec<u8>)]) -> Vec<Range<usize>> {
        let mut batches: Vec<Range<usize>> = Vec::new();
        for (index, (tracked, (_, code))) in self.sites.iter().zip(wanted).enumerate() {
            if tracked.now == *code {
                continue;
            }
            match batches.last_mut() {
                Some(batch) if tracked.site.address - self.sites[batch.end - 1].site.address < MAX_BATCH_GAP_BYTES => {
                    batch.end = index + 1;
                }
                _ => batches.push(index..index + 1),
            }
        }
        batches
    }

    /// Writes all sites or none. `wanted` has the op's name and the code for each site.
    ///
    /// # Safety
    /// No thread runs any of the sites before this returns. The code for each site is whole instructions of the site's
    /// length.
    unsafe fn write(&mut self, wanted: &[(&'static str, Vec<u8>)]) -> Result<(), PatchError> {
        for (tracked, (op, _)) in self.sites.iter().zip(wanted) {
            // SAFETY: `bytes` needs sites in mapped text (contract of `new`) that nothing writes meanwhile (one `Text`
            // at a time).
            let found = unsafe { tracked.site.bytes() };
            if found != tracked.now {
                let (expected, found) = (hex(&tracked.now), hex(&found));
                return Err(PatchError::Unexpected { op, address: tracked.site.address, expected, found });
            }
        }
        let writer = self.writer.name();
        let mut failed = None;
        let mut reached = 0;
        for batch in self.batches(wanted) {
            reached = batch.end;
            let (first, last) = (self.sites[batch.start].site, self.sites[batch.end - 1].site);
            let span = first.address..last.address + last.length;
            // SAFETY: `from_raw_parts` needs mapped bytes: both ends are sites of one text segment, so the bytes
            // between them are text too.
            let mut code = unsafe { std::slice::from_raw_parts(span.start as *const u8, span.len()) }.to_vec();
            for (tracked, (_, wanted)) in self.sites[batch.clone()].iter().zip(&wanted[batch.clone()]) {
                let at = tracked.site.address - span.start;
                code[at..at + wanted.len()].copy_from_slice(wanted);
            }
            // SAFETY: `write` needs text that nobody runs and valid code: the caller guarantees both for the sites, and
            // the bytes between them stay the same.
            if let Err(source) = unsafe { self.writer.write(span.start, &code) } {
                failed = Some(PatchError::Write { op: wanted[batch.start].0, address: span.start, writer, source });
                break;
            }
            for (tracked, (op, code)) in self.sites[batch.clone()].iter().zip(&wanted[batch]) {
                // SAFETY: `bytes` needs sites in mapped text (contract of `new`) that nothing writes meanwhile (one
                // `Text` at a time).
                let found = unsafe { tracked.site.bytes() };
                if found != *code || !decodes(code, tracked.site.address) {
                    let (expected, found) = (hex(code), hex(&found));
                    failed = Some(PatchError::Differs { op, address: tracked.site.address, expected, found });
                }
            }
            if failed.is_some() {
                break;
            }
        }
        if let Some(error) = failed {
            for tracked in &self.sites[..reached] {
                // SAFETY: `bytes` needs sites in mapped text (contract of `new`) that nothing writes meanwhile (one
                // `Text` at a time).
                if unsafe { tracked.site.bytes() } == tracked.now {
                    continue;
                }
                // SAFETY: `write` needs text that nobody runs, which the caller guarantees, and valid code: these are
                // the bytes from before.
                if let Err(source) = unsafe { self.writer.write(tracked.site.address, &tracked.now) } {
                    serialise();
                    return Err(PatchError::HalfPatched { address: tracked.site.address, source });
                }
            }
            serialise();
            return Err(error);
        }
        serialise();
        for (tracked, (_, code)) in self.sites.iter_mut().zip(wanted) {
            tracked.now.clone_from(code);
        }
        Ok(())
    }
}

/// Largest distance in bytes between the starts of neighbouring sites that one write covers. One write costs a system
/// call and a page lookup.
const MAX_BATCH_GAP_BYTES: usize = 256;

/// The range from the first to the last site.
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
