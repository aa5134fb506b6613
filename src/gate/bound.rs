//! A bound of a rule: a quantity, a number and its unit.

use serde::{Deserialize, Serialize};

use crate::op::InstructionMix;

/// A quantity that a rule bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Time above `inline` in the same run.
    Overhead,
    /// Executed instructions above `inline`; for workloads also in percent.
    ExtraInstructions,
    /// Bytes of machine code that an op executes at its call site.
    SiteBytes,
    /// Calls per op, direct and indirect.
    Calls,
    /// Direct calls per op.
    DirectCalls,
    /// Calls per op through a register or a word of memory.
    IndirectCalls,
    /// Indirect calls and indirect jumps per op; returns are not among them.
    IndirectBranches,
    /// Returns per op.
    Returns,
    /// Direct jumps per op.
    DirectJumps,
    /// Jumps per op through a register or a word of memory.
    IndirectJumps,
    /// Conditional branches per op, taken or not.
    Branches,
    /// Conditional branches per op that are taken.
    TakenBranches,
    /// Reads of memory per op, the stack included.
    Loads,
    /// Writes to memory per op, the stack included.
    Stores,
    /// Locked instructions per op.
    Locked,
    /// Serialising instructions and fences per op.
    Serialising,
    /// Lines of 64 bytes of code per op.
    CodeLines,
    /// Call sites of a function in a binary that go through a stub of the procedure linkage table.
    PltCalls,
    /// Call sites of a function in a binary that go through a retpoline.
    Retpolines,
    /// Jumps of a function in a binary through the table of a switch.
    JumpTables,
    /// Indirect jumps of a function in a binary of which nothing tells whether they leave it.
    UnknownJumps,
    /// Increase of an overhead over that of the baseline.
    Change,
    /// Increase of the executed instructions over those of the baseline.
    InstructionsChange,
}

impl Quantity {
    /// All quantities, in the order in which a rule's bounds are judged.
    pub const ALL: [Quantity; 23] = [
        Quantity::Overhead,
        Quantity::ExtraInstructions,
        Quantity::SiteBytes,
        Quantity::Calls,
        Quantity::DirectCalls,
        Quantity::IndirectCalls,
        Quantity::IndirectBranches,
        Quantity::Returns,
        Quantity::DirectJumps,
        Quantity::IndirectJumps,
        Quantity::Branches,
        Quantity::TakenBranches,
        Quantity::Loads,
        Quantity::Stores,
        Quantity::Locked,
        Quantity::Serialising,
        Quantity::CodeLines,
        Quantity::PltCalls,
        Quantity::Retpolines,
        Quantity::JumpTables,
        Quantity::UnknownJumps,
        Quantity::Change,
        Quantity::InstructionsChange,
    ];

    /// What functions in binaries have.
    pub const OF_BINARIES: [Quantity; 9] = [
        Quantity::Calls,
        Quantity::DirectCalls,
        Quantity::IndirectCalls,
        Quantity::IndirectBranches,
        Quantity::Returns,
        Quantity::PltCalls,
        Quantity::Retpolines,
        Quantity::JumpTables,
        Quantity::UnknownJumps,
    ];

