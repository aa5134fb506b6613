//! Machine code copied to chosen addresses: a linker at run time.
//!
//! ```text
//! decode       a function's bytes, its instructions and the addresses that it refers to
//! graph        a code image: functions with all that they call, and the data that they use
//! relocations  where the references of an image lead in a copy
//! identity     a hash of an image without its addresses
//! layout       where the functions of a copy start
//! link         writes a copy, decodes it and compares it with its source
//! memory       executable memory, and memory for data, near the program's text
//! ```
//!
//! Every copy is made by [`link()`] from an image, a layout and memory: a loop at an offset, an unrolled chain, the
//! callees of a comparison, a whole kernel.

pub mod decode;
mod error;
pub mod graph;
mod identity;
pub mod layout;
pub mod link;
pub mod memory;
mod relocations;

pub use decode::DecodedFunction;
pub use error::FunctionError;
pub use graph::{CodeImage, DecodeCache, LoopCache, LoopFunction, LoopSource};
pub use identity::identity_of_rewritten;
pub use layout::{Layout, RandomLayouts};
pub use link::{LinkedCopy, link};
pub use memory::{CodeError, CodeMemory, RedirectedWord};
