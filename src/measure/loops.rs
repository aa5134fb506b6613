//! The loops of a group: copied to their offset, bound to the body, and brought into the state that a column asks for.
//!
//! What they call is copied, too (`callees.rs`): where a linker puts a body decides as much as where it puts a loop.
//!
//! The states of a mechanism share one copy: its sites are rewritten between windows, so that comparing states carries
//! no bias of layout.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::callees::Callees;
use super::plan::{Comparison, Variant};
use super::sampler::SampleError;
use crate::dispatch::CallSequence;
use crate::op::BodyKind;
use crate::patch::function::copy_callee;
use crate::patch::text::serialise;
use crate::patch::unrolled_chain::UnrolledChain;
use crate::patch::{CodeError, CodeMemory, Function, PatchError, Site, SiteKind, State, Target, Text, rules, site};
use crate::regime::{COLD_SITES, Loop, SITES};
use crate::suite::{OpEntry, Pair};

/// Room for the copies of one group's loops.
/// Pages that are not written take no memory.
const CODE_BYTES: usize = 64 << 20;

/// Where loops are copied to, and the sites they hold.
pub struct Loops {
    /// Without it, loops run where the linker put them, and nothing is patched.
    memory: Result<CodeMemory, CodeError>,
    sites: Vec<Site>,
    callees: Callees,
    /// The text that the trampolines of static calls stand in; opened when one is first rewritten.
    text: Option<Text>,
    /// The slots whose trampolines go to Xen's body now.
    to_xen: BTreeSet<usize>,
    /// What each copied loop holds at its sites now.
    now: Vec<Option<State>>,
}

/// A copied loop, in one of its states.
#[derive(Clone)]
pub struct Copied {
    /// Its entry.
    pub run: Loop,
    /// Where its machine code stands; empty for a loop that is no copy.
    pub span: Range<usize>,
    /// The callees that its calls are drawn from, where they change.
    pub targets: Option<[usize; 8]>,
    /// Its copies, where every site is executed once.
    pub unrolled: Option<UnrolledChain>,
    number: usize,
    state: Option<State>,
    code: Vec<(usize, Vec<u8>)>,
}

/// What a group has for a column.
pub enum Prepared {
    /// A loop.
    Loop(Copied),
    /// Nothing: Linux's rules have no such state for that op.
    None,
    /// Nothing, for the site does not take it, and why.
    Refused(String),
    /// Nothing, for this machine cannot do it, and why.
    Unavailable(String),
}

/// Memory for copies of loops, within reach of this program's text.
///
/// # Errors
/// Where the system refuses every way to have it.
pub fn code_memory() -> Result<CodeMemory, CodeError> {
    CodeMemory::new(code_memory as *const () as usize, CODE_BYTES)
}

impl Loops {
    /// Gets memory near the text, if it can be had.
    ///
    /// # Errors
    /// Where the records of the sites are damaged.
    pub fn new() -> Result<Self, SampleError> {
        let memory = code_memory();
        let sites = site::recorded()?;
        Ok(Loops { memory, sites, callees: Callees::default(), text: None, to_xen: BTreeSet::new(), now: Vec::new() })
    }

