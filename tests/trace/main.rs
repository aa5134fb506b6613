//! Traces: their counts, the state that they preserve, and the conditions under which they are refused. Every loop is
//! traced by both tracers.
//!
//! A signal's handler belongs to the whole process, so tests that step take turns. Tests that end a process run in a
//! child: this binary again, with one test by its name.

mod decode;
mod kernels;
mod mix;
mod stepper;
mod stepping;

use std::arch::naked_asm;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use iced_x86::FlowControl;
use pvbench::measure::trace::{MAX_TRACE_INSTRUCTIONS, OneOp, Passes, Step, Trace, TraceError, Tracer};
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Loop, Regime, SITES};
use pvbench::relocate::LoopFunction;
use pvbench::suite::{OpEntry, Pair};

use crate::stepper::Stepper;

/// Environment variable that tells a test that it is the child, with the child's task.
const CHILD: &str = "PVBENCH_TRACE_CHILD";

static TURN: Mutex<()> = Mutex::new(());

/// Both tracers, which no other test has at the same time. Fields are dropped in order.
struct Turn {
    tracer: Tracer,
    stepper: Stepper,
    _turn: MutexGuard<'static, ()>,
}

fn turn() -> Turn {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Turn { tracer: Tracer::install().unwrap(), stepper: Stepper::install().unwrap(), _turn: turn }
}

impl Turn {
    /// Traces a loop with both tracers, whose results must agree.
    fn both<T>(&mut self, trace: impl Fn(&mut dyn Trace) -> Result<T, TraceError>) -> [Result<T, TraceError>; 2] {
        [trace(&mut self.tracer), trace(&mut self.stepper)]
    }

    fn passes(&mut self, name: &str, run: Loop, args: &[u64; 4]) -> Passes {
        // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op,
        // or the loop reads none.
        let [blocks, steps] = self.both(|trace| unsafe { trace.passes(run, args) });
        let blocks = blocks.unwrap_or_else(|error| panic!("{name}, by blocks: {error}"));
        let steps = steps.unwrap_or_else(|error| panic!("{name}, by steps: {error}"));
        assert_eq!(listing(blocks.second()), listing(steps.second()), "{name}");
        assert_eq!(addresses(&blocks.two), addresses(&steps.two), "{name}");
        blocks
    }
}

fn addresses(steps: &[Step]) -> Vec<u64> {
    steps.iter().map(Step::address).collect()
}

/// Runs this test binary again with one test.
fn child(test: &str, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, task);
    command
}

fn task() -> Option<String> {
    std::env::var(CHILD).ok()
}

fn per_op(run: Loop) -> f64 {
    turn().passes("body", run, &[0; 4]).per_op()
}

fn listing(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| step.instruction.to_string()).collect()
}

