/*
 * Mutex and condition variable, see sync.h.
 *
 * The mutex's word is 0 if it is free, else HELD and above it the newest in a
 * list of threads that wait: numbers plus one, each thread's `wait_next` names
 * the one that came before it. Who finds HELD puts itself in front of that
 * list; only the holder takes threads off it, all at once, and keeps them in
 * `queue`, oldest first. With somebody in line the mutex is not set free but
 * handed over: HELD stays, and clearing the next thread's `waiting` makes that
 * the holder.
 *
 * What one holder wrote is seen by the next:
 *   set free, taken    the compare-and-swap in mutex_unlock releases, that in
 *                      mutex_try_lock or mutex_lock acquires `word`
 *   handed over        let_go_on releases, wait acquires `waiting`
 * And a thread's `wait_next` by the holder: get_in_line releases, and the
 * exchange in collect acquires `word`. Only the newest thread's change is read
 * there, but those of the others come before it in the same chain of
 * read-modify-writes, a release sequence.
 */
#include "sync.h"
#include "call.h"
#include "compiler.h"
#include "thread.h"

enum {
    FREE = 0,
    HELD = 1,
    NEWEST_SHIFT = 1,
};

/* Sleep until somebody lets us go on. The word is our own, so a stray
 * EVENT_WAKE from an earlier wait only makes us look once more. */
static void wait(struct thread *self) {
    while (__atomic_load_n(&self->waiting, __ATOMIC_ACQUIRE) != 0)
        park_if(&self->waiting, 1, DEADLINE_NONE);
}

/* Let a thread that waits go on. It may be gone as soon as `waiting` is clear,
 * so what is to be known of it, such as wait_next, was read before. */
static void let_go_on(uint32_t number) {
    __atomic_store_n(&thread_by_number(number)->waiting, 0, __ATOMIC_RELEASE);
    unpark(thread_handle_of(number), EVENT_WAKE);
}

/* Take the first off a line whose first member is *first. There is one. */
static uint32_t take_first(uint32_t *first) {
    uint32_t number = *first - 1;
    *first = thread_by_number(number)->wait_next;
    return number;
}

bool mutex_try_lock(struct mutex *mutex) {
    uint32_t seen = FREE;
    return __atomic_compare_exchange_n(&mutex->word, &seen, HELD, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_ACQUIRE);
}

/* One try to get in line, the word being *seen, in which HELD is set. */
static bool get_in_line(struct mutex *mutex, struct thread *self, uint32_t *seen) {
    self->wait_next = *seen >> NEWEST_SHIFT;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n(
        &mutex->word, seen, (self->number + 1) << NEWEST_SHIFT | HELD, false, CAS_ORDER, CAS_ORDER);
}

void mutex_lock(struct mutex *mutex) {
    if (mutex_try_lock(mutex)) return;
    struct thread *self = thread_self();
    uint32_t seen = __atomic_load_n(&mutex->word, __ATOMIC_RELAXED);
    for (;;) {
        if (seen != FREE) {
            if (get_in_line(mutex, self, &seen)) break;
        } else if (__atomic_compare_exchange_n(&mutex->word, &seen, HELD, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_ACQUIRE)) {
            return;
        }
    }
    wait(self);
}

/* All threads off the list in the word, the oldest first, to an empty queue.
 * The caller is the holder. */
static void collect(struct mutex *mutex) {
    uint32_t newest = __atomic_exchange_n(&mutex->word, HELD, __ATOMIC_ACQUIRE) >> NEWEST_SHIFT;
    while (newest != 0) {
        struct thread *thread = thread_by_number(newest - 1);
        uint32_t older = thread->wait_next;
        thread->wait_next = mutex->queue;
        mutex->queue = newest;
        newest = older;
    }
}

void mutex_unlock(struct mutex *mutex) {
    if (mutex->queue == 0) {
        uint32_t seen = HELD;
        if (__atomic_compare_exchange_n(&mutex->word, &seen, FREE, false, CAS_ORDER, CAS_ORDER))
            return;
        collect(mutex);
    }
    let_go_on(take_first(&mutex->queue));
}

void condition_wait(struct condition *condition, struct mutex *mutex) {
    /* In line before the mutex is given back: whoever holds it later finds us. */
    struct thread *self = thread_self();
    self->wait_next = 0;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    if (condition->first == 0)
        condition->first = self->number + 1;
    else
        thread_by_number(condition->last - 1)->wait_next = self->number + 1;
    condition->last = self->number + 1;

    mutex_unlock(mutex);
    wait(self);
    mutex_lock(mutex);
}

void condition_signal(struct condition *condition) {
    if (condition->first != 0) let_go_on(take_first(&condition->first));
}

void condition_broadcast(struct condition *condition) {
    while (condition->first != 0) condition_signal(condition);
}
