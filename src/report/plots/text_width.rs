//! Estimated width of drawn text, so that labels get the room that they need.

/// Maximum length in characters of a name beside a plot. Longer names are cut. The longest built-in name,
/// `static_call_inline (unpatched)`, has 30.
pub const MAX_LABEL_CHARS: usize = 44;

/// The width of a text in pixels at a font size. It is at least the width in `DejaVu Sans`, the widest of the usual
/// system fonts.
#[must_use]
pub fn text_width(text: &str, size: u32) -> i32 {
    let ems: f64 = text.chars().map(advance).sum();
    (ems * f64::from(size)).ceil() as i32
}

/// The width in pixels of the widest of some labels, after they are cut.
#[must_use]
pub fn widest<T: AsRef<str>>(labels: impl IntoIterator<Item = T>, size: u32) -> i32 {
    labels.into_iter().map(|label| text_width(&label_text(label.as_ref()), size)).max().unwrap_or(0)
}

/// A label, cut to the length in which it is drawn.
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
        // Chromium draws it 179.2 pixels wide, in DejaVu Sans at 12 pixels.
        let width = text_width("static_call_inline (unpatched)", 12);
        assert!((179..200).contains(&width), "{width}");
        assert_eq!(widest(["a", "aa"], 10), text_width("aa", 10));
        assert_eq!(label_text(&"x".repeat(60)).chars().count(), MAX_LABEL_CHARS);
    }
}
