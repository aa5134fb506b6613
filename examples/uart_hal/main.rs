//! A HAL: the registers of a UART behind a table of functions.
//!
//! A board chooses at start how it reaches its UART: memory-mapped, through ports, or not at all. The driver reads the
//! line-status register before every byte. How much does the table cost it, compared with a choice at compile time
//! (`inline`), an enum, or a trait object?
//!
//! ```sh
//! cargo run --release --example uart_hal -- run --quick --out target/uart_hal
//! cargo run --release --example uart_hal -- gate target/uart_hal/report.json --budget examples/uart_hal/budgets.toml
//! ```

use std::sync::atomic::{AtomicU8, Ordering};

use pvbench::prelude::*;

/// The register for sent bytes.
const TRANSMIT: usize = 0;
/// The line-status register (16550, "LSR").
const STATUS: usize = 5;
/// Its bit for "can take a byte" (THRE).
const EMPTY: u8 = 0x20;

/// A 16550 with its registers in memory, always ready.
static REGISTERS: [AtomicU8; 8] = [const { AtomicU8::new(EMPTY) }; 8];

// The table: `struct Uart { read: fn(usize) -> u8, write: fn(usize, u8) }`. The bodies after
// `or` are those of a board without a UART.
functions! {
    /// Reads a register.
    pub struct Read: "read" = fn(register: usize = STATUS) -> u8 {
        REGISTERS[register % 8].load(Ordering::Relaxed)
    } or { EMPTY };
    /// Writes a register.
    pub struct Write: "write" = fn(register: usize = TRANSMIT, byte: u8 = b'x') {
        REGISTERS[register % 8].store(byte, Ordering::Relaxed);
    } or {};
}

/// The driver: sends a line of text.
struct SendLine;

impl Workload for SendLine {
    const META: WorkloadMeta = WorkloadMeta {
        name: "send_line",
        unit: "line",
        summary: "1 to 80 bytes, each written when the status register shows ready",
        source: "a polling driver of a 16550",
    };
    type On = NoKernel<(Read, Write)>;
    type State = Random;

    fn prepare<D: Dispatch, C: Config>((): &mut (), random: Random) -> Result<Random, Failure> {
        Ok(random)
    }

    fn unit<D: Dispatch, C: Config>((): &mut (), random: &mut Random) -> Result<u64, Failure> {
        let length = 1 + random.below(80);
        let mut sum = length;
        for at in 0..length {
            let byte = b' ' + (at % 64) as u8;
            // SAFETY: both ops are safe functions, and they are bound before a unit runs.
            unsafe {
                while D::call::<Read>((STATUS,)) & EMPTY == 0 {}
                D::call::<Write>((TRANSMIT, byte));
            }
            sum = sum.rotate_left(1) ^ u64::from(byte);
        }
        Ok(sum)
    }
}

fn main() -> std::process::ExitCode {
    pvbench::main(Suite::builder("uart_hal").ops::<(Read, Write)>().workload::<SendLine>().build())
}
