//! Every mechanism in every state changes the CPU model as its body does, for all ops of the catalogue, native and Xen.
//! The tests compare the result of the loop and every byte of the model.

use std::collections::BTreeSet;
use std::mem::offset_of;

use pvbench::measure::comparison::Comparison;
use pvbench::measure::loops::{Copied, Loops, Prepared};
use pvbench::measure::variant::MechanismState;
use pvbench::op::BodyKind;
use pvbench::op::CpuModel;
use pvbench::op::time::TimeState;
use pvbench::op::xen::{Multicall, XenVcpu};
use pvbench::pv_ops::op_entries;
use pvbench::regime::Regime;
use pvbench::suite::{OpEntry, mechanisms};

/// All bytes of the model, as 64-bit words.
type Image = Vec<u64>;

fn image(cpu: &mut CpuModel) -> (*mut u64, usize) {
    ((&raw mut *cpu).cast(), size_of::<CpuModel>() / 8)
}

/// Runs two passes from the given bytes of the model. Returns their result and the bytes afterwards.
fn outcome(cpu: &mut CpuModel, before: &[u64], copied: &Copied, args: &[u64; 4]) -> (u64, Image) {
    let (model, words) = image(cpu);
    assert_eq!(words, before.len());
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    unsafe { std::ptr::copy_nonoverlapping(before.as_ptr(), model, words) };
    let result = unsafe { (copied.run)(args, 2) };
    // Linux passes the trap table from the stack (`xen_write_idt_entry`); its address is not compared.
    cpu.xen.hypervisor.trap_table.0 = 0;
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    (result, unsafe { std::slice::from_raw_parts(model, words) }.to_vec())
}

/// Lists the differences of two images, by their offset in the model. Two parts are left out. The buffer of the
/// multicall holds finished calls and the stale bytes between their fields; the hypervisor's state shows their effect.
/// The clocks have advanced.
fn differences(one: &[u64], two: &[u64]) -> Vec<String> {
    let start = offset_of!(CpuModel, xen) + offset_of!(XenVcpu, multicall);
    let buffer = start / 8..(start + size_of::<Multicall>()).div_ceil(8);
    let pairs = one.iter().zip(two).enumerate();
    let clocks = offset_of!(CpuModel, time) / 8..(offset_of!(CpuModel, time) + size_of::<TimeState>()).div_ceil(8);
    let pairs = pairs.filter(|(word, (one, two))| one != two && !buffer.contains(word) && !clocks.contains(word));
    pairs.map(|(word, (one, two))| format!("gs:[{:#x}] {one:#x}, not {two:#x}", word * 8)).collect()
}

/// Compares all variants with the first that is not refused, and adds those that ran to `seen`.
fn compare(
    loops: &mut Loops,
    op: &OpEntry,
    body: BodyKind,
    variants: &[MechanismState],
    seen: &mut BTreeSet<MechanismState>,
) {
    let regime = if op.pairs[0].loop_of(Regime::Latency).is_some() { Regime::Latency } else { Regime::Throughput };
    let comparison = Comparison { op: op.meta.name.to_owned(), body, regime, offset: 0 };
    let mut cpu = CpuModel::install().unwrap();
    let args = (op.arguments)(&mut cpu);
    let (_, all_prepared) = loops.prepare(op, &comparison, variants).unwrap();
    let (model, words) = image(&mut cpu);
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    let before = unsafe { std::slice::from_raw_parts(model, words) }.to_vec();
    let mut reference: Option<(&MechanismState, (u64, Image))> = None;
    for (variant, prepared) in variants.iter().zip(&all_prepared) {
        let Prepared::Loop(copied) = prepared else { continue };
        loops.activate(copied).unwrap();
        let (result, after) = outcome(&mut cpu, &before, copied, &args);
        seen.insert(variant.clone());
        let Some((of, (wanted, bytes))) = &reference else {
            reference = Some((variant, (result, after)));
            continue;
        };
        let name = format!("{} by {variant}, {}, against {of}", op.meta.name, body.name());
        assert_eq!(result, *wanted, "{name}");
        let differ = differences(&after, bytes);
        assert!(differ.is_empty(), "{name}: {}", differ.join("; "));
    }
    assert!(reference.is_some(), "{} was not run", op.meta.name);
}

#[test]
fn every_mechanism_in_every_state_changes_the_cpu_model_as_its_body_does() {
    let mut loops = Loops::new().unwrap();
    let all: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    let switching: Vec<MechanismState> =
        mechanisms().iter().filter(|m| m.switches).flat_map(MechanismState::list).collect();
    let mut seen = BTreeSet::new();
    for op in op_entries() {
        compare(&mut loops, &op, BodyKind::Native, &all, &mut seen);
        compare(&mut loops, &op, BodyKind::Xen, &switching, &mut seen);
    }
    let never: Vec<String> = all.iter().filter(|c| !seen.contains(c)).map(ToString::to_string).collect();
    // The few ops of a build without the catalogue include none that returns zero.
    let complete = never.is_empty() || !cfg!(feature = "catalogue") && never == ["static_call_inline (inline)"];
    assert!(complete, "never run: {never:?}");
}
