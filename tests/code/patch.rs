//! Patching: the code that is written, the patches that are refused, and the bodies that calls reach in every state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use iced_x86::{Instruction, Mnemonic, Register};
use pvbench::dispatch::{self, Dispatch, Table};

use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::measure::comparison::{Comparison, offsets};
use pvbench::measure::executed::Unit;
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::trace::{OneOp, Step, Trace, Tracer};
use pvbench::measure::variant::MechanismState;
use pvbench::measure::workload_bench::whole_kernel;
use pvbench::op::BodyKind;
use pvbench::op::{CpuModel, Op};
use pvbench::patch::text::serialise;
use pvbench::patch::{PatchError, Refusal, Site, SiteKind, State, Target, Text, rules, site, writer};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Regime, SITES, latency};
use pvbench::relocate::{CodeImage, CodeMemory, DecodeCache, RandomLayouts, link};
use pvbench::suite::{OpEntry, mechanisms};
use pvbench::workload::Run;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::alone::writable_and_executable;
use crate::own_ops::{Add, Called, Long, Same};

/// Runs a test of this file in a process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    crate::alone::alone(&format!("patch::{test}"), body);
}

/// The targets of every op in this binary.
fn targets(body: BodyKind) -> BTreeMap<usize, Target> {
    let own = [OpEntry::new::<Add>(), OpEntry::new::<Same>(), OpEntry::new::<Long>(), OpEntry::new::<Called>()];
    // Kernels call the whole catalogue, even if the suite has fewer ops.
    let mut targets = rules::targets(body);
    targets.extend(own.iter().map(|op| (op.slot, op.target(body))));
    targets
}

/// Returns the sum that a chain of calls through `D` adds per call.
fn add_per_call<D: Dispatch, O: Op>(words: [u64; 4]) -> u64 {
    // SAFETY: the loop may be called with these arguments, which were made for its op, and with at least one pass.
    let sum = unsafe { latency::<D, O>(&raw const words, 3) };
    assert_eq!(sum % (3 * SITES), 0, "{sum} after {} calls", 3 * SITES);
    sum / (3 * SITES)
}

#[test]
fn every_mechanism_in_every_state_reaches_the_body_that_it_is_bound_to() {
    alone("every_mechanism_in_every_state_reaches_the_body_that_it_is_bound_to", || {
        let mut loops = Loops::new().unwrap();
        let mut seen = BTreeMap::new();
        let all: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
        // The sums that the native body and Xen's body add per call.
        for (op, native, xen) in [
            (OpEntry::new::<Add>(), 1, 2),
            (OpEntry::new::<Same>(), 0, 2),
            (OpEntry::new::<Long>(), 1, 2),
            (OpEntry::new::<Called>(), 1, 2),
        ] {
            let mut cpu = CpuModel::install().unwrap();
            let args = (op.arguments)(&mut cpu);
            for body in [BodyKind::Native, BodyKind::Xen, BodyKind::Native] {
                let switches = |c: &&MechanismState| mechanisms().iter().any(|m| m.name == c.mechanism && m.switches);
                let columns: Vec<MechanismState> = match body {
                    BodyKind::Native => all.clone(),
                    BodyKind::Xen => all.iter().filter(switches).cloned().collect(),
                };
                let group = Comparison { op: op.meta.name.to_owned(), body, regime: Regime::Latency, offset: 29 };
                let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
                // In the order of the variants, then in reverse, so that every state follows several others.
                let order: Vec<usize> = (0..columns.len()).chain((0..columns.len()).rev()).collect();
                for index in order {
                    let Prepared::Loop(copied) = &offers[index] else { continue };
                    loops.activate(copied).unwrap();
                    // SAFETY: the loop may be called with these arguments, which were made for its op, and with at
                    // least one pass.
                    let sum = unsafe { (copied.run)(&raw const args, 5) };
                    let wanted = if body == BodyKind::Native { native } else { xen };
                    assert_eq!(sum, 5 * SITES * wanted, "{} {} {body:?}", op.meta.name, columns[index]);
                    *seen.entry(columns[index].clone()).or_insert(0) += 1;
                }
            }
        }
        let never: Vec<String> = all.iter().filter(|c| !seen.contains_key(c)).map(ToString::to_string).collect();
        // No op of this test becomes NOPs or returns zero; ops of the catalogue do and are checked below.
        assert!(
            never.iter().all(|c| c.contains("(nop)") || c == "static_call_inline (inline)"),
            "never run: {never:?}"
        );
    });
}

