//! Patching: what is written, what is refused, and that calls end where they should in every state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pvbench::dispatch::{self, Dispatch, Table};

use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::measure::executed::Unit;
use pvbench::measure::loops::{Loops, Prepared};
use pvbench::measure::plan::{Comparison, Variant, offsets};
use pvbench::measure::trace::{OneOp, Step, Trace, Tracer};
use pvbench::measure::work::whole_kernel;
use pvbench::op::BodyKind;
use pvbench::op::{CpuModel, Op};
use pvbench::patch::text::serialise;
use pvbench::patch::{
    CodeImage, CodeMemory, DataMemory, DecodeCache, PatchError, Refusal, Site, SiteKind, State, Target, Text, rules,
    site, writer,
};
use pvbench::pv_ops::op_entries;
use pvbench::regime::{Regime, SITES, latency};
use pvbench::suite::{OpEntry, mechanisms};
use pvbench::workload::Run;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::alone::writable_and_executable;
use crate::own_ops::{Add, Called, Long, Same};

/// A test of this file in a process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    crate::alone::alone(&format!("patch::{test}"), body);
}

/// The targets of every op in this binary.
fn targets(platform: BodyKind) -> BTreeMap<usize, Target> {
    let own = [OpEntry::new::<Add>(), OpEntry::new::<Same>(), OpEntry::new::<Long>(), OpEntry::new::<Called>()];
    // Kernels call all of the catalogue, also where the suite has less of it.
    let mut targets = rules::targets(platform);
    targets.extend(own.iter().map(|op| (op.slot, op.target(platform))));
    targets
}

/// What a chain through `D` adds per call.
fn adds<D: Dispatch, O: Op>(words: [u64; 4]) -> u64 {
    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
    let sum = unsafe { latency::<D, O>(&raw const words, 3) };
    assert_eq!(sum % (3 * SITES), 0, "{sum} after {} calls", 3 * SITES);
    sum / (3 * SITES)
}

#[test]
fn every_mechanism_in_every_state_ends_in_the_body_it_is_bound_to() {
    alone("every_mechanism_in_every_state_ends_in_the_body_it_is_bound_to", || {
        let mut loops = Loops::new().unwrap();
        let mut seen = BTreeMap::new();
        let all: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
        // What native adds per call, what Xen adds.
        for (op, native, xen) in [
            (OpEntry::new::<Add>(), 1, 2),
            (OpEntry::new::<Same>(), 0, 2),
            (OpEntry::new::<Long>(), 1, 2),
            (OpEntry::new::<Called>(), 1, 2),
        ] {
            let mut cpu = CpuModel::install().unwrap();
            let args = (op.arguments)(&mut cpu);
            for body in [BodyKind::Native, BodyKind::Xen, BodyKind::Native] {
                let switches = |c: &&Variant| mechanisms().iter().any(|m| m.name == c.mechanism && m.switches);
                let columns: Vec<Variant> = match body {
                    BodyKind::Native => all.clone(),
                    BodyKind::Xen => all.iter().filter(switches).cloned().collect(),
                };
                let group = Comparison { op: op.meta.name.to_owned(), body, regime: Regime::Latency, offset: 29 };
                let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
                // In the order of the columns, and once more backwards: every state is entered from others.
                let order: Vec<usize> = (0..columns.len()).chain((0..columns.len()).rev()).collect();
                for index in order {
                    let Prepared::Loop(copied) = &offers[index] else { continue };
                    loops.activate(copied).unwrap();
                    // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
                    let sum = unsafe { (copied.run)(&raw const args, 5) };
                    let wanted = if body == BodyKind::Native { native } else { xen };
                    assert_eq!(sum, 5 * SITES * wanted, "{} {} {body:?}", op.meta.name, columns[index]);
                    *seen.entry(columns[index].clone()).or_insert(0) += 1;
                }
            }
        }
        let never: Vec<String> = all.iter().filter(|c| !seen.contains_key(c)).map(ToString::to_string).collect();
        // No op here is a nop or returns zero; the catalogue's are, and are checked below.
        assert!(
            never.iter().all(|c| c.contains("(nop)") || c == "static_call_inline (inline)"),
            "never run: {never:?}"
        );
    });
}

