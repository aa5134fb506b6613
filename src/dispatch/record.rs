//! The record of a patchable site in the section `pvsites` (see [`crate::patch::site`]).

/// Assembly for the record of the site between the labels 771 and 772. The block that uses it has the operands `op`
/// (the hash of the op's name), `slot` and `kind`. With an argument, the record's target is that label.
///
/// ```text
/// asm!("771: call qword ptr [rip + ..]", "772:", pvbench::record!(),
///     op = const O::META.hash(), slot = const O::SLOT, kind = const SiteKind::Pv as u8)
/// ```
#[macro_export]
macro_rules! record {
    () => {
        $crate::record!(@ "0")
    };
    ($target:literal) => {
        $crate::record!(@ $target, " - .")
    };
    (@ $($target:literal),*) => {
        concat!(
            ".pushsection pvsites, \"aR\", @progbits\n.long 771b - .\n.long ",
            $($target,)*
            "\n.long {op}\n.short {slot}\n.byte 772b - 771b\n.byte {kind}\n.popsection"
        )
    };
}

/// Assembly that pads a site to `length` bytes with NOPs after its first instruction of `used` bytes. Both are constant
/// operands of the block.
#[macro_export]
macro_rules! fill {
    () => {
        ".if {length} > {used}\n.nops {length} - {used}\n.endif"
    };
}

pub use {fill, record};
