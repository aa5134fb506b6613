//! A trace with the addresses that each instruction reads and writes, from the registers before it.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, Register};

use super::emulate;
use super::record::{MAX_COUNTED_INSTRUCTIONS, Record};
use super::switch::Registers;
use super::{Step, TraceError};

/// Bound on the recorded instructions: they take 40 bytes of memory each, and a microsecond.
const MAX_TOUCHED_INSTRUCTIONS: usize = 1 << 23;
/// Bytes that a string instruction writes or reads at a time, at most.
const MAX_REPEATED_BYTES: u64 = 1 << 20;

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Its address.
    pub at: u64,
    /// Whether it writes.
    pub is_store: bool,
}

/// What a function executed.
pub(crate) struct Touched {
    /// The executed instructions in order: the address, and the number of accesses.
    pub executed: Vec<(u64, u32)>,
    /// Their accesses, in order.
    pub accesses: Vec<Access>,
    /// The machine code of each.
    pub code: BTreeMap<u64, Step>,
    /// Addresses of calls through the table, each with the index of its word.
    pub sites: BTreeMap<u64, usize>,
    /// Indexes of the executed time stamps of this program's clock.
    pub stamps: Vec<usize>,
    table: Range<u64>,
    is_after_fence: bool,
    /// Time stamps that are read before the first recorded instruction.
    skipped: usize,
    /// All executed instructions.
    all: usize,
    factory: InstructionInfoFactory,
    pending: Vec<Access>,
}

impl Touched {
    pub(super) fn new(table: Range<u64>, stamps: usize) -> Self {
        Touched {
            executed: Vec::new(),
            accesses: Vec::new(),
            code: BTreeMap::new(),
            sites: BTreeMap::new(),
            stamps: Vec::new(),
            table,
            is_after_fence: false,
            skipped: stamps,
            all: 0,
            factory: InstructionInfoFactory::new(),
            pending: Vec::new(),
        }
    }
}

impl Record for Touched {
    const SKIPS_ALLOCATOR: bool = true;

    fn check_room(&self, more: usize) -> Result<(), TraceError> {
        for (count, limit) in [(self.executed.len(), MAX_TOUCHED_INSTRUCTIONS), (self.all, MAX_COUNTED_INSTRUCTIONS)] {
            if count + more > limit {
                return Err(TraceError::TooLong { limit });
            }
        }
        Ok(())
    }

    fn enter(&mut self, steps: &[Step], registers: &Registers) {
        self.pending.clear();
        let Some(step) = steps.first().filter(|_| self.skipped == 0) else { return };
        let value = |register: Register, _, _| emulate::read_register(register, registers);
        // A string instruction that repeats touches a row of lines.
        let it = &step.instruction;
        let repeats = if it.has_rep_prefix() || it.has_repne_prefix() { registers.general[1] } else { 1 };
        for memory in self.factory.info(it).used_memory() {
            let (is_load, is_store) = match memory.access() {
                OpAccess::Read | OpAccess::CondRead => (true, false),
                OpAccess::Write | OpAccess::CondWrite => (false, true),
                OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
                _ => continue,
            };
            let Some(at) = memory.virtual_address(0, value) else { continue };
            let bytes = repeats.saturating_mul(memory.memory_size().size().max(1) as u64).min(MAX_REPEATED_BYTES);
            for at in (at..at.saturating_add(bytes.max(1))).step_by(64) {
                self.pending.extend(is_load.then_some(Access { at, is_store: false }));
                self.pending.extend(is_store.then_some(Access { at, is_store: true }));
            }
        }
    }

    fn add(&mut self, steps: &[Step]) {
        let Some(step) = steps.first() else { return };
        let it = &step.instruction;
        self.all += 1;
        // The clock fences its time stamps; a kernel's need not be.
        let is_stamp = it.mnemonic() == Mnemonic::Rdtsc && self.is_after_fence;
        self.is_after_fence = it.mnemonic() == Mnemonic::Lfence;
        if self.skipped > 0 {
            self.skipped -= usize::from(is_stamp);
            return;
        }
        if is_stamp {
            self.stamps.push(self.executed.len());
        }
        let word = it.is_ip_rel_memory_operand().then(|| it.ip_rel_memory_address());
        if let Some(word) = word.filter(|word| it.is_call_near_indirect() && self.table.contains(word)) {
            self.sites.insert(step.address(), (word - self.table.start) as usize / size_of::<usize>());
        }
        self.executed.push((step.address(), self.pending.len() as u32));
        self.accesses.append(&mut self.pending);
        self.code.entry(step.address()).or_insert(*step);
    }
}