#[test]
fn at_every_layout_all_calls_of_an_op_reach_one_copy_of_its_body_and_at_another_place() {
    alone("at_every_layout_all_calls_of_an_op_reach_one_copy_of_its_body_and_at_another_place", || {
        let mut loops = Loops::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        let mut cpu = CpuModel::install().unwrap();
        // What the linker or a loader bound.
        let elsewhere = ["ifunc", "dlsym"];
        let moved = |c: &&Variant| !elsewhere.contains(&c.mechanism.as_str());
        let columns: Vec<Variant> = mechanisms().iter().flat_map(Variant::of).collect();
        let columns: Vec<Variant> = columns.iter().filter(moved).cloned().collect();
        // Assembly, and a compiled function.
        for op in [OpEntry::new::<Add>(), OpEntry::new::<Called>()] {
            let args = (op.arguments)(&mut cpu);
            for platform in [BodyKind::Native, BodyKind::Xen] {
                let body = op.target(platform).body;
                let mut places = BTreeMap::new();
                for offset in offsets(8) {
                    let group =
                        Comparison { op: op.meta.name.to_owned(), body: platform, regime: Regime::Throughput, offset };
                    let (_, offers) = loops.prepare(&op, &group, &columns).unwrap();
                    let mut calls = 0;
                    for (column, offer) in columns.iter().zip(&offers) {
                        let Prepared::Loop(copied) = offer else { continue };
                        loops.activate(copied).unwrap();
                        // SAFETY: a loop of this program, with arguments made for it.
                        let passes = unsafe { tracer.passes(copied.run, &args) }.unwrap();
                        let steps = match passes.one_op() {
                            OneOp::Repeated { steps, .. } => steps,
                            OneOp::Whole(steps) => steps,
                        };
                        let name = format!("{} by {column}, {platform:?}", op.meta.name);
                        assert!(steps.iter().all(|step| step.address() as usize != body), "{name}: the original ran");
                        if column.mechanism.contains("dyn") {
                            let at = |step: &Step| step.address() as usize;
                            let is_copy = |at| copied.span.contains(&at) || loops.callee_at(at).is_some();
                            assert!(steps.iter().all(|step| is_copy(at(step))), "{name}: a method stayed where it was");
                        }
                        let copy = steps.iter().find(|step| loops.callee_at(step.address() as usize) == Some(body));
                        if let Some(copy) = copy {
                            calls += 1;
                            let place = places.entry(offset).or_insert(copy.address());
                            assert_eq!(*place, copy.address(), "{name}: another copy");
                        }
                    }
                    assert!(calls > 10, "{} by {calls} mechanisms", op.meta.name);
                }
                let within: BTreeSet<u64> = places.values().map(|place| place % 128).collect();
                assert_eq!(within, (0..128).step_by(16).collect(), "{} {platform:?}", op.meta.name);
            }
        }
        let native = OpEntry::new::<Add>().target(BodyKind::Native).body;
        Table::bind::<Add>(BodyKind::Native);
        let group = Comparison { op: "add".to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
        loops.prepare(&OpEntry::new::<Add>(), &group, &columns).unwrap();
        let word = Table::pointer::<Add>().unwrap();
        // SAFETY: a word of the table, which nobody writes meanwhile.
        let leads = || unsafe { word.read() };
        assert_ne!(leads(), native);
        drop(loops);
        assert_eq!(leads(), native, "the copy is gone, and the table leads to the original again");
    });
}

#[test]
fn a_trampoline_leads_to_the_body_of_its_group_whatever_was_measured_before() {
    alone("a_trampoline_leads_to_the_body_of_its_group_whatever_was_measured_before", || {
        let mut loops = Loops::new().unwrap();
        let op = OpEntry::new::<Add>();
        let mut cpu = CpuModel::install().unwrap();
        let args = (op.arguments)(&mut cpu);
        let mut sum = |body, mechanism: &str| {
            let column = Variant { mechanism: mechanism.to_owned(), state: None };
            let group = Comparison { op: op.meta.name.to_owned(), body, regime: Regime::Latency, offset: 0 };
            let (_, offers) = loops.prepare(&op, &group, &[column]).unwrap();
            let Prepared::Loop(copied) = &offers[0] else { panic!("no loop of {mechanism}") };
            // SAFETY: a loop of this program, with arguments made for it; passes is at least 1.
            unsafe { (copied.run)(&raw const args, 5) }
        };
        // Native adds 1 per call, Xen 2.
        let (native, xen) = (5 * SITES, 2 * 5 * SITES);
        for (body, wanted) in [(BodyKind::Xen, xen), (BodyKind::Native, native), (BodyKind::Xen, xen)] {
            assert_eq!(sum(body, "table"), wanted);
            assert_eq!(sum(body, "static_call"), wanted, "{body:?}");
        }
        assert_eq!(sum(BodyKind::Native, "table"), native, "while the trampoline leads to Xen's body");
        assert_eq!(sum(BodyKind::Native, "static_call"), native);
    });
}

#[test]
fn a_program_switches_all_its_sites_from_one_platform_to_the_other_and_back() {
    alone("a_program_switches_all_its_sites_from_one_platform_to_the_other_and_back", || {
        let _cpu = CpuModel::install().unwrap();
        let before: Vec<(Site, Vec<u8>)> =
            // SAFETY: a site of this program, whose bytes nobody writes meanwhile.
            site::recorded().unwrap().into_iter().map(|site| (site, unsafe { site.bytes() })).collect();
        assert!(before.len() > 500, "only {} sites", before.len());
        let mut text = unsafe { Text::own() }.unwrap();
        for platform in [BodyKind::Native, BodyKind::Xen, BodyKind::Native, BodyKind::Xen] {
            Table::bind::<Add>(platform);
            let targets = targets(platform);
            // SAFETY: no other thread runs sites meanwhile, and the targets are those of the ops.
            let census = unsafe { text.boot(&targets) }.unwrap();
            assert_eq!(census.values().sum::<usize>(), before.len());
            let wanted = if platform == BodyKind::Native { 1 } else { 2 };
            assert_eq!(adds::<dispatch::Site, Add>([0; 4]), wanted, "{platform:?}");
            assert_eq!(adds::<dispatch::JumpLabel, Add>([0; 4]), wanted, "{platform:?}");
            assert_eq!(adds::<dispatch::StaticCall, Add>([0; 4]), wanted, "{platform:?}");
            assert_eq!(adds::<dispatch::StaticCallInline, Add>([0; 4]), wanted, "{platform:?}");
            assert_eq!(adds::<dispatch::Alternative, Add>([0; 4]), wanted, "{platform:?}");
            match platform {
                // `Long` does not fit into its sites.
                BodyKind::Native => assert!(census.contains_key(&State::Refused) && census.contains_key(&State::Nop)),
                BodyKind::Xen => assert!(!census.contains_key(&State::Inline), "{census:?}"),
            }
            for site in text.sites() {
                // SAFETY: a site of this program, whose bytes nobody writes meanwhile.
                let code = unsafe { site.bytes() };
                let wanted = rules::booted(site, &targets[&site.slot], &original(&before, site)).1;
                assert_eq!(code, wanted, "{site:x?}");
            }
        }
        // SAFETY: no other thread runs sites meanwhile, and the targets are those of the ops.
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
fn ten_thousand_switches_beside_a_running_thread_leave_every_state_right() {
    alone("ten_thousand_switches_beside_a_running_thread_leave_every_state_right", || {
        let _cpu = CpuModel::install().unwrap();
        let sites: Vec<Site> =
            site::recorded().unwrap().into_iter().filter(|s| s.slot == Add::SLOT && s.kind == SiteKind::Pv).collect();
        let span = sites[0].address..sites[sites.len() - 1].address + 16;
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        let mut text = unsafe { Text::new(sites, writer::choose(span).unwrap()) };
        static TURNS: AtomicU64 = AtomicU64::new(0);
        static STOP: AtomicBool = AtomicBool::new(false);
        let elsewhere = std::thread::spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                TURNS.fetch_add(1, Ordering::Relaxed);
            }
        });
        for turn in 0..10_000 {
            let (platform, state) = match turn % 4 {
                0 => (BodyKind::Native, State::Inline),
                1 => (BodyKind::Xen, State::Direct),
                2 => (BodyKind::Native, State::Direct),
                _ => (BodyKind::Xen, State::Unpatched),
            };
            Table::bind::<Add>(platform);
            // SAFETY: no other thread runs sites meanwhile, and the targets are those of the ops.
            let census = unsafe { text.set_state(&targets_of::<Add>(platform), SiteKind::Pv, state) }.unwrap();
            assert_eq!(census.keys().copied().collect::<Vec<_>>(), [state]);
            let wanted = if platform == BodyKind::Native { 1 } else { 2 };
            assert_eq!(adds::<dispatch::Site, Add>([0; 4]), wanted, "turn {turn}: {platform:?} {state}");
        }
        STOP.store(true, Ordering::Relaxed);
        elsewhere.join().unwrap();
        assert!(TURNS.load(Ordering::Relaxed) > 0);
        assert_eq!(writable_and_executable(), Vec::<String>::new());
    });
}

fn targets_of<O: Op>(platform: BodyKind) -> BTreeMap<usize, Target> {
    let op = OpEntry::new::<O>();
    BTreeMap::from([(op.slot, op.target(platform))])
}

#[test]
fn a_site_that_holds_something_else_is_named_and_nothing_is_written() {
    alone("a_site_that_holds_something_else_is_named_and_nothing_is_written", || {
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        let mut text = unsafe { Text::own() }.unwrap();
        let sites: Vec<Site> = text.sites().copied().collect();
        let spoilt = sites[sites.len() / 2];
        // SAFETY: a site of this program, whose bytes nobody writes meanwhile.
        let before: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        let mut other = unsafe { writer::choose(spoilt.address..spoilt.address + spoilt.length) }.unwrap();
        // Another patcher, a breakpoint, a damaged record.
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        unsafe { other.write(spoilt.address, &[0xcc]) }.unwrap();
        let error = unsafe { text.boot(&targets(BodyKind::Native)) }.unwrap_err();
        let PatchError::Unexpected { address, found, .. } = &error else { panic!("{error}") };
        assert_eq!(*address, spoilt.address);
        assert!(found.starts_with("cc"), "{found}");
        assert!(error.to_string().contains(&format!("{address:#x}")), "{error}");
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        unsafe { other.write(spoilt.address, &before[sites.len() / 2][..1]) }.unwrap();
        let after: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        assert_eq!(after, before);
    });
}

/// A writer that fails at its nth write.
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
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        unsafe { self.1.write(address, code) }
    }
}

