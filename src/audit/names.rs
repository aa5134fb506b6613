//! Names of functions, as a reader sees them: demangled, and safe to print.
//!
//! A symbol is untrusted. It may expand to gigabytes, and it may hold what changes a terminal or the order of letters.

use std::fmt::{self, Write as _};

/// Longest symbol that is demangled, in bytes. The longest of LLVM and Chromium have about 10,000.
const MAX_SYMBOL_BYTES: usize = 16 << 10;
/// Longest name in output, in characters: six lines of a wide terminal. Longer ones are cut.
const MAX_NAME_CHARS: usize = 512;
/// Where the text of a demangler is cut off, in bytes: as many as [`MAX_NAME_CHARS`] can have.
const MAX_DEMANGLED_BYTES: usize = 4 * MAX_NAME_CHARS;
/// How deep the C++ demangler may nest. At twice that, its stack in a build without optimisation exceeds a thread's.
const MAX_DEPTH: u32 = 96;

/// The name of a symbol: that of Rust without its hash, that of C++ with its parameters, any other as it is.
#[must_use]
pub fn demangle(symbol: &str) -> String {
    visible(&decode(symbol).unwrap_or_else(|| symbol.to_owned()))
}

/// The demangled text of a symbol; `None` if it is no mangled name.
fn decode(symbol: &str) -> Option<String> {
    if symbol.len() > MAX_SYMBOL_BYTES {
        return None;
    }
    let mut text = Bounded::default();
    if let Ok(name) = rustc_demangle::try_demangle(symbol) {
        // An error means that the text is longer than any that is shown: its beginning is kept.
        let _ = write!(text, "{name:#}");
        return text.kept();
    }
    // The mark of C++, also on macOS and in names of global constructors.
    if !symbol.trim_start_matches('_').starts_with(['Z', 'G']) || !symbol.starts_with('_') {
        return None;
    }
    let options = cpp_demangle::ParseOptions::default().recursion_limit(MAX_DEPTH);
    let parsed = cpp_demangle::Symbol::new_with_options(symbol.as_bytes(), &options).ok()?;
    let options = cpp_demangle::DemangleOptions::default().recursion_limit(MAX_DEPTH);
    let done = parsed.structured_demangle(&mut text, &options);
    // A name that nests too deep has no text; one that is too long has its beginning.
    (done.is_ok() || text.is_full).then(|| text.kept()).flatten()
}

