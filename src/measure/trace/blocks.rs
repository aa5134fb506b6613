//! Tracing block by block: straight stretches of code run by themselves, as copies, and what is between them (jumps,
//! calls, returns) is carried out here, where it is seen.
//!
//! ```text
//! at = loop                      copy of a block: its instructions, then   jmp leave
//! until at = leave:
//!     block = copy of the instructions from `at` to the next transfer of control
//!     resume(block); note its instructions; at = where the transfer goes
//! ```
//!
//! Copied instructions see the original's addresses: `[rip+disp32]` is corrected, and return addresses on the stack are
//! the original's. It costs a fraction of a microsecond per block, needs no trap, and so also works under emulators.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use iced_x86::Code;

use super::known::{KNOWN, known};
use super::switch::{self, Registers, leave, resume};
use super::{LIMIT, Step, Trace, TraceError, emulate, state};
use crate::patch::{CodeError, CodeMemory};
use crate::regime::Loop;

/// Most instructions of a block.
const LONGEST_BLOCK: usize = 64;
/// Bytes of a block's copy: the instructions, the jump and the address it goes to.
const BLOCK_BYTES: usize = LONGEST_BLOCK * 15 + 14;
/// Room for copies in one piece of memory.
const CODE_BYTES: usize = 512 << 10;
/// Blocks that are found without the map: a power of two.
const RECENT: usize = 1 << 12;
/// No code is there.
const NO_BLOCK: (u64, Block) =
    (0, Block { first: 0, length: 0, transfers: false, calls: false, everything: false, copy: None });
/// Bytes of the stack that traced code runs on.
const STACK_BYTES: usize = 256 << 10;
/// Most instructions of one count: a second's worth of what counting takes.
pub const COUNT_LIMIT: usize = 1 << 26;

/// Whether there is a [`Tracer`] in this process: it has one set of registers.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Runs loops block by block and notes what they execute. One per process at a time, on the thread that made it.
pub struct Tracer {
    memories: Vec<CodeMemory>,
    blocks: HashMap<u64, Block>,
    /// Those of the blocks that were run last, by the low bits of their addresses.
    recent: Vec<(u64, Block)>,
    /// The instructions of all blocks.
    steps: Vec<Step>,
    stack: Vec<u64>,
    _vectors: Vec<Area>,
    _thread: PhantomData<*mut ()>,
}

/// A stretch of code that is executed from its first instruction to its last. A system call is one by itself.
#[derive(Clone, Copy, Default)]
struct Block {
    /// Its instructions, the last of which may be a transfer of control: the first, and how many.
    first: u32,
    length: u16,
    /// Whether the last is one.
    transfers: bool,
    /// Whether all of it is a system call.
    calls: bool,
    /// [`Registers::everything`]
    everything: bool,
    /// The copy of those that are no transfers; `None` where there are none.
    copy: Option<u64>,
}

/// A piece of the area for `xsave`, which is aligned so.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Area {
    _bytes: [u8; 64],
}

impl Tracer {
    /// Makes room for copies and traces a few known instructions.
    ///
    /// # Errors
    /// [`TraceError::Busy`] where there is one, [`TraceError::Code`] where the kernel refuses executable memory.
    pub fn install() -> Result<Self, TraceError> {
        if INSTALLED.swap(true, Acquire) {
            return Err(TraceError::Busy);
        }
        let (components, bytes) = vector_state();
        let vectors = vec![Area { _bytes: [0; 64] }; bytes.div_ceil(64)];
        let mut tracer = Tracer {
            memories: Vec::new(),
            blocks: HashMap::new(),
            recent: vec![NO_BLOCK; RECENT],
            steps: Vec::new(),
            stack: vec![0; STACK_BYTES / 8],
            _vectors: vectors,
            _thread: PhantomData,
        };
        // SAFETY: the only tracer, and no traced code runs.
        let registers = unsafe { &mut *switch::registers() };
        registers.vectors = tracer._vectors.as_mut_ptr() as u64;
        registers.components = components;
        switch::prepare_fs();
        // SAFETY: the area is as large as the CPU says, aligned, and zero.
        unsafe { switch::store_vectors() };
        // SAFETY: `known` takes no arguments.
        let found = unsafe { tracer.trace(known, &[0; 4], 1) }?.len();
        // SAFETY: as above.
        let seen = unsafe { &*switch::registers() }.general[0];
        if found != KNOWN || seen != 0 {
            return Err(TraceError::Miscounts { expected: KNOWN, found });
        }
        Ok(tracer)
    }

