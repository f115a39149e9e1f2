/*
 * The executor: a thread of execution, one page. Its handle, a kernel-only
 * mapping of this page in some user table, is the right to control it.
 *
 * Who may write what:
 *   registers, pc          whoever holds EXECUTING in the state word
 *   hart                   the hart that takes it off the run queue
 *   state                  anyone, by one atomic step (state.h)
 *   wait_mask              whoever holds EXECUTING, atomically: wakers read it
 *   next                   the queue or list that the executor is in; it is
 *                          in one at most
 *   references             anyone, atomically
 *   supervisor, fault      under `lock`
 *   status                 whoever holds EXECUTING, atomically
 *   space_next, space_previous  under the space's lock
 *   heap links             under the deadlines lock
 *   deadline               whoever holds EXECUTING, or ends it, under that lock
 *
 * References: one for each handle, for its place in the run queue or its
 * execution (one between them: QUEUED and EXECUTING hand it over), its place
 * in the deadline heap, each executor it supervises, and the console if it
 * waits there. Without references it can never run again: it ends.
 */
#pragma once
#include "address.h"
#include "lock.h"
#include "reference.h"

struct executor {
    /* Known to the assembler (riscv/trap_entry.S). */
    uint64_t pc;
    uint64_t x[31]; /* x1 … x31 */

    struct executor *next; /* in the run queue, or a private list */
    uint64_t line_100;
    uint64_t satp;       /* its space's; known to the assembler */
    struct space *space; /* valid until it has ended */
    struct hart *hart;   /* where it runs, or ran last */
    uint64_t started;    /* it counts in space->live; holder of EXECUTING */
    uint8_t line_130[0x200 - 0x130];

    uint64_t state;     /* STATE_… of abi.h */
    uint64_t wait_mask; /* events that end the park; written before PARKED */
    /* In the deadline heap (deadline.h). */
    uint64_t deadline, deadline_sequence;
    struct executor *heap_left, *heap_right, *heap_parent;
    uint64_t heap_rank; /* 0: not in the heap */
    uint8_t lab_private[6][64];
    uint8_t line_3c0[0x400 - 0x3c0];

    uint64_t references;
    uint8_t line_400[0x800 - 0x408];

    struct lock lock;
    uint32_t line_804;
    struct executor *supervisor; /* told of faults and the end, 0: none */
    uint64_t fault_cause;        /* scause of the fault that stopped it, or FAULT_NONE */
    uint64_t fault_address;      /* stval */
    uint64_t status;             /* given to terminate */
    struct executor *space_next, *space_previous; /* all executors of the space */
};

_Static_assert(offsetof(struct executor, pc) == 0x000, "executor page");
_Static_assert(offsetof(struct executor, x) == 0x008, "executor page");
_Static_assert(offsetof(struct executor, next) == 0x100, "executor page");
_Static_assert(offsetof(struct executor, satp) == 0x110, "executor page");
_Static_assert(offsetof(struct executor, space) == 0x118, "executor page");
_Static_assert(offsetof(struct executor, hart) == 0x120, "executor page");
_Static_assert(offsetof(struct executor, state) == 0x200, "executor page");
_Static_assert(offsetof(struct executor, references) == 0x400, "executor page");
_Static_assert(offsetof(struct executor, lock) == 0x800, "executor page");

/* Names of the registers that the kernel speaks of. */
enum {
    REG_SP = 1,
    REG_FP = 7,
    REG_A0 = 9,
    REG_A1 = 10,
    REG_A2 = 11,
    REG_A3 = 12,
    REG_A4 = 13,
    REG_A5 = 14,
    REG_A7 = 16,
};

/*
 * Make an executor in `space`: stopped, its registers zero, one reference,
 * the caller's.
 * Returns 0, -ENOMEM, or -ESRCH if the space has ended. Takes the space's lock.
 */
__attribute__((warn_unused_result)) int executor_create(struct space *space,
                                                        struct executor **result);

/* One reference more. The caller knows that one exists. */
static inline void executor_get(struct executor *executor) {
    reference_get(&executor->references);
}

/* One reference more, unless the last is gone. */
static inline bool executor_get_unless_zero(struct executor *executor) {
    return reference_get_unless_zero(&executor->references);
}

/* Give a reference back; the last one puts the executor on this hart's reap
 * list (reap.h). Any lock may be held. */
void executor_put(struct executor *executor);

/* A picture of the executor. Registers of one that runs, or is queued, are left
 * 0. No lock held. */
void executor_inspect(struct executor *executor, struct executor_info *info);

/*
 * The executor has TERMINATED set and neither EXECUTING nor QUEUED; the caller
 * is the one whose change of the state word made it so, and holds a reference,
 * or has taken it off its reap list, without references.
 * Leaves the deadline heap and the space, ends the process if it was the last
 * that runs, tells the supervisor. No lock held.
 */
void executor_end(struct executor *executor);

/* Interrupt the hart that runs the executor, if it is another one. To be called
 * after a change of the state word that found EXECUTING set. */
void executor_interrupt(struct executor *executor);

/*
 * Ask `executor` to end: sets TERMINATED and, if it runs on another hart,
 * interrupts that. Returns true if the caller must call executor_end
 * (state.h, rule 5). Any lock may be held.
 */
__attribute__((warn_unused_result)) bool executor_terminate(struct executor *executor);

/*
 * Set pc, sp and a0 and make it runnable. It must be stopped.
 * Returns 0, -EBUSY if it is not stopped (or is queued yet), -ESRCH if it has
 * ended; -EAGAIN if it is stopped but on its way to rest, or just being
 * inspected or started: soon that is over.
 */
__attribute__((warn_unused_result)) int executor_start(struct executor *executor, user_t pc,
                                                       user_t sp, uint64_t argument);
