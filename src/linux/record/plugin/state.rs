//! What the recorder knows between two callbacks.

use core::cell::UnsafeCell;

use crate::code::{Code, IRET, Instruction, List, STAMP, SYSCALL, USER};
use crate::files::{self, File};
use crate::own::OwnCounters;

/// The first word of the control file.
const MAGIC: u64 = u64::from_le_bytes(*b"pvrecord");
/// Number of time stamps that init reads before the first workload: two for each of the four loops of known length.
const KNOWN_STAMPS: u64 = 8;
/// Words of the trace that are written at once.
const BUFFER: usize = 1 << 16;
/// Bound on the instructions of a run: its place in a word has twelve bits.
const MAX_RUN: u64 = 4000;
/// Bound on the faults whose instruction may turn out to be incomplete.
const PENDING: usize = 8;
/// The part of a word that holds an address.
const ADDRESS: u64 = (1 << 48) - 1;

/// Kinds of words; `src/linux/record/trace.rs` has the same.
const RUN: u64 = 1 << 60;
const LOAD: u64 = 2 << 60;
const STORE: u64 = 3 << 60;
const BEGIN: u64 = 4 << 60;
const END: u64 = 5 << 60;

/// Kinds of entries of the kernel; `src/linux/record/entries.rs` has the same.
const INTERRUPT: u8 = 1;
const PAGE_FAULT: u8 = 2;
const FAULT: u8 = 3;

#[derive(Clone, Copy)]
struct Counts {
    kept: u64,
    cut: u64,
}

pub struct State {
    is_tracking: bool,
    is_recording: bool,
    /// The repetition of a workload that is between its marks, from 0.
    repetition: Option<usize>,
    stamps: u64,
    syscalls: u64,
    windows: u32,
    /// Depth of interrupts; 0 outside of them.
    depth: u32,
    last: *mut Instruction,
    /// Accesses since the last instruction began.
    seen: u8,
    counts: Counts,
    at_window: Counts,
    window_counts: Counts,
    late: u64,
    pending: [(u64, bool); PENDING],
    next_pending: usize,
    run: u64,
    run_next: u64,
    run_length: u64,
    /// A range of system calls for each repetition, whose instructions are written.
    plan: List<[u64; 2]>,
    pub code: Code,
    /// Calls of each site outside and within interrupts.
    calls: [*mut u64; 2],
    own: OwnCounters,
    buffer: *mut u64,
    buffered: usize,
    trace: File,
    sums: File,
}

/// The state, which only the thread of the CPU uses after the start.
pub struct Shared(UnsafeCell<State>);

// SAFETY: the emulator has one CPU; its thread alone calls back.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn get(&self) -> *mut State {
        self.0.get()
    }
}

pub static STATE: Shared = Shared(UnsafeCell::new(State {
    is_tracking: false,
    is_recording: false,
    repetition: None,
    stamps: 0,
    syscalls: 0,
    windows: 0,
    depth: 0,
    last: core::ptr::null_mut(),
    seen: 0,
    counts: Counts { kept: 0, cut: 0 },
    at_window: Counts { kept: 0, cut: 0 },
    window_counts: Counts { kept: 0, cut: 0 },
    late: 0,
    pending: [(0, false); PENDING],
    next_pending: 0,
    run: 0,
    run_next: 0,
    run_length: 0,
    plan: List::EMPTY,
    code: Code::EMPTY,
    calls: [core::ptr::null_mut(); 2],
    own: OwnCounters::NONE,
    buffer: core::ptr::null_mut(),
    buffered: 0,
    trace: File::NONE,
    sums: File::NONE,
}));

impl State {
    /// Opens the files and reads the control file. Returns whether all of it worked.
    pub fn open(&mut self) -> bool {
        self.open_files().is_some()
    }

    fn open_files(&mut self) -> Option<()> {
        let mut control = File::open(c"PVBENCH_CONTROL", c"rb")?;
        self.trace = File::open(c"PVBENCH_TRACE", c"wb")?;
        self.sums = File::open(c"PVBENCH_SUMS", c"wb")?;
        if control.read_word()? != MAGIC {
            return None;
        }
        self.own.set_length(control.read_word()? as usize);
        self.plan = List::read(&mut control)?;
        self.code = Code::read(&mut control)?;
        self.buffer = files::zeroed(BUFFER);
        self.calls = [(); 2].map(|()| files::zeroed(self.count_calls()));
        // The instruction before the first one, at an address that has no code.
        self.last = self.code.record(0, &[0; 16], 0);
        let all = [self.buffer, self.calls[0], self.calls[1]];
        (!all.iter().any(|memory| memory.is_null())).then_some(())
    }

