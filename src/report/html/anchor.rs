//! Identifiers of ops and mechanisms in the page, as targets of links.

use std::collections::HashMap;

/// The identifier of each name: `op-save_fl`. A report is untrusted: a name with special characters gets a number
/// instead, and of equal names only the first gets the plain identifier.
pub struct Anchors<'a> {
    prefix: &'static str,
    indices: HashMap<&'a str, usize>,
}

impl<'a> Anchors<'a> {
    /// The identifiers of names, in the order of the page.
    pub fn new(prefix: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        let mut indices = HashMap::new();
        for (index, name) in names.enumerate() {
            indices.entry(name).or_insert(index);
        }
        Self { prefix, indices }
    }

    /// The identifier of the name with this index.
    pub fn id(&self, index: usize, name: &str) -> String {
        let plain = name.len() <= 60 && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if plain && self.indices.get(name) == Some(&index) {
            format!("{}-{name}", self.prefix)
        } else {
            // A second hyphen cannot clash, because no plain name begins with a hyphen.
            format!("{}--{index}", self.prefix)
        }
    }

    /// The identifier that a link to a name targets; `None` if the page does not have the name.
    pub fn find(&self, name: &str) -> Option<String> {
        self.indices.get(name).map(|index| self.id(*index, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_special_characters_and_a_repeated_name_get_a_number() {
        let names = ["save_fl", "a b", "save_fl", "2"];
        let anchors = Anchors::new("op", names.into_iter());
        let made: Vec<String> = names.iter().enumerate().map(|(index, name)| anchors.id(index, name)).collect();
        assert_eq!(made, ["op-save_fl", "op--1", "op--2", "op-2"]);
        assert_eq!(anchors.find("a b").as_deref(), Some("op--1"));
        assert_eq!(anchors.find("none"), None);
    }
}
