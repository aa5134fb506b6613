//! The instructions that one op executes through a mechanism, in the order of execution, from the executed bytes.

mod names;

use iced_x86::{Formatter, Instruction, IntelFormatter};

use super::comparison::Comparison;
use super::loops::{Copied, Loops, Prepared};
use super::sample_error::SampleError;
use super::trace::{OneOp, Trace, TraceError, Tracer};
use super::variant::MechanismState;
use crate::op::model::Installed;
use crate::op::{BodyKind, CpuModel, InstructionMix};
use crate::patch::body::code_before_return;
use crate::regime::Regime;
use crate::suite::OpEntry;
use names::{KnownAddresses, Names};

/// The reason why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The loop could not be made.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The loop could not be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The rules of patching have no such state for the op.
    #[error("{op} is never in the state '{state}' at a {mechanism} site; omit --state to see all its states")]
    NoSuchState {
        /// The op.
        op: String,
        /// The mechanism.
        mechanism: String,
        /// The state.
        state: String,
    },
    /// The rules refuse it, or it is unavailable here.
    #[error("{variant} is unavailable for {op}: {reason}")]
    Absent {
        /// The op.
        op: String,
        /// The mechanism and state.
        variant: String,
        /// The reason.
        reason: String,
    },
}

/// The place of an instruction between call site and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeRegion {
    /// At the call site, or in the loop around it.
    Site,
    /// In the native body.
    Callee,
    /// In between: a thunk, a trampoline, a stub, a body with a preamble.
    CallSequence,
}

impl CodeRegion {
    /// The name in listings.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            CodeRegion::Site => "site",
            CodeRegion::Callee => "callee",
            CodeRegion::CallSequence => "on the way",
        }
    }
}

/// An executed instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedLine {
    /// Its machine code, as executed.
    pub(crate) bytes: Vec<u8>,
    /// Its disassembly, in Intel syntax. Addresses have names: `pv_ops+0x18`, `body`, `thunk`, `loop+0x40`.
    pub(crate) text: String,
    /// Where the instruction is.
    pub(crate) place: CodeRegion,
    /// Whether patching changed a byte of it.
    pub(crate) changed: bool,
}

/// The instructions of one op.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The instructions.
    pub(crate) lines: Vec<ExplainedLine>,
    /// Number of ops in `lines`: 1, or all sites of a pass where the compiler made them different.
    pub(crate) ops: u64,
    /// Instructions per op, with the loop's own share.
    pub(crate) per_op: f64,
    /// Instructions per op by class, without the loop's own; `None` if the passes of the loop differ.
    pub(crate) mix: Option<InstructionMix>,
}

/// A tracer of loops in this process.
pub(crate) struct Explainer {
    loops: Loops,
    tracer: Tracer,
    cpu: Installed,
}

impl Explainer {
    /// Makes this process ready.
    ///
    /// # Errors
    /// [`ExplainError`] where the kernel refuses executable memory or the segment base.
    pub(crate) fn new() -> Result<Self, ExplainError> {
        let cpu = CpuModel::install().map_err(SampleError::Model)?;
        Ok(Explainer { loops: Loops::new()?, tracer: Tracer::install()?, cpu })
    }

