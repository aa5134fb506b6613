//! The units of debug information, their address ranges, and the names of their entries.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use gimli::constants as dw;
use gimli::{Abbreviations, Attribute, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugLineOffset, Dwarf, Reader};
use gimli::{DebugAddrBase, DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase, EndianSlice, LittleEndian};
use gimli::{DwarfFileType, Unit, UnitHeader, UnitType};

use super::sections::Slice;
use super::work::Work;
use crate::audit::names;

/// Most units that are read. The largest program of a distribution has 60,000.
const MAX_UNITS: usize = 1 << 19;
/// Longest chain of references from an entry to its name. Compilers make at most three.
const MAX_REFERENCES: usize = 8;
/// Longest name that is read, in bytes: it is cut in output.
const MAX_NAME_BYTES: usize = 16 << 10;

/// A unit.
pub(super) struct UnitEntry<'d> {
    /// The unit, without its line table.
    pub(super) unit: Unit<Slice<'d>>,
    /// Where its line table is.
    pub(super) lines: Option<DebugLineOffset>,
    /// Where its code is.
    pub(super) pcs: Pcs<'d>,
    /// The file with the rest of a skeleton unit.
    pub(super) split_name: Option<Slice<'d>>,
}

/// The units of one file.
pub(super) struct Units<'d> {
    pub(super) dwarf: Dwarf<Slice<'d>>,
    /// In the order of their offsets.
    pub(super) entries: Vec<UnitEntry<'d>>,
    /// Names that were looked up.
    names: RefCell<HashMap<Place, Rc<Name>>>,
}

/// The place of an entry: whether in the common file of `dwz`, and the offset in `.debug_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) is_common: bool,
    pub(super) offset: usize,
}

/// The name of a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// As the linker knows it, or as the source has it.
    pub(super) symbol: String,
    /// Demangled, and safe to print.
    pub(super) shown: Rc<str>,
}

impl Name {
    fn new(symbol: &[u8]) -> Self {
        let symbol = String::from_utf8_lossy(symbol.get(..MAX_NAME_BYTES).unwrap_or(symbol)).into_owned();
        let shown = names::demangle(&symbol).into();
        Name { symbol, shown }
    }
}

impl<'d> Units<'d> {
    /// Reads the units of a file. Those behind damaged ones are left out.
    pub(super) fn read(dwarf: Dwarf<Slice<'d>>, work: &Work) -> Self {
        let mut headers = Vec::new();
        let mut next = dwarf.units();
        while let Ok(Some(header)) = next.next() {
            if headers.len() == MAX_UNITS || work.step(1).is_none() {
                break;
            }
            // Units of types have no code.
            if !matches!(header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. }) {
                headers.push(header);
            }
        }
        let mut starts: Vec<usize> = headers.iter().map(|header| header.debug_abbrev_offset().0).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut tables = HashMap::new();
        let mut entries = Vec::new();
        for header in headers {
            let start = header.debug_abbrev_offset().0;
            let table = tables.entry(start).or_insert_with(|| abbreviations(&dwarf, start, &starts));
            let unit = table.clone().and_then(|table| read_unit(&dwarf, header, table, work));
            entries.extend(unit);
        }
        Units { dwarf, entries, names: RefCell::default() }
    }

    /// The unit that has the entry at an offset.
    fn unit_at(&self, offset: usize) -> Option<&UnitEntry<'d>> {
        let index = self.entries.partition_point(|entry| entry.start() <= offset);
        self.entries.get(index.checked_sub(1)?)
    }
}

impl<'d> UnitEntry<'d> {
    /// Offset of the unit in `.debug_info`.
    pub(super) fn start(&self) -> usize {
        self.unit.header.offset().0
    }

    /// The entry that an attribute refers to.
    pub(super) fn place(&self, value: &AttributeValue<Slice<'d>>) -> Option<Place> {
        match value {
            AttributeValue::UnitRef(offset) => {
                Some(Place { is_common: false, offset: self.start().checked_add(offset.0)? })
            }
            AttributeValue::DebugInfoRef(offset) => Some(Place { is_common: false, offset: offset.0 }),
            AttributeValue::DebugInfoRefSup(offset) => Some(Place { is_common: true, offset: offset.0 }),
            _ => None,
        }
    }
}

