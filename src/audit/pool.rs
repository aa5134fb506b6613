//! Symbolic values: equal values have equal numbers.

use std::hash::BuildHasher as _;

use iced_x86::Register;
use rustc_hash::FxBuildHasher;

/// Smaller constants are numbers, not addresses: the first page is never mapped.
const MIN_ADDRESS: u64 = 4096;
/// Slots that a function begins with: 8 kB. At half of it, the tables of most functions grow.
const MIN_SLOTS: usize = 1 << 10;
/// Slots whose memory is kept for the next function: 512 kB. Few functions need more.
const MAX_KEPT_SLOTS: usize = 1 << 16;
/// Bound on the depth of values that are compared where ways meet: an entry of a table that is indexed by an entry.
const MAX_DEPTH: u8 = 4;

/// The number of a value. Numbers with `UNKNOWN` are unknown values, which need no entry in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

const UNKNOWN: u32 = 1 << 31;

/// How a value came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing is known.
    Unknown,
    /// A register as it was when the function began.
    Entry(u8),
    /// What the call at an address returned.
    Result(u64),
    /// A number or an address.
    Constant(u64),
    /// The stack pointer at the start of the function, plus this number of bytes.
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

/// What an unknown value is the value of. Numbers are below 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register that an instruction wrote.
    Written(u8),
    /// A register where two ways meet.
    Met(u8),
    /// A slot where two ways meet.
    Slot(i64),
    /// Another value of an instruction.
    Other(u8),
}

/// A place of the table of a pool: the number of a value, and the round in which it was put there.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    round: u32,
    index: u32,
}

/// The values of one function.
#[derive(Debug)]
pub struct Pool {
    values: Vec<Value>,
    /// Where values are found: at their hash or behind it. A function begins with `MIN_SLOTS` of them, which stay in
    /// the cache of the CPU.
    table: Vec<Slot>,
    /// The number of slots in use, less one. Their number is a power of two.
    mask: usize,
    /// Slots of earlier rounds are free, so that nothing needs to be cleared.
    round: u32,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { values: Vec::new(), table: vec![Slot::default(); MIN_SLOTS], mask: MIN_SLOTS - 1, round: 1 }
    }
}

impl Pool {
    /// Forgets all values.
    pub fn clear(&mut self) {
        if self.table.len() > MAX_KEPT_SLOTS {
            *self = Pool::default();
            return;
        }
        self.values.clear();
        self.mask = MIN_SLOTS - 1;
        self.free_slots();
    }