    /// Traces `op` in throughput through a mechanism that is bound to the native body.
    ///
    /// # Errors
    /// [`ExplainError`] where the mechanism or its state is unavailable for that op, or the loop cannot be traced.
    pub(crate) fn explain(&mut self, op: &OpEntry, variant: &MechanismState) -> Result<Explanation, ExplainError> {
        let name = op.meta.name.to_owned();
        let comparison = Comparison { op: name.clone(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
        let args = (op.arguments)(&mut self.cpu);
        let ([inline, _], mut prepared) = self.loops.prepare(op, &comparison, std::slice::from_ref(variant))?;
        let copied = match prepared.pop() {
            _ if variant.mechanism == "inline" => inline,
            Some(Prepared::Loop(copied)) => copied,
            Some(Prepared::Refused(reason) | Prepared::Unavailable(reason)) => {
                return Err(ExplainError::Absent { op: name, variant: variant.to_string(), reason });
            }
            Some(Prepared::None) | None => {
                let state = variant.state.map_or("none", |state| state.name()).to_owned();
                return Err(ExplainError::NoSuchState { op: name, mechanism: variant.mechanism.clone(), state });
            }
        };
        let before = read_code(&copied);
        self.loops.activate(&copied).map_err(SampleError::Code)?;
        // SAFETY: the arguments were made for the installed model, by the op whose loop this is.
        let passes = unsafe { self.tracer.passes(copied.run, &args) }?;
        let (steps, ops) = match passes.one_op() {
            OneOp::Repeated { steps, .. } => (steps, 1),
            OneOp::Whole(steps) => (steps, crate::regime::SITES),
        };
        let body = (op.body)(BodyKind::Native) as usize;
        // SAFETY: a body is a function of this program.
        let body = body..body + unsafe { code_before_return(body) }.len() + 1;
        let pair = op.pairs.iter().find(|pair| pair.mechanism.name == variant.mechanism);
        let callee_at = |address| self.loops.callee_at(address);
        let names = pair.map(|pair| {
            let known =
                KnownAddresses { op, pair, span: copied.span.clone(), body: body.clone(), callee_at: &callee_at };
            Names::find(steps.iter().map(|step| &step.instruction), &known)
        });
        let mut formatter = make_formatter(names.unwrap_or_default());
        let lines = steps.iter().map(|step| {
            let address = step.address() as usize;
            let place = match address {
                at if copied.span.contains(&at) => CodeRegion::Site,
                at if body.contains(&at) || self.loops.callee_at(at) == Some(body.start) => CodeRegion::Callee,
                _ => CodeRegion::CallSequence,
            };
            let old =
                address.checked_sub(copied.span.start).and_then(|from| before.get(from..from + step.bytes().len()));
            let changed = old.is_some_and(|old| old != step.bytes());
            ExplainedLine {
                bytes: step.bytes().to_vec(),
                text: disassemble(&mut formatter, &step.instruction),
                place,
                changed,
            }
        });
        Ok(Explanation { lines: lines.collect(), ops, per_op: passes.per_op(), mix: passes.mix() })
    }
}

/// Reads the machine code of a loop before its sites are patched. Empty for a loop at its linked address.
fn read_code(copied: &Copied) -> Vec<u8> {
    if copied.span.is_empty() {
        return Vec::new();
    }
    // SAFETY: the loop's own bytes, in memory that the loops hold.
    unsafe { std::slice::from_raw_parts(copied.span.start as *const u8, copied.span.len()) }.to_vec()
}

/// Makes a formatter that writes names for addresses, and numbers as `0x18`.
fn make_formatter(names: Names) -> IntelFormatter {
    let mut formatter = IntelFormatter::with_options(Some(Box::new(names)), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    formatter
}

fn disassemble(formatter: &mut IntelFormatter, instruction: &Instruction) -> String {
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// The explanation of one variant of a run.
#[derive(Clone, Debug)]
pub struct Example {
    /// The op.
    pub(crate) op: &'static str,
    /// The mechanism and its state.
    pub(crate) variant: MechanismState,
    /// Its instructions.
    pub(crate) explanation: Explanation,
}

/// Ops that show the states best: an identity, a NOP, a known value.
const SHOWN: [&str; 3] = ["pte_val", "alloc_pte", "vcpu_is_preempted"];

/// Explains every variant with the first op that has it, preferring the ops that show states best, and `inline` for
/// each of these ops.
///
/// # Errors
/// [`ExplainError`] where this process cannot trace at all.
pub fn examples(ops: &[&OpEntry], variants: &[MechanismState]) -> Result<Vec<Example>, ExplainError> {
    let mut explainer = Explainer::new()?;
    let first = SHOWN.iter().filter_map(|name| ops.iter().find(|op| op.meta.name == *name));
    let rest = ops.iter().filter(|op| !SHOWN.contains(&op.meta.name));
    let ops: Vec<&OpEntry> = first.chain(rest).copied().collect();
    let mut examples: Vec<Example> = Vec::new();
    for variant in variants {
        let found = ops.iter().find_map(|op| Some((*op, explainer.explain(op, variant).ok()?)));
        let Some((op, explanation)) = found else { continue };
        let inline = MechanismState { mechanism: "inline".to_owned(), state: None };
        if !examples.iter().any(|e| e.op == op.meta.name && e.variant == inline) {
            let explanation = explainer.explain(op, &inline)?;
            examples.push(Example { op: op.meta.name, variant: inline, explanation });
        }
        examples.push(Example { op: op.meta.name, variant: variant.clone(), explanation });
    }
    Ok(examples)
}
