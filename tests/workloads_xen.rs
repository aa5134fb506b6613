//! Workloads on a kernel that booted as a Xen PV guest. With every mechanism they reach the checksum of bare metal, and
//! the hypervisor refuses nothing.

mod alone;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use pvbench::dispatch::{self, CallSequence, Dispatch, Mechanism, Table};

use pvbench::clock::Clock;
use pvbench::kernel::{Kernel, KernelError, Machine, Prot, Xen};
use pvbench::measure::workload_bench::whole_kernel;
use pvbench::op::BodyKind;
use pvbench::op::xen::p2m::{FRAME_MASK, PRESENT};
use pvbench::op::xen::{CallKind, FrameType, XenVcpu, guest};
use pvbench::patch::rules::{Target, targets};
use pvbench::patch::site::SiteKind;
use pvbench::patch::{State, Text};
use pvbench::pv_ops::workload_entries;
use pvbench::workload::{
    ContextSwitch, Exec, ForkExit, KernelBuild, LatMmap, MmapPerf, NullSyscall, PageFault, PageLife, ProtFault, Run,
    Spinlock, SpinlockContended, Workload, WorkloadEntry,
};

const SEED: u64 = 42;
const WRITABLE: u64 = 1 << 1;

fn units(entry: &WorkloadEntry) -> u64 {
    match entry.meta.name {
        "kernel_build" => 3,
        "spinlock_contended" => 4,
        _ => 300,
    }
}

/// A workload with a mechanism on a Xen guest.
struct Guest {
    mechanism: Mechanism,
    unavailable: fn() -> Option<String>,
    run: Run,
}

/// Returns a workload's name, and the workload with every mechanism that can bind its hooks to Xen's bodies.
fn list_guests<W: Workload>() -> (&'static str, Vec<Guest>) {
    struct Guests<W>(Vec<Guest>, PhantomData<fn(W)>);
    impl<W: Workload> dispatch::MechanismVisitor for Guests<W> {
        fn visit<D: Dispatch>(&mut self) {
            if D::META.switches {
                let run = pvbench::workload::run::<W, D, Xen>;
                self.0.push(Guest { mechanism: D::META, unavailable: D::unavailable, run });
            }
        }
    }
    let mut guests = Guests::<W>(Vec::new(), PhantomData);
    dispatch::for_each(&mut guests);
    (W::META.name, guests.0)
}

fn list_all_guests() -> BTreeMap<&'static str, Vec<Guest>> {
    BTreeMap::from([
        list_guests::<MmapPerf>(),
        list_guests::<LatMmap>(),
        list_guests::<PageFault>(),
        list_guests::<ProtFault>(),
        list_guests::<ForkExit>(),
        list_guests::<Exec>(),
        list_guests::<ContextSwitch>(),
        list_guests::<NullSyscall>(),
        list_guests::<Spinlock>(),
        list_guests::<SpinlockContended>(),
        list_guests::<PageLife>(),
        list_guests::<KernelBuild>(),
    ])
}

/// The text of this program, and the targets of its sites by body.
struct Sites {
    text: Text,
    targets: [BTreeMap<usize, Target>; 2],
}

impl Sites {
    fn new() -> Self {
        // SAFETY: only this test runs in the process, and it makes one of these.
        Sites { text: unsafe { Text::own() }.unwrap(), targets: [BodyKind::Native, BodyKind::Xen].map(targets) }
    }

    fn set_state(&mut self, body: BodyKind, kind: SiteKind, states: &[State]) {
        let targets = &self.targets[usize::from(body == BodyKind::Xen)];
        // SAFETY: no other thread runs, and no site is executing; the targets are those of the ops.
        unsafe { self.text.set_first_supported(targets, kind, states) }.unwrap();
    }

    /// Binds a mechanism's calls to a body.
    fn bind(&mut self, mechanism: &Mechanism, body: BodyKind, state: Option<State>) {
        match (mechanism.sites, state) {
            (Some(kind), Some(state)) => {
                self.set_state(body, kind, whole_kernel(state));
                // The target of a jump label follows the body.
                self.set_state(body, SiteKind::Call, &[State::Direct]);
            }
            _ if mechanism.way == CallSequence::Trampoline => {
                self.set_state(body, SiteKind::Trampoline, &[State::Direct]);
            }
            _ => {}
        }
    }
}

