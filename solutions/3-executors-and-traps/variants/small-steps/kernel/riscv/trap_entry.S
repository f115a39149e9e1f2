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

    .text

/* The page that registers are saved in and loaded from is in sp: the one that is
 * saved first and loaded last. */

/* stvec: a trap from user mode, registers all the executor's. One code for all
 * hardware: where there are address space numbers it flushes more than it need. */
FUNCTION(trap_entry)
FUNCTION(trap_entry_flushing)
    csrrw   t0, sscratch, t0            # t0 = kernel satp, sscratch = user's t0
    beqz    t0, trap_from_kernel
    csrw    satp, t0
    sfence.vma
    li      t0, HART_PAGE
    ld      t0, HART_EXECUTOR(t0)
    sd      sp, X(2)(t0)
    mv      sp, t0                      # the executor's page
    csrrw   t0, sscratch, zero          # the program's t0; a trap is a bug now
    .irp    n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
    sd      x\n, X(\n)(sp)
    .endr
    .irp    n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\n, X(\n)(sp)
    .endr
    mv      a0, sp
    li      tp, HART_PAGE
    ld      gp, HART_GP(tp)
    ld      sp, HART_SP(tp)
    csrr    a1, scause
    csrr    a2, sepc
    addi    a3, a1, -TRAP_CAUSE_CALL
    bnez    a3, 1f
    addi    a2, a2, 4
    sd      a2, EXECUTOR_PC(a0)
    call    call_dispatch
    j       2f
1:
    sd      a2, EXECUTOR_PC(a0)
    call    trap
2:
    ld      t0, HART_REAP_DUE(tp)
    beqz    t0, 3f
    call    trap_reap
3:
    call    shootdown_publish
    sd      zero, HART_SWITCHED(tp)     # all are loaded, switched or not
    sc.d    zero, zero, (tp)            # and no reservation is left
END(trap_entry)
END(trap_entry_flushing)
    /* falls through */

/* void trap_exit(struct executor *executor): resume it. */
FUNCTION(trap_exit)
FUNCTION(trap_exit_flushing)
    mv      sp, a0                      # no stack from here on
    ld      t0, EXECUTOR_PC(sp)
    csrw    sepc, t0
    .irp    n, 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
    ld      x\n, X(\n)(sp)
    .endr
    .irp    n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld      x\n, X(\n)(sp)
    .endr
    ld      t0, EXECUTOR_SATP(sp)
    csrw    sscratch, t0
    ld      t0, X(5)(sp)
    ld      sp, X(2)(sp)
    csrrw   t0, sscratch, t0            # t0 = user satp,   sscratch = user's t0
    csrrw   t0, satp, t0                # t0 = kernel satp, user table installed
    sfence.vma
    csrrw   t0, sscratch, t0            # t0 = user's t0,   sscratch = kernel satp
    sret
END(trap_exit)
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
