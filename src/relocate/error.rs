//! Why functions cannot be copied.

use super::memory::CodeError;

/// Why a function could not be decoded or copied.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// Bytes that do not decode.
    #[error("the function at {entry:#x} does not decode at {at:#x}")]
    Undecodable {
        /// Its start address.
        entry: u64,
        /// Address of the first byte that does not decode.
        at: u64,
    },
    /// No unwind table covers the function.
    #[error("no unwind table gives the length of the function at {entry:#x}; build with -C force-unwind-tables")]
    NoExtent {
        /// Its start address.
        entry: u64,
    },
    /// The function has no backward branch.
    #[error("the function at {entry:#x} has no loop")]
    NoLoop {
        /// Its start address.
        entry: u64,
    },
    /// An address outside the function is out of reach of a copy.
    #[error("a copy of the function at {entry:#x} cannot reach {target:#x}")]
    OutOfReach {
        /// Start address of the original.
        entry: u64,
        /// The address that is out of reach.
        target: u64,
    },
    /// A branch of an unrolled chain is too short for the next copy, and no room is left for a longer one.
    /// Readers of a report see it as the reason of a cell, so it names no addresses: equal reasons appear once.
    #[error(
        "not measured in cold and flushed: their 4,096 sites are copies of one loop, and the compiler left no room in \
         this loop for a jump to the next copy; this is a limit of the build and no cost, the other regimes hold, and \
         other ops have the cold cost of the same mechanism"
    )]
    Occupied {
        /// Its start address.
        entry: u64,
        /// Address of the branch.
        at: u64,
    },
    /// The loop begins in its middle, and a branch leads into the bytes of the first link of an unrolled chain. Readers of
    /// a report see it as the reason of a cell.
    #[error(
        "not measured in cold and flushed: their 4,096 sites are copies of one loop, and the compiler let this loop \
         begin in its middle, where it left no room for a jump to the next copy; this is a limit of the build and no cost, the other regimes hold, and other ops have the \
         cold cost of the same mechanism"
    )]
    LinkEntered {
        /// Its start address.
        entry: u64,
        /// Address of the branch into the link.
        at: u64,
    },
    /// The copy does not decode to the original.
    #[error("the copy of the function at {entry:#x} differs from it at {at:#x}")]
    CopyDiffers {
        /// Start address of the original.
        entry: u64,
        /// Address in the copy of the first difference.
        at: u64,
    },
    /// The code memory failed.
    #[error(transparent)]
    Code(#[from] CodeError),
}
