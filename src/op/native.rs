//! The macro that writes native bodies. It is a macro because assembly cannot be a generic parameter.

/// Writes all forms of a native body of an [`Op`](crate::op::Op) from one piece of assembly: `inline`,
/// `inline_clobber`, the callee `native`, and that callee behind each preamble of control-flow integrity.
///
/// ```text
/// native! { (ptr: "rdi", val: "rsi"); "mov [rdi], rsi" }              two arguments, no result
/// native! { () -> "rax"; "pushfq", "pop rax" }                        a result
/// native! { (msr: "rdi") -> "rax"; scratch("rcx"); "mov ecx, edi", .. }   registers the body spoils
/// native! { (); "mov byte ptr gs:[{flag}], 0"; flag = const IF_OFFSET }   operands of the template
/// native! { (mm: "rdi"); }                                            no instruction: a nop hook
/// ```
///
/// The assembly is in Intel syntax, takes its arguments in the registers of the psABI, and leaves the result in `rax`.
/// It spoils only the flags and the registers that `scratch` names (caller-saved ones). It is position-independent,
/// because it is also copied.
#[macro_export]
macro_rules! native {
    (
        ($($arg:ident : $reg:tt),*) $(-> $ret:tt)? ;
        $(scratch($($scratch:tt),+);)?
        $($line:literal),* $(; $($operand:tt)*)?
    ) => {
        #[inline(always)]
        unsafe fn inline(args: Self::Args) -> Self::Ret {
            $crate::native!(@asm args, ($($arg: $reg),*), ($($ret)?), ($($($scratch),+)?), ($($line),*),
                ($($($operand)*)?), ())
        }
        #[inline(always)]
        unsafe fn inline_clobber(args: Self::Args) -> Self::Ret {
            $crate::native!(@asm args, ($($arg: $reg),*), ($($ret)?), ($($($scratch),+)?), ($($line),*),
                ($($($operand)*)?), (clobber_abi("C"),))
        }
        const ASSEMBLY: bool = true;
        const SCRATCH: &'static [&'static str] = &[$($($scratch),+)?];
        $crate::native!(@callee native, ($($line),*), ($($($operand)*)?), (), ());
        $crate::native!(@callee native_kcfi, ($($line),*), ($($($operand)*)?),
            // As clang emits it: `movl $hash, %eax` in front of the entry, padded to 16 bytes.
            (".nops 11", "mov eax, {cfi_hash}"), (cfi_hash = const $crate::op::cfi_hash::<Self>(),));
        $crate::native!(@callee native_fineibt, ($($line),*), ($($($operand)*)?),
            // `fineibt_preamble_start`, `arch/x86/kernel/alternative.c`: endbr64; sub r10d, hash; je .+4; ud2; nop.
            ("endbr64", "sub r10d, {cfi_hash}", "je 2f", "ud2", "2: nop"),
            (cfi_hash = const $crate::op::cfi_hash::<Self>(),));
        $crate::native!(@callee native_endbr, ($($line),*), ($($($operand)*)?), ("endbr64"), ());
    };
    (@callee $name:ident, ($($line:literal),*), ($($operand:tt)*), ($($before:literal),*), ($($more:tt)*)) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            _: $crate::op::Reg,
            _: $crate::op::Reg,
            _: $crate::op::Reg,
            _: $crate::op::Reg,
        ) -> $crate::op::Reg {
            // Aligning the end aligns the section, and with it the start, to 16 bytes, as Linux aligns its functions
            // (`__ALIGN`, `include/linux/linkage.h`). Without it, a naked function starts at any multiple of 4.
            ::core::arch::naked_asm!($($before,)* $($line,)* "ret", ".balign 16, 0xcc", $($more)* $($operand)*)
        }
    };
    (@asm $args:ident, ($($arg:ident : $reg:tt),*), ($ret:tt), ($($scratch:tt),*), ($($line:literal),*),
        ($($operand:tt)*), ($($clobber:tt)*)) => {{
        let ($($arg,)*) = $args;
        let result: u64;
        // SAFETY: the caller gives valid arguments and an installed CPU model; every register the template writes is
        // declared, and it neither jumps out nor leaves the stack pointer changed.
        unsafe {
            ::core::arch::asm!($($line,)* $(in($reg) $arg,)* lateout($ret) result, $(out($scratch) _,)*
                $($clobber)* $($operand)*);
        }
        result
    }};
    (@asm $args:ident, ($($arg:ident : $reg:tt),*), (), ($($scratch:tt),*), ($($line:literal),*),
        ($($operand:tt)*), ($($clobber:tt)*)) => {{
        let ($($arg,)*) = $args;
        // SAFETY: the block must declare what it changes: the lines of `native!` keep their convention, as the `unsafe
        // impl Op` vouches for.
        unsafe {
            ::core::arch::asm!($($line,)* "", $(in($reg) $arg,)* $(out($scratch) _,)* $($clobber)* $($operand)*);
        }
    }};
}
