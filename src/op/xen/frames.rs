//! The hypervisor's state of each machine frame, and the rule that it enforces: a frame is a page table or writable,
//! never both, and a page table maps only frames that its domain may map.
//!
//! Source: Xen's `xen/arch/x86/mm.c` (`get_page_type`, `get_page_from_l1e`, `mod_l1_entry` and its siblings). The model
//! leaves out parts that a single virtual CPU does not need: locks, preemption, general reference counts, linear page
//! tables.

use super::memory::{ENTRIES, Memory, PAGE_SHIFT};
use super::p2m::{FRAME_MASK, INVALID, P2m, PRESENT};

/// `_PAGE_RW`
pub const WRITABLE: u64 = 1 << 1;

/// `-EPERM`: there is no such frame, or this domain may not map it.
pub const EPERM: i64 = -1;
/// `-EINVAL`: an argument the hypervisor refuses.
pub const EINVAL: i64 = -22;

/// The owner of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The guest.
    Domain,
    /// The hypervisor or another domain.
    Other,
}

/// `PGT_*`: the type in which a frame is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FrameType {
    None,
    Writable,
    L1,
    L2,
    L3,
    L4,
    SegmentDescriptors,
}

impl FrameType {
    /// The type of frame that the entries of a page table must map; `None` if this type is not a page table.
    fn entry_type(self) -> Option<FrameType> {
        match self {
            FrameType::L1 => Some(FrameType::Writable),
            FrameType::L2 => Some(FrameType::L1),
            FrameType::L3 => Some(FrameType::L2),
            FrameType::L4 => Some(FrameType::L3),
            _ => None,
        }
    }
}

/// `struct page_info`
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The owner.
    pub owner: Owner,
    /// The type in which the frame is used; [`FrameType::None`] if `uses` is 0.
    pub kind: FrameType,
    /// Whether the guest has pinned the frame in its type (`_PGT_pinned`).
    pub pinned: bool,
    /// The number of uses that keep the frame in its type: entries that map it, roots, the pin.
    pub uses: u32,
}

/// All machine frames, and the entries of the guest's direct map.
pub struct Frames {
    all: Box<[Frame]>,
    /// The entry of the guest's direct map for each frame with contents.
    direct: Box<[u64]>,
}

impl Frames {
    /// The state at boot: the guest's frames belong to it, and those with contents are writable in its direct map.
    #[must_use]
    pub(crate) fn new(p2m: &P2m) -> Self {
        let stored = p2m.size().stored as u64;
        let all = (0..p2m.size().machine as u64).map(|mfn| match p2m.machine_to_phys(mfn) {
            INVALID => Frame { owner: Owner::Other, kind: FrameType::None, pinned: false, uses: 0 },
            pfn if pfn < stored => Frame { owner: Owner::Domain, kind: FrameType::Writable, pinned: false, uses: 1 },
            _ => Frame { owner: Owner::Domain, kind: FrameType::None, pinned: false, uses: 0 },
        });
        let direct = (0..stored).map(|pfn| p2m.pfn_to_mfn(pfn) << PAGE_SHIFT | PRESENT | WRITABLE);
        Frames { all: all.collect(), direct: direct.collect() }
    }

    /// The state of a machine frame; `None` beyond the machine's memory.
    #[must_use]
    pub fn get(&self, mfn: u64) -> Option<Frame> {
        self.all.get(usize::try_from(mfn).ok()?).copied()
    }

    /// The direct map's entry for a frame of the guest.
    #[must_use]
    pub fn direct(&self, pfn: u64) -> Option<u64> {
        self.direct.get(usize::try_from(pfn).ok()?).copied()
    }

    /// Restores the saved state of a frame; see [`XenVcpu::recycle`](super::XenVcpu::recycle).
    pub(super) fn put_back(&mut self, pfn: u64, mfn: u64, frame: Frame, direct: u64) {
        if let Some(known) = self.all.get_mut(mfn as usize) {
            *known = frame;
        }
        if let Some(entry) = self.direct.get_mut(pfn as usize) {
            *entry = direct;
        }
    }
}

/// The frames with their memory and translation, on which page-table calls operate.
pub struct Tables<'a> {
    /// The state of each frame.
    pub(crate) frames: &'a mut Frames,
    /// The contents of the frames.
    pub(crate) memory: &'a Memory,
    /// The translation of frame numbers.
    pub(crate) p2m: &'a P2m,
}

/// `Ok`, or the negative errno.
pub type Checked = Result<(), i64>;

