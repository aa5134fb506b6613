//! Address spaces and their areas (`struct mm_struct`, `struct vm_area_struct`).

use super::areas::AreaMap;
use super::memory::PAGE;
use super::slab::Slab;
use super::{Config, Kernel, KernelError, Machine, OutOfMemory};
use crate::dispatch::Dispatch;
use crate::op;
use crate::op::lock::RawSpinlock;

/// The address below which areas are mapped, downwards: `mm->mmap_base`.
pub(super) const MMAP_BASE: u64 = 0x7fff_f7ff_f000;
/// `mmap_min_addr`
pub(super) const LOWEST: u64 = 0x1_0000;

/// The permissions of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prot {
    /// `PROT_READ`
    Read,
    /// `PROT_READ | PROT_WRITE`
    Write,
}

/// An area of anonymous memory, from its key in the map to `end`.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The address after its last byte.
    pub(crate) end: u64,
    /// Its permissions.
    pub(crate) prot: Prot,
    /// The address of its `vm_area_struct` in the direct map.
    pub(super) object: u64,
    /// The address of its `anon_vma`; 0 before the first fault.
    pub(super) anon_vma: u64,
}

/// An address space.
pub struct Mm {
    /// Areas by start address.
    pub(crate) areas: AreaMap,
    /// The frame of the root table.
    pub(super) root: u64,
    /// The structure that hooks get a pointer to.
    pub(super) hook: op::mmu::Mm,
    pub(super) mmap_lock: u32,
    pub(super) page_table_lock: RawSpinlock,
    /// Number of mapped pages: `mm_counter(MM_ANONPAGES)`.
    pub(crate) rss: u64,
    /// `context.tlb_gen`
    pub(super) tlb_gen: u32,
    /// The address below which the search for a free area starts (`free_area_cache`).
    pub(super) hint: u64,
    object: u64,
}

impl Mm {
    /// Makes an empty address space with room for areas.
    fn new() -> Box<Self> {
        Box::new(Mm {
            areas: AreaMap::default(),
            root: 0,
            hook: op::mmu::Mm::default(),
            mmap_lock: 0,
            page_table_lock: RawSpinlock::new(),
            rss: 0,
            tlb_gen: 0,
            hint: MMAP_BASE,
            object: 0,
        })
    }

    /// Resets the address space; the memory of its area map stays allocated.
    fn begin(&mut self, root: u64, object: u64) {
        (self.root, self.object) = (root, object);
        self.hook = op::mmu::Mm::default();
        self.page_table_lock = RawSpinlock::new();
        (self.mmap_lock, self.rss, self.tlb_gen, self.hint) = (0, 0, 0, MMAP_BASE);
    }
}

impl Machine {
    /// The running process's address space. A machine always has one while a kernel works on it.
    #[inline(always)]
    pub(super) fn mm(&self) -> &Mm {
        self.mms[self.current].as_deref().unwrap_or_else(|| fail_without_mm())
    }

    /// The running process's address space, mutable.
    #[inline(always)]
    pub(super) fn mm_mut(&mut self) -> &mut Mm {
        self.mms[self.current].as_deref_mut().unwrap_or_else(|| fail_without_mm())
    }
}

/// Reports a defect of the model; no request of a workload leads here.
#[cold]
#[inline(never)]
fn fail_without_mm() -> ! {
    unreachable!("the running process has an address space")
}

