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
}

impl Origin {
    fn plain(kind: Kind) -> Origin {
        Origin { kind, word: None, offset: None }
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
    let Value::Word { base, offset, indexed, .. } = values.value(target) else {
        return Origin::plain(Kind::Register);
    };
    match values.value(base) {
        Value::Constant(address) => {
            let word = address.wrapping_add_signed(offset);
            match indexed {
                false => Origin { kind: kind_of_word(image, word), word: Some(word), offset: None },
                true => Origin { kind: Kind::Table, word: Some(word), offset: None },
            }
        }
        // A variable of this function.
        Value::Stack(_) if !indexed => Origin::plain(Kind::Register),
        Value::Word { base: inner, offset: inner_offset, indexed: inner_indexed, .. } => {
            // The linker's word has the address of a variable of another file: the variable is the word.
            if let Some(variable) = got_target(image, values, base) {
                let word = variable.wrapping_add_signed(offset);
                let kind = if indexed { Kind::Table } else { kind_of_word(image, word) };
                return Origin { kind, word: Some(word), offset: None };
            }
            if let Value::Constant(address) = values.value(inner)
                && image.is_got(address.wrapping_add_signed(inner_offset))
            {
                return Origin {
                    kind: if indexed { Kind::Table } else { Kind::Memory },
                    word: None,
                    offset: Some(offset),
                };
            }
            let is_method = !indexed && !inner_indexed && has_receiver(values, inner, inner_offset);
            let kind = if is_method { Kind::Virtual } else { Kind::Table };
            Origin { kind, word: None, offset: Some(offset) }
        }
        _ => Origin { kind: Kind::Table, word: None, offset: Some(offset) },
    }
}

/// The address that a word of the global offset table holds.
fn got_target(image: &Image, values: &Values, word: Id) -> Option<u64> {
    let Value::Word { base, offset, indexed: false, .. } = values.value(word) else { return None };
    let Value::Constant(address) = values.value(base) else { return None };
    let slot = address.wrapping_add_signed(offset);
    match image.is_got(slot).then(|| image.word(slot)).flatten()? {
        Word::Address(address) => Some(address),
        Word::External(_) => None,
    }
}

/// Whether the call's first or second argument is the object that has the address of the table at `object + offset`:
/// the object itself (C++: at its start), or the data pointer in front of the table's address (`&dyn` of Rust).
fn has_receiver(values: &Values, object: Id, offset: i64) -> bool {
    RECEIVERS.iter().any(|register| {
        let argument = values.register(*register);
        if argument == object {
            return true;
        }
        match values.value(argument) {
            Value::Sum { base, offset: at } => base == object && at == offset,
            Value::Constant(address) => match values.value(object) {
                Value::Constant(object) => object.wrapping_add_signed(offset) == address || object == address,
                _ => false,
            },
            Value::Word { base, offset: data, indexed: false, .. } => {
                base == object && data == offset.wrapping_sub(8)
                    || data_before_table(values, base, data, object, offset)
            }
            _ => false,
        }
    })
}

/// Whether two words at fixed addresses are data pointer and table of one `&dyn`.
fn data_before_table(values: &Values, base: Id, data: i64, object: Id, offset: i64) -> bool {
    match (values.value(base), values.value(object)) {
        (Value::Constant(data_base), Value::Constant(table_base)) => {
            data_base.wrapping_add_signed(data).wrapping_add(8) == table_base.wrapping_add_signed(offset)
        }
        _ => false,
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
    match values.value(target) {
        // An entry of 32 bits, relative to the table (GCC, Clang: position-independent switches).
        Value::Pair(a, b) => {
            let entry = |id| matches!(values.value(id), Value::Word { bytes: 4, .. });
            let table = [a, b].into_iter().find_map(|id| match values.value(id) {
                Value::Constant(address) => Some(address),
                _ => None,
            });
            if !entry(a) && !entry(b) {
                return by_stack(image, values, target);
            }
            let leads_within = |table: u64| {
                let entries = image.bytes_from(table).chunks_exact(4).take(LOOKED_AT as usize);
                let offsets = entries.filter_map(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
                offsets.map(|offset| table.wrapping_add_signed(i64::from(offset))).any(is_within)
            };
            match table {
                Some(table) if !leads_within(table) && values.stack_bytes() == Some(0) => Origin::plain(Kind::Table),
                _ => Origin::plain(Kind::JumpTable),
            }
        }
        Value::Word { base, offset, indexed: true, bytes: 8 } => {
            if let Value::Constant(address) = values.value(base) {
                let table = address.wrapping_add_signed(offset);
                let words = (0..LOOKED_AT).map_while(|index| image.word(table.wrapping_add(index * 8)));
                let within = words.into_iter().any(|word| matches!(word, Word::Address(address) if is_within(address)));
                if within {
                    return Origin { kind: Kind::JumpTable, word: Some(table), offset: None };
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
