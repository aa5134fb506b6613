//! What is timed in a comparison, and its keys.
//!
//! Samples, estimates and counts are keyed by a [`Variant`] from plan to report. A run's [`Treatments`] say what its
//! treatment ids stand for.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dispatch::Mechanism;
use crate::patch::State;

/// A mechanism, in one state where it is patchable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MechanismState {
    /// Name of the mechanism.
    pub mechanism: String,
    /// The state of its sites; `None` for a mechanism that is not patched.
    pub(crate) state: Option<State>,
}

impl MechanismState {
    /// Names a mechanism without states.
    #[must_use]
    pub fn plain(mechanism: &str) -> Self {
        MechanismState { mechanism: mechanism.to_owned(), state: None }
    }

    /// Lists a mechanism in each of its states.
    #[must_use]
    pub fn list(mechanism: &Mechanism) -> Vec<Self> {
        let in_state = |state| MechanismState { mechanism: mechanism.name.to_owned(), state };
        match mechanism.states {
            [] => vec![in_state(None)],
            states => states.iter().map(|state| in_state(Some(*state))).collect(),
        }
    }
}

impl fmt::Display for MechanismState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            Some(state) => write!(f, "{} ({state})", self.mechanism),
            None => f.write_str(&self.mechanism),
        }
    }
}

/// What is compared with the reference: `inline` without kernel options.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Treatment {
    /// Calls through a mechanism.
    Mechanism(MechanismState),
    /// A kernel option; calls are inline. Only kernels have options.
    Option(String),
}

impl Treatment {
    /// Returns the mechanism; `None` for an option.
    #[must_use]
    pub fn mechanism(&self) -> Option<&MechanismState> {
        match self {
            Treatment::Mechanism(mechanism) => Some(mechanism),
            Treatment::Option(_) => None,
        }
    }

    /// Returns the names of mechanism, state and option, as reports have them.
    #[must_use]
    pub(crate) fn names(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        match self {
            Treatment::Mechanism(MechanismState { mechanism, state }) => {
                (Some(mechanism), state.map(State::name), None)
            }
            Treatment::Option(option) => (None, None, Some(option)),
        }
    }
}

/// The key of a treatment within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreatmentId(u16);

/// The treatments of a run, each with its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treatments(Vec<Treatment>);

impl Treatments {
    /// Returns the id of a treatment, and adds the treatment if it is new. A run has at most 65,536; further ones share
    /// the last id.
    pub fn add(&mut self, treatment: Treatment) -> TreatmentId {
        let index = self.0.iter().position(|known| *known == treatment).unwrap_or_else(|| {
            self.0.push(treatment);
            self.0.len() - 1
        });
        TreatmentId(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// Adds mechanisms in their states, and returns their ids in the same order.
    pub fn add_mechanisms(&mut self, mechanisms: impl IntoIterator<Item = MechanismState>) -> Vec<TreatmentId> {
        mechanisms.into_iter().map(|mechanism| self.add(Treatment::Mechanism(mechanism))).collect()
    }

    /// Returns the treatment with this id; `None` for the id of another run.
    #[must_use]
    pub(crate) fn get(&self, id: TreatmentId) -> Option<&Treatment> {
        self.0.get(usize::from(id.0))
    }

    /// Returns the mechanism with this id; `None` for an option, or for the id of another run.
    #[must_use]
    pub fn mechanism(&self, id: TreatmentId) -> Option<&MechanismState> {
        self.get(id)?.mechanism()
    }

    /// Lists the treatments, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Treatment> {
        self.0.iter()
    }
}

/// One thing that is timed in a comparison: the key of its samples.
///
/// JSON has a treatment's id as a number and the others as words: `3`, `"reference"`, `"repeat"`, `"copy 1"`.
///
/// ```
/// use pvbench::measure::variant::{Treatment, Treatments, Variant};
///
/// let mut treatments = Treatments::default();
/// let audit = Variant::Treatment(treatments.add(Treatment::Option("audit".into())));
/// let json = serde_json::to_string(&[Variant::Reference, Variant::Copy(1), audit])?;
/// assert_eq!(json, r#"["reference","copy 1",0]"#);
/// assert_eq!(serde_json::from_str::<Vec<Variant>>(&json)?[2], audit);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// `inline`, which all others are compared with.
    Reference,
    /// `inline` again, timed like a treatment: for loops the same code at the same address.
    Repeat,
    /// A copy of `inline` at another address; copies are numbered from 1.
    Copy(u8),
    /// A treatment.
    Treatment(TreatmentId),
}

impl Variant {
    /// The A/A comparisons of a loop: the same code at the same address, and a copy at another.
    pub(crate) const OF_LOOPS: [Variant; 2] = [Variant::Repeat, Variant::Copy(1)];

    /// Returns the treatment's id; `None` for `inline` in any form.
    #[must_use]
    pub fn treatment(self) -> Option<TreatmentId> {
        match self {
            Variant::Treatment(id) => Some(id),
            Variant::Reference | Variant::Repeat | Variant::Copy(_) => None,
        }
    }
}

const REFERENCE: &str = "reference";
const REPEAT: &str = "repeat";
const COPY: &str = "copy ";

impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Variant::Reference => serializer.serialize_str(REFERENCE),
            Variant::Repeat => serializer.serialize_str(REPEAT),
            Variant::Copy(number) => serializer.collect_str(&format_args!("{COPY}{number}")),
            Variant::Treatment(TreatmentId(id)) => serializer.serialize_u16(*id),
        }
    }
}

impl<'de> Deserialize<'de> for Variant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VariantVisitor)
    }
}

struct VariantVisitor;

impl Visitor<'_> for VariantVisitor {
    type Value = Variant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a treatment, \"reference\", \"repeat\" or \"copy N\"")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Variant, E> {
        let id = u16::try_from(id).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(id), &self))?;
        Ok(Variant::Treatment(TreatmentId(id)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Variant, E> {
        match name {
            REFERENCE => Ok(Variant::Reference),
            REPEAT => Ok(Variant::Repeat),
            _ => {
                let number = name.strip_prefix(COPY).and_then(|number| number.parse().ok());
                number.map(Variant::Copy).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_treatment_that_is_added_twice_has_one_id() {
        let mut treatments = Treatments::default();
        let table = treatments.add(Treatment::Mechanism(MechanismState::plain("table")));
        let audit = treatments.add(Treatment::Option("audit".to_owned()));
        assert_eq!(treatments.add_mechanisms([MechanismState::plain("table")]), [table]);
        assert_ne!(table, audit);
        assert_eq!(
            (treatments.mechanism(table).unwrap().mechanism.as_str(), treatments.mechanism(audit)),
            ("table", None)
        );
        assert_eq!(treatments.get(TreatmentId(2)), None);
    }

    #[test]
    fn a_key_that_names_no_variant_is_refused() {
        for key in [r#""copy""#, r#""copy x""#, r#""inline""#, "65536", "-1", "null", r#"{"copy":1}"#] {
            assert!(serde_json::from_str::<Variant>(key).is_err(), "{key}");
        }
    }
}