#[test]
fn at_each_layout_all_calls_of_an_op_reach_one_copy_of_its_body_at_a_new_address() {
    alone("at_each_layout_all_calls_of_an_op_reach_one_copy_of_its_body_at_a_new_address", || {
        let mut loops = Loops::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        let mut cpu = CpuModel::install().unwrap();
        // Mechanisms that the linker or the loader binds.
        let bound_outside = ["ifunc", "dlsym"];
        let moved = |c: &&MechanismState| !bound_outside.contains(&c.mechanism.as_str());
        let columns: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
        let columns: Vec<MechanismState> = columns.iter().filter(moved).cloned().collect();
        // One body is assembly, the other a compiled function.
        for op in [OpEntry::new::<Add>(), OpEntry::new::<Called>()] {
            let args = (op.arguments)(&mut cpu);
            for body in [BodyKind::Native, BodyKind::Xen] {
                let original = op.target(body).body;
                let mut addresses = BTreeMap::new();
                for offset in offsets(8) {
                    let group = Comparison { op: op.meta.name.to_owned(), body, regime: Regime::Throughput, offset };
                    let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
                    let mut calls = 0;
                    for (column, offer) in columns.iter().zip(&offers) {
                        let Prepared::Loop(copied) = offer else { continue };
                        loops.activate(copied).unwrap();
                        // SAFETY: `passes` needs a loop that may be called with these arguments, which were made for
                        // its op.
                        let passes = unsafe { tracer.passes(copied.run, &args) }.unwrap();
                        let steps = match passes.one_op() {
                            OneOp::Repeated { steps, .. } => steps,
                            OneOp::Whole(steps) => steps,
                        };
                        let name = format!("{} by {column}, {body:?}", op.meta.name);
                        assert!(
                            steps.iter().all(|step| step.address() as usize != original),
                            "{name}: the original ran"
                        );
                        if column.mechanism.contains("dyn") {
                            let at = |step: &Step| step.address() as usize;
                            let is_copy = |at| copied.span.contains(&at) || loops.callee_at(at).is_some();
                            assert!(steps.iter().all(|step| is_copy(at(step))), "{name}: a method was not copied");
                        }
                        let copy = steps.iter().find(|step| loops.callee_at(step.address() as usize) == Some(original));
                        if let Some(copy) = copy {
                            calls += 1;
                            let address = addresses.entry(offset).or_insert(copy.address());
                            assert_eq!(*address, copy.address(), "{name}: another copy");
                        }
                    }
                    assert!(calls > 10, "{} by {calls} mechanisms", op.meta.name);
                }
                let within: BTreeSet<u64> = addresses.values().map(|address| address % 128).collect();
                assert_eq!(within, (0..128).step_by(16).collect(), "{} {body:?}", op.meta.name);
            }
        }
        let native = OpEntry::new::<Add>().target(BodyKind::Native).body;
        Table::bind::<Add>(BodyKind::Native);
        let group = Comparison { op: "add".to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
        loops.prepare(&OpEntry::new::<Add>(), &group, &columns).unwrap();
        let word = Table::pointer::<Add>().unwrap();
        // SAFETY: `read` needs a readable word: the pointer leads to a slot of a static table, which no other thread
        // writes.
        let content = || unsafe { word.read() };
        assert_ne!(content(), native);
        drop(loops);
        assert_eq!(content(), native, "the copy is gone, and the table holds the original again");
    });
}

#[test]
fn a_copied_compare_tree_matches_the_copy_of_the_native_body_and_misses_xens() {
    alone("a_copied_compare_tree_matches_the_copy_of_the_native_body_and_misses_xens", || {
        let mut loops = Loops::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        let mut cpu = CpuModel::install().unwrap();
        let trees = [("compare_tree_1", 1), ("compare_tree_4", 4), ("compare_tree_16", 16)];
        let columns = trees.map(|(name, _)| MechanismState::plain(name));
        for op in [OpEntry::new::<Add>(), OpEntry::new::<Called>()] {
            let args = (op.arguments)(&mut cpu);
            for (body, regime) in [BodyKind::Native, BodyKind::Xen]
                .into_iter()
                .flat_map(|body| [Regime::Throughput, Regime::Latency, Regime::Cold].map(|regime| (body, regime)))
            {
                let group = Comparison { op: op.meta.name.to_owned(), body, regime, offset: 32 };
                let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
                for ((name, known), offer) in trees.iter().zip(&offers) {
                    let Prepared::Loop(copied) = offer else { panic!("{name}: not prepared") };
                    // SAFETY: `passes` needs a loop that may be called with these arguments, which were made for its
                    // op.
                    let passes = unsafe { tracer.passes(copied.run, &args) }.unwrap();
                    let count = |wanted: fn(&Instruction) -> bool| {
                        passes.second().iter().filter(|step| wanted(&step.instruction)).count()
                    };
                    let compared = count(|i| i.mnemonic() == Mnemonic::Cmp && i.op1_register() == Register::R11);
                    let indirect = count(Instruction::is_call_near_indirect);
                    let what = format!("{} by {name} {} {body:?}", op.meta.name, regime.name());
                    assert!(compared > 0 && compared % known == 0, "{what}: {compared} comparisons");
                    let misses = if body == BodyKind::Native { 0 } else { compared / known };
                    assert_eq!(indirect, misses, "{what}: indirect calls");
                }
            }
        }
    });
}

#[test]
fn a_trampoline_jumps_to_the_body_of_its_comparison_whatever_was_measured_before() {
    alone("a_trampoline_jumps_to_the_body_of_its_comparison_whatever_was_measured_before", || {
        let mut loops = Loops::new().unwrap();
        let op = OpEntry::new::<Add>();
        let mut cpu = CpuModel::install().unwrap();
        let args = (op.arguments)(&mut cpu);
        let mut sum = |body, mechanism: &str| {
            let column = MechanismState::plain(mechanism);
            let group = Comparison { op: op.meta.name.to_owned(), body, regime: Regime::Latency, offset: 0 };
            let (_, offers) = loops.prepare(&op, &group, &[column]).unwrap();
            let Prepared::Loop(copied) = &offers[0] else { panic!("no loop of {mechanism}") };
            // SAFETY: the loop may be called with these arguments, which were made for its op, and with at least one
            // pass.
            unsafe { (copied.run)(&raw const args, 5) }
        };
        // Native adds 1 per call, Xen 2.
        let (native, xen) = (5 * SITES, 2 * 5 * SITES);
        for (body, wanted) in [(BodyKind::Xen, xen), (BodyKind::Native, native), (BodyKind::Xen, xen)] {
            assert_eq!(sum(body, "table"), wanted);
            assert_eq!(sum(body, "static_call"), wanted, "{body:?}");
        }
        assert_eq!(sum(BodyKind::Native, "table"), native, "while the trampoline still jumps to Xen's body");
        assert_eq!(sum(BodyKind::Native, "static_call"), native);
    });
}

#[test]
fn a_program_switches_all_its_sites_between_two_platforms_and_back() {
    alone("a_program_switches_all_its_sites_between_two_platforms_and_back", || {
        let _cpu = CpuModel::install().unwrap();
        let before: Vec<(Site, Vec<u8>)> =
            // SAFETY: `bytes` needs a site in mapped text that nobody writes meanwhile: it is a recorded site, and this
            // test is alone in its process.
            site::recorded().unwrap().into_iter().map(|site| (site, unsafe { site.bytes() })).collect();
        assert!(before.len() > 500, "only {} sites", before.len());
        let mut text = unsafe { Text::own() }.unwrap();
        for body in [BodyKind::Native, BodyKind::Xen, BodyKind::Native, BodyKind::Xen] {
            Table::bind::<Add>(body);
            let targets = targets(body);
            // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: this test is
            // alone in its process, and `targets` comes from the ops.
            let census = unsafe { text.boot(&targets) }.unwrap();
            assert_eq!(census.values().sum::<usize>(), before.len());
            let wanted = if body == BodyKind::Native { 1 } else { 2 };
            assert_eq!(add_per_call::<dispatch::Site, Add>([0; 4]), wanted, "{body:?}");
            assert_eq!(add_per_call::<dispatch::JumpLabel, Add>([0; 4]), wanted, "{body:?}");
            assert_eq!(add_per_call::<dispatch::StaticCall, Add>([0; 4]), wanted, "{body:?}");
            assert_eq!(add_per_call::<dispatch::StaticCallInline, Add>([0; 4]), wanted, "{body:?}");
            assert_eq!(add_per_call::<dispatch::Alternative, Add>([0; 4]), wanted, "{body:?}");
            match body {
                // The instructions of `Long` do not fit into its sites.
                BodyKind::Native => assert!(census.contains_key(&State::Refused) && census.contains_key(&State::Nop)),
                BodyKind::Xen => assert!(!census.contains_key(&State::Inline), "{census:?}"),
            }
            for site in text.sites() {
                // SAFETY: `bytes` needs a site in mapped text that nobody writes meanwhile: it is a recorded site, and
                // this test is alone in its process.
                let code = unsafe { site.bytes() };
                let wanted = rules::booted(site, &targets[&site.slot], &original(&before, site)).1;
                assert_eq!(code, wanted, "{site:x?}");
            }
        }
        // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: this test is
        // alone in its process, and `targets` comes from the ops.
        unsafe { text.restore() }.unwrap();
        for (site, code) in &before {
            assert_eq!(unsafe { site.bytes() }, *code, "{site:x?}");
        }
        assert_eq!(writable_and_executable(), Vec::<String>::new());
    });
}

fn original(before: &[(Site, Vec<u8>)], site: &Site) -> Vec<u8> {
    before.iter().find(|(other, _)| other == site).unwrap().1.clone()
}

#[test]
fn after_each_of_ten_thousand_switches_during_another_thread_the_site_calls_the_right_body() {
    alone("after_each_of_ten_thousand_switches_during_another_thread_the_site_calls_the_right_body", || {
        let _cpu = CpuModel::install().unwrap();
        let sites: Vec<Site> =
            site::recorded().unwrap().into_iter().filter(|s| s.slot == Add::SLOT && s.kind == SiteKind::Pv).collect();
        let span = sites[0].address..sites[sites.len() - 1].address + 16;
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        let mut text = unsafe { Text::new(sites, writer::choose(span).unwrap()) };
        static TURNS: AtomicU64 = AtomicU64::new(0);
        static STOP: AtomicBool = AtomicBool::new(false);
        let other = std::thread::spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                TURNS.fetch_add(1, Ordering::Relaxed);
            }
        });
        for turn in 0..10_000 {
            let (body, state) = match turn % 4 {
                0 => (BodyKind::Native, State::Inline),
                1 => (BodyKind::Xen, State::Direct),
                2 => (BodyKind::Native, State::Direct),
                _ => (BodyKind::Xen, State::Unpatched),
            };
            Table::bind::<Add>(body);
            // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: this test is
            // alone in its process, and `targets` comes from the ops.
            let census = unsafe { text.set_state(&targets_of::<Add>(body), SiteKind::Pv, state) }.unwrap();
            assert_eq!(census.keys().copied().collect::<Vec<_>>(), [state]);
            let wanted = if body == BodyKind::Native { 1 } else { 2 };
            assert_eq!(add_per_call::<dispatch::Site, Add>([0; 4]), wanted, "turn {turn}: {body:?} {state}");
        }
        STOP.store(true, Ordering::Relaxed);
        other.join().unwrap();
        assert!(TURNS.load(Ordering::Relaxed) > 0);
        assert_eq!(writable_and_executable(), Vec::<String>::new());
    });
}

