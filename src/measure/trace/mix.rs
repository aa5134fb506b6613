//! The instruction mix of one op, from the traces of a loop.
//!
//! ```text
//! count per op = (count in two passes - count in one pass) / 8     without the loop's own decrement and branch
//! ```
//!
//! Lines of code are no difference of two passes, which run the same code. They are counted per site, and averaged.

use std::collections::{BTreeSet, HashMap};

use iced_x86::{Code, FlowControl, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind};

use super::code::Step;
use super::sequence::{Passes, find_sites};
use crate::op::InstructionMix;
use crate::regime::SITES;

/// Bytes of a line of code: the unit that caches hold.
const LINE_BYTES: u64 = 64;
/// Instructions of a pass at most in which equal sites are looked for: the time grows with the square. A pass of this
/// length takes some milliseconds; at twice of it a run with long ops takes seconds more.
const MAX_INSTRUCTIONS_WITH_SITES: usize = 1 << 12;

/// The loop's own instructions, which belong to no op.
struct OwnInstructions {
    /// Index of the first execution, in two passes, of the branch that closes the loop.
    first: usize,
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

    /// Finds the branch that closes the loop, where the traces of one pass and of two part.
    fn find_own_instructions(&self) -> Option<OwnInstructions> {
        let at = if self.are_alike() { self.find_split().checked_sub(1)? } else { self.find_parting()? };
        let step = self.two.get(at)?;
        let counts = |it: &&Step| {
            matches!(it.instruction.mnemonic(), Mnemonic::Dec | Mnemonic::Sub | Mnemonic::Add | Mnemonic::Cmp)
        };
        let decrement = self.two[..at].last().filter(counts).map(Step::address);
        let is_branch = step.instruction.flow_control() == FlowControl::ConditionalBranch;
        is_branch.then_some(OwnInstructions { first: at, branch: step.address(), decrement })
    }

    /// Returns the index of the last branch that leaves the only time in one pass, and of two passes stays once and then
    /// leaves.
    fn find_parting(&self) -> Option<usize> {
        let (one, two) = (list_outcomes(&self.one), list_outcomes(&self.two));
        let parts = |(address, outcomes): &(&u64, &Vec<(usize, u64)>)| {
            let ([(_, stays), (_, leaves)], Some([(_, only)])) =
                (outcomes.as_slice(), one.get(address).map(Vec::as_slice))
            else {
                return false;
            };
            stays != leaves && leaves == only
        };
        two.iter().filter(parts).filter_map(|(_, outcomes)| outcomes.first()).map(|(first, _)| *first).max()
    }

    /// Counts the lines of code of a site and of all that it reaches, averaged over the sites of a pass.
    fn count_lines(&self, own: &OwnInstructions) -> f64 {
        let second = self.two.get(own.first + 1..).unwrap_or_default();
        let length = second.iter().position(|step| step.address() == own.branch).map_or(second.len(), |last| last + 1);
        let second = &second[..length];
        let sites = if second.len() <= MAX_INSTRUCTIONS_WITH_SITES { find_sites(second) } else { None };
        let pass = mark_callees(second);
        let groups: Vec<Vec<Placed>> = match sites {
            Some((length, sites)) => sites.step_by(length).map(|start| pass[start..start + length].to_vec()).collect(),
            None => split_into_sites(&pass),
        };
        let is_own = |(step, _): &Placed| step.address() == own.branch || Some(step.address()) == own.decrement;
        let code = |site: &Vec<Placed>| -> BTreeSet<(u64, u64)> {
            let of_op = site.iter().filter(|it| !is_own(it));
            of_op.map(|(step, _)| (step.address(), step.instruction.next_ip())).collect()
        };
        let lines = groups.iter().map(|site| count_lines_of(&code(site)));
        lines.sum::<usize>() as f64 / groups.len().max(1) as f64
    }
}

/// Lists the conditional branches of a trace by address: the index of each execution, and the address after it.
fn list_outcomes(steps: &[Step]) -> HashMap<u64, Vec<(usize, u64)>> {
    let mut found: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
    for (index, pair) in steps.windows(2).enumerate() {
        if let [step, next] = pair
            && step.instruction.flow_control() == FlowControl::ConditionalBranch
        {
            found.entry(step.address()).or_default().push((index, next.address()));
        }
    }
    found
}

/// A step, and whether it is executed in a function that the loop calls.
type Placed<'a> = (&'a Step, bool);

/// Marks the steps of a pass that lie between a call and its return.
fn mark_callees(pass: &[Step]) -> Vec<Placed<'_>> {
    let mut depth = 0usize;
    let mark = |step: &Step| {
        let (it, is_called) = (&step.instruction, depth > 0);
        depth += usize::from(it.is_call_near() || it.is_call_near_indirect());
        depth = depth.saturating_sub(usize::from(it.mnemonic() == Mnemonic::Ret));
        is_called
    };
    let called: Vec<bool> = pass.iter().map(mark).collect();
    pass.iter().zip(called).collect()
}

/// Splits a pass without a period into sites: after each call, where the sites have equally many; otherwise after equally
/// many instructions of the loop.
fn split_into_sites<'a>(pass: &[Placed<'a>]) -> Vec<Vec<Placed<'a>>> {
    let sites = SITES as usize;
    let of_loop = pass.iter().filter(|(_, is_called)| !is_called).count().max(1);
    let calls = pass.windows(2).filter(|pair| pair[0].1 && !pair[1].1).count();
    let by_calls = calls > 0 && calls.is_multiple_of(sites);
    let mut groups = vec![Vec::new(); sites];
    let (mut seen, mut returned, mut was_called) = (0, 0, false);
    for (step, is_called) in pass {
        returned += usize::from(was_called && !is_called);
        was_called = *is_called;
        let site = if by_calls { returned * sites / calls } else { seen * sites / of_loop };
        seen += usize::from(!is_called);
        // Code behind the last call belongs to the last site.
        groups[site.min(sites - 1)].push((*step, *is_called));
    }
    groups
}

/// Counts the lines that the code of one op takes if each piece of it begins a line. A piece ends where the next executed
/// byte is a line or more away. So the count does not depend on addresses, which layouts and builds change.
fn count_lines_of(code: &BTreeSet<(u64, u64)>) -> usize {
    let (mut lines, mut first, mut last) = (BTreeSet::new(), 0, 0);
    for (start, end) in code {
        if lines.is_empty() || *start >= last + LINE_BYTES {
            first = *start;
        }
        last = last.max(*end);
        let line_of = |address: u64| (address - first) / LINE_BYTES;
        lines.extend((line_of(*start)..=line_of(end - 1)).map(|line| (first, line)));
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

/// Adds the transfer of control of a step, if it is one. `next` is the step after it. A branch to the next instruction
/// counts as not taken.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_each_piece_from_its_own_first_byte() {
        let count = |code: &[(u64, u64)]| count_lines_of(&code.iter().copied().collect());
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[(60, 65)]), 1, "a site across two lines counts as if it began one");
        assert_eq!(count(&[(60, 65), (65, 124)]), 1, "64 bytes");
        assert_eq!(count(&[(60, 65), (65, 125)]), 2, "65 bytes");
        assert_eq!(count(&[(0, 5), (68, 70)]), 2, "the second line of one piece");
        assert_eq!(count(&[(0, 5), (69, 70)]), 2, "two pieces");
        assert_eq!(count(&[(0, 5), (5, 8), (4096, 4099), (4099, 4100)]), 2, "a site and its body");
    }
}
