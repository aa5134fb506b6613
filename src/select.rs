//! Choosing by name: globs, several to an option, commas between them.

use fast_glob::glob_match;

/// Why a choice was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing of that name.
    #[error("no {kind} matches '{pattern}'{}; there are: {}",
        nearest.as_ref().map(|n| format!("; did you mean '{n}'?")).unwrap_or_default(), or_none(names))]
    NoMatch {
        /// `op`, `mechanism`, ..
        kind: &'static str,
        /// What was asked for.
        pattern: String,
        /// The name most like it.
        nearest: Option<String>,
        /// All names.
        names: Vec<String>,
    },
    /// Not a glob.
    #[error(
        "'{pattern}' is no pattern for an {kind}: {reason}; * stands for any letters, ? for one, {{a,b}} for either"
    )]
    Malformed {
        /// `op`, `mechanism`, ..
        kind: &'static str,
        /// What was asked for.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than the one that is asked for.
    #[error("'{pattern}' matches {several}; name one {kind}")]
    Several {
        /// `op`, `mechanism`, ..
        kind: &'static str,
        /// What was asked for.
        pattern: String,
        /// The names that match.
        several: String,
    },
}

/// The indices of the names that any of the patterns matches, in the order of the names; all without patterns.
///
/// # Errors
/// Where a pattern is malformed or matches nothing.
pub fn select(kind: &'static str, patterns: &[String], names: &[&str]) -> Result<Vec<usize>, FilterError> {
    if patterns.is_empty() {
        return Ok((0..names.len()).collect());
    }
    let mut chosen = vec![false; names.len()];
    for pattern in patterns.iter().flat_map(|p| split(p)) {
        if let Some(reason) = malformed(pattern) {
            let (pattern, reason) = (pattern.to_owned(), reason.to_owned());
            return Err(FilterError::Malformed { kind, pattern, reason });
        }
        let lower = pattern.to_lowercase();
        let mut any = false;
        for (chosen, name) in chosen.iter_mut().zip(names) {
            let matches = glob_match(&lower, name.to_lowercase());
            *chosen |= matches;
            any |= matches;
        }
        if !any {
            let (pattern, nearest) = (pattern.to_owned(), nearest(pattern, names));
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            return Err(FilterError::NoMatch { kind, pattern, nearest, names });
        }
    }
    Ok((0..names.len()).filter(|&i| chosen[i]).collect())
}

/// The place of the only name that matches.
///
/// # Errors
/// As for [`select`], and where several match.
pub fn single(kind: &'static str, name: &str, names: &[&str]) -> Result<usize, FilterError> {
    match select(kind, &[name.to_owned()], names)?.as_slice() {
        [one] => Ok(*one),
        several => {
            let several: Vec<&str> = several.iter().map(|&i| names[i]).collect();
            Err(FilterError::Several { kind, pattern: name.to_owned(), several: several.join(", ") })
        }
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What is wrong with a glob, which would else be one that nothing matches.
fn malformed(pattern: &str) -> Option<&'static str> {
    let (mut braces, mut class) = (0u32, false);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '{' => braces += 1,
            '}' if braces == 0 => return Some("a } without its {"),
            '}' => braces -= 1,
            _ => {}
        }
    }
    if class {
        return Some("a [ without its ]");
    }
    (braces > 0).then_some("a { without its }")
}

/// At commas, but not at those within braces; no name has blanks around it.
fn split(patterns: &str) -> Vec<&str> {
    let mut depth = 0i32;
    patterns
        .split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth <= 0
        })
        .map(str::trim)
        .collect()
}

/// Jaro-Winkler likeness of what may be a slip: "tabel" is 0.95 like `table`, names that share a few letters 0.6.
const ALIKE: f64 = 0.8;

/// The name with the least edit distance, if it is anything like the pattern.
fn nearest(pattern: &str, names: &[&str]) -> Option<String> {
    let plain: String = pattern.chars().filter(|c| !"*?[]{}".contains(*c)).take(64).collect();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&plain.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["save_fl", "pte_val", "pmd_val", "set_pte"];

    fn chosen(patterns: &[&str]) -> Result<Vec<usize>, FilterError> {
        select("op", &patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), &NAMES)
    }

    #[test]
    fn without_a_pattern_all_are_chosen() {
        assert_eq!(chosen(&[]), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn patterns_add_up_and_keep_the_order_of_the_names() {
        assert_eq!(chosen(&["set_pte", "*_val"]), Ok(vec![1, 2, 3]));
        assert_eq!(chosen(&["save_fl,p{te,md}_val"]), Ok(vec![0, 1, 2]));
        assert_eq!(chosen(&[" save_fl , set_pte"]), Ok(vec![0, 3]));
    }

    #[test]
    fn a_pattern_that_matches_nothing_names_the_nearest() {
        let Err(FilterError::NoMatch { nearest, .. }) = chosen(&["pte_vla"]) else { panic!("it matched") };
        assert_eq!(nearest.as_deref(), Some("pte_val"));
        for far in ["zzzz", "spin_lock", "read"] {
            let Err(FilterError::NoMatch { nearest, .. }) = chosen(&[far]) else { panic!("it matched") };
            assert_eq!(nearest, None, "{far}");
        }
    }

    #[test]
    fn letters_are_matched_in_either_case_and_classes_and_single_letters_too() {
        assert_eq!(chosen(&["PTE_*"]), Ok(vec![1]));
        assert_eq!(chosen(&["p[tm]?_val"]), Ok(vec![1, 2]));
    }

    #[test]
    fn where_one_is_asked_for_several_are_an_error() {
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
