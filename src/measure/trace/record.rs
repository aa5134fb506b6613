//! What a trace keeps of the executed instructions: all of them, their number, or the surroundings of calls.

use std::ops::Range;

use super::switch::Registers;
use super::{MAX_TRACE_INSTRUCTIONS, Step, TraceError};
use crate::stats::surroundings::SurroundingsCounter;

/// Instructions of one count at most: they take about a second.
pub(crate) const MAX_COUNTED_INSTRUCTIONS: usize = 1 << 26;

/// A record of the executed instructions.
pub(super) trait Record {
    /// Whether functions of the C library's allocator run whole and unrecorded.
    const SKIPS_ALLOCATOR: bool;
    /// Fails if `more` instructions would exceed the limit.
    fn check_room(&self, more: usize) -> Result<(), TraceError>;
    /// Looks at the registers before a block.
    fn enter(&mut self, _steps: &[Step], _registers: &Registers) {}
    /// Records executed instructions.
    fn add(&mut self, steps: &[Step]);
}

/// All instructions.
impl Record for Vec<Step> {
    const SKIPS_ALLOCATOR: bool = false;

    fn check_room(&self, more: usize) -> Result<(), TraceError> {
        if self.len() + more > MAX_TRACE_INSTRUCTIONS {
            Err(TraceError::TooLong { limit: MAX_TRACE_INSTRUCTIONS })
        } else {
            Ok(())
        }
    }

    fn add(&mut self, steps: &[Step]) {
        self.extend_from_slice(steps);
    }
}

/// The number of instructions.
pub(super) struct Count(pub usize);

impl Record for Count {
    const SKIPS_ALLOCATOR: bool = true;

    fn check_room(&self, more: usize) -> Result<(), TraceError> {
        if self.0 + more > MAX_COUNTED_INSTRUCTIONS {
            Err(TraceError::TooLong { limit: MAX_COUNTED_INSTRUCTIONS })
        } else {
            Ok(())
        }
    }

    fn add(&mut self, steps: &[Step]) {
        self.0 += steps.len();
    }
}

/// The surroundings of calls through a table.
pub(super) struct Watch {
    /// The number of instructions.
    pub count: Count,
    /// Addresses of the table.
    pub table: Range<u64>,
    /// What is known of the calls.
    pub counter: SurroundingsCounter,
}

impl Record for Watch {
    const SKIPS_ALLOCATOR: bool = true;

    fn check_room(&self, more: usize) -> Result<(), TraceError> {
        self.count.check_room(more)
    }

    fn add(&mut self, steps: &[Step]) {
        self.count.add(steps);
        for step in steps {
            let it = &step.instruction;
            let word = it.is_ip_rel_memory_operand().then(|| it.ip_rel_memory_address());
            let is_hook = it.is_call_near_indirect() && word.is_some_and(|word| self.table.contains(&word));
            self.counter.add(step.address(), is_hook);
        }
    }
}
