//! Source lines of functions, sites and listings.

use std::path::Path;

use object::{File, SectionIndex};

use super::document::{Binary, Function};
use super::lines::{Lines, NoLines, Storage};
use super::names::visible;

/// Adds source lines to the functions of a binary, or the reason why there are none. `bases` has the addresses that the
/// sections of an object file were given.
pub fn add(binary: &mut Binary, bytes: &[u8], bases: &dyn Fn(SectionIndex) -> Option<u64>) {
    let storage = Storage::default();
    let path = binary.path.clone();
    let file = File::parse(bytes).map_err(|error| NoLines(format!("the ELF file is damaged: {error}")));
    match file.as_ref().map_err(NoLines::clone).and_then(|file| Lines::open(Path::new(&path), file, bases, &storage)) {
        Ok(lines) => {
            binary.debug_information = Some(visible(&lines.path().to_string_lossy()));
            binary.functions.iter_mut().for_each(|function| add_to_function(function, &lines));
        }
        Err(reason) => binary.no_lines_reason = Some(reason.to_string()),
    }
}

fn add_to_function(function: &mut Function, lines: &Lines<'_>) {
    function.source = lines.line(function.address);
    for site in &mut function.sites {
        site.source = lines.line(site.address);
        site.inlined = lines.frames(site.address);
    }
    let mut last = None;
    for instruction in &mut function.listing {
        let source = lines.line(instruction.address);
        if source != last {
            instruction.source.clone_from(&source);
            last = source;
        }
    }
}
