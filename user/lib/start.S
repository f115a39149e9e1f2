/*
 * The first instructions of a program, and the last of a thread.
 *
 * A program starts with sp set and in a0 the address of its arguments, which
 * spawn() left on the stack, or 0 for none (the first program):
 *
 *      a0 -> argc | argv[0] | … | argv[argc - 1] | 0
 *
 * gp has no meaning for us; tp points to the control block of the thread.
 */
#include "stag/abi.h"

    .section .text.start, "ax"
    .globl _start
_start:
    la      tp, thread_main
    li      fp, 0                   /* a backtrace ends here */
    bnez    a0, 1f
    la      a0, no_arguments
1:  addi    a1, a0, 8               /* argv */
    ld      a0, 0(a0)               /* argc */
    call    main
    call    thread_exit             /* with main's result in a0 */

/*
 * void thread_leave(uint32_t *ended, int64_t result), see thread.c.
 *
 * From the moment that `ended` is swapped our stack may go away, and so may
 * the word itself. All that is needed later is in registers by then.
 */
    .text
    .globl thread_leave
thread_leave:
    mv      s0, a1
    li      t0, -1                  /* THREAD_ENDED */
    /* Release: the result was stored before. */
    amoswap.w.aqrl t1, t0, (a0)
    beqz    t1, 1f                  /* nobody waits */
    addi    t1, t1, -1              /* the number of the thread that joins */
    slli    t1, t1, PAGE_SHIFT
    li      a0, HANDLE_SELF
    add     a0, a0, t1
    li      a1, 1                   /* EVENT_WAKE, which only C can read */
    li      a7, CALL_UNPARK
    ecall
1:  mv      a0, s0
    li      a7, CALL_TERMINATE
    ecall

    .section .rodata
    .balign 8
no_arguments:
    .dword  0, 0
