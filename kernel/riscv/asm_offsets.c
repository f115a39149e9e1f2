/*
 * What the assembler must know of C structures. Compiled to assembly only; the
 * lines marked with an arrow become build/kernel/asm_offsets.h.
 */
#include "executor.h"
#include "hart.h"
#include "riscv/csr.h"
#include "riscv/kernel_frame.h"

#define DEFINE(name, value) __asm__ volatile("\n.ascii \"->" #name " %0\"" ::"i"(value))

void asm_offsets(void) {
    DEFINE(EXECUTOR_PC, offsetof(struct executor, pc));
    DEFINE(EXECUTOR_X, offsetof(struct executor, x));
    DEFINE(EXECUTOR_SATP, offsetof(struct executor, satp));
    DEFINE(EXECUTOR_SPACE, offsetof(struct executor, space));
    DEFINE(HART_EXECUTOR, offsetof(struct hart, executor));
    DEFINE(HART_ID, offsetof(struct hart, id));
    DEFINE(HART_GP, offsetof(struct hart, gp));
    DEFINE(HART_SP, offsetof(struct hart, sp));
    DEFINE(HART_REAP_DUE, offsetof(struct hart, reap_due));
    DEFINE(HART_SWITCHED, offsetof(struct hart, switched));
    DEFINE(HART_PUBLISHED, offsetof(struct hart, published));
    DEFINE(HART_KERNEL_SATP, offsetof(struct hart, kernel_satp));
    DEFINE(TRAP_CAUSE_CALL, CAUSE_ECALL_USER);
    DEFINE(FRAME_PC, offsetof(struct kernel_frame, pc));
    DEFINE(FRAME_X, offsetof(struct kernel_frame, x));
    DEFINE(FRAME_CAUSE, offsetof(struct kernel_frame, cause));
    DEFINE(FRAME_ADDRESS, offsetof(struct kernel_frame, address));
    DEFINE(FRAME_SIZE, sizeof(struct kernel_frame));
}
