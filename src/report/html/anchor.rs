//! Names of ops and mechanisms as the places in the page that links go to.

use std::collections::HashMap;

/// The identifier of each name: `op-save_fl`. A report is untrusted: a name that is no plain word gets a number
/// instead, and of equal names the first has the place.
pub struct Anchors<'a> {
    prefix: &'static str,
    places: HashMap<&'a str, usize>,
}

impl<'a> Anchors<'a> {
    /// The identifiers of names in the order in which they stand in the page.
    pub fn new(prefix: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        let mut places = HashMap::new();
        for (index, name) in names.enumerate() {
            places.entry(name).or_insert(index);
        }
        Self { prefix, places }
    }

    /// The identifier of the name at a place.
    pub fn at(&self, index: usize, name: &str) -> String {
        let plain = name.len() <= 60 && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if plain && self.places.get(name) == Some(&index) {
            format!("{}-{name}", self.prefix)
        } else {
            // No plain word begins with a hyphen.
            format!("{}--{index}", self.prefix)
        }
    }

    /// Where a link to a name goes; none where the page does not have it.
    pub fn to(&self, name: &str) -> Option<String> {
        self.places.get(name).map(|index| self.at(*index, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_word_and_what_comes_twice_gets_a_number() {
        let names = ["save_fl", "a b", "save_fl", "2"];
        let anchors = Anchors::new("op", names.into_iter());
        let made: Vec<String> = names.iter().enumerate().map(|(index, name)| anchors.at(index, name)).collect();
        assert_eq!(made, ["op-save_fl", "op--1", "op--2", "op-2"]);
        assert_eq!(anchors.to("a b").as_deref(), Some("op--1"));
        assert_eq!(anchors.to("none"), None);
    }
}
