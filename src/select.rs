//! Selection of names by globs: an option holds several globs, separated by commas.
//!
//! Case does not matter, and outside of classes a hyphen is an underscore. A name that matches nothing is refused with
//! the nearest name.

use fast_glob::glob_match;

/// Why a selection is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No name matches the pattern.
    #[error("no {kind} matches '{pattern}'{}; available: {}",
        nearest.as_ref().map(|n| format!("; did you mean '{n}'?")).unwrap_or_default(), join_or_none(names))]
    NoMatch {
        /// The kind of the names: `op`, `mechanism`, ..
        kind: &'static str,
        /// The pattern as given.
        pattern: String,
        /// The most similar name.
        nearest: Option<String>,
        /// All names of this kind.
        names: Vec<String>,
    },
    /// The pattern is not a valid glob.
    #[error(
        "malformed glob '{pattern}' for {kind}: {reason}; * matches any characters, ? one character, {{a,b}} a or b"
    )]
    Malformed {
        /// The kind of the names: `op`, `mechanism`, ..
        kind: &'static str,
        /// The pattern as given.
        pattern: String,
        /// The fault in the pattern.
        reason: String,
    },
    /// The pattern matches several names where one is needed.
    #[error("'{pattern}' matches {several}; name one {kind}")]
    Several {
        /// The kind of the names: `op`, `mechanism`, ..
        kind: &'static str,
        /// The pattern as given.
        pattern: String,
        /// The matching names.
        several: String,
    },
}

/// Returns the indices of all names that match any of the patterns, in the order of the names. An empty list of
/// patterns selects all names.
///
/// # Errors
/// A pattern is malformed or matches nothing.
pub fn select(kind: &'static str, patterns: &[String], names: &[&str]) -> Result<Vec<usize>, FilterError> {
    if patterns.is_empty() {
        return Ok((0..names.len()).collect());
    }
    let mut chosen = vec![false; names.len()];
    for pattern in patterns.iter().flat_map(|p| split_at_commas(p)) {
        if let Some(reason) = find_fault(pattern) {
            let (pattern, reason) = (pattern.to_owned(), reason.to_owned());
            return Err(FilterError::Malformed { kind, pattern, reason });
        }
        // In a class a hyphen is a range.
        let fold = |name: &str| if pattern.contains('[') { name.to_lowercase() } else { fold(name) };
        let folded = fold(pattern);
        let mut any = false;
        for (chosen, name) in chosen.iter_mut().zip(names) {
            let matches = glob_match(&folded, fold(name));
            *chosen |= matches;
            any |= matches;
        }
        if !any {
            let (pattern, nearest) = (pattern.to_owned(), find_nearest(pattern, names));
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            return Err(FilterError::NoMatch { kind, pattern, nearest, names });
        }
    }
    Ok((0..names.len()).filter(|&i| chosen[i]).collect())
}

/// Returns whether a glob matches a name that is case-sensitive, such as a symbol. A malformed glob matches itself.
#[must_use]
pub fn matches_glob(pattern: &str, name: &str) -> bool {
    pattern == name || find_fault(pattern).is_none() && glob_match(pattern, name)
}

/// Returns the index of the only name that matches.
///
/// # Errors
/// As for [`select`]; also if several names match.
pub fn single(kind: &'static str, name: &str, names: &[&str]) -> Result<usize, FilterError> {
    match select(kind, &[name.to_owned()], names)?.as_slice() {
        [one] => Ok(*one),
        several => {
            let several: Vec<&str> = several.iter().map(|&i| names[i]).collect();
            Err(FilterError::Several { kind, pattern: name.to_owned(), several: several.join(", ") })
        }
    }
}

fn join_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Returns the fault of a malformed glob. `fast_glob` itself reports no faults: a malformed glob would match nothing.
fn find_fault(pattern: &str) -> Option<&'static str> {
    let (mut braces, mut class) = (0u32, false);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '{' => braces += 1,
            '}' if braces == 0 => return Some("a } without a {"),
            '}' => braces -= 1,
            _ => {}
        }
    }
    if class {
        return Some("a [ without a ]");
    }
    (braces > 0).then_some("a { without a }")
}

/// Splits at commas outside of braces, and trims blanks.
fn split_at_commas(patterns: &str) -> Vec<&str> {
    let mut depth = 0i32;
    patterns
        .split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth <= 0
        })
        .map(str::trim)
        .collect()
}

