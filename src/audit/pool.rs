//! Symbolic values: equal values have equal numbers.

use iced_x86::Register;
use rustc_hash::FxHashMap;

/// The number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// How a value came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing is known but the address of the instruction and what it wrote.
    Unknown {
        /// The instruction.
        ip: u64,
        /// What it wrote, or what differs where two ways meet.
        place: i64,
    },
    /// A register as it was when the function began.
    Entry(u8),
    /// What the call at an address returned.
    Result(u64),
    /// A number or an address.
    Constant(u64),
    /// The stack pointer at the start, plus so many bytes.
    Stack(i64),
    /// A word of memory at a value plus an offset.
    Word {
        /// The address without the offset.
        base: Id,
        /// Bytes from the base.
        offset: i64,
        /// Size of the word in bytes.
        bytes: u8,
    },
    /// A value plus a number.
    Sum {
        /// The value.
        base: Id,
        /// The number.
        offset: i64,
    },
    /// A value plus a multiple of another: the address of an entry of a table. If one of both is a constant, it is the
    /// base.
    Index {
        /// The start of the table.
        base: Id,
        /// The number of the entry.
        index: Id,
        /// What it is multiplied with.
        scale: u32,
    },
}

/// The values of one function.
#[derive(Debug, Default)]
pub struct Pool {
    known: FxHashMap<Value, Id>,
    values: Vec<Value>,
}

impl Pool {
    /// Forgets all values.
    pub fn clear(&mut self) {
        self.values.clear();
        super::values::clear_map(&mut self.known);
    }

    /// The number of a value.
    pub fn id(&mut self, value: Value) -> Id {
        let values = &mut self.values;
        *self.known.entry(value).or_insert_with(|| {
            values.push(value);
            Id(values.len() as u32 - 1)
        })
    }

    /// How a value came to be.
    #[must_use]
    pub fn value(&self, id: Id) -> Value {
        self.values.get(id.0 as usize).copied().unwrap_or(Value::Constant(0))
    }

    /// The constant that a value is.
    #[must_use]
    pub fn constant(&self, id: Id) -> Option<u64> {
        if let Value::Constant(value) = self.value(id) { Some(value) } else { None }
    }

    /// A value plus a number.
    pub fn add(&mut self, base: Id, offset: i64) -> Id {
        let (base, before) = self.split(base);
        let offset = before.wrapping_add(offset);
        let value = match self.value(base) {
            _ if offset == 0 => return base,
            Value::Constant(value) => Value::Constant(value.wrapping_add_signed(offset)),
            Value::Stack(at) => Value::Stack(at.wrapping_add(offset)),
            _ => Value::Sum { base, offset },
        };
        self.id(value)
    }

    /// A value plus a multiple of another.
    pub fn index(&mut self, base: Id, index: Id, scale: u32) -> Id {
        if let Some(number) = self.constant(index) {
            return self.add(base, (number as i64).wrapping_mul(i64::from(scale)));
        }
        if scale == 1 {
            if let Some(number) = self.constant(base) {
                // `add rax, table`: the register has the distance.
                let is_address = number >= 4096;
                if !is_address {
                    return self.add(index, number as i64);
                }
            } else {
                // A sum is the same in both orders.
                let is_swapped = matches!(self.value(index), Value::Stack(_)) || index < base;
                let (base, index) = if is_swapped { (index, base) } else { (base, index) };
                return self.id(Value::Index { base, index, scale });
            }
        }
        let (base, offset) = self.split(base);
        let value = self.id(Value::Index { base, index, scale });
        self.add(value, offset)
    }

    /// A value without the number that was added last, and that number.
    #[must_use]
    pub fn split(&self, id: Id) -> (Id, i64) {
        if let Value::Sum { base, offset } = self.value(id) { (base, offset) } else { (id, 0) }
    }
}

/// The number of a general register in machine code, for all its widths.
#[must_use]
pub fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

/// The number of a vector register of 16 bytes or more.
#[must_use]
pub fn vector(register: Register) -> Option<usize> {
    register.is_vector_register().then(|| register.number()).filter(|number| *number < 16)
}
