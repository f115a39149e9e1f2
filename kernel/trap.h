/*
 * Traps from user mode: contract. One kernel stack for each hart, none for an
 * executor: nothing lives on it from one trap to the next.
 */
#pragma once
#include "executor.h"

/*
 * What trap_entry does with an executor, once its registers are saved: after a
 * system call, with pc past the ecall,
 *
 *     call_dispatch, [trap_reap,] [shootdown_publish]
 *
 * and after anything else the same with `trap`, which takes the cause (scause)
 * and returns who runs now. Each is given the executor that the one before has
 * returned. trap_reap is called if hart->reap_due is set, shootdown_publish
 * unless hart->published is the space of who runs now: then it would do nothing,
 * and may be called all the same. C runs with tp and gp set, sscratch 0, and the
 * hart's stack from hart->sp down. In user mode sscratch holds the hart's
 * kernel_satp.
 *
 * hart->switched: an executor was dispatched, so C has not kept its s0 … s11 in
 * registers; whoever leaves for user mode restores them then, and clears it. Who
 * always restores all may ignore it: then freeing takes nobody's turn away.
 */
struct executor *trap(struct executor *self, uint64_t cause);

/* Free what has lost its last reference, before `next` runs on this hart, for a
 * quantum at most: what is left keeps reap_due set, and waits for the next trap. It
 * serves interrupts meanwhile, one of which may have been meant to stop or end
 * `next`, or to end its turn: returns who really runs. If `next` was dispatched in
 * this trap (hart->switched) its turn begins after that. */
struct executor *trap_reap(struct executor *next);

/* Assembly (riscv/trap_entry.S): into user mode. Two of each: the second is for
 * hardware without address space numbers. */
void trap_entry(void);
void trap_entry_flushing(void);
__attribute__((noreturn)) void trap_exit(struct executor *executor);
__attribute__((noreturn)) void trap_exit_flushing(struct executor *executor);
