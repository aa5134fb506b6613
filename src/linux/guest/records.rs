//! The counts, kept in memory until the end.

use crate::linux;

/// Bound on the repetitions of all workloads.
const MAX_RECORDS: usize = 128;
/// Bound on the counters of the kernel.
const MAX_COUNTERS: usize = 160;

struct Record {
    /// `None` is all zeroes, so the static records take no room in the file.
    workload: Option<&'static str>,
    rep: u64,
    units: u64,
    instructions: u64,
    /// The most negative result of a unit; below 0, a system call failed.
    failed: isize,
    counters: [u64; MAX_COUNTERS],
}

/// A page is first touched by the records in it, so unused records cost nothing.
static mut KEPT: [Record; MAX_RECORDS] =
    [const { Record { workload: None, rep: 0, units: 0, instructions: 0, failed: 0, counters: [0; MAX_COUNTERS] } };
        MAX_RECORDS];

/// The records of this run.
pub struct Records {
    page: *const u64,
    counters: usize,
    kept: usize,
    known: [u64; 3],
}

impl Records {
    pub fn new(page: *const u64, counters: usize) -> Self {
        Records { page, counters: if page.is_null() { 0 } else { counters.min(MAX_COUNTERS) }, kept: 0, known: [0; 3] }
    }

    /// Keeps the counts of loops of known length.
    pub fn known(&mut self, known: [u64; 3]) {
        self.known = known;
    }

    /// Runs and counts `units` units. `unit` returns the result of its system calls; below 0 is an error.
    #[inline(always)]
    pub fn take(&mut self, workload: &'static str, rep: u64, units: u64, mut unit: impl FnMut() -> isize) {
        if self.kept == MAX_RECORDS {
            return;
        }
        // SAFETY: this process has one thread; `kept` is below the length.
        let record = unsafe { &mut *(&raw mut KEPT).cast::<Record>().add(self.kept) };
        self.kept += 1;
        (record.workload, record.rep, record.units) = (Some(workload), rep, units);
        let mut failed = 0;
        for index in 0..self.counters {
            // SAFETY: the kernel's page has this many counters; reads are volatile, since it changes them.
            record.counters[index] = unsafe { self.page.add(index).read_volatile() };
        }
        let start = linux::instructions();
        for _ in 0..units {
            failed = failed.min(unit());
        }
        record.instructions = linux::instructions() - start;
        for index in 0..self.counters {
            // SAFETY: the read needs a counter of the kernel's page, which has this many; it is volatile, since the
            // kernel changes it.
            record.counters[index] = unsafe { self.page.add(index).read_volatile() } - record.counters[index];
        }
        record.failed = failed;
    }

    /// Sends all records, one line of JSON each, and a last line with their number.
    pub fn send(&self) {
        if !linux::ports() {
            return;
        }
        text("{\"loop\":");
        number(self.known[0]);
        text(",\"rep\":[");
        number(self.known[1]);
        text(",");
        number(self.known[2]);
        text("],\"counters\":");
        number(self.counters as u64);
        text("}\n");
        for index in 0..self.kept {
            // SAFETY: the reference needs an initialised record, and one thread: `index` is below the number of kept
            // ones, and this process has one thread.
            let record = unsafe { &*(&raw const KEPT).cast::<Record>().add(index) };
            text("{\"workload\":\"");
            text(record.workload.unwrap_or_default());
            text("\",\"rep\":");
            number(record.rep);
            text(",\"units\":");
            number(record.units);
            text(",\"instructions\":");
            number(record.instructions);
            text(",\"failed\":");
            number(record.failed.unsigned_abs() as u64);
            text(",\"counters\":[");
            for counter in 0..self.counters {
                if counter > 0 {
                    text(",");
                }
                number(record.counters[counter]);
            }
            text("]}\n");
        }
        text("{\"end\":");
        number(self.kept as u64);
        text("}\n");
    }
}

/// Writes a text to the debug console.
fn text(text: &str) {
    for byte in text.bytes() {
        linux::out(0xe9, byte);
    }
}

fn number(value: u64) {
    if value >= 10 {
        number(value / 10);
    }
    linux::out(0xe9, b'0' + (value % 10) as u8);
}
