//! Lists of ops as types. A suite is built from such lists, and a workload declares the ops that it calls as one.

use super::Op;

/// An action that runs once per op, with the op as a type.
pub trait OpVisitor {
    /// Called for each op of a list, in its order.
    fn visit<O: Op>(&mut self);
}

/// A list of ops: a tuple of them, or a type that stands for more, such as [`catalogue::All`](super::catalogue::All).
///
/// ```
/// use pvbench::op::{Op, Ops, OpVisitor, irq, mmu};
///
/// struct Names(Vec<&'static str>);
/// impl OpVisitor for Names {
///     fn visit<O: Op>(&mut self) {
///         self.0.push(O::META.name);
///     }
/// }
///
/// let mut names = Names(Vec::new());
/// <(irq::SaveFl, mmu::PteVal)>::visit(&mut names);
/// assert_eq!(names.0, ["save_fl", "pte_val"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of ops",
    label = "a list is a tuple of up to twelve types that implement `Op` or `Function`: `(Read,)`, `(Read, Write)`"
)]
pub trait Ops: 'static {
    /// Visits each op in order.
    fn visit(visitor: &mut impl OpVisitor);
}

/// Implements [`Ops`] for tuples: `tuples!(A B)` for pairs and all shorter tuples.
macro_rules! tuples {
    () => {
        impl Ops for () {
            fn visit(_: &mut impl OpVisitor) {}
        }
    };
    ($First:ident $($Rest:ident)*) => {
        tuples!($($Rest)*);
        impl<$First: Op, $($Rest: Op),*> Ops for ($First, $($Rest,)*) {
            fn visit(visitor: &mut impl OpVisitor) {
                visitor.visit::<$First>();
                $(visitor.visit::<$Rest>();)*
            }
        }
    };
}

tuples!(A B C D E F G H I J K L);
