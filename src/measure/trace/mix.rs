//! The instruction mix of one op, from the traces of a loop.
//!
//! ```text
//! count per op = (count in two passes - count in one pass) / 8     without the loop's own decrement and branch
//! ```
//!
//! Lines of code are no difference of two passes, which run the same code. They are counted per site, and averaged.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use iced_x86::{Code, FlowControl, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind};

use super::code::Step;
use super::sequence::Passes;
use crate::op::InstructionMix;
use crate::regime::SITES;

/// Bytes of a line of code: the unit that caches hold.
const LINE_BYTES: u64 = 64;
/// Instructions of a pass at most in which equal sites are looked for: the time grows with the square. A pass of this
/// length takes some milliseconds; at twice of it a run with long ops takes seconds more.
const MAX_INSTRUCTIONS_WITH_SITES: usize = 1 << 12;

/// The loop's own instructions, which belong to no op.
struct OwnInstructions {
    /// Address of the first instruction of a pass.
    head: u64,
    /// Address behind the branch that closes the loop.
    end: u64,
    /// Address of that branch.
    branch: u64,
    /// Address of the decrement in front of the branch.
    decrement: Option<u64>,
}

impl Passes {
    /// Counts the instructions of one op by class; `None` where the branch that closes the loop is not found, or
    /// recounts differed.
    #[must_use]
    pub fn mix(&self) -> Option<InstructionMix> {
        if !self.has_equal_mixes {
            return None;
        }
        self.count_mix()
    }

    /// Counts these two traces, whatever recounts showed.
    pub(super) fn count_mix(&self) -> Option<InstructionMix> {
        let own = self.find_own_instructions()?;
        // What both traces have in common cancels, up to the transfer after which they differ.
        let from = self.find_split().saturating_sub(1);
        let [one, two] = [&self.one, &self.two].map(|steps| count_classes(&steps[from..], &own));
        let mut mix = two.combine(&one, |two, one| (two - one) / SITES as f64);
        mix.code_lines = self.count_lines(&own);
        // Passes with different work can differ by less than nothing.
        mix.values().iter().all(|count| *count >= 0.0).then_some(mix)
    }

    /// Finds the branch that closes the loop: it is executed once in one pass, and leaves; of two passes it repeats the
    /// first.
    fn find_own_instructions(&self) -> Option<OwnInstructions> {
        let at = if self.are_alike() { self.find_split().checked_sub(1)? } else { self.find_last_repeated()? };
        let step = self.two.get(at)?;
        let head = step.instruction.near_branch_target();
        let is_back_edge = step.instruction.flow_control() == FlowControl::ConditionalBranch
            && head <= step.address()
            && self.two.get(at + 1)?.address() == head;
        let counts = |it: &&Step| {
            matches!(it.instruction.mnemonic(), Mnemonic::Dec | Mnemonic::Sub | Mnemonic::Add | Mnemonic::Cmp)
        };
        let decrement = self.two[..at].last().filter(counts).map(Step::address);
        let (branch, end) = (step.address(), step.instruction.next_ip());
        is_back_edge.then_some(OwnInstructions { head, end, branch, decrement })
    }

    /// Returns the index of the first execution of the last backward branch that is executed once in one pass and twice
    /// in two.
    fn find_last_repeated(&self) -> Option<usize> {
        let executions = |steps: &[Step]| {
            let mut found: HashMap<u64, (usize, usize)> = HashMap::new();
            for (index, step) in steps.iter().enumerate() {
                let it = &step.instruction;
                if it.flow_control() == FlowControl::ConditionalBranch && it.near_branch_target() <= it.ip() {
                    found.entry(it.ip()).or_insert((0, index)).0 += 1;
                }
            }
            found
        };
        let (one, two) = (executions(&self.one), executions(&self.two));
        let once_and_twice = |(address, (times, _)): &(&u64, &(usize, usize))| {
            *times == 2 && one.get(address).is_some_and(|(times, _)| *times == 1)
        };
        two.iter().filter(once_and_twice).map(|(_, (_, first))| *first).max()
    }

    /// Counts the lines of code of a site and of all that it reaches, averaged over the sites of a pass.
    fn count_lines(&self, own: &OwnInstructions) -> f64 {
        let pass = self.second();
        let in_loop = own.head..own.end;
        let sites = if pass.len() <= MAX_INSTRUCTIONS_WITH_SITES { self.find_sites() } else { None };
        let groups: Vec<Vec<&Step>> = match sites {
            Some((length, sites)) => {
                sites.step_by(length).map(|start| pass[start..start + length].iter().collect()).collect()
            }
            None => split_by_bytes(pass, own),
        };
        let is_own = |step: &&&Step| step.address() == own.branch || Some(step.address()) == own.decrement;
        let lines = groups.iter().map(|site| {
            let steps: Vec<&Step> = site.iter().filter(|step| !is_own(step)).copied().collect();
            count_distinct_lines(&steps, &in_loop)
        });
        lines.sum::<usize>() as f64 / groups.len().max(1) as f64
    }
}

