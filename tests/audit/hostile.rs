//! Damaged programs: no panic, no endless loop, bounded memory.
//!
//! Small programs of the corpus are damaged in one to eight places. Headers, tables of symbols, relocations and unwind
//! tables are damaged most. `AUDIT_HOSTILE=1000000 cargo test --release --test audit hostile` tries a million.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use object::{Object, ObjectSection};
use pvbench::audit::{Options, audit_binary, audit_bytes};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::builds;

/// Counts what a thread has allocated.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends frees what it allocated when its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: all requests are handed on to the system's allocator, whose answers are returned as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above, and so from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Damaged programs in a run of the tests: some seconds.
const PROGRAMS: u64 = 20_000;
/// Memory that the audit of a program of 30 KB may hold, in bytes: the document of all its functions is below 2 MB.
const MAX_BYTES: isize = 64 << 20;
/// Time that the audit of such a program may take. It takes less than a millisecond; a busy machine takes longer.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Numbers that break sums and products.
const BAD: [u64; 12] =
    [0, 1, 2, 7, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000, 1 << 40, i64::MAX as u64, u64::MAX];

#[test]
fn damaged_programs_neither_panic_nor_hang_nor_fill_the_memory() {
    let Some(originals) = originals() else {
        eprintln!("gcc is not installed: nothing was damaged");
        return;
    };
    let programs = std::env::var("AUDIT_HOSTILE").ok().and_then(|count| count.parse().ok()).unwrap_or(PROGRAMS);
    let first = std::env::var("AUDIT_HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (mut good, mut largest, mut longest) = (0, (0, 0), (Duration::ZERO, 0));
    for seed in first..first + programs {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let (original, targets) = &originals[random.random_range(0..originals.len())];
        let mut bytes = original.clone();
        damage(&mut bytes, targets, &mut random);
        let functions = if random.random_ratio(1, 4) { vec!["*".to_owned()] } else { Vec::new() };
        let options = Options { functions, lines: false };
        PEAK.set(HELD.get());
        let (held, begun) = (HELD.get(), Instant::now());
        let done = std::panic::catch_unwind(|| {
            let is_kernel = seed.is_multiple_of(16);
            match is_kernel {
                true => audit_binary("damaged", &bytes, true, &options).is_ok(),
                false => audit_bytes(Path::new("damaged"), bytes.clone(), &options).is_ok(),
            }
        });
        let done = done.unwrap_or_else(|_| panic!("seed {seed} panics: AUDIT_HOSTILE_SEED={seed} repeats it"));
        good += u64::from(done);
        largest = largest.max((PEAK.get() - held, seed));
        longest = longest.max((begun.elapsed(), seed));
        assert!(largest.0 < MAX_BYTES, "seed {seed}: {} bytes", largest.0);
        assert!(longest.0 < MAX_TIME, "seed {seed}: {:?}", longest.0);
    }
    eprintln!("{good} of {programs} damaged programs have sites; at most {largest:?} bytes and {longest:?} (seed)");
    if programs >= PROGRAMS {
        // Damage that nothing survives would test the first check alone.
        assert!(good > programs / 10, "{good} of {programs}");
    }
}

/// The bytes of a program, and the ranges of them that are damaged most.
type Original = (Vec<u8>, Vec<std::ops::Range<usize>>);

/// Small programs, with the ranges of bytes that are damaged most.
fn originals() -> Option<Vec<Original>> {
    if !builds::has("gcc") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut originals = Vec::new();
    for path in builds::small(folder.path()) {
        let bytes = std::fs::read(path).unwrap();
        let mut targets = vec![0..64, 64..64 + 56 * 8];
        if let Ok(file) = object::File::parse(bytes.as_slice()) {
            let headers = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize;
            targets.push(headers..bytes.len());
            for section in file.sections() {
                let name = section.name().unwrap_or_default();
                let is_table = [".rela", ".eh_frame", ".symtab", ".dyn", ".strtab", ".plt", ".got", ".note", ".text"];
                if let Some((start, size)) = section.file_range()
                    && is_table.iter().any(|prefix| name.starts_with(prefix))
                {
                    targets.push(start as usize..(start + size) as usize);
                }
            }
        }
        originals.push((bytes, targets));
    }
    Some(originals)
}

/// Damages a program in one to eight places.
fn damage(bytes: &mut Vec<u8>, targets: &[std::ops::Range<usize>], random: &mut Pcg64Mcg) {
    for _ in 0..random.random_range(1..=8) {
        let anywhere = 0..bytes.len();
        let range = if random.random_ratio(1, 8) { &anywhere } else { &targets[random.random_range(0..targets.len())] };
        if range.is_empty() || range.end > bytes.len() {
            continue;
        }
        let at = random.random_range(range.clone());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            // A field of a table, at its alignment.
            2 | 3 => {
                let size = [2, 4, 8][random.random_range(0..3)];
                let at = at & !(size - 1);
                let number = if random.random_ratio(1, 4) {
                    random.random_range(0..2 * bytes.len() as u64)
                } else {
                    BAD[random.random_range(0..BAD.len())].wrapping_sub(random.random_range(0..2))
                };
                if let Some(field) = bytes.get_mut(at..at + size) {
                    field.copy_from_slice(&number.to_le_bytes()[..size]);
                }
            }
            // An entry of a table is a copy of another one.
            4 => {
                let size = [16, 24, 64][random.random_range(0..3)];
                let from = random.random_range(range.clone());
                if from.max(at) + size <= bytes.len() {
                    bytes.copy_within(from..from + size, at);
                }
            }
            _ if random.random_ratio(1, 16) => bytes.truncate(at.max(1)),
            _ => bytes[at] = 0,
        }
    }
}

