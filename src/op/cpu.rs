//! `struct pv_cpu_ops`: control registers, descriptor tables, MSRs, kernel exits.

/// State of the model.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CpuState {}

impl CpuState {
    /// After boot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