/// `body!(name, "asm", ..)`: a measured loop with that body eight times per pass, then `dec` and `jnz`.
macro_rules! body {
    ($name:ident, $($line:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(_: *const [u64; 4], passes: u64) -> u64 {
            naked_asm!("22:", ".rept 8", $($line,)* ".endr", "dec rsi", "jnz 22b", "mov rax, r8", "ret")
        }
    };
}

/// Instructions per op of the loop's own decrement and branch, shared by eight ops.
const OWN: f64 = 2.0 / SITES as f64;

body!(nothing, "");
body!(read_flags, "pushfq", "pop rax");
body!(load_flags, "push 0x202", "popfq");
body!(read_and_load_flags, "pushfq", "popfq");
body!(red_zone, "mov [rsp - 8], rsi", "mov [rsp - 128], rsi", "mov r8, [rsp - 8]", "sub r8, [rsp - 128]");
body!(
    return_from_interrupt,
    "mov rax, rsp",
    "mov ecx, ss",
    "push rcx",
    "push rax",
    "push 0x202",
    "mov ecx, cs",
    "push rcx",
    "lea rcx, [rip + 23f]",
    "push rcx",
    "iretq",
    "23:"
);
body!(identify, "mov r9, rbx", "xor eax, eax", "xor ecx, ecx", "cpuid", "mov rbx, r9");
body!(clocks, "rdtsc", "pause", "lfence");
body!(load_stack_segment, "mov ecx, ss", "mov ss, ecx", "nop");
body!(fill, "lea rdi, [rsp - 64]", "mov ecx, 8", "xor eax, eax", "rep stosb");
body!(other_fs_base, "rdfsbase rax", "xor ecx, ecx", "wrfsbase rcx", "nop", "wrfsbase rax");
body!(call_and_return, "call 23f", "jmp 24f", "23:", "nop", "ret", "24:");
body!(
    conditions,
    "mov ecx, 3",
    "23:",
    "cmp ecx, 2",
    "jb 24f",
    "je 24f",
    "jg 24f",
    "24:",
    "loop 23b",
    "jrcxz 25f",
    "nop",
    "25:"
);
body!(through_stack, "lea rax, [rip + 23f]", "push rax", "ret", "nop", "23:", "lea rax, [rip + 24f]", "jmp rax", "24:");
body!(
    vectors,
    "mov eax, 7",
    "movq xmm3, rax",
    "jmp 23f",
    "23:",
    "movq rcx, xmm3",
    "cmp ecx, 7",
    "jne 24f",
    "nop",
    "24:"
);
body!(
    vectors_for_long,
    "mov eax, 7",
    "movq xmm3, rax",
    // Rounding down, which is not the default.
    "mov dword ptr [rsp - 8], 0x3f80",
    "ldmxcsr [rsp - 8]",
    "fld1",
    "mov ecx, 3",
    "23:",
    "lea rdx, [rdx + 1]",
    "loop 23b",
    "movq rcx, xmm3",
    "stmxcsr [rsp - 8]",
    "fstp qword ptr [rsp - 16]",
    "sub ecx, 7",
    "xor dword ptr [rsp - 8], 0x3f80",
    "or ecx, [rsp - 8]",
    "jrcxz 24f",
    "nop",
    "24:",
    "mov dword ptr [rsp - 8], 0x1f80",
    "ldmxcsr [rsp - 8]"
);
body!(breakpoint, "int3");

/// The trap flag that [`flag_seen`] saw at any of its eight sites.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);

#[unsafe(naked)]
unsafe extern "C" fn flag_seen(_: *const [u64; 4], passes: u64) -> u64 {
    naked_asm!(
        "xor r8d, r8d",
        "22:",
        ".rept 8",
        "pushfq",
        "pop rax",
        "and eax, 0x100",
        "or r8, rax",
        "mov [rip + {seen}], r8",
        ".endr",
        "dec rsi",
        "jnz 22b",
        "mov rax, r8",
        "ret",
        seen = sym SEEN,
    )
}

/// Passes of [`every_third`] since the last pass with work.
static SINCE: AtomicU64 = AtomicU64::new(0);

/// Works in every third pass only.
#[unsafe(naked)]
unsafe extern "C" fn every_third(_: *const [u64; 4], passes: u64) -> u64 {
    naked_asm!(
        "22:",
        "inc qword ptr [rip + {since}]",
        "cmp qword ptr [rip + {since}], 3",
        "jb 23f",
        "mov qword ptr [rip + {since}], 0",
        "23:",
        "dec rsi",
        "jnz 22b",
        "ret",
        since = sym SINCE,
    )
}

/// Fills every record before it returns.
#[unsafe(naked)]
unsafe extern "C" fn long(_: *const [u64; 4], _: u64) -> u64 {
    naked_asm!("mov eax, {}", "22:", "dec eax", "jnz 22b", "ret", const MAX_TRACE_INSTRUCTIONS)
}

/// Threads of [`starts_a_thread`] that have ended.
static ENDED: AtomicU64 = AtomicU64::new(0);
/// The process that [`starts_a_process`] started, or its error.
static PROCESS: AtomicU64 = AtomicU64::new(0);

/// Starts a thread in each pass through the C library, which uses clone3 or clone.
unsafe extern "C" fn starts_a_thread(_: *const [u64; 4], passes: u64) -> u64 {
    for _ in 0..passes {
        let thread = std::thread::spawn(|| ENDED.fetch_add(1, Ordering::SeqCst));
        if thread.join().is_err() {
            return 1;
        }
    }
    0
}

/// Makes one of the four system calls that return twice. The kernel refuses the first two, whose flags contradict each
/// other; the children of the others end at once.
#[unsafe(naked)]
unsafe extern "C" fn starts_a_process<const NUMBER: i64>(_: *const [u64; 4], _: u64) -> u64 {
    naked_asm!(
        "mov eax, {}",
        // CLONE_THREAD without CLONE_SIGHAND; for clone3, no arguments.
        "mov edi, 0x10000",
        "xor esi, esi",
        "xor edx, edx",
        "syscall",
        "test eax, eax",
        "jnz 22f",
        "mov eax, {exit}",
        "xor edi, edi",
        "syscall",
        "22:",
        "inc qword ptr [rip + {ended}]",
        "mov [rip + {process}], rax",
        "ret",
        const NUMBER,
        exit = const libc::SYS_exit,
        ended = sym ENDED,
        process = sym PROCESS,
    )
}

body!(process_id, "mov eax, 39", "syscall", "mov r8, rax");

fn bind(op: &OpEntry, pair: &Pair, cpu: &mut CpuModel) -> [u64; 4] {
    (pair.bind)(BodyKind::Native);
    (op.arguments)(cpu)
}

#[test]
fn a_count_equals_the_length_of_the_trace() {
    let mut turn = turn();
    for run in [nothing as Loop, read_flags, call_and_return, conditions, fill] {
        for passes in [1, 7] {
            // SAFETY: a trace needs a loop that returns and may be called with these arguments: these loops read none.
            let [count, trace] = unsafe {
                [
                    turn.tracer.count(run, &[0; 4], passes).unwrap(),
                    turn.tracer.trace(run, &[0; 4], passes).unwrap().len() as u64,
                ]
            };
            assert_eq!(count, trace);
        }
    }
}

#[test]
fn every_instruction_counts_once() {
    for (name, run, instructions) in [
        ("nothing", nothing as Loop, 0.0),
        ("call_and_return", call_and_return, 4.0),
        ("clocks", clocks, 3.0),
        ("red_zone", red_zone, 4.0),
    ] {
        assert_eq!(per_op(run), instructions + OWN, "{name}");
    }
}

#[test]
fn loading_flags_without_the_trap_flag_does_not_end_the_trace() {
    assert_eq!(per_op(read_flags), 2.0 + OWN);
    assert_eq!(per_op(load_flags), 2.0 + OWN);
    assert_eq!(per_op(read_and_load_flags), 2.0 + OWN);
    assert_eq!(per_op(return_from_interrupt), 10.0 + OWN);
}

#[test]
fn instructions_without_a_step_of_their_own_are_counted() {
    assert_eq!(per_op(identify), 5.0 + OWN);
    assert_eq!(per_op(load_stack_segment), 3.0 + OWN);
}

#[test]
fn branches_have_the_same_targets_as_without_a_trace() {
    // For ecx = 3: not taken, not taken, jg; for 2: jb, je; for 1: jb; each with cmp and loop.
    assert_eq!(per_op(conditions), 1.0 + 5.0 + 4.0 + 3.0 + 1.0 + OWN);
    assert_eq!(per_op(through_stack), 5.0 + OWN);
    assert_eq!(per_op(vectors), 7.0 + OWN);
}

#[test]
fn a_repeated_string_instruction_is_one_instruction() {
    assert_eq!(per_op(fill), 4.0 + OWN);
}

/// The handler would fault on any access to thread-local storage while the base of `fs` is 0.
#[test]
fn a_body_may_have_another_fs_base() {
    // AT_HWCAP2, bit 1 (arch/x86/include/uapi/asm/hwcap2.h).
    // SAFETY: `getauxval` allows any number.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 == 0 {
        eprintln!("skipped: this kernel or CPU has no wrfsbase in user space");
        return;
    }
    assert_eq!(per_op(other_fs_base), 5.0 + OWN);
}

