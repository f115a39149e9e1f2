/*
 * The scheduler.
 *
 * sched_head and sched_tail link the queued executors through `next`, under
 * sched_mcs_lock. What is in the queue has QUEUED set, and the queue holds its
 * reference.
 *
 * No wake-up is lost between an idle hart and one that queues (the shape of
 * Dekker's algorithm):
 *
 *     idle hart                        hart that queues
 *     idle_harts |= me                 sched_head = …
 *     fence                            fence
 *     sched_head empty?  then wfi      idle_harts not 0?  then clear one bit
 *                                                         and interrupt it
 *
 * Each stores, fences, then loads what the other stores: with both fences
 * sequentially consistent, at least one of them sees the other's store. Either
 * the idle hart sees the executor, or the other sees the bit and interrupts;
 * and an interrupt that comes before wfi stays pending, and ends it at once.
 *
 * Clearing the bit is atomic: of several harts that queue, one wins it, and
 * sends the one interrupt.
 *
 * Who has looked, or has woken, clears its own bit at once: what it does next may
 * take long, and an interrupt for one that sleeps would be spent on it. One may have
 * been spent before that: so, when it has taken an executor, it looks at the queue
 * once more, and wakes another. It misses none while the bit is clear: it sets the
 * bit, and looks after that, before it sleeps.
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

static void queue_push(struct executor *executor) {
    executor->next = NULL;
    if (global()->sched_head == NULL)
        __atomic_store_n(&global()->sched_head, executor, __ATOMIC_RELAXED);
    else
        global()->sched_tail->next = executor;
    global()->sched_tail = executor;
}

static struct executor *queue_pop(void) {
    struct executor *executor = global()->sched_head;
    if (executor != NULL) __atomic_store_n(&global()->sched_head, executor->next, __ATOMIC_RELAXED);
    return executor;
}

/* May be out of date at once, but for the fences around it in the idle
 * protocol. */
static bool queue_empty(void) {
    return __atomic_load_n(&global()->sched_head, __ATOMIC_RELAXED) == NULL;
}

/* After queueing: interrupt one idle hart, if there is one. */
static inline __attribute__((always_inline)) void wake_one_idle(void) {
    uint64_t *idle_harts = &global()->idle_harts;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t idle; UNLIKELY((idle = __atomic_load_n(idle_harts, __ATOMIC_RELAXED)) != 0);) {
        uint64_t bit = idle & -idle, index = 0;
        if (!(__atomic_fetch_and(idle_harts, ~bit, __ATOMIC_RELAXED) & bit)) continue;
        while (bit >> index != 1) index++;
        ipi_send(harts[index]);
        return;
    }
}

void scheduler_enqueue(struct executor *executor) {
    mcs_lock_acquire(&global()->sched_mcs_lock);
    queue_push(executor);
    mcs_lock_release(&global()->sched_mcs_lock);
    wake_one_idle();
}

/* Sleep until the queue may have something. Out of line: scheduler_next would
 * save registers for it on every switch. */
__attribute__((cold, noinline)) static void idle(void) {
    uint64_t bit = 1ul << this_hart()->index;
    shootdown_withdraw(); /* interrupts are served here, too */
    for (;;) {
        if (this_hart()->reap_due) {
            timer_need_tick(); /* which ends reap_all */
            reap_all();
        }
        info_count_pages();
        __atomic_fetch_or(&global()->idle_harts, bit, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        bool work = !queue_empty();
        if (!work && !this_hart()->reap_due) machine_wait();
        /* Before we serve and reap, which takes long. */
        __atomic_fetch_and(&global()->idle_harts, ~bit, __ATOMIC_RELAXED);
        if (work) break;
        interrupt_serve();
    }
    timer_need_tick();
}

/* Make an executor, off the queue, this hart's. False if it is not runnable any
 * more: then it is let go. */
static inline bool dispatch(struct executor *executor) {
    /* Before the change that shows it: whoever finds EXECUTING set and wants
     * to interrupt finds the hart. Only we have it, off the queue. */
    __atomic_store_n(&executor->hart, this_hart()->self, __ATOMIC_RELAXED);
    uint64_t seen = state_exchange_held(executor);
    this_hart()->executor = executor;
    this_hart()->switched = 1;
    if (UNLIKELY(!state_runnable(seen))) return !scheduler_release(executor);
    if (seen & STATE_REASON) park_finish(executor);
    return true;
}

struct executor *scheduler_next(void) {
    for (;;) {
        bool slept = queue_empty();
        if (slept) idle();
        mcs_lock_acquire(&global()->sched_mcs_lock);
        struct executor *executor = queue_pop();
        mcs_lock_release(&global()->sched_mcs_lock);
        /* When we looked for the last time our bit was set: an interrupt meant
         * for one that sleeps may have been spent on us. */
        if (slept && !queue_empty()) wake_one_idle();
        if (LIKELY(executor != NULL && dispatch(executor))) return executor;
        shootdown_withdraw(); /* many may be let go one by one */
    }
}

struct executor *scheduler_yield(struct executor *self) {
    if (queue_empty()) return self;
    /* Runnable or not: if not, who takes it off the queue lets go of it. */
    state_exchange_held(self);
    mcs_lock_acquire(&global()->sched_mcs_lock);
    queue_push(self);
    struct executor *next = queue_pop();
    mcs_lock_release(&global()->sched_mcs_lock);
    /* As many are queued as before: nobody to wake. */
    return dispatch(next) ? next : scheduler_next();
}

bool scheduler_release(struct executor *self) {
    uint64_t seen = state_load(self);
    do {
        if (state_runnable(seen)) {
            if (seen & STATE_REASON) park_finish(self);
            return false;
        }
    } while (!state_change(self, &seen, seen & ~STATE_EXECUTING));
    this_hart()->executor = NULL;
    if (UNLIKELY(seen & STATE_TERMINATED)) executor_end(self);
    executor_put(self);
    return true;
}

struct executor *scheduler_leave(struct executor *self) {
    return scheduler_release(self) ? scheduler_next() : self;
}