impl Tables<'_> {
    fn find_owned(&mut self, mfn: u64, missing: i64) -> Result<&mut Frame, i64> {
        match self.frames.all.get_mut(mfn as usize) {
            None => Err(missing),
            Some(frame) if frame.owner != Owner::Domain => Err(EINVAL),
            Some(frame) => Ok(frame),
        }
    }

    fn read_word(&self, mfn: u64, index: usize) -> Result<u64, i64> {
        self.memory.read(self.p2m.machine_to_phys(mfn), index).ok_or(EINVAL)
    }

    /// `get_page_type`: adds one use of a frame as `kind`. The first use as a page table checks every entry.
    pub(crate) fn get_type(&mut self, mfn: u64, kind: FrameType) -> Checked {
        let frame = self.find_owned(mfn, EINVAL)?;
        if frame.uses > 0 {
            if frame.kind != kind {
                return Err(EINVAL);
            }
            frame.uses = frame.uses.saturating_add(1);
            return Ok(());
        }
        if kind.entry_type().is_some() {
            for index in 0..ENTRIES {
                let checked = self.read_word(mfn, index).and_then(|entry| self.get_entry(kind, entry));
                if let Err(errno) = checked {
                    self.put_entries(mfn, kind, index);
                    return Err(errno);
                }
            }
        }
        let frame = self.find_owned(mfn, EINVAL)?;
        (frame.kind, frame.uses) = (kind, 1);
        Ok(())
    }

    /// `put_page_type`: removes one use. Removing the last use of a page table releases the frames that it maps.
    pub(crate) fn put_type(&mut self, mfn: u64) {
        let Ok(frame) = self.find_owned(mfn, EINVAL) else { return };
        frame.uses = frame.uses.saturating_sub(1);
        if frame.uses == 0 {
            let kind = std::mem::replace(&mut frame.kind, FrameType::None);
            if kind.entry_type().is_some() {
                self.put_entries(mfn, kind, ENTRIES);
            }
        }
    }

    fn put_entries(&mut self, mfn: u64, kind: FrameType, count: usize) {
        for index in 0..count {
            if let Ok(entry) = self.read_word(mfn, index) {
                self.put_entry(kind, entry);
            }
        }
    }

    /// `get_page_from_l1e` to `l4e`: checks whether a table of type `table` may hold this entry. If so, it adds a use
    /// of the frame that the entry maps.
    fn get_entry(&mut self, table: FrameType, entry: u64) -> Checked {
        if entry & PRESENT == 0 {
            return Ok(());
        }
        let mfn = (entry & FRAME_MASK) >> PAGE_SHIFT;
        match table.entry_type() {
            None => Err(EINVAL),
            Some(FrameType::Writable) if entry & WRITABLE == 0 => self.find_owned(mfn, EPERM).map(drop),
            Some(FrameType::Writable) => {
                self.find_owned(mfn, EPERM)?;
                self.get_type(mfn, FrameType::Writable)
            }
            Some(kind) => self.get_type(mfn, kind),
        }
    }

    fn put_entry(&mut self, table: FrameType, entry: u64) {
        if entry & PRESENT == 0 || table == FrameType::L1 && entry & WRITABLE == 0 {
            return;
        }
        self.put_type((entry & FRAME_MASK) >> PAGE_SHIFT);
    }

    /// Replaces one entry by another in a table of type `table`, and moves the use to the new frame. A new entry that
    /// maps the same frame in the same way needs no check, as in `mod_l1_entry`.
    fn exchange(&mut self, table: FrameType, old: u64, new: u64) -> Checked {
        if (old ^ new) & (FRAME_MASK | PRESENT | WRITABLE) != 0 {
            self.get_entry(table, new)?;
            self.put_entry(table, old);
        }
        Ok(())
    }

    /// `do_mmu_update`, `MMU_NORMAL_PT_UPDATE` and `MMU_PT_UPDATE_PRESERVE_AD`: writes a word of the guest's memory. In
    /// a page table the word is checked as an entry of that level; in another frame it is written unchecked.
    pub(crate) fn update(&mut self, maddr: u64, value: u64, preserve: u64) -> Checked {
        let (mfn, index) = (maddr >> PAGE_SHIFT, (maddr as usize & 0xfff) / 8);
        let kind = self.find_owned(mfn, EINVAL)?.kind;
        let old = self.read_word(mfn, index)?;
        let value = value | old & preserve;
        match kind {
            FrameType::None | FrameType::Writable => {}
            FrameType::SegmentDescriptors => return Err(EINVAL),
            table => self.exchange(table, old, value)?,
        }
        self.memory.write(self.p2m.machine_to_phys(mfn), index, value).ok_or(EINVAL)
    }

    /// `do_update_va_mapping` for an address of the direct map: replaces the entry of a frame.
    pub(crate) fn update_direct(&mut self, pfn: u64, value: u64) -> Checked {
        let old = self.frames.direct(pfn).ok_or(EINVAL)?;
        self.exchange(FrameType::L1, old, value)?;
        match self.frames.direct.get_mut(pfn as usize) {
            Some(entry) => *entry = value,
            None => return Err(EINVAL),
        }
        Ok(())
    }

    /// `MMUEXT_PIN_L*_TABLE`: pins a frame as a page table of that level. Pinning twice is refused.
    pub(crate) fn pin(&mut self, mfn: u64, kind: FrameType) -> Checked {
        self.get_type(mfn, kind)?;
        let frame = self.find_owned(mfn, EINVAL)?;
        if std::mem::replace(&mut frame.pinned, true) {
            self.put_type(mfn);
            return Err(EINVAL);
        }
        Ok(())
    }

    /// `MMUEXT_UNPIN_TABLE`: unpins a frame; refused if it is not pinned.
    pub(crate) fn unpin(&mut self, mfn: u64) -> Checked {
        let frame = self.find_owned(mfn, EINVAL)?;
        if !std::mem::replace(&mut frame.pinned, false) {
            return Err(EINVAL);
        }
        self.put_type(mfn);
        Ok(())
    }

    /// Walks the tables below a root, as the hardware does. Returns the machine address of the entry that maps `va`.
    pub(crate) fn walk(&self, root: u64, va: u64) -> Result<u64, i64> {
        let mut mfn = root;
        for level in (2..=4).rev() {
            let entry = self.read_word(mfn, (va >> (PAGE_SHIFT + 9 * (level - 1))) as usize % ENTRIES)?;
            if entry & PRESENT == 0 {
                return Err(EINVAL);
            }
            mfn = (entry & FRAME_MASK) >> PAGE_SHIFT;
        }
        Ok(mfn << PAGE_SHIFT | ((va >> PAGE_SHIFT) % ENTRIES as u64) << 3)
    }
}
