//! What does it cost to reach a low-level machine operation through an indirection instead of inline?
//!
//! Linux's paravirt_ops raised the question in 2009 ("1% on native"). Retpolines, static calls, LSM hooks, HALs and
//! plug-in tables raise it again. pvbench has the machine operations of Linux's `pv_ops` and the mechanisms that reach
//! them. It measures every pair and states how far each number can be trusted.
//!
//! It does the same for a table of your own. The first part of this page leads from such a table to a gate in CI; the
//! second part explains the measurement.
//!
//! # From a table of function pointers to a gate in CI
//!
//! Suppose a driver, a hypervisor or an allocator has something like this:
//!
//! ```
//! struct Uart {
//!     read: fn(usize) -> u8,
//!     write: fn(usize, u8),
//! }
//! ```
//!
//! ## 1. Name the functions
//!
//! Run `cargo add --dev pvbench --no-default-features --features cli` in the crate that has the table. Add `--path ..`
//! for a checkout, or `--git ..` where a CI must find it too. All features work as well but take longer to build.
//!
//! Then add a bench target with its own `main` to `Cargo.toml`:
//!
//! ```toml
//! [lib]
//! bench = false
//!
//! [[bench]]
//! name = "uart"
//! harness = false
//! ```
//!
//! Without `harness = false` there are two `main` functions, or one that nobody calls. Without `bench = false`, cargo
//! also starts the library's own harness, which rejects the options; `--bench uart` on the command line avoids that
//! too.
//!
//! `benches/uart.rs` has one line per function, with the arguments to measure with, and a `main` of three lines:
//!
//! ```no_run
//! # mod chip {
//! #     pub fn read(register: usize) -> u8 { register as u8 }
//! #     pub fn write(_: usize, _: u8) {}
//! # }
//! pvbench::functions! {
//!     /// Reads a register.
//!     pub struct Read: "uart_read" = fn(register: usize = 5) -> u8 { chip::read(register) };
//!     /// Writes a register.
//!     pub struct Write: "uart_write" = fn(register: usize = 0, byte: u8 = b'x') { chip::write(register, byte) };
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     pvbench::main(pvbench::Suite::builder("uart").ops::<(Read, Write)>().build())
//! }
//! ```
//!
//! * Arguments and results are integers of any size, `bool` or raw pointers; [`functions!`] explains how to pass
//!   others.
//! * Name the functions themselves, not the fields of your struct: every mechanism puts them behind pvbench's own
//!   tables, flags and objects.
//! * **Mark every function that a body calls `#[inline]`.** A bench target is a different crate from your library.
//!   Without `#[inline]` (or a build with `lto`), a function of yours stays a call even under `inline`. The other
//!   mechanisms are then compared with a call instead of the instructions themselves: most overheads become too small,
//!   and some too large. A run and a gate that measures warn of such bodies.
//!
//! ## 2. Measure
//!
//! `cargo bench --bench uart` takes a minute and a half. `cargo bench --bench uart -- --quick` takes about 15 seconds
//! and measures throughput alone. The first build adds about two minutes of CPU time.
//!
//! The page is `reports/uart/latest/index.html`. It has every function inline, behind a flag, an enum, a table, a trait
//! object, a `OnceLock`, a patched site, a retpoline and more. Each is measured hot, cold, in a dependent chain, and
//! with registers live across the call. Results are in core cycles, with intervals and instruction counts; the README
//! explains the rows.
//!
//! The other subcommands are there, too:
//!
//! ```sh
//! cargo bench --bench uart -- list mechanisms
//! cargo bench --bench uart -- explain uart_read table              # the instructions that ran
//! cargo bench --bench uart -- run --op uart_read --mechanism 'table,dyn' --time 20
//! cargo bench --bench uart -- doctor                               # is this machine fit to measure on?
//! cargo bench --bench uart -- ab --baseline ./uart-before --quick  # another build of the same suite, measured in turn
//! ```
//!
//! Next to bench targets of other harnesses it behaves as criterion's do. `cargo bench -- read` measures the ops and
//! workloads whose names contain `read`, `cargo test --benches` runs each of them once, and nextest gets its list.
//!
//! Which mechanism is yours?
//!
//! | you have | row |
//! |---|---|
//! | a `static` struct or array of function pointers | `table`; `fn_pointer` as the compiler writes it |
//! | a trait object, a boxed closure | `dyn`, `box_dyn` |
//! | a table that is set once at run time | `once_lock`, `lazy_lock` |
//! | an `if`, a `match` over the existing implementations | `flag`, `enum` |
//! | a struct of function pointers that is passed by reference | your own mechanism (4.); until then `fn_pointer` |
//!
//! ## 3. Add a workload
//!
//! A [`workload::Workload`] is work of your own instead of single calls. Its code is generic over the mechanism that
//! reaches its ops, and its checksum must be the same with every mechanism. `.workload::<Line>()` adds it.
//!
//! ## 4. Add a mechanism
//!
//! Implement [`dispatch::Dispatch`] for your own way to reach a function, and add it with `.mechanism::<Mine>()`: it
//! gets a column beside the built-in ones, for all ops. That is how your own struct, or your program's way to find it,
//! enters the comparison. `examples/trace_hook` measures such a mechanism.
//!
//! ## 5. Set budgets
//!
//! `budgets.toml` says how much a mechanism may cost:
//!
//! ```toml
//! [[budget]]
//! op = "uart_read"
//! mechanism = "table"
//! regime = "throughput"
//! overhead = "8 cycles"
//! extra_instructions = "4 instructions"
//! why = "an indirect call and its return; more than that, and the driver is to be generic"
//! ```
//!
//! Take the number of instructions from a report of yours, not from this page. With the body inline, the compiler keeps
//! addresses and constants out of the loop that a callee fetches at each call: `table` executes 4 more instructions in
//! one op and 7 in another. `cargo bench -q --bench uart -- gate reports/uart/latest/report.json --init > budgets.toml`
//! writes a file with the counted numbers. `export --format csv` has them in its column `extra_instructions`.
//!
//! A budget catches a compiler, an option or a rewrite that makes the way to an op longer, counted to the instruction.
//! Examples are a mitigation that turns calls into retpolines, a lost `#[inline]`, a patched site that stays indirect,
//! and one more load in your own [`dispatch::Dispatch`].
//!
//! A budget does not catch a slower op: a body that gets slower is slower inline, too.
//!
//! Addresses matter to `overhead`. A newly linked program has its code at other addresses, which alone changes an
//! unchanged op by a cycle. So loops and bodies are copied to the same addresses in every build, and the floor
//! includes the difference between these addresses. The data of a body stays where your program has it. Let
//! `extra_instructions` be the hard rule, and give `overhead` room or `level = "soft"`.
//!
//! ## 6. Enforce them in CI
//!
//! `scripts/github-actions-own.yml` in pvbench's repository is a workflow to copy.
//!
//! ```sh
//! cargo bench -q --bench uart -- gate --run --budget budgets.toml --out target/gate --junit target/gate.xml
//! # or with an existing report
//! cargo bench -q --bench uart -- gate reports/uart/latest/report.json --budget budgets.toml
//! ```
//!
//! `cargo bench` passes the exit code on:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | every budget is kept |
//! | 1 | a budget is exceeded |
//! | 2 | budgets or options are wrong |
//! | 3 | the machine was too noisy to decide |
//! | 4 | the measurement failed |
//! | 101 | from cargo itself: the bench did not compile, or has no `harness = false` |
//!
//! ## Further possibilities
//!
//! [`native!`] writes an [`op::Op`] in assembly, for instructions that a compiler does not emit and for bodies that are
//! patched over a call. Ops of Linux join your suite by their names (`.op::<op::mmu::PteVal>()`). The folder
//! `examples/` has three tables with their workloads, mechanisms and budgets.
//!
//! ## Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `cli` | [`main`](fn@main) and everything that it runs; includes `html` | yes |
//! | `html` | the page and the plots of a report | yes |
//! | `linux` | the subcommand `linux`, which takes kernels apart and runs them | yes |
//! | `catalogue` | all ops of Linux in [`pv_ops`](fn@pv_ops) instead of twelve; no effect on other suites | yes |
//! | `workloads` | all workloads of the model kernel in [`pv_ops`](fn@pv_ops) instead of `mmap_perf` alone | yes |
//! | `schema` | the JSON Schema of the report, generated from its types | no |
//!
//! With `default-features = false` the library has the sampler ([`measure::Sampler`]), which takes the ops of a
//! [`Suite`], the estimates, the patching, and the report as data.
//!
//! ## Versions
//!
//! pvbench follows semantic versioning: before 1.0 a minor version may change the public interface, and a patch version
//! only adds to it. Public are the items of this page and all types in their signatures.
//!
//! `OpMeta`, `Mechanism` and `Choices` gain fields in minor versions, so write `..OpMeta::OWN`, `..Mechanism::BASE` and
//! `..Choices::default()`. The document `report.json` has a version of its own (`"schema"`). `CHANGELOG.md` lists the
//! changes.
//!
//! # What is measured
//!
//! * An **op** ([`op::Op`]) is a machine operation: `save_fl`, `pte_val`, `set_pte`, `write_cr3`, .. Its native body is
//!   written once, as assembly; its second body is that of a Xen PV guest. A privileged instruction is *modelled*
//!   by loads and stores on a CPU model ([`op::CpuModel`]); an instruction that is legal in ring 3 is *real*.
//! * A **mechanism** ([`dispatch::Dispatch`]) is a way from a call site to a body: inline, direct call, flag, enum,
//!   trait object, the `pv_ops` table, .. It is written once for all ops.
//! * A **regime** ([`regime::Regime`]) is the loop around the call sites: independent calls, a dependent chain,
//!   registers live across the call, changing targets, code that is not cached.
//! * A **state** ([`patch::State`]) is the content of a call site that is rewritten at run time: `unpatched`, `direct`,
//!   `inline`, `nop`; `off` and `on` for a jump label. The states of a mechanism share one loop at one address.
//! * A **cell** is one of each. Its **overhead** is its cost above `inline`, in core cycles per op.
//!
//! # How it is measured
//!
//! ```text
//! plan -> worker processes, one after another, pinned; those of workloads run meanwhile on
//!         another CPU, if it has a core of its own
//!           each: comparisons (op, body, regime, layout) in an order of its own
//!                   each: rounds C Q I m1 .. mk mk .. m1 I Q C       C: dependent adds, Q: independent adds,
//!                                                                I: inline, m: mechanisms, shuffled
//!      -> per round: differences against I, in cycles by C       (measure::sampler)
//!      -> median over rounds, over workers, over layouts;
//!         intervals from standard errors over workers            (stats, estimate)
//!      -> report.json -> terminal, page, plots                   (report)
//! ```
//!
//! Every loop is copied at run time to each offset within 128 bytes that the plan names ([`relocate::LoopFunction`]),
//! together with the bodies that it calls. So the address is a measured variable and not an accident. Workloads are
//! copied with all that they call to addresses that each round draws ([`relocate::CodeImage`]).
//!
//! `inline` runs against itself and against a copy of itself in the same rounds. Their difference is the floor, and
//! nothing below the floor counts as a difference.
//!
//! # Where to look
//!
//! | module | contents |
//! |---|---|
//! | [`suite`] | turns types into data; [`pv_ops`](fn@pv_ops) is the built-in suite |
//! | [`op`], [`dispatch`], [`regime`] | ops, mechanisms, and the loops that measure them |
//! | [`workload`], [`kernel`] | macro benchmarks, and the model kernel that they run on |
//! | [`patch`] | rewrites call sites as Linux does |
//! | [`relocate`] | copies machine code to chosen addresses |
//! | [`measure`] | turns a plan into samples; [`measure::trace`] counts instructions |
//! | [`stats`], [`estimate`] | turn samples into cells |
//! | [`report`] | the document, and everything that is made from it |
//! | `gate` | checks a report against budgets |
//! | [`selftest`] | measures loops of known cost |
//! | [`host`], [`clock`] | the facts of the machine, and its clocks |
//! | `cli` | the program |
#![deny(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("pvbench measures x86-64 machine code on Linux: build it for x86_64-unknown-linux-gnu or -musl");

// Other targets leave all modules out, so that the message above is the only error.
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod cli;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod clock;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod dispatch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod estimate;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod gate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kernel;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "linux"))]
pub mod linux;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod measure;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod op;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod patch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod pv_ops;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod regime;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod relocate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod report;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod run;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod select;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod selftest;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod stats;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod suite;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod workload;

#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub use cli::main;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use dispatch::Dispatch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use op::{Function, Op};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use pv_ops::{BuiltIn, BuiltInWorkloads, pv_ops};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use suite::{Suite, SuiteError};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use workload::Workload;