#[test]
fn a_write_that_fails_in_the_middle_takes_back_what_was_written() {
    alone("a_write_that_fails_in_the_middle_takes_back_what_was_written", || {
        let sites = site::recorded().unwrap();
        // SAFETY: a site of this program, whose bytes nobody writes meanwhile.
        let before: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        let writer = unsafe { writer::choose(span(&sites)) }.unwrap();
        let mut text = unsafe { Text::new(sites.clone(), Box::new(FailsAt(50, writer))) };
        // SAFETY: no other thread runs sites meanwhile, and the targets are those of the ops.
        let error = unsafe { text.boot(&targets(BodyKind::Xen)) }.unwrap_err();
        assert!(matches!(error, PatchError::Write { writer: "a failing writer", .. }), "{error}");
        let after: Vec<Vec<u8>> = sites.iter().map(|site| unsafe { site.bytes() }).collect();
        assert_eq!(after, before);
    });
}

fn span(sites: &[Site]) -> Range<usize> {
    sites[0].address..sites[sites.len() - 1].address + sites[sites.len() - 1].length
}

/// Every writer, on all sites.
fn switches_through(name: &str) {
    let _cpu = CpuModel::install().unwrap();
    let sites = site::recorded().unwrap();
    // SAFETY: nobody else writes code: tests that patch have their process to themselves.
    let writer = unsafe { writer::named(name, span(&sites)) }.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut text = unsafe { Text::new(sites, writer) };
    for platform in [BodyKind::Xen, BodyKind::Native] {
        Table::bind::<Add>(platform);
        // SAFETY: no other thread runs sites meanwhile, and the targets are those of the ops.
        unsafe { text.boot(&targets(platform)) }.unwrap();
        let wanted = if platform == BodyKind::Native { 1 } else { 2 };
        assert_eq!(adds::<dispatch::Site, Add>([0; 4]), wanted, "{name}");
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
fn moved_pages_switch_all_sites() {
    alone("moved_pages_switch_all_sites", || switches_through("mremap"));
}

/// `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN` (Linux 6.3): nothing writable becomes executable.
fn deny_write_execute() -> bool {
    // SAFETY: a plain call of the system, with arguments of this process.
    unsafe { libc::prctl(65, 1, 0, 0, 0) == 0 }
}

#[test]
fn under_mdwe_what_makes_memory_executable_is_passed_over() {
    alone("under_mdwe_what_makes_memory_executable_is_passed_over", || {
        if !deny_write_execute() {
            eprintln!("skipped: this kernel has no PR_SET_MDWE");
            return;
        }
        let sites = site::recorded().unwrap();
        // SAFETY: nobody else writes code: tests that patch have their process to themselves.
        assert!(unsafe { writer::named("mremap", span(&sites)) }.is_err());
        switches_through("/proc/self/mem");
        switches_through("memfd");
    });
}

#[test]
fn where_no_writer_is_left_each_is_named_with_what_stands_against_it() {
    alone("where_no_writer_is_left_each_is_named_with_what_stands_against_it", || {
        if !deny_write_execute() {
            eprintln!("skipped: this kernel has no PR_SET_MDWE");
            return;
        }
        // No further file can be opened: neither /proc/self/mem nor a memfd.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a plain call of the system, with arguments of this process.
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
fn what_does_not_fit_or_spoils_kept_registers_is_refused() {
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
fn every_native_instruction_of_the_catalogue_fits_into_its_site_to_the_byte_or_with_nops() {
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
fn a_copy_of_a_kernel_executes_what_the_original_does_with_every_mechanism() {
    alone("a_copy_of_a_kernel_executes_what_the_original_does_with_every_mechanism", || {
        let mut machine = Machine::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        let entry =
            pvbench::pv_ops::workload_entries().into_iter().find(|entry| entry.meta.name == "mmap_perf").unwrap();
        let data: Vec<_> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let mut decoded = DecodeCache::leaving(entry.variants.iter().map(|variant| variant.bind as usize));
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for variant in entry.variants.iter().filter(|variant| (variant.unavailable)().is_none()) {
            let mut count = |run: Run| {
                // The first runs find a machine that has done nothing yet, and bind.
                run(&mut machine, 1, 4, Clock::Tsc).unwrap();
                Unit { run, machine: &mut machine, seed: 1, units: 4 }.instructions(&mut tracer).unwrap()
            };
            let original = count(variant.run);
            let root = variant.run as *const () as usize;
            // SAFETY: a compiled function, and data that mechanisms gave as theirs.
            let tree = unsafe { CodeImage::of_known(root, &mut decoded).unwrap().with_data(&data, &mut decoded) };
            let mut tree = tree.unwrap();
            let mut memory = CodeMemory::new(root, tree.room()).unwrap();
            let mut copies = DataMemory::new(root, tree.data_room()).unwrap();
            tree.place(&mut memory, &mut copies, &mut rng).unwrap();
            serialise();
            // SAFETY: a copy of this very function, in memory that is still there.
            let copy = unsafe { std::mem::transmute::<usize, Run>(tree.relocated(root as u64).unwrap() as usize) };
            assert_eq!(count(copy), original, "{}", variant.mechanism.name);
        }
    });
}

#[test]
fn a_copy_of_a_kernel_keeps_what_was_patched_into_it_whatever_becomes_of_the_original() {
    alone("a_copy_of_a_kernel_keeps_what_was_patched_into_it_whatever_becomes_of_the_original", || {
        let mut machine = Machine::new().unwrap();
        let mut tracer = Tracer::install().unwrap();
        // SAFETY: no other thread, and the only one.
        let mut text = unsafe { Text::own() }.unwrap();
        let entry =
            pvbench::pv_ops::workload_entries().into_iter().find(|entry| entry.meta.name == "mmap_perf").unwrap();
        let site = entry.variants.iter().find(|variant| variant.mechanism.name == "site").unwrap();
        let kind = site.mechanism.sites.unwrap();
        let states = [State::Unpatched, State::Direct, State::Inline];
        let mut memory = None;
        let mut copies = Vec::new();
        for state in states {
            // SAFETY: no site is being run, and the targets are those of the ops.
            unsafe { text.set_first_supported(&targets(BodyKind::Native), kind, whole_kernel(state)) }.unwrap();
            // SAFETY: a compiled function.
            let mut tree = unsafe { CodeImage::of(site.run as *const () as usize) }.unwrap();
            let room = states.len() * tree.room();
            let memory = memory.get_or_insert_with(|| CodeMemory::new(site.run as *const () as usize, room).unwrap());
            let mut data = DataMemory::new(site.run as *const () as usize, 0).unwrap();
            tree.place(memory, &mut data, &mut Pcg64Mcg::seed_from_u64(1)).unwrap();
            let copy = tree.relocated(site.run as *const () as u64).unwrap();
            // SAFETY: a copy of this very function, in memory that is still there.
            copies.push(unsafe { std::mem::transmute::<usize, Run>(copy as usize) });
        }
        serialise();
        let mut counts = |copies: &[Run]| -> Vec<f64> {
            let unit =
                |run: &Run| Unit { run: *run, machine: &mut machine, seed: 1, units: 4 }.instructions(&mut tracer);
            copies.iter().map(unit).collect::<Result<_, _>>().unwrap()
        };
        // The first runs find a machine that has done nothing yet.
        counts(&copies);
        let as_made = counts(&copies);
        // A direct call is shorter than one through memory, and a NOP fills the site; native instructions save call and
        // return.
        let [unpatched, direct, inline] = as_made[..] else { panic!("{as_made:?}") };
        assert!(unpatched < direct && inline < unpatched * 0.99, "{as_made:?}");
        for state in states {
            // SAFETY: as above.
            unsafe { text.set_first_supported(&targets(BodyKind::Native), kind, whole_kernel(state)) }.unwrap();
            assert_eq!(counts(&copies), as_made, "with the original {}", state.name());
        }
    });
}
