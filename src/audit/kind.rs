//! The kinds of a call site: by which mechanism control leaves the function.

use serde::{Deserialize, Serialize};

/// The mechanism of a call site, as its machine code shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A direct call, or a direct jump to the start of another function.
    Direct,
    /// A direct call of a stub of the procedure linkage table, which jumps through a word that the loader fills.
    Plt,
    /// Through a word of the global offset table, which the linker or the loader fills (`-fno-plt`, Rust).
    Got,
    /// Through a word at a fixed address: a global function pointer, or an entry of a table at a fixed index.
    Memory,
    /// Through a word at an address in a register: a field of a structure, an entry of a table, or the method of an
    /// object whose table of methods came in a register.
    Table,
    /// A method of an object: the object has the address of the table, the table has the address of the method.
    Virtual,
    /// Through a register whose value was no load of this function: an argument, a result, or one of several values.
    Register,
    /// Through a retpoline, told by its symbol, by the kernel's list of sites, or by its code.
    Retpoline,
    /// A call site of `pv_ops` (`arch/x86/include/asm/paravirt_types.h`).
    Pv,
    /// A call of a static call's trampoline (`include/linux/static_call.h`).
    StaticCall,
    /// The call of `__fentry__` or `mcount` at the start of a function, which ftrace patches.
    Fentry,
    /// A jump within the function: the table of a switch, or a computed goto.
    JumpTable,
    /// A jump to the return thunk, instead of a return.
    ReturnThunk,
    /// The call inside a retpoline or a similar thunk: it pushes an address and calls nothing.
    Thunk,
    /// Control leaves by an indirect jump, and nothing tells whether within the function or to another.
    Unknown,
}

impl Kind {
    /// All kinds, in the order of output.
    pub const ALL: [Kind; 15] = [
        Kind::Direct,
        Kind::Plt,
        Kind::Got,
        Kind::Memory,
        Kind::Table,
        Kind::Virtual,
        Kind::Register,
        Kind::Retpoline,
        Kind::Pv,
        Kind::StaticCall,
        Kind::Fentry,
        Kind::JumpTable,
        Kind::ReturnThunk,
        Kind::Thunk,
        Kind::Unknown,
    ];

    /// Name in output, in JSON and in budgets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Plt => "plt",
            Kind::Got => "got",
            Kind::Memory => "memory",
            Kind::Table => "table",
            Kind::Virtual => "virtual",
            Kind::Register => "register",
            Kind::Retpoline => "retpoline",
            Kind::Pv => "pv",
            Kind::StaticCall => "static_call",
            Kind::Fentry => "fentry",
            Kind::JumpTable => "jump_table",
            Kind::ReturnThunk => "return_thunk",
            Kind::Thunk => "thunk",
            Kind::Unknown => "unknown",
        }
    }

    /// Whether a site of this kind calls another function (a tail jump does).
    #[must_use]
    pub fn is_call(self) -> bool {
        !matches!(self, Kind::JumpTable | Kind::ReturnThunk | Kind::Thunk | Kind::Unknown)
    }

    /// Whether the site's own instruction takes its target from a register or a word of memory, or goes through a
    /// retpoline, which does so for it. A stub of the procedure linkage table is another function: `Plt` is none.
    #[must_use]
    pub fn is_indirect_call(self) -> bool {
        matches!(
            self,
            Kind::Got | Kind::Memory | Kind::Table | Kind::Virtual | Kind::Register | Kind::Retpoline | Kind::Pv
        )
    }
}