/// The states in which all sites of a mechanism reach Xen's bodies. Inline native instructions and unpatched
/// alternatives stay those of bare metal.
fn states(mechanism: &Mechanism) -> Vec<Option<State>> {
    match mechanism.sites {
        None => vec![None],
        Some(SiteKind::JumpLabel) => vec![Some(State::On)],
        Some(SiteKind::Pv | SiteKind::PvCalleeSave) => vec![Some(State::Unpatched), Some(State::Direct)],
        Some(_) => vec![Some(State::Direct)],
    }
}

/// The expected state of the guest's frames: the tables of live address spaces and of boot, and the number of mappings
/// of each frame.
#[derive(Default)]
struct ExpectedFrames {
    tables: BTreeMap<u64, FrameType>,
    writable: BTreeMap<u64, u32>,
}

impl ExpectedFrames {
    fn walk(xen: &XenVcpu, roots: impl Iterator<Item = u64>) -> Self {
        let mut expected = ExpectedFrames::default();
        for root in roots.chain([guest::ROOT]) {
            expected.add_table(xen, root, FrameType::L4);
            expected.add_table(xen, xen.memory.virt_to_pfn(xen.memory.map[root as usize].private), FrameType::L4);
        }
        expected
    }

    fn add_table(&mut self, xen: &XenVcpu, pfn: u64, kind: FrameType) {
        let below = match kind {
            FrameType::L4 => Some(FrameType::L3),
            FrameType::L3 => Some(FrameType::L2),
            FrameType::L2 => Some(FrameType::L1),
            _ => None,
        };
        if let Some(before) = self.tables.insert(pfn, kind) {
            assert_eq!(before, kind, "frame {pfn} is a table of two levels");
            return;
        }
        for index in 0..512 {
            let entry = xen.memory.read(pfn, index).unwrap();
            if entry & PRESENT == 0 {
                continue;
            }
            let child = xen.p2m.mfn_to_pfn((entry & FRAME_MASK) >> 12);
            assert!((child as usize) < xen.memory.map.len(), "entry {index} of frame {pfn} leads to {entry:#x}");
            match below {
                Some(below) => self.add_table(xen, child, below),
                None => *self.writable.entry(child).or_default() += u32::from(entry & WRITABLE != 0),
            }
        }
    }

    /// Checks that every frame is an expected table, or plain memory with as many mappings as its type count says.
    fn check(&self, xen: &XenVcpu, what: &str) {
        for pfn in 0..xen.memory.map.len() as u64 {
            let frame = xen.hypervisor.frames.get(xen.p2m.pfn_to_mfn(pfn)).unwrap();
            let read_only = xen.hypervisor.frames.direct(pfn).unwrap() & WRITABLE == 0;
            if let Some(kind) = self.tables.get(&pfn) {
                assert_eq!((frame.kind, read_only), (*kind, true), "{what}: frame {pfn}");
            } else if pfn == guest::GDT {
                assert_eq!((frame.kind, read_only), (FrameType::SegmentDescriptors, true), "{what}");
            } else {
                let uses = 1 + self.writable.get(&pfn).copied().unwrap_or(0);
                let plain = (FrameType::Writable, uses, false);
                assert_eq!((frame.kind, frame.uses, read_only), plain, "{what}: frame {pfn}");
                assert!(!frame.pinned && !xen.memory.map[pfn as usize].pinned, "{what}: frame {pfn}");
            }
        }
    }
}

