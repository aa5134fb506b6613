//! Lists of mechanisms as types. A suite is made from them.

use super::{
    Alternative, BoxDyn, CompareTree1, CompareTree4, CompareTree16, Direct, Dispatch, Dlsym, Dyn, Endbr, Enum, FineIbt,
    Flag, FnPointer, Got, Ifunc, Inline, InlineClobber, JumpLabel, Kcfi, LazyLockTable, OnceLockDyn, OnceLockTable,
    Plt, Retpoline, RetpolineLfence, Site, SiteCalleeSave, StaticCall, StaticCallInline, Table, TableCalleeSave,
    TableThunk,
};

/// A visitor of the mechanisms of a list, with each mechanism as a type.
pub trait MechanismVisitor {
    /// Visits one mechanism; mechanisms come in the order of the list.
    fn visit<D: Dispatch>(&mut self);
}

/// A list of mechanisms: a tuple of them, or a type that stands for several, such as [`All`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of mechanisms",
    label = "a list is a tuple of up to twelve types that implement `Dispatch`, with `Inline` first: `(Inline, Table)`"
)]
pub trait Mechanisms: 'static {
    /// Visits all mechanisms in order.
    fn visit(visitor: &mut impl MechanismVisitor);
}

/// Implements [`Mechanisms`] for tuples: `tuples!(A B)` for pairs and all shorter tuples.
macro_rules! tuples {
    () => {
        impl Mechanisms for () {
            fn visit(_: &mut impl MechanismVisitor) {}
        }
    };
    ($First:ident $($Rest:ident)*) => {
        tuples!($($Rest)*);
        impl<$First: Dispatch, $($Rest: Dispatch),*> Mechanisms for ($First, $($Rest,)*) {
            fn visit(visitor: &mut impl MechanismVisitor) {
                visitor.visit::<$First>();
                $(visitor.visit::<$Rest>();)*
            }
        }
    };
}

tuples!(A B C D E F G H I J K L);

/// The built-in mechanisms, `inline` first.
pub struct All;

impl Mechanisms for All {
    fn visit(visitor: &mut impl MechanismVisitor) {
        <(Inline, InlineClobber, Flag, Enum, Direct, Table, TableCalleeSave, TableThunk)>::visit(visitor);
        <(Site, SiteCalleeSave, JumpLabel, StaticCall, StaticCallInline, Alternative)>::visit(visitor);
        <(Retpoline, RetpolineLfence, Kcfi, FineIbt, Endbr)>::visit(visitor);
        <(FnPointer, Dyn, BoxDyn, OnceLockTable, OnceLockDyn, LazyLockTable)>::visit(visitor);
        <(Got, Plt, Ifunc, Dlsym, CompareTree1, CompareTree4, CompareTree16)>::visit(visitor);
    }
}

/// Visits the built-in mechanisms, `inline` first.
pub fn for_each(visitor: &mut impl MechanismVisitor) {
    All::visit(visitor);
}
