//! Numbers for readers: as many digits as the interval justifies, a true minus sign, and never NaN or an infinity.

use crate::stats::Interval;

/// Text in place of a missing number.
pub const NOTHING: &str = "\u{2013}";

/// Number of digits after the point that shows two significant digits of `width`, at most three.
fn digits(width: f64) -> usize {
    if width.is_nan() || width <= 0.0 {
        return 3;
    }
    // A width of 0.02 gives 3 digits, 0.5 gives 2, 3 gives 1, and 30 gives none.
    let digits = 1.0 - width.log10().floor();
    digits.clamp(0.0, 3.0) as usize
}

/// A number with a fixed number of digits after the point; scientific from a million on.
#[must_use]
pub fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let text = if value.abs() >= 1e6 { format!("{value:.2e}") } else { format!("{value:.digits$}") };
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

/// A number with digits by its size: three significant digits, at most two after the point. Numbers below 0.095 have
/// three digits after the point, and numbers below 0.0005 have five.
#[must_use]
pub fn plain(value: f64) -> String {
    let size = value.abs();
    let digits = if (0.000_005..0.000_5).contains(&size) {
        5
    } else if (0.0005..0.095).contains(&size) {
        3
    } else if size < 9.95 {
        2
    } else if size < 99.5 {
        1
    } else {
        0
    };
    fixed(value, digits)
}

/// A number that is rounded up, with digits by its size: an upper bound stays one.
#[must_use]
pub fn upper_bound(value: f64) -> String {
    let size = value.abs();
    let digits = if size < 0.1 {
        3
    } else if size < 10.0 {
        2
    } else if size < 100.0 {
        1
    } else {
        0
    };
    let steps = 10_f64.powi(digits);
    // An error of the multiplication must not add a step.
    fixed((value * steps - 1e-6).ceil() / steps, digits as usize)
}

/// An exact count with all of its digits: `18,380`, `12.25`. At most six digits follow the point.
#[must_use]
pub fn exact(count: f64) -> String {
    // From this value on, adjacent floating-point values are more than a tenth apart.
    const MAX_EXACT: f64 = 1e15;
    if !count.is_finite() || count.abs() >= MAX_EXACT {
        return fixed(count, 0);
    }
    let text = format!("{:.6}", count.abs());
    let (whole, rest) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let rest = rest.trim_end_matches('0');
    let (whole, point) = (grouped(whole), if rest.is_empty() { "" } else { "." });
    let sign = if count < 0.0 && (whole != "0" || !rest.is_empty()) { "\u{2212}" } else { "" };
    format!("{sign}{whole}{point}{rest}")
}

/// Digits in groups of three: `100000` becomes `100,000`.
#[must_use]
pub fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A difference with its sign: `+3.86`, `\u{2212}3.86`.
#[must_use]
pub fn signed(difference: f64) -> String {
    format!("{}{}", if difference > 0.0 { "+" } else { "" }, plain(difference))
}

/// `3.88 [3.80, 3.95]`
#[must_use]
pub fn interval(it: Interval) -> String {
    let digits = digits(it.high - it.low);
    format!("{} [{}, {}]", fixed(it.estimate, digits), fixed(it.low, digits), fixed(it.high, digits))
}

/// The estimate of an interval with the digits of the interval.
#[must_use]
pub fn estimate_of(it: Interval) -> String {
    fixed(it.estimate, digits(it.high - it.low))
}

/// `3.80 to 3.95`
#[must_use]
pub fn interval_ends(it: Interval) -> String {
    let digits = digits(it.high - it.low);
    format!("{} to {}", fixed(it.low, digits), fixed(it.high, digits))
}

/// `op` or `ops`
#[must_use]
pub fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Untrusted text for a label: control characters become spaces, and the text is cut to `most` characters.
#[must_use]
pub fn clipped(text: &str, most: usize) -> String {
    let visible = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    let mut chars = text.chars().map(visible);
    let mut kept: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        kept.pop();
        kept.push('\u{2026}');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_shows_two_significant_digits_of_its_width() {
        let it = |estimate, low, high| interval(Interval { estimate, low, high });
        assert_eq!(it(3.881_2, 3.872, 3.891), "3.881 [3.872, 3.891]");
        assert_eq!(it(3.88, 3.5, 4.0), "3.88 [3.50, 4.00]");
        assert_eq!(it(31.8, 30.0, 33.4), "31.8 [30.0, 33.4]");
        assert_eq!(it(-0.2, -0.25, -0.15), "\u{2212}0.20 [\u{2212}0.25, \u{2212}0.15]");
    }

    #[test]
    fn a_number_that_is_not_finite_is_shown_as_a_dash() {
        assert_eq!(plain(f64::NAN), NOTHING);
        assert_eq!(fixed(f64::INFINITY, 2), NOTHING);
        assert_eq!(fixed(-0.001, 1), "0.0");
        assert_eq!(plain(1e300), "1.00e300");
    }

    #[test]
    fn a_count_keeps_all_of_its_digits() {
        let shown = [18_380.0, 12.25, 0.125, 7.0, 1_234_567.5, -2_000.0, 1.0 / 3.0, 0.0, -0.0].map(exact);
        let expected =
            ["18,380", "12.25", "0.125", "7", "1,234,567.5", "\u{2212}2,000", "0.333333", "0", "0"].map(str::to_owned);
        assert_eq!(shown, expected);
        assert_eq!(exact(f64::NAN), NOTHING);
    }

    #[test]
    fn a_small_number_is_not_shown_as_zero() {
        assert_eq!([0.000_31, 0.003_1, 0.031, 0.31, 3.1].map(plain), ["0.00031", "0.003", "0.031", "0.31", "3.10"]);
        assert_eq!([signed(3.86), signed(-3.86), signed(0.0)], ["+3.86", "\u{2212}3.86", "0.00"]);
    }

    #[test]
    fn an_upper_bound_is_rounded_up() {
        let shown = [0.000_31, 0.002, 0.125, 3.111, 12.04, 100.2].map(upper_bound);
        assert_eq!(shown, ["0.001", "0.002", "0.13", "3.12", "12.1", "101"]);
        assert_eq!(upper_bound(f64::INFINITY), NOTHING);
    }

    #[test]
    fn long_labels_are_cut_and_control_characters_are_removed() {
        assert_eq!(clipped("ab\u{1b}c", 9), "ab c");
        assert_eq!(clipped("abcdef", 4), "abc\u{2026}");
    }
}