/// `flag_seen` stores every flag that it saw.
#[test]
fn traced_code_does_not_see_the_trap_flag() {
    let mut turn = turn();
    let traced = turn.both(|trace| {
        // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op,
        // or the loop reads none.
        let steps = unsafe { trace.trace(flag_seen, &[0; 4], 1) }?;
        Ok((steps.len(), SEEN.swap(u64::MAX, Ordering::Relaxed)))
    });
    for traced in traced {
        assert_eq!(traced.unwrap(), (1 + 8 * 5 + 4, 0));
    }
}

#[test]
fn a_trace_starts_at_the_first_instruction_and_ends_with_the_return() {
    let mut turn = turn();
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    for steps in turn.both(|trace| unsafe { trace.trace(call_and_return, &[0; 4], 2) }) {
        let steps = steps.unwrap();
        assert_eq!(steps[0].address(), call_and_return as *const () as u64);
        let last = steps.last().unwrap();
        assert_eq!((last.instruction.flow_control(), last.bytes()), (FlowControl::Return, &[0xc3][..]));
        assert_eq!(steps.len(), 2 * (8 * 4 + 2) + 2);
    }
}

#[test]
fn work_in_some_passes_only_is_unsteady() {
    let mut turn = turn();
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    for counted in turn.both(|trace| unsafe { trace.per_op(every_third, &[0; 4]) }) {
        assert!(matches!(counted, Err(TraceError::Unsteady { .. })), "{counted:?}");
    }
}

