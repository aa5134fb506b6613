//! A layout: where the functions of a copy start, and where the data and the callees of the copy lie.

pub mod chain;
mod offsets;

use rand::{Rng, RngExt};

use self::chain::Joint;
use self::offsets::Offsets;
pub(super) use self::offsets::{ALIGNMENT, PERIOD_BYTES};
use super::memory::PAGE_BYTES;
use super::{CodeError, CodeImage, CodeMemory, DecodedFunction, LinkedCopy};

/// Bytes of a cache line; tables are aligned to it.
const LINE_BYTES: usize = 64;

/// Where the functions of a copy start.
#[derive(Default)]
pub struct Layout<'c> {
    /// In ascending order of the addresses.
    pub(super) placements: Vec<Placement>,
    /// Offsets within pages of the copies of the data; `None` for a copy that uses the data of the program itself.
    pub(super) data: Option<Vec<usize>>,
    /// An earlier copy: calls of functions that it has lead there.
    callees: Option<&'c LinkedCopy>,
    /// What fills the bytes between the functions.
    pub(super) fill: u8,
    /// Unused bytes after the last function.
    pub(super) trailing: usize,
    /// Jumps that replace code of the copies.
    pub(super) joints: Vec<Joint>,
}

/// Where a function starts.
pub(super) struct Placement {
    /// Index of the function in the image.
    pub function: usize,
    /// Its start.
    pub start: Start,
}

/// The start of a function, counted from the first free byte of the memory.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Byte number `anchor` of the function lies at `offset` within 128 bytes, after `gap` unused bytes that begin with
    /// 128 bytes of their own.
    At { gap: Option<usize>, anchor: usize, offset: usize },
    /// The function follows after a gap, wherever that is.
    After { gap: usize },
}

impl Start {
    /// Reserves memory for a copy of `function` and returns the address of its entry.
    pub fn reserve(self, function: &DecodedFunction, memory: &mut CodeMemory) -> Result<usize, CodeError> {
        let preamble = function.preamble().len();
        let size = preamble + function.bytes().len();
        let start = match self {
            Start::At { gap, anchor, offset } => {
                if let Some(gap) = gap {
                    memory.reserve(gap, 0, 0)?;
                }
                memory.reserve(size, preamble + anchor, offset)?
            }
            Start::After { gap } => memory.reserve_next(gap, size)?,
        };
        Ok(start + preamble)
    }
}

impl<'c> Layout<'c> {
    /// Functions in the order of their addresses, with `apart` unused bytes before each. The copy uses the data of the
    /// program itself.
    ///
    /// The first function starts at `offset` within 128 bytes, each next one 48 bytes further within its own 128. Over
    /// all offsets that are multiples of 16, each function takes every offset once.
    #[must_use]
    pub fn in_order(image: &CodeImage, offset: usize, apart: usize) -> Self {
        let start = |function| Start::At {
            gap: Some(apart),
            anchor: 0,
            offset: (offset + function * 3 * ALIGNMENT) % PERIOD_BYTES,
        };
        let placements = (0..image.len()).map(|function| Placement { function, start: start(function) }).collect();
        Layout { placements, ..Layout::default() }
    }

    /// One function, whose entry lies at `offset` within 128 bytes.
    #[must_use]
    pub fn of_function(offset: usize) -> Self {
        let start = Start::At { gap: None, anchor: 0, offset };
        Layout { placements: vec![Placement { function: 0, start }], ..Layout::default() }
    }

    /// One function, whose byte number `head` lies at `offset` within 128 bytes: the head of its loop.
    #[must_use]
    pub fn of_loop(head: usize, offset: usize) -> Self {
        let start = Start::At { gap: None, anchor: head, offset };
        Layout { placements: vec![Placement { function: 0, start }], ..Layout::default() }
    }

    /// Makes calls and jumps lead to an earlier copy of their targets, where it has one. References to data keep their
    /// addresses.
    #[must_use]
    pub fn calling(self, callees: Option<&'c LinkedCopy>) -> Self {
        Layout { callees, ..self }
    }

    /// The address that a call of `target` leads to.
    pub(super) fn callee(&self, target: u64) -> u64 {
        self.callees.and_then(|callees| callees.address_of(target)).unwrap_or(target)
    }
}

/// Random layouts of one image, one after another.
#[derive(Default)]
pub struct RandomLayouts {
    offsets: Offsets,
}

impl RandomLayouts {
    /// Draws the next layout: functions in random order at the next offsets of the orthogonal array, and a copy of each
    /// piece of data at a random offset within pages.
    pub fn draw(&mut self, image: &CodeImage, rng: &mut impl Rng) -> Layout<'static> {
        let mut data_offset = || rng.random_range(0..PAGE_BYTES / LINE_BYTES) * LINE_BYTES;
        let data = (0..image.pieces_of_data()).map(|_| data_offset()).collect();
        let mut order: Vec<usize> = (0..image.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        let offset = self.offsets.draw(image.len(), rng);
        let start = |function| Start::At { gap: Some(0), anchor: 0, offset: offset(function) };
        let placements = order.into_iter().map(|function| Placement { function, start: start(function) }).collect();
        Layout { placements, data: Some(data), ..Layout::default() }
    }
}
