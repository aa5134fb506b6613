//! What does it cost to reach a low-level machine operation through an indirection instead of inline?
//!
//! Linux's paravirt_ops raised the question in 2009 ("1% on native"); retpolines, static calls, LSM hooks, HALs and
//! plug-in tables raise it again. pvbench holds the machine operations of Linux's `pv_ops` and the ways to reach them,
//! measures every pair, and says how far each number can be trusted. It does the same for a table of your own: the first
//! part of this page leads from such a table to a gate in CI, the second tells how it is measured.
//!
//! # From a table of function pointers to a gate in CI
//!
//! You have a driver, a hypervisor, an allocator, with something like this in it:
//!
//! ```
//! struct Uart {
//!     read: fn(usize) -> u8,
//!     write: fn(usize, u8),
//! }
//! ```
//!
//! **1. Name it.** In the crate that has it, `cargo add --dev pvbench --no-default-features --features cli` (with `--path ..`
//! for a checkout, with `--git ..` where a CI has to find it, too; all features work as well, and take longer to build), and a
//! bench target that brings its own `main`, in `Cargo.toml`:
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
//! (Without `harness = false` there are two functions `main`, or a `main` that nobody calls. Without `bench = false`, and
//! without `--bench uart` on the command line, cargo starts the library's own harness, which does not know the options.)
//!
//! `benches/uart.rs` has a line per function, with the arguments to measure with, and a `main` of three lines. Arguments and
//! results are integers of any size, `bool` or raw pointers; [`functions!`] says what to do with others. Name the functions
//! themselves, not the fields of your struct: they are put behind pvbench's tables, flags and objects, by every way.
//!
//! **Mark what the bodies call `#[inline]`.** A bench target is always another crate than your library: a function of yours
//! that is not `#[inline]` (nor the build with `lto`) stays a call with `inline`, too, and all else is held against a call
//! instead of the instructions in place: most overheads are then too small, and some too large. A run and a gate that
//! measures warn of such bodies.
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
//! **2. Measure.** `cargo bench --bench uart` takes a minute and a half, `cargo bench --bench uart -- --quick` about 15 seconds for
//! throughput alone; the first build comes on top, with about two minutes of CPU. The page is
//! `reports/uart/latest/index.html`: every function inline, behind a flag, an enum, a table, a trait object, a
//! `OnceLock`, a patched site, a retpoline, .. hot, cold, in a dependent chain, with registers live across the call; in
//! core cycles, with intervals and instruction counts. What a row shows is said in the README. The rest of the command
//! line is there, too:
//!
//! ```sh
//! cargo bench --bench uart -- list mechanisms
//! cargo bench --bench uart -- explain uart_read table              # the instructions that ran
//! cargo bench --bench uart -- run --op uart_read --mechanism 'table,dyn' --time 20
//! cargo bench --bench uart -- doctor                               # is this machine fit to measure on?
//! cargo bench --bench uart -- ab --baseline ./uart-before --quick  # another build of the same suite, measured in turn
//! ```
//!
//! Beside the bench targets of other harnesses it behaves as criterion's do: `cargo bench -- read` measures the ops and
//! workloads whose names contain `read`, `cargo test --benches` tries each of them once, and nextest gets its list.
//!
//! Which row is yours?
//!
//! | you have | row |
//! |---|---|
//! | a `static` struct or array of function pointers | `table`; `fn_pointer` as the compiler writes it |
//! | a trait object, a boxed closure | `dyn`, `box_dyn` |
//! | a table that is set once at run time | `once_lock`, `lazy_lock` |
//! | an `if`, a `match` over the implementations there are | `flag`, `enum` |
//! | a struct of function pointers that is passed by reference | your own way (4.); until then `fn_pointer` |
//!
//! **3. Work of your own**, not only single calls: a [`workload::Workload`] is code that is generic over the way to its ops,
//! with a checksum that must be the same by every way. `.workload::<Line>()` adds it.
//!
//! **4. Your own way** to reach a function: implement [`dispatch::Dispatch`], and `.mechanism::<Mine>()` gives it a column
//! beside the built-in ones, for all ops. `examples/trace_hook` measures such a one; that is how your own struct, or how
//! your program finds it, gets into the comparison.
//!
//! **5. Decide what it may cost**, in `budgets.toml`:
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
//! Take the number of instructions from a report of yours, not from here: where the body is in place the compiler keeps
//! addresses and constants out of the loop that a callee fetches at each call, so that `table` executes 4 more in one op and 7
//! in another. `cargo bench -q --bench uart -- gate reports/uart/latest/report.json --init > budgets.toml` writes a
//! file with what was counted (`export --format csv` has it in its column `extra_instructions`).
//!
//! What it catches: a compiler, an option or a rewrite of yours that makes the way to an op longer (a mitigation that turns
//! calls into retpolines, a lost `#[inline]`, a patched site that stays indirect, one more load in your own [`dispatch::Dispatch`]),
//! counted to the instruction. What it does not see: a budget holds the way to an op, not the op. A body that gets slower is slower inline, too. Code
//! that is linked anew stands elsewhere, which alone moves an unchanged op by a cycle; so loops and bodies are copied to
//! the same places in every build, and what these places differ by is in the interval. The data that a body touches is
//! where your program has it: let `extra_instructions` be the hard rule, and give `overhead` room or `level = "soft"`.
//!
//! and hold it in CI; `scripts/github-actions-own.yml` in pvbench's repository is a workflow to copy:
//!
//! ```sh
//! cargo bench -q --bench uart -- gate --run --budget budgets.toml --out target/gate --junit target/gate.xml
//! # or a report that is there
//! cargo bench -q --bench uart -- gate reports/uart/latest/report.json --budget budgets.toml
//! ```
//!
//! `cargo bench` passes the exit code on: 0 where all is within bounds, 1 where something is not, 2 where budgets or options
//! are wrong, 3 where the machine was too noisy to say, 4 where the measurement failed. 101 is cargo's own: the bench did not
//! compile, or has no `harness = false`.
//!
//! What is better done in assembly (instructions that a compiler does not emit, bodies that are patched in place of a call) is
//! an [`op::Op`] by [`native!`]; ops of Linux go beside yours by their names (`.op::<op::mmu::PteVal>()`). The folder
//! `examples/` has three tables with their workloads, mechanisms and budgets.
//!
//! ## Features
//!
//! | feature | what it brings | default |
//! |---|---|---|
//! | `cli` | [`main`](fn@main) and all that it runs; takes `html` with it | yes |
//! | `html` | the page and the plots of a report | yes |
//! | `linux` | the subcommand `linux`, which takes kernels apart and runs them | yes |
//! | `catalogue` | all ops of Linux in [`pv_ops`](fn@pv_ops), not twelve of them; nothing where you do not name it | yes |
//! | `workloads` | all workloads of the model kernel in [`pv_ops`](fn@pv_ops), not `mmap_perf` alone | yes |
//! | `schema` | the JSON Schema of the report, generated from its types | no |
//!
//! With `default-features = false` there is the sampler ([`measure::Sampler`]), which takes the ops of a [`Suite`], the
//! estimates, the patching and the report as data.
//!
//! ## Versions
//!
//! Semantic versioning: before 1.0 a minor version may change what is public here, a patch version only adds. Public are
//! this page's items and all that their signatures name; `Meta`, `Mechanism` and `Choices` gain fields in minor versions, so
//! write `..Meta::OWN`, `..Mechanism::BASE`, `..Choices::default()`. The document `report.json` has a version of its own
//! (`"schema"`). `CHANGELOG.md` says what changed.
//!
//! # What is measured
//!
//! * An **op** ([`op::Op`]) is a machine operation: `save_fl`, `pte_val`, `set_pte`, `write_cr3`, .. Its native body is
//!   written once, as assembly; a Xen PV guest's body stands beside it. A privileged instruction is *modelled* by loads
//!   and stores on a CPU model ([`op::CpuModel`]); what is legal in ring 3 is *real*.
//! * A **mechanism** ([`dispatch::Dispatch`]) is a way from a call site to a body: inline, direct call, flag, enum,
//!   trait object, the `pv_ops` table, .. It is written once for all ops.
//! * A **regime** ([`regime::Regime`]) is the loop around the call sites: independent calls, a dependent chain, registers
//!   live across the call, targets that change, code that is not cached.
//! * A **state** ([`patch::State`]) is what a call site holds that is rewritten at run time: `unpatched`, `direct`,
//!   `inline`, `nop`; `off` and `on` for a jump label. The states of a mechanism share one loop at one address.
//! * A **cell** is one of each. Its **overhead** is what it takes above `inline`, in core cycles per op.
//!
//! # How
//!
//! ```text
//! plan -> worker processes, one after another, pinned; those of workloads meanwhile on another CPU, if it has a core of its own
//!           each: groups (op, body, regime, layout) in an order of its own
//!                   each: rounds C Q I m1 .. mk mk .. m1 I Q C       C: dependent adds, Q: independent adds,
//!                                                                I: inline, m: mechanisms, shuffled
//!      -> per round: differences against I in cycles by C        (measure::sampler)
//!      -> median over rounds, over workers, over layouts;
//!         intervals by bootstrap over workers and layouts        (stats, estimate)
//!      -> report.json -> terminal, page, plots                   (report)
//! ```
//!
//! Every loop is copied at run time to each offset within 128 bytes that the plan names ([`patch::Function`]), and with it
//! the bodies that it calls, so that placement is a measured variable and not an accident; workloads are copied with all that they call to places that each
//! round draws ([`patch::CallTree`]). `inline` runs against itself and against a copy of itself in
//! the same rounds: that is the floor, and nothing below it is called a difference.
//!
//! # Where to look
//!
//! [`suite`] makes data of types; the built-in one is [`pv_ops`](fn@pv_ops); [`workload`] has the macro benchmarks;
//! [`patch`] copies and rewrites code; [`measure`] turns a plan into samples and counts instructions ([`measure::trace`]);
//! [`estimate`] turns samples into cells with [`stats`]; [`report`] is the document and what is made of it; `gate`
//! holds it against budgets; [`selftest`] measures what is known; [`host`] knows the machine; `cli` is the program.
#![deny(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("pvbench measures x86-64 machine code on Linux: build it for x86_64-unknown-linux-gnu or -musl");

// Left out elsewhere, so that the message above is the only one.
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
#[cfg(all(feature = "inject", target_arch = "x86_64", target_os = "linux"))]
mod inject;
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