/// Smallest Jaro-Winkler similarity (0 to 1) at which a name is suggested: the slip "tabel" has 0.95 with `table`,
/// names that share a few letters have 0.6.
const MIN_SIMILARITY: f64 = 0.8;

/// Returns the form of a name in which letters of any case, and hyphens and underscores, are equal.
fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Returns the name that is most similar to the pattern, if any is similar enough to be suggested.
#[must_use]
pub fn find_nearest(pattern: &str, names: &[&str]) -> Option<String> {
    let plain: String = pattern.chars().filter(|c| !"*?[]{}".contains(*c)).take(64).collect();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&fold(&plain), &fold(name)), name))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| (*name).to_owned())
}

/// Adds the nearest name to a message of serde on an unknown field or variant: "unknown field `x`, expected one of `a`,
/// `b`". Other messages stay as they are.
#[must_use]
pub fn add_nearest(message: &str) -> String {
    if !(message.starts_with("unknown field") || message.starts_with("unknown variant")) {
        return message.to_owned();
    }
    // Every second part is between backticks: the unknown name, then the names that are known.
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let nearest = quoted.split_first().and_then(|(unknown, known)| find_nearest(unknown, known));
    nearest.map_or_else(|| message.to_owned(), |nearest| format!("{message}; did you mean '{nearest}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["save_fl", "pte_val", "pmd_val", "set_pte"];

    fn chosen(patterns: &[&str]) -> Result<Vec<usize>, FilterError> {
        select("op", &patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), &NAMES)
    }

    #[test]
    fn no_pattern_selects_all_names() {
        assert_eq!(chosen(&[]), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn several_patterns_add_up_and_keep_the_order_of_the_names() {
        assert_eq!(chosen(&["set_pte", "*_val"]), Ok(vec![1, 2, 3]));
        assert_eq!(chosen(&["save_fl,p{te,md}_val"]), Ok(vec![0, 1, 2]));
        assert_eq!(chosen(&[" save_fl , set_pte"]), Ok(vec![0, 3]));
    }

    #[test]
    fn a_pattern_that_matches_nothing_suggests_the_nearest_name() {
        let Err(FilterError::NoMatch { nearest, .. }) = chosen(&["pte_vla"]) else { panic!("it matched") };
        assert_eq!(nearest.as_deref(), Some("pte_val"));
        for far in ["zzzz", "spin_lock", "read"] {
            let Err(FilterError::NoMatch { nearest, .. }) = chosen(&[far]) else { panic!("it matched") };
            assert_eq!(nearest, None, "{far}");
        }
    }

    #[test]
    fn globs_ignore_case_and_may_hold_classes_and_question_marks() {
        assert_eq!(chosen(&["PTE_*"]), Ok(vec![1]));
        assert_eq!(chosen(&["p[tm]?_val"]), Ok(vec![1, 2]));
    }

    #[test]
    fn a_hyphen_is_an_underscore_except_in_a_class() {
        assert_eq!(chosen(&["Save-FL"]), Ok(vec![0]));
        assert_eq!(chosen(&["p[m-t]?_val"]), Ok(vec![1, 2]));
        let Err(FilterError::NoMatch { nearest, .. }) = chosen(&["SAVE-LF"]) else { panic!("it matched") };
        assert_eq!(nearest.as_deref(), Some("save_fl"));
    }

    #[test]
    fn an_unknown_field_gets_the_nearest_known_one() {
        let message = "unknown field `overhaed`, expected one of `op`, `overhead`, `level`";
        assert_eq!(add_nearest(message), format!("{message}; did you mean 'overhead'?"));
        for same in ["unknown field `zzz`, expected `op`", "missing field `op`", "unknown field `a"] {
            assert_eq!(add_nearest(same), same);
        }
    }

    #[test]
    fn single_refuses_a_pattern_that_matches_several_names() {
        assert_eq!(single("op", "save_*", &NAMES), Ok(0));
        assert!(matches!(single("op", "p*", &NAMES), Err(FilterError::Several { .. })));
    }

    #[test]
    fn a_malformed_glob_is_an_error_not_a_panic() {
        assert!(matches!(chosen(&["[a"]), Err(FilterError::Malformed { .. })));
        assert!(matches!(chosen(&["{a"]), Err(FilterError::Malformed { .. })));
        assert!(matches!(chosen(&["a}"]), Err(FilterError::Malformed { .. })));
        assert!(matches!(chosen(&[""]), Err(FilterError::NoMatch { .. })));
    }
}
