/*
 * Counting semaphore, see semaphore.h.
 *
 * A spin lock guards the count and the line of waiters (thread numbers plus
 * one, linked through `wait_next`). A unit that is posted while somebody waits
 * never enters the count: it goes straight to the first in line.
 *
 * A waiter has to open the guard and go to sleep, and if it opened the guard
 * first, the wake-up could come before the sleep. (Here it would stay pending,
 * but then the kernel would be entered twice.) park_and_swap does both in
 * order in one call: it announces the park, then stores 0 to the guard.
 */
#include "semaphore.h"
#include "call.h"
#include "spin.h"
#include "thread.h"

/* Get in line. The guard is held. */
static void line_enter(struct semaphore *semaphore, struct thread *self) {
    self->wait_next = 0;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    if (semaphore->first == 0)
        semaphore->first = self->number + 1;
    else
        thread_by_number(semaphore->last - 1)->wait_next = self->number + 1;
    semaphore->last = self->number + 1;
}

void semaphore_wait(struct semaphore *semaphore) {
    struct thread *self = thread_self();
    uint32_t old;

    spin_lock(&semaphore->guard);
    if (semaphore->count > 0) {
        semaphore->count--;
        spin_unlock(&semaphore->guard);
        return;
    }
    line_enter(semaphore, self);

    /* The kernel opens the guard for us. Release: the line is written before
     * anyone sees it open. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    park_and_swap(&semaphore->guard, 0, DEADLINE_NONE, &old);

    /* An EVENT_WAKE from earlier may have ended that park at once. Acquire:
     * what the poster wrote is seen from here on. */
    while (__atomic_load_n(&self->waiting, __ATOMIC_ACQUIRE) != 0)
        park_if(&self->waiting, 1, DEADLINE_NONE);
}

void semaphore_post(struct semaphore *semaphore) {
    spin_lock(&semaphore->guard);
    if (semaphore->first == 0) {
        semaphore->count++;
        spin_unlock(&semaphore->guard);
        return;
    }
    uint32_t oldest = semaphore->first - 1;
    struct thread *thread = thread_by_number(oldest);
    semaphore->first = thread->wait_next;
    spin_unlock(&semaphore->guard);

    /* Once `waiting` is clear, the thread may go on and be gone: all that is
     * used after that is its number. */
    __atomic_store_n(&thread->waiting, 0, __ATOMIC_RELEASE);
    unpark(thread_handle_of(oldest), EVENT_WAKE);
}
