//! The states of a patchable site.

use serde::{Deserialize, Serialize};

/// The state of a patchable site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As the compiler left it: an indirect call through the table, or the default of an alternative or static call.
    Unpatched,
    /// A direct call of the body.
    Direct,
    /// The native instructions themselves, padded with NOPs.
    Inline,
    /// NOPs alone: the native hook does nothing.
    Nop,
    /// The site refuses the patch: the instructions do not fit, or change registers that the site keeps. It keeps its
    /// code.
    Refused,
    /// A jump label that falls through.
    Off,
    /// A jump label that jumps.
    On,
}

impl State {
    /// Its name in commands and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Unpatched => "unpatched",
            State::Direct => "direct",
            State::Inline => "inline",
            State::Nop => "nop",
            State::Refused => "refused",
            State::Off => "off",
            State::On => "on",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
