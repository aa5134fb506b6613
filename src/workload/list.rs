//! Lists of workloads as types. A suite is made from them.

use std::marker::PhantomData;

use super::{
    ContextSwitch, Exec, ForkExit, KernelBuild, LatMmap, MmapPerf, NullSyscall, PageFault, PageLife, ProtFault,
    Spinlock, SpinlockContended, Workload, WorkloadEntry,
};
use crate::dispatch::Mechanisms;

/// A visitor of the workloads of a list, with each workload as a type.
pub trait WorkloadVisitor {
    /// Visits one workload; workloads come in the order of the list.
    fn visit<W: Workload>(&mut self);
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
        impl<$First: Workload, $($Rest: Workload),*> Workloads for ($First, $($Rest,)*) {
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
        visitor.visit::<MmapPerf>();
        visitor.visit::<LatMmap>();
        visitor.visit::<PageFault>();
        visitor.visit::<ProtFault>();
        visitor.visit::<ForkExit>();
        visitor.visit::<Exec>();
        visitor.visit::<ContextSwitch>();
        visitor.visit::<NullSyscall>();
        visitor.visit::<Spinlock>();
        visitor.visit::<SpinlockContended>();
        visitor.visit::<PageLife>();
        visitor.visit::<KernelBuild>();
    }
}

/// The workloads of a list, each with all mechanisms of another list.
#[must_use]
pub fn entries<W: Workloads, M: Mechanisms>() -> Vec<WorkloadEntry> {
    struct Entries<M>(Vec<WorkloadEntry>, PhantomData<fn(M)>);
    impl<M: Mechanisms> WorkloadVisitor for Entries<M> {
        fn visit<W: Workload>(&mut self) {
            self.0.push(WorkloadEntry::new::<W, M>());
        }
    }
    let mut entries = Entries::<M>(Vec::new(), PhantomData);
    W::visit(&mut entries);
    entries.0
}
