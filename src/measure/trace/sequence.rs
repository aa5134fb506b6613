//! The instructions of one op, from the traces of a loop.

use std::ops::Range;

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::code::Step;
use crate::regime::SITES;

/// Traces of a loop with one pass and with two, entry and return included.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Trace with one pass.
    pub one: Vec<Step>,
    /// Trace with two passes.
    pub two: Vec<Step>,
    /// Whether recounts found the same instruction mix, where the passes differ.
    pub(super) has_equal_mixes: bool,
}

/// The executed instructions of one op.
#[derive(Clone, Debug)]
pub enum OneOp {
    /// All call sites execute the same instructions, apart from the loop's own.
    Repeated {
        /// Instructions of one site: the second of the equal ones.
        steps: Vec<Step>,
        /// Number of consecutive equal sites: [`SITES`], or up to two fewer if the compiler keeps values in other
        /// registers before the first and after the last.
        sites: usize,
    },
    /// All instructions of the pass, for [`SITES`] ops. There is no period: the sites differ, or there are fewer
    /// instructions than sites.
    Whole(Vec<Step>),
}

impl Passes {
    /// Instructions of a pass: the second trace's length minus the first's. Zero or less only if the two passes did
    /// different work.
    #[must_use]
    pub fn instructions(&self) -> i64 {
        self.two.len() as i64 - self.one.len() as i64
    }

    /// Instructions per op, with an eighth of the loop's own instructions.
    #[must_use]
    pub fn per_op(&self) -> f64 {
        self.instructions() as f64 / SITES as f64
    }

    /// Whether all three passes executed the same instructions. Then the second trace is the first with one pass
    /// inserted that repeats the pass before it.
    #[must_use]
    pub(crate) fn are_alike(&self) -> bool {
        let (pass, split) = (self.two.len().saturating_sub(self.one.len()), self.find_split());
        let same = |a: &[Step], b: &[Step]| a.iter().map(Step::address).eq(b.iter().map(Step::address));
        (1..=split).contains(&pass)
            && same(&self.one[split..], &self.two[split + pass..])
            && same(&self.two[split - pass..split], &self.two[split..split + pass])
    }

    /// The instructions of the second of the two passes.
    #[must_use]
    pub fn second(&self) -> &[Step] {
        let pass = self.two.len().saturating_sub(self.one.len());
        let start = self.find_split();
        &self.two[start..start + pass]
    }

    /// Index where the second trace departs from the first: the first ends its loop, the second starts its second pass.
    /// At most the shorter length.
    pub(super) fn find_split(&self) -> usize {
        self.one.iter().zip(&self.two).take_while(|(a, b)| a.address() == b.address()).count()
    }

    /// Finds the instructions of one op: the longest sequence that occurs [`SITES`] times in a row in the second pass,
    /// or up to two times fewer.
    ///
    /// Instructions are equal if their mnemonics and kinds of operands are; registers, addresses and lengths of
    /// displacements may differ.
    #[must_use]
    pub fn one_op(&self) -> OneOp {
        let pass = self.second();
        match find_sites(pass) {
            Some((n, range)) => {
                let (start, sites) = (range.start, range.len() / n);
                OneOp::Repeated { steps: pass[start + n..start + 2 * n].to_vec(), sites }
            }
            None => OneOp::Whole(pass.to_vec()),
        }
    }
}

/// Finds the equal sites in a pass: the number of instructions of each, and the indices of all of them.
pub(super) fn find_sites(pass: &[Step]) -> Option<(usize, Range<usize>)> {
    let kinds: Vec<_> = pass.iter().map(|step| kind(&step.instruction)).collect();
    let all = SITES as usize;
    (all - 2..=all).rev().find_map(|sites| {
        let range = |n| find_repeats(&kinds, n, sites).map(|start| (n, start..start + n * sites));
        // A sequence shorter than half of a site's share is a loop inside an op.
        (pass.len() / all / 2 + 1..=pass.len() / sites).rev().find_map(range)
    })
}

fn kind(instruction: &Instruction) -> (Mnemonic, [OpKind; 2]) {
    let operand = |index| if index < instruction.op_count() { instruction.op_kind(index) } else { OpKind::Register };
    // Immediates of all sizes count as the same kind.
    let plain = |kind| if matches!(kind, OpKind::Memory | OpKind::NearBranch64) { kind } else { OpKind::Register };
    (instruction.mnemonic(), [plain(operand(0)), plain(operand(1))])
}

/// Index where `times` consecutive equal runs of `n` items start.
fn find_repeats<T: PartialEq>(items: &[T], n: usize, times: usize) -> Option<usize> {
    // This many consecutive items must each equal the item `n` further on.
    let needed = n * (times - 1);
    let mut equal = 0;
    for (at, (item, later)) in items.iter().zip(items.get(n..)?).enumerate() {
        equal = if item == later { equal + 1 } else { 0 };
        if equal == needed {
            return Some(at + 1 - needed);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find_repeats;

    #[test]
    fn eight_equal_runs_are_found_and_seven_are_not() {
        let mut items = vec![9];
        items.extend([1, 2, 3].repeat(8));
        items.push(7);
        assert_eq!(find_repeats(&items, 3, 8), Some(1));
        items.remove(5);
        assert_eq!(find_repeats(&items, 3, 8), None);
        assert_eq!(find_repeats(&items, 40, 8), None);
    }
}
