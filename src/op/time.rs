//! `pv_time_ops`, in 6.1 the static calls `pv_sched_clock` and `pv_steal_clock`: clocks.

/// State of the model.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TimeState {}

impl TimeState {
    /// After boot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
