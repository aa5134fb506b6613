//! Random addresses for the kernels of a workload.

use rand::{Rng, RngExt};

use crate::patch::{PatchError, text};
use crate::relocate::{CodeImage, CodeMemory, FunctionError, RandomLayouts, link};
use crate::workload::Run;

/// The reason why kernels stay at their linked addresses.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlacementError {
    /// The task asks for linked addresses.
    #[error("the task asks for linked addresses")]
    Unwanted,
    /// A function could not be copied.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// The sites could not be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// Start pages to choose from. Their addresses differ in the bits that index the tables of branch predictors.
const START_PAGES: usize = 4096;
const PAGE: usize = 4096;

/// Decoded kernels with all that they call, and memory with a copy of each.
pub(super) struct KernelPlacement {
    images: Vec<(CodeImage, RandomLayouts)>,
    /// Each kernel, with the index of its image.
    kernels: Vec<(Run, usize)>,
    near: usize,
    /// Room for the copies of all kernels and for their data, in bytes.
    room: (usize, usize),
    memory: Option<CodeMemory>,
}

impl KernelPlacement {
    /// Places kernels, each with the index of its image, within reach of the function `near`.
    pub(crate) fn new(images: Vec<CodeImage>, kernels: Vec<(Run, usize)>, near: Run) -> Self {
        let sum = |room: fn(&CodeImage) -> usize| kernels.iter().map(|(_, image)| room(&images[*image])).sum();
        let room = (sum(CodeImage::room), sum(CodeImage::data_room));
        let images = images.into_iter().map(|image| (image, RandomLayouts::default())).collect();
        KernelPlacement { images, kernels, near: near as *const () as usize, room, memory: None }
    }

    /// Copies all kernels to addresses drawn from `rng`, in new memory, and returns the copies in the same order. It
    /// frees the previous copies.
    ///
    /// # Safety
    /// Each image must belong to its function, and no copy may be running. The copies may run only until the next call,
    /// and only while this object lives.
    pub(crate) unsafe fn draw(&mut self, rng: &mut impl Rng) -> Result<Vec<Run>, PlacementError> {
        let (room, data) = self.room;
        // New memory also means other pages in the address space and in the machine's memory. They decide which copies
        // meet in a cache, or collide with the ops' bodies in a table of branches, and are no property of a kernel. The
        // room in front of the copies is never written, so it takes no memory.
        self.memory = None;
        let memory = CodeMemory::with_data(self.near, START_PAGES * PAGE + room, data).map_err(FunctionError::from)?;
        let memory = self.memory.insert(memory);
        memory.reserve(rng.random_range(0..START_PAGES) * PAGE, 0, 0).map_err(FunctionError::from)?;
        let mut copies = Vec::with_capacity(self.kernels.len());
        for (run, image) in &self.kernels {
            let (image, layouts) = &mut self.images[*image];
            let copy = link(image, &layouts.draw(image, rng), memory)?;
            let entry = *run as *const () as u64;
            let address = copy.address_of(entry).unwrap_or(entry);
            // SAFETY: a copy of a function of this type, by the caller's contract.
            copies.push(unsafe { std::mem::transmute::<usize, Run>(address as usize) });
        }
        text::serialise();
        Ok(copies)
    }
}
