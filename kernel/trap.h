/*
 * Traps from user mode: contract. One kernel stack for each hart, none for an
 * executor: nothing lives on it from one trap to the next.
 */
#pragma once
#include "executor.h"

/*
 * Called by trap_entry with the registers of the trap saved in `self`. Returns
 * the executor to resume, made ready for trap_exit.
 */
struct executor *trap(struct executor *self, uint64_t cause);

/* What has to be done before `next` runs on this hart. Returns who really
 * does. Nothing may come between it and trap_exit. */
struct executor *trap_prepare(struct executor *next);

/* Assembly (riscv/trap_entry.S): into user mode. Two of each: the second is for
 * hardware without address space numbers. */
void trap_entry(void);
void trap_entry_flushing(void);
__attribute__((noreturn)) void trap_exit(struct executor *executor);
__attribute__((noreturn)) void trap_exit_flushing(struct executor *executor);
