// Call sites that no compiler here writes.
.macro function name
.globl \name
.type \name, @function
\name:
.endm
.macro end name
.size \name, . - \name
.endm
.text
function a_direct__conditional_jump
    test %rdi, %rdi
    jne t_one
    ret
end a_direct__conditional_jump
function a_reg__pushed
    push %rbp
    push %rdi
    call t_void
    pop %rax
    pop %rbp
    call *%rax
    ret
end a_reg__pushed
function a_tab__exchanged
    mov 16(%rdi), %rax
    xchg %rax, %rcx
    call *%rcx
    ret
end a_tab__exchanged
function a_tab__segment
    call *%gs:32(%rdi)
    ret
end a_tab__segment
function a_none__system_call
    mov $39, %eax
    syscall
    ret
end a_none__system_call
// Data among the code: bytes of a call.
.globl constants
.type constants, @object
constants:
    .byte 0xe8, 1, 2, 3, 4, 0xff, 0xd0, 0xe8, 5, 6, 7, 8
.size constants, . - constants
function a_none__fast_stop
    rep ret
end a_none__fast_stop
.section .note.GNU-stack, "", @progbits