/// An ELF file with so many sections, each of which is the whole file.
fn overlapping(sections: u16, sh_type: u32, flags: u64) -> Vec<u8> {
    let mut bytes = vec![0x90; 64];
    bytes[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let length = 64 + u64::from(sections) * 64;
    let header = [(16, 1), (18, 62), (20, 1), (52, 64), (58, 64), (60, sections), (62, 0)];
    for (at, value) in header {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes[24..40].fill(0);
    bytes[40..48].copy_from_slice(&64_u64.to_le_bytes());
    for section in 0..sections {
        let mut entry = [0; 64];
        if section > 0 {
            let is_code = section == 1;
            entry[4..8].copy_from_slice(&(if is_code { 1 } else { sh_type }).to_le_bytes());
            entry[8..16].copy_from_slice(&(if is_code { 6 } else { flags }).to_le_bytes());
            let size = if is_code { 64 } else { length / 24 * 24 };
            entry[32..40].copy_from_slice(&u64::to_le_bytes(size));
            // Of relocations: the table of symbols, and the section that they change.
            entry[44..48].copy_from_slice(&1_u32.to_le_bytes());
            entry[56..64].copy_from_slice(&24_u64.to_le_bytes());
        }
        bytes.extend_from_slice(&entry);
    }
    bytes
}

#[test]
fn sections_that_overlap_cost_neither_time_nor_memory() {
    const CODE: (u32, u64) = (1, 6);
    const RELOCATIONS: (u32, u64) = (4, 0);
    const SYMBOLS: (u32, u64) = (2, 0);
    for (sh_type, flags) in [CODE, RELOCATIONS, SYMBOLS] {
        let bytes = overlapping(30_000, sh_type, flags);
        PEAK.set(HELD.get());
        let (held, begun) = (HELD.get(), Instant::now());
        let done = audit_binary("overlapping", &bytes, false, &Options::default());
        assert!(begun.elapsed() < MAX_TIME, "{sh_type}: {:?}", begun.elapsed());
        assert!(PEAK.get() - held < MAX_BYTES, "{sh_type}: {} bytes", PEAK.get() - held);
        assert!(sh_type != CODE.0 || done.is_err(), "sections of 57 GB were read");
    }
}
