//! The yardsticks: kernels that differ from the plain one in an option that has nothing to do with pv_ops.

use super::config::{BadPage, Config, Sanitize, Secrets};

/// What is said of an option.
#[derive(Clone, Copy, Debug)]
pub struct KernelOption {
    /// Its name in commands and reports.
    pub name: &'static str,
    /// What switches it on in Linux.
    pub switch: &'static str,
    /// What it does here, in a line.
    pub summary: &'static str,
}

/// A kernel with an option.
pub trait Optional: Config {
    /// Name and description.
    const META: KernelOption;
}

/// Something done once per option, with the kernel as a type.
pub trait OptionVisitor {
    /// Called for each option in the order of the tables.
    fn visit<C: Optional>(&mut self);
}

/// Declares a kernel for each option and [`for_each`] over them:
///
/// ```text
/// options! { Security "security" "CONFIG_SECURITY" "what it does" { const SECURITY: bool = true; } .. }
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
        pub fn for_each(visitor: &mut impl OptionVisitor) {
            $(visitor.visit::<$type>();)*
        }
    };
}

options! {
    Security "security" "CONFIG_SECURITY with two modules"
        "lists of indirect calls at mmap, mprotect, fork and exec, the second a look-up in a policy"
        { const SECURITY: bool = true; }
    Audit "audit" "CONFIG_AUDITSYSCALL, audit=1"
        "a context is filled in at every system call, and rules are gone through when it ends"
        { const AUDIT: bool = true; }
    Uniprocessor "smp_n" "CONFIG_SMP=n"
        "no lock prefixes: below zero is what SMP costs"
        { const SMP: bool = false; }
    PreemptCount "preempt_count" "CONFIG_PREEMPT"
        "a per-CPU count around every spinlock, looked at when it is released"
        { const PREEMPT_COUNT: bool = true; }
    StackProtector "stack_protector" "CONFIG_STACKPROTECTOR_STRONG"
        "a canary in functions that have arrays or pass addresses of locals"
        { const STACK_PROTECTOR: bool = true; }
    HighPte "highpte" "CONFIG_HIGHPTE"
        "the last level of page tables is mapped for every access"
        { const HIGHPTE: bool = true; }
    InitOnAlloc "init_on_alloc" "init_on_alloc=1"
        "pages and objects are zeroed when they are allocated, asked for or not"
        { const INIT_ON_ALLOC: bool = true; }
    InitOnFree "init_on_free" "init_on_free=1"
        "pages and objects are zeroed when they are freed, and again where zeroes are asked for"
        { const INIT_ON_FREE: bool = true; }
    SanitizeOff "sanitize_mem_off" "the patch of 2009, built in, off"
        "a flag in memory is tested at every allocation and every free of a page"
        { const SANITIZE: Sanitize = Sanitize::Off; }
    SanitizeOn "sanitize_mem" "the patch of 2009, sanitize_mem=1"
        "pages are zeroed when they are freed, and not again where zeroes are asked for"
        { const SANITIZE: Sanitize = Sanitize::On; }
    Poison "page_poison" "page_poison=1"
        "a pattern is written over freed pages, and checked when they are allocated"
        { const POISON: bool = true; }
    MemsetFree "memset_free" "memset before kfree"
        "objects are zeroed before they are freed, as a careful caller does it"
        { const SECRETS: Secrets = Secrets::Memset; }
    KzFree "kzfree" "kfree_sensitive"
        "the same by a function that looks up how large the object is"
        { const SECRETS: Secrets = Secrets::Kzfree; }
    BadPageFlag "bad_page_flag" "CONFIG_MEMORY_FAILURE, PG_hwpoison"
        "a flag of its own says that a page is broken: tested at every allocation and free"
        { const BAD_PAGE: BadPage = BadPage::OwnFlag; }
    BadPageTwo "bad_page_two_flags" "HWPOISON without a flag of its own (2009)"
        "two other flags that are never set together say so"
        { const BAD_PAGE: BadPage = BadPage::TwoFlags; }
    NodeTable "node_table" "NODE_NOT_IN_PAGE_FLAGS"
        "a page's node is looked up in a table of sections, out of line"
        { const NODE_TABLE: bool = true; }
}
