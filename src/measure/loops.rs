//! The loops of a comparison: copied to their offset, bound to the body, and patched to the state of their variant.
//!
//! Their callees are copied, too (`callees.rs`): the address of a body matters as much as that of a loop.
//!
//! The states of a mechanism share one copy, whose sites are rewritten between windows. So a comparison of states has
//! no bias from layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::callees::{self, Callees};
use super::comparison::Comparison;
use super::sample_error::SampleError;
use super::variant::MechanismState;
use crate::dispatch::CallSequence;
use crate::op::{BodyKind, CodeIdentity};
use crate::patch::text::serialise;
use crate::patch::{PatchError, Site, SiteKind, State, Target, Text, rules, site};
use crate::regime::{COLD_SITES, Loop, SITES};
use crate::relocate::decode::elf_image;
use crate::relocate::layout::chain::UnrolledChain;
use crate::relocate::{CodeError, CodeImage, CodeMemory, Layout, LoopCache, LoopFunction, identity_of_rewritten, link};
use crate::suite::{OpEntry, Pair};

/// Address space for the copies of one comparison's loops, in bytes. Unwritten pages take no memory.
const CODE_BYTES: usize = 64 << 20;

/// The memory for copies of loops, and their sites.
pub struct Loops {
    /// On error, loops run at their linked addresses and nothing is patched.
    memory: Result<CodeMemory, CodeError>,
    sites: Vec<Site>,
    callees: Callees,
    /// The loops that were decoded before.
    sources: LoopCache,
    /// The text with the trampolines of static calls; opened at the first rewrite.
    text: Option<Text>,
    /// The native targets of the slots whose trampolines lead to Xen's body.
    to_xen: BTreeMap<usize, Target>,
    /// The current state of each copied loop's sites.
    states: Vec<Option<State>>,
}

/// A copied loop, in one of its states.
#[derive(Clone)]
pub struct Copied {
    /// Entry of the loop.
    pub run: Loop,
    /// Addresses of its machine code; empty for a loop that is not a copy.
    pub span: Range<usize>,
    /// The callees that its calls choose from, in regimes with changing targets.
    pub targets: Option<[usize; 8]>,
    /// Its unrolled chain, in regimes that execute every site once.
    pub unrolled: Option<UnrolledChain>,
    number: usize,
    state: Option<State>,
    code: Vec<(usize, Vec<u8>)>,
    /// The compiled loop.
    source: usize,
    /// The compiled bodies that it reaches, and the functions that its pointers lead to.
    callees: Vec<usize>,
}

/// The loop of a variant, or the reason for its absence.
pub enum Prepared {
    /// The loop.
    Loop(Copied),
    /// The op never has this state, by Linux's rules.
    None,
    /// The site refuses the state, for this reason.
    Refused(String),
    /// This machine does not support the variant, for this reason.
    Unavailable(String),
}

/// Maps memory for copies of loops, within reach of this program's text.
///
/// # Errors
/// [`CodeError`] where the system refuses every way to get such memory.
pub(crate) fn code_memory() -> Result<CodeMemory, CodeError> {
    CodeMemory::new(code_memory as *const () as usize, CODE_BYTES)
}

impl Loops {
    /// Maps memory near the text, where the system allows it, and reads the records of the sites.
    ///
    /// # Errors
    /// [`SampleError::Records`] where the records of the sites are damaged.
    pub fn new() -> Result<Self, SampleError> {
        let memory = code_memory();
        let sites = site::recorded()?;
        Ok(Loops {
            memory,
            sites,
            callees: Callees::default(),
            sources: LoopCache::default(),
            text: None,
            to_xen: BTreeMap::new(),
            states: Vec::new(),
        })
    }