    /// Counts what `run(args, passes)` executes, from its first instruction to its return, without keeping it: code that
    /// runs far longer than a trace has room for. A repeated string instruction counts once. What the C library's allocator
    /// executes counts nothing: this program needs it, too, between two of its blocks, and would find it half done.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`], with a limit of [`COUNT_LIMIT`] instructions.
    pub unsafe fn count(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<u64, TraceError> {
        let mut count = Count(0);
        // SAFETY: the caller's contract.
        unsafe { self.run(run, args, passes, &mut count) }?;
        Ok(count.0 as u64)
    }

    /// Runs `run(args, passes)` from its first instruction to its return; in case of an error it has run to its end all the
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
        // The stack as after a call: its pointer is 8 below a multiple of 16 (psABI, 3.2.2), with the return address.
        let top = (self.stack.as_mut_ptr_range().end as u64 & !15) - 24;
        let index = (top - self.stack.as_ptr() as u64) as usize / 8;
        self.stack[index] = end;
        // SAFETY: the only tracer, and no traced code runs.
        let registers = unsafe { &mut *switch::registers() };
        registers.general = [0; 16];
        registers.general[4] = top;
        registers.general[6] = passes;
        registers.general[7] = std::ptr::from_ref(args) as u64;
        registers.flags = switch::FLAGS;
        // SAFETY: registers and stack are those of a call of the loop.
        let followed = unsafe { self.follow(run as usize as u64, record) };
        followed.map_err(|(at, error)| {
            // To its end without a trace: it may hold a lock, or have changed what it would put back.
            // SAFETY: the registers are those of the code at `at`; it returns to `leave`.
            unsafe { go(at, true) };
            error
        })
    }

    /// Runs from `at` until the loop returns, noting everything.
    ///
    /// # Safety
    /// The registers are those of the traced code at `at`.
    unsafe fn follow<R: Record>(&mut self, mut at: u64, record: &mut R) -> Result<(), (u64, TraceError)> {
        let end = leave as *const () as u64;
        let allocator = if R::SKIPS_ALLOCATOR { allocator() } else { [end; ALLOCATOR] };
        while at != end {
            if allocator.contains(&at) {
                // SAFETY: a function is about to be entered, so its return address is on top of the stack.
                at = unsafe { whole(at) };
                continue;
            }
            // SAFETY: about to be executed.
            let block = unsafe { self.block(at) }.map_err(|error| (at, error))?;
            let steps = &self.steps[block.first as usize..][..usize::from(block.length)];
            record.room(steps.len()).map_err(|error| (at, error))?;
            // SAFETY: no traced code runs.
            if block.calls && emulate::starts(unsafe { &*switch::registers() }) {
                // In the copy, what is started would come to `leave`, and to the one set of registers.
                return Err((at, TraceError::Starts { at }));
            }
            if let Some(copy) = block.copy {
                // SAFETY: the copy does what the original does, then jumps to `leave`.
                unsafe { go(copy, block.everything) };
            }
            record.note(steps);
            // A block is never empty.
            let Some(last) = steps.last().map(|step| &step.instruction) else { break };
            at = if block.transfers {
                // SAFETY: no traced code runs.
                let registers: &mut Registers = unsafe { &mut *switch::registers() };
                // SAFETY: the registers are as the block left them, before its last instruction.
                let to = unsafe { emulate::transfer(last, registers) };
                to.ok_or((last.ip(), TraceError::Unfollowed { at: last.ip() }))?
            } else {
                last.next_ip()
            };
        }
        Ok(())
    }

    /// The block at an address, copied if it was not yet.
    ///
    /// # Safety
    /// The instruction there is about to be executed.
    unsafe fn block(&mut self, at: u64) -> Result<Block, TraceError> {
        let recent = at as usize % RECENT;
        if self.recent[recent].0 == at {
            return Ok(self.recent[recent].1);
        }
        let block = match self.blocks.get(&at) {
            Some(block) => *block,
            None => {
                // SAFETY: the caller's contract.
                let block = unsafe { self.decode(at) }?;
                self.blocks.insert(at, block);
                block
            }
        };
        self.recent[recent] = (at, block);
        Ok(block)
    }

    /// Decodes a block and copies it.
    ///
    /// # Safety
    /// As for [`Tracer::block`].
    unsafe fn decode(&mut self, at: u64) -> Result<Block, TraceError> {
        let first = self.steps.len();
        let (mut next, mut block) = (at, Block { first: first as u32, ..Block::default() });
        while self.steps.len() - first < LONGEST_BLOCK && !block.transfers && !block.calls {
            // SAFETY: executed after the one before it, which transfers nothing.
            let step = unsafe { Step::read(next) }?;
            block.calls = step.instruction.code() == Code::Syscall;
            if block.calls && next != at {
                // Which one it is stands in a register when those before it are done: the next block.
                block.calls = false;
                break;
            }
            self.steps.push(step);
            next = step.instruction.next_ip();
            block.transfers = emulate::transfers(&step.instruction);
            block.everything |= !(block.transfers || state::leaves_alone(&step.instruction));
        }
        block.length = (self.steps.len() - first) as u16;
        block.copy = self.copy(at, first)?;
        Ok(block)
    }

