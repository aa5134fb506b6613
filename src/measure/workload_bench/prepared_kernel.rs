//! The kernels of a block: found by name, decoded with their sites in their state, and made ready to be copied.

use super::{INLINE, WorkloadBench, WorkloadError, WorkloadJob};
use crate::measure::placement::{KernelPlacement, PlacementError};
use crate::measure::samples::{Unavailability, UnavailableTreatment};
use crate::measure::variant::{Treatment, TreatmentId, Treatments, Variant};
use crate::patch::State;
use crate::patch::site::SiteKind;
use crate::relocate::CodeImage;
use crate::workload::{Run, WorkloadEntry};

/// A kernel of a block.
pub(super) struct PreparedKernel {
    pub variant: Variant,
    pub name: String,
    /// The compiled function.
    pub run: Run,
    /// Its copy at random addresses, with the sites in their state.
    pub relocated: Option<Run>,
    pub sites: Option<(SiteKind, State)>,
    pub is_option: bool,
}

impl PreparedKernel {
    pub fn inline(variant: Variant, run: Run) -> Self {
        PreparedKernel { variant, name: "inline".to_owned(), run, relocated: None, sites: None, is_option: false }
    }
}

impl WorkloadBench {
    /// Prepares the kernels of a job: `inline` in its forms, then the treatments.
    pub(super) fn prepare(
        &self,
        entry: &WorkloadEntry,
        job: &WorkloadJob,
        treatments: &Treatments,
    ) -> Result<(Vec<PreparedKernel>, Vec<UnavailableTreatment>), WorkloadError> {
        let inline = |variant: Variant| PreparedKernel::inline(variant, entry.variants[0].run);
        let (mut kernels, mut unavailable) = (INLINE.map(inline).into_iter().collect::<Vec<_>>(), Vec::new());
        for &treatment in job.treatments {
            let Some(wanted) = treatments.get(treatment) else { continue };
            match self.prepare_kernel(entry, treatment, wanted)? {
                Ok(kernel) => kernels.push(kernel),
                Err(reason) => {
                    unavailable.push(UnavailableTreatment { treatment, why: Unavailability::Unsupported(reason) })
                }
            }
        }
        Ok((kernels, unavailable))
    }

    /// Prepares the kernel of a treatment, or says why it is unavailable here.
    fn prepare_kernel(
        &self,
        entry: &WorkloadEntry,
        id: TreatmentId,
        treatment: &Treatment,
    ) -> Result<Result<PreparedKernel, String>, WorkloadError> {
        let prepared = |name: String, run, sites, is_option| PreparedKernel {
            variant: Variant::Treatment(id),
            name,
            run,
            relocated: None,
            sites,
            is_option,
        };
        let mechanism = match treatment {
            Treatment::Option(name) => {
                let option = entry.options.iter().find(|option| option.name == name);
                if entry.options.is_empty() {
                    return Ok(Err("an option of the model kernel, which this workload does not run on".to_owned()));
                }
                let option = option.ok_or_else(|| WorkloadError::UnknownKernel(name.clone()))?;
                return Ok(Ok(prepared(name.clone(), option.run, None, true)));
            }
            Treatment::Mechanism(mechanism) => mechanism,
        };
        let variant = entry.variants.iter().find(|variant| variant.mechanism.name == mechanism.mechanism);
        let variant = variant.ok_or_else(|| WorkloadError::UnknownKernel(mechanism.to_string()))?;
        if let Some(reason) = (variant.unavailable)() {
            return Ok(Err(reason));
        }
        let sites = match (mechanism.state, variant.mechanism.sites, &self.text) {
            (None, ..) => None,
            (Some(state), Some(kind), Ok(_)) => Some((kind, state)),
            (Some(_), Some(_), Err(error)) => return Ok(Err(error.to_string())),
            (Some(_), None, _) => return Err(WorkloadError::UnknownKernel(mechanism.to_string())),
        };
        Ok(Ok(prepared(mechanism.to_string(), variant.run, sites, false)))
    }

    /// Decodes every kernel with its sites in its state, ready to be copied with its part of `data`. One failure fails
    /// all.
    pub(super) fn decode_kernels(
        &mut self,
        kernels: &[PreparedKernel],
        data: &[(usize, usize)],
    ) -> Result<KernelPlacement, PlacementError> {
        let (mut images, mut runs) = (Vec::new(), Vec::with_capacity(kernels.len()));
        let mut before = None;
        for kernel in kernels {
            self.set_state(kernel)?;
            let entry = kernel.run as *const () as usize;
            // All copies of `inline` share one image.
            if before.replace((entry, kernel.sites)) != Some((entry, kernel.sites)) {
                // SAFETY: a workload is a compiled function.
                let image = unsafe { CodeImage::of_known(entry, &mut self.decoded) }?;
                // SAFETY: mechanisms named this data as theirs, and bind it in functions that are not copied.
                images.push(unsafe { image.with_data(data, &mut self.decoded) }?);
            }
            runs.push((kernel.run, images.len() - 1));
        }
        Ok(KernelPlacement::new(images, runs, kernels[0].run))
    }
}

/// The site states of a whole kernel by preference, where one state is named; not every op has every state.
pub fn whole_kernel(state: State) -> &'static [State] {
    match state {
        // A kernel that booted on bare metal: native instructions where they fit, NOPs where there is nothing to do,
        // otherwise a direct call.
        State::Inline => &[State::Inline, State::Nop, State::Direct],
        State::Nop => &[State::Nop],
        State::Direct => &[State::Direct],
        State::Off => &[State::Off],
        State::On => &[State::On],
        State::Unpatched | State::Refused => &[State::Unpatched],
    }
}
