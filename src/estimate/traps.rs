//! Ops that trap to the hypervisor. Their time is the hypervisor's work, which hides the difference between mechanisms.

use crate::report::schema::{Cell, Limit, Unavailable};

/// Least core cycles of an op that traps. An exit from the guest and the return take 1,000 or more, and many times that
/// with mitigations or a second hypervisor. `cpuid` on bare metal takes 100 to 250. At half of this value an op that
/// the CPU executes itself would count as trapping; at twice the value the fastest exits would be missed.
const MIN_TRAP_CYCLES: f64 = 500.0;

/// Marks the cells of ops that trap as not resolved, and returns these ops with the reason. Only for runs under a
/// hypervisor.
///
/// An op traps where its code may (`may_trap`, by its name) and `inline` takes `MIN_TRAP_CYCLES` in every measured
/// regime. One slow regime is no evidence, because cold code alone makes an op slow.
pub fn mark(cells: &mut [Cell], may_trap: impl Fn(&str) -> bool) -> Vec<Unavailable> {
    let mut ops: Vec<(String, f64)> = Vec::new();
    for cell in cells.iter() {
        let Some(native) = cell.native_cycles else { continue };
        match ops.iter_mut().find(|(op, _)| *op == cell.op) {
            Some((_, fastest)) => *fastest = fastest.min(native),
            None => ops.push((cell.op.clone(), native)),
        }
    }
    ops.retain(|(op, fastest)| *fastest >= MIN_TRAP_CYCLES && may_trap(op));
    for cell in cells.iter_mut().filter(|cell| cell.overhead.is_some()) {
        if ops.iter().any(|(op, _)| *op == cell.op) {
            (cell.resolved, cell.limit) = (false, Some(Limit::Traps));
        }
    }
    let unavailable = |(op, cycles): (String, f64)| Unavailable {
        what: format!("overhead of {op}"),
        reason: format!(
            "{op} traps: the hypervisor answers it in {cycles:.0} cycles, which hides the mechanism; \
             measure it on bare metal"
        ),
    };
    ops.into_iter().map(unavailable).collect()
}
