//! Compares traced instruction counts with callgrind's: every loop that valgrind can run, in every state, at two
//! lengths.
//!
//! The children run this binary under valgrind; each writes the names of its loops, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;

use pvbench::measure::comparison::Comparison;
use pvbench::measure::loops::{Copied, Loops, Prepared};
use pvbench::measure::trace::{Trace, Tracer};
use pvbench::measure::variant::MechanismState;
use pvbench::op::BodyKind;
use pvbench::op::CpuModel;
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Loop, Regime};
use pvbench::suite::mechanisms;

/// Environment variable of a child: the range of its ops, and the file for the names of its loops.
const CHILD: &str = "PVBENCH_CALLGRIND_CHILD";

/// Number of ops per child. At every dump, callgrind walks all code it has seen, so the cost grows with the square of
/// this number.
const OPS_PER_CHILD: usize = 6;

/// Runs a loop within a function that callgrind can count: it toggles its counting at the entry and the return.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn pvbench_counted(run: Loop, args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
    std::hint::black_box(unsafe { run(args, passes) })
}

/// Visits every loop of these ops in every state, with native bodies. Cold loops are those of throughput, and random
/// loops have no two equal passes.
fn for_each_loop(ops: Range<usize>, mut each: impl FnMut(&str, &Copied, &[u64; 4])) {
    let mut cpu = CpuModel::install().unwrap();
    let mut loops = Loops::new().unwrap();
    let columns: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    for op in &op_entries()[ops] {
        for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
            if op.pairs[0].loop_of(regime).is_none() {
                continue;
            }
            let group = Comparison { op: op.meta.name.to_owned(), body: BodyKind::Native, regime, offset: 0 };
            let (_, prepared) = loops.prepare(op, &group, &columns).unwrap();
            for (column, item) in columns.iter().zip(prepared) {
                let Prepared::Loop(copied) = item else { continue };
                loops.activate(&copied).unwrap();
                each(&format!("{} {column} {}", op.meta.name, regime.name()), &copied, &(op.arguments)(&mut cpu));
            }
        }
    }
}

/// Counts one pass of each loop of these ops with callgrind; `None` without valgrind.
fn count_with_callgrind(ops: Range<usize>) -> Option<BTreeMap<String, i64>> {
    let folder = tempfile::tempdir().unwrap();
    let (out, list) = (folder.path().join("counts"), folder.path().join("names"));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--smc-check=all", "--toggle-collect=pvbench_counted"])
        .args(["--dump-after=pvbench_counted", "--combine-dumps=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "traced_counts_equal_those_of_callgrind_for_every_loop_and_state", "--test-threads=1"])
        .env(CHILD, format!("{} {} {}", ops.start, ops.end, list.display()))
        .output();
    let ran = match ran {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        ran => ran.unwrap(),
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    let totals: Vec<i64> =
        text.lines().filter_map(|line| line.strip_prefix("summary: ")).map(|count| count.parse().unwrap()).collect();
    let names = std::fs::read_to_string(&list).unwrap();
    assert!(totals.len() >= 2 * names.lines().count(), "{} counts of {} loops", totals.len(), names.lines().count());
    Some(names.lines().map(str::to_owned).zip(totals.chunks(2).map(|counts| counts[1] - counts[0])).collect())
}

#[test]
fn traced_counts_equal_those_of_callgrind_for_every_loop_and_state() {
    if let Ok(share) = std::env::var(CHILD) {
        let [from, to, list] = *share.splitn(3, ' ').collect::<Vec<_>>() else { panic!("{share}") };
        let mut names = String::new();
        for_each_loop(from.parse().unwrap()..to.parse().unwrap(), |name, copied, args| {
            for passes in [1, 2] {
                // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
                unsafe { pvbench_counted(copied.run, args, passes) };
            }
            writeln!(names, "{name}").unwrap();
        });
        return std::fs::write(list, names).unwrap();
    }
    let ops = op_entries().len();
    let shares = Mutex::new(
        (0..ops).step_by(OPS_PER_CHILD).map(|from| from..(from + OPS_PER_CHILD).min(ops)).collect::<Vec<_>>(),
    );
    let take = || -> Option<BTreeMap<String, i64>> {
        let mut theirs = BTreeMap::new();
        while let Some(share) = { shares.lock().unwrap().pop() } {
            theirs.extend(count_with_callgrind(share)?);
        }
        Some(theirs)
    };
    let theirs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Option<Vec<_>>>()
    });
    let Some(theirs) = theirs.map(|parts| parts.into_iter().flatten().collect::<BTreeMap<_, _>>()) else {
        eprintln!("skipped: valgrind is not on the PATH");
        return;
    };
    let mut tracer = Tracer::install().unwrap();
    let (mut compared, mut differ) = (0, Vec::new());
    for_each_loop(0..ops, |name, copied, args| {
        let Some(theirs) = theirs.get(name) else { return };
        // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
        let ours = unsafe { tracer.passes(copied.run, args) }.unwrap_or_else(|error| panic!("{name}: {error}"));
        if ours.instructions() != *theirs {
            differ.push(format!("{name}: traced {}, callgrind {theirs}", ours.instructions()));
        }
        compared += 1;
    });
    println!("{compared} loops");
    assert!(differ.is_empty(), "{} of {compared}\n{}", differ.len(), differ.join("\n"));
    assert_eq!(compared, theirs.len());
}
