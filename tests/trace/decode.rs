//! Executed instructions, decoded from the addresses that were recorded.

use iced_x86::{Code, FlowControl, Register};
use pvbench::measure::trace::{Step, TraceError};

use crate::stepper::StepError;

/// Bytes of the smallest page that memory is mapped in.
const PAGE_BYTES: usize = 4096;

/// Addresses that may be executed next; `None` if only the running program knows.
fn successors(step: &Step) -> Option<[u64; 2]> {
    let (next, target) = (step.instruction.next_ip(), step.instruction.near_branch_target());
    match step.instruction.flow_control() {
        FlowControl::Next => Some([next; 2]),
        FlowControl::ConditionalBranch => Some([next, target]),
        FlowControl::UnconditionalBranch => Some([target; 2]),
        FlowControl::Call if step.instruction.is_call_near() => Some([target; 2]),
        FlowControl::Call if step.instruction.code() == Code::Syscall => Some([next; 2]),
        _ => None,
    }
}

/// Whether the CPU steps after each of its iterations: `rep movsb` and the like, which are one instruction (Intel
/// SDM volume 3, 19.3.1.4).
fn steps_per_iteration(step: &Step) -> bool {
    let prefixed = step.instruction.has_rep_prefix() || step.instruction.has_repne_prefix();
    prefixed && step.instruction.is_string_instruction()
}

/// Whether the step after it is known to come one instruction late.
///
/// A load of `ss` holds traps off for an instruction (Intel SDM volume 3, 6.8.3). Linux returns from a system call
/// by `iretq` if TF is set, which traps after the instruction that it returns to. A hypervisor that emulates an
/// instruction may forget the trap.
fn delays_step(step: &Step) -> bool {
    let i = &step.instruction;
    i.op0_register() == Register::SS || matches!(i.code(), Code::Syscall | Code::Cpuid | Code::Rdtsc | Code::Rdtscp)
}

/// Decodes the executed instructions at the recorded addresses. Iterations of one instruction become one step. An
/// instruction that got no step, between two that did, is added.
///
/// # Safety
/// The addresses are those of executed instructions, in order, and still mapped.
///
/// # Errors
/// [`StepError::Gap`] if an address does not follow from the one before it.
pub unsafe fn decode_executed(addresses: &[u64]) -> Result<Vec<Step>, TraceError> {
    let mut steps: Vec<Step> = Vec::with_capacity(addresses.len());
    for &address in addresses {
        if let Some(last) = steps.last() {
            if last.address() == address && steps_per_iteration(last) {
                continue;
            }
            if successors(last).is_some_and(|to| !to.contains(&address)) {
                let (after, missed) = (last.address(), last.instruction.next_ip());
                let same_page = (missed - 1) as usize / PAGE_BYTES == missed as usize / PAGE_BYTES;
                let gap = StepError::Gap { after, next: address };
                if !delays_step(last) || !same_page {
                    return Err(gap.into());
                }
                // SAFETY: `read` allows instructions that start in the page of an executed one, and `same_page` checked
                // that.
                let missed = unsafe { Step::read(missed) }?;
                if successors(&missed).is_some_and(|to| !to.contains(&address)) {
                    return Err(gap.into());
                }
                steps.push(missed);
            }
        }
        // SAFETY: `read` needs the address of an executed, mapped instruction; the caller guarantees that of all
        // addresses.
        steps.push(unsafe { Step::read(address) }?);
    }
    Ok(steps)
}
