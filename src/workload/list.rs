//! Lists of workloads as types. A suite is made from them.

use std::marker::PhantomData;

use super::{
    ContextSwitch, Exec, ForkExit, KernelBuild, KernelWorkload, LatMmap, MmapPerf, NullSyscall, PageFault, PageLife,
    ProtFault, Spinlock, SpinlockContended, Workload, WorkloadEntry,
};
use crate::dispatch::Mechanisms;

/// A workload of a suite: a [`Workload`], or a [`KernelWorkload`] wrapped in [`OnKernel`].
pub trait Measured: 'static {
    /// Its name in commands and reports.
    const NAME: &'static str;

    /// The workload with each mechanism of a list, as data.
    fn entry<M: Mechanisms>() -> WorkloadEntry;
}

impl<W: Workload> Measured for W {
    const NAME: &'static str = W::META.name;

    fn entry<M: Mechanisms>() -> WorkloadEntry {
        WorkloadEntry::own::<W, M>()
    }
}

/// A workload on the model kernel.
///
/// ```
/// use pvbench::workload::{Measured, NullSyscall, OnKernel};
///
/// // `.workload::<OnKernel<NullSyscall>>()` adds it to a suite.
/// assert_eq!(OnKernel::<NullSyscall>::NAME, "null_syscall");
/// ```
pub struct OnKernel<W>(PhantomData<fn(W)>);

impl<W: KernelWorkload> Measured for OnKernel<W> {
    const NAME: &'static str = W::META.name;

    fn entry<M: Mechanisms>() -> WorkloadEntry {
        WorkloadEntry::on_kernel::<W, M>()
    }
}

/// A visitor of the workloads of a list, with each workload as a type.
pub trait WorkloadVisitor {
    /// Visits one workload; workloads come in the order of the list.
    fn visit<W: Measured>(&mut self);
}

/// A list of workloads: a tuple of them, or a type that stands for several, such as [`All`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of workloads",
    label = "a list is a tuple of up to twelve types that implement `Workload`"
)]
pub trait Workloads: 'static {
    /// Visits all workloads in order.
    fn visit(visitor: &mut impl WorkloadVisitor);
}

/// Implements [`Workloads`] for tuples: `tuples!(A B)` for pairs and all shorter tuples.
macro_rules! tuples {
    () => {
        impl Workloads for () {
            fn visit(_: &mut impl WorkloadVisitor) {}
        }
    };
    ($First:ident $($Rest:ident)*) => {
        tuples!($($Rest)*);
        impl<$First: Measured, $($Rest: Measured),*> Workloads for ($First, $($Rest,)*) {
            fn visit(visitor: &mut impl WorkloadVisitor) {
                visitor.visit::<$First>();
                $(visitor.visit::<$Rest>();)*
            }
        }
    };
}

tuples!(A B C D E F G H I J K L);

/// The built-in workloads, in the order of the tables.
pub struct All;

impl Workloads for All {
    fn visit(visitor: &mut impl WorkloadVisitor) {
        visitor.visit::<OnKernel<MmapPerf>>();
        visitor.visit::<OnKernel<LatMmap>>();
        visitor.visit::<OnKernel<PageFault>>();
        visitor.visit::<OnKernel<ProtFault>>();
        visitor.visit::<OnKernel<ForkExit>>();
        visitor.visit::<OnKernel<Exec>>();
        visitor.visit::<OnKernel<ContextSwitch>>();
        visitor.visit::<OnKernel<NullSyscall>>();
        visitor.visit::<OnKernel<Spinlock>>();
        visitor.visit::<OnKernel<SpinlockContended>>();
        visitor.visit::<OnKernel<PageLife>>();
        visitor.visit::<OnKernel<KernelBuild>>();
    }
}

/// The workloads of a list, each with all mechanisms of another list.
#[must_use]
pub fn entries<W: Workloads, M: Mechanisms>() -> Vec<WorkloadEntry> {
    struct Entries<M>(Vec<WorkloadEntry>, PhantomData<fn(M)>);
    impl<M: Mechanisms> WorkloadVisitor for Entries<M> {
        fn visit<W: Measured>(&mut self) {
            self.0.push(W::entry::<M>());
        }
    }
    let mut entries = Entries::<M>(Vec::new(), PhantomData);
    W::visit(&mut entries);
    entries.0
}
