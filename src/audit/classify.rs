//! From the value of a target to the kind of the site.

use super::functions::FunctionRange;
use super::image::{Image, Word};
use super::kind::Kind;
use super::values::{Id, Value, Values};

/// The kind of an indirect site, and the address of the word that holds the target, if it is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The kind.
    pub kind: Kind,
    /// The word at a fixed address.
    pub word: Option<u64>,
    /// Bytes from the start of the table or structure, where its address is in a register.
    pub offset: Option<i64>,
    /// The address that is called, where the function has it as a constant.
    pub code: Option<u64>,
}

impl Origin {
    fn plain(kind: Kind) -> Origin {
        Origin { kind, word: None, offset: None, code: None }
    }

    fn of_word(kind: Kind, word: u64) -> Origin {
        Origin { word: Some(word), ..Origin::plain(kind) }
    }

    fn of_offset(kind: Kind, offset: i64) -> Origin {
        Origin { offset: Some(offset), ..Origin::plain(kind) }
    }
}

/// The names of the tables of paravirt calls, by version of Linux: since 4.20, and before.
const PV_TABLES: [&str; 8] =
    ["pv_ops", "pv_ops_lock", "pv_time_ops", "pv_cpu_ops", "pv_irq_ops", "pv_apic_ops", "pv_mmu_ops", "pv_lock_ops"];

/// The kind of a call through a word at a fixed address.
#[must_use]
pub fn kind_of_word(image: &Image, word: u64) -> Kind {
    let symbol = image.symbol(word).map(|(symbol, _)| symbol.name);
    if symbol.is_some_and(|name| PV_TABLES.contains(&name)) {
        Kind::Pv
    } else if image.is_got(word) {
        Kind::Got
    } else {
        Kind::Memory
    }
}

/// The numbers of `rdi` and `rsi`: an object is the first argument, or the second behind the address of a result.
const RECEIVERS: [usize; 2] = [7, 6];

/// Classifies the target of an indirect call, or of an indirect jump that is a call.
#[must_use]
pub fn classify_call(image: &Image, values: &Values, target: Id) -> Origin {
    let (base, offset) = match values.value(target) {
        Value::Word { base, offset, .. } => (base, offset),
        Value::Constant(code) => return Origin { code: Some(code), ..Origin::plain(Kind::Register) },
        _ => return Origin::plain(Kind::Register),
    };
    let (start, is_indexed) = match values.value(base) {
        Value::Index { base, .. } => (base, true),
        _ => (base, false),
    };
    // The linker's word has the address of a variable of another file: the variable is the word.
    let fixed = values.constant(start).or_else(|| got_target(image, values, start));
    if let Some(address) = fixed {
        let word = address.wrapping_add_signed(offset);
        return Origin::of_word(if is_indexed { Kind::Table } else { kind_of_word(image, word) }, word);
    }
    match values.value(start) {
        // A variable of this function.
        Value::Stack(_) if !is_indexed => Origin::plain(Kind::Register),
        Value::Word { base: object, offset: at, .. } => {
            if values.constant(object).is_some_and(|address| image.is_got(address.wrapping_add_signed(at))) {
                return Origin::of_offset(if is_indexed { Kind::Table } else { Kind::Memory }, offset);
            }
            let is_method = !is_indexed && has_receiver(image, values, object, at);
            Origin::of_offset(if is_method { Kind::Virtual } else { Kind::Table }, offset)
        }
        _ => Origin::of_offset(Kind::Table, offset),
    }
}

/// The address that a word of the global offset table holds.
fn got_target(image: &Image, values: &Values, word: Id) -> Option<u64> {
    let Value::Word { base, offset, .. } = values.value(word) else { return None };
    let slot = values.constant(base)?.wrapping_add_signed(offset);
    match image.is_got(slot).then(|| image.word(slot)).flatten()? {
        Word::Address(address) => Some(address),
        Word::External(_) => None,
    }
}

