//! Machine code at run time: executable memory, copies of functions at chosen offsets, and checks of what was written.

pub mod code_memory;
mod extent;
pub mod function;

pub use code_memory::{CodeError, CodeMemory};
pub use function::{Function, FunctionError};