/// A text in which everything is visible: control characters, marks of direction and invisible characters are written
/// as `\u{202e}`. It is cut to `MAX_NAME_CHARS` characters.
#[must_use]
pub fn visible(text: &str) -> String {
    if text.len() <= MAX_NAME_CHARS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len().min(MAX_DEMANGLED_BYTES));
    for (count, c) in text.chars().enumerate() {
        if count == MAX_NAME_CHARS {
            shown.push('\u{2026}');
            break;
        }
        if is_hidden(c) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character has no shape of its own: control characters, marks of direction, joiners, variation selectors,
/// tags, separators of lines, and noncharacters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
            | 0xfffe..=0xffff | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// A text that ends at [`MAX_DEMANGLED_BYTES`].
#[derive(Default)]
struct Bounded {
    text: String,
    is_full: bool,
}

impl Bounded {
    fn kept(self) -> Option<String> {
        (!self.text.is_empty()).then_some(self.text)
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_DEMANGLED_BYTES.saturating_sub(self.text.len());
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| more.is_char_boundary(*end)).unwrap_or(0);
        self.text.push_str(more.get(..end).unwrap_or_default());
        self.is_full = true;
        // The error ends the demangler, however much text it has left.
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn names_of_rust_lose_their_hash_and_names_of_cpp_keep_their_parameters() {
        for (symbol, name) in [
            ("_ZN4uart4poll17h0123456789abcdefE", "uart::poll"),
            (
                "_ZN50_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$Clone$GT$5clone17h0123456789abcdefE",
                "<alloc::vec::Vec<T> as Clone>::clone",
            ),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_RNvMs_NtCs1234_7mycrate3barNtB4_3Foo3baz", "<mycrate::bar::Foo>::baz"),
            ("_RNvCs1234_7mycrate3foo.llvm.9D1C9369", "mycrate::foo"),
            ("_ZN3foo3barEv", "foo::bar()"),
            ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"),
            ("_ZTV4Base", "{vtable(Base)}"),
            ("main", "main"),
            ("foo.cold", "foo.cold"),
            ("__x86_indirect_thunk_rax", "__x86_indirect_thunk_rax"),
            ("_Z", "_Z"),
            ("", ""),
        ] {
            assert_eq!(demangle(symbol), name, "{symbol}");
        }
    }

    #[test]
    fn a_clone_of_a_function_is_told_from_it() {
        assert!(demangle("_ZN3foo3barEv.cold").starts_with("foo::bar()"));
        assert_ne!(demangle("_ZN3foo3barEv.cold"), demangle("_ZN3foo3barEv"));
    }

    #[test]
    fn what_changes_a_terminal_or_the_order_of_letters_is_visible() {
        assert_eq!(demangle("a\x1b[31mb\0\n"), "a\\u{1b}[31mb\\u{0}\\u{a}");
        assert_eq!(
            demangle("admin\u{202e}resu\u{2066}\u{200b}\u{feff}"),
            "admin\\u{202e}resu\\u{2066}\\u{200b}\\u{feff}"
        );
        assert_eq!(demangle("\u{e0041}\u{85}"), "\\u{e0041}\\u{85}");
        assert_eq!(demangle("größe<img>"), "größe<img>", "letters and markup stay text");
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = demangle(&"x".repeat(1 << 20));
        assert_eq!(name.chars().count(), MAX_NAME_CHARS + 1);
        assert!(name.ends_with('\u{2026}'));
    }

    #[test]
    fn a_name_that_expands_or_nests_ends_soon() {
        let began = Instant::now();
        // Each tuple of v0 holds the one before it twice.
        let mut bomb = "_RMC0T".to_owned();
        let mut last = 5;
        for _ in 0..60 {
            let start = bomb.len();
            let back = if last == 5 { "yy".to_owned() } else { format!("B{0}_B{0}_", base62(last)) };
            bomb.push_str(&format!("T{back}E"));
            last = start - 2;
        }
        bomb.push('E');
        let mut types = "_Z1fSt4pairIiiE".to_owned();
        for index in 0..30 {
            let it = char::from_digit(index % 36, 36).unwrap().to_ascii_uppercase();
            types.push_str(&format!("St4pairIS{it}_S{it}_E"));
        }
        let nested = [
            format!("_ZN{}E", "1a".repeat(5000)),
            format!("_Z1f{}i", "P".repeat(10_000)),
            format!("_Z1f{}i{}", "St4pairI".repeat(2000), "E".repeat(2000)),
            format!("_RMC0{}", "T".repeat(10_000)),
            format!("_RNvC0{}", "I".repeat(10_000)),
            format!("_ZN{}", "J".repeat(10_000)),
            format!("_Z1fI{}", "JEJ".repeat(3000)),
        ];
        for symbol in nested.iter().chain([&bomb, &types]) {
            assert!(demangle(symbol).chars().count() <= MAX_NAME_CHARS + 1);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    /// A number as v0 writes it in a back reference, without its end.
    fn base62(value: usize) -> String {
        let digits: Vec<char> = ('0'..='9').chain('a'..='z').chain('A'..='Z').collect();
        let Some(value) = value.checked_sub(1) else { return String::new() };
        if value < 62 {
            return digits[value].to_string();
        }
        format!("{}{}", base62(value / 62 + 1), digits[value % 62])
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_name_without_a_control_character(text in "\\PC*|_[ZR][A-Z0-9a-z_]{0,60}|.*") {
            let name = demangle(&text);
            proptest::prop_assert!(!name.chars().any(is_hidden));
        }
    }
}
