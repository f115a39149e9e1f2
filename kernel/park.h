/*
 * Park and unpark: contract.
 *
 * Events that were sent and not yet taken are pending, in the state word. A
 * park ends by an event of its mask, by its deadline, or, for park_if, at once
 * when the value differs; never by two of them.
 */
#pragma once
#include "executor.h"

/* Make `events` pending for an executor, and end its park if one of them is in
 * its mask. Takes no lock but the scheduler's. */
void executor_unpark(struct executor *executor, uint32_t events);

/* End the park with this sequence number on account of its deadline, if it
 * lasts yet. Returns true if the caller must now queue the executor (state.h,
 * rule 2), and hand over a reference that it has. */
bool park_timeout(struct executor *executor, uint64_t sequence);

/* The park of `executor`, which this hart runs, has ended: leave the deadline
 * heap and make the reason the call's result: after an event all events of the
 * mask that are pending by now, which are taken, else -ETIMEDOUT. The reason is
 * cleared. */
void park_finish(struct executor *executor);

/* Make `executor` stopped; it comes to rest soon after, if it runs elsewhere.
 * Returns 0, or -ESRCH if it has ended. */
__attribute__((warn_unused_result)) int executor_stop(struct executor *executor);

/* Let a stopped executor go on where it was. The cause of its last fault is
 * forgotten, under its lock, but not that of one that strikes at once. Returns
 * 0, -EINVAL if it was never started, -EBUSY if it is not stopped, or -ESRCH if
 * it has ended. */
__attribute__((warn_unused_result)) int executor_resume(struct executor *executor);