/// The name of the entry at a place, through references to its declaration; `common` is the common file of `dwz`.
pub(super) fn name<'d>(units: &Units<'d>, common: Option<&Units<'d>>, place: Place, work: &Work) -> Option<Rc<Name>> {
    if let Some(known) = units.names.borrow().get(&place) {
        return Some(Rc::clone(known));
    }
    // An entry without a name is looked up again: it may have one that the work did not reach.
    let found = find_name(units, common, place, work)?;
    work.keep(found.symbol.len() + found.shown.len())?;
    units.names.borrow_mut().insert(place, Rc::clone(&found));
    Some(found)
}

fn find_name<'d>(units: &Units<'d>, common: Option<&Units<'d>>, place: Place, work: &Work) -> Option<Rc<Name>> {
    let (mut at, mut plain) = (Some(place), None);
    let mut is_common = false;
    for _ in 0..MAX_REFERENCES {
        let Some(place) = at else { break };
        // A reference of the common file stays in it.
        is_common |= place.is_common;
        let owner = if is_common { common? } else { units };
        let entry = owner.unit_at(place.offset)?;
        let offset = gimli::UnitOffset(place.offset.checked_sub(entry.start())?);
        let mut entries = entry.unit.entries_raw(Some(offset)).ok()?;
        let abbreviation = entries.read_abbreviation().ok()??;
        work.step(1 + abbreviation.attributes().len())?;
        let mut named = Named::default();
        for specification in abbreviation.attributes() {
            named.note(entry, &entries.read_attribute(*specification).ok()?);
        }
        let text = |value: Option<AttributeValue<_>>| {
            let text: Option<Slice<'_>> = owner.dwarf.attr_string(&entry.unit, value?).ok();
            // The end of a string is searched for, which is a step for each sixteen bytes.
            text.filter(|text| work.step(text.len() / 16).is_some())
        };
        let read = |value| {
            let text: Slice<'_> = text(value)?;
            // To demangle takes a step for each byte.
            work.step(text.len().min(MAX_NAME_BYTES))?;
            Some(Name::new(text.slice()))
        };
        if let Some(name) = read(named.linkage) {
            return Some(Rc::new(name));
        }
        plain = plain.or_else(|| read(named.name));
        at = named.origin;
    }
    plain.map(Rc::new)
}

/// The attributes of an entry that lead to its name.
#[derive(Default)]
pub(super) struct Named<'d> {
    linkage: Option<AttributeValue<Slice<'d>>>,
    name: Option<AttributeValue<Slice<'d>>>,
    /// The entry that this one completes, or is a copy of.
    pub(super) origin: Option<Place>,
}

impl<'d> Named<'d> {
    pub(super) fn note(&mut self, entry: &UnitEntry<'d>, attribute: &Attribute<Slice<'d>>) {
        match attribute.name() {
            dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name => self.linkage = Some(attribute.value()),
            dw::DW_AT_name => self.name = Some(attribute.value()),
            dw::DW_AT_abstract_origin | dw::DW_AT_specification => self.origin = entry.place(&attribute.value()),
            _ => {}
        }
    }
}

/// The attributes that say where the code of an entry is.
#[derive(Clone, Default)]
pub(super) struct Pcs<'d> {
    low: Option<AttributeValue<Slice<'d>>>,
    high: Option<AttributeValue<Slice<'d>>>,
    ranges: Option<AttributeValue<Slice<'d>>>,
}

impl<'d> Pcs<'d> {
    pub(super) fn note(&mut self, attribute: &Attribute<Slice<'d>>) {
        match attribute.name() {
            dw::DW_AT_low_pc => self.low = Some(attribute.value()),
            dw::DW_AT_high_pc => self.high = Some(attribute.value()),
            dw::DW_AT_ranges => self.ranges = Some(attribute.value()),
            _ => {}
        }
    }

