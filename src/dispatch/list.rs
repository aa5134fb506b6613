//! Lists of mechanisms as types: what a suite is made from.

use super::{
    Alternative, BoxDyn, CompareTree1, CompareTree4, CompareTree16, Direct, Dispatch, Dlsym, Dyn, Endbr, Enum, FineIbt,
    Flag, FnPointer, Got, Ifunc, Inline, InlineClobber, JumpLabel, Kcfi, LazyLockTable, OnceLockTable, Plt, Retpoline,
    RetpolineLfence, Site, SiteCalleeSave, StaticCall, StaticCallInline, Table, TableCalleeSave, TableThunk,
};

/// Something done once per mechanism, with the mechanism as a type.
pub trait MechanismVisitor {
    /// Called for each mechanism in the order of the tables.
    fn visit<D: Dispatch>(&mut self);
}

/// A list of mechanisms: a tuple of them, or a type that stands for more, such as [`All`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no list of mechanisms",
    label = "a list is a tuple of up to twelve types that implement `Dispatch`, `Inline` the first: `(Inline, Table)`"
)]
pub trait Mechanisms: 'static {
    /// Visits each mechanism in order.
    fn visit(visitor: &mut impl MechanismVisitor);
}

/// Implements [`Mechanisms`] for tuples: `tuples!(A B)` for one of two and all shorter ones.
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
        <(FnPointer, Dyn, BoxDyn, OnceLockTable, LazyLockTable)>::visit(visitor);
        <(Got, Plt, Ifunc, Dlsym, CompareTree1, CompareTree4, CompareTree16)>::visit(visitor);
    }
}

/// Visits the built-in mechanisms, `inline` first.
pub fn for_each(visitor: &mut impl MechanismVisitor) {
    All::visit(visitor);
}