fn targets_of<O: Op>(body: BodyKind) -> BTreeMap<usize, Target> {
    let op = OpEntry::new::<O>();
    BTreeMap::from([(op.slot, op.target(body))])
}

#[test]
fn a_site_with_unexpected_bytes_is_reported_and_nothing_is_written() {
    alone("a_site_with_unexpected_bytes_is_reported_and_nothing_is_written", || {
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        let mut text = unsafe { Text::own() }.unwrap();
        let sites: Vec<Site> = text.sites().copied().collect();
        let spoilt = sites[sites.len() / 2];
        // SAFETY: `bytes` needs a site in mapped text that nobody writes meanwhile: it is a recorded site, and this
        // test is alone in its process.
        let before: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        let mut other = unsafe { writer::choose(spoilt.address..spoilt.address + spoilt.length) }.unwrap();
        // As another patcher, a breakpoint or a damaged record would.
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        unsafe { other.write(spoilt.address, &[0xcc]) }.unwrap();
        let error = unsafe { text.boot(&targets(BodyKind::Native)) }.unwrap_err();
        let PatchError::Unexpected { address, found, .. } = &error else { panic!("{error}") };
        assert_eq!(*address, spoilt.address);
        assert!(found.starts_with("cc"), "{found}");
        assert!(error.to_string().contains(&format!("{address:#x}")), "{error}");
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        unsafe { other.write(spoilt.address, &before[sites.len() / 2][..1]) }.unwrap();
        let after: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        assert_eq!(after, before);
    });
}