    /// Words of a table of calls: one for each site, and the first for no site.
    fn count_calls(&self) -> usize {
        self.code.sites.items().len() + 1
    }

    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// Counts and writes an instruction that is about to be executed.
    ///
    /// # Safety
    /// `instruction` is a result of `Code::record`.
    #[inline(always)]
    pub unsafe fn execute(&mut self, instruction: *mut Instruction) {
        // SAFETY: the caller vouches for the instruction, and no reference to it exists.
        let (at, next, flags, entry, site, counter) = unsafe {
            let it = &*instruction;
            (it.at, it.next, it.flags, it.entry, it.site, it.counter)
        };
        if !self.is_tracking && flags & STAMP == 0 {
            return;
        }
        let seen = core::mem::take(&mut self.seen);
        // SAFETY: `last` is a record of `Code`, to which no reference exists.
        let (last, last_flags, accesses) = unsafe {
            let last = &mut *self.last;
            // Before an entry the CPU also stores its state, which may count as accesses of the last instruction.
            if entry == 0 {
                last.accesses = last.accesses.max(seen);
            }
            (last.at, last.flags, last.accesses)
        };
        self.last = instruction;
        if last_flags & IRET != 0 {
            self.depth = self.depth.saturating_sub(1);
            self.find_late(at);
        }
        if entry != 0 {
            // An `iretq` is complete: the fault is that of the instruction to which it returned.
            self.enter(entry, last, seen < accesses && last_flags & IRET == 0);
        }
        if flags & USER != 0 {
            self.depth = 0;
            if flags & STAMP != 0 {
                self.stamp();
            }
            if flags & SYSCALL != 0 {
                self.syscall();
            }
        }
        let is_cut = self.depth > 0;
        if site != 0 {
            self.own.count(counter);
            // SAFETY: numbers of sites are at most their count, and each table has one word more.
            unsafe { *self.calls[usize::from(is_cut)].add(site as usize) += 1 };
        }
        if is_cut {
            self.counts.cut += 1;
            return;
        }
        self.counts.kept += 1;
        if self.is_recording {
            if at != self.run_next || self.run_length == MAX_RUN {
                self.end_run();
                self.run = at;
            }
            self.run_length += 1;
            self.run_next = next;
            // SAFETY: as above.
            unsafe { (*instruction).window = self.windows };
        }
    }

    /// Counts and writes an access of the last instruction.
    #[inline(always)]
    pub fn access(&mut self, address: u64, is_store: bool) {
        self.seen = self.seen.saturating_add(1);
        if self.repetition.is_none() && !self.own.is_empty() && !is_store {
            self.read_own(address);
        }
        if self.is_recording && self.depth == 0 {
            let kind = if is_store { STORE } else { LOAD };
            self.write(kind | self.run_length.saturating_sub(1) << 48 | address & ADDRESS);
        }
    }

    /// Something is read outside of a repetition: a process may read the kernel's counters.
    #[cold]
    fn read_own(&mut self, address: u64) {
        // SAFETY: `last` is a record of `Code`, to which no other reference exists.
        let is_user = unsafe { (*self.last).flags } & USER != 0;
        if let Some(growth) = is_user.then(|| self.own.read(address)).flatten() {
            self.sums.write(growth);
            self.sums.flush();
        }
    }

    /// The kernel was entered. `is_incomplete` says that the last instruction, at `last`, made fewer accesses than
    /// before.
    #[cold]
    fn enter(&mut self, entry: u8, last: u64, is_incomplete: bool) {
        let is_cut = self.depth > 0;
        let is_fault = entry == FAULT || entry == PAGE_FAULT;
        if is_fault && (entry == FAULT || is_incomplete) {
            self.take_back(is_cut);
            if self.is_recording && !is_cut && self.run_length > 0 {
                self.run_length -= 1;
                self.run_next = last;
                if self.run_length == 0 {
                    // An empty run takes the accesses of its only instruction with it.
                    self.write(RUN | self.run & ADDRESS);
                }
            }
        } else if entry == PAGE_FAULT {
            // The fetch of the next instruction faulted, or this is the first access of the last one: its repetition
            // will tell.
            self.pending[self.next_pending % PENDING] = (last, is_cut);
            self.next_pending += 1;
        }
        if entry == INTERRUPT || is_cut {
            self.depth += 1;
        }
    }