#[test]
fn a_loop_with_too_many_instructions_is_refused_and_runs_to_its_end() {
    let mut turn = turn();
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    for traced in turn.both(|trace| unsafe { trace.trace(long, &[0; 4], 1) }) {
        assert!(matches!(traced, Err(TraceError::TooLong { .. })), "{traced:?}");
    }
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    for next in turn.both(|trace| unsafe { trace.trace(nothing, &[0; 4], 1) }) {
        assert!(next.is_ok(), "{next:?}");
    }
}

/// A new thread or process would continue in the copies, with the registers of another.
#[test]
fn code_that_starts_a_thread_or_process_is_refused_and_runs_to_its_end() {
    let mut turn = turn();
    for (run, passes) in [
        (starts_a_thread as Loop, 3),
        (starts_a_process::<{ libc::SYS_clone }>, 1),
        (starts_a_process::<{ libc::SYS_clone3 }>, 1),
        (starts_a_process::<{ libc::SYS_fork }>, 1),
        (starts_a_process::<{ libc::SYS_vfork }>, 1),
    ] {
        for _ in 0..2 {
            ENDED.store(0, Ordering::SeqCst);
            // SAFETY: a trace needs a loop that returns and may be called with these arguments: this loop reads none.
            let counted = unsafe { turn.tracer.count(run, &[0; 4], passes) };
            let Err(TraceError::Starts { at }) = counted else { panic!("{counted:?}") };
            // SAFETY: the read needs mapped bytes: an instruction was executed at this address just now.
            assert_eq!(unsafe { *(at as *const [u8; 2]) }, [0x0f, 0x05], "no system call at {at:#x}");
            assert_eq!(ENDED.load(Ordering::SeqCst), passes);
            let process = PROCESS.swap(0, Ordering::SeqCst) as libc::pid_t;
            if process > 0 {
                // SAFETY: `waitpid` allows a null pointer for the status, which is not needed.
                assert_eq!(unsafe { libc::waitpid(process, std::ptr::null_mut(), 0) }, process);
            }
            // SAFETY: a trace needs a loop that returns and may be called with these arguments: this loop reads none.
            assert_eq!(unsafe { turn.tracer.count(nothing, &[0; 4], 1) }.unwrap(), 4);
        }
    }
}

#[test]
fn other_system_calls_are_counted() {
    let mut turn = turn();
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: this loop reads none.
    assert_eq!(unsafe { turn.tracer.per_op(process_id, &[0; 4]) }.unwrap(), 3.0 + OWN);
    // SAFETY: the loop may be called with any arguments, because it reads none.
    assert_eq!(unsafe { process_id(&[0; 4], 1) }, u64::from(std::process::id()));
}

/// The blocks in between use neither vector registers nor the base of `fs`; both must be preserved.
#[test]
fn registers_that_a_block_does_not_use_are_preserved() {
    assert_eq!(per_op(vectors_for_long), 21.0 + OWN);
}

#[test]
fn a_process_has_one_tracer_and_one_stepper_at_a_time() {
    let turn = turn();
    assert!(matches!(Tracer::install(), Err(TraceError::Busy)));
    assert!(matches!(Stepper::install(), Err(TraceError::Busy)));
    drop(turn);
    drop(self::turn());
}

