//! `fork`, `exit`, `execve` (`kernel/fork.c`, `kernel/exit.c`, `fs/exec.c`): the parts that concern memory.

use super::entry::Call;
use super::guard::guard;
use super::memory::PAGE;
use super::mm::{Area, Prot};
use super::security::SecurityRequest;
use super::slab::Slab;
use super::sync::{write_protect, xadd};
use super::table::{DIRTY, FRAME, PMD_SIZE, PRESENT, WRITE};
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

/// A child process that does not run yet.
#[derive(Debug)]
pub struct Child {
    mm: usize,
    task: u64,
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `fork`
    ///
    /// # Errors
    /// `-ENOMEM`; the memory of the unfinished child is freed.
    #[inline(never)]
    pub fn fork(&mut self) -> Result<Child, KernelError> {
        self.enter(Call::Fork, [0; 4]);
        let child = self.copy_process();
        self.leave(0);
        child
    }

    /// `copy_process`
    #[inline(never)]
    fn copy_process(&mut self) -> Result<Child, KernelError> {
        let guard = guard::<C>();
        self.security(SecurityRequest::TaskAlloc, 0)?;
        // `dup_task_struct`, which in Linux copies the parent's structure word for word and allocates pages for a
        // stack.
        let task = self.kmem_cache_alloc(Slab::Task, false)?;
        self.clear_object(task, 64);
        let mm = match self.mm_alloc() {
            Ok(mm) => mm,
            Err(error) => {
                self.kmem_cache_free(Slab::Task, task);
                return Err(error);
            }
        };
        if let Err(error) = self.dup_mmap(mm) {
            self.exit_child(&Child { mm, task });
            return Err(error);
        }
        guard.end();
        Ok(Child { mm, task })
    }

    /// `dup_mmap`
    #[inline(never)]
    fn dup_mmap(&mut self, child: usize) -> Result<(), KernelError> {
        self.rwsem(1);
        let parent = self.machine.current;
        let mut done = Ok(());
        let mut index = 0;
        while let Some((start, area)) = self.machine.mm().areas.nth(index) {
            done = self.dup_area(parent, child, start, area);
            if done.is_err() {
                break;
            }
            index += 1;
        }
        // `arch_dup_mmap`
        let to = self.machine.mms[child].as_deref_mut().map_or(0, |mm| (&raw mut mm.hook) as u64);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.dup_mmap_hook(hook, to);
        // `flush_tlb_mm`: the parent's pages are read-only from here on.
        self.flush_tlb_range(0, u64::MAX);
        self.rwsem(-1);
        done
    }

    fn dup_area(&mut self, parent: usize, child: usize, start: u64, area: Area) -> Result<(), KernelError> {
        // `vm_area_dup`, `anon_vma_fork`
        let object = self.kmem_cache_alloc(Slab::VmArea, false)?;
        self.copy_object(area.object, object, 200);
        let anon_vma = if area.anon_vma == 0 { 0 } else { self.kmem_cache_alloc(Slab::AnonVma, true)? };
        if let Some(mm) = self.machine.mms[child].as_deref_mut() {
            mm.areas.insert(start, Area { object, anon_vma, ..area });
        }
        let mut at = start;
        while at < area.end {
            let next = ((at & !(PMD_SIZE - 1)) + PMD_SIZE).min(area.end);
            self.copy_table([parent, child], at, next)?;
            at = next;
        }
        Ok(())
    }

