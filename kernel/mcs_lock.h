/*
 * The MCS queue lock that guards the run queue: contract.
 *
 * Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
 * shared-memory multiprocessors", ACM TOCS 9(1), 1991. Harts are served in
 * the order in which they came, and each waits on a word of its own. A hart
 * has one node, in its hart page, which serves this lock alone.
 */
#pragma once
#include "hart.h"

/* Spins until the lock is this hart's. Acquire. The lock word is 0 while it is
 * free, else the `self` of the hart that came last. Notes LOCK_SCHEDULER
 * (lock.h, lock_rank_enter); the release takes that back. */
void mcs_lock_acquire(struct hart **lock);

/* Hands the lock to the next hart in line, if there is one. Release. */
void mcs_lock_release(struct hart **lock);