    /// Copies `inline` twice, and the loop of every column.
    ///
    /// # Errors
    /// Where a mechanism does not exist, or a loop cannot be copied.
    pub fn prepare(
        &mut self,
        op: &OpEntry,
        group: &Comparison,
        columns: &[Variant],
    ) -> Result<([Copied; 2], Vec<Prepared>), SampleError> {
        let find = |name: &str| {
            let pair = op.pairs.iter().find(|pair| pair.mechanism.name == name);
            pair.ok_or_else(|| SampleError::UnknownMechanism(name.to_owned()))
        };
        self.callees.restore();
        if let Ok(memory) = &mut self.memory {
            memory.clear();
        }
        self.now.clear();
        let pairs = columns.iter().map(|column| find(&column.mechanism)).collect::<Result<Vec<_>, _>>()?;
        let missing: Vec<Option<String>> = pairs.iter().map(|pair| self.unavailable(pair, op, group.body)).collect();
        let bound = pairs.iter().zip(&missing).filter(|(_, missing)| missing.is_none()).map(|(pair, _)| *pair);
        bound.clone().for_each(|pair| (pair.bind)(group.body));
        // Where targets change, they are copies of their own.
        if let (Ok(memory), None) = (&mut self.memory, group.regime.targets()) {
            // Where no call goes through it, a trampoline may lead to the other platform's body, and what is decoded is
            // kept.
            let jumps = bound.clone().any(|pair| pair.mechanism.way == CallSequence::Trampoline);
            let is_its = |site: &&Site| {
                jumps && site.kind == SiteKind::Trampoline && (site.slot, site.op) == (op.slot, op.meta.hash())
            };
            let trampolines = self.sites.iter().filter(is_its);
            self.callees.place(op, group, bound, trampolines.map(|site| site.address), memory)?;
        }
        let inline = find("inline")?;
        let twice = [self.copy(inline, group)?.0, self.copy(inline, group)?.0];
        let mut target = op.target(group.body);
        for body in [&mut target.body, &mut target.saving] {
            *body = self.callees.relocated(*body as u64).map_or(*body, |copy| copy as usize);
        }
        let mut offers = Vec::with_capacity(columns.len());
        let mut last: Option<(&str, Copied, Vec<Site>)> = None;
        for ((column, pair), missing) in columns.iter().zip(pairs).zip(missing) {
            if let Some(reason) = missing {
                offers.push(Prepared::Unavailable(reason));
                continue;
            }
            if group.regime.targets().is_some() && (pair.pointer.is_none() || column.state.is_some()) {
                // No target to change.
                offers.push(Prepared::None);
                continue;
            }
            let (mut copied, sites) = match &last {
                Some((mechanism, copied, sites)) if *mechanism == column.mechanism => (copied.clone(), sites.clone()),
                _ => {
                    match self.copy(pair, group) {
                        Ok(copied) => copied,
                        // A loop that cannot be made a train of; the others can.
                        Err(SampleError::Function(error)) if group.regime.is_cold() => {
                            offers.push(Prepared::Unavailable(error.to_string()));
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            if let (Some(count), Some(pointer)) = (group.regime.targets(), pair.pointer) {
                match self.callees(pointer, count)? {
                    Ok(targets) => copied.targets = Some(targets),
                    Err(reason) => {
                        offers.push(Prepared::Unavailable(reason));
                        continue;
                    }
                }
            }
            last = Some((&column.mechanism, copied.clone(), sites.clone()));
            offers.push(match column.state {
                None => Prepared::Loop(copied),
                Some(state) => match &self.memory {
                    Ok(_) => in_state(copied, &sites, &target, state, pair)?,
                    Err(reason) => Prepared::Unavailable(reason.to_string()),
                },
            });
        }
        serialise();
        Ok((twice, offers))
    }

    /// The original of a callee's copy that runs at an address.
    #[must_use]
    pub fn callee_at(&self, address: usize) -> Option<usize> {
        self.callees.at(address as u64)
    }

    /// Brings a loop's sites into its state. Returns whether they were in another: then what was learnt about the loop
    /// by caches and predictors is lost, and it is to be run before it is timed.
    ///
    /// # Errors
    /// Where the code cannot be written.
    pub fn activate(&mut self, copied: &Copied) -> Result<bool, CodeError> {
        if copied.state.is_none() || self.now[copied.number] == copied.state {
            return Ok(false);
        }
        if let Ok(memory) = &mut self.memory {
            for (address, code) in &copied.code {
                memory.write(*address, code)?;
            }
        }
        serialise();
        self.now[copied.number] = copied.state;
        Ok(true)
    }

    fn copy(&mut self, pair: &Pair, group: &Comparison) -> Result<(Copied, Vec<Site>), SampleError> {
        let source = pair.loop_of(group.regime).ok_or_else(|| SampleError::NoLoop(group.clone()))?;
        self.now.push(None);
        let number = self.now.len() - 1;
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
                },
                Vec::new(),
            ));
        };
        // SAFETY: the address of a function of this program.
        let function = unsafe { Function::with_loop(source as *const () as usize) }?;
        let function = function.calling(|callee| self.callees.relocated(callee));
        let original = function.entry() as usize..function.entry() as usize + function.len();
        let (start, sites, unrolled) = if group.regime.is_cold() {
            let unrolled = function.unrolled(memory, (COLD_SITES / SITES) as usize)?;
            let sites =
                unrolled.starts().flat_map(|start| Site::copied(&self.sites, original.clone(), start)).collect();
            (unrolled.start, sites, Some(unrolled))
        } else {
            let start = function.copy_to(memory, group.offset as usize)?;
            (start, Site::copied(&self.sites, original, start), None)
        };
        // SAFETY: the copy decodes to the same function, and everything it refers to is where it was, or a copy.
        let run = unsafe { std::mem::transmute::<*const (), Loop>(start as *const ()) };
        let span = start..start + function.len();
        Ok((Copied { run, span, targets: None, unrolled, number, state: None, code: Vec::new() }, sites))
    }

