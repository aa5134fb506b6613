//! A replay of a recording: its code, ready to be written for each mechanism, and its stream.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::ReplayError;
use super::address::Addresses;
use super::arena::Arena;
use super::data::Accesses;
use super::flow::Flow;
use super::image::{ImageWriter, Reserved, SiteKind};
use super::memory::{Memory, stack_distance};
use super::place::Places;
use super::plan::{Assumptions, Plan};
use super::run::{Entry, run};
use super::stream::StreamWriter;
use crate::linux::record::recording::Recording;
use crate::patch::text::serialise;
use crate::relocate::CodeMemory;

/// What a replay has of its recording, for the whole window.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Facts {
    /// Calls of hooks.
    pub hooks: u64,
    /// Those whose body is short enough to stand in the place of its call.
    pub inlined_hooks: u64,
    /// Instructions of the recording; a `rep` counts once.
    pub recorded_instructions: u64,
    /// Instructions of the replay with table calls, likewise.
    pub instructions: u64,
    /// Lines of code of the recording.
    pub recorded_code_lines: u64,
    /// Lines of code of the replay.
    pub code_lines: u64,
    /// Lines of data.
    pub data_lines: u64,
    /// Loads and stores of the recording.
    pub accesses: u64,
    /// Those whose address the stream has.
    pub streamed: u64,
    /// Touched lines that no load or store was found for.
    pub unassigned_touches: u64,
    /// Conditional branches whose direction the stream has.
    pub streamed_branches: u64,
    /// Returns that match their call.
    pub matched_returns: u64,
    /// Returns that do not.
    pub unmatched_returns: u64,
    /// Bytes of the stream.
    pub stream_bytes: u64,
}

/// A replay that can be loaded with each mechanism.
pub struct Skeleton {
    plan: Plan,
    places: Places,
    reserved: Reserved,
    head: u32,
    memory: Rc<Memory>,
    /// What it has of its recording.
    pub facts: Facts,
}

/// A replay in executable memory.
pub struct Loaded {
    entry: Entry,
    memory: Rc<Memory>,
    code: CodeMemory,
    /// The bytes of all sites with each mechanism.
    sites: BTreeMap<SiteKind, Vec<(usize, Vec<u8>)>>,
    now: SiteKind,
}

impl Skeleton {
    /// Makes the replay of executed runs `runs` of a recording. `seed` draws its placement.
    ///
    /// # Errors
    /// If the recording is empty or exceeds a bound, or without memory.
    pub fn of(
        recording: &Recording,
        runs: Range<usize>,
        assumptions: Assumptions,
        seed: u64,
    ) -> Result<Skeleton, ReplayError> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let flow = Flow::of(recording, runs.clone())?;
        let accesses = Accesses::of(recording, runs);
        let addresses = Addresses::of(recording, &flow, &accesses);
        let arena = Arena::of(&recording.about.workload, &accesses.lines, &mut rng)?;
        let plan = Plan::of(recording, &flow, &addresses, &arena, assumptions, rng.clone());
        let reserved = Reserved::of(plan.slots.len());
        let places = Places::of(recording, &flow, &plan, reserved.code, &mut rng)?;
        let stack = stack_distance(&arena);
        let writer = StreamWriter {
            recording,
            flow: &flow,
            accesses: &accesses,
            addresses: &addresses,
            arena: &arena,
            plan: &plan,
            places: &places,
            stack,
        };
        let stream = writer.write()?;
        let memory = Rc::new(Memory::new(&arena, &stream)?);
        let facts = super::facts::count(recording, &flow, &accesses, &addresses, &plan, &places, stream.len());
        let head = flow.steps.first().map_or(0, |step| step.block);
        Ok(Skeleton { plan, places, reserved, head, memory, facts })
    }

    fn writer(&self) -> ImageWriter<'_> {
        ImageWriter { plan: &self.plan, places: &self.places, reserved: self.reserved, head: self.head }
    }

    /// Writes the replay to executable memory of its own, with every hook inline.
    ///
    /// # Errors
    /// Without executable memory.
    pub fn load(&self) -> Result<Loaded, ReplayError> {
        let now = SiteKind::Inline;
        let writer = self.writer();
        let near = run as *const () as usize;
        let mut code = CodeMemory::new(near, self.places.bytes)?;
        let base = code.reserve(self.places.bytes, 0, 0)?;
        code.write(base, &writer.write(now, base))?;
        serialise();
        let entry = Entry { base, first: base + writer.entry() };
        let sites = SiteKind::ALL.map(|kind| (kind, writer.write_sites(kind))).into();
        Ok(Loaded { entry, memory: Rc::clone(&self.memory), code, sites, now })
    }
}

#[cfg(test)]
impl Skeleton {
    pub(super) fn image(&self, kind: SiteKind, base: usize) -> Vec<u8> {
        self.writer().write(kind, base)
    }

    /// Offsets of all sites in order, with their ops.
    pub(super) fn sites(&self) -> Vec<(usize, u16)> {
        let offsets = self.writer().write_sites(SiteKind::Inline);
        let mut sites: Vec<(usize, u16)> =
            offsets.iter().zip(&self.plan.sites).map(|((offset, _), site)| (*offset, site.op)).collect();
        sites.sort_unstable();
        sites
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn entry(&self) -> usize {
        self.writer().entry()
    }
}

impl Loaded {
    /// Brings all sites to a mechanism. Nothing else changes, neither bytes nor addresses.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn set(&mut self, kind: SiteKind) -> Result<(), ReplayError> {
        if self.now == kind {
            return Ok(());
        }
        for (offset, bytes) in self.sites.get(&kind).into_iter().flatten() {
            self.code.write(self.entry.base + offset, bytes)?;
        }
        serialise();
        self.now = kind;
        Ok(())
    }

    /// Runs the window `passes` times.
    pub fn run(&mut self, passes: u64) {
        // SAFETY: `run` needs an image that was made for the memory: `Skeleton::load` wrote it, and keeps both.
        unsafe { run(self.entry, &self.memory, passes) };
    }
}
