/*
 * Plain spin locks, and the one order in which locks are taken.
 *
 * A hart notes the ranks it holds in its hart page: taking a lock of a rank
 * not above all that it holds is a bug that could end in deadlock, so it
 * panics at once, on every run, not only when the deadlock strikes.
 *
 * The kernel runs with interrupts off and is never preempted, so a holder is
 * always running and a lock is held for a short time, bounded but in space_exit,
 * which goes through all executors of the space (and, with no lock any more, ends
 * those at rest; the queued ones are let go by whoever takes them off the queue,
 * one after the other). No lock is held while waiting for another hart, but for a
 * space's during its own shootdown (shootdown.h), and in share the other space's
 * with it.
 */
#pragma once
#include "hart.h"
#include "machine.h"
#include "panic.h"
#include "shootdown.h"
#include <stdint.h>

/* In the order in which they are taken. Two spaces: by address, lower first. */
enum lock_rank {
    LOCK_SPACE,
    LOCK_SPACE_SECOND,
    LOCK_EXECUTOR,
    LOCK_CONSOLE,
    LOCK_DEADLINES,
    LOCK_SCHEDULER, /* the MCS lock, see mcs_lock.h */
};

struct lock {
    uint32_t held; /* 1 while held, else 0 */
};

/* Note that this hart is about to take a lock of this rank. */
static inline void lock_rank_enter(enum lock_rank rank) {
    struct hart *hart = this_hart();
    KERNEL_ASSERT(hart->ranks_held >> rank == 0);
    hart->ranks_held |= 1ul << rank;
}

static inline void lock_rank_leave(enum lock_rank rank) {
    this_hart()->ranks_held &= ~(1ul << rank);
}

/* Spins until the lock is this hart's. Acquire: what the last holder wrote is
 * seen from here on. The holder of a space's may be waiting for harts that use
 * it, so this hart withdraws first (shootdown.h). */
static inline void lock_acquire(struct lock *lock, enum lock_rank rank) {
    if (rank == LOCK_SPACE && this_hart()->published != NULL) shootdown_withdraw();
    lock_rank_enter(rank);
    while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE) != 0) {
        /* Read, don't swap, while waiting: the line stays shared. */
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED) != 0) machine_relax();
    }
}

/* Release: what this hart wrote is seen by the next holder. */
static inline void lock_release(struct lock *lock, enum lock_rank rank) {
    __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
    lock_rank_leave(rank);
}