    /// Returns the key in a budget file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Overhead => "overhead",
            Quantity::ExtraInstructions => "extra_instructions",
            Quantity::SiteBytes => "site_bytes",
            Quantity::Calls => "calls",
            Quantity::DirectCalls => "direct_calls",
            Quantity::IndirectCalls => "indirect_calls",
            Quantity::IndirectBranches => "indirect_branches",
            Quantity::Returns => "returns",
            Quantity::DirectJumps => "direct_jumps",
            Quantity::IndirectJumps => "indirect_jumps",
            Quantity::Branches => "branches",
            Quantity::TakenBranches => "taken_branches",
            Quantity::Loads => "loads",
            Quantity::Stores => "stores",
            Quantity::Locked => "locked",
            Quantity::Serialising => "serialising",
            Quantity::CodeLines => "code_lines",
            Quantity::PltCalls => "plt_calls",
            Quantity::Retpolines => "retpolines",
            Quantity::JumpTables => "jump_tables",
            Quantity::UnknownJumps => "unknown_jumps",
            Quantity::Change => "change",
            Quantity::InstructionsChange => "instructions_change",
        }
    }

    /// Returns the units of its bounds.
    #[must_use]
    pub fn units(self) -> &'static [Unit] {
        match self {
            Quantity::Overhead | Quantity::Change => &[Unit::Cycles, Unit::Ns, Unit::Percent],
            Quantity::ExtraInstructions => &[Unit::Instructions, Unit::Percent],
            Quantity::InstructionsChange => &[Unit::Instructions],
            Quantity::SiteBytes => &[Unit::Bytes],
            Quantity::PltCalls | Quantity::Retpolines | Quantity::JumpTables | Quantity::UnknownJumps => &[Unit::Sites],
            _ => &[Unit::Count],
        }
    }

    /// Returns its count in an instruction mix; `None` for other quantities.
    #[must_use]
    pub(super) fn count_in(self, mix: &InstructionMix) -> Option<f64> {
        Some(match self {
            Quantity::Calls => mix.calls(),
            Quantity::DirectCalls => mix.direct_calls,
            Quantity::IndirectCalls => mix.indirect_calls,
            Quantity::IndirectBranches => mix.indirect_branches(),
            Quantity::Returns => mix.returns,
            Quantity::DirectJumps => mix.direct_jumps,
            Quantity::IndirectJumps => mix.indirect_jumps,
            Quantity::Branches => mix.branches(),
            Quantity::TakenBranches => mix.taken_branches,
            Quantity::Loads => mix.loads,
            Quantity::Stores => mix.stores,
            Quantity::Locked => mix.locked,
            Quantity::Serialising => mix.serialising,
            Quantity::CodeLines => mix.code_lines,
            Quantity::Overhead
            | Quantity::ExtraInstructions
            | Quantity::SiteBytes
            | Quantity::PltCalls
            | Quantity::Retpolines
            | Quantity::JumpTables
            | Quantity::UnknownJumps
            | Quantity::Change
            | Quantity::InstructionsChange => return None,
        })
    }

    /// Whether it is a count of an instruction mix, which only cells have.
    #[must_use]
    pub(super) fn is_of_mix(self) -> bool {
        self.units() == [Unit::Count]
    }

    /// Whether functions in binaries have it.
    #[must_use]
    pub(super) fn is_of_binaries(self) -> bool {
        Quantity::OF_BINARIES.contains(&self)
    }

    /// Whether it is a plain number, without a unit.
    #[must_use]
    pub(super) fn is_count(self) -> bool {
        self.is_of_mix() || self.is_of_binaries()
    }

    /// Whether it is a time, which differs between machines. Instructions and bytes are the same on all machines.
    #[must_use]
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Quantity::Overhead | Quantity::Change)
    }

    /// Whether it needs a baseline.
    #[must_use]
    pub(crate) fn is_change(self) -> bool {
        matches!(self, Quantity::Change | Quantity::InstructionsChange)
    }
}

/// The unit of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Core cycles per op, or per unit of a workload.
    Cycles,
    /// Nanoseconds per op, or per unit of a workload.
    Ns,
    /// Percent of the time with `inline`; for a change, percent of the time in the baseline.
    Percent,
    /// Executed instructions per op.
    Instructions,
    /// Bytes of machine code.
    Bytes,
    /// A count per op, which needs no unit.
    Count,
    /// A number of call sites of a function in a binary.
    Sites,
}

impl Unit {
    /// Returns the name in budget files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Cycles => "cycles",
            Unit::Ns => "ns",
            Unit::Percent => "%",
            Unit::Instructions => "instructions",
            Unit::Bytes => "bytes",
            Unit::Count => "per op",
            Unit::Sites => "sites",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "cycles" | "cycle" => Unit::Cycles,
            "ns" => Unit::Ns,
            "%" | "percent" => Unit::Percent,
            "instructions" | "instruction" => Unit::Instructions,
            "bytes" | "byte" => Unit::Bytes,
            "per op" => Unit::Count,
            "sites" | "site" => Unit::Sites,
            _ => return None,
        })
    }
}

/// The largest allowed value of a quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The bounded quantity.
    pub quantity: Quantity,
    /// The largest allowed value, in `unit`.
    pub value: f64,
    /// The unit of `value`.
    pub unit: Unit,
}

