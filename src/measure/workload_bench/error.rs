//! Why a workload could not be measured.

use crate::kernel::MachineError;
use crate::patch::PatchError;
use crate::workload::Failure;

/// The reason why a workload could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The build has no workload of this name.
    #[error("there is no workload '{0}' in this build; `pvbench list workloads` shows all")]
    Unknown(String),
    /// No such kernel.
    #[error("there is no kernel with '{0}' in this build; `pvbench list` shows all mechanisms and options")]
    UnknownKernel(String),
    /// The machine could not be made.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The sites could not be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// A unit of the workload failed.
    #[error("{workload} with {kernel}: {failure}")]
    KernelError {
        /// The workload.
        workload: String,
        /// The kernel it ran on.
        kernel: String,
        /// The failure.
        failure: Failure,
    },
    /// Two kernels ended with different checksums.
    #[error(
        "{workload}: the checksum with {kernel} is {found:#018x}, with {other} {expected:#018x}; one of them is wrong"
    )]
    Checksum {
        /// The workload.
        workload: String,
        /// The kernel with the unexpected checksum.
        kernel: String,
        /// The kernel that ran before it.
        other: String,
        /// The checksum of the earlier kernel.
        expected: u64,
        /// The checksum of this kernel.
        found: u64,
    },
}

impl WorkloadError {
    /// The failure of a workload on a kernel.
    pub(super) fn of_kernel(workload: &str, kernel: &str, failure: Failure) -> Self {
        WorkloadError::KernelError { workload: workload.to_owned(), kernel: kernel.to_owned(), failure }
    }
}
