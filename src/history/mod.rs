//! Histories: the runs of a project, kept, and what changed between them.

pub mod kept;
