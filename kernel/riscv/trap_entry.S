/*
 * In and out of user mode.
 *
 * In user mode the executor's registers are in the registers, and sscratch
 * holds this hart's kernel satp. In the kernel sscratch is 0, but for the last
 * steps of the way out, which can't trap; and a trap is a bug.
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

/* A trap from user mode: the registers to the executor's page, through C, and
 * to the registers and the table of whoever runs then. `flush` is an instruction
 * to follow each write of satp, or nothing.
 * Neither a trap nor a store of this hart need end a reservation, which the last
 * one may have made by lr: an sc of the next could succeed on it. Any sc ends it
 * (unprivileged manual, Load-Reserved/Store-Conditional); this one may store its 0,
 * in mcs_lock_next, which is set anew before each use. */
    .macro  take_trap flush
    csrrw   t0, sscratch, t0            # t0 = kernel satp, sscratch = user's t0
    beqz    t0, trap_from_kernel
    csrw    satp, t0                    # the hart page appears
    \flush
    li      t0, HART_PAGE
    ld      t0, HART_EXECUTOR(t0)
    sd      t1, X(6)(t0)
    csrrw   t1, sscratch, zero          # t1 = user's t0; from here on a trap is a bug
    sd      t1, X(5)(t0)
    .irp    n, 1,2,3,4,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd      x\n, X(\n)(t0)
    .endr
    li      tp, HART_PAGE
    ld      gp, HART_GP(tp)             # one instruction less than the address
    ld      sp, HART_SP(tp)
    mv      a0, t0
    csrr    t0, sepc
    csrr    a1, scause
    li      t1, TRAP_CAUSE_CALL
    bne     a1, t1, 5f
    addi    t0, t0, 4                   # the call returns past its ecall
    sd      t0, EXECUTOR_PC(a0)
    call    call_dispatch               # executor -> executor to resume
1:
    ld      t0, HART_REAP_DUE(tp)
    bnez    t0, 6f                      # that comes first
2:
    ld      t0, HART_PUBLISHED(tp)
    ld      t1, EXECUTOR_SPACE(a0)
    beq     t0, t1, 3f                  # not withdrawn since it published here
    call    shootdown_publish           # executor -> executor
3:
    ld      t0, HART_SWITCHED(tp)
    beqz    t0, 4f                      # never let go: C has kept s0 … s11
    sd      zero, HART_SWITCHED(tp)
    sc.d    zero, zero, (tp)            # the last one's reservation ends
    restore_kept
4:
    enter_user \flush
5:                                      # behind the sret, out of the way
    sd      t0, EXECUTOR_PC(a0)
    call    trap                        # executor, cause -> executor to resume
    j       1b
6:
    call    trap_reap                   # executor -> executor to resume
    j       2b
    .endm

/* The registers that a C function keeps for its caller. */
    .macro  restore_kept
    .irp    n, 8,9,18,19,20,21,22,23,24,25,26,27
    ld      x\n, X(\n)(a0)
    .endr
    .endm

/* pc, and all other registers. From the exchange of satp on the executor's page
 * is not mapped: registers alone. */
    .macro  enter_user flush
    ld      t0, EXECUTOR_PC(a0)
    csrw    sepc, t0
    .irp    n, 1,2,3,4,6,7,11,12,13,14,15,16,17,28,29,30,31
    ld      x\n, X(\n)(a0)
    .endr
    ld      t0, X(5)(a0)
    csrw    sscratch, t0                # sscratch = user's t0
    ld      t0, EXECUTOR_SATP(a0)
    ld      a0, X(10)(a0)
    csrrw   t0, satp, t0                # t0 = kernel satp, user table installed
    csrrw   t0, sscratch, t0            # t0 = user's t0,   sscratch = kernel satp
    \flush
    sret
    .endm

/* stvec: a trap from user mode, registers all the executor's. */
FUNCTION(trap_entry)
    take_trap
END(trap_entry)

/* void trap_exit(struct executor *executor): resume it. */
FUNCTION(trap_exit)
    restore_kept
    enter_user
END(trap_exit)

/* The same two for hardware without address space numbers: whatever is written
 * to satp, all translations go. */
FUNCTION(trap_entry_flushing)
    take_trap sfence.vma
END(trap_entry_flushing)

FUNCTION(trap_exit_flushing)
    restore_kept
    enter_user sfence.vma
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