/// Largest value of a bound, in its unit: 10^9 cycles are a third of a second.
const MAX_BOUND: f64 = 1e9;

impl Bound {
    /// Parses a bound such as `"0.25 cycles"`.
    ///
    /// ```
    /// use pvbench::gate::bound::{Bound, Quantity, Unit};
    ///
    /// let bound = Bound::parse(Quantity::Overhead, "0.25 cycles")?;
    /// assert_eq!((bound.value, bound.unit), (0.25, Unit::Cycles));
    /// assert!(Bound::parse(Quantity::Overhead, "0.25 parsecs").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// The text is not a bound of this quantity; the message says why and how to write one.
    pub fn parse(quantity: Quantity, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let value: f64 = number.parse().map_err(|_| format!("'{text}' is not a bound; {}", example(quantity)))?;
        if !(0.0..=MAX_BOUND).contains(&value) {
            return Err(format!("{value} is out of range; bounds are 0 to {MAX_BOUND:e}"));
        }
        let unit = unit.trim();
        if unit.is_empty() {
            if let (true, Some(unit)) = (quantity.is_count(), quantity.units().first()) {
                return Ok(Bound { quantity, value, unit: *unit });
            }
            return Err(format!("{value} has no unit; {}", example(quantity)));
        }
        match Unit::parse(unit) {
            Some(unit) if quantity.units().contains(&unit) => Ok(Bound { quantity, value, unit }),
            _ => Err(format!("'{unit}' is not a unit of {}; {}", quantity.name(), example(quantity))),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.value, self.unit.name())
    }
}

/// Returns advice how to write a bound of a quantity.
pub(super) fn example(quantity: Quantity) -> String {
    if quantity.is_count() {
        return format!("write {} = \"1\"", quantity.name());
    }
    let example = |unit: &Unit| {
        let subject = match (quantity, unit) {
            (Quantity::ExtraInstructions, Unit::Percent) => " for a workload",
            _ => "",
        };
        format!("\"1 {}\"{subject}", unit.name())
    };
    let examples: Vec<String> = quantity.units().iter().map(example).collect();
    format!("write {} = {}", quantity.name(), examples.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_number_and_a_unit_of_its_quantity() {
        let parse = |text| Bound::parse(Quantity::Overhead, text).map(|bound| (bound.value, bound.unit));
        assert_eq!(parse("0.25 cycles"), Ok((0.25, Unit::Cycles)));
        assert_eq!(parse(" 2ns "), Ok((2.0, Unit::Ns)));
        assert_eq!(parse("1.5%"), Ok((1.5, Unit::Percent)));
        let instruction = Bound::parse(Quantity::ExtraInstructions, "1 instruction").unwrap();
        assert_eq!(instruction.to_string(), "1 instructions");
    }

    #[test]
    fn a_bound_of_an_instruction_mix_needs_no_unit() {
        let bound = Bound::parse(Quantity::IndirectBranches, "0").unwrap();
        assert_eq!((bound.value, bound.unit), (0.0, Unit::Count));
        assert_eq!(Bound::parse(Quantity::Calls, &bound.to_string()).map(|bound| bound.value), Ok(0.0));
        let error = Bound::parse(Quantity::Calls, "1 cycles").unwrap_err();
        assert!(error.contains("write calls = \"1\""), "{error}");
        for quantity in Quantity::ALL {
            let counted = quantity.count_in(&InstructionMix::default());
            assert_eq!(counted.is_some(), quantity.is_of_mix(), "{}", quantity.name());
        }
    }

    #[test]
    fn an_error_on_a_malformed_bound_shows_how_to_write_one() {
        for text in ["", "0.25", "cycles", "-1 cycles", "1e3 cycles", "1..2 cycles", "3 bytes", "1 furlong", "1 2 ns"] {
            let error = Bound::parse(Quantity::Overhead, text).unwrap_err();
            assert!(error.contains("bound") || error.contains("unit"), "{text}: {error}");
        }
        assert!(Bound::parse(Quantity::SiteBytes, "6").unwrap_err().contains("write site_bytes = \"1 bytes\""));
    }
}