fn run_on_xen(machine: &mut Machine, entry: &WorkloadEntry, run: Run, expected: u64, what: &str) {
    assert_eq!(run(machine, SEED, units(entry), Clock::Tsc).unwrap().checksum, expected, "{what}");
    let xen = machine.vcpu();
    assert_eq!((xen.hypervisor.refused, xen.multicall.failed), (0, 0), "{what}");
    assert!(xen.multicall.pending().is_empty(), "{what}: {:?}", xen.multicall.pending());
    assert!(xen.hypervisor.calls() > 0, "{what}");
    if ["mmap_perf", "fork_exit"].contains(&entry.meta.name) {
        assert!(xen.hypervisor.count(CallKind::MmuUpdate) > 0 && xen.hypervisor.emulated > 0, "{what}");
    }
    ExpectedFrames::walk(xen, machine.roots()).check(xen, what);
}

#[test]
fn every_mechanism_reaches_the_checksum_of_bare_metal_as_a_xen_guest() {
    let name = "every_mechanism_reaches_the_checksum_of_bare_metal_as_a_xen_guest";
    alone::alone(name, || {
        let mut sites = Sites::new();
        let (mut machine, on_xen) = (Machine::new().unwrap(), list_all_guests());
        let mut seen = BTreeSet::new();
        for entry in workload_entries().into_iter().filter(|entry| (entry.unavailable)().is_none()) {
            let expected = (entry.variants[0].run)(&mut machine, SEED, units(&entry), Clock::Tsc).unwrap().checksum;
            for Guest { mechanism, run, .. } in on_xen[entry.meta.name].iter().filter(|it| (it.unavailable)().is_none())
            {
                for state in states(mechanism) {
                    let what = format!("{} with {} ({state:?})", entry.meta.name, mechanism.name);
                    sites.bind(mechanism, BodyKind::Xen, state);
                    run_on_xen(&mut machine, &entry, *run, expected, &what);
                    sites.bind(mechanism, BodyKind::Native, state);
                    seen.insert(mechanism.name);
                    // The machine then runs a kernel on bare metal again.
                    let again = entry.variants.iter().find(|variant| variant.mechanism.name == mechanism.name);
                    let again = again.unwrap_or(&entry.variants[0]);
                    let native = (again.run)(&mut machine, SEED, units(&entry), Clock::Tsc).unwrap().checksum;
                    assert_eq!(native, expected, "{what}, then on bare metal");
                }
            }
        }
        assert!(seen.len() > 20, "{seen:?}");
    });
}

fn assert_nothing_refused(machine: &Machine) {
    let xen = machine.vcpu();
    assert_eq!((xen.hypervisor.refused, xen.multicall.failed), (0, 0));
    ExpectedFrames::walk(xen, machine.roots()).check(xen, "at the end");
}

#[test]
fn a_guest_fails_with_an_error_when_memory_runs_out_and_frees_everything() {
    let mut machine = Machine::new().unwrap();
    let mut kernel = Kernel::<Table, Xen>::new(&mut machine);
    let before = kernel.machine().free_frames();
    kernel.start().unwrap();
    let at = kernel.mmap(1 << 30, Prot::Write).unwrap();
    let ended = (0..1 << 18).find_map(|page| kernel.store(at + page * 4096, page).err());
    assert!(matches!(ended, Some(KernelError::Memory(_))), "{ended:?}");
    assert_nothing_refused(kernel.machine());
    kernel.finish().unwrap();
    // Everything is free but the slabs, which keep their pages.
    assert!(before - machine.free_frames() < 8, "{before} frames, then {}", machine.free_frames());
    assert_nothing_refused(&machine);
}

#[test]
fn forks_fail_when_no_root_for_user_mode_is_left() {
    let mut machine = Machine::new().unwrap();
    let mut kernel = Kernel::<Table, Xen>::new(&mut machine);
    kernel.start().unwrap();
    let at = kernel.mmap(4096, Prot::Write).unwrap();
    kernel.store(at, 7).unwrap();
    let mut children = Vec::new();
    let ended = loop {
        match kernel.fork() {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, KernelError::Memory(_)) && children.len() > 16, "{ended:?} after {}", children.len());
    assert_nothing_refused(kernel.machine());
    for child in children {
        assert_eq!(kernel.run_child(child, |kernel| kernel.load(at)), Ok(7));
    }
    assert!(kernel.fork().is_ok(), "the children's roots are free again");
    assert_nothing_refused(&machine);
}
