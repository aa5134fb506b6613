//! The linker: it writes a copy of a code image to memory, decodes it and compares it with its source.

mod check;

use super::layout::{Layout, PERIOD_BYTES};
use super::relocations::WORD;
use super::{CodeImage, CodeMemory, DecodedFunction, FunctionError};

/// Bytes of a distance.
pub(super) const DISTANCE_BYTES: usize = 4;

/// A copy of a code image: where its functions start.
pub struct LinkedCopy {
    start: usize,
    /// In ascending order of the originals' addresses.
    functions: Vec<CopiedFunction>,
    /// Merged functions, in ascending order: the address of a jump, and the function that it leads to.
    merged: Vec<(u64, u64)>,
}

struct CopiedFunction {
    original: u64,
    copy: u64,
    length: u64,
}

impl LinkedCopy {
    /// Address of the first function of the layout.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Number of copied functions.
    #[must_use]
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Address of the copy of the function whose original starts at `entry`; `None` if it is not copied.
    #[must_use]
    pub fn address_of(&self, entry: u64) -> Option<u64> {
        let merged = self.merged.binary_search_by_key(&entry, |(jump, _)| *jump);
        let entry = merged.map_or(entry, |index| self.merged[index].1);
        let index = self.functions.binary_search_by_key(&entry, |function| function.original).ok()?;
        Some(self.functions[index].copy)
    }

    /// Start address of the original of the function whose copy contains `address`.
    #[must_use]
    pub fn original_at(&self, address: u64) -> Option<u64> {
        let mut functions = self.functions.iter();
        let found = functions.find(|function| (function.copy..function.copy + function.length).contains(&address))?;
        Some(found.original)
    }
}

/// Writes a copy of `image` whose functions start where `layout` places them. The caller calls
/// [`serialise`](crate::patch::text::serialise) before the copy runs.
///
/// The bytes of every copy are read back from where they run. The first copy of an image is also decoded and compared
/// with the original; later copies differ from it in distances only. A failed copy takes no memory.
///
/// # Errors
/// If memory is full, a target is out of reach, or the copy does not decode to the original.
pub fn link(image: &CodeImage, layout: &Layout<'_>, memory: &mut CodeMemory) -> Result<LinkedCopy, FunctionError> {
    let used = memory.used();
    let copy = write_copy(image, layout, memory);
    if copy.is_err() {
        memory.give_back(used);
    }
    copy
}

/// Consecutive bytes that are written at once.
struct Batch {
    start: usize,
    code: Vec<u8>,
}

fn write_copy(image: &CodeImage, layout: &Layout<'_>, memory: &mut CodeMemory) -> Result<LinkedCopy, FunctionError> {
    let mut data: Vec<u64> = image.data().map(|bytes| bytes.as_ptr() as u64).collect();
    if let Some(offsets) = &layout.data {
        for ((bytes, offset), address) in image.data().zip(offsets).zip(&mut data) {
            *address = memory.copy_data(bytes, *offset)? as u64;
        }
    }
    let relocations = image.relocations();
    // The words share no cache line with code.
    let room = (relocations.count_got_words() * WORD).next_multiple_of(PERIOD_BYTES);
    let got = if room == 0 { 0 } else { memory.reserve(room, 0, 0)? };
    let mut addresses = vec![0; image.len()];
    let mut starts = Vec::with_capacity(layout.placements.len());
    for placement in &layout.placements {
        let address = placement.start.reserve(image.function(placement.function), memory)?;
        addresses[placement.function] = address as u64;
        starts.push((placement.function, address));
    }
    memory.reserve_next(0, layout.trailing)?;
    let bases = relocations.bases(got as u64, &data, &addresses);
    if layout.data.is_some() {
        for (word, target) in relocations.pointer_slots(&bases) {
            // SAFETY: `write` needs a mapped word that nothing else uses: it lies in a copy of the data that was just
            // made, and no code refers to it yet.
            unsafe { (word as *mut u64).write(target) };
        }
    }
    let targets = |function: usize| relocations.targets(function, &bases, |target| layout.callee(target));
    let is_checked = image.is_checked();
    let first = starts.first().map_or_else(|| memory.next_address(), |(_, address)| *address);
    let room_of_chain = if layout.joints.is_empty() { 0 } else { memory.next_address() - first };
    let mut batches: Vec<Batch> = Vec::new();
    if room > 0 {
        batches.push(Batch { start: got, code: relocations.got_words(&bases).flat_map(u64::to_le_bytes).collect() });
    }
    for &(index, address) in &starts {
        let function = image.function(index);
        let begin = address - function.preamble().len();
        // A gap of 256 bytes or more starts the next batch.
        let batch = match batches.last_mut() {
            Some(batch) if begin - batch.start < batch.code.len() + 2 * PERIOD_BYTES => batch,
            _ => batches.push_mut(Batch { start: begin, code: Vec::with_capacity(room_of_chain) }),
        };
        batch.code.resize(begin - batch.start, layout.fill);
        append(function, &mut batch.code, address, targets(index))?;
        if !is_checked {
            let copy = &batch.code[address - batch.start..];
            check::same_function(function, copy, address as u64, targets(index))?;
        }
    }
    if let Some(batch) = batches.last_mut() {
        batch.code.resize(batch.code.len() + layout.trailing, layout.fill);
    }
    // Only a layout of one function has joints, and its copies are one batch.
    if let Some(Batch { start, code }) = batches.first_mut() {
        for joint in &layout.joints {
            code[joint.at..joint.at + joint.bytes.len()].copy_from_slice(&joint.bytes);
        }
        for joint in &layout.joints {
            check::leads_to_target(joint, code, *start as u64)?;
        }
    }
    for Batch { start, code } in &batches {
        memory.write(*start, code)?;
        check::same_bytes(code, memory.read(*start, code.len()), *start as u64)?;
    }
    image.set_checked();
    let copied = |&(index, address): &(usize, usize)| {
        let function = image.function(index);
        CopiedFunction { original: function.entry(), copy: address as u64, length: function.bytes().len() as u64 }
    };
    let mut functions: Vec<CopiedFunction> = starts.iter().map(copied).collect();
    functions.sort_by_key(|function| function.original);
    Ok(LinkedCopy { start: first, functions, merged: image.merged().collect() })
}

/// Appends a copy that runs at `start` to `code`, with the bytes before its entry. `targets` has the new target of each
/// reference of the function, in the same order.
fn append(
    function: &DecodedFunction,
    code: &mut Vec<u8>,
    start: usize,
    targets: impl Iterator<Item = u64>,
) -> Result<(), FunctionError> {
    code.extend_from_slice(function.preamble());
    let entry = code.len();
    code.extend_from_slice(function.bytes());
    let copy = &mut code[entry..];
    for (reference, target) in function.references.iter().zip(targets) {
        let distance = i32::try_from(target.wrapping_sub((start + reference.from) as u64) as i64).ok();
        // A one-byte distance cannot reach the targets of a copy.
        let whole = reference.field + DISTANCE_BYTES <= reference.from;
        let unreachable = FunctionError::OutOfReach { entry: function.entry(), target };
        let distance = distance.filter(|_| whole).ok_or(unreachable)?;
        copy[reference.field..reference.field + DISTANCE_BYTES].copy_from_slice(&distance.to_le_bytes());
    }
    Ok(())
}
