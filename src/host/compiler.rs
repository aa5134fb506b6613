//! The compiler that made this program.

use std::fs::File;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ReadCache};

/// The beginning of the name that rustc leaves in a program.
const RUSTC: &str = "rustc version ";
/// Maximum size of the section with the names of compilers. Each compiler and assembler leaves a line.
const MAX_COMMENTS: u64 = 64 << 10;
/// Maximum length of a compiler's name in bytes.
const MAX_NAME: usize = 120;

/// The name of the compiler that made this program: `rustc version 1.95.0 (..)`. `None` if the program does not say, as
/// after `strip -R .comment`.
pub(crate) fn compiler() -> Option<String> {
    let program = ReadCache::new(File::open("/proc/self/exe").ok()?);
    let program = ElfFile64::<Endianness, _>::parse(&program).ok()?;
    let section = program.section_by_name(".comment").filter(|it| it.size() <= MAX_COMMENTS)?;
    find_rustc(section.data().ok()?)
}

/// Finds the name of rustc among names that end with a zero byte.
fn find_rustc(comments: &[u8]) -> Option<String> {
    let mut names = comments.split(|byte| *byte == 0).filter_map(|name| str::from_utf8(name).ok());
    names.find(|name| name.starts_with(RUSTC) && name.len() <= MAX_NAME).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_is_found_among_other_compilers() {
        let comments = b"GCC: (Debian 12.2.0) 12.2.0\0rustc version 1.95.0 (59807616e 2026-04-14)\0";
        assert_eq!(find_rustc(comments).as_deref(), Some("rustc version 1.95.0 (59807616e 2026-04-14)"));
        assert_eq!(find_rustc(b"GCC: 12\0\xff\0"), None);
    }

    #[test]
    fn this_program_names_the_compiler_that_made_it() {
        assert!(compiler().is_some_and(|name| name.starts_with(RUSTC)));
    }
}
