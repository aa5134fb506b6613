//! Machine code at run time: sites and what may be written over them, executable memory, copies of functions at chosen
//! offsets and of whole programs at random ones, and checks of what was written.

pub mod call_tree;
mod called_words;
pub mod code_memory;
pub mod compiled;
pub mod data_memory;
pub mod decoded;
mod extent;
pub mod function;
pub mod instructions;
mod leads;
mod nops;
mod offsets;
pub(crate) mod program;
pub mod rules;
pub mod site;
pub mod state;
pub mod text;
pub mod train;
pub mod writer;

pub use call_tree::CallTree;
pub use code_memory::{CodeError, CodeMemory};
pub use compiled::Compiled;
pub use data_memory::DataMemory;
pub use decoded::Decoded;
pub use function::{Function, FunctionError};
pub use rules::{Refusal, Target};
pub use site::{Kind, Site};
pub use state::State;
pub use text::{PatchError, Text};
pub use writer::{Writer, WriterError};
