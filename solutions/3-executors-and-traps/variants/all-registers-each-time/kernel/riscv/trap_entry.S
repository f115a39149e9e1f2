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

/* The kernel's table is in, t0 is free, sscratch has the program's t0: all to
 * the executor's page, and through C. In a0 then who runs now. Since all
 * registers are loaded on the way out, s0 and s1 are ours, and C keeps them. */
    .macro  save_and_call
    li      t0, HART_PAGE
    ld      t0, HART_EXECUTOR(t0)
    sd      t1, X(6)(t0)
    csrrw   t1, sscratch, zero          # from here on a trap is a bug
    sd      t1, X(5)(t0)
    .irp    n, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
    sd      x\n, X(\n)(t0)
    .endr
    .irp    n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\n, X(\n)(t0)
    .endr
    mv      a0, t0
    li      tp, HART_PAGE
    ld      sp, HART_SP(tp)
    ld      gp, HART_GP(tp)
    csrr    s0, scause
    csrr    s1, sepc
    li      t0, TRAP_CAUSE_CALL
    beq     s0, t0, 1f
    sd      s1, EXECUTOR_PC(a0)
    mv      a1, s0
    call    trap
    j       2f
1:
    addi    s1, s1, 4                   # past the ecall
    sd      s1, EXECUTOR_PC(a0)
    call    call_dispatch
2:
    ld      t0, HART_REAP_DUE(tp)
    beqz    t0, 3f
    call    trap_reap
3:
    call    shootdown_publish
    sc.d    zero, zero, (tp)            # whoever is next, no reservation is left
    .endm

/* All registers of the executor in a0, and its table. The user's t0 waits in
 * sscratch: two exchanges put the three values where they belong. */
    .macro  load_all
    ld      t0, EXECUTOR_PC(a0)
    csrw    sepc, t0
    .irp    n, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18
    ld      x\n, X(\n)(a0)
    .endr
    .irp    n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld      x\n, X(\n)(a0)
    .endr
    ld      t0, X(5)(a0)
    csrw    sscratch, t0
    ld      t0, EXECUTOR_SATP(a0)
    ld      a0, X(10)(a0)
    csrrw   t0, satp, t0                # t0 = kernel satp, user table installed
    csrrw   t0, sscratch, t0            # t0 = user's t0,   sscratch = kernel satp
    .endm

/* stvec: a trap from user mode, registers all the executor's. */
FUNCTION(trap_entry)
    csrrw   t0, sscratch, t0            # t0 = kernel satp, sscratch = user's t0
    beqz    t0, trap_from_kernel
    csrw    satp, t0
    save_and_call
    j       trap_exit
END(trap_entry)

/* void trap_exit(struct executor *executor): resume it. */
FUNCTION(trap_exit)
    load_all
    sret
END(trap_exit)

/* The same two for hardware without address space numbers: whatever is written
 * to satp, all translations go. */
FUNCTION(trap_entry_flushing)
    csrrw   t0, sscratch, t0
    beqz    t0, trap_from_kernel
    csrw    satp, t0
    sfence.vma
    save_and_call
    j       trap_exit_flushing
END(trap_entry_flushing)

FUNCTION(trap_exit_flushing)
    load_all
    sfence.vma
    sret
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
