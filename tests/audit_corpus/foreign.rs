//! Input that is no program for this CPU.
