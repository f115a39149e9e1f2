/*
 * A spin lock, for the few short places inside the library where a thread must
 * not sleep because it is just about to arrange for its sleep.
 *
 * A holder on another hart is done in a moment, so a waiter just looks again
 * for a while. But a holder can also have been preempted, and with one hart it
 * can't even go on while we wait: so then the waiter yields.
 */
#pragma once
#include "call.h"

#define SPIN_LOOKS 128 /* before a waiter yields; a power of two */

/* The word is 1 while the lock is held, else 0. Acquire: what the last holder
 * wrote is seen from here on. */
static inline void spin_lock(uint32_t *word) {
    uint64_t looks = 0;

    while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(word, __ATOMIC_RELAXED) != 0) {
            if (++looks % SPIN_LOOKS == 0) yield();
        }
    }
}

/* Release: what we wrote is seen by the next holder. */
static inline void spin_unlock(uint32_t *word) {
    __atomic_store_n(word, 0, __ATOMIC_RELEASE);
}