/// The address of SIGTRAP's handler, its flags, and this thread's alternate stack.
fn signal_state() -> (usize, i32, usize, usize) {
    // SAFETY: the calls write to two local variables of the right types; zeroed bytes are valid values of both.
    unsafe {
        let (mut action, mut stack) = (std::mem::zeroed::<libc::sigaction>(), std::mem::zeroed::<libc::stack_t>());
        assert_eq!(libc::sigaction(libc::SIGTRAP, std::ptr::null(), &raw mut action), 0);
        assert_eq!(libc::sigaltstack(std::ptr::null(), &raw mut stack), 0);
        (action.sa_sigaction, action.sa_flags, stack.ss_sp as usize, stack.ss_size)
    }
}

#[test]
fn dropping_a_stepper_restores_the_handler_and_the_stack() {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = signal_state();
    let stepper = Stepper::install().unwrap();
    assert_ne!(signal_state(), before);
    drop(stepper);
    assert_eq!(signal_state(), before);
    drop(turn);
}

#[test]
fn a_breakpoint_in_traced_code_still_ends_the_process() {
    if task().is_some() {
        let mut turn = turn();
        // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op,
        // or the loop reads none.
        let traced = unsafe { turn.stepper.trace(breakpoint, &[0; 4], 1) };
        panic!("a breakpoint was mistaken for a step: {traced:?}");
    }
    let ended = child("a_breakpoint_in_traced_code_still_ends_the_process", "run").output().unwrap();
    assert_eq!(ended.status.signal(), Some(libc::SIGTRAP), "{}", read_output(&ended));
}

#[test]
fn a_breakpoint_of_another_thread_still_ends_the_process() {
    if task().is_some() {
        let _turn = turn();
        // SAFETY: the loop may be called with any arguments, because it reads none.
        let _ = std::thread::spawn(|| unsafe { breakpoint(std::ptr::null(), 1) }).join();
        panic!("a breakpoint was ignored");
    }
    let ended = child("a_breakpoint_of_another_thread_still_ends_the_process", "run").output().unwrap();
    assert_eq!(ended.status.signal(), Some(libc::SIGTRAP), "{}", read_output(&ended));
}

fn read_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Compares decoding with stepping, for every op whose loop has a single path.
#[test]
fn straight_loops_execute_the_instructions_that_are_decoded() {
    let mut turn = turn();
    let mut cpu = CpuModel::install().unwrap();
    let mut compared = 0;
    for op in op_entries() {
        let pair = &op.pairs[0];
        let run = pair.loop_of(Regime::Throughput).unwrap();
        // SAFETY: `with_loop` needs a compiled function of this program, and a pair's loop is one.
        let function = unsafe { LoopFunction::at(run as *const () as usize) }.unwrap();
        let instructions: Vec<_> = function.loop_instructions().collect();
        let leaves = |flow| !matches!(flow, FlowControl::Next | FlowControl::Return);
        let (last, others) = instructions.split_last().unwrap();
        if others.iter().any(|i| leaves(i.flow_control())) || !last.is_jcc_short_or_near() {
            continue;
        }
        let args = bind(&op, pair, &mut cpu);
        let passes = turn.passes(op.meta.name, run, &args);
        assert_eq!(passes.instructions(), instructions.len() as i64, "{}", op.meta.name);
        let codes: Vec<_> = passes.second().iter().map(|step| step.instruction.code()).collect();
        assert_eq!(codes, instructions.iter().map(|i| i.code()).collect::<Vec<_>>(), "{}", op.meta.name);
        compared += 1;
    }
    assert!(compared > op_entries().len() / 2, "only {compared} loops are straight");
}

#[test]
fn two_counts_of_each_loop_of_the_suite_are_equal() {
    let mut turn = turn();
    let mut cpu = CpuModel::install().unwrap();
    let (mut counted, mut steps, mut failed) = (0, 0, Vec::new());
    let start = std::time::Instant::now();
    for op in op_entries() {
        for pair in &op.pairs {
            // Cold loops are the same as those of throughput; random loops need a target sequence.
            for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
                let Some(run) = pair.loop_of(regime) else { continue };
                let name = format!("{} {} {}", op.meta.name, pair.mechanism.name, regime.name());
                let mut count = || {
                    let args = bind(&op, pair, &mut cpu);
                    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made
                    // for its op, or the loop reads none.
                    unsafe { turn.tracer.passes(run, &args) }
                };
                match (count(), count()) {
                    (Ok(first), Ok(second)) => {
                        assert_eq!(first.per_op(), second.per_op(), "{name}");
                        assert!(first.instructions() >= 2, "{name}");
                        counted += 1;
                        steps += 2 * (first.one.len() + first.two.len());
                    }
                    (Err(error), _) | (_, Err(error)) => failed.push(format!("{name}: {error}")),
                }
            }
        }
    }
    println!("{counted} loops, {steps} steps, {:?}", start.elapsed());
    assert!(counted > 0);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The CPU's own steps are the reference, for calls and for callees.
