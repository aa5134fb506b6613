//! The catalogue entry of an op: name, origin, kind, and how its call sites are patched.

use serde::{Deserialize, Serialize};

/// The structure of Linux's pv_ops an op belongs to (`struct paravirt_patch_template`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// `pv_ops.cpu`
    Cpu,
    /// `pv_ops.irq`
    Irq,
    /// `pv_ops.mmu`
    Mmu,
    /// `pv_ops.lock`
    Lock,
    /// `pv_time_ops`, since 5.13 the static calls `pv_sched_clock` and `pv_steal_clock`
    Time,
    /// An op outside the catalogue.
    User,
}

/// Which kernels have the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// Linux 6.1 has it (2.6.30 may, too).
    Linux61,
    /// Linux 2.6.30 had it, 6.1 no longer does.
    Linux2630Only,
    /// No Linux has it: an op outside the catalogue.
    NotLinux,
}

/// Whether a body is the very instruction or a stand-in for a privileged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The very instructions, legal in ring 3.
    Real,
    /// A privileged instruction replaced by a load or store on the CPU model.
    Modelled,
}

/// The code that Linux's patching writes over a native call site (`paravirt_patch()`, `arch/x86/kernel/paravirt.c` and
/// `paravirt_patch_64.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Bytes {
    /// The op's own instruction(s).
    Instruction,
    /// Nothing but NOPs: the native hook is `paravirt_nop`.
    Nop,
    /// `mov %rdi,%rax`: the native hook is `_paravirt_ident_64`.
    Identity,
    /// A direct call: the native body is a C function.
    Call,
}

/// The register convention of Linux's call sites of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Conventions {
    /// The C calling convention: every caller-saved register is lost.
    C,
    /// `PV_CALLEE_SAVE`: the callee saves all but `rax`.
    CalleeSave,
}

/// The catalogue entry of an op.
///
/// ```
/// use pvbench::op::{Bytes, Group, OpMeta};
///
/// const MASK: OpMeta = OpMeta { name: "mask", bytes: Bytes::Instruction, site: 8, ..OpMeta::OWN };
/// assert_eq!((MASK.group, MASK.chains), (Group::User, false));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OpMeta {
    /// Linux's name of the hook.
    pub name: &'static str,
    /// Its structure.
    pub group: Group,
    /// Which kernels have it.
    pub since: Since,
    /// Whether the native body is the real instruction.
    pub native_kind: Kind,
    /// Whether the Xen body is the real instructions (on modelled hypervisor state) or stands in for a hypercall.
    pub xen_kind: Kind,
    /// The code that patching writes over a native site.
    pub bytes: Bytes,
    /// The size of a patchable call site in bytes: 6 for `call *pv_ops+off(%rip)`. It is larger where patching writes
    /// native instructions that are longer (Linux pads alternatives in the same way). Instructions that do not fit are
    /// refused.
    pub site: u8,
    /// The register convention of its call sites.
    pub conventions: Conventions,
    /// The hook's C prototype, as in the kernel's header.
    pub prototype: &'static str,
    /// The purpose, in one line.
    pub purpose: &'static str,
    /// Where Linux defines the native body.
    pub source: &'static str,
    /// Whether a result is a valid first argument, so that calls can be chained through it (`pte_val(make_pte(x))`).
    pub chains: bool,
}

impl OpMeta {
    /// Defaults that most entries share; an entry names only the differences: `OpMeta { name: .., ..OpMeta::BASE }`.
    pub const BASE: OpMeta = OpMeta {
        name: "",
        group: Group::User,
        since: Since::Linux61,
        native_kind: Kind::Modelled,
        xen_kind: Kind::Modelled,
        bytes: Bytes::Call,
        site: 6,
        conventions: Conventions::C,
        prototype: "",
        purpose: "",
        source: "",
        chains: false,
    };
    /// Defaults of ops outside the catalogue: real instructions, and no Linux that has the hook.
    pub const OWN: OpMeta =
        OpMeta { since: Since::NotLinux, native_kind: Kind::Real, xen_kind: Kind::Real, ..OpMeta::BASE };

    /// The hash of the name, by which a site's record refers to the op.
    #[must_use]
    pub const fn hash(&self) -> u32 {
        hash(self.name)
    }
}

/// FNV-1a (Fowler, Noll, Vo) of a name.
#[must_use]
pub const fn hash(name: &str) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut index = 0;
    while index < name.len() {
        hash = (hash ^ name.as_bytes()[index] as u32).wrapping_mul(0x0100_0193);
        index += 1;
    }
    hash
}
