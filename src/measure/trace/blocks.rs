//! The tracer by blocks: copies of straight stretches of code run natively, and the branches between them (jumps,
//! calls, returns) are emulated, which shows where they lead.
//!
//! ```text
//! at = loop                      copy of a block: its instructions, then   jmp leave
//! until at = leave:
//!     block = copy of the instructions from `at` to the next transfer of control
//!     resume(block); record its instructions; at = target of the transfer
//! ```
//!
//! Copied instructions see the original's addresses: `[rip+disp32]` is corrected, and return addresses on the stack are
//! the original's. A block costs a fraction of a microsecond. No trap is needed, so the tracer also works under
//! emulators.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use iced_x86::Code;

use super::known::{KNOWN_INSTRUCTIONS, known_code};
use super::record::{Count, Record, Watch};
use super::switch::{self, Registers, leave, resume};
use super::touched::Touched;
use super::{Step, Trace, TraceError, emulate, state};
use crate::regime::Loop;
use crate::relocate::{CodeError, CodeMemory};
use crate::stats::surroundings::SurroundingsCounter;

/// Instructions of a block at most.
const MAX_BLOCK_INSTRUCTIONS: usize = 64;
/// Bytes of a block's copy: the instructions, the jump, and the address that it goes to.
const BLOCK_BYTES: usize = MAX_BLOCK_INSTRUCTIONS * 15 + 14;
/// Bytes of one piece of memory for copies.
const CODE_BYTES: usize = 512 << 10;
/// Entries of the cache in front of the map of blocks; a power of two.
const MAX_RECENT_BLOCKS: usize = 1 << 12;
/// An empty cache entry; no code has its address.
const NO_BLOCK: (u64, Block) =
    (0, Block { first: 0, length: 0, transfers: false, is_system_call: false, full_state: false, copy: None });
/// Bytes of the stack that traced code runs on.
const STACK_BYTES: usize = 256 << 10;

/// Changes of the line of code that [`Tracer::watch`] looks at: 16 MB of memory, and more than a unit of any workload
/// but `kernel_build`.
const MAX_WATCHED_LINES: usize = 1 << 20;

/// Whether this process has a [`Tracer`]; there is one set of registers.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Runs loops block by block and records their instructions. There is one per process at a time, on the thread that
/// made it.
pub struct Tracer {
    memories: Vec<CodeMemory>,
    blocks: HashMap<u64, Block>,
    /// Cache of recently run blocks, by the low bits of their addresses.
    recent: Vec<(u64, Block)>,
    /// The instructions of all blocks.
    steps: Vec<Step>,
    /// Instructions of a block at most.
    block_instructions: usize,
    stack: Vec<u64>,
    _vectors: Vec<Area>,
    _thread: PhantomData<*mut ()>,
}

/// A stretch of code that is always executed from its first instruction to its last. A system call is a block of its
/// own.
#[derive(Clone, Copy, Default)]
struct Block {
    /// Index of its first instruction, and the number of instructions. The last one may be a transfer of control.
    first: u32,
    length: u16,
    /// Whether the last instruction is a transfer of control.
    transfers: bool,
    /// Whether the block is a system call.
    is_system_call: bool,
    /// [`Registers::full_state`]
    full_state: bool,
    /// Address of the copy of the other instructions; `None` if there are none.
    copy: Option<u64>,
}

/// A piece of the area for `xsave`, with the alignment that `xsave` needs.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Area {
    _bytes: [u8; 64],
}

impl Tracer {
    /// Allocates memory for copies and traces code with a known count.
    ///
    /// # Errors
    /// [`TraceError::Busy`] if this process has a tracer, [`TraceError::Code`] if the kernel refuses executable memory.
    pub fn install() -> Result<Self, TraceError> {
        if INSTALLED.swap(true, Acquire) {
            return Err(TraceError::Busy);
        }
        let (components, bytes) = read_vector_state();
        let vectors = vec![Area { _bytes: [0; 64] }; bytes.div_ceil(64)];
        let mut tracer = Tracer {
            memories: Vec::new(),
            blocks: HashMap::new(),
            recent: vec![NO_BLOCK; MAX_RECENT_BLOCKS],
            steps: Vec::new(),
            block_instructions: MAX_BLOCK_INSTRUCTIONS,
            stack: vec![0; STACK_BYTES / 8],
            _vectors: vectors,
            _thread: PhantomData,
        };
        // SAFETY: exclusive access to the registers: this is the only tracer, and no traced code runs.
        let registers = unsafe { &mut *switch::registers() };
        registers.vectors = tracer._vectors.as_mut_ptr() as u64;
        registers.components = components;
        switch::prepare_fs();
        // SAFETY: `store_vectors` needs an aligned, zeroed area that is large enough: `Area` is aligned, and the CPU
        // gave the size.
        unsafe { switch::store_vectors() };
        // SAFETY: `trace` needs a function that can be called with these arguments: `known_code` reads none, and it
        // returns.
        let found = unsafe { tracer.trace(known_code, &[0; 4], 1) }?.len();
        // SAFETY: shared access to the registers: this is the only tracer, and no traced code runs.
        let seen = unsafe { &*switch::registers() }.general[0];
        if found != KNOWN_INSTRUCTIONS || seen != 0 {
            return Err(TraceError::Miscounts { expected: KNOWN_INSTRUCTIONS, found });
        }
        Ok(tracer)
    }

