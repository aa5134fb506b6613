//! The hash that allows the page's own script and no other (Content Security Policy Level 3, section 6.7.2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The source expression of `script`: `sha256-` and its hash in base64.
pub fn source(script: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(script.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's example "abc", ba7816bf .. f20015ad, in base64.
    #[test]
    fn a_known_script_has_its_known_source_expression() {
        assert_eq!(source("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
