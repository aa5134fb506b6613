//! How wide a text is drawn, before a browser draws it: labels get as much room as they need.

/// The most characters of a name beside a plot; a longer one is cut. No built-in name is: the longest is
/// `static_call_inline (unpatched)`.
pub const MAX_LABEL_CHARS: usize = 44;

/// The width of a text in pixels at a font size, no less than in the widest of the usual system fonts (`DejaVu Sans`).
#[must_use]
pub fn text_width(text: &str, size: u32) -> i32 {
    let ems: f64 = text.chars().map(advance).sum();
    (ems * f64::from(size)).ceil() as i32
}

/// The width of the widest of some labels, each cut as they are drawn.
#[must_use]
pub fn widest<T: AsRef<str>>(labels: impl IntoIterator<Item = T>, size: u32) -> i32 {
    labels.into_iter().map(|label| text_width(&label_text(label.as_ref()), size)).max().unwrap_or(0)
}

/// A label as it is drawn.
#[must_use]
pub fn label_text(label: &str) -> String {
    super::number::clipped(label, MAX_LABEL_CHARS)
}

/// The advance of a character in ems.
fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' => 0.28,
        ' ' | '.' | ',' => 0.32,
        'f' | '|' | ':' | ';' | '-' => 0.37,
        'r' | 't' | '(' | ')' | '[' | ']' => 0.42,
        '_' => 0.5,
        's' | 'z' => 0.53,
        'c' => 0.55,
        'k' | 'v' | 'x' | 'y' => 0.6,
        '%' => 0.95,
        'm' | 'M' | 'W' => 1.0,
        'w' => 0.82,
        '\u{2212}' | '+' | '<' | '>' | '=' | '\u{2264}' => 0.84,
        'a'..='z' | '0'..='9' => 0.64,
        c if c.is_ascii() => 0.8,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_wide_as_its_characters_and_a_long_label_is_cut() {
        // Measured in Chromium with DejaVu Sans at 12 pixels: 179.2.
        let width = text_width("static_call_inline (unpatched)", 12);
        assert!((179..200).contains(&width), "{width}");
        assert_eq!(widest(["a", "aa"], 10), text_width("aa", 10));
        assert_eq!(label_text(&"x".repeat(60)).chars().count(), MAX_LABEL_CHARS);
    }
}
