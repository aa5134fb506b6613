//! The functions of a binary: from symbols, else from unwind tables, else from the targets of calls.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use rustc_hash::{FxHashMap, FxHashSet};

use super::document::FunctionSource;
use super::image::{Image, Symbol};
use super::kernel::Marks;
use super::unwind;

/// A range of code with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRange<'a> {
    /// Addresses.
    pub range: Range<u64>,
    /// The symbol; `None` for code without one.
    pub symbol: Option<&'a str>,
    /// Further symbols of the same address.
    pub aliases: Vec<&'a str>,
    /// The range of the function that this is the rarely executed part of (`.cold`): jumps between both are no calls.
    pub parent: Option<Range<u64>>,
}

/// All functions, in the order of their addresses, without overlap.
#[derive(Debug)]
pub struct Functions<'a> {
    /// The functions.
    pub list: Vec<FunctionRange<'a>>,
    /// Where they come from.
    pub source: FunctionSource,
}

impl<'a> Functions<'a> {
    /// Finds the functions of a binary.
    #[must_use]
    pub fn find(image: &Image<'a>, marks: &Marks) -> Functions<'a> {
        let mut starts: BTreeMap<u64, Start<'a>> = BTreeMap::new();
        let mut from_symbols = 0;
        for symbol in image.symbols().iter().filter(|symbol| symbol.is_function && image.is_code(symbol.address)) {
            from_symbols += usize::from(symbol.size > 0);
            starts.entry(symbol.address).or_default().add(symbol);
        }
        let has_symbols = image.has_symbol_table && from_symbols > 0;
        let unwound = unwind::read_ranges(image);
        let from_tables = unwound.len();
        for range in unwound {
            // A symbol's own size decides; unwind tables also have ranges inside of functions written in assembly.
            let within = starts.range(..=range.start).next_back();
            if within.is_none_or(|(start, known)| range.start >= start.saturating_add(known.size)) {
                starts.entry(range.start).or_default().size = range.end - range.start;
            }
        }
        if has_symbols {
            add_untyped(image, &mut starts);
        }
        let mut source = if has_symbols { FunctionSource::Symbols } else { FunctionSource::UnwindTables };
        if !has_symbols && from_tables == 0 {
            source = FunctionSource::Calls;
            let called = find_call_targets(image);
            for start in marks.entries().chain(called) {
                let _ = starts.entry(start).or_default();
            }
        }
        if source != FunctionSource::Calls && is_mostly_unknown(image, &starts) {
            // The code of another compiler, for example of Go without symbols: its calls tell where functions start.
            for target in find_call_targets(image) {
                let within = starts.range(..=target).next_back();
                if within.is_none_or(|(start, known)| target >= start.saturating_add(known.size)) {
                    let _ = starts.entry(target).or_default();
                }
            }
        }
        Functions { list: cut(image, &starts), source }
    }

    /// The function that contains an address.
    #[must_use]
    pub fn containing(&self, address: u64) -> Option<&FunctionRange<'a>> {
        let after = self.list.partition_point(|function| function.range.start <= address);
        let function = self.list.get(after.checked_sub(1)?)?;
        function.range.contains(&address).then_some(function)
    }

    /// The function that starts at an address.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&FunctionRange<'a>> {
        let index = self.list.binary_search_by_key(&address, |function| function.range.start).ok()?;
        self.list.get(index)
    }
}

/// Whether symbols and unwind tables leave out much of the code.
fn is_mostly_unknown(image: &Image, starts: &BTreeMap<u64, Start>) -> bool {
    /// What linkers add without symbols is smaller.
    const MAX_BYTES: u64 = 64 << 10;
    let code: u64 = image.code().map(|chunk| chunk.bytes.len() as u64).sum();
    let known = starts.values().fold(0_u64, |sum, start| sum.saturating_add(start.size));
    code.saturating_sub(known) > MAX_BYTES.max(code / 4)
}

/// What is known of the function at an address.
#[derive(Default)]
struct Start<'a> {
    size: u64,
    names: Vec<&'a str>,
    /// Whether it is data in a section of code, which is not read.
    is_data: bool,
}

impl<'a> Start<'a> {
    fn add(&mut self, symbol: &Symbol<'a>) {
        /// Bound on the names of one address: compilers merge functions with the same code, some dozens.
        const MAX_NAMES: usize = 64;
        self.size = self.size.max(symbol.size);
        if self.names.len() < MAX_NAMES && !self.names.contains(&symbol.name) {
            self.names.push(symbol.name);
        }
    }
}