/// Splits a pass without a period into sites by the bytes of the loop; what is called belongs to its caller.
fn split_by_bytes<'a>(pass: &'a [Step], own: &OwnInstructions) -> Vec<Vec<&'a Step>> {
    let bytes = own.decrement.unwrap_or(own.branch).saturating_sub(own.head).max(1);
    let mut sites = vec![Vec::new(); SITES as usize];
    let mut site = 0;
    for step in pass {
        if (own.head..own.end).contains(&step.address()) {
            site = ((step.address() - own.head) * SITES / bytes).min(SITES - 1) as usize;
        }
        sites[site].push(step);
    }
    sites
}

/// Counts the lines of one op. Code of the loop begins at its own first byte, so that the count does not depend on
/// where the site lies within a line; other code lies where it is.
fn count_distinct_lines(steps: &[&Step], in_loop: &Range<u64>) -> usize {
    let of_loop = |step: &&&Step| in_loop.contains(&step.address());
    let first = steps.iter().filter(of_loop).map(|step| step.address()).min().unwrap_or(0);
    let mut lines = BTreeSet::new();
    for step in steps {
        let is_in_loop = of_loop(&step);
        let start = if is_in_loop { step.address() - first } else { step.address() };
        let last = start + (step.bytes().len() as u64).saturating_sub(1);
        lines.extend((start / LINE_BYTES..=last / LINE_BYTES).map(|line| (is_in_loop, line)));
    }
    lines.len()
}

/// Counts the steps of a trace by class, without lines of code and without the loop's own instructions.
fn count_classes(steps: &[Step], own: &OwnInstructions) -> InstructionMix {
    let (mut mix, mut factory) = (InstructionMix::default(), InstructionInfoFactory::new());
    for (index, step) in steps.iter().enumerate() {
        if step.address() == own.branch || Some(step.address()) == own.decrement {
            continue;
        }
        add_transfer(&mut mix, step, steps.get(index + 1));
        let info = factory.info_options(&step.instruction, InstructionInfoOptions::NO_REGISTER_USAGE);
        for memory in info.used_memory() {
            let (reads, writes) = match memory.access() {
                OpAccess::Read | OpAccess::CondRead => (1.0, 0.0),
                OpAccess::Write | OpAccess::CondWrite => (0.0, 1.0),
                OpAccess::ReadWrite | OpAccess::ReadCondWrite => (1.0, 1.0),
                _ => (0.0, 0.0),
            };
            mix.loads += reads;
            mix.stores += writes;
        }
        let it = &step.instruction;
        // `xchg` with memory locks without a prefix (Intel SDM volume 2, XCHG).
        let exchanges = it.mnemonic() == Mnemonic::Xchg && it.op0_kind() == OpKind::Memory;
        mix.locked += f64::from(u8::from(it.has_lock_prefix() || exchanges));
        mix.serialising += f64::from(u8::from(is_serialising(it.code(), it.mnemonic())));
    }
    mix
}

/// Adds the transfer of control of a step, if it is one. `next` is the step after it.
fn add_transfer(mix: &mut InstructionMix, step: &Step, next: Option<&Step>) {
    let it = &step.instruction;
    let class = match it.flow_control() {
        FlowControl::Call if it.is_call_near() => &mut mix.direct_calls,
        FlowControl::IndirectCall => &mut mix.indirect_calls,
        FlowControl::UnconditionalBranch => &mut mix.direct_jumps,
        FlowControl::IndirectBranch => &mut mix.indirect_jumps,
        FlowControl::Return if it.mnemonic() == Mnemonic::Ret => &mut mix.returns,
        FlowControl::ConditionalBranch if next.is_some_and(|next| next.address() != it.next_ip()) => {
            &mut mix.taken_branches
        }
        FlowControl::ConditionalBranch => &mut mix.untaken_branches,
        _ => return,
    };
    *class += 1.0;
}

/// Whether an instruction is serialising (Intel SDM volume 3, 10.3 "Serializing Instructions") or a fence.
fn is_serialising(code: Code, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Cpuid
        | Mnemonic::Iret
        | Mnemonic::Iretd
        | Mnemonic::Iretq
        | Mnemonic::Rsm
        | Mnemonic::Serialize
        | Mnemonic::Lfence
        | Mnemonic::Mfence
        | Mnemonic::Sfence
        | Mnemonic::Invd
        | Mnemonic::Invept
        | Mnemonic::Invlpg
        | Mnemonic::Invvpid
        | Mnemonic::Lgdt
        | Mnemonic::Lidt
        | Mnemonic::Lldt
        | Mnemonic::Ltr
        | Mnemonic::Wbinvd
        | Mnemonic::Wrmsr => true,
        _ => matches!(code, Code::Mov_cr_r64 | Code::Mov_dr_r64),
    }
}
