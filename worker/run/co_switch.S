/*
 * void co_switch(void **save, void *load)
 *
 * Pushes what a function must keep for its caller, stores the stack pointer in *save, takes the
 * stack `load`, pops the same from there and returns on it. The picture on a new stack is made by
 * ctx_make() in co_stack.c: the two must agree.
 */
#ifndef SI_CO_UCONTEXT

    .text
    .p2align 4
    .globl  co_switch
    .hidden co_switch
    .type   co_switch, %function

#if defined(__x86_64__)

/* 0: MXCSR, x87 control word; 8: r15 r14 r13 r12 rbx rbp; 56: return address (System V ABI, 3.2.1) */
co_switch:
    .cfi_startproc
#ifdef __CET__
    endbr64
#endif
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw  4(%rsp)

    movq    %rsp, (%rdi)
    movq    %rsi, %rsp

    ldmxcsr (%rsp)
    fldcw   4(%rsp)
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc

#elif defined(__aarch64__)

/*
 * 0: x19..x28, x29, x30 (the return address); 96: d8..d15 (AAPCS64, 6.1.2: their lower halves are kept).
 * A new context starts at its entry with x30 = entry: it never returns, and x29 = 0 ends back traces.
 */
co_switch:
    .cfi_startproc
    hint    #34                     /* bti c: a landing pad for indirect calls, a no-op elsewhere */
    sub     sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp     d8,  d9,  [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]

    mov     x9, sp
    str     x9, [x0]
    mov     sp, x1

    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     d8,  d9,  [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #160
    .cfi_adjust_cfa_offset -160
    .cfi_restore x29
    .cfi_restore x30
    ret                             /* not checked by BTI: the entry of a coroutine needs no pad of its own */
    .cfi_endproc

#endif

    .size   co_switch, . - co_switch

#if defined(__aarch64__) && defined(__ARM_FEATURE_BTI_DEFAULT)
/* Without this note the linker would take BTI off the whole program. */
    .section .note.gnu.property, "a"
    .p2align 3
    .word   4, 16, 5
    .asciz  "GNU"
    .word   0xc0000000, 4, 1, 0
#endif

#endif

    .section .note.GNU-stack, "", %progbits
