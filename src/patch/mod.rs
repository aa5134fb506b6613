//! Machine code at run time: call sites and the code that may be written over them, executable memory, copies of
//! functions at chosen offsets and of whole programs at random addresses, and checks of written code.

pub mod code_image;
pub mod code_memory;
pub mod data_memory;
pub mod decode_cache;
pub mod decoded_function;
pub(crate) mod elf_image;
pub mod function;
mod got_calls;
pub mod instructions;
mod nops;
mod offsets;
mod relocations;
pub mod rules;
pub mod site;
pub mod state;
pub mod text;
pub mod unrolled_chain;
mod unwind;
pub mod writer;

pub use code_image::CodeImage;
pub use code_memory::{CodeError, CodeMemory};
pub use data_memory::DataMemory;
pub use decode_cache::DecodeCache;
pub use decoded_function::DecodedFunction;
pub use function::{Function, FunctionError};
pub use rules::{Refusal, Target};
pub use site::{Site, SiteKind};
pub use state::State;
pub use text::{PatchError, Text};
pub use writer::{Writer, WriterError};
