//! The instruction mix of a loop against the text of its disassembly, traced by single steps of the CPU.

use iced_x86::{Formatter, IntelFormatter};
use pvbench::measure::trace::{Passes, Step, Trace};
use pvbench::op::{CpuModel, InstructionMix};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Loop, Regime, SITES};

use crate::{bind, call_and_return, conditions, fill, nothing, through_stack, turn};

fn mix_of(name: &str, run: Loop) -> InstructionMix {
    turn().passes(name, run, &[0; 4]).mix().unwrap_or_else(|| panic!("{name} has no mix"))
}

/// Counts a trace by the words of its disassembly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Words {
    direct_calls: i64,
    indirect_calls: i64,
    returns: i64,
    direct_jumps: i64,
    indirect_jumps: i64,
    branches: i64,
    taken: i64,
    locked: i64,
    serialising: i64,
}

impl Words {
    fn of(steps: &[Step]) -> Self {
        let (mut words, mut formatter) = (Words::default(), IntelFormatter::new());
        for (index, step) in steps.iter().enumerate() {
            let mut text = String::new();
            formatter.format(&step.instruction, &mut text);
            let text = text.trim_start_matches("notrack ").trim_start_matches("bnd ");
            let operands = text.split_once(' ').map_or("", |(_, operands)| operands);
            let is_near = operands.starts_with("short ") || operands.starts_with(|c: char| c.is_ascii_digit());
            let is_taken = |next: &Step| next.address() != step.address() + step.bytes().len() as u64;
            match text.split(' ').next().unwrap() {
                "call" if is_near => words.direct_calls += 1,
                "call" => words.indirect_calls += 1,
                "ret" => words.returns += 1,
                "jmp" if is_near => words.direct_jumps += 1,
                "jmp" => words.indirect_jumps += 1,
                name if name.starts_with('j') || name.starts_with("loop") => {
                    words.branches += 1;
                    words.taken += i64::from(steps.get(index + 1).is_some_and(is_taken));
                }
                "lock" => words.locked += 1,
                "xchg" if operands.contains('[') => words.locked += 1,
                "cpuid" | "iretq" | "lfence" | "mfence" | "sfence" => words.serialising += 1,
                _ => {}
            }
        }
        words
    }

    /// Counts of eight ops: two passes less one, without the branch that closes the loop.
    fn of_passes(passes: &Passes) -> Self {
        let (one, two) = (Words::of(&passes.one), Words::of(&passes.two));
        Words {
            direct_calls: two.direct_calls - one.direct_calls,
            indirect_calls: two.indirect_calls - one.indirect_calls,
            returns: two.returns - one.returns,
            direct_jumps: two.direct_jumps - one.direct_jumps,
            indirect_jumps: two.indirect_jumps - one.indirect_jumps,
            branches: two.branches - one.branches - 1,
            taken: two.taken - one.taken,
            locked: two.locked - one.locked,
            serialising: two.serialising - one.serialising,
        }
    }

    fn of_mix(mix: &InstructionMix) -> Self {
        let whole = |per_op: f64| (per_op * SITES as f64) as i64;
        Words {
            direct_calls: whole(mix.direct_calls),
            indirect_calls: whole(mix.indirect_calls),
            returns: whole(mix.returns),
            direct_jumps: whole(mix.direct_jumps),
            indirect_jumps: whole(mix.indirect_jumps),
            branches: whole(mix.branches()),
            taken: whole(mix.taken_branches),
            locked: whole(mix.locked),
            serialising: whole(mix.serialising),
        }
    }
}

#[test]
fn the_mix_of_known_code_has_each_instruction_in_its_class() {
    let none = InstructionMix::default();
    assert_eq!(mix_of("nothing", nothing), none, "the loop's own branch is not in it");
    let transfers = InstructionMix { direct_calls: 1.0, returns: 1.0, direct_jumps: 1.0, ..none };
    let called = InstructionMix { loads: 1.0, stores: 1.0, code_lines: 1.0, ..transfers };
    assert_eq!(mix_of("call_and_return", call_and_return), called);
    // For ecx = 3: none of three; for 2: je; for 1: jb; loop twice, then not; jrcxz. The jg goes to the next instruction
    // whether it is taken or not.
    let branches = InstructionMix { taken_branches: 5.0, untaken_branches: 5.0, code_lines: 1.0, ..none };
    assert_eq!(mix_of("conditions", conditions), branches);
    let through_stack = mix_of("through_stack", through_stack);
    let counted = (through_stack.returns, through_stack.indirect_jumps, through_stack.indirect_branches());
    assert_eq!(counted, (1.0, 1.0, 1.0), "a return is no indirect branch");
    assert_eq!((through_stack.loads, through_stack.stores), (1.0, 1.0), "a push and a return");
    assert_eq!(mix_of("fill", fill).stores, 1.0, "a repeated string instruction counts once");
}

#[test]
fn each_loop_has_the_mix_that_its_disassembly_has_by_words() {
    let mut turn = turn();
    let mut cpu = CpuModel::install().unwrap();
    let (mut compared, mut without) = (0, Vec::new());
    for op in op_entries() {
        for pair in &op.pairs {
            for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
                let Some(run) = pair.loop_of(regime) else { continue };
                let name = format!("{} {} {}", op.meta.name, pair.mechanism.name, regime.name());
                let args = bind(&op, pair, &mut cpu);
                // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for
                // its op.
                let passes =
                    unsafe { turn.tracer.passes(run, &args) }.unwrap_or_else(|error| panic!("{name}: {error}"));
                let Some(mix) = passes.mix() else {
                    without.push(name);
                    continue;
                };
                let (counted, mut words) = (Words::of_mix(&mix), Words::of_passes(&passes));
                // A compiler closes a loop with a branch that is taken, or with one that leaves.
                words.taken -= i64::from(counted.taken < words.taken);
                assert_eq!(counted, words, "{name}");
                compared += 1;
            }
        }
    }
    // Passes of an op that does some work in some calls only have no mix.
    assert!(without.len() * 100 <= compared, "{compared} mixes; none of {}", without.join("\n"));
}
