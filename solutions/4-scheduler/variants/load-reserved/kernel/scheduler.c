/*
 * The scheduler. A ring: `sched_tail` is the last one, and its `next` the first;
 * `sched_head` only says whether there is any. One function (take_turn) puts in
 * and takes off, for all that need either. Bits of idle_harts are changed by
 * load-reserved and store-conditional, in assembly; so is the lock (mcs_lock.c).
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
 * Under the lock: put `in` behind all others, if it is not NULL, then take the
 * first one off, if that is wanted.
 */
static struct executor *take_turn(struct executor *in, bool take) {
    struct global *g = global();
    struct executor *first = NULL;
    mcs_lock_acquire(&g->sched_mcs_lock);
    struct executor *last = g->sched_tail;
    if (in != NULL) {
        in->next = last != NULL ? last->next : in;
        if (last != NULL) last->next = in;
        last = in;
    }
    if (take && last != NULL) {
        first = last->next;
        last->next = first->next;
        if (first == last) last = NULL;
    }
    g->sched_tail = last;
    __atomic_store_n(&g->sched_head, last, __ATOMIC_RELAXED);
    mcs_lock_release(&g->sched_mcs_lock);
    return first;
}

static bool nobody_waits(void) {
    return __atomic_load_n(&global()->sched_head, __ATOMIC_RELAXED) == NULL;
}

/* idle_harts = idle_harts & ~clear | set, with all that came before it done, and
 * all that comes after it not begun. What it was. */
static uint64_t change_bits(uint64_t clear, uint64_t set) {
    uint64_t was, is;
    __asm__ volatile("1: lr.d.aqrl %0, %2\n"
                     "   and %1, %0, %3\n"
                     "   or %1, %1, %4\n"
                     "   sc.d.rl %1, %1, %2\n"
                     "   bnez %1, 1b\n"
                     "   fence rw, rw"
                     : "=&r"(was), "=&r"(is), "+A"(global()->idle_harts)
                     : "r"(~clear), "r"(set)
                     : "memory");
    return was;
}

static uint64_t own_bit(void) {
    return 1ul << this_hart()->index;
}

/* Interrupt one that sleeps, the next one behind this hart that can be had. */
static void wake_another(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&global()->idle_harts, __ATOMIC_RELAXED) == 0) return;
    uint64_t own = this_hart()->index;
    for (uint64_t n = 1; n < hart_count; n++) {
        uint64_t i = (own + n) % hart_count;
        if (change_bits(1ul << i, 0) >> i & 1) {
            ipi_send(harts[i]);
            return;
        }
    }
}

void scheduler_enqueue(struct executor *executor) {
    take_turn(executor, false);
    wake_another();
}

static void sleep_until_somebody_waits(void) {
    do {
        if (this_hart()->reap_due) timer_need_tick();
        reap_all();
        shootdown_withdraw();
        info_count_pages();
        change_bits(0, own_bit());
        if (nobody_waits() && !this_hart()->reap_due) machine_wait();
        change_bits(own_bit(), 0); /* awake, whoever has woken it */
        interrupt_serve();
    } while (nobody_waits());
    timer_need_tick();
}

/* The queue's own is done with this executor, which is not to run. */
static void drop(struct executor *executor, uint64_t state) {
    if (state & STATE_TERMINATED) executor_end(executor);
    executor_put(executor);
}

static bool run_here(struct executor *executor) {
    struct hart *hart = this_hart();
    __atomic_store_n(&executor->hart, hart->self, __ATOMIC_RELEASE);
    for (uint64_t seen = state_load(executor);;) {
        if (!state_runnable(seen)) {
            if (!state_change(executor, &seen, seen & ~STATE_QUEUED)) continue;
            drop(executor, seen);
            return false;
        }
        if (!state_change(executor, &seen, seen + STATE_EXECUTING - STATE_QUEUED)) continue;
        hart->executor = executor;
        hart->switched = 1;
        if (seen & STATE_REASON) park_finish(executor);
        return true;
    }
}

struct executor *scheduler_next(void) {
    struct executor *first;
    bool announced = false;
    this_hart()->executor = NULL;
    do {
        while ((first = take_turn(NULL, true)) == NULL) {
            sleep_until_somebody_waits();
            announced = true;
        }
        if (announced && !nobody_waits()) wake_another(); /* we may have been woken for two */
        announced = false;
    } while (!run_here(first));
    return first;
}

struct executor *scheduler_yield(struct executor *self) {
    uint64_t seen = state_load(self);
    do {
        if (!state_runnable(seen)) return scheduler_leave(self);
        if (nobody_waits()) return self;
    } while (!state_change(self, &seen, seen + STATE_QUEUED - STATE_EXECUTING));
    struct executor *first = take_turn(self, true);
    if (run_here(first)) return first;
    return scheduler_next();
}

bool scheduler_release(struct executor *self) {
    uint64_t seen = state_load(self);
    while (!state_runnable(seen))
        if (state_change(self, &seen, seen - STATE_EXECUTING)) {
            this_hart()->executor = NULL;
            drop(self, seen);
            return true;
        }
    if (seen & STATE_REASON) park_finish(self);
    return false;
}

struct executor *scheduler_leave(struct executor *self) {
    return !scheduler_release(self) ? self : scheduler_next();
}
