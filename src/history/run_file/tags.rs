//! The sections of a run file. A number is never given another meaning: a new column gets a new one, and readers skip
//! those that they do not know.

/// The header, as JSON.
pub(super) const HEADER: u8 = 1;
/// The texts that columns refer to by index: length in bytes as LEB128, then UTF-8.
pub(super) const STRINGS: u8 = 2;

// A number per cell.

/// Whether the cell has each of its parts: bits of [`has`].
pub(super) const CELL_HAS: u8 = 10;
/// Texts of the name: op.
pub(super) const CELL_OP: u8 = 11;
/// Texts of the name: body.
pub(super) const CELL_BODY: u8 = 12;
/// Index of the way, the pair of mechanism and state.
pub(super) const CELL_WAY: u8 = 13;
/// Texts of the name: regime.
pub(super) const CELL_REGIME: u8 = 14;
/// Number of modes.
pub(super) const CELL_MODES: u8 = 15;
/// Whether the overhead is resolved: 0 for no without a reason, 1 for yes, else the limit by its place in [`LIMITS`],
/// from 2.
pub(super) const CELL_LIMIT: u8 = 16;

// A number per cell that has the part.

/// The overhead: first of the four columns of [`value`].
pub(super) const CELL_OVERHEAD: u8 = 20;
/// Time of `inline`: 0 if it is that of the cell before, else 1 and a number in [`NATIVE`].
pub(super) const CELL_NATIVE: u8 = 24;
/// The floor, a magnitude.
pub(super) const CELL_FLOOR: u8 = 25;
/// Instructions in units of 1/4096 above those of the cell before, signed; or in [`INSTRUCTIONS`], exact.
pub(super) const CELL_INSTRUCTIONS: u8 = 26;
/// Index of the instruction mix in [`MIX`].
pub(super) const CELL_MIX: u8 = 27;
/// Identity of the loop: 0 for the next one of [`SITE`], 1 for that of the last cell with its way and regime (else of
/// the cell before), else 1 and the distance back from the next one.
pub(super) const CELL_SITE: u8 = 28;
/// Identity of the body, likewise of [`BODY`]; expected is that of the last cell with its op and way.
pub(super) const CELL_CALLEE: u8 = 29;
/// Text of why there is no overhead.
pub(super) const CELL_ABSENT: u8 = 30;

// Lists that cells refer to.

/// Texts of ways: mechanism.
pub(super) const WAY_MECHANISM: u8 = 40;
/// Texts of ways: state, from 1; 0 for none.
pub(super) const WAY_STATE: u8 = 41;
/// Times of `inline`, exact numbers of 24 bits.
pub(super) const NATIVE: u8 = 42;
/// Instructions that are not multiples of 1/4096, exact.
pub(super) const INSTRUCTIONS: u8 = 43;
/// Instruction mixes, a number per class of `InstructionMix::NAMES`, exact.
pub(super) const MIX: u8 = 44;
/// Texts with the names of the classes of [`MIX`].
pub(super) const MIX_CLASS: u8 = 45;
/// Hashes of loops.
pub(super) const SITE: u8 = 46;
/// Hashes of bodies.
pub(super) const BODY: u8 = 47;
/// Modes: offset in bytes.
pub(super) const MODE_OFFSET: u8 = 48;
/// Modes: cycles above the overhead of the cell, in steps.
pub(super) const MODE_CYCLES: u8 = 49;
/// Modes: share in 240ths.
pub(super) const MODE_SHARE: u8 = 50;

// A number per workload.

/// Text of the name.
pub(super) const WORKLOAD_NAME: u8 = 60;
/// Text of the unit.
pub(super) const WORKLOAD_UNIT: u8 = 61;
/// Whether the workload has each of its parts.
pub(super) const WORKLOAD_HAS: u8 = 62;
/// Number of kernels.
pub(super) const WORKLOAD_KERNELS: u8 = 63;
/// The floor in percent, exact number of 24 bits.
pub(super) const WORKLOAD_FLOOR: u8 = 64;
/// The placement range in percent, likewise.
pub(super) const WORKLOAD_PLACEMENT: u8 = 65;
/// Instructions with `inline`, exact.
pub(super) const WORKLOAD_INSTRUCTIONS: u8 = 66;
/// Cycles with `inline`: first of the four columns of [`value`].
pub(super) const WORKLOAD_INLINE: u8 = 67;

// A number per kernel.

/// Whether the kernel has each of its parts.
pub(super) const KERNEL_HAS: u8 = 80;
/// Text of the mechanism, from 1; 0 for none.
pub(super) const KERNEL_MECHANISM: u8 = 81;
/// Text of the state, from 1; 0 for none.
pub(super) const KERNEL_STATE: u8 = 82;
/// Text of the option, from 1; 0 for none.
pub(super) const KERNEL_OPTION: u8 = 83;
/// The limit, as that of a cell.
pub(super) const KERNEL_LIMIT: u8 = 84;
/// Text of why there is no overhead.
pub(super) const KERNEL_ABSENT: u8 = 85;
/// The floor in percent, a magnitude.
pub(super) const KERNEL_FLOOR: u8 = 86;
/// Instructions, exact.
pub(super) const KERNEL_INSTRUCTIONS: u8 = 87;
/// The overhead in percent: first of the four columns of [`value`].
pub(super) const KERNEL_OVERHEAD: u8 = 88;

/// The four columns of a value, from its tag on.
pub(super) mod value {
    /// The standard error, a magnitude.
    pub(in super::super) const ERROR: u8 = 0;
    /// Degrees of freedom.
    pub(in super::super) const FREEDOM: u8 = 1;
    /// The value in steps.
    pub(in super::super) const STEPS: u8 = 2;
    /// The exact value, where the error is 0 or the value has no number of steps.
    pub(in super::super) const EXACT: u8 = 3;
}

/// Bits of the parts of a cell, workload or kernel.
pub(super) mod has {
    /// It has a value.
    pub(in super::super) const VALUE: u64 = 1;
    /// The value is exact instead of a number of steps.
    pub(in super::super) const EXACT_VALUE: u64 = 2;
    /// It has a time of `inline`; a workload, a placement range.
    pub(in super::super) const NATIVE: u64 = 4;
    /// It has a floor.
    pub(in super::super) const FLOOR: u64 = 8;
    /// It has a count of instructions.
    pub(in super::super) const INSTRUCTIONS: u64 = 16;
    /// The count is exact instead of a number of units.
    pub(in super::super) const EXACT_INSTRUCTIONS: u64 = 32;
    /// It has an instruction mix.
    pub(in super::super) const MIX: u64 = 64;
    /// It has the identity of its code.
    pub(in super::super) const CODE: u64 = 128;
    /// It has a reason why the value is absent.
    pub(in super::super) const ABSENT: u64 = 256;
}

/// The limits, in the order of their codes.
pub(super) const LIMITS: [crate::report::schema::Limit; 5] = {
    use crate::report::schema::Limit;
    [Limit::Floor, Limit::Interval, Limit::Modes, Limit::Layout, Limit::Traps]
};
