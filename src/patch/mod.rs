//! Call sites as Linux patches them: their records, their states, the rules for the code that may be written over them,
//! and the writers of the program's text.

pub mod body;
pub mod instructions;
pub(crate) mod nops;
pub mod rules;
pub mod site;
pub mod state;
pub mod text;
pub mod writer;

pub use rules::{Refusal, Target};
pub use site::{Site, SiteKind};
pub use state::State;
pub use text::{PatchError, Text};
pub use writer::{Writer, WriterError};
