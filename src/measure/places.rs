//! Random places for the kernels of a workload.

use rand::Rng;

use crate::patch::{CallTree, CodeMemory, FunctionError, PatchError, text};
use crate::workload::Run;

/// Why kernels stay where the linker put them.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// Nobody wants copies.
    #[error("it was asked for")]
    Unwanted,
    /// A copy.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A state.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// Kernels with all that they call, as they were when they were decoded, and memory for a copy of each.
pub(super) struct Places {
    trees: Vec<CallTree>,
    memory: CodeMemory,
}

impl Places {
    /// Room for a copy of each of `trees`, in reach of the first.
    pub fn new(trees: Vec<CallTree>, near: Run) -> Result<Self, PlaceError> {
        let room = trees.iter().map(CallTree::room).sum();
        let memory = CodeMemory::new(near as *const () as usize, room).map_err(FunctionError::from)?;
        Ok(Places { trees, memory })
    }

    /// Copies all of them to places drawn from `rng`, over the copies of before, and gives the copies in the same order.
    ///
    /// # Safety
    /// The trees are of functions of the type [`Run`], no copy is being run, and the copies are run while this lives and
    /// until it is called again.
    pub unsafe fn draw(&mut self, rng: &mut impl Rng) -> Result<Vec<Run>, PlaceError> {
        self.memory.clear();
        let mut copies = Vec::with_capacity(self.trees.len());
        for tree in &mut self.trees {
            let place = tree.place(&mut self.memory, rng)?;
            // SAFETY: a copy of a function of this type by the caller's contract.
            copies.push(unsafe { std::mem::transmute::<usize, Run>(place) });
        }
        text::serialise();
        Ok(copies)
    }
}
