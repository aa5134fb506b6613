//! `compare_tree_N`: the pointer is compared with N likely functions, and a match is called directly. Linux writes this
//! by hand (`INDIRECT_CALL_1` to `_4`, `include/linux/indirect_call_wrapper.h`, Linux 5.0). Compilers make it from a
//! profile (LLVM's indirect-call promotion, `IndirectCallPromotion.cpp`). It pays if an indirect call is expensive, as
//! with a retpoline, and the list is short.
//!
//! Machine code: `mov rax, [rip + table + 8*slot]`; for each known function `lea r11, [rip + known]`, `cmp rax, r11`,
//! `jne` to the next, `call rel32 known`, `jmp` to the end; without a match `call rax`. The native body is the last of
//! the N, so native takes all N comparisons. Xen takes all N and matches none.

use std::arch::{asm, naked_asm};

use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// The pointers that sites compare, one per op.
pub static COMPARED: Slots = Slots::new();

/// A known function that the pointer never holds. Each has different code, so that no linker folds two of them into
/// one.
#[unsafe(naked)]
unsafe extern "C" fn other<const N: usize>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!("mov eax, {number}", "ret", ".balign 16, 0xcc", number = const N)
}

/// Makes a type whose call compares the pointer with the functions in the list and then with the native body. It is a
/// macro, because a generic cannot repeat assembly:
///
/// ```text
/// compare_tree! { CompareTree4, "compare_tree_4", "four comparisons, ..", other_0 = 0, other_1 = 1, other_2 = 2 }
/// ```
macro_rules! compare_tree {
    ($(#[$doc:meta])* $tree:ident, $name:literal, $summary:literal $(, $other:ident = $number:literal)*) => {
        $(#[$doc])*
        pub struct $tree;

        impl Dispatch for $tree {
            const META: Mechanism = Mechanism {
                name: $name,
                way: CallSequence::CompareTree,
                switches: true,
                known_from: "Linux 5.0 (2019), INDIRECT_CALL_1",
                summary: $summary,
                ..Mechanism::BASE
            };
            const TABLE: Option<&'static Slots> = Some(&COMPARED);

            #[inline(always)]
            unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
                let [a, b, c, d] = args.into_regs();
                let result: Reg;
                // SAFETY: the word holds a body of `O`, which follows the C ABI, as the others do; its clobbers,
                // `r11` among them, are declared.
                unsafe {
                    asm!("mov rax, qword ptr [rip + {table} + {offset}]",
                        $(
                            concat!("lea r11, [rip + {", stringify!($other), "}]"), "cmp rax, r11", "jne 2f",
                            concat!("call {", stringify!($other), "}"), "jmp 3f", "2:",
                        )*
                        "lea r11, [rip + {native}]", "cmp rax, r11", "jne 2f", "call {native}", "jmp 3f",
                        "2:", "call rax", "3:",
                        $($other = sym other::<$number>,)*
                        table = sym COMPARED, offset = const O::SLOT * 8, native = sym O::native,
                        in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result,
                        clobber_abi("C"));
                    O::Ret::from_reg(result)
                }
            }
        }
    };
}

compare_tree! {
    /// A call after one comparison.
    CompareTree1, "compare_tree_1", "the pointer is compared with the native body, which is then called directly"
}

compare_tree! {
    /// A call after four comparisons.
    CompareTree4, "compare_tree_4", "the pointer is compared with four functions, the native body the last",
    other_0 = 0, other_1 = 1, other_2 = 2
}

compare_tree! {
    /// A call after sixteen comparisons.
    CompareTree16, "compare_tree_16", "the pointer is compared with sixteen functions, the native body the last",
    other_0 = 0, other_1 = 1, other_2 = 2, other_3 = 3, other_4 = 4, other_5 = 5, other_6 = 6, other_7 = 7,
    other_8 = 8, other_9 = 9, other_10 = 10, other_11 = 11, other_12 = 12, other_13 = 13, other_14 = 14
}
