//! The hash that control-flow integrity compares.

use super::{Args, Op, Ret};

/// The hash of an op's type: callees of one type share it, as in clang. FNV-1a over the number of arguments and whether
/// there is a result; the high bit is left out, so that it and its negative are immediates.
#[must_use]
pub const fn cfi_hash<O: Op>() -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let type_ = [b'k', O::Args::ARITY as u8, O::Ret::HAS_VALUE as u8];
    let mut at = 0;
    while at < type_.len() {
        hash = (hash ^ type_[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash & 0x7fff_ffff
}
