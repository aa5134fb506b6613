//! What a call site holds, in the words of a reader: `site (inline)` is a patched site. README, docs and page share
//! them.

use std::collections::HashMap;

use serde::Deserialize;

/// The words in TOML, in the order of the tables of README and docs.
const CALL_SITES: &str = include_str!("call_sites.toml");

#[derive(Deserialize)]
struct File {
    site: Vec<CallSite>,
}

/// A mechanism in a state, with what its call sites hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallSite {
    mechanism: String,
    state: Option<String>,
    holds: String,
    /// Whether README's table has the row. `scripts/figures.py` reads it.
    #[serde(default, rename = "readme")]
    _readme: bool,
}

/// What call sites hold, by mechanism and state.
pub(crate) struct CallSites(HashMap<(String, Option<String>), String>);

impl CallSites {
    /// The words of the built-in file.
    ///
    /// # Errors
    /// When the file does not parse. A test checks that it does.
    pub(crate) fn read() -> Result<Self, toml::de::Error> {
        let file: File = toml::from_str(CALL_SITES)?;
        // A page has no code in running words: the backticks are for Markdown.
        let words = |it: CallSite| ((it.mechanism, it.state), it.holds.replace('`', ""));
        Ok(Self(file.site.into_iter().map(words).collect()))
    }

    /// What a call site of a mechanism in a state holds; empty for a mechanism of a suite's own.
    pub(crate) fn words(&self, mechanism: &str, state: Option<&str>) -> &str {
        self.0.get(&(mechanism.to_owned(), state.map(str::to_owned))).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    #[test]
    fn every_mechanism_of_the_built_in_suite_has_words_in_each_of_its_states() {
        let words = CallSites::read().unwrap();
        for mechanism in suite::mechanisms().iter().filter(|it| it.name != "inline") {
            let named = words.0.keys().filter(|(name, _)| name == mechanism.name).count();
            assert!(named > 0, "{} has no row in call_sites.toml", mechanism.name);
        }
        let site = |state| words.words("site", Some(state));
        assert!(site("inline").starts_with("a patched pv_ops site"), "{}", site("inline"));
        assert!(site("direct").contains("patched to a direct call"), "{}", site("direct"));
        assert!(site("unpatched").starts_with("an unpatched pv_ops site"), "{}", site("unpatched"));
        assert_eq!(words.words("of_a_suite", None), "");
    }
}
