//! What a rule allows: a quantity, a number and its unit.

use serde::{Deserialize, Serialize};

/// What is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Time above `inline` in the same run.
    Overhead,
    /// Executed instructions above `inline`; of workloads in percent, too.
    ExtraInstructions,
    /// Bytes of machine code that an op executes at its call site.
    SiteBytes,
    /// By how much an overhead is above that of a baseline.
    Change,
    /// By how many instructions it is.
    InstructionsChange,
}

impl Quantity {
    /// All, in the order in which a rule's bounds are judged.
    pub const ALL: [Quantity; 5] = [
        Quantity::Overhead,
        Quantity::ExtraInstructions,
        Quantity::SiteBytes,
        Quantity::Change,
        Quantity::InstructionsChange,
    ];

    /// The key in a budget file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Overhead => "overhead",
            Quantity::ExtraInstructions => "extra_instructions",
            Quantity::SiteBytes => "site_bytes",
            Quantity::Change => "change",
            Quantity::InstructionsChange => "instructions_change",
        }
    }

    /// The units in which it may be bound.
    #[must_use]
    pub fn units(self) -> &'static [Unit] {
        match self {
            Quantity::Overhead | Quantity::Change => &[Unit::Cycles, Unit::Ns, Unit::Percent],
            Quantity::ExtraInstructions => &[Unit::Instructions, Unit::Percent],
            Quantity::InstructionsChange => &[Unit::Instructions],
            Quantity::SiteBytes => &[Unit::Bytes],
        }
    }

    /// Whether it is a time: another machine has others. Instructions and bytes are the same everywhere.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Quantity::Overhead | Quantity::Change)
    }

    /// Whether it takes a baseline.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Quantity::Change | Quantity::InstructionsChange)
    }
}

/// A unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Core cycles per op, or per unit of a workload's work.
    Cycles,
    /// Nanoseconds per the same.
    Ns,
    /// Percent of what `inline` takes; of a change, percent of what the baseline took.
    Percent,
    /// Executed instructions per op.
    Instructions,
    /// Bytes of machine code.
    Bytes,
}

impl Unit {
    /// As budget files and tables have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Cycles => "cycles",
            Unit::Ns => "ns",
            Unit::Percent => "%",
            Unit::Instructions => "instructions",
            Unit::Bytes => "bytes",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "cycles" | "cycle" => Unit::Cycles,
            "ns" => Unit::Ns,
            "%" | "percent" => Unit::Percent,
            "instructions" | "instruction" => Unit::Instructions,
            "bytes" | "byte" => Unit::Bytes,
            _ => return None,
        })
    }
}

/// The most that may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Of what.
    pub quantity: Quantity,
    /// How much.
    pub value: f64,
    /// In which unit.
    pub unit: Unit,
}

/// No bound is greater: 10^9 cycles are a third of a second.
const GREATEST: f64 = 1e9;

impl Bound {
    /// Reads `"0.25 cycles"`.
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
    /// What is wrong with it, in words.
    pub fn parse(quantity: Quantity, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let value: f64 = number.parse().map_err(|_| format!("'{text}' is no bound: {}", example(quantity)))?;
        if !(0.0..=GREATEST).contains(&value) {
            return Err(format!("{value} is no bound: bounds are 0 to {GREATEST:e}"));
        }
        let unit = unit.trim();
        if unit.is_empty() {
            return Err(format!("{value} has no unit: {}", example(quantity)));
        }
        match Unit::of(unit) {
            Some(unit) if quantity.units().contains(&unit) => Ok(Bound { quantity, value, unit }),
            _ => Err(format!("'{unit}' is no unit of {}: {}", quantity.name(), example(quantity))),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.value, self.unit.name())
    }
}

/// How it is written.
pub(super) fn example(quantity: Quantity) -> String {
    let example = |unit: &Unit| {
        let of_what = match (quantity, unit) {
            (Quantity::ExtraInstructions, Unit::Percent) => " for a workload",
            _ => "",
        };
        format!("\"1 {}\"{of_what}", unit.name())
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
    fn what_is_none_is_told_with_how_it_is_written() {
        for text in ["", "0.25", "cycles", "-1 cycles", "1e3 cycles", "1..2 cycles", "3 bytes", "1 furlong", "1 2 ns"] {
            let error = Bound::parse(Quantity::Overhead, text).unwrap_err();
            assert!(error.contains("bound") || error.contains("unit"), "{text}: {error}");
        }
        assert!(Bound::parse(Quantity::SiteBytes, "6").unwrap_err().contains("write site_bytes = \"1 bytes\""));
    }
}
