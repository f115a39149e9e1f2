/*
 * The deadlines of parked executors, nearest first: contract. Insertion and
 * removal take O(log n) steps.
 *
 * An executor in the heap is held by a reference. It leaves the heap when its
 * deadline passes, when its park has ended otherwise and it runs again
 * (park_finish), when it is started anew, or when it ends: so an executor that
 * parks is never still in the heap for an earlier park.
 */
#pragma once
#include "executor.h"

/* `executor`, which this hart runs and has just parked (this is the park's
 * sequence number), is to be woken at `deadline`, which is not DEADLINE_NONE:
 * of one in the heap executor->deadline never is. */
void deadline_insert(struct executor *executor, uint64_t deadline, uint64_t sequence);

/* Take an executor out, if it is in. From then on it has no deadline. */
void deadline_take_out(struct executor *executor);

/* The same, without the lock for one that has no deadline. The caller holds
 * EXECUTING, or ends it: nobody writes `deadline` meanwhile. */
static inline void deadline_remove(struct executor *executor) {
    if (executor->deadline != DEADLINE_NONE) deadline_take_out(executor);
}

/* End the parks whose deadline is not after `now`: a number of them, then
 * deadline_nearest says that there are more. */
void deadline_expire(uint64_t now);

/* The nearest deadline, DEADLINE_NONE if there is none. */
uint64_t deadline_nearest(void);