    /// Calls `add` with each range, `begin..end`. `None` if the work is used up, or if the ranges are damaged.
    pub(super) fn each(
        &self,
        dwarf: &Dwarf<Slice<'d>>,
        unit: &Unit<Slice<'d>>,
        work: &Work,
        add: &mut dyn FnMut(u64, u64),
    ) -> Option<()> {
        let mut add = |begin, end| {
            // A linker writes 0, 1 or the largest address for code that it left out.
            if begin < end && begin > 1 && end < u64::MAX - 1 {
                add(begin, end);
            }
        };
        if let Some(ranges) = self.ranges {
            let mut list = dwarf.attr_ranges(unit, ranges).ok()??;
            while let Some(raw) = list.next_raw().ok()? {
                work.step(1)?;
                if let Some(range) = list.convert_raw(raw).ok()? {
                    add(range.begin, range.end);
                }
            }
            return Some(());
        }
        let Some(begin) = self.low.and_then(|low| dwarf.attr_address(unit, low).ok()?) else { return Some(()) };
        let end = match self.high {
            Some(high) => match dwarf.attr_address(unit, high).ok()? {
                Some(end) => end,
                None => begin.checked_add(high.udata_value()?)?,
            },
            None => return Some(()),
        };
        add(begin, end);
        Some(())
    }
}

/// The table of abbreviations at an offset. It ends where the next one starts, so that all of them together are as long
/// as the section.
fn abbreviations(dwarf: &Dwarf<Slice<'_>>, start: usize, starts: &[usize]) -> Option<Arc<Abbreviations>> {
    let section = gimli::Section::reader(&dwarf.debug_abbrev).slice();
    let next = starts.get(starts.partition_point(|other| *other <= start)).copied().unwrap_or(section.len());
    let own = section.get(start..next.min(section.len()))?;
    let table = DebugAbbrev::from(EndianSlice::new(own, LittleEndian));
    table.abbreviations(DebugAbbrevOffset(0)).ok().map(Arc::new)
}

/// Reads the first entry of a unit.
fn read_unit<'d>(
    dwarf: &Dwarf<Slice<'d>>,
    header: UnitHeader<Slice<'d>>,
    abbreviations: Arc<Abbreviations>,
    work: &Work,
) -> Option<UnitEntry<'d>> {
    let (encoding, file) = (header.encoding(), dwarf.file_type);
    let split_id = match header.type_() {
        UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
        _ => None,
    };
    let mut unit = Unit {
        header,
        abbreviations,
        name: None,
        comp_dir: None,
        low_pc: 0,
        str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, file),
        addr_base: DebugAddrBase(0),
        loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, file),
        rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, file),
        line_program: None,
        dwo_id: split_id,
    };
    let (mut folder, mut split_name, mut lines, mut pcs) = (None, None, None, Pcs::default());
    let table = Arc::clone(&unit.abbreviations);
    let mut entries = unit.header.entries_raw(&table, None).ok()?;
    let root = entries.read_abbreviation().ok()??;
    work.step(1 + root.attributes().len())?;
    for specification in root.attributes() {
        let attribute = entries.read_attribute(*specification).ok()?;
        pcs.note(&attribute);
        match (attribute.name(), attribute.value()) {
            (dw::DW_AT_comp_dir, value) => folder = Some(value),
            (dw::DW_AT_dwo_name | dw::DW_AT_GNU_dwo_name, value) => split_name = Some(value),
            (dw::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => lines = Some(offset),
            (dw::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => unit.str_offsets_base = base,
            (dw::DW_AT_addr_base | dw::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                unit.addr_base = base;
            }
            (dw::DW_AT_rnglists_base | dw::DW_AT_GNU_ranges_base, AttributeValue::DebugRngListsBase(base)) => {
                unit.rnglists_base = base;
            }
            (dw::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => unit.dwo_id = unit.dwo_id.or(Some(id)),
            _ => {}
        }
    }
    unit.comp_dir = folder.and_then(|value| dwarf.attr_string(&unit, value).ok());
    if let Some(low) = pcs.low {
        unit.low_pc = dwarf.attr_address(&unit, low).ok().flatten().unwrap_or(0);
    }
    let is_skeleton = unit.dwo_id.is_some() && file == DwarfFileType::Main;
    let split_name = split_name.filter(|_| is_skeleton).and_then(|value| dwarf.attr_string(&unit, value).ok());
    Some(UnitEntry { unit, lines, pcs, split_name })
}
