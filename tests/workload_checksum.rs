//! A workload that does not come to the same end with every mechanism.

mod alone;

use pvbench::clock::Clock;
use pvbench::dispatch::{All, Dispatch};
use pvbench::measure::plan::Variant;
use pvbench::measure::work::{KernelVariant, WorkError, WorkTask, Worker};
use pvbench::op::irq::SaveFl;
use pvbench::suite::OpEntry;
use pvbench::workload::{Failure, Random, Workload, WorkloadEntry, WorkloadMeta};

/// Returns something else with the table.
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

fn measured(mechanism: &str) -> Result<(), WorkError> {
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
    let column = KernelVariant::Mechanism(Variant { mechanism: mechanism.to_owned(), state: None });
    worker.measure(&task, &[column]).map(drop)
}

#[test]
fn a_checksum_that_differs_fails_with_the_names_of_both_kernels() {
    alone::alone("a_checksum_that_differs_fails_with_the_names_of_both_kernels", || {
        let message = measured("table").unwrap_err().to_string();
        assert!(message.starts_with("lying: the checksum with "), "{message}");
        assert!(message.contains("table") && message.contains("inline"), "{message}");
        measured("direct").unwrap();
    });
}