    /// Counts the instructions of `run(args, passes)` from its first to its return, without recording them. Code may
    /// run far longer than a recorded trace.
    ///
    /// A repeated string instruction counts once. Instructions of the C library's allocator do not count: its functions
    /// run whole, because this program itself needs the allocator between two blocks and would find it half done.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`], with a limit of `MAX_COUNTED_INSTRUCTIONS`.
    pub unsafe fn count(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<u64, TraceError> {
        let mut count = Count(0);
        // SAFETY: the contract of `run` is that of `trace`, which this function's caller meets.
        unsafe { self.run(run, args, passes, &mut count) }?;
        Ok(count.0 as u64)
    }

    /// Runs `run(args, passes)` and watches its calls through the words at `table`. Code beyond
    /// [`MAX_WATCHED_LINES`] changes of the line is executed and not watched.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Tracer::count`].
    pub(crate) unsafe fn watch(
        &mut self,
        run: Loop,
        args: &[u64; 4],
        passes: u64,
        table: Range<u64>,
    ) -> Result<SurroundingsCounter, TraceError> {
        let mut watch = Watch { count: Count(0), table, counter: SurroundingsCounter::new(MAX_WATCHED_LINES) };
        // SAFETY: the contract of `run` is that of `trace`, which this function's caller meets.
        unsafe { self.run(run, args, passes, &mut watch) }?;
        Ok(watch.counter)
    }

    /// Runs `run(args, passes)` and records each instruction with its accesses to memory. `table` has the words that
    /// hooks are called through. What comes before time stamp number `stamps` is left out.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Tracer::count`].
    pub(crate) unsafe fn touch(
        &mut self,
        run: Loop,
        args: &[u64; 4],
        passes: u64,
        table: Range<u64>,
        stamps: usize,
    ) -> Result<Touched, TraceError> {
        // Registers are known between blocks.
        self.block_instructions = 1;
        let mut touched = Touched::new(table, stamps);
        // SAFETY: the contract of `run` is that of `trace`, which this function's caller meets.
        let run = unsafe { self.run(run, args, passes, &mut touched) };
        self.block_instructions = MAX_BLOCK_INSTRUCTIONS;
        run.map(|()| touched)
    }

    /// Runs `run(args, passes)` from its first instruction to its return. After an error it has run to its end all the
    /// same.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    unsafe fn run(
        &mut self,
        run: Loop,
        args: &[u64; 4],
        passes: u64,
        record: &mut impl Record,
    ) -> Result<(), TraceError> {
        self.forget();
        let end = leave as *const () as u64;
        // The stack looks as after a call: the pointer is 8 below a multiple of 16 (psABI, 3.2.2), with the return
        // address.
        let top = (self.stack.as_mut_ptr_range().end as u64 & !15) - 24;
        let index = (top - self.stack.as_ptr() as u64) as usize / 8;
        self.stack[index] = end;
        // SAFETY: exclusive access to the registers: this is the only tracer, and no traced code runs.
        let registers = unsafe { &mut *switch::registers() };
        registers.general = [0; 16];
        registers.general[4] = top;
        registers.general[6] = passes;
        registers.general[7] = std::ptr::from_ref(args) as u64;
        registers.flags = switch::FLAGS;
        // SAFETY: `follow` needs registers for the code at the start of `run`: the lines above set them and the stack
        // as a call does.
        let followed = unsafe { self.follow(run as usize as u64, record) };
        followed.map_err(|(at, error)| {
            // The loop runs to its end untraced: it may hold a lock, or have changed something that it restores later.
            // SAFETY: `run_until_leave` needs registers for the code at `at`: they are as the last block left them. The
            // loop returns to `leave`.
            unsafe { run_until_leave(at, true) };
            error
        })
    }