    /// Copies the instructions from the `first` on to memory in reach of what they refer to.
    fn copy(&mut self, at: u64, first: usize) -> Result<Option<u64>, TraceError> {
        let straight = self.steps[first..].iter().filter(|step| !emulate::transfers(&step.instruction));
        let straight: Vec<Step> = straight.copied().collect();
        if straight.is_empty() {
            return Ok(None);
        }
        let mut unreached = at;
        // Once in the memory there is, once in one near what was out of reach.
        for memory in 0..=self.memories.len() {
            if memory == self.memories.len() {
                self.memories.push(CodeMemory::new(unreached as usize, CODE_BYTES)?);
            }
            let memory = &mut self.memories[memory];
            let start = match memory.reserve(BLOCK_BYTES, 0, 0) {
                Err(CodeError::Full { .. }) => continue,
                start => start?,
            };
            match copied(&straight, start as u64) {
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

    /// Forgets all copies: code may change between traces.
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
        // SAFETY: the caller's contract.
        unsafe { self.run(run, args, passes, &mut record) }?;
        Ok(record)
    }
}

/// Functions of the allocator.
const ALLOCATOR: usize = 6;

/// Where they are: what Rust's system allocator calls (`library/std/src/sys/alloc/unix.rs`).
fn allocator() -> [u64; ALLOCATOR] {
    [
        libc::malloc as *const () as u64,
        libc::calloc as *const () as u64,
        libc::realloc as *const () as u64,
        libc::free as *const () as u64,
        libc::posix_memalign as *const () as u64,
        libc::aligned_alloc as *const () as u64,
    ]
}

/// Runs a function to its end. Gives where it returns to.
///
/// # Safety
/// The registers are those of traced code that is about to enter the function at `at`; it returns.
unsafe fn whole(at: u64) -> u64 {
    // SAFETY: no traced code runs.
    let registers = unsafe { &mut *switch::registers() };
    let top = registers.general[4] as *mut u64;
    // SAFETY: the caller's contract: a return address.
    let back = unsafe { top.replace(leave as *const () as u64) };
    // SAFETY: it returns to `leave`.
    unsafe { go(at, true) };
    back
}

/// Goes on with the traced code at `code` until it comes to [`leave`].
///
/// # Safety
/// As for [`resume`]; unless with `everything`, each instruction on the way is one that [`state::leaves_alone`].
unsafe fn go(code: u64, everything: bool) {
    // SAFETY: no traced code runs.
    unsafe {
        let registers = &mut *switch::registers();
        (registers.code, registers.everything) = (code, everything.into());
    }
    // SAFETY: the caller's contract.
    unsafe { resume() };
}

/// What is kept of the instructions that are executed.
trait Record {
    /// Whether calls of the C library's allocator are run at once and not noted.
    const SKIPS_ALLOCATOR: bool;
    /// Whether so many more may come.
    fn room(&self, more: usize) -> Result<(), TraceError>;
    /// They were executed.
    fn note(&mut self, steps: &[Step]);
}

/// All of them.
impl Record for Vec<Step> {
    const SKIPS_ALLOCATOR: bool = false;

    fn room(&self, more: usize) -> Result<(), TraceError> {
        if self.len() + more > LIMIT { Err(TraceError::TooLong { limit: LIMIT }) } else { Ok(()) }
    }

    fn note(&mut self, steps: &[Step]) {
        self.extend_from_slice(steps);
    }
}

/// How many.
struct Count(usize);

impl Record for Count {
    const SKIPS_ALLOCATOR: bool = true;

    fn room(&self, more: usize) -> Result<(), TraceError> {
        if self.0 + more > COUNT_LIMIT { Err(TraceError::TooLong { limit: COUNT_LIMIT }) } else { Ok(()) }
    }

    fn note(&mut self, steps: &[Step]) {
        self.0 += steps.len();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        INSTALLED.store(false, Release);
    }
}

/// The machine code of a copy that runs at `start`: the instructions, then a jump to [`leave`]. What is out of reach from
/// there is the error.
fn copied(steps: &[Step], start: u64) -> Result<Vec<u8>, u64> {
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
    // jmp [rip+0], and the address.
    code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
    code.extend_from_slice(&(leave as *const () as u64).to_le_bytes());
    Ok(code)
}

/// Which vector state the kernel lets programs use (XCR0), as `xsave` takes it, and how many bytes that has; no component
/// and the size of `fxsave` where there is no `xsave`.
fn vector_state() -> (u64, usize) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// CPUID.1:ECX.OSXSAVE
    const OSXSAVE: u32 = 1 << 27;
    /// x87, SSE, AVX, AVX-512; not the protection keys, which are this program's, nor AMX, which has to be asked for.
    const VECTORS: u64 = 0xe7;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return (0, 512);
    }
    let (low, high): (u32, u32);
    // SAFETY: allowed by OSXSAVE.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    // CPUID.0DH.0:EBX, bytes for all that is enabled.
    ((u64::from(high) << 32 | u64::from(low)) & VECTORS, __cpuid_count(0xd, 0).ebx as usize)
}
