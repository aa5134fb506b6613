//! A workload whose checksum differs between mechanisms.

mod alone;

use pvbench::clock::Clock;
use pvbench::dispatch::{All, Dispatch};
use pvbench::measure::plan::Variant;
use pvbench::measure::work::{KernelVariant, WorkError, WorkTask, Worker};
use pvbench::op::irq::SaveFl;
use pvbench::suite::OpEntry;
use pvbench::workload::{Failure, Random, Workload, WorkloadEntry, WorkloadMeta};

/// A workload that returns another value with `table`.
struct Lying;

impl Workload for Lying {
    const META: WorkloadMeta =
        WorkloadMeta { name: "lying", unit: "lie", summary: "differs with the table", source: "made up" };
    type Ops = (SaveFl,);
    type State = ();

    fn prepare<D: Dispatch>(_: Random) -> Result<(), Failure> {
        Ok(())
    }

    fn unit<D: Dispatch>((): &mut ()) -> Result<u64, Failure> {
        // SAFETY: `save_fl` takes no arguments and is bound before a unit runs.
        let flags = unsafe { D::call::<SaveFl>(()) };
        Ok(flags & 1 << 9 | u64::from(D::META.name == "table"))
    }
}

fn measure(mechanism: &str) -> Result<(), WorkError> {
    let ops = [OpEntry::with::<SaveFl, All>()];
    let mut worker = Worker::new(&ops, vec![WorkloadEntry::own::<Lying, All>()], 1, Clock::Tsc)?;
    let task = WorkTask {
        workload: "lying".to_owned(),
        seed: 1,
        rounds: 1,
        units: Some(100),
        count: false,
        in_place: false,
        variants: None,
    };
    let variant = KernelVariant::Mechanism(Variant { mechanism: mechanism.to_owned(), state: None });
    worker.measure(&task, &[variant]).map(drop)
}

#[test]
fn a_differing_checksum_fails_and_names_both_kernels() {
    alone::alone("a_differing_checksum_fails_and_names_both_kernels", || {
        let message = measure("table").unwrap_err().to_string();
        assert!(message.starts_with("lying: the checksum with "), "{message}");
        assert!(message.contains("table") && message.contains("inline"), "{message}");
        measure("direct").unwrap();
    });
}
