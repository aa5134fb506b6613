//! A value and how sure it is.

use serde::{Deserialize, Serialize};

use crate::stats::Interval;
use crate::stats::measured::Measured;

/// A value and how sure it is. All intervals of the value, at any confidence, follow from its standard error and the
/// degrees of freedom by Student's t.
///
/// The interval of a ratio or of a percentage is symmetric in the logarithm of the ratio; all others are symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The value.
    pub estimate: f64,
    /// Standard error of the value, in its unit.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error.
    pub degrees_of_freedom: f64,
    /// Lower end of the interval at the confidence of the run.
    pub low: f64,
    /// Upper end of the interval at the confidence of the run.
    pub high: f64,
}

impl Estimate {
    /// The estimate of a measured value. `None` where a number is not finite or the confidence out of range.
    #[must_use]
    pub(crate) fn from_measured(measured: &Measured, confidence: f64) -> Option<Self> {
        let Interval { estimate, low, high } = measured.interval(confidence)?;
        let Measured { standard_error, degrees_of_freedom, .. } = *measured;
        Some(Estimate { estimate, standard_error, degrees_of_freedom, low, high })
    }

    /// The estimate of a ratio from its measured natural logarithm.
    #[must_use]
    pub(crate) fn ratio_from_log(log_ratio: &Measured, confidence: f64) -> Option<Self> {
        let Interval { estimate, low, high } = log_ratio.interval(confidence)?.map(f64::exp);
        let standard_error = estimate * log_ratio.standard_error;
        // An interval too wide for the logarithm has an end at 0 or at infinity.
        let in_range = low > 0.0 && high.is_finite() && standard_error.is_finite();
        let degrees_of_freedom = log_ratio.degrees_of_freedom;
        in_range.then_some(Estimate { estimate, standard_error, degrees_of_freedom, low, high })
    }

    /// The estimate of a difference in percent from the measured natural logarithm of the ratio.
    #[must_use]
    pub(crate) fn percent_from_log(log_ratio: &Measured, confidence: f64) -> Option<Self> {
        let ratio = Self::ratio_from_log(log_ratio, confidence)?;
        let Interval { estimate, low, high } = log_ratio.interval(confidence)?.map(|log| log.exp_m1() * 100.0);
        Some(Estimate { estimate, low, high, standard_error: ratio.standard_error * 100.0, ..ratio })
    }

    /// The measured value.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let Estimate { estimate: value, standard_error, degrees_of_freedom, .. } = *self;
        Measured { value, standard_error, degrees_of_freedom }
    }

    /// The measured natural logarithm of a ratio, the inverse of [`ratio_from_log`](Self::ratio_from_log).
    #[must_use]
    pub(crate) fn log_of_ratio(&self) -> Measured {
        let Estimate { estimate, standard_error, degrees_of_freedom, .. } = *self;
        Measured { value: estimate.ln(), standard_error: standard_error / estimate, degrees_of_freedom }
    }

    /// The measured natural logarithm of the ratio behind a percentage, the inverse of
    /// [`percent_from_log`](Self::percent_from_log).
    #[must_use]
    pub(crate) fn log_of_percent(&self) -> Measured {
        let Estimate { estimate, standard_error, degrees_of_freedom, .. } = *self;
        let value = (estimate / 100.0).ln_1p();
        Measured { value, standard_error: standard_error / (100.0 + estimate), degrees_of_freedom }
    }

    /// The estimate in another unit, `factor` times as large. The factor is positive.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Estimate {
            estimate: self.estimate * factor,
            standard_error: self.standard_error * factor,
            low: self.low * factor,
            high: self.high * factor,
            ..*self
        }
    }

    /// The value with the interval at the confidence of the run.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let Estimate { estimate, low, high, .. } = *self;
        Interval { estimate, low, high }
    }
}
