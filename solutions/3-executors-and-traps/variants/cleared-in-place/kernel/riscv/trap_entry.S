/*
 * In and out of user mode.
 *
 * In user mode the executor's registers are in the registers, and sscratch
 * holds this hart's kernel satp. In the kernel sscratch is 0, and a trap is a
 * bug.
 *
 * The user table maps the kernel image, so this code runs under either table;
 * hart page and executor page are mapped in the kernel's only.
 */
#include "asm_offsets.h"
#include "assembly.h"
#include "layout.h"

/* Offset of x\n in an executor page. */
#define X(n) (EXECUTOR_X + 8 * ((n) - 1))

/* The registers that C functions need not keep, and those that the kernel uses
 * for itself (sp, gp, tp): all but s0 … s11, but a0, the base, and t0. */
    .macro  load_caller_saved
    .irp    n, 1, 2, 3, 4, 6, 7, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    ld      x\n, X(\n)(a0)
    .endr
    .endm

/* s0 … s11. */
    .macro  load_callee_saved
    .irp    n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
    ld      x\n, X(\n)(a0)
    .endr
    .endm

/*
 * The end of the way out: what is not loaded yet is pc, t0, and a0, which holds
 * the executor. At the end the values go round by one:
 *
 *                                  t0            satp          sscratch
 *   before                         user's t0     kernel's      user's satp
 *   csrrw t0, sscratch, t0         user's satp   kernel's      user's t0
 *   csrrw t0, satp, t0             kernel's      user's satp   user's t0
 *   csrrw t0, sscratch, t0         user's t0     user's satp   kernel's
 *
 * From the second on there is no load and no store: neither the hart page nor
 * the executor's is mapped. sscratch is not 0 for two loads before; a fault in
 * them would not be seen as the kernel's, so they are as few as can be.
 */
    .macro  finish flushing
    ld      t0, EXECUTOR_PC(a0)
    csrw    sepc, t0
    ld      t0, EXECUTOR_SATP(a0)
    csrw    sscratch, t0
    ld      t0, X(5)(a0)
    ld      a0, X(10)(a0)
    csrrw   t0, sscratch, t0
    csrrw   t0, satp, t0
    .if     \flushing
    sfence.vma
    .endif
    csrrw   t0, sscratch, t0
    sret
    .endm

/* Into user mode, with all 31 registers of the executor in a0. */
    .macro  leave flushing
    load_callee_saved
    load_caller_saved
    finish  \flushing
    .endm

/*
 * The way in and out again. Until t0's own value is in the executor's page it is
 * in sscratch; the other registers are saved before they are used.
 *
 * C keeps s0 … s11, so if the same executor goes on and never let go of the
 * hart, they need not be loaded again: hart->switched tells.
 */
    .macro  enter flushing
    csrrw   t0, sscratch, t0            # t0 = kernel satp, sscratch = user's t0
    beqz    t0, trap_from_kernel
    csrw    satp, t0
    .if     \flushing
    sfence.vma
    .endif
    li      t0, HART_PAGE
    ld      t0, HART_EXECUTOR(t0)
    .irp    n, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
    sd      x\n, X(\n)(t0)
    .endr
    .irp    n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\n, X(\n)(t0)
    .endr
    csrr    t1, sscratch
    sd      t1, X(5)(t0)
    csrw    sscratch, zero              # from here on a trap is a bug
    mv      a0, t0

    li      tp, HART_PAGE
    ld      gp, HART_GP(tp)
    ld      sp, HART_SP(tp)

    /* scause is not kept in a register over the call: those that C keeps are
     * the program's (see above). It stays as it is. */
    csrr    t0, sepc
    csrr    t1, scause
    li      t2, TRAP_CAUSE_CALL
    bne     t1, t2, 1f
    addi    t0, t0, 4                   # the instruction behind the ecall
    sd      t0, EXECUTOR_PC(a0)
    call    call_dispatch
    j       2f
1:
    sd      t0, EXECUTOR_PC(a0)
    csrr    a1, scause
    call    trap
2:
    ld      t0, HART_REAP_DUE(tp)
    beqz    t0, 3f
    call    trap_reap
3:
    call    shootdown_publish
    ld      t0, HART_SWITCHED(tp)
    beqz    t0, 4f
    sd      zero, HART_SWITCHED(tp)
    sc.d    zero, zero, (tp)            # no reservation of the last one
    load_callee_saved
4:
    load_caller_saved
    finish  \flushing
    .endm

    .text

/* stvec: a trap from user mode, registers all the executor's. */
FUNCTION(trap_entry)
    enter   0
END(trap_entry)

/* void trap_exit(struct executor *executor): resume it. */
FUNCTION(trap_exit)
    leave   0
END(trap_exit)

/* The same two for hardware without address space numbers: whatever is written
 * to satp, all translations go. */
FUNCTION(trap_entry_flushing)
    enter   1
END(trap_entry_flushing)

FUNCTION(trap_exit_flushing)
    leave   1
END(trap_exit_flushing)

/* A trap in the kernel: registers to the emergency stack, as sp may be what is
 * wrong. t0 = 0, sscratch = the kernel's t0. */
PRIVATE_FUNCTION(trap_from_kernel)
    li      t0, EMERGENCY_STACK_TOP - FRAME_SIZE
    .irp    n, 1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd      x\n, (FRAME_X + 8 * (\n - 1))(t0)
    .endr
    csrr    t1, sscratch
    sd      t1, (FRAME_X + 8 * (5 - 1))(t0)
    csrw    sscratch, zero
    csrr    t1, sepc
    sd      t1, FRAME_PC(t0)
    csrr    t1, scause
    sd      t1, FRAME_CAUSE(t0)
    csrr    t1, stval
    sd      t1, FRAME_ADDRESS(t0)
    li      tp, HART_PAGE
    lla     gp, global_page
    mv      sp, t0
    mv      a0, t0
    j       panic_trap
END(trap_from_kernel)
