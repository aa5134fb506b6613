//! Kernel options that execute more instructions and take less time, with what their size is comparable to.

use crate::report::Report;
use crate::report::plots::number::{clipped, fixed, plural};
use crate::report::subject::kernels;

/// Maximum number of workloads that are named.
const MAX_NAMED: usize = 6;

/// A kernel option that adds instructions to a workload and takes time from it.
struct Faster<'a> {
    workload: &'a str,
    percent: f64,
    /// Whether two placements of the same kernel may differ by more.
    is_within_placements: bool,
}

/// What is known about options that add work and run faster; `None` if there are none.
pub(super) fn state_faster_options(report: &Report) -> Option<String> {
    let found: Vec<Faster> = kernels(report)
        .filter(|(_, kernel)| kernel.option.is_some() && kernel.resolved)
        .filter(|(_, kernel)| kernel.instructions.is_some_and(|counted| counted.extra_percent > 0.0))
        .filter_map(|(workload, kernel)| {
            let percent = kernel.overhead_percent?.estimate;
            let is_within_placements = workload.placement_range().is_some_and(|range| -percent <= range);
            (percent < 0.0).then_some(Faster { workload: &workload.name, percent, is_within_placements })
        })
        .collect();
    let most = found.iter().map(|it| it.percent).reduce(f64::min)?;
    let least = found.iter().map(|it| it.percent).reduce(f64::max)?;
    let mut names: Vec<String> = Vec::new();
    for name in found.iter().map(|it| clipped(it.workload, 40)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = if names.len() > MAX_NAMED { ", .." } else { "" };
    names.truncate(MAX_NAMED);
    let within = found.iter().filter(|it| it.is_within_placements).count();
    let beyond = found.len() - within;
    let known = match (within, beyond) {
        (0, _) => String::new(),
        (n, _) => format!(
            " {n} of them {} no larger than the placement range of the workload, which two builds of one kernel may \
             differ by.",
            plural(n, "is", "are")
        ),
    };
    let unknown = match beyond {
        0 => String::new(),
        n => format!(" {n} {} larger, and not understood.", plural(n, "is", "are")),
    };
    Some(format!(
        "{} {} more instructions and still less time, {}% to {}% (in {}{more}). An option is a kernel that the \
         compiler builds anew, with other code also where the option does nothing.{known}{unknown} In such a workload \
         the option itself costs less than what building anew changes.",
        found.len(),
        plural(found.len(), "figure below has", "figures below have"),
        fixed(most, 2),
        fixed(least, 2),
        names.join(", ")
    ))
}
