//! The ops: what holds for all of them, and what each body does.

mod bodies;
mod callee_save;
mod catalogue;
mod cpu;
mod irq;
mod lock;
mod mmu;
mod time;
mod xen;
