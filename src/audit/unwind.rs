//! Ranges of functions from the unwind tables of a binary (`.eh_frame`; Linux Standard Base, "Exception Frames").

use std::ops::Range;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

use super::image::Image;

/// The ranges of code that the tables describe, in the order of the tables. A damaged table gives what comes before the
/// damage.
pub fn read_ranges(image: &Image) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    for section in image.sections(".eh_frame") {
        let frames = EhFrame::new(&section.bytes, LittleEndian);
        let text = image.section(".text").map_or(0, |text| text.address);
        let bases = BaseAddresses::default().set_eh_frame(section.address).set_text(text);
        let mut entries = frames.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(fde) = partial.parse(|_, bases, offset| frames.cie_from_offset(bases, offset)) else { continue };
            let start = fde.initial_address();
            let range = start..start.saturating_add(fde.len());
            if !range.is_empty() && image.is_code(start) {
                ranges.push(range);
            }
        }
    }
    ranges
}
