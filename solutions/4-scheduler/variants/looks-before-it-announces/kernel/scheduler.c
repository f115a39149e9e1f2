/*
 * The scheduler. A hart that has come out of sleep looks at the queue before it
 * announces itself again, so an interrupt is hardly ever spent on it. The tail is
 * left as it is when the queue is emptied.
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

/*
 * The run queue is a singly linked list, under sched_mcs_lock. `sched_tail` has a
 * meaning only while `sched_head` is not 0.
 */

/* Does somebody wait? A guess, unless the caller has the queue to itself. */
static bool queue_looks_empty(void) {
    return __atomic_load_n(&global()->sched_head, __ATOMIC_RELAXED) == NULL;
}

static void queue_append(struct executor *executor) {
    struct global *g = global();
    executor->next = NULL;
    if (g->sched_head != NULL)
        g->sched_tail->next = executor;
    else
        __atomic_store_n(&g->sched_head, executor, __ATOMIC_RELAXED);
    g->sched_tail = executor;
}

/* The first in the queue, no longer there, or NULL. */
static struct executor *queue_remove(void) {
    struct global *g = global();
    struct executor *first = g->sched_head;
    if (first != NULL) __atomic_store_n(&g->sched_head, first->next, __ATOMIC_RELAXED);
    return first;
}

/* The same, for a hart that holds no lock. It takes the lock only if there seems
 * to be somebody. */
static struct executor *take_first(void) {
    if (queue_looks_empty()) return NULL;
    mcs_lock_acquire(&global()->sched_mcs_lock);
    struct executor *first = queue_remove();
    mcs_lock_release(&global()->sched_mcs_lock);
    return first;
}

/*
 * `executor` has just come off the queue: this hart alone has it, and the
 * reference that went with QUEUED. Runs it here and returns true; or, if it is
 * not runnable any more, lets it go and returns false.
 */
static bool dispatch(struct executor *executor) {
    struct hart *hart = this_hart();
    /* Whoever finds EXECUTING (by an acquire) follows this at once. */
    __atomic_store_n(&executor->hart, hart->self, __ATOMIC_RELAXED);

    uint64_t seen = state_load(executor), next;
    do {
        next = seen & ~STATE_QUEUED;
        if (state_runnable(seen)) next |= STATE_EXECUTING;
    } while (!state_change(executor, &seen, next));

    if (next & STATE_EXECUTING) {
        hart->executor = executor;
        hart->switched = 1;
        if (seen & STATE_REASON) park_finish(executor);
        return true;
    }
    if (seen & STATE_TERMINATED) executor_end(executor);
    executor_put(executor);
    return false;
}

/*
 * Idle harts. A hart's bit in idle_harts says: I may sleep, or be about to; who
 * queues an executor must interrupt me. It is set by the hart itself, in
 * scheduler_next, and cleared by whoever makes it get up: another hart, which
 * then interrupts it, or itself, once it is up.
 */

static uint64_t idle_bit(const struct hart *hart) {
    return 1ul << hart->index;
}

/* Clears the bit. True if it was set: then it is the caller who has cleared it.
 * Acquire: we see what was queued by who cleared it before us. */
static bool idle_clear(uint64_t bit) {
    return __atomic_fetch_and(&global()->idle_harts, ~bit, __ATOMIC_ACQ_REL) & bit;
}

/*
 * There is something in the queue, and it was put there before this: see that
 * one hart that sleeps, if there is any, comes to look.
 */
static void wake_one(void) {
    /* Our store to the queue, then our look at the bits. Pairs with the fence
     * in announce. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t *idle_harts = &global()->idle_harts;
    uint64_t idle = __atomic_load_n(idle_harts, __ATOMIC_RELAXED);
    for (uint64_t i = 0; i < hart_count && idle != 0; i++) {
        uint64_t bit = 1ul << i;
        if ((idle & bit) != 0 && idle_clear(bit)) {
            ipi_send(harts[i]);
            return;
        }
        idle &= ~bit;
    }
}

/* From here on, whoever queues an executor and finds nobody else interrupts us.
 * What was queued before that is seen by who looks after this. */
static void announce(void) {
    __atomic_fetch_or(&global()->idle_harts, idle_bit(this_hart()), __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void scheduler_enqueue(struct executor *executor) {
    mcs_lock_acquire(&global()->sched_mcs_lock);
    queue_append(executor);
    mcs_lock_release(&global()->sched_mcs_lock);
    wake_one();
}

struct executor *scheduler_next(void) {
    struct hart *hart = this_hart();
    bool announced = false; /* an interrupt may have been spent on us */
    bool idled = false;     /* our timer may have gone off, and not been set */
    hart->executor = NULL;
    for (;;) {
        struct executor *first = take_first();
        if (first == NULL) {
            idled = true;
            if (hart->reap_due) timer_need_tick();
            reap_all();
            info_count_pages();
            shootdown_withdraw();
            announce();
            announced = true;
            /* With something left to free there is no time to sleep. */
            if (queue_looks_empty() && !hart->reap_due) machine_wait();
            idle_clear(idle_bit(hart));
            interrupt_serve();
            continue;
        }
        if (announced) {
            /* We take one, and go to work. Whoever saw our bit, while it was set,
             * has counted on us, and woke nobody else for another one. */
            announced = false;
            if (!queue_looks_empty()) wake_one();
        }
        if (dispatch(first)) {
            if (idled) timer_need_tick();
            return first;
        }
    }
}

struct executor *scheduler_yield(struct executor *self) {
    if (queue_looks_empty()) return self;

    uint64_t seen = state_load(self);
    do {
        if (!state_runnable(seen)) return scheduler_leave(self);
    } while (!state_change(self, &seen, (seen & ~STATE_EXECUTING) | STATE_QUEUED));
    /* Whoever makes it QUEUED has to queue it: from here on that is us. As long
     * as it is not in the queue, nobody runs it; then anybody may. */
    this_hart()->executor = NULL;

    mcs_lock_acquire(&global()->sched_mcs_lock);
    queue_append(self);
    struct executor *first = queue_remove(); /* self at the latest */
    mcs_lock_release(&global()->sched_mcs_lock);
    return dispatch(first) ? first : scheduler_next();
}

bool scheduler_release(struct executor *self) {
    struct hart *hart = this_hart();
    uint64_t seen = state_load(self);
    do {
        if (state_runnable(seen)) {
            /* It keeps EXECUTING: whoever wants it to give up from now on sees
             * that, and interrupts us. */
            if (seen & STATE_REASON) park_finish(self);
            return false;
        }
    } while (!state_change(self, &seen, seen & ~STATE_EXECUTING));
    /* Another hart may run it by now. All we have is our reference, and, if it
     * was terminated, the duty to end it, which nobody else has. */
    hart->executor = NULL;
    if (seen & STATE_TERMINATED) executor_end(self);
    executor_put(self);
    return true;
}

struct executor *scheduler_leave(struct executor *self) {
    return scheduler_release(self) ? scheduler_next() : self;
}
