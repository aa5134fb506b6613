//! The catalogue of a report: the ops, mechanisms and kernel options that were measured.

use crate::dispatch::Mechanism;
use crate::kernel::options::{self, KernelOption, Optional};
use crate::report::schema::{MechanismInfo, OpInfo, OptionInfo};
use crate::suite::OpEntry;

/// Describes an op.
#[must_use]
pub(crate) fn op_info(op: &OpEntry) -> OpInfo {
    let meta = &op.meta;
    OpInfo {
        name: meta.name.to_owned(),
        group: meta.group,
        since: meta.since,
        arguments: op.arity,
        returns: op.returns,
        native_kind: meta.native_kind,
        xen_kind: meta.xen_kind,
        bytes: meta.bytes,
        native_code: op.native_code().iter().map(|byte| format!("{byte:02x}")).collect(),
        conventions: meta.conventions,
        prototype: meta.prototype.to_owned(),
        purpose: meta.purpose.trim().to_owned(),
        source: meta.source.to_owned(),
    }
}

/// Describes a mechanism.
#[must_use]
pub(crate) fn mechanism_info(mechanism: &Mechanism) -> MechanismInfo {
    MechanismInfo {
        name: mechanism.name.to_owned(),
        summary: mechanism.summary.to_owned(),
        known_from: mechanism.known_from.to_owned(),
        year: mechanism.year,
        step: mechanism.step.map(str::to_owned),
        states: mechanism.states.iter().map(|state| state.name().to_owned()).collect(),
        listings: Vec::new(),
    }
}

/// Describes the options of the model kernel.
#[must_use]
pub(crate) fn option_infos() -> Vec<OptionInfo> {
    struct Infos(Vec<OptionInfo>);
    impl options::OptionVisitor for Infos {
        fn visit<C: Optional>(&mut self) {
            let KernelOption { name, switch, summary } = C::META;
            let (name, switch, summary) = (name.to_owned(), switch.to_owned(), summary.to_owned());
            self.0.push(OptionInfo { name, switch, summary });
        }
    }
    let mut infos = Infos(Vec::new());
    options::for_each(&mut infos);
    infos.0
}
