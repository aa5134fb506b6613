//! Names of symbols for readers.

/// The name that the source has for a symbol.
#[must_use]
pub fn demangle(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}
