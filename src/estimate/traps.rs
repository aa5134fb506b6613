//! Ops that leave the guest: what is timed is the hypervisor's work, and says nothing of a mechanism.

use crate::report::schema::{Cell, Limit, Unavailable};

/// Core cycles that an op takes which leaves the guest. The way out and back takes 1,000 or more, with mitigations or a
/// second hypervisor below many times that. `cpuid` on bare metal takes 100 to 250. At half of this value an op that
/// the CPU answers itself would be called trapping, at twice the value the fastest exits would be missed.
const MIN_TRAP_CYCLES: f64 = 500.0;

/// Marks the cells of ops that leave the guest, and says which ops these are. For runs under a hypervisor only.
///
/// An op does where its code may (`may_trap`, by its name) and `inline` takes [`MIN_TRAP_CYCLES`] in every regime that
/// it was measured in: cold code alone makes an op slow in some.
pub fn mark(cells: &mut [Cell], may_trap: impl Fn(&str) -> bool) -> Vec<Unavailable> {
    let mut ops: Vec<(String, f64)> = Vec::new();
    for cell in cells.iter() {
        let Some(native) = cell.native_cycles else { continue };
        match ops.iter_mut().find(|(op, _)| *op == cell.op) {
            Some((_, least)) => *least = least.min(native),
            None => ops.push((cell.op.clone(), native)),
        }
    }
    ops.retain(|(op, least)| *least >= MIN_TRAP_CYCLES && may_trap(op));
    for cell in cells.iter_mut().filter(|cell| cell.overhead.is_some()) {
        if ops.iter().any(|(op, _)| *op == cell.op) {
            (cell.resolved, cell.limit) = (false, Some(Limit::Traps));
        }
    }
    let absence = |(op, cycles): (String, f64)| Unavailable {
        what: format!("overhead of {op}"),
        reason: format!(
            "{op} traps: the hypervisor answers it in {cycles:.0} cycles, in which no mechanism shows; measure it on bare metal"
        ),
    };
    ops.into_iter().map(absence).collect()
}
