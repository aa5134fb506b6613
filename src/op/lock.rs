//! `struct pv_lock_ops`: spinlocks.

/// State of the model.
#[repr(C)]
#[derive(Debug, Default)]
pub struct LockState {}

impl LockState {
    /// After boot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