#[test]
fn blocks_and_single_steps_see_the_same_instructions() {
    let mut turn = turn();
    let mut cpu = CpuModel::install().unwrap();
    for op in op_entries() {
        for pair in op.pairs.iter().filter(|pair| ["table", "dyn"].contains(&pair.mechanism.name)) {
            let run = pair.loop_of(Regime::Throughput).unwrap();
            let traced = [0, 1].map(|way| {
                let args = bind(&op, pair, &mut cpu);
                let [blocks, steps]: [&mut dyn Trace; 2] = [&mut turn.tracer, &mut turn.stepper];
                let trace = if way == 0 { blocks } else { steps };
                // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for
                // its op, or the loop reads none.
                addresses(&unsafe { trace.trace(run, &args, 1) }.unwrap())
            });
            assert_eq!(traced[0], traced[1], "{} {}", op.meta.name, pair.mechanism.name);
        }
    }
}

#[test]
fn a_call_through_the_table_executes_an_extra_call_and_return() {
    let mut cpu = CpuModel::install().unwrap();
    let ops = op_entries();
    let op = ops.iter().find(|op| op.meta.name == "save_fl").unwrap();
    let mut counts = ["inline", "direct", "table"].map(|name| {
        let pair = op.pairs.iter().find(|pair| pair.mechanism.name == name).unwrap();
        let args = bind(op, pair, &mut cpu);
        turn().passes(name, pair.loop_of(Regime::Throughput).unwrap(), &args).per_op()
    });
    counts.iter_mut().for_each(|count| *count -= OWN);
    assert_eq!(counts, [2.0, 4.0, 4.0]);
}

#[test]
fn the_instructions_of_one_op_are_found_in_the_pass() {
    let mut turn = turn();
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    let passes = unsafe { turn.tracer.passes(call_and_return, &[0; 4]) }.unwrap();
    let OneOp::Repeated { steps, sites: 8 } = passes.one_op() else {
        panic!("no period in {:?}", listing(passes.second()))
    };
    let mnemonics: Vec<String> = listing(&steps).iter().map(|text| text[..3].to_owned()).collect();
    assert_eq!(mnemonics, ["cal", "nop", "ret", "jmp"]);
    // The second of eight sites of nine bytes each: call 5, jmp 2, nop, ret.
    assert_eq!(steps[0].address(), call_and_return as *const () as u64 + 9);
    assert_eq!(steps[1].bytes(), [0x90]);
    // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op, or
    // the loop reads none.
    let whole = unsafe { turn.tracer.passes(nothing, &[0; 4]) }.unwrap().one_op();
    let OneOp::Whole(steps) = whole else { panic!("{whole:?}") };
    assert_eq!(listing(&steps), ["dec rsi", &format!("jne short {:016X}h", nothing as *const () as u64)]);
}

/// valgrind executes the loop but raises no step, which must not count as a result.
#[test]
fn a_platform_without_single_steps_is_refused_by_the_stepper_and_traced_by_blocks() {
    if task().is_some() {
        let error = Stepper::install().err().expect("valgrind does not single-step");
        assert!(matches!(error, TraceError::Miscounts { .. }), "{error}");
        let mut tracer = Tracer::install().unwrap();
        // SAFETY: a trace needs a loop that returns and may be called with these arguments: they were made for its op,
        // or the loop reads none.
        assert_eq!(unsafe { tracer.per_op(call_and_return, &[0; 4]) }.unwrap(), 4.0 + OWN);
        return println!("refused: {error}");
    }
    let inner = child("a_platform_without_single_steps_is_refused_by_the_stepper_and_traced_by_blocks", "run");
    let ran = Command::new("valgrind")
        .args(["--tool=none", "--smc-check=all"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(CHILD, "run")
        .output();
    match ran {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: valgrind is not on the PATH");
        }
        ran => {
            let ran = ran.unwrap();
            assert!(ran.status.success() && read_output(&ran).contains("refused: "), "{}", read_output(&ran));
        }
    }
}
