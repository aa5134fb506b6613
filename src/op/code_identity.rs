//! The identity of machine code: hashes that tell two builds of an op apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identity of the code of a cell: hashes of its bytes without addresses that depend on where the code lies.
///
/// The same source and compiler give the same identity; a changed instruction gives another. A report writes it as two
/// numbers of eight hexadecimal digits.
///
/// ```
/// use pvbench::op::CodeIdentity;
///
/// let identity = CodeIdentity { site: 0x1f, body: 0xa5 };
/// assert_eq!(identity.to_string(), "0000001f-000000a5");
/// assert_eq!("0000001f-000000a5".parse(), Ok(identity));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "String"))]
pub struct CodeIdentity {
    /// Hash of the loop with its call sites.
    pub site: u32,
    /// Hash of the bodies that the loop reaches, with all code between them.
    pub body: u32,
}

/// A text is not the identity of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the identity of code is two numbers of eight hexadecimal digits, such as 0000001f-000000a5")]
pub struct NoIdentity;

impl fmt::Display for CodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.site, self.body)
    }
}

impl FromStr for CodeIdentity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let part = |text: &str| {
            let is_whole = text.len() == 8 && text.bytes().all(|it| it.is_ascii_hexdigit());
            if is_whole { u32::from_str_radix(text, 16).map_err(|_| NoIdentity) } else { Err(NoIdentity) }
        };
        let (site, body) = text.split_once('-').ok_or(NoIdentity)?;
        Ok(CodeIdentity { site: part(site)?, body: part(body)? })
    }
}

impl Serialize for CodeIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodeIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_identity_is_refused() {
        for text in ["", "1f-a5", "0000001f", "0000001f-000000a5-", "+000001f-000000a5", "0000001f-000000ag"] {
            assert_eq!(text.parse::<CodeIdentity>(), Err(NoIdentity), "{text}");
        }
        assert!(serde_json::from_str::<CodeIdentity>("\"x\"").is_err());
        let identity = CodeIdentity { site: u32::MAX, body: 0 };
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(text, "\"ffffffff-00000000\"");
        assert_eq!(serde_json::from_str::<CodeIdentity>(&text).unwrap(), identity);
    }
}
