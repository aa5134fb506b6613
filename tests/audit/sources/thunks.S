// The thunks that `-mindirect-branch=thunk-extern` and `-mfunction-return=thunk-extern` leave to the program, as Linux
// has them (arch/x86/lib/retpoline.S).
.macro thunk register
.globl __x86_indirect_thunk_\register
.type __x86_indirect_thunk_\register, @function
__x86_indirect_thunk_\register:
    call 1f
2:  pause
    lfence
    jmp 2b
1:  mov %\register, (%rsp)
    ret
.size __x86_indirect_thunk_\register, . - __x86_indirect_thunk_\register
.endm
.text
.irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
thunk \register
.endr
.globl __x86_indirect_thunk
.type __x86_indirect_thunk, @function
__x86_indirect_thunk:
    call 1f
2:  pause
    lfence
    jmp 2b
1:  lea 8(%rsp), %rsp
    ret
.size __x86_indirect_thunk, . - __x86_indirect_thunk
.globl __x86_return_thunk
.type __x86_return_thunk, @function
__x86_return_thunk:
    ret
    int3
.size __x86_return_thunk, . - __x86_return_thunk
.section .note.GNU-stack, "", @progbits
