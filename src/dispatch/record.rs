//! The record that a patchable site leaves in the section `pvsites` (see [`crate::patch::site`]).

/// Assembly for the record of the site between the labels 771 and 772. The block that uses it has the operands `slot`
/// and `kind`; with an argument, the record's target is that label.
///
/// ```text
/// asm!("771: call qword ptr [rip + ..]", "772:", record!(), slot = const .., kind = const Kind::Pv as u8)
/// ```
macro_rules! record {
    () => {
        record!(@ "0")
    };
    ($target:literal) => {
        record!(@ $target, " - .")
    };
    (@ $($target:literal),*) => {
        concat!(
            ".pushsection pvsites, \"aR\", @progbits\n.long 771b - .\n.long ",
            $($target,)*
            "\n.short {slot}\n.byte 772b - 771b\n.byte {kind}\n.popsection"
        )
    };
}

/// Assembly that fills a site of `length` bytes up with NOPs after its first instruction of `used` bytes; both are
/// constant operands of the block.
macro_rules! fill {
    () => {
        ".if {length} > {used}\n.nops {length} - {used}\n.endif"
    };
}

pub(super) use {fill, record};
