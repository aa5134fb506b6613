//! The kind of a body: native, or the other one.

use super::{Body, Op, callee_save, xen_entry};

/// The body in which a call ends.
///
/// ```
/// use pvbench::dispatch::{Dispatch, Table};
/// use pvbench::op::{CpuModel, BodyKind, irq::SaveFl};
///
/// let cpu = CpuModel::install()?;
/// Table::bind::<SaveFl>(BodyKind::Native);
/// // SAFETY: the op is bound, and this thread has a CPU model. Bit 1 of the flags is always set (SDM 1, 3.4.3).
/// assert_eq!(unsafe { Table::call::<SaveFl>(()) } & 2, 2);
/// # drop(cpu);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BodyKind {
    /// Bare metal.
    Native,
    /// A Xen PV guest.
    Xen,
}

impl BodyKind {
    /// The callee of `O` with this body.
    #[must_use]
    pub fn callee<O: Op>(self) -> Body {
        match self {
            BodyKind::Native => O::native,
            BodyKind::Xen => xen_entry::<O>,
        }
    }

    /// The callee of `O` with this body that saves all registers but `rax`.
    #[must_use]
    pub(crate) fn saving_callee<O: Op>(self) -> Body {
        match self {
            BodyKind::Native => callee_save::native::<O>(),
            BodyKind::Xen => callee_save::xen_thunk::<O>,
        }
    }

    /// `native` or `xen`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BodyKind::Native => "native",
            BodyKind::Xen => "xen",
        }
    }
}
