//! The configuration of a model kernel: kernel options besides pv_ops. Each is a constant, so that an option that is
//! off leaves no instruction behind.

/// The choices that `CONFIG_..` and boot options make. The defaults are the kernel that pv_ops are measured on.
pub trait Config: 'static {
    /// Whether the kernel booted as a Xen PV guest, with hooks bound to their Xen bodies.
    const XEN: bool = false;
    /// `CONFIG_SMP`: atomic read-modify-writes carry the lock prefix.
    const SMP: bool = true;
    /// `CONFIG_SECURITY`: lists of indirect calls at mmap, mprotect, fork, exec, open and memory accounting.
    const SECURITY: bool = false;
    /// `CONFIG_AUDITSYSCALL`: a context is filled in at every entry and checked at the exit.
    const AUDIT: bool = false;
    /// `CONFIG_PREEMPT_COUNT`: a per-CPU count around every spinlock.
    const PREEMPT_COUNT: bool = false;
    /// `CONFIG_STACKPROTECTOR_STRONG`: a canary in functions with arrays or addresses of locals.
    const STACK_PROTECTOR: bool = false;
    /// `CONFIG_HIGHPTE`: the last level of page tables is mapped for each access (`kmap_atomic`).
    const HIGHPTE: bool = false;
    /// `init_on_alloc=1`: everything is zeroed when it is allocated.
    const INIT_ON_ALLOC: bool = false;
    /// `init_on_free=1`: everything is zeroed when it is freed.
    const INIT_ON_FREE: bool = false;
    /// `page_poison=1`: a pattern is written when a page is freed, and checked when it is allocated.
    const POISON: bool = false;
    /// The patch of 2009 that zeroes pages when they are freed.
    const SANITIZE: Sanitize = Sanitize::Absent;
    /// How the allocator recognises a page that must not be used again (HWPOISON).
    const BAD_PAGE: BadPage = BadPage::Unchecked;
    /// Whether a page's node comes from a table of sections, out of line, because page flags have no room for it.
    const NODE_TABLE: bool = false;
    /// How an object with secrets in it is freed.
    const SECRETS: Secrets = Secrets::Kept;
}

/// `sanitize_mem` of 2009 (LKML, "mm: sanitize freed memory"; after `PAX_MEMORY_SANITIZE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// Not built in.
    Absent,
    /// Built in and switched off: every free and every allocation tests a flag in memory.
    Off,
    /// On: freed pages are zeroed, so that allocations that ask for zeroes (`__GFP_ZERO`) skip it.
    On,
}

/// How allocation and free check a page for a memory fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPage {
    /// No check.
    Unchecked,
    /// A flag of its own marks the page.
    OwnFlag,
    /// Two other flags, which are never set together on a good page, mark it.
    TwoFlags,
}

/// How an object's bytes are cleared before it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// The bytes stay.
    Kept,
    /// `memset` of as many bytes as the caller used.
    Memset,
    /// `kzfree` (`kfree_sensitive`): finds the size of the object and zeroes all of it.
    Kzfree,
}

/// The kernel that pv_ops are measured on: Linux 6.1 with SMP and without kernel options.
pub struct Plain;
impl Config for Plain {}

/// The plain kernel as a Xen PV guest.
pub struct Xen;
impl Config for Xen {
    const XEN: bool = true;
}
