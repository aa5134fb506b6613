//! Machine code at run time: sites and what may be written over them, executable memory, copies of functions at chosen
//! offsets, and checks of what was written.

pub mod code_memory;
mod extent;
pub mod function;
pub mod instructions;
mod nops;
pub mod rules;
pub mod site;
pub mod state;
pub mod text;
pub mod train;
pub mod writer;

pub use code_memory::{CodeError, CodeMemory};
pub use function::{Function, FunctionError};
pub use rules::{Refusal, Target};
pub use site::{Kind, Site};
pub use state::State;
pub use text::{PatchError, Text};
pub use writer::{Writer, WriterError};