/// Rounds a length up to whole pages.
#[inline(always)]
pub(super) fn pages_up(len: u64) -> u64 {
    len.div_ceil(PAGE as u64) * PAGE as u64
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `mm_alloc`: makes an empty address space. Returns its number.
    ///
    /// # Errors
    /// `-ENOMEM`
    #[inline(never)]
    pub(super) fn mm_alloc(&mut self) -> Result<usize, KernelError> {
        let object = self.kmem_cache_alloc(Slab::Mm, true)?;
        // `_pgd_alloc` with `paravirt_pgd_alloc`, then the kernel's half of the root.
        let root = match self.alloc_page(true) {
            Ok(root) => root,
            Err(short) => {
                self.kmem_cache_free(Slab::Mm, object);
                return Err(short.into());
            }
        };
        let mut mm = self.machine.spare.pop().unwrap_or_else(Mm::new);
        mm.begin(root, object);
        mm.hook.pgd = self.machine.memory.address(root) as u64;
        let error = self.pgd_alloc(&raw mut mm.hook);
        if C::XEN && error != 0 {
            self.machine.spare.push(mm);
            self.free_page(root);
            self.kmem_cache_free(Slab::Mm, object);
            return Err(OutOfMemory.into());
        }
        for index in 256..512 {
            let at = self.machine.memory.entry(root, index);
            let entry = Self::kernel_entry(&self.machine.memory, index);
            self.machine.memory.write(at, entry);
        }
        let free = self.machine.mms.iter().position(Option::is_none);
        let number = free.unwrap_or(self.machine.mms.len());
        match free {
            Some(number) => self.machine.mms[number] = Some(mm),
            None => self.machine.mms.push(Some(mm)),
        }
        Ok(number)
    }

    /// `switch_mm_irqs_off`: makes `mm` the running address space.
    #[inline(never)]
    pub(super) fn switch_mm(&mut self, mm: usize) {
        self.machine.current = mm;
        let root = self.machine.mm().root;
        self.write_cr3(root << 12);
    }

    /// `mmdrop`: frees the root and the structure of an address space without areas.
    #[inline(never)]
    pub(super) fn mm_drop(&mut self, number: usize) {
        let Some(mut mm) = self.machine.mms[number].take() else { return };
        self.pgd_free(&raw mut mm.hook, mm.hook.pgd);
        self.free_page(mm.root);
        self.kmem_cache_free(Slab::Mm, mm.object);
        mm.areas.clear();
        self.machine.spare.push(mm);
    }

    /// Starts the first process of a workload, with an empty address space.
    ///
    /// # Errors
    /// `-ENOMEM`
    pub fn start(&mut self) -> Result<(), KernelError> {
        let mm = self.mm_alloc()?;
        if C::XEN {
            self.pin(mm);
        }
        self.switch_mm(mm);
        Ok(())
    }

    /// Pins a new address space before a process runs in it, as fork and exec do (`dup_mmap`, `activate_mm`).
    pub(super) fn pin(&mut self, mm: usize) {
        let Some(mm) = self.machine.mms[mm].as_deref_mut() else { return };
        let hook = &raw mut mm.hook;
        self.activate_mm(hook, hook as u64);
    }

    /// `exit_mmap` and `mmdrop` of the running process: frees everything it had.
    ///
    /// # Errors
    /// Never fails.
    #[inline(never)]
    pub fn finish(&mut self) -> Result<(), KernelError> {
        let hook = &raw mut self.machine.mm_mut().hook;
        self.exit_mmap(hook);
        self.unmap_all();
        let number = self.machine.current;
        self.mm_drop(number);
        Ok(())
    }

    /// Allocates a `vm_area_struct` and fills it in.
    pub(super) fn vm_area_alloc(&mut self, start: u64, end: u64) -> Result<u64, KernelError> {
        let object = self.kmem_cache_alloc(Slab::VmArea, true)?;
        self.set_object_word(object, 8, start);
        self.set_object_word(object, 16, end);
        Ok(object)
    }

    /// Frees the structures of an area.
    pub(super) fn vm_area_free(&mut self, area: Area) {
        if area.anon_vma != 0 {
            self.kmem_cache_free(Slab::AnonVma, area.anon_vma);
        }
        self.kmem_cache_free(Slab::VmArea, area.object);
    }

    /// `__split_vma`: splits the area that has `at` in its interior.
    #[inline(never)]
    pub(super) fn split(&mut self, at: u64) -> Result<(), KernelError> {
        let found = self.machine.mm().areas.range(..at).next_back();
        let Some((start, area)) = found.filter(|(_, area)| area.end > at) else { return Ok(()) };
        let object = self.kmem_cache_alloc(Slab::VmArea, false)?;
        self.copy_object(area.object, object, 200);
        self.set_object_word(object, 8, at);
        self.set_object_word(area.object, 16, at);
        // `anon_vma_clone`: each half has an `anon_vma` of its own.
        let anon_vma = if area.anon_vma == 0 {
            0
        } else {
            match self.kmem_cache_alloc(Slab::AnonVma, false) {
                Ok(anon_vma) => anon_vma,
                Err(short) => {
                    self.set_object_word(area.object, 16, area.end);
                    self.kmem_cache_free(Slab::VmArea, object);
                    return Err(short.into());
                }
            }
        };
        let areas = &mut self.machine.mm_mut().areas;
        areas.insert(start, Area { end: at, ..area });
        areas.insert(at, Area { object, anon_vma, ..area });
        Ok(())
    }
}

impl Machine {
    /// The areas of the running process, by start address.
    pub(crate) fn areas(&self) -> &AreaMap {
        &self.mm().areas
    }
}