/// A writer that fails at its write number `.0`.
struct FailsAt(usize, Box<dyn writer::Writer>);

impl writer::Writer for FailsAt {
    fn name(&self) -> &'static str {
        "a failing writer"
    }
    unsafe fn write(&mut self, address: usize, code: &[u8]) -> std::io::Result<()> {
        self.0 = self.0.wrapping_sub(1);
        if self.0 == 0 {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        unsafe { self.1.write(address, code) }
    }
}

#[test]
fn after_a_failed_write_all_sites_have_their_previous_bytes() {
    alone("after_a_failed_write_all_sites_have_their_previous_bytes", || {
        let sites = site::recorded().unwrap();
        // SAFETY: `bytes` needs a site in mapped text that nobody writes meanwhile: it is a recorded site, and this
        // test is alone in its process.
        let before: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        let writer = unsafe { writer::choose(span(&sites)) }.unwrap();
        let mut text = unsafe { Text::new(sites.clone(), Box::new(FailsAt(50, writer))) };
        // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: this test is
        // alone in its process, and `targets` comes from the ops.
        let error = unsafe { text.boot(&targets(BodyKind::Xen)) }.unwrap_err();
        assert!(matches!(error, PatchError::Write { writer: "a failing writer", .. }), "{error}");
        let after: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        assert_eq!(after, before);
    });
}

