/*
 * Mutex and condition variable. Other than the reference: a spin lock guards
 * the mutex's line, which is linked from the oldest to the newest, as in
 * semaphore.c.
 */
#include "sync.h"
#include "call.h"
#include "spin.h"
#include "thread.h"

/* Of the mutex: `word` is 1 while it is held, `queue` is the guard, and in
 * lab_private are the first and the last in line, numbers plus one. */
enum { FIRST, LAST };

static void sleep_in_line(struct thread *self) {
    while (__atomic_load_n(&self->waiting, __ATOMIC_ACQUIRE) != 0)
        park_if(&self->waiting, 1, DEADLINE_NONE);
}

static void let_go_on(uint32_t number) {
    __atomic_store_n(&thread_by_number(number)->waiting, 0, __ATOMIC_RELEASE);
    unpark(thread_handle_of(number), EVENT_WAKE);
}

bool mutex_try_lock(struct mutex *mutex) {
    spin_lock(&mutex->queue);
    bool free = mutex->word == 0;
    mutex->word = 1;
    spin_unlock(&mutex->queue);
    return free;
}

void mutex_lock(struct mutex *mutex) {
    struct thread *self = thread_self();
    uint64_t *line = mutex->lab_private;

    spin_lock(&mutex->queue);
    if (mutex->word == 0) {
        mutex->word = 1;
        spin_unlock(&mutex->queue);
        return;
    }
    self->wait_next = 0;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    if (line[FIRST] == 0)
        line[FIRST] = self->number + 1;
    else
        thread_by_number((uint32_t)line[LAST] - 1)->wait_next = self->number + 1;
    line[LAST] = self->number + 1;
    spin_unlock(&mutex->queue);
    sleep_in_line(self);
}

void mutex_unlock(struct mutex *mutex) {
    uint64_t *line = mutex->lab_private;

    spin_lock(&mutex->queue);
    uint32_t oldest = (uint32_t)line[FIRST];
    if (oldest == 0)
        mutex->word = 0;
    else
        line[FIRST] = thread_by_number(oldest - 1)->wait_next;
    spin_unlock(&mutex->queue);
    if (oldest != 0) let_go_on(oldest - 1);
}

/* The condition's line is a list from the newest to the oldest. */

void condition_wait(struct condition *condition, struct mutex *mutex) {
    struct thread *self = thread_self();

    self->wait_next = condition->first;
    condition->first = self->number + 1;
    __atomic_store_n(&self->waiting, 1, __ATOMIC_RELAXED);
    mutex_unlock(mutex);
    sleep_in_line(self);
    mutex_lock(mutex);
}

/* Take the last off the list that begins at *at: its number. */
static uint32_t take_oldest(uint32_t *at) {
    struct thread *thread = thread_by_number(*at - 1);
    if (thread->wait_next != 0) return take_oldest(&thread->wait_next);
    *at = 0;
    return thread->number;
}

void condition_signal(struct condition *condition) {
    if (condition->first != 0) let_go_on(take_oldest(&condition->first));
}

void condition_broadcast(struct condition *condition) {
    while (condition->first != 0) condition_signal(condition);
}