    /// Copies of the callee that `pointer` leads to, `count` of them, again and again. `Ok(Err(reason))` without memory
    /// for copies.
    fn callees(&mut self, pointer: *mut usize, count: usize) -> Result<Result<[usize; 8], String>, SampleError> {
        let memory = match &mut self.memory {
            Ok(memory) => memory,
            Err(reason) => return Ok(Err(reason.to_string())),
        };
        // SAFETY: `bind` stored a callee there.
        let callee = unsafe { pointer.read() };
        let mut targets = [0; 8];
        for index in 0..targets.len() {
            targets[index] = match index.checked_sub(count) {
                // SAFETY: a callee of this program.
                None => unsafe { copy_callee(callee, memory) }?,
                Some(earlier) => targets[earlier],
            };
        }
        Ok(Ok(targets))
    }

    /// Why a mechanism is not to be had for that body.
    fn unavailable(&mut self, pair: &Pair, op: &OpEntry, body: BodyKind) -> Option<String> {
        if let Some(reason) = pair.unavailable() {
            return Some(reason);
        }
        if pair.mechanism.way == CallSequence::Trampoline && self.to_xen.contains(&op.slot) != (body == BodyKind::Xen) {
            return self.retarget(op, body).err().map(|error| error.to_string());
        }
        None
    }

    /// Has an op's trampoline jump to the body of a platform.
    fn retarget(&mut self, op: &OpEntry, body: BodyKind) -> Result<(), PatchError> {
        let targets = BTreeMap::from([(op.slot, op.target(body))]);
        // SAFETY: a worker has no other thread, and no trampoline is being run by this one; nobody else holds a `Text`.
        // The target is that of the op.
        unsafe {
            let text = match &mut self.text {
                Some(text) => text,
                none => none.insert(Text::own()?),
            };
            text.set_state(&targets, SiteKind::Trampoline, State::Direct)?;
        }
        match body {
            BodyKind::Native => self.to_xen.remove(&op.slot),
            BodyKind::Xen => self.to_xen.insert(op.slot),
        };
        Ok(())
    }
}

/// The code that a loop's sites hold in a state.
fn in_state(
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
        // The call that a jump label jumps to follows the platform in every state.
        let state = if site.kind == SiteKind::Call { State::Direct } else { state };
        match rules::code(site, target, state, &original) {
            Ok(Some(code)) => copied.code.push((site.address, code)),
            Ok(None) => return Ok(Prepared::None),
            Err(refusal) => return Ok(Prepared::Refused(refusal.to_string())),
        }
    }
    Ok(Prepared::Loop(copied))
}
