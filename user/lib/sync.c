/*
 * Mutex and condition variable, see sync.h.
 *
 * The kernel keeps no lists of sleepers: unpark() wants the handle of one
 * executor. So whoever sleeps first puts its number where it will be found.
 * A thread is in one line at a time, linked through `wait_next`; lines hold
 * numbers plus one, so that 0 means none.
 *
 * Sleeping. A thread sets its own `waiting`, then gets in line, then sleeps
 * while `waiting` is set. Whoever takes it out of the line clears `waiting`
 * and unparks it. park_if compares the word once more in the kernel when an
 * unpark can no longer be missed, so the thread never sleeps for ever; and a
 * stray EVENT_WAKE only makes it look at `waiting` again.
 *
 * The mutex is one word:
 *
 *    31                      1   0
 *   +-------------------------+---+
 *   | newest waiter           | H |    H: held
 *   +-------------------------+---+
 *
 * Invariants: the upper bits are 0 unless H is set. Threads that wait push
 * themselves on the list in the word, newest first. Only the holder takes
 * threads off it: all at once, into `queue`, oldest first, which only holders
 * touch. A holder with waiters hands the mutex over: H stays set, and the
 * thread whose `waiting` it clears is the holder from then on. So there is
 * always at most one holder, nobody can push in front of one who waits, and
 * since only one thread at a time takes from the list, a number can't come
 * back into the word while somebody relies on the old one (no ABA).
 *
 * Memory order. There are two ways from one holder to the next, each a pair of
 * release and acquire on one word:
 *   - mutex_unlock stores 0 to the word by a release; the compare-and-swap of
 *     mutex_lock that finds the 0 is an acquire;
 *   - mutex_unlock clears `waiting` by a release; the waiter reads it by an
 *     acquire.
 * And from a waiter to the holder: it pushes itself by a release, after it
 * wrote `waiting` and `wait_next`; the holder takes the list by an acquire.
 * Pushes are read-modify-writes, so the holder, who reads the last of them,
 * is ordered after all of them (they form one release sequence).
 * (compiler.h says why a compare-and-swap that releases is written as one that
 * is sequentially consistent, and one that acquires does so when it fails, too.)
 */
#include "sync.h"
#include "call.h"
#include "compiler.h"
#include "thread.h"

#define MUTEX_HELD 1u

/* Sleep until someone grants what we got in line for. */
static void wait_for_grant(struct thread *self) {
    while (__atomic_load_n(&self->waiting, __ATOMIC_ACQUIRE) != 0)
        park_if(&self->waiting, 1, DEADLINE_NONE);
}

/* Let the thread `number` go on. It may be gone once `waiting` is clear, so its
 * control block is not touched after that; a handle that is gone, or is
 * another's by then, gets an error or a stray EVENT_WAKE. */
static void grant(uint32_t number) {
    struct thread *thread = thread_by_number(number);

    __atomic_store_n(&thread->waiting, 0, __ATOMIC_RELEASE);
    unpark(thread_handle_of(number), EVENT_WAKE);
}

bool mutex_try_lock(struct mutex *mutex) {
    uint32_t word = 0;

    return __atomic_compare_exchange_n(&mutex->word, &word, MUTEX_HELD, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_ACQUIRE);
}

void mutex_lock(struct mutex *mutex) {
    struct thread *self = thread_self();
    uint32_t in_line = (self->number + 1) << 1 | MUTEX_HELD;

    while (!mutex_try_lock(mutex)) {
        uint32_t word = __atomic_load_n(&mutex->word, __ATOMIC_RELAXED);
        if (word == 0) continue; /* free by now: try again */
        self->wait_next = word >> 1;
        __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
        if (__atomic_compare_exchange_n(&mutex->word, &word, in_line, false, CAS_ORDER,
                                        CAS_ORDER)) {
            wait_for_grant(self);
            return; /* it was handed over to us */
        }
    }
}

/* Take all threads off the list in the word and put them into `queue`, which
 * is empty, in the order in which they came. */
static void mutex_collect(struct mutex *mutex) {
    uint32_t word = __atomic_exchange_n(&mutex->word, MUTEX_HELD, __ATOMIC_ACQUIRE);
    uint32_t newest = word >> 1;

    while (newest != 0) {
        struct thread *thread = thread_by_number(newest - 1);
        uint32_t next = thread->wait_next;
        thread->wait_next = mutex->queue;
        mutex->queue = newest;
        newest = next;
    }
}

void mutex_unlock(struct mutex *mutex) {
    if (mutex->queue == 0) {
        uint32_t word = MUTEX_HELD;
        if (__atomic_compare_exchange_n(&mutex->word, &word, 0, false, CAS_ORDER, CAS_ORDER))
            return; /* nobody waits */
        mutex_collect(mutex);
    }
    uint32_t oldest = mutex->queue - 1;
    mutex->queue = thread_by_number(oldest)->wait_next;
    grant(oldest);
}

void condition_wait(struct condition *condition, struct mutex *mutex) {
    struct thread *self = thread_self();

    /* The mutex guards the line. It is given back only when we are in line,
     * so every later holder finds us there. */
    self->wait_next = 0;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    if (condition->first == 0)
        condition->first = self->number + 1;
    else
        thread_by_number(condition->last - 1)->wait_next = self->number + 1;
    condition->last = self->number + 1;

    mutex_unlock(mutex);
    wait_for_grant(self);
    mutex_lock(mutex);
}

void condition_signal(struct condition *condition) {
    if (condition->first == 0) return;
    uint32_t oldest = condition->first - 1;
    condition->first = thread_by_number(oldest)->wait_next;
    grant(oldest);
}

void condition_broadcast(struct condition *condition) {
    while (condition->first != 0) condition_signal(condition);
}
