//! The time of workloads on the running kernel, from the blocks of their processes.

use super::{CONFIDENCE, min_adds_per_cycle};
use crate::measure::samples::Block;
use crate::report::native::Denominator;
use crate::report::schema::Estimate;
use crate::stats::location::median;
use crate::stats::worker_median::WorkerMedian;

/// Most cycles per instruction of a kernel that runs directly on the CPU. The eleven workloads have 0.6 to 2.5 on
/// machines with nested paging; a fault that a hypervisor handles takes thousands of cycles for hundreds of
/// instructions.
const MAX_CYCLES_PER_INSTRUCTION: f64 = 5.0;

/// Least number of processes with uncontended blocks, if they are also half of all; with fewer, all blocks count.
const MIN_PROCESSES: usize = 2;

/// The samples of a workload, and what they are of.
#[derive(Clone, Debug)]
pub struct UnitSamples<'a> {
    /// Name of the workload.
    pub workload: &'a str,
    /// Name of its unit.
    pub unit: &'a str,
    /// Units per window of the first process.
    pub units: u64,
    /// The blocks of each process, in ticks per unit.
    pub processes: Vec<&'a [Block<f64>]>,
    /// Shares of the cycles that the kernel took, of the processes with counters.
    pub kernel_shares: Vec<f64>,
    /// Instructions that a recorded kernel executes per unit; `None` if there is no recording.
    pub instructions: Option<f64>,
}

/// Estimates the time of a unit: the median over processes of the medians of their uncontended blocks. `None` for fewer
/// than two processes.
#[must_use]
pub fn denominator(samples: &UnitSamples, ticks_per_second: f64) -> Option<Denominator> {
    let blocks = || samples.processes.iter().copied().flatten();
    let adds: Vec<f64> = blocks().map(Block::adds_per_cycle).filter(|adds| adds.is_finite()).collect();
    let reduce = |min_adds: f64| -> Vec<[f64; 2]> {
        let of_process = |blocks: &&[Block<f64>]| {
            let own = || blocks.iter().filter(|block| block.adds_per_cycle() >= min_adds);
            let ticks: Vec<f64> = own().filter_map(mean_ticks).collect();
            let cycles: Vec<f64> =
                own().filter_map(|block| Some(mean_ticks(block)? / block.mean_ticks_per_cycle())).collect();
            Some([median(&cycles)?, median(&ticks)?])
        };
        samples.processes.iter().filter_map(of_process).collect()
    };
    let uncontended = reduce(min_adds_per_cycle(&adds));
    // A neighbour may be busy during all of a process, which then says nothing of the others.
    let are_enough = uncontended.len() >= MIN_PROCESSES && 2 * uncontended.len() >= samples.processes.len();
    let values = if are_enough { uncontended } else { reduce(0.0) };
    let [cycles, ticks] = [0, 1].map(|index| values.iter().map(|value| value[index]).collect::<Vec<f64>>());
    let cycles = Estimate::from_measured(&WorkerMedian::from_values(&cycles)?.measured(), CONFIDENCE)?;
    Some(Denominator {
        workload: samples.workload.to_owned(),
        unit: samples.unit.to_owned(),
        cycles,
        ns: median(&ticks)? / ticks_per_second * 1e9,
        processes: samples.processes.len(),
        blocks: blocks().count(),
        units: samples.units,
        kernel_share: median(&samples.kernel_shares),
        inflated: samples.instructions.and_then(|instructions| explain_inflation(cycles.estimate, instructions)),
    })
}

/// Why a unit takes longer than on the bare CPU; `None` if nothing shows that.
fn explain_inflation(cycles: f64, instructions: f64) -> Option<String> {
    let per_instruction = cycles / instructions;
    (per_instruction > MAX_CYCLES_PER_INSTRUCTION).then(|| {
        format!(
            "{per_instruction:.1} cycles for each instruction that the recorded kernel executes: a hypervisor without \
             nested paging (EPT, NPT), a kernel in software, or costly mitigations; its percentages are too low"
        )
    })
}

/// The mean of a block's two windows, in ticks.
fn mean_ticks(block: &Block<f64>) -> Option<f64> {
    let [first, second] = block.pairs.get(0)?;
    Some(f64::midpoint(first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::samples::Probe;

    fn block(ticks: f64, ticks_per_add: f64) -> Block<f64> {
        let probe = Probe { ticks_per_cycle: 0.5, ticks_per_add, reference_run: None };
        Block { probes: vec![probe, probe], pairs: vec![Some([ticks, ticks + 2.0])].into() }
    }

    fn samples(processes: &[Vec<Block<f64>>]) -> UnitSamples<'_> {
        UnitSamples {
            workload: "getppid",
            unit: "call",
            units: 10,
            processes: processes.iter().map(Vec::as_slice).collect(),
            kernel_shares: vec![],
            instructions: Some(300.0),
        }
    }

    #[test]
    fn a_unit_takes_the_median_over_processes_in_core_cycles() {
        let process = |ticks: f64| vec![block(ticks, 0.125); 5];
        let processes = [process(99.0), process(199.0), process(104.0)];
        let time = denominator(&samples(&processes), 1e9).unwrap();
        assert_eq!((time.ns, time.cycles.estimate, time.blocks), (105.0, 210.0, 15));
        assert!(time.cycles.low < 210.0 && time.cycles.high > 210.0);
        assert_eq!((time.inflated, time.kernel_share), (None, None));
        assert_eq!(denominator(&samples(&processes[..1]), 1e9), None, "one process shows no scatter");
    }

    #[test]
    fn blocks_beside_a_busy_hyperthread_are_left_out() {
        let mut process = vec![block(99.0, 0.125); 8];
        process.extend(vec![block(199.0, 0.2); 20]);
        assert_eq!(denominator(&samples(&[process.clone(), process]), 1e9).unwrap().cycles.estimate, 200.0);
    }

    #[test]
    fn a_process_beside_a_busy_hyperthread_is_left_out_if_half_of_them_are_not() {
        let alone = vec![block(99.0, 0.125); 8];
        let contended = vec![block(199.0, 0.2); 8];
        let of = |processes: &[Vec<Block<f64>>]| denominator(&samples(processes), 1e9).unwrap().cycles.estimate;
        assert_eq!(of(&[alone.clone(), contended.clone(), alone.clone(), contended.clone()]), 200.0);
        assert_eq!(of(&[alone, contended.clone(), contended.clone(), contended]), 400.0);
    }

    #[test]
    fn more_than_five_cycles_per_instruction_are_told_as_inflation() {
        let processes = [vec![block(999.0, 0.125)], vec![block(999.0, 0.125)]];
        let time = denominator(&samples(&processes), 1e9).unwrap();
        assert!(time.inflated.is_some_and(|why| why.starts_with("6.7 cycles for each instruction")));
    }
}
