//! A recording of a workload of this program's own model kernel, whose cost with each mechanism can be measured: known
//! truth for a replay.

use std::collections::BTreeMap;

use crate::linux::record::convert::convert;
use crate::linux::record::recording::{About, Kernel, Recording, Whole};
use crate::linux::record::trace::{Code, Event, Window};
use crate::measure::trace::touched::Touched;
use crate::measure::workload_bench::WorkloadBench;
use crate::op::BodyKind;
use crate::patch::rules::targets;

/// Instructions of a recorded run. Its window has 60 percent of them, about as many as the recordings that ship with
/// the program; with a third of them, a predictor learns the directions of a window by heart.
const INSTRUCTIONS: u64 = 7_000_000;
/// Timed parts of a run between the first and the last.
const PARTS: u64 = 3;

/// Records a workload of the model kernel with its hooks behind the table: the parts between the first and the last.
///
/// # Errors
/// A message, where this build lacks the workload, or it cannot be traced.
pub fn record(bench: &mut WorkloadBench, workload: &str, unit: &str) -> Result<Recording, String> {
    let recorded = bench.record(workload, INSTRUCTIONS).map_err(|error| error.to_string())?;
    let (touched, units) = recorded?;
    convert_parts(&touched, workload, unit, units * PARTS)
}

fn convert_parts(touched: &Touched, workload: &str, unit: &str, units: u64) -> Result<Recording, String> {
    // Each part begins with a time stamp.
    let [.., first, _, _, last] = touched.stamps[..] else { return Err("the run has no parts".to_owned()) };
    let mut window = Window::default();
    let mut accesses = touched.accesses.iter();
    for (index, (at, count)) in touched.executed.iter().enumerate() {
        let own: Vec<_> = accesses.by_ref().take(*count as usize).collect();
        if index < first || index >= last {
            continue;
        }
        window.events.extend(own.iter().map(|it| Event::Access { at: it.at, index: 0, is_store: it.is_store }));
        window.events.push(Event::Run { at: *at, length: 1 });
    }
    for (at, step) in &touched.code {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(step.bytes()).for_each(|(to, from)| *to = *from);
        window.code.insert(*at, Code { length: step.bytes().len() as u8, bytes });
    }
    let ops = targets(BodyKind::Native);
    let name = |slot: &usize| ops.get(slot).map_or("own", |target| target.op).to_owned();
    let sites: BTreeMap<u64, String> = touched.sites.iter().map(|(site, slot)| (*site, name(slot))).collect();
    let about = About {
        workload: workload.to_owned(),
        unit: unit.to_owned(),
        units,
        kernel: Kernel {
            release: Some("the model kernel".to_owned()),
            sha256: String::new(),
            layout: String::new(),
            append: String::new(),
            qemu: String::new(),
            cpu: String::new(),
            init_sha256: String::new(),
        },
        ops: Vec::new(),
        privileged: Vec::new(),
        instructions: (last - first) as u64,
        interrupts: 0,
        whole: Whole::default(),
    };
    let mut recording = convert(&window, &sites, &|_| None, about).map_err(|error| error.to_string())?;
    recording.about.instructions = recording.count_instructions();
    Ok(recording)
}