    /// `copy_pte_range`: makes the child's table and shares every page; writable pages become read-only.
    #[inline(never)]
    fn copy_table(&mut self, [parent, child]: [usize; 2], start: u64, end: u64) -> Result<(), KernelError> {
        let Some(source) = self.find_pmd(start).filter(|pmd| self.machine.memory.read(*pmd) != 0) else {
            return Ok(());
        };
        // Linux passes the root to the same functions; here they walk the root of the running process.
        self.machine.current = child;
        let target = self.pmd_alloc(start).and_then(|target| {
            if self.machine.memory.read(target) == 0 {
                self.new_pte(target)?;
            }
            Ok(target)
        });
        self.machine.current = parent;
        let target = target?;
        let (_, lock) = self.pte_offset_map_lock(target, start);
        let source_lock = self.pte_lockptr(source);
        self.spin_lock(source_lock);
        self.lazy_enter();
        let mut shared = 0;
        for address in (start..end).step_by(PAGE) {
            let from = self.table_entry(source, address);
            let mut pte = self.machine.memory.read(from);
            if pte & PRESENT == 0 {
                continue;
            }
            // `vm_normal_page`
            let frame = (self.pte_val(pte) & FRAME) >> 12;
            if frame != 0 {
                let page = self.machine.memory.page(frame);
                xadd::<C>(&mut page.count, 1);
                page.mapped += 1;
                shared += 1;
            }
            if pte & WRITE != 0 {
                write_protect::<C>(self.machine, from);
                pte &= !WRITE;
            }
            let to = self.table_entry(target, address);
            self.set_pte(to, pte & !DIRTY);
        }
        self.lazy_leave();
        self.spin_unlock(source_lock);
        self.pte_unmap_unlock(lock);
        if let Some(mm) = self.machine.mms[child].as_deref_mut() {
            mm.rss += shared;
        }
        Ok(())
    }

    /// Runs a child: it does `work` and exits. The parent waits for it (`wait4`) and continues.
    ///
    /// # Errors
    /// The error of `work`, returned after the child's memory is freed.
    pub fn run_child<T>(
        &mut self,
        child: Child,
        work: impl FnOnce(&mut Self) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        let parent = self.machine.current;
        self.switch_mm(child.mm);
        let done = work(self);
        // `execve` may have replaced the address space.
        let last = Child { mm: self.machine.current, task: child.task };
        self.enter(Call::Exit, [0; 4]);
        self.switch_mm(parent);
        self.exit_child(&last);
        self.leave(0);
        done
    }

    /// `exit_mm`, `release_task`
    fn exit_child(&mut self, child: &Child) {
        let parent = std::mem::replace(&mut self.machine.current, child.mm);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.exit_mmap(hook);
        self.unmap_all();
        self.machine.current = parent;
        self.mm_drop(child.mm);
        self.kmem_cache_free(Slab::Task, child.task);
    }

    /// `execve` of a program with `pages` of code and as many of data: a new address space with five segments and
    /// arguments on its stack. The old address space is freed.
    ///
    /// # Errors
    /// `-ENOMEM`. If it occurs before the switch, the old program is still there.
    #[inline(never)]
    pub fn execve(&mut self, pages: u64) -> Result<(), KernelError> {
        self.enter(Call::Execve, [pages, 0, 0, 0]);
        let done = self.begin_new_exec(pages);
        self.leave(0);
        done
    }

    /// `bprm_execve`
    #[inline(never)]
    fn begin_new_exec(&mut self, pages: u64) -> Result<(), KernelError> {
        let guard = guard::<C>();
        self.security(SecurityRequest::BprmCheck, pages)?;
        let file = self.kmem_cache_alloc(Slab::File, true)?;
        let new = self.mm_alloc();
        self.kmem_cache_free(Slab::File, file);
        let new = new?;
        // `exec_mmap`
        let old = self.machine.current;
        self.irq_disable();
        let to = self.machine.mms[new].as_deref_mut().map_or(0, |mm| (&raw mut mm.hook) as u64);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.activate_mm(hook, to);
        self.switch_mm(new);
        self.irq_enable();
        // `exit_mmap` of the old one.
        self.machine.current = old;
        let hook = &raw mut self.machine.mm_mut().hook;
        self.exit_mmap(hook);
        self.unmap_all();
        self.machine.current = new;
        self.mm_drop(old);
        let size = pages * PAGE as u64;
        // Stack, code, data, heap, program interpreter.
        for (prot, len) in [
            (Prot::Write, 32 * PAGE as u64),
            (Prot::Read, size),
            (Prot::Write, size),
            (Prot::Write, size),
            (Prot::Read, size),
        ] {
            let at = self.do_mmap(len, prot)?;
            if prot == Prot::Write {
                // `copy_strings`, `padzero`: the kernel writes to the first page itself.
                self.store(at, len)?;
            }
        }
        guard.end();
        Ok(())
    }
}