    /// Runs from `at` until the loop returns, and records every instruction.
    ///
    /// # Safety
    /// The registers are those of the traced code at `at`.
    unsafe fn follow<R: Record>(&mut self, mut at: u64, record: &mut R) -> Result<(), (u64, TraceError)> {
        let end = leave as *const () as u64;
        let skipped = if R::SKIPS_ALLOCATOR { allocator_functions() } else { [end; ALLOCATOR_FUNCTIONS] };
        while at != end {
            if skipped.contains(&at) {
                // SAFETY: `run_whole` needs a function that is about to be entered: `at` is the first instruction of
                // one, so the return address is on top of the stack.
                at = unsafe { run_whole(at) };
                continue;
            }
            // SAFETY: `block` needs an instruction that is about to be executed, and the traced code is at `at`.
            let block = unsafe { self.block(at) }.map_err(|error| (at, error))?;
            let steps = &self.steps[block.first as usize..][..usize::from(block.length)];
            record.check_room(steps.len()).map_err(|error| (at, error))?;
            // SAFETY: shared access to the registers: no traced code runs between two blocks.
            if block.is_system_call && emulate::starts_thread(unsafe { &*switch::registers() }) {
                // The new thread or process would run in the copy, jump to `leave`, and use the only set of registers.
                return Err((at, TraceError::Starts { at }));
            }
            // SAFETY: shared access to the registers: no traced code runs between two blocks.
            record.enter(steps, unsafe { &*switch::registers() });
            if let Some(copy) = block.copy {
                // SAFETY: `run_until_leave` needs registers for the code: the copy is the traced code's next block and
                // ends with a jump to `leave`.
                unsafe { run_until_leave(copy, block.full_state) };
            }
            record.add(steps);
            // A block is never empty.
            let Some(last) = steps.last().map(|step| &step.instruction) else { break };
            at = if block.transfers {
                // SAFETY: exclusive access to the registers: no traced code runs between two blocks.
                let registers: &mut Registers = unsafe { &mut *switch::registers() };
                // SAFETY: `emulate_transfer` needs the registers before the instruction: the block ran up to it.
                let to = unsafe { emulate::emulate_transfer(last, registers) };
                to.ok_or((last.ip(), TraceError::Unfollowed { at: last.ip() }))?
            } else {
                last.next_ip()
            };
        }
        Ok(())
    }

    /// The block at an address, which is decoded and copied at its first use.
    ///
    /// # Safety
    /// The instruction there is about to be executed.
    unsafe fn block(&mut self, at: u64) -> Result<Block, TraceError> {
        let recent = at as usize % MAX_RECENT_BLOCKS;
        if self.recent[recent].0 == at {
            return Ok(self.recent[recent].1);
        }
        let block = match self.blocks.get(&at) {
            Some(block) => *block,
            None => {
                // SAFETY: `decode` needs an instruction that is about to be executed; this function's caller guarantees
                // it for `at`.
                let block = unsafe { self.decode(at) }?;
                self.blocks.insert(at, block);
                block
            }
        };
        self.recent[recent] = (at, block);
        Ok(block)
    }

    /// Decodes and copies the block at an address.
    ///
    /// # Safety
    /// As for [`Tracer::block`].
    unsafe fn decode(&mut self, at: u64) -> Result<Block, TraceError> {
        let first = self.steps.len();
        let (mut next, mut block) = (at, Block { first: first as u32, ..Block::default() });
        while self.steps.len() - first < self.block_instructions && !block.transfers && !block.is_system_call {
            // SAFETY: `read` needs an instruction that is executed: the caller guarantees the first, and each next one
            // follows an instruction that is no transfer.
            let step = unsafe { Step::read(next) }?;
            block.is_system_call = step.instruction.code() == Code::Syscall;
            if block.is_system_call && next != at {
                // The number of the call is in a register only once the instructions before it are done, so the call is
                // the next block.
                block.is_system_call = false;
                break;
            }
            self.steps.push(step);
            next = step.instruction.next_ip();
            block.transfers = emulate::is_transfer(&step.instruction);
            block.full_state |= !(block.transfers || state::keeps_slow_state(&step.instruction));
        }
        block.length = (self.steps.len() - first) as u16;
        block.copy = self.copy(at, first)?;
        Ok(block)
    }

    /// Copies the instructions from index `first` on to memory within reach of the addresses that they refer to.
    fn copy(&mut self, at: u64, first: usize) -> Result<Option<u64>, TraceError> {
        let straight = self.steps[first..].iter().filter(|step| !emulate::is_transfer(&step.instruction));
        let straight: Vec<Step> = straight.copied().collect();
        if straight.is_empty() {
            return Ok(None);
        }
        let mut unreached = at;
        // Tries all existing memory, then new memory near the address that was out of reach.
        for memory in 0..=self.memories.len() {
            if memory == self.memories.len() {
                self.memories.push(CodeMemory::new(unreached as usize, CODE_BYTES)?);
            }
            let memory = &mut self.memories[memory];
            let start = match memory.reserve(BLOCK_BYTES, 0, 0) {
                Err(CodeError::Full { .. }) => continue,
                start => start?,
            };
            match encode_copy(&straight, start as u64) {
                Ok(code) => {
                    memory.write(start, &code)?;
                    switch::serialise();
                    return Ok(Some(start as u64));
                }
                Err(target) => unreached = target,
            }
        }
        Err(TraceError::Unfollowed { at })
    }

