//! Random places for the kernels of a workload.

use rand::{Rng, RngExt};

use crate::patch::{CodeImage, CodeMemory, DataMemory, FunctionError, PatchError, text};
use crate::workload::Run;

/// Why kernels stay where the linker put them.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlacementError {
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

/// Copies begin at one of so many pages: addresses that differ in the bits that tables of branches are indexed by.
const ANYWHERE: usize = 4096;
const PAGE: usize = 4096;

/// Kernels with all that they call, as they were when they were decoded, and memory with a copy of each.
pub(super) struct KernelPlacement {
    trees: Vec<CodeImage>,
    /// Each kernel, and which of the trees is its.
    kernels: Vec<(Run, usize)>,
    near: usize,
    /// Room for the copies of all kernels, in bytes, and for their data.
    room: (usize, usize),
    memory: Option<(CodeMemory, DataMemory)>,
}

impl KernelPlacement {
    /// Of kernels and which of the trees is theirs, in reach of a function of the program.
    pub fn new(trees: Vec<CodeImage>, kernels: Vec<(Run, usize)>, near: Run) -> Self {
        let sum = |room: fn(&CodeImage) -> usize| kernels.iter().map(|(_, tree)| room(&trees[*tree])).sum();
        let room = (sum(CodeImage::room), sum(CodeImage::data_room));
        KernelPlacement { trees, kernels, near: near as *const () as usize, room, memory: None }
    }

    /// Copies all of them to places drawn from `rng`, in memory of their own, and gives the copies in the same order.
    /// The copies of before are gone.
    ///
    /// # Safety
    /// The trees are those of the functions beside them, no copy is being run, and the copies are run while this lives
    /// and until it is called again.
    pub unsafe fn draw(&mut self, rng: &mut impl Rng) -> Result<Vec<Run>, PlacementError> {
        let (room, data) = self.room;
        // Other pages, too, of the machine's memory and of the address space: which of them meet in a cache, or with
        // the ops' bodies in a table of branches, is theirs and not a kernel's. The room in front is never written, and
        // takes none.
        self.memory = None;
        let memory = CodeMemory::new(self.near, ANYWHERE * PAGE + room).map_err(FunctionError::from)?;
        let data = DataMemory::new(self.near, data).map_err(FunctionError::from)?;
        let (memory, data) = self.memory.insert((memory, data));
        memory.reserve(rng.random_range(0..ANYWHERE) * PAGE, 0, 0).map_err(FunctionError::from)?;
        let mut copies = Vec::with_capacity(self.kernels.len());
        for (run, tree) in &self.kernels {
            let tree = &mut self.trees[*tree];
            tree.place(memory, data, rng)?;
            let entry = *run as *const () as u64;
            let place = tree.relocated(entry).unwrap_or(entry);
            // SAFETY: a copy of a function of this type by the caller's contract.
            copies.push(unsafe { std::mem::transmute::<usize, Run>(place as usize) });
        }
        text::serialise();
        Ok(copies)
    }
}