    fn take_back(&mut self, is_cut: bool) {
        let count = if is_cut { &mut self.counts.cut } else { &mut self.counts.kept };
        *count = count.saturating_sub(1);
    }

    /// After the return from a fault: whether the instruction of that fault is executed again.
    #[cold]
    fn find_late(&mut self, at: u64) {
        if let Some(index) = self.pending.iter().position(|(pending, _)| *pending == at && at != 0) {
            let (_, is_cut) = core::mem::take(&mut self.pending[index]);
            self.take_back(is_cut);
            self.late += 1;
        }
    }

    /// Init read the time stamp: before the known loops, or at the beginning or end of a repetition.
    #[cold]
    fn stamp(&mut self) {
        self.is_tracking = true;
        let number = self.stamps;
        self.stamps += 1;
        let Some(mark) = number.checked_sub(KNOWN_STAMPS) else { return };
        let repetition = (mark / 2) as usize;
        if mark % 2 == 1 {
            self.end_window();
            self.write_sums(repetition as u64);
            self.repetition = None;
            return;
        }
        self.repetition = Some(repetition);
        self.counts = Counts { kept: 0, cut: 0 };
        self.window_counts = self.counts;
        (self.syscalls, self.late) = (0, 0);
        for calls in self.calls {
            // SAFETY: `write_bytes` needs a table of `count_calls` words: `self.calls` has only such tables.
            unsafe { calls.write_bytes(0, self.count_calls()) };
        }
    }

    /// A process makes a system call: a window may begin or end.
    #[cold]
    fn syscall(&mut self) {
        let Some(repetition) = self.repetition else { return };
        let number = self.syscalls;
        self.syscalls += 1;
        let Some([from, to]) = self.plan.items().get(repetition).copied() else { return };
        if number == to {
            self.end_window();
        }
        if number == from && to > from {
            self.windows += 1;
            self.at_window = self.counts;
            self.is_recording = true;
            (self.run_length, self.run_next) = (0, 0);
            self.write(BEGIN | repetition as u64);
        }
    }

    /// Ends a window, and writes the instructions that it executed: their number, then four words each.
    fn end_window(&mut self) {
        if !self.is_recording {
            return;
        }
        self.end_run();
        self.is_recording = false;
        let (now, before) = (self.counts, self.at_window);
        self.window_counts = Counts { kept: now.kept - before.kept, cut: now.cut - before.cut };
        let windows = self.windows;
        let used = self.code.known().iter().filter(|it| it.window == windows);
        self.write(END | used.clone().count() as u64);
        for it in used {
            let half = |from: usize| {
                let mut word = [0u8; 8];
                word.copy_from_slice(&it.bytes[from..from + 8]);
                u64::from_le_bytes(word)
            };
            for word in [it.at, u64::from(it.length), half(0), half(8)] {
                self.write(word);
            }
        }
        self.flush();
    }

    fn end_run(&mut self) {
        if self.run_length > 0 {
            self.write(RUN | self.run_length << 48 | self.run & ADDRESS);
        }
        self.run_length = 0;
    }

    fn write_sums(&mut self, repetition: u64) {
        let (all, window) = (self.counts, self.window_counts);
        self.sums.write(&[repetition, all.kept, all.cut, window.kept, window.cut, self.syscalls, self.late]);
        for calls in self.calls {
            // SAFETY: `from_raw_parts` needs `count_calls` words that nobody writes meanwhile: each table has that
            // many, and the one CPU of the guest runs in the thread of this callback (`thread=single`).
            let calls = unsafe { core::slice::from_raw_parts(calls, self.count_calls()) };
            self.sums.write(&calls[1..]);
        }
        self.sums.flush();
    }

    #[inline(always)]
    fn write(&mut self, word: u64) {
        // SAFETY: the buffer has `BUFFER` words, and is emptied when it is full.
        unsafe { *self.buffer.add(self.buffered) = word };
        self.buffered += 1;
        if self.buffered == BUFFER {
            self.flush();
        }
    }

    #[cold]
    fn flush(&mut self) {
        // SAFETY: the first `buffered` words are written, and nothing writes to them meanwhile.
        self.trace.write(unsafe { core::slice::from_raw_parts(self.buffer, self.buffered) });
        self.buffered = 0;
        self.trace.flush();
    }
}