/// Adds symbols without a type, as assembly without `.type` has them, where no function is known.
fn add_untyped<'a>(image: &Image<'a>, starts: &mut BTreeMap<u64, Start<'a>>) {
    let untyped = image.symbols().iter().filter(|symbol| !symbol.is_function && image.is_code(symbol.address));
    for symbol in untyped {
        let within = starts.range(..=symbol.address).next_back();
        let is_free = within.is_none_or(|(start, known)| symbol.address >= start.saturating_add(known.size));
        if is_free && symbol.is_typed_data() && symbol.size > 0 {
            starts.insert(symbol.address, Start { size: symbol.size, names: Vec::new(), is_data: true });
            continue;
        }
        // Labels of a compiler and marks of a linker are no functions.
        if is_free && !symbol.name.starts_with('.') && symbol.rank >= 1 {
            starts.entry(symbol.address).or_default().add(symbol);
        }
    }
}

/// Cuts the code into functions and what lies between them. A function ends at its size, the next start or the end of
/// its section; without a size, at the next start.
fn cut<'a>(image: &Image<'a>, starts: &BTreeMap<u64, Start<'a>>) -> Vec<FunctionRange<'a>> {
    let mut list = Vec::new();
    for chunk in image.code() {
        let section = chunk.range();
        let mut covered = section.start;
        let mut within = starts.range(section.clone()).peekable();
        while let Some((start, known)) = within.next() {
            let next = within.peek().map_or(section.end, |(next, _)| **next);
            let end = if known.size == 0 { next } else { start.saturating_add(known.size).min(next) };
            add_gap(image, covered..*start, &mut list);
            let (symbol, aliases) = match known.names.split_first() {
                Some((first, others)) => (Some(*first), others.to_vec()),
                None => (None, Vec::new()),
            };
            if end > *start && known.is_data {
                covered = end;
            } else if end > *start {
                list.push(FunctionRange { range: *start..end, symbol, aliases, parent: None });
                covered = end;
            }
        }
        add_gap(image, covered..section.end, &mut list);
    }
    set_parents(&mut list);
    list
}

/// Adds code between functions, unless it is padding.
fn add_gap<'a>(image: &Image<'a>, range: Range<u64>, list: &mut Vec<FunctionRange<'a>>) {
    if range.is_empty() {
        return;
    }
    let bytes = image.bytes(&range);
    let mut decoder = Decoder::with_ip(64, bytes, range.start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let is_padding = matches!(instruction.mnemonic(), iced_x86::Mnemonic::Nop | iced_x86::Mnemonic::Int3)
            // Zeros decode as `add [rax], al`.
            || bytes.get(decoder.position() - instruction.len()) == Some(&0);
        if !is_padding {
            list.push(FunctionRange {
                range: instruction.ip()..range.end,
                symbol: None,
                aliases: Vec::new(),
                parent: None,
            });
            return;
        }
    }
}

/// Joins `name.cold` with `name`: GCC and Clang move the rarely executed part of a function away.
fn set_parents(list: &mut [FunctionRange]) {
    fn parent_name(symbol: &str) -> Option<&str> {
        symbol.find(".cold").map(|at| &symbol[..at])
    }
    let wanted: FxHashSet<&str> = list.iter().filter_map(|function| parent_name(function.symbol?)).collect();
    if wanted.is_empty() {
        return;
    }
    let mut parents: FxHashMap<&str, Range<u64>> = FxHashMap::default();
    for function in list.iter() {
        for name in function.symbol.iter().chain(&function.aliases) {
            if wanted.contains(*name) {
                parents.entry(*name).or_insert_with(|| function.range.clone());
            }
        }
    }
    for function in list.iter_mut() {
        if let Some(name) = function.symbol.and_then(parent_name) {
            function.parent = parents.get(name).cloned();
        }
    }
}

/// The targets of all direct calls in the code, for a binary without symbols and unwind tables.
fn find_call_targets(image: &Image) -> Vec<u64> {
    let mut targets = Vec::new();
    let mut instruction = Instruction::default();
    for chunk in image.code() {
        let mut decoder = Decoder::with_ip(64, &chunk.bytes, chunk.address, DecoderOptions::NONE);
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let is_call = instruction.flow_control() == FlowControl::Call && instruction.is_call_near();
            if is_call && image.is_code(instruction.near_branch_target()) {
                targets.push(instruction.near_branch_target());
            }
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use crate::audit::made::Made;

    #[test]
    fn data_among_the_code_is_not_read() {
        let mut made = Made::new();
        made.function("first", &[0x31, 0xc0, 0xc3]);
        // The bytes of a call.
        made.data_in_code("constants", &[0xe8, 0, 0, 0, 0, 0xff, 0xd0, 0xe8, 0, 0, 0, 0]);
        made.function("second", &[0x31, 0xc0, 0xc3]);
        let binary = made.audit();
        assert_eq!((binary.functions_total, binary.instructions, binary.counts.len()), (2, 4, 0));
    }
}
