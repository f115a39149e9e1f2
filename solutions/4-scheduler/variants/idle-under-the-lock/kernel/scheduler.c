/*
 * The scheduler. Whether a hart sleeps is said, and looked at, under the run
 * queue's lock: no fences are needed, and no second look at the queue. Nobody
 * peeks; an executor that yields alone goes through the queue and comes back.
 * Recursion (tail calls) in place of loops. In the lock every step is
 * sequentially consistent.
 */
#include "scheduler.h"
#include "compiler.h"
#include "global.h"
#include "info.h"
#include "interrupt.h"
#include "ipi.h"
#include "machine.h"
#include "mcs_lock.h"
#include "park.h"
#include "reap.h"
#include "shootdown.h"
#include "state.h"
#include "timer.h"

/* All under sched_mcs_lock, idle_harts too. */

static void append(struct executor *executor) {
    struct global *g = global();
    executor->next = NULL;
    if (g->sched_tail != NULL)
        g->sched_tail->next = executor;
    else
        g->sched_head = executor;
    g->sched_tail = executor;
}

static struct executor *take(void) {
    struct global *g = global();
    struct executor *first = g->sched_head;
    if (first == NULL) return NULL;
    g->sched_head = first->next;
    if (g->sched_head == NULL) g->sched_tail = NULL;
    return first;
}

static uint64_t my_bit(void) {
    return 1ul << this_hart()->index;
}

/* One that sleeps, and does not count as such any more; NULL: nobody does. */
static struct hart *take_sleeper(void) {
    for (uint64_t i = hart_count; i-- > 0;)
        if (global()->idle_harts >> i & 1) {
            global()->idle_harts &= ~(1ul << i);
            return harts[i];
        }
    return NULL;
}

void scheduler_enqueue(struct executor *executor) {
    struct hart **lock = &global()->sched_mcs_lock;
    mcs_lock_acquire(lock);
    append(executor);
    struct hart *sleeper = take_sleeper();
    mcs_lock_release(lock);
    if (sleeper != NULL) ipi_send(sleeper);
}

/* The first in the queue. If there is none, and the hart is about to sleep, it
 * says so before it gives the lock back: whoever queues after that sees it. */
static struct executor *take_or_announce(bool about_to_sleep) {
    struct hart **lock = &global()->sched_mcs_lock;
    mcs_lock_acquire(lock);
    struct executor *first = take();
    if (first == NULL && about_to_sleep)
        global()->idle_harts |= my_bit();
    else
        global()->idle_harts &= ~my_bit();
    mcs_lock_release(lock);
    return first;
}

/* For the one that was just taken off: its word's QUEUED goes. What the word was
 * before. */
static uint64_t step_off_the_queue(struct executor *executor, uint64_t seen) {
    uint64_t to = state_runnable(seen) ? STATE_QUEUED | STATE_EXECUTING : STATE_QUEUED;
    uint64_t is = seen;
    return state_change(executor, &is, seen ^ to) ? seen : step_off_the_queue(executor, is);
}

/* Run it here, or, if it is not to run, let go of it and find another one. */
static struct executor *dispatch(struct executor *executor) {
    struct hart *hart = this_hart();
    __atomic_store_n(&executor->hart, hart->self, __ATOMIC_SEQ_CST);
    uint64_t was = step_off_the_queue(executor, state_load(executor));
    if (state_runnable(was)) {
        hart->switched = 1;
        hart->executor = executor;
        if ((was & STATE_REASON) != 0) park_finish(executor);
        return executor;
    }
    if ((was & STATE_TERMINATED) != 0) executor_end(executor);
    executor_put(executor);
    return scheduler_next();
}

/* The hart is awake, and about to do other things than look at the queue. */
static void announce_awake(void) {
    mcs_lock_acquire(&global()->sched_mcs_lock);
    global()->idle_harts &= ~my_bit();
    mcs_lock_release(&global()->sched_mcs_lock);
}

/* The hart has found nothing: sleep until there is something. */
static struct executor *sleep(void) {
    shootdown_withdraw();
    if (this_hart()->reap_due) timer_need_tick();
    reap_all();
    info_count_pages();
    struct executor *first = take_or_announce(true);
    if (first != NULL) return first;
    if (!this_hart()->reap_due) machine_wait();
    announce_awake();
    interrupt_serve();
    return sleep();
}

struct executor *scheduler_next(void) {
    this_hart()->executor = NULL;
    struct executor *first = take_or_announce(false);
    if (first == NULL) {
        first = sleep();
        timer_need_tick();
    }
    return dispatch(first);
}

struct executor *scheduler_yield(struct executor *self) {
    uint64_t seen = state_load(self);
    if (!state_runnable(seen)) return scheduler_leave(self);
    if (!state_change(self, &seen, seen ^ (STATE_EXECUTING | STATE_QUEUED)))
        return scheduler_yield(self);
    struct hart **lock = &global()->sched_mcs_lock;
    this_hart()->executor = NULL;
    mcs_lock_acquire(lock);
    append(self);
    struct executor *first = take();
    mcs_lock_release(lock);
    return dispatch(first);
}

bool scheduler_release(struct executor *self) {
    uint64_t seen = state_load(self);
    if (state_runnable(seen)) {
        if ((seen & STATE_REASON) != 0) park_finish(self);
        return false;
    }
    if (!state_change(self, &seen, seen & ~STATE_EXECUTING)) return scheduler_release(self);
    this_hart()->executor = NULL;
    if ((seen & STATE_TERMINATED) != 0) executor_end(self);
    executor_put(self);
    return true;
}

struct executor *scheduler_leave(struct executor *self) {
    if (scheduler_release(self)) return scheduler_next();
    return self;
}
