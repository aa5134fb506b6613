//! What a workload runs on: the model kernel, or nothing but its ops.

use std::any::TypeId;
use std::marker::PhantomData;

use super::Failure;
use super::run::mix;
use crate::dispatch::{self, Dispatch};
use crate::kernel::options::{self, OptionVisitor};
use crate::kernel::{Config, Kernel, KernelError, Machine, bind_hooks};
use crate::op::{BodyKind, Op, OpVisitor, Ops};

/// What a workload runs on: [`ModelKernel`] or [`NoKernel`].
pub trait Environment: 'static {
    /// What a unit gets: the running kernel, or `()`.
    type Running<'m, D: Dispatch, C: Config>;

    /// The error of a unit.
    type Error: Into<Failure>;

    /// Binds the ops to their bodies and starts what units run on. The machine was reset.
    ///
    /// # Errors
    /// Returns the error of the kernel.
    fn start<D: Dispatch, C: Config>(machine: &mut Machine) -> Result<Self::Running<'_, D, C>, Self::Error>;

    /// Adds the final state to a checksum.
    fn finish<D: Dispatch, C: Config>(running: &Self::Running<'_, D, C>, checksum: u64) -> u64;

    /// The function that binds the ops to their bodies, which [`start`](Environment::start) calls. Copies of a workload
    /// leave it where it is.
    fn binder<D: Dispatch>() -> fn(BodyKind);

    /// The reason why a mechanism is unavailable here; `None` if it is available.
    fn unavailable<D: Dispatch>() -> Option<String>;

    /// The types and names of the ops that a suite must have.
    fn ops() -> Vec<(TypeId, &'static str)>;

    /// Visits the kernel options that the workload is measured with.
    fn visit_options(visitor: &mut impl OptionVisitor);
}

/// The [model kernel](crate::kernel): a unit makes the requests of processes to it.
pub struct ModelKernel;

impl Environment for ModelKernel {
    type Running<'m, D: Dispatch, C: Config> = Kernel<'m, D, C>;
    type Error = KernelError;

    fn start<D: Dispatch, C: Config>(machine: &mut Machine) -> Result<Kernel<'_, D, C>, KernelError> {
        let mut kernel = Kernel::new(machine);
        kernel.start()?;
        Ok(kernel)
    }

    fn finish<D: Dispatch, C: Config>(kernel: &Kernel<'_, D, C>, checksum: u64) -> u64 {
        mix(checksum, kernel.machine().pages_in_use() as u64)
    }

    fn binder<D: Dispatch>() -> fn(BodyKind) {
        bind_hooks::<D>
    }

    fn unavailable<D: Dispatch>() -> Option<String> {
        D::unavailable()
    }

    /// None: the kernel's hooks are ops of the catalogue, and it binds them itself.
    fn ops() -> Vec<(TypeId, &'static str)> {
        Vec::new()
    }

    fn visit_options(visitor: &mut impl OptionVisitor) {
        options::for_each(visitor);
    }
}

/// No kernel: a unit is code of your own, and calls the ops `O`, all of which must be in the suite.
///
/// ```
/// use pvbench::op::irq::{IrqDisable, IrqEnable};
/// use pvbench::workload::{Environment, NoKernel};
///
/// let names: Vec<&str> = NoKernel::<(IrqDisable, IrqEnable)>::ops().into_iter().map(|(_, name)| name).collect();
/// assert_eq!(names, ["irq_disable", "irq_enable"]);
/// ```
pub struct NoKernel<O>(PhantomData<fn(O)>);

impl<O: Ops> Environment for NoKernel<O> {
    type Running<'m, D: Dispatch, C: Config> = ();
    type Error = Failure;

    fn start<D: Dispatch, C: Config>(_: &mut Machine) -> Result<(), Failure> {
        bind_ops::<O, D>(BodyKind::Native);
        Ok(())
    }

    fn finish<D: Dispatch, C: Config>((): &(), checksum: u64) -> u64 {
        checksum
    }

    fn binder<D: Dispatch>() -> fn(BodyKind) {
        bind_ops::<O, D>
    }

    /// The first reason of an op that the workload calls.
    fn unavailable<D: Dispatch>() -> Option<String> {
        struct First<D>(Option<String>, PhantomData<fn(D)>);
        impl<D: Dispatch> OpVisitor for First<D> {
            fn visit<O: Op>(&mut self) {
                self.0 = self.0.take().or_else(dispatch::unavailable::<D, O>);
            }
        }
        let mut first = First::<D>(D::unavailable(), PhantomData);
        O::visit(&mut first);
        first.0
    }

    fn ops() -> Vec<(TypeId, &'static str)> {
        struct Types(Vec<(TypeId, &'static str)>);
        impl OpVisitor for Types {
            fn visit<O: Op>(&mut self) {
                self.0.push((TypeId::of::<O>(), O::META.name));
            }
        }
        let mut types = Types(Vec::new());
        O::visit(&mut types);
        types.0
    }

    /// None.
    fn visit_options(_: &mut impl OptionVisitor) {}
}

#[inline(never)]
fn bind_ops<L: Ops, D: Dispatch>(body: BodyKind) {
    struct Bind<D>(BodyKind, PhantomData<fn(D)>);
    impl<D: Dispatch> OpVisitor for Bind<D> {
        fn visit<O: Op>(&mut self) {
            D::bind::<O>(self.0);
        }
    }
    L::visit(&mut Bind::<D>(body, PhantomData));
}
