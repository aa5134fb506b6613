//! Checks of `kernel_time`.

use super::{Invalid, estimate, interval};
use crate::report::kernel_time::{KernelTime, Range};

/// Checks that numbers are finite, calls are not negative, shares lie between 0 and 1, and ranges are in order.
pub(super) fn check(time: &KernelTime) -> Result<(), Invalid> {
    for (index, workload) in time.recorded.workloads.iter().enumerate() {
        let field = format!("kernel_time.recorded.workloads[{index}]");
        let numbers = workload.calls.values().flat_map(|calls| [calls.hot, calls.cold]);
        numbers.chain([workload.instructions]).try_for_each(|value| at_least_zero(&field, value))?;
        let counted = workload.never_patched_percent;
        counted.map_or(Ok(()), |it| interval(&format!("{field}.never_patched_percent"), &it))?;
    }
    for (index, native) in time.native.workloads.iter().enumerate() {
        let field = format!("kernel_time.native.workloads[{index}]");
        estimate(&format!("{field}.cycles"), &native.cycles)?;
        at_least_zero(&field, native.ns)?;
        native.kernel_share.map_or(Ok(()), |value| share(&format!("{field}.kernel_share"), value))?;
    }
    for (index, price) in time.prices.iter().enumerate() {
        let field = format!("kernel_time.prices[{index}]");
        at_least_zero(&format!("{field}.hooks"), price.hooks)?;
        let likely = [price.likely_cycles, price.likely_percent];
        likely.into_iter().flatten().try_for_each(|value| at_least_zero(&format!("{field}.likely"), value))?;
        let shares = [price.cold_share, price.unmeasured_share, price.cold_as_hot_share];
        shares.into_iter().try_for_each(|value| share(&field, value))?;
        let ranges = [Some(price.cycles), Some(price.cycles_per_hook), price.percent];
        ranges.into_iter().flatten().try_for_each(|it| range(&field, it))?;
    }
    Ok(())
}

fn at_least_zero(field: &str, value: f64) -> Result<(), Invalid> {
    let is_valid = value.is_finite() && value >= 0.0;
    let what = || format!("{value} is not a finite number of at least 0");
    if is_valid { Ok(()) } else { Err(Invalid { field: field.to_owned(), what: what() }) }
}

fn share(field: &str, value: f64) -> Result<(), Invalid> {
    // A sum of shares may exceed 1 by rounding.
    let is_valid = (0.0..=1.0 + 1e-9).contains(&value);
    let what = || format!("{value} is not a share between 0 and 1");
    if is_valid { Ok(()) } else { Err(Invalid { field: field.to_owned(), what: what() }) }
}

fn range(field: &str, Range { low, high }: Range) -> Result<(), Invalid> {
    let is_valid = low.is_finite() && high.is_finite() && low <= high;
    let what = || format!("{low} to {high} is not a range");
    if is_valid { Ok(()) } else { Err(Invalid { field: field.to_owned(), what: what() }) }
}
