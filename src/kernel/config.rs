//! How a model kernel is configured: what else than pv_ops a kernel can be built with, each a constant, so that what is
//! off leaves no instruction behind.

/// What `CONFIG_..` and boot options decide. The defaults are the kernel that pv_ops are measured on.
pub trait Config: 'static {
    /// Whether the kernel has booted as a Xen PV guest: hooks are bound to their Xen bodies.
    const XEN: bool = false;
    /// `CONFIG_SMP`: locked read-modify-writes carry their prefix.
    const SMP: bool = true;
    /// `CONFIG_SECURITY`: lists of indirect calls at mmap, mprotect, fork, exec, open and memory accounting.
    const SECURITY: bool = false;
    /// `CONFIG_AUDITSYSCALL`: a context is filled in at every entry and looked at when it is left.
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
    /// How a page of the allocator is told that must not be used again (HWPOISON).
    const BAD_PAGE: BadPage = BadPage::Unchecked;
    /// Whether a page's node is looked up in a table of sections, out of line, as it is where page flags have no room.
    const NODE_TABLE: bool = false;
    /// How an object with secrets in it is freed.
    const SECRETS: Secrets = Secrets::Kept;
}

/// `sanitize_mem` of 2009 (LKML, "mm: sanitize freed memory"; after `PAX_MEMORY_SANITIZE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// Not built in.
    Absent,
    /// Built in and switched off: a test of a flag in memory at every free and every allocation.
    Off,
    /// On: freed pages are zeroed, and allocations that ask for zeroes (`__GFP_ZERO`) need not be.
    On,
}

/// How pages are checked for a fault of the memory, when they are allocated and freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPage {
    /// Not at all.
    Unchecked,
    /// One flag of their own.
    OwnFlag,
    /// Two other flags that are never set together.
    TwoFlags,
}

/// What becomes of an object's bytes before it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They stay.
    Kept,
    /// `memset` of as many bytes as the caller used.
    Memset,
    /// `kzfree` (`kfree_sensitive`): looks up the size of the object and zeroes all of it.
    Kzfree,
}

/// The kernel that pv_ops are measured on: Linux 6.1 with SMP, and none of the yardsticks.
pub struct Plain;
impl Config for Plain {}

/// The same as a guest of Xen.
pub struct Xen;
impl Config for Xen {
    const XEN: bool = true;
}
