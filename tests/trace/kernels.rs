//! Copies of kernels: they execute copied functions, whichever codegen unit has the callee and however its caller
//! reaches it. A function that runs in place has one address in all placements, so its share of the time has no
//! interval.

use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::measure::trace::Trace;
use pvbench::patch::text::serialise;
use pvbench::pv_ops::workload_entries;
use pvbench::relocate::{CodeImage, CodeMemory, DecodeCache, RandomLayouts, link};
use pvbench::workload::{Failure, Run};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::turn;

/// Largest share of the program's own instructions that a copy executes in place: it binds its hooks, as long as the
/// catalogue, in a function that is not copied.
const MAX_IN_PLACE: f64 = 0.02;

/// A run of a workload in the shape of a loop, with units as passes.
struct Call<'m> {
    run: Run,
    machine: &'m mut Machine,
    failure: Option<Failure>,
}

/// # Safety
/// The first word is the address of a [`Call`] that nothing else uses meanwhile.
unsafe extern "C" fn run_call(args: *const [u64; 4], units: u64) -> u64 {
    // SAFETY: a unique reference needs a `Call` that nothing else uses: the caller guarantees it.
    let call = unsafe { &mut *((*args)[0] as *mut Call<'_>) };
    call.failure = (call.run)(call.machine, 1, units, Clock::Tsc).err();
    0
}

/// The addresses of this program's text.
fn own_text() -> Vec<std::ops::Range<u64>> {
    let program = std::env::current_exe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let own = maps.lines().filter(|line| line.ends_with(program.to_str().unwrap()) && line.contains("r-xp"));
    own.map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |digits| u64::from_str_radix(digits, 16).unwrap();
        number(start)..number(end)
    })
    .collect()
}

#[test]
fn a_copy_of_a_kernel_executes_copied_functions() {
    let mut turn = turn();
    let mut machine = Machine::new().unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let text = own_text();
    // Its functions call each other across modules, and a unit takes few single steps. A small build lacks it.
    let entries = workload_entries();
    let find = |name: &str| entries.iter().find(|entry| entry.meta.name == name);
    let entry = find("fork_exit").or(find("mmap_perf")).unwrap();
    let data: Vec<_> = entry.variants.iter().filter_map(|variant| variant.data).collect();
    let mut decoded = DecodeCache::leaving(entry.variants.iter().map(|variant| variant.bind as usize));
    let names = ["table", "dyn"];
    for variant in entry.variants.iter().filter(|variant| names.contains(&variant.mechanism.name)) {
        // The first run binds the hooks, whose tables are copied.
        (variant.run)(&mut machine, 1, 1, Clock::Tsc).unwrap();
        let root = variant.run as *const () as usize;
        // SAFETY: `of_known` needs a compiled function, which `run` is; `with_data` needs data that only this image
        // uses, which the mechanisms declare.
        let image = unsafe { CodeImage::of_known(root, &mut decoded).unwrap().with_data(&data, &mut decoded) };
        let image = image.unwrap();
        let mut memory = CodeMemory::with_data(root, image.room(), image.data_room()).unwrap();
        let linked = link(&image, &RandomLayouts::default().draw(&image, &mut rng), &mut memory).unwrap();
        serialise();
        // SAFETY: the address is that of a copy of `run`, which has this type, and the memory still holds it.
        let run = unsafe { std::mem::transmute::<usize, Run>(linked.address_of(root as u64).unwrap() as usize) };
        let mut call = Call { run, machine: &mut machine, failure: None };
        // SAFETY: `trace` needs a loop that may be called with these arguments: `run_call` takes the address of a
        // call, which lives until it returns.
        let steps = unsafe { turn.stepper.trace(run_call, &[(&raw mut call) as u64, 0, 0, 0], 1) }.unwrap();
        assert!(call.failure.is_none());
        let (mut copied, mut in_place) = (0, 0);
        for step in &steps {
            let at = step.address();
            if linked.original_at(at).is_some() {
                copied += 1;
            } else if text.iter().any(|text| text.contains(&at)) {
                in_place += 1;
            }
        }
        let share = f64::from(in_place) / f64::from(copied + in_place);
        let name = format!("{} with {}", entry.meta.name, variant.mechanism.name);
        println!("{name}: {copied} copied, {in_place} in place");
        assert!(share <= MAX_IN_PLACE, "{name}: {copied} instructions in the copy, {in_place} in place");
    }
}