    /// Forgets all copies, because code may change between traces.
    fn forget(&mut self) {
        self.memories.iter_mut().for_each(CodeMemory::clear);
        self.blocks.clear();
        self.recent.fill(NO_BLOCK);
        self.steps.clear();
    }
}

impl Trace for Tracer {
    unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError> {
        let mut record = Vec::new();
        // SAFETY: the contract of `run` is that of `trace`, which this function's caller meets.
        unsafe { self.run(run, args, passes, &mut record) }?;
        Ok(record)
    }
}

/// Number of functions of the allocator.
const ALLOCATOR_FUNCTIONS: usize = 6;

/// Addresses of the functions that Rust's system allocator calls (`library/std/src/sys/alloc/unix.rs`).
fn allocator_functions() -> [u64; ALLOCATOR_FUNCTIONS] {
    [
        libc::malloc as *const () as u64,
        libc::calloc as *const () as u64,
        libc::realloc as *const () as u64,
        libc::free as *const () as u64,
        libc::posix_memalign as *const () as u64,
        libc::aligned_alloc as *const () as u64,
    ]
}

/// Runs a function to its end and returns its return address.
///
/// # Safety
/// The registers are those of traced code that is about to enter the function at `at`. The function returns.
unsafe fn run_whole(at: u64) -> u64 {
    // SAFETY: exclusive access to the registers: no traced code runs between two blocks.
    let registers = unsafe { &mut *switch::registers() };
    let top = registers.general[4] as *mut u64;
    // SAFETY: `replace` needs a writable word: the top of the stack holds the return address (caller's contract).
    let back = unsafe { top.replace(leave as *const () as u64) };
    // SAFETY: `run_until_leave` needs registers for the code at `at`, which the caller guarantees; the new return
    // address is that of `leave`.
    unsafe { run_until_leave(at, true) };
    back
}

/// Continues the traced code at `code` until it reaches [`leave`].
///
/// # Safety
/// As for [`resume`]. Without `full_state`, each instruction on the way is one that [`state::keeps_slow_state`].
unsafe fn run_until_leave(code: u64, full_state: bool) {
    // SAFETY: exclusive access to the registers: no traced code runs before `resume`.
    unsafe {
        let registers = &mut *switch::registers();
        (registers.code, registers.full_state) = (code, full_state.into());
    }
    // SAFETY: `resume` needs registers for code that reaches `leave`; the caller guarantees both.
    unsafe { resume() };
}

impl Drop for Tracer {
    fn drop(&mut self) {
        INSTALLED.store(false, Release);
    }
}

/// The machine code of a copy that runs at `start`: the instructions, then a jump to [`leave`]. The error is an address
/// that is out of reach from there.
fn encode_copy(steps: &[Step], start: u64) -> Result<Vec<u8>, u64> {
    let mut code = Vec::with_capacity(BLOCK_BYTES);
    for step in steps {
        let from = code.len();
        code.extend_from_slice(step.bytes());
        if let Some((target, field)) = step.refers_to() {
            let next = start + code.len() as u64;
            let distance = i32::try_from(target.wrapping_sub(next) as i64).map_err(|_| target)?;
            code[from + field..from + field + 4].copy_from_slice(&distance.to_le_bytes());
        }
    }
    // jmp [rip+0], followed by the address.
    code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
    code.extend_from_slice(&(leave as *const () as u64).to_le_bytes());
    Ok(code)
}

/// The vector state that the kernel enables (XCR0), as `xsave` takes it, and its size in bytes. Without `xsave`: no
/// component, and the size of `fxsave`.
fn read_vector_state() -> (u64, usize) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// CPUID.1:ECX.OSXSAVE
    const OSXSAVE: u32 = 1 << 27;
    /// x87, SSE, AVX and AVX-512. The protection keys are excluded because they belong to this program, AMX because a
    /// program must request it.
    const VECTORS: u64 = 0xe7;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return (0, 512);
    }
    let (low, high): (u32, u32);
    // SAFETY: `xgetbv` needs OSXSAVE, which was checked above.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    // CPUID.0DH.0:EBX: bytes for all enabled components.
    ((u64::from(high) << 32 | u64::from(low)) & VECTORS, __cpuid_count(0xd, 0).ebx as usize)
}
