//! From the traces of a loop to the instructions of one op.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::code::Step;
use crate::regime::SITES;

/// What a loop executed in one pass and in two, entry and return included.
#[derive(Clone, Debug)]
pub struct Passes {
    /// With one pass.
    pub one: Vec<Step>,
    /// With two.
    pub two: Vec<Step>,
}

/// The executed instructions of one op.
#[derive(Clone, Debug)]
pub enum OneOp {
    /// The same instructions once per call site, the loop's own apart.
    Repeated {
        /// Those of one site, the second of the equal ones.
        steps: Vec<Step>,
        /// How many sites in a row are equal: [`SITES`], or up to two fewer, where the compiler has values in other
        /// places before the first and after the last.
        sites: usize,
    },
    /// No such period: the compiler made the sites different, or there are fewer instructions than sites. All
    /// instructions of the pass, for [`SITES`] ops.
    Whole(Vec<Step>),
}

impl Passes {
    /// Instructions of a pass: what the second trace has more than the first. Not above zero only where the two did not
    /// do the same.
    #[must_use]
    pub fn instructions(&self) -> i64 {
        self.two.len() as i64 - self.one.len() as i64
    }

    /// Instructions per op, with the loop's own share.
    #[must_use]
    pub fn per_op(&self) -> f64 {
        self.instructions() as f64 / SITES as f64
    }

    /// Whether all three passes executed the same instructions: two passes are one, with a pass put in that repeats the
    /// one before it.
    #[must_use]
    pub fn alike(&self) -> bool {
        let (pass, split) = (self.two.len().saturating_sub(self.one.len()), self.split());
        let same = |a: &[Step], b: &[Step]| a.iter().map(Step::address).eq(b.iter().map(Step::address));
        (1..=split).contains(&pass)
            && same(&self.one[split..], &self.two[split + pass..])
            && same(&self.two[split - pass..split], &self.two[split..split + pass])
    }

    /// The instructions of the second of two passes.
    #[must_use]
    pub fn second(&self) -> &[Step] {
        let pass = self.two.len().saturating_sub(self.one.len());
        let start = self.split();
        &self.two[start..start + pass]
    }

    /// Where the second trace leaves the first: the first ends its loop, the second goes on with its second pass. At
    /// most the length of the shorter.
    fn split(&self) -> usize {
        self.one.iter().zip(&self.two).take_while(|(a, b)| a.address() == b.address()).count()
    }

    /// Cuts out what one op executed: the longest sequence that stands [`SITES`] times in a row in the second pass, or
    /// nearly as often. Instructions are the same by their mnemonic and kinds of operands; registers, addresses and the
    /// length of a displacement may differ.
    #[must_use]
    pub fn one_op(&self) -> OneOp {
        let pass = self.second();
        let kinds: Vec<_> = pass.iter().map(|step| kind(&step.instruction)).collect();
        let all = SITES as usize;
        let found = (all - 2..=all).rev().find_map(|sites| {
            let start = |n| Some((n, repeats(&kinds, n, sites)?, sites));
            // Shorter ones than half a site's share are something else: a loop inside an op.
            (pass.len() / all / 2 + 1..=pass.len() / sites).rev().find_map(start)
        });
        match found {
            Some((n, start, sites)) => OneOp::Repeated { steps: pass[start + n..start + 2 * n].to_vec(), sites },
            None => OneOp::Whole(pass.to_vec()),
        }
    }
}

fn kind(instruction: &Instruction) -> (Mnemonic, [OpKind; 2]) {
    let operand = |index| if index < instruction.op_count() { instruction.op_kind(index) } else { OpKind::Register };
    // Immediates of one byte and of more are the same thing here.
    let plain = |kind| if matches!(kind, OpKind::Memory | OpKind::NearBranch64) { kind } else { OpKind::Register };
    (instruction.mnemonic(), [plain(operand(0)), plain(operand(1))])
}

/// Where `times` equal runs of `n` start, one after the other.
fn repeats<T: PartialEq>(items: &[T], n: usize, times: usize) -> Option<usize> {
    // That many items in a row must each equal the one `n` further on.
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
    use super::repeats;

    #[test]
    fn the_first_of_eight_equal_runs_is_found_and_seven_are_not_enough() {
        let mut items = vec![9];
        items.extend([1, 2, 3].repeat(8));
        items.push(7);
        assert_eq!(repeats(&items, 3, 8), Some(1));
        items.remove(5);
        assert_eq!(repeats(&items, 3, 8), None);
        assert_eq!(repeats(&items, 40, 8), None);
    }
}
