//! The hash that control-flow integrity compares.

use super::{Args, Op, Ret};

/// The hash of an op's type, 31 bits; callees of one type share it, as in clang. It is FNV-1a over the number of
/// arguments and whether there is a result. The high bit is 0, so that the hash and its negative are immediates.
#[must_use]
pub const fn cfi_hash<O: Op>() -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let type_ = [b'k', O::Args::ARITY as u8, O::Ret::HAS_VALUE as u8];
    let mut index = 0;
    while index < type_.len() {
        hash = (hash ^ type_[index] as u32).wrapping_mul(0x0100_0193);
        index += 1;
    }
    hash & 0x7fff_ffff
}