    /// Copies `inline` baseline, and the loop of every variant.
    ///
    /// # Errors
    /// [`SampleError`] where a mechanism does not exist, or a loop cannot be copied.
    pub fn prepare(
        &mut self,
        op: &OpEntry,
        comparison: &Comparison,
        variants: &[MechanismState],
    ) -> Result<([Copied; 2], Vec<Prepared>), SampleError> {
        let find = |name: &str| {
            let pair = op.pairs.iter().find(|pair| pair.mechanism.name == name);
            pair.ok_or_else(|| SampleError::UnknownMechanism(name.to_owned()))
        };
        self.callees.restore();
        if let Ok(memory) = &mut self.memory {
            memory.clear();
        }
        self.states.clear();
        let pairs = variants.iter().map(|variant| find(&variant.mechanism)).collect::<Result<Vec<_>, _>>()?;
        let missing: Vec<Option<String>> =
            pairs.iter().map(|pair| self.check_availability(pair, op, comparison.body)).collect();
        let bound = pairs.iter().zip(&missing).filter(|(_, missing)| missing.is_none()).map(|(pair, _)| *pair);
        bound.clone().for_each(|pair| (pair.bind)(comparison.body));
        let original = op.target(comparison.body);
        let reached = |pair: &Pair| [callees::targets(pair), vec![original.body, original.saving]].concat();
        // Pointers lead to copies once the callees are placed.
        let reached: Vec<Vec<usize>> = pairs.iter().map(|pair| reached(pair)).collect();
        // In regimes with changing targets, the callees get separate copies.
        if let (Ok(memory), None) = (&mut self.memory, comparison.regime.targets()) {
            // A trampoline that no call uses here may lead to the other body, and would change the decoded callees.
            let jumps = bound.clone().any(|pair| pair.mechanism.way == CallSequence::Trampoline);
            let belongs_to_op = |site: &&Site| {
                jumps && site.kind == SiteKind::Trampoline && (site.slot, site.op) == (op.slot, op.meta.hash())
            };
            let trampolines = self.sites.iter().filter(belongs_to_op);
            self.callees.place(op, comparison, bound, trampolines.map(|site| site.address), memory)?;
        }
        let inline = find("inline")?;
        let mut baseline = [self.copy(inline, comparison)?.0, self.copy(inline, comparison)?.0];
        baseline.iter_mut().for_each(|copied| copied.callees = vec![original.body, original.saving]);
        let mut target = op.target(comparison.body);
        for body in [&mut target.body, &mut target.saving] {
            *body = self.callees.relocated(*body as u64).map_or(*body, |copy| copy as usize);
        }
        let mut prepared = Vec::with_capacity(variants.len());
        let mut last: Option<(&str, Copied, Vec<Site>)> = None;
        for (((variant, pair), missing), reached) in variants.iter().zip(pairs).zip(missing).zip(reached) {
            if let Some(reason) = missing {
                prepared.push(Prepared::Unavailable(reason));
                continue;
            }
            if comparison.regime.targets().is_some() && (pair.pointer.is_none() || variant.state.is_some()) {
                // The variant has no target to change.
                prepared.push(Prepared::None);
                continue;
            }
            let (mut copied, sites) = match &last {
                Some((mechanism, copied, sites)) if *mechanism == variant.mechanism => (copied.clone(), sites.clone()),
                _ => {
                    match self.copy(pair, comparison) {
                        Ok(copied) => copied,
                        // This loop cannot become an unrolled chain; others can.
                        Err(SampleError::Function(error)) if comparison.regime.is_cold() => {
                            prepared.push(Prepared::Unavailable(error.to_string()));
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            if let (Some(count), Some(pointer)) = (comparison.regime.targets(), pair.pointer) {
                match self.copy_callees(pointer, count)? {
                    Ok(targets) => copied.targets = Some(targets),
                    Err(reason) => {
                        prepared.push(Prepared::Unavailable(reason));
                        continue;
                    }
                }
            }
            copied.callees = reached;
            last = Some((&variant.mechanism, copied.clone(), sites.clone()));
            prepared.push(match variant.state {
                None => Prepared::Loop(copied),
                Some(state) => match &self.memory {
                    Ok(_) => prepare_state(copied, &sites, &target, state, pair)?,
                    Err(reason) => Prepared::Unavailable(reason.to_string()),
                },
            });
        }
        serialise();
        Ok((baseline, prepared))
    }

    /// Returns the original of the copied callee at an address.
    #[must_use]
    pub fn callee_at(&self, address: usize) -> Option<usize> {
        self.callees.function_at(address as u64)
    }

    /// Sets a loop's sites to its state. Returns whether that changed them: then caches and predictors no longer know
    /// the loop, and it must run before it is timed.
    ///
    /// # Errors
    /// [`CodeError`] where the code cannot be written.
    pub fn activate(&mut self, copied: &Copied) -> Result<bool, CodeError> {
        if copied.state.is_none() || self.states[copied.number] == copied.state {
            return Ok(false);
        }
        if let Ok(memory) = &mut self.memory {
            for (address, code) in &copied.code {
                memory.write(*address, code)?;
            }
        }
        serialise();
        self.states[copied.number] = copied.state;
        Ok(true)
    }

    /// The identity of a loop's code in its state, and of the code that it reaches. `None` where that cannot be
    /// decoded.
    pub(super) fn identify(&mut self, copied: &Copied) -> Option<CodeIdentity> {
        // SAFETY: `at` needs a compiled function of this program, and a pair's loop is one.
        let source = unsafe { self.sources.at(copied.source) }.ok()?;
        let start = copied.span.start;
        let pieces = copied.code.iter().filter(|(address, _)| copied.span.contains(address));
        let pieces = pieces.map(|(address, code)| (address - start, *address, &code[..]));
        let site = identity_of_rewritten(source.image().identity(), pieces);
        let mut roots: BTreeSet<usize> = source.branch_targets().map(|target| target as usize).collect();
        roots.extend(&copied.callees);
        roots.retain(|root| elf_image::is_text(*root));
        // SAFETY: `of_callees` needs functions of this program, with 16 mapped bytes before assembly: these are bodies,
        // targets of bound mechanisms, and targets of calls. Text begins with more than 16 bytes of other code.
        let body = unsafe { CodeImage::of_callees(&roots) }.ok()?.identity();
        Some(CodeIdentity { site, body })
    }

    fn copy(&mut self, pair: &Pair, comparison: &Comparison) -> Result<(Copied, Vec<Site>), SampleError> {
        let source = pair.loop_of(comparison.regime).ok_or_else(|| SampleError::NoLoop(comparison.clone()))?;
        let address = source as *const () as usize;
        self.states.push(None);
        let number = self.states.len() - 1;
        let Ok(memory) = &mut self.memory else {
            return Ok((
                Copied {
                    run: source,
                    span: 0..0,
                    targets: None,
                    unrolled: None,
                    number,
                    state: None,
                    code: Vec::new(),
                    source: address,
                    callees: Vec::new(),
                },
                Vec::new(),
            ));
        };
        // SAFETY: `at` needs a compiled function of this program, and a pair's loop is one.
        let source = unsafe { self.sources.at(address) }?;
        let original = source.span();
        let is_cold = comparison.regime.is_cold();
        let layout = if is_cold {
            // SAFETY: `at` needs a compiled function of this program, and a pair's loop is one.
            let function = unsafe { LoopFunction::at(address) }?;
            Layout::unrolled(&function, (COLD_SITES / SITES) as usize)?
        } else {
            Layout::of_loop(source.head_offset(), comparison.offset as usize)
        };
        let linked = link(source.image(), &layout.calling(self.callees.copy()), memory)?;
        let start = linked.start();
        let unrolled = is_cold.then(|| UnrolledChain::new(&source, &linked));
        let sites = match &unrolled {
            Some(chain) => {
                chain.starts().flat_map(|start| Site::copied(&self.sites, original.clone(), start)).collect()
            }
            None => Site::copied(&self.sites, original.clone(), start),
        };
        // SAFETY: the copy decodes to the same function, and all its references lead to originals or copies.
        let run = unsafe { std::mem::transmute::<*const (), Loop>(start as *const ()) };
        let span = start..start + original.len();
        let code = Vec::new();
        let copied = Copied {
            run,
            span,
            targets: None,
            unrolled,
            number,
            state: None,
            code,
            source: address,
            callees: Vec::new(),
        };
        Ok((copied, sites))
    }

    /// Copies the callee that `pointer` leads to `count` times, and repeats the copies up to eight. `Ok(Err(reason))`
    /// without memory for copies.
    fn copy_callees(&mut self, pointer: *mut usize, count: usize) -> Result<Result<[usize; 8], String>, SampleError> {
        let memory = match &mut self.memory {
            Ok(memory) => memory,
            Err(reason) => return Ok(Err(reason.to_string())),
        };
        // SAFETY: `bind` stored a callee there.
        let callee = unsafe { pointer.read() };
        // SAFETY: `of_callee` needs a function of this program with 16 mapped bytes before it: a mechanism named it,
        // and text begins with more than 16 bytes of other code.
        let image = unsafe { CodeImage::of_callee(callee) }?;
        let mut targets = [0; 8];
        for index in 0..targets.len() {
            targets[index] = match index.checked_sub(count) {
                None => link(&image, &Layout::of_function(0), memory)?.start(),
                Some(earlier) => targets[earlier],
            };
        }
        Ok(Ok(targets))
    }

    /// Returns the reason why a mechanism is unavailable for a body.
    fn check_availability(&mut self, pair: &Pair, op: &OpEntry, body: BodyKind) -> Option<String> {
        if let Some(reason) = pair.unavailable() {
            return Some(reason);
        }
        if pair.mechanism.way == CallSequence::Trampoline
            && self.to_xen.contains_key(&op.slot) != (body == BodyKind::Xen)
        {
            return self.retarget(op, body).err().map(|error| error.to_string());
        }
        None
    }

    /// Points an op's trampoline at a body.
    fn retarget(&mut self, op: &OpEntry, body: BodyKind) -> Result<(), PatchError> {
        self.set_trampolines(&BTreeMap::from([(op.slot, op.target(body))]))?;
        match body {
            BodyKind::Native => self.to_xen.remove(&op.slot),
            BodyKind::Xen => self.to_xen.insert(op.slot, op.target(BodyKind::Native)),
        };
        Ok(())
    }

    /// Points trampolines at targets, by slot.
    fn set_trampolines(&mut self, targets: &BTreeMap<usize, Target>) -> Result<(), PatchError> {
        // SAFETY: `Text` and its writer need that no other thread runs the sites and that no other `Text` exists: a
        // worker has one thread, which runs no trampoline now, and a process has one bench. The targets belong to ops.
        unsafe {
            let text = match &mut self.text {
                Some(text) => text,
                none => none.insert(Text::own()?),
            };
            text.set_state(targets, SiteKind::Trampoline, State::Direct).map(drop)
        }
    }
}

impl Drop for Loops {
    /// Restores the trampolines: a workload may run next in this process, and its kernels have native bodies.
    fn drop(&mut self) {
        let native = std::mem::take(&mut self.to_xen);
        if !native.is_empty() {
            // Trampolines that were written once can be written again; no caller is left to tell of a failure.
            let _ = self.set_trampolines(&native);
        }
    }
}

/// Prepares the code of a loop's sites for a state.
fn prepare_state(
    mut copied: Copied,
    sites: &[Site],
    target: &Target,
    state: State,
    pair: &Pair,
) -> Result<Prepared, SampleError> {
    if sites.is_empty() {
        return Err(SampleError::NoSites { op: target.op, mechanism: pair.mechanism.name });
    }
    copied.state = Some(state);
    for site in sites {
        // SAFETY: a site of the copy that was just written.
        let original = unsafe { site.bytes() };
        // The call that a jump label jumps to leads to the body in every state.
        let state = if site.kind == SiteKind::Call { State::Direct } else { state };
        match rules::code(site, target, state, &original) {
            Ok(Some(code)) => copied.code.push((site.address, code)),
            Ok(None) => return Ok(Prepared::None),
            Err(refusal) => return Ok(Prepared::Refused(refusal.to_string())),
        }
    }
    Ok(Prepared::Loop(copied))
}
