//! Tests of the ops: rules for all of them, and the effects of each body.

mod bodies;
mod callee_save;
mod catalogue;
mod cpu;
mod irq;
mod lock;
mod mmu;
mod time;
mod xen;
