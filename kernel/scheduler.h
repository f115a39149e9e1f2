/*
 * The scheduler: contract. One FIFO of runnable executors for all harts,
 * under the MCS lock; round robin with a quantum; idle harts sleep in wfi.
 *
 * The kernel is a function from a trap to the executor to resume: what gives
 * up the hart returns the executor that runs next.
 */
#pragma once
#include "executor.h"

/* Put an executor at the tail of the run queue and wake an idle hart: at most
 * one interrupt for each executor that is queued. The caller has set QUEUED
 * (state.h, rule 2) and hands over its reference. */
void scheduler_enqueue(struct executor *executor);

/*
 * The executor at the head of the queue, now EXECUTING on this hart; sleeps as
 * long as there is none. No lock held; this hart runs no executor.
 *
 * With a dispatch: executor->hart is written before EXECUTING can be seen,
 * hart->executor and hart->switched are set, and one that comes back from a park
 * (a STATE_REASON is set) gets its result by park_finish. Before a hart sleeps
 * it withdraws (shootdown.h) and works off what there is (reap_all,
 * info_count_pages); when it has slept, or reaped, it needs ticks again
 * (timer_need_tick).
 * If reap_due is set it needs one before reap_all, which ends by it; and as long as
 * reap_due is set after that the hart does not sleep, but looks at the queue, and
 * begins anew.
 *
 * A hart that may sleep has its bit of global()->idle_harts set. It sets it
 * itself; who clears it, atomically, is the hart that will interrupt it, or
 * the hart itself: as soon as it has woken, before it serves interrupts or reaps,
 * or when it goes to work without having slept.
 */
struct executor *scheduler_next(void);

/* `self`, which runs here, goes behind all others that wait. Returns who runs
 * now: itself if nobody waits. */
struct executor *scheduler_yield(struct executor *self);

/*
 * `self`, which runs here, was parked, stopped or terminated: let go of it.
 * Returns false if it has become runnable again meanwhile, and runs on (after
 * park_finish, if its park has ended).
 * If true, this hart runs no executor: call scheduler_next.
 */
bool scheduler_release(struct executor *self);

/* scheduler_release, then who runs now. (call_park, if it has no deadline, lets go
 * of `self` itself, in the step that parks it, and then calls scheduler_next.) */
struct executor *scheduler_leave(struct executor *self);
