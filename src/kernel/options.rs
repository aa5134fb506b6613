//! Kernel options: kernels that differ from the plain one in an option that does not concern pv_ops, for comparison.

use super::config::{BadPage, Config, Sanitize, Secrets};

/// The description of a kernel option.
#[derive(Clone, Copy, Debug)]
pub struct KernelOption {
    /// Its name in commands and reports.
    pub(crate) name: &'static str,
    /// The switch that turns it on in Linux.
    pub(crate) switch: &'static str,
    /// Its effect here, in one line.
    pub(crate) summary: &'static str,
}

/// A kernel with one option switched on.
pub trait Optional: Config {
    /// Name and description.
    const META: KernelOption;
}

/// A visitor of the kernel options, with each kernel as a type.
pub trait OptionVisitor {
    /// Visits one option; options come in the order of the tables.
    fn visit<C: Optional>(&mut self);
}

/// Declares a kernel for each option and [`for_each`] over them:
///
/// ```text
/// options! { Security "security" "CONFIG_SECURITY" "its effect" { const SECURITY: bool = true; } .. }
/// ```
macro_rules! options {
    ($($type:ident $name:literal $switch:literal $summary:literal { $($constant:tt)* })*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $summary, ".")]
            pub struct $type;
            impl Config for $type { $($constant)* }
            impl Optional for $type {
                const META: KernelOption = KernelOption { name: $name, switch: $switch, summary: $summary };
            }
        )*

        /// Visits every option in the order of the tables.
        pub(crate) fn for_each(visitor: &mut impl OptionVisitor) {
            $(visitor.visit::<$type>();)*
        }
    };
}

options! {
    Security "security" "CONFIG_SECURITY with two modules"
        "mmap, mprotect, fork and exec call two security modules indirectly; the second one looks up a policy"
        { const SECURITY: bool = true; }
    Audit "audit" "CONFIG_AUDITSYSCALL, audit=1"
        "every system call fills in a context, and checks rules when it ends"
        { const AUDIT: bool = true; }
    Uniprocessor "smp_n" "CONFIG_SMP=n"
        "no lock prefixes; a negative overhead is the cost of SMP"
        { const SMP: bool = false; }
    PreemptCount "preempt_count" "CONFIG_PREEMPT"
        "a per-CPU count around every spinlock, tested at its release"
        { const PREEMPT_COUNT: bool = true; }
    StackProtector "stack_protector" "CONFIG_STACKPROTECTOR_STRONG"
        "a canary in functions that have arrays or pass addresses of locals"
        { const STACK_PROTECTOR: bool = true; }
    HighPte "highpte" "CONFIG_HIGHPTE"
        "the last level of page tables is mapped for every access"
        { const HIGHPTE: bool = true; }
    InitOnAlloc "init_on_alloc" "init_on_alloc=1"
        "all pages and objects are zeroed when they are allocated"
        { const INIT_ON_ALLOC: bool = true; }
    InitOnFree "init_on_free" "init_on_free=1"
        "pages and objects are zeroed when they are freed, and again when an allocation asks for zeroes"
        { const INIT_ON_FREE: bool = true; }
    SanitizeOff "sanitize_mem_off" "the patch of 2009, built in, off"
        "every allocation and every free of a page tests a flag in memory"
        { const SANITIZE: Sanitize = Sanitize::Off; }
    SanitizeOn "sanitize_mem" "the patch of 2009, sanitize_mem=1"
        "pages are zeroed when they are freed, and not again when an allocation asks for zeroes"
        { const SANITIZE: Sanitize = Sanitize::On; }
    Poison "page_poison" "page_poison=1"
        "freed pages are filled with a pattern, which is checked when they are allocated"
        { const POISON: bool = true; }
    MemsetFree "memset_free" "memset before kfree"
        "the caller zeroes objects before it frees them"
        { const SECRETS: Secrets = Secrets::Memset; }
    KzFree "kzfree" "kfree_sensitive"
        "objects are zeroed before they are freed, by a function that looks up their size"
        { const SECRETS: Secrets = Secrets::Kzfree; }
    BadPageFlag "bad_page_flag" "CONFIG_MEMORY_FAILURE, PG_hwpoison"
        "a flag of its own marks a broken page; every allocation and free tests it"
        { const BAD_PAGE: BadPage = BadPage::OwnFlag; }
    BadPageTwo "bad_page_two_flags" "HWPOISON without a flag of its own (2009)"
        "two other flags, never set together on a good page, mark a broken page; every allocation and free tests them"
        { const BAD_PAGE: BadPage = BadPage::TwoFlags; }
    NodeTable "node_table" "NODE_NOT_IN_PAGE_FLAGS"
        "a page's node comes from a table of sections, by a call out of line"
        { const NODE_TABLE: bool = true; }
}
