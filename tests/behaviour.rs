//! That every mechanism in every state does to the CPU model what the body does that it is bound to: all ops of the
//! catalogue, native and Xen. The result of the loop and every byte of the model are compared.

use std::collections::BTreeSet;
use std::mem::offset_of;

use pvbench::measure::loops::{Copied, Loops, Prepared};
use pvbench::measure::plan::{Comparison, Variant};
use pvbench::op::BodyKind;
use pvbench::op::CpuModel;
use pvbench::op::time::TimeState;
use pvbench::op::xen::{Multicall, XenVcpu};
use pvbench::pv_ops::op_entries;
use pvbench::regime::Regime;
use pvbench::suite::{OpEntry, mechanisms};

/// All bytes of the model, by 64-bit words.
type Image = Vec<u64>;

fn image(cpu: &mut CpuModel) -> (*mut u64, usize) {
    ((&raw mut *cpu).cast(), size_of::<CpuModel>() / 8)
}

/// The result of two passes that start from the same bytes, and the bytes they leave.
fn outcome(cpu: &mut CpuModel, before: &[u64], copied: &Copied, args: &[u64; 4]) -> (u64, Image) {
    let (model, words) = image(cpu);
    assert_eq!(words, before.len());
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    unsafe { std::ptr::copy_nonoverlapping(before.as_ptr(), model, words) };
    let result = unsafe { (copied.run)(args, 2) };
    // Linux hands the trap table over from the stack (`xen_write_idt_entry`); where that stands is no matter.
    cpu.xen.hypervisor.trap_table.0 = 0;
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    (result, unsafe { std::slice::from_raw_parts(model, words) }.to_vec())
}

/// Where two images differ, by the offset in the model. Left out are the multicall's buffer, which holds calls that
/// were made already, with what happened to lie between their fields (what the hypervisor did for them counts), and the
/// clocks, which have run on.
fn differences(one: &[u64], two: &[u64]) -> Vec<String> {
    let start = offset_of!(CpuModel, xen) + offset_of!(XenVcpu, multicall);
    let buffer = start / 8..(start + size_of::<Multicall>()).div_ceil(8);
    let pairs = one.iter().zip(two).enumerate();
    let clocks = offset_of!(CpuModel, time) / 8..(offset_of!(CpuModel, time) + size_of::<TimeState>()).div_ceil(8);
    let pairs = pairs.filter(|(word, (one, two))| one != two && !buffer.contains(word) && !clocks.contains(word));
    pairs.map(|(word, (one, two))| format!("gs:[{:#x}] {one:#x}, not {two:#x}", word * 8)).collect()
}

/// Compares all columns with the first that is not refused; says which states were seen.
fn compare(loops: &mut Loops, op: &OpEntry, body: BodyKind, columns: &[Variant], seen: &mut BTreeSet<Variant>) {
    let regime = if op.pairs[0].loop_of(Regime::Latency).is_some() { Regime::Latency } else { Regime::Throughput };
    let group = Comparison { op: op.meta.name.to_owned(), body, regime, offset: 0 };
    let mut cpu = CpuModel::install().unwrap();
    let args = (op.arguments)(&mut cpu);
    let (_, offers) = loops.prepare(op, &group, columns).unwrap();
    let (model, words) = image(&mut cpu);
    // SAFETY: memory of this process, of at least that length, that nobody else writes meanwhile.
    let before = unsafe { std::slice::from_raw_parts(model, words) }.to_vec();
    let mut reference: Option<(&Variant, (u64, Image))> = None;
    for (column, offer) in columns.iter().zip(&offers) {
        let Prepared::Loop(copied) = offer else { continue };
        loops.activate(copied).unwrap();
        let (result, after) = outcome(&mut cpu, &before, copied, &args);
        seen.insert(column.clone());
        let Some((of, (wanted, bytes))) = &reference else {
            reference = Some((column, (result, after)));
            continue;
        };
        let name = format!("{} by {column}, {}, against {of}", op.meta.name, body.name());
        assert_eq!(result, *wanted, "{name}");
        let differ = differences(&after, bytes);
        assert!(differ.is_empty(), "{name}: {}", differ.join("; "));
    }
    assert!(reference.is_some(), "{} was not run", op.meta.name);
}

#[test]
fn every_mechanism_in_every_state_does_to_the_machine_what_its_body_does() {
    let mut loops = Loops::new().unwrap();
    let all: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
    let switching: Vec<Variant> = mechanisms().iter().filter(|m| m.switches).flat_map(Variant::of).collect();
    let mut seen = BTreeSet::new();
    for op in op_entries() {
        compare(&mut loops, &op, BodyKind::Native, &all, &mut seen);
        compare(&mut loops, &op, BodyKind::Xen, &switching, &mut seen);
    }
    let never: Vec<String> = all.iter().filter(|c| !seen.contains(c)).map(ToString::to_string).collect();
    // The few ops of a quick run have none that returns zero.
    let complete = never.is_empty() || !cfg!(feature = "catalogue") && never == ["static_call_inline (inline)"];
    assert!(complete, "never run: {never:?}");
}
