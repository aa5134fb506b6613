//! A workload whose checksum differs between mechanisms.

mod alone;

use pvbench::clock::Clock;
use pvbench::dispatch::All;
use pvbench::measure::variant::{MechanismState, Treatments};
use pvbench::measure::workload_bench::{WorkloadBench, WorkloadError, WorkloadJob};
use pvbench::op::irq::SaveFl;
use pvbench::prelude::*;
use pvbench::suite::OpEntry;
use pvbench::workload::WorkloadEntry;

/// A workload that returns another value with `table`.
struct Lying;

impl Workload for Lying {
    const META: WorkloadMeta =
        WorkloadMeta { name: "lying", unit: "lie", summary: "differs with the table", source: "made up" };
    type On = NoKernel<(SaveFl,)>;
    type State = ();

    fn prepare<D: Dispatch, C: Config>((): &mut (), _: Random) -> Result<(), Failure> {
        Ok(())
    }

    fn unit<D: Dispatch, C: Config>((): &mut (), (): &mut ()) -> Result<u64, Failure> {
        // SAFETY: `save_fl` takes no arguments and is bound before a unit runs.
        let flags = unsafe { D::call::<SaveFl>(()) };
        Ok(flags & 1 << 9 | u64::from(D::META.name == "table"))
    }
}

fn measure(mechanism: &str) -> Result<(), WorkloadError> {
    let ops = [OpEntry::with::<SaveFl, All>()];
    let mut bench = WorkloadBench::new(&ops, vec![WorkloadEntry::new::<Lying, All>()], 1, Clock::Tsc)?;
    let mut treatments = Treatments::default();
    let job = WorkloadJob {
        workload: "lying",
        treatments: &treatments.add_mechanisms([MechanismState::plain(mechanism)]),
        seed: 1,
        blocks: 1,
        units: Some(100),
        count: false,
        in_place: false,
    };
    bench.measure(&job, &treatments).map(drop)
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