fn span(sites: &[Site]) -> Range<usize> {
    sites[0].address..sites[sites.len() - 1].address + sites[sites.len() - 1].length
}

/// Switches all sites between the bodies through one writer.
fn switches_through(name: &str) {
    let _cpu = CpuModel::install().unwrap();
    let sites = site::recorded().unwrap();
    // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
    let writer = unsafe { writer::named(name, span(&sites)) }.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut text = unsafe { Text::new(sites, writer) };
    for body in [BodyKind::Xen, BodyKind::Native] {
        Table::bind::<Add>(body);
        // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: this test is
        // alone in its process, and `targets` comes from the ops.
        unsafe { text.boot(&targets(body)) }.unwrap();
        let wanted = if body == BodyKind::Native { 1 } else { 2 };
        assert_eq!(add_per_call::<dispatch::Site, Add>([0; 4]), wanted, "{name}");
        assert_eq!(writable_and_executable(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn proc_self_mem_switches_all_sites() {
    alone("proc_self_mem_switches_all_sites", || switches_through("/proc/self/mem"));
}

#[test]
fn a_memfd_alias_switches_all_sites() {
    alone("a_memfd_alias_switches_all_sites", || switches_through("memfd"));
}

#[test]
fn mremap_switches_all_sites() {
    alone("mremap_switches_all_sites", || switches_through("mremap"));
}

/// Sets `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN` (Linux 6.3): no writable memory becomes executable.
fn deny_write_execute() -> bool {
    // SAFETY: the system call takes numbers or a valid pointer, and changes limits of this process only.
    unsafe { libc::prctl(65, 1, 0, 0, 0) == 0 }
}

#[test]
fn under_mdwe_writers_that_make_memory_executable_are_refused_and_the_others_work() {
    alone("under_mdwe_writers_that_make_memory_executable_are_refused_and_the_others_work", || {
        if !deny_write_execute() {
            eprintln!("skipped: this kernel has no PR_SET_MDWE");
            return;
        }
        let sites = site::recorded().unwrap();
        // SAFETY: a writer needs text that no other thread runs or writes: this test is alone in its process.
        assert!(unsafe { writer::named("mremap", span(&sites)) }.is_err());
        switches_through("/proc/self/mem");
        switches_through("memfd");
    });
}

#[test]
fn if_no_writer_works_the_error_names_each_with_its_reason() {
    alone("if_no_writer_works_the_error_names_each_with_its_reason", || {
        if !deny_write_execute() {
            eprintln!("skipped: this kernel has no PR_SET_MDWE");
            return;
        }
        // No further file can be opened: neither `/proc/self/mem` nor a memfd.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the system call takes numbers or a valid pointer, and changes limits of this process only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
        let error = unsafe { Text::own() }.err().unwrap().to_string();
        for name in writer::NAMES {
            assert!(error.contains(name), "{error}");
        }
    });
}

#[test]
fn the_rules_give_each_op_what_linux_gives_it() {
    let sites = site::recorded().unwrap();
    let of = |op: &str, kind: SiteKind| {
        let op = op_entries().into_iter().find(|entry| entry.meta.name == op).unwrap();
        let site = sites.iter().find(|site| site.slot == op.slot && site.kind == kind).copied().unwrap();
        let target = op.target(BodyKind::Native);
        let (state, code) = rules::booted(&site, &target, &[0xcc]);
        (state, code, site)
    };
    let (state, code, _) = of("save_fl", SiteKind::Pv);
    // pushfq; pop rax; nop4
    assert_eq!((state, &code[..]), (State::Inline, &[0x9c, 0x58, 0x0f, 0x1f, 0x40, 0x00][..]));
    let (state, code, _) = of("pte_val", SiteKind::Pv);
    // mov rax, rdi; nop3
    assert_eq!((state, &code[..]), (State::Inline, &[0x48, 0x89, 0xf8, 0x0f, 0x1f, 0x00][..]));
    let (state, code, _) = of("alloc_pte", SiteKind::Pv);
    assert_eq!((state, &code[..]), (State::Nop, &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00][..]));
    let (state, code, site) = of("set_pte", SiteKind::Pv);
    assert_eq!((state, code[0], code[5], code.len()), (State::Direct, 0xe8, 0x90, site.length));
    assert_eq!(of("alloc_pte", SiteKind::StaticCall).0, State::Nop);
    if cfg!(feature = "catalogue") {
        assert_eq!(of("vcpu_is_preempted", SiteKind::StaticCall).0, State::Inline);
    }
    assert_eq!(of("save_fl", SiteKind::StaticCall).0, State::Direct);
    assert_eq!(of("save_fl", SiteKind::JumpLabel).0, State::Off);
}

#[test]
fn instructions_that_do_not_fit_or_bodies_out_of_reach_are_refused() {
    let op = OpEntry::new::<Long>();
    let site = Site {
        address: op.target(BodyKind::Native).body,
        length: 6,
        slot: op.slot,
        op: op.meta.hash(),
        kind: SiteKind::Pv,
        target: 0,
    };
    let refusal = rules::code(&site, &op.target(BodyKind::Native), State::Inline, &[]).unwrap_err();
    assert!(matches!(refusal, Refusal::TooShort { op: "long", site: 6, .. }), "{refusal}");
    let far = Site { address: site.address.wrapping_add(1 << 40), ..site };
    let refusal = rules::code(&far, &op.target(BodyKind::Native), State::Direct, &[]).unwrap_err();
    assert!(matches!(refusal, Refusal::OutOfReach { .. }), "{refusal}");
}

#[test]
fn every_site_of_the_catalogue_has_room_for_the_native_instructions_and_at_least_six_bytes() {
    for op in op_entries() {
        let target = op.target(BodyKind::Native);
        if op.meta.bytes == pvbench::op::Bytes::Instruction {
            assert_eq!(usize::from(op.meta.site), target.code.len().max(6), "{}", op.meta.name);
        } else {
            assert_eq!(op.meta.site, 6, "{}", op.meta.name);
        }
    }
}

#[test]
fn a_copy_of_a_kernel_executes_as_many_instructions_as_the_original_with_every_mechanism() {
    alone("a_copy_of_a_kernel_executes_as_many_instructions_as_the_original_with_every_mechanism", || {
        let mut machine = Machine::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        let entry =
            pvbench::pv_ops::workload_entries().into_iter().find(|entry| entry.meta.name == "mmap_perf").unwrap();
        let data: Vec<_> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let mut decoded = DecodeCache::leaving(entry.variants.iter().map(|variant| variant.bind as usize));
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for variant in entry.variants.iter().filter(|variant| (variant.unavailable)().is_none()) {
            let mut count = |run: Run| {
                // The first run starts on a fresh machine, and binds.
                run(&mut machine, 1, 4, Clock::Tsc).unwrap();
                Unit { run, machine: &mut machine, seed: 1, units: 4 }.instructions(&mut tracer).unwrap()
            };
            let original = count(variant.run);
            let root = variant.run as *const () as usize;
            // SAFETY: `of_known` needs a compiled function, which `run` is; `with_data` needs data that only this image
            // uses, which the mechanisms declare.
            let image = unsafe { CodeImage::of_known(root, &mut decoded).unwrap().with_data(&data, &mut decoded) };
            let image = image.unwrap();
            let mut memory = CodeMemory::with_data(root, image.room(), image.data_room()).unwrap();
            let linked = link(&image, &RandomLayouts::default().draw(&image, &mut rng), &mut memory).unwrap();
            serialise();
            // SAFETY: the address is that of a copy of `run`, which has this type, and the memory still holds it.
            let copy = unsafe { std::mem::transmute::<usize, Run>(linked.address_of(root as u64).unwrap() as usize) };
            assert_eq!(count(copy), original, "{}", variant.mechanism.name);
        }
    });
}

#[test]
fn a_copy_of_a_kernel_keeps_its_patched_code_when_the_original_is_patched_again() {
    alone("a_copy_of_a_kernel_keeps_its_patched_code_when_the_original_is_patched_again", || {
        let mut machine = Machine::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        // SAFETY: `own` needs that no other thread runs sites and that there is no other `Text`: this test is alone in
        // its process.
        let mut text = unsafe { Text::own() }.unwrap();
        let entry =
            pvbench::pv_ops::workload_entries().into_iter().find(|entry| entry.meta.name == "mmap_perf").unwrap();
        let site = entry.variants.iter().find(|variant| variant.mechanism.name == "site").unwrap();
        let kind = site.mechanism.sites.unwrap();
        let states = [State::Unpatched, State::Direct, State::Inline];
        let mut memory = None;
        let mut copies = Vec::new();
        for state in states {
            // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: no workload
            // runs here, and `targets` comes from the ops.
            unsafe { text.set_first_supported(&targets(BodyKind::Native), kind, whole_kernel(state)) }.unwrap();
            // SAFETY: `of` needs the address of a compiled function, and `run` is one.
            let image = unsafe { CodeImage::of(site.run as *const () as usize) }.unwrap();
            let room = states.len() * image.room();
            let memory = memory.get_or_insert_with(|| CodeMemory::new(site.run as *const () as usize, room).unwrap());
            let layout = RandomLayouts::default().draw(&image, &mut Pcg64Mcg::seed_from_u64(1));
            let copy = link(&image, &layout, memory).unwrap().address_of(site.run as *const () as u64).unwrap();
            // SAFETY: the address is that of a copy of `run`, which has this type, and the memory still holds it.
            copies.push(unsafe { std::mem::transmute::<usize, Run>(copy as usize) });
        }
        serialise();
        let mut counts = |copies: &[Run]| -> Vec<f64> {
            let unit =
                |run: &Run| Unit { run: *run, machine: &mut machine, seed: 1, units: 4 }.instructions(&mut tracer);
            copies.iter().map(unit).collect::<Result<_, _>>().unwrap()
        };
        // The first runs start on a fresh machine.
        counts(&copies);
        let as_made = counts(&copies);
        // A direct call is shorter than one through memory, and a NOP fills the site; native instructions save call and
        // return.
        let [unpatched, direct, inline] = as_made[..] else { panic!("{as_made:?}") };
        assert!(unpatched < direct && inline < unpatched * 0.99, "{as_made:?}");
        for state in states {
            // SAFETY: patching needs that no thread runs a site and that the bodies are those of the ops: no workload
            // runs here, and `targets` comes from the ops.
            unsafe { text.set_first_supported(&targets(BodyKind::Native), kind, whole_kernel(state)) }.unwrap();
            assert_eq!(counts(&copies), as_made, "with the original {}", state.name());
        }
    });
}
