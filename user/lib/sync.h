/*
 * Mutex and condition variable: contract. sync.c implements it.
 *
 * Both may be used by the threads of one address space (thread.h). Both are
 * ready for use when all their bytes are zero. A thread that waits sleeps in
 * the kernel and burns no time.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct mutex {
    uint32_t word;  /* 0: free */
    uint32_t queue; /* threads that wait, of the holder alone */
    uint64_t lab_private[2];
};

struct condition {
    uint32_t first; /* threads that wait, under the mutex */
    uint32_t last;
    uint64_t lab_private[2];
};

/*
 * Take the mutex; sleep until it is free. At most one thread holds it at any
 * time, and each holder sees all that earlier holders wrote. Every thread that
 * waits gets it in the end if every holder gives it back.
 * The caller does not hold it.
 */
void mutex_lock(struct mutex *mutex);

/* Take the mutex if it is free. Returns true if it is ours now. Never sleeps. */
bool mutex_try_lock(struct mutex *mutex);

/* Give the mutex back. The caller holds it. Never sleeps. */
void mutex_unlock(struct mutex *mutex);

/*
 * Give the mutex back and sleep until another thread signals the condition,
 * then take the mutex again. No signal is lost between the two: a signal sent
 * by any later holder of the mutex wakes us. The caller holds the mutex; since
 * others may have held it meanwhile, it looks again whether what it waited for
 * is true. All waiters of one condition use the same mutex.
 */
void condition_wait(struct condition *condition, struct mutex *mutex);

/* Wake the thread that has waited longest, if any. The caller holds the mutex
 * of the condition. Never sleeps. */
void condition_signal(struct condition *condition);

/* Wake all threads that wait. The caller holds the mutex. Never sleeps. */
void condition_broadcast(struct condition *condition);
