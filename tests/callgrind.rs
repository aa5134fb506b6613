//! The traced counts against callgrind's: every loop that valgrind can run, in every state, at two lengths.
//!
//! The child is this binary again, under valgrind; it says which loops it ran, in their order.

use std::fmt::Write as _;
use std::process::Command;

use pvbench::dispatch::Platform;
use pvbench::measure::loops::{Copied, Loops, Offer};
use pvbench::measure::plan::{Column, Group};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::op::CpuModel;
use pvbench::regime::{Loop, Regime};
use pvbench::suite::{OpEntry, builtin, mechanisms};

/// Says to the test that it is the child, and where to write what it ran.
const CHILD: &str = "PVBENCH_CALLGRIND_CHILD";

/// What valgrind's decoder does not know, or answers in another way than the CPU: it ends the process, or the loop.
const NOT_IN_VALGRIND: [&str; 0] = [];

/// Runs a loop where callgrind can be told to count: from here to the return.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn pvbench_counted(run: Loop, args: *const [u64; 4], passes: u64) -> u64 {
    std::hint::black_box(unsafe { run(args, passes) })
}

/// Every loop of the suite in every state, with native bodies, entered. Cold loops are those of throughput, and random
/// ones have no two passes that are alike.
fn for_each_loop(mut each: impl FnMut(&str, &Copied, &[u64; 4])) {
    let mut cpu = CpuModel::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let columns: Vec<Column> = mechanisms().iter().flat_map(Column::of).collect();
    for op in builtin().iter().filter(|op| !NOT_IN_VALGRIND.contains(&op.meta.name)) {
        for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
            if op.pairs[0].loop_of(regime).is_none() {
                continue;
            }
            let group = Group { op: op.meta.name.to_owned(), body: Platform::Native, regime, offset: 0 };
            let (_, offers) = loops.prepare(op, &group, &columns).unwrap();
            for (column, offer) in columns.iter().zip(offers) {
                let Offer::Loop(copied) = offer else { continue };
                loops.enter(&copied).unwrap();
                let name = format!("{} {column} {}", op.meta.name, regime.name());
                each(&name, &copied, &arguments(op, &mut cpu));
            }
        }
    }
}

fn arguments(op: &OpEntry, cpu: &mut CpuModel) -> [u64; 4] {
    (op.arguments)(cpu)
}

#[test]
fn every_loop_in_every_state_is_counted_as_callgrind_counts_it() {
    if let Some(list) = std::env::var_os(CHILD) {
        let mut names = String::new();
        for_each_loop(|name, copied, args| {
            for passes in [1, 2] {
                unsafe { pvbench_counted(copied.run, args, passes) };
            }
            writeln!(names, "{name}").unwrap();
        });
        return std::fs::write(list, names).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, list) = (folder.path().join("counts"), folder.path().join("names"));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--smc-check=all", "--toggle-collect=pvbench_counted"])
        .args(["--dump-after=pvbench_counted", "--combine-dumps=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "every_loop_in_every_state_is_counted_as_callgrind_counts_it", "--test-threads=1"])
        .env(CHILD, &list)
        .output();
    let ran = match ran {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: valgrind is not on the PATH");
            return;
        }
        ran => ran.unwrap(),
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    let totals: Vec<i64> =
        text.lines().filter_map(|line| line.strip_prefix("summary: ")).map(|count| count.parse().unwrap()).collect();
    let names = std::fs::read_to_string(&list).unwrap();
    let names: Vec<&str> = names.lines().collect();
    assert!(totals.len() >= 2 * names.len(), "{} counts of {} loops", totals.len(), names.len());
    let theirs: std::collections::BTreeMap<&str, i64> =
        names.iter().zip(totals.chunks(2)).map(|(name, counts)| (*name, counts[1] - counts[0])).collect();
    let mut tracer = Tracer::install().unwrap();
    let (mut compared, mut differ) = (0, Vec::new());
    for_each_loop(|name, copied, args| {
        let Some(theirs) = theirs.get(name) else { return };
        let ours = unsafe { tracer.passes(copied.run, args) }.unwrap_or_else(|error| panic!("{name}: {error}"));
        if ours.instructions() != *theirs {
            differ.push(format!("{name}: traced {}, callgrind {theirs}", ours.instructions()));
        }
        compared += 1;
    });
    println!("{compared} loops");
    assert!(differ.is_empty(), "{} of {compared}\n{}", differ.len(), differ.join("\n"));
    assert_eq!(compared, names.len());
}