    fn free_slots(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.table.fill(Slot::default());
            self.round = 1;
        }
    }

    /// The number of a value.
    pub fn id(&mut self, value: Value) -> Id {
        let mut at = self.first_slot(value);
        loop {
            let slot = self.table[at];
            if slot.round != self.round {
                return self.insert(value, at);
            }
            if self.values[slot.index as usize] == value {
                return Id(slot.index);
            }
            at = (at + 1) & self.mask;
        }
    }

    fn first_slot(&self, value: Value) -> usize {
        FxBuildHasher.hash_one(value) as usize & self.mask
    }

    fn insert(&mut self, value: Value, at: usize) -> Id {
        let index = self.values.len() as u32;
        self.values.push(value);
        self.table[at] = Slot { round: self.round, index };
        if self.values.len() * 2 > self.mask {
            self.grow();
        }
        Id(index)
    }

    /// Doubles the slots in use.
    fn grow(&mut self) {
        self.mask = self.mask * 2 + 1;
        self.table.resize(self.table.len().max(self.mask + 1), Slot::default());
        self.free_slots();
        for (index, value) in self.values.iter().enumerate() {
            let mut at = self.first_slot(*value);
            while self.table[at].round == self.round {
                at = (at + 1) & self.mask;
            }
            self.table[at] = Slot { round: self.round, index: index as u32 };
        }
    }

    /// How a value came to be.
    #[must_use]
    pub fn value(&self, id: Id) -> Value {
        self.values.get(id.0 as usize).copied().unwrap_or(Value::Unknown)
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
        let (mut base, mut offset) = self.split(base);
        let mut index = index;
        if scale == 1 {
            let (inner, more) = self.split(index);
            (index, offset) = (inner, offset.wrapping_add(more));
            match self.constant(base) {
                // `add rax, table`: the register has the distance.
                Some(number) if number < MIN_ADDRESS => return self.add(index, offset.wrapping_add(number as i64)),
                Some(_) => {}
                // A sum is the same in both orders.
                None if matches!(self.value(index), Value::Stack(_)) || index < base => {
                    (base, index) = (index, base);
                }
                None => {}
            }
        }
        let value = self.id(Value::Index { base, index, scale });
        self.add(value, offset)
    }

    /// What two values that meet at an address have in common: different entries of one table are an entry of it.
    pub fn join(&mut self, a: Id, b: Id, ip: u64, place: Place) -> Id {
        self.join_at(a, b, ip, place, 0)
    }

    fn join_at(&mut self, a: Id, b: Id, ip: u64, place: Place, depth: u8) -> Id {
        if a == b {
            return a;
        }
        if depth == MAX_DEPTH {
            return unknown(ip, place);
        }
        let joined = match (self.value(a), self.value(b)) {
            // A pointer or null: what is read through it comes from the pointer.
            (Value::Constant(0), other) | (other, Value::Constant(0)) if !matches!(other, Value::Constant(_)) => {
                Some(other)
            }
            (Value::Word { base, offset, bytes }, Value::Word { base: other, offset: at, bytes: size })
                if offset == at && bytes == size =>
            {
                let start = |id| match self.value(id) {
                    Value::Index { base, scale, .. } => self.constant(base).map(|start| (start, scale)),
                    _ => None,
                };
                match (start(base), start(other)) {
                    (Some(one), Some(two)) if one == two => {
                        let base = self.join_at(base, other, ip, place, depth + 1);
                        Some(Value::Word { base, offset, bytes })
                    }
                    _ => None,
                }
            }
            // The number of the entry is unknown. If it was loaded from a table, then its table may be known.
            (Value::Index { base, index, scale }, Value::Index { base: other, index: second, scale: by })
                if base == other && scale == by && self.constant(base).is_some() =>
            {
                let is_index = |id| matches!(self.value(id), Value::Index { .. });
                let index = match is_index(index) && is_index(second) {
                    true => unknown(ip, place),
                    false => self.join_at(index, second, ip, place, depth + 1),
                };
                Some(Value::Index { base, index, scale })
            }
            (Value::Sum { base, offset }, Value::Sum { base: other, offset: at }) if offset == at => {
                let is_word = |id| matches!(self.value(id), Value::Word { .. });
                match is_word(base) && is_word(other) {
                    true => Some(Value::Sum { base: self.join_at(base, other, ip, place, depth + 1), offset }),
                    false => None,
                }
            }
            _ => None,
        };
        match joined {
            Some(value) => self.id(value),
            None => unknown(ip, place),
        }
    }

    /// A value without the number that was added last, and that number.
    #[must_use]
    pub fn split(&self, id: Id) -> (Id, i64) {
        if let Value::Sum { base, offset } = self.value(id) { (base, offset) } else { (id, 0) }
    }
}

/// The unknown value of a place at an address.
#[must_use]
pub fn unknown(ip: u64, place: Place) -> Id {
    /// Spreads stack slots over the numbers. Two of them may seem equal, once in millions.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let place = match place {
        Place::Written(register) => u32::from(register),
        Place::Met(register) => 16 + u32::from(register),
        Place::Other(number) => 32 + u32::from(number),
        Place::Slot(slot) => return Id(UNKNOWN | (((slot as u64 ^ ip << 20).wrapping_mul(SPREAD) >> 32) as u32)),
    };
    // Addresses of functions of up to 32 MB; in a larger one, values far from each other may seem equal.
    Id(UNKNOWN | (ip as u32) << 6 | place)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_numbers_in_small_and_in_large_functions() {
        let mut pool = Pool::default();
        for count in [10, 5 * MIN_SLOTS as u64, 2 * MAX_KEPT_SLOTS as u64, 20] {
            let ids: Vec<Id> = (0..count).map(|number| pool.id(Value::Constant(number))).collect();
            assert!(ids.iter().enumerate().all(|(index, id)| *id == Id(index as u32)), "{count}");
            assert!((0..count).zip(&ids).all(|(number, id)| pool.id(Value::Constant(number)) == *id), "{count}");
            pool.clear();
        }
    }

    #[test]
    fn values_of_an_earlier_function_are_forgotten_also_when_the_rounds_begin_again() {
        let mut pool = Pool { round: u32::MAX - 1, ..Pool::default() };
        for number in 0..4 {
            assert_eq!(pool.id(Value::Constant(number)), Id(0));
            assert_eq!(pool.id(Value::Constant(100)), Id(1));
            pool.clear();
        }
    }
}