/// Whether the call's first or second argument is the object that has the address of the table at `object + offset`:
/// the object itself (C++: at its start), or the data pointer in front of the table's address (`&dyn` of Rust).
fn has_receiver(image: &Image, values: &Values, object: Id, offset: i64) -> bool {
    let fixed = values.constant(object).map(|object| object.wrapping_add_signed(offset));
    RECEIVERS.iter().any(|register| {
        let argument = values.register(*register);
        if argument == object {
            return true;
        }
        match (values.value(argument), fixed) {
            (Value::Sum { base, offset: at }, _) => base == object && at == offset,
            (Value::Constant(address), Some(table)) => is_same_object(image, address, table),
            (Value::Word { base, offset: data, .. }, None) => base == object && data == offset.wrapping_sub(8),
            (Value::Word { base, offset: data, .. }, Some(table)) => {
                values.constant(base).is_some_and(|base| base.wrapping_add_signed(data).wrapping_add(8) == table)
            }
            _ => false,
        }
    })
}

/// Whether the word at an address belongs to the variable at another.
fn is_same_object(image: &Image, variable: u64, word: u64) -> bool {
    /// Larger distances are taken for other variables, where no symbol tells.
    const MAX_DISTANCE: u64 = 256;
    match image.symbol(variable) {
        Some((symbol, _)) if symbol.size > 0 => {
            (symbol.address..symbol.address.saturating_add(symbol.size)).contains(&word)
        }
        _ => word.checked_sub(variable).is_some_and(|distance| distance < MAX_DISTANCE),
    }
}

/// Entries of a table that are looked at: a switch may share its first entries with the part of a function that was
/// moved away.
const LOOKED_AT: u64 = 16;

/// Classifies an indirect jump: within its function, to another one, or unknown.
#[must_use]
pub fn classify_jump(image: &Image, values: &Values, target: Id, function: &FunctionRange) -> Origin {
    let is_within = |address: u64| {
        function.range.contains(&address) || function.parent.as_ref().is_some_and(|parent| parent.contains(&address))
    };
    let is_entry = |id| matches!(values.value(id), Value::Word { bytes: 4, .. });
    match values.value(target) {
        // An entry of 32 bits, relative to the table (GCC, Clang: position-independent switches) or to code.
        Value::Index { base, index, .. } if is_entry(base) || is_entry(index) => {
            let leads_within = |table: u64| {
                let entries = image.bytes_from(table).chunks_exact(4).take(LOOKED_AT as usize);
                let offsets = entries.filter_map(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
                offsets.map(|offset| table.wrapping_add_signed(i64::from(offset))).any(is_within)
            };
            match values.constant(base).or_else(|| values.constant(index)) {
                Some(table) if !is_within(table) && !leads_within(table) && values.stack_bytes() == Some(0) => {
                    Origin::plain(Kind::Table)
                }
                _ => Origin::plain(Kind::JumpTable),
            }
        }
        Value::Sum { base, offset } if is_entry(base) && is_within(offset as u64) => Origin::plain(Kind::JumpTable),
        Value::Word { base, offset, bytes: 8 } => {
            if let Value::Index { base: start, .. } = values.value(base)
                && let Some(start) = values.constant(start).or_else(|| got_target(image, values, start))
            {
                let table = start.wrapping_add_signed(offset);
                let words = (0..LOOKED_AT).map_while(|index| image.word(table.wrapping_add(index * 8)));
                let within = words.into_iter().any(|word| matches!(word, Word::Address(address) if is_within(address)));
                if within {
                    return Origin::of_word(Kind::JumpTable, table);
                }
            }
            by_stack(image, values, target)
        }
        Value::Constant(address) if is_within(address) => Origin::plain(Kind::JumpTable),
        _ => by_stack(image, values, target),
    }
}

/// A function that has something on its stack cannot end with a call: the jump stays within.
fn by_stack(image: &Image, values: &Values, target: Id) -> Origin {
    match values.stack_bytes() {
        Some(0) => classify_call(image, values, target),
        Some(_) => Origin::plain(Kind::JumpTable),
        None => Origin::plain(Kind::Unknown),
    }
}
