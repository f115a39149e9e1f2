/*
 * Park and unpark.
 *
 * A park is announced by setting PARKED in the state word, and ends when PARKED
 * is cleared. The hart lets go of the executor (clears EXECUTING) in the step that
 * announces; or later, by scheduler_release, if a deadline or a word is still to be
 * seen to: then the park may end before that, and the executor keeps its hart.
 *
 * No wake-up is lost: events stay pending in the same word that holds PARKED.
 * An unpark that comes before the announcement is found by the very step that
 * would announce; one that comes after finds PARKED, and clears it. Then the
 * executor either still EXECUTES, and its own hart finds itself runnable when
 * it wants to let go, or it does not, and the unparker queues it. One word,
 * one compare-and-swap: one of the two, never both (state.h, rule 2).
 *
 * wait_mask is written before PARKED is set by a release and read after PARKED
 * was found by an acquire. An unparker that reads the mask of a later park has
 * read an older word: its compare-and-swap fails on the sequence number.
 *
 * park_if and park_and_swap announce first and touch the user's word second:
 *
 *     parker                              waker (another executor)
 *     set PARKED                          store the word
 *     fence                               unpark: a release, sets a bit beside
 *     load, or swap, the word             PARKED
 *
 * Both change the state word. If the unpark comes first there, the announcement
 * finds its event; if second, it finds PARKED and ends the park. So the parker
 * may miss the store, but not the unpark that follows it. The fence is for a waker
 * that only looks, by inspect, whether the other is PARKED, and unparks it then.
 */
#include "park.h"
#include "call.h"
#include "compiler.h"
#include "deadline.h"
#include "handle.h"
#include "machine.h"
#include "reap.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"
#include "user_memory.h"

/* Make events pending and end the park if it waits for one of them. Returns
 * true if the caller must now queue the executor: the reference for that is
 * taken. */
static inline bool post(struct executor *executor, uint32_t events) {
    uint64_t seen = state_load(executor);
    uint64_t next;
    do {
        next = seen | (uint64_t)events << STATE_EVENTS_SHIFT;
        if ((seen & STATE_PARKED) && (__atomic_load_n(&executor->wait_mask, __ATOMIC_RELAXED) &
                                      next >> STATE_EVENTS_SHIFT)) {
            next = (next & ~STATE_PARKED) | STATE_REASON_EVENT;
            if (state_needs_queue(next)) next |= STATE_QUEUED;
        }
    } while (!state_change(executor, &seen, next));
    if (!((next ^ seen) & STATE_QUEUED)) return false;
    executor_get(executor);
    return true;
}

LEAF void executor_unpark(struct executor *executor, uint32_t events) {
    if (post(executor, events)) scheduler_enqueue(executor);
}

bool park_timeout(struct executor *executor, uint64_t sequence) {
    uint64_t seen = state_load(executor);
    uint64_t next;
    do {
        if (!(seen & STATE_PARKED) || (seen & STATE_SEQUENCE) != sequence) return false;
        next = (seen & ~STATE_PARKED) | STATE_REASON_TIMEOUT;
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (!state_change(executor, &seen, next));
    return ((next ^ seen) & STATE_QUEUED) != 0;
}

LEAF void park_finish(struct executor *executor) {
    uint64_t seen = __atomic_load_n(&executor->state, __ATOMIC_RELAXED); /* state_clear acquires */
    uint64_t mask = seen & STATE_REASON_EVENT ? executor->wait_mask : 0;
    uint64_t taken = seen >> STATE_EVENTS_SHIFT & mask;
    /* Nobody else takes events, or changes the reason. One that is sent again
     * meanwhile is taken with the first. */
    state_clear(executor, STATE_REASON | taken << STATE_EVENTS_SHIFT);
    executor->x[REG_A0] = taken != 0 ? taken : (uint64_t)-ETIMEDOUT;
    deadline_remove(executor);
}

/*
 * Announce that `self`, which runs here, sleeps until an event of `mask`, and clear
 * EXECUTING in the same step if `let_go`; or, if an event is pending already, take it.
 * Returns the events taken, 0 if parked. *seen: the word as it was.
 */
static inline uint64_t announce(struct executor *self, uint32_t mask, bool let_go, uint64_t *seen) {
    __atomic_store_n(&self->wait_mask, mask, __ATOMIC_RELAXED);
    *seen = __atomic_load_n(&self->state, __ATOMIC_RELAXED); /* state_change acquires */
    uint64_t taken, next;
    do {
        taken = *seen >> STATE_EVENTS_SHIFT & mask;
        /* While it runs it is EXECUTING, not PARKED, and has no reason. */
        next = *seen + STATE_SEQUENCE_ONE + STATE_PARKED - (let_go ? STATE_EXECUTING : 0);
        /* The sequence number ends the lower half, and wraps there. */
        if (UNLIKELY((uint32_t)next < STATE_SEQUENCE_ONE)) next -= 1ul << 32;
        if (UNLIKELY(taken != 0)) next = *seen & ~(taken << STATE_EVENTS_SHIFT);
    } while (!state_change(self, seen, next));
    return taken;
}

/* Sleep: the park is announced. A deadline that has passed ends it at once. */
static struct executor *sleep(struct executor *self, uint64_t deadline) {
    if (deadline != DEADLINE_NONE) {
        uint64_t sequence = state_load(self) & STATE_SEQUENCE;
        if (deadline <= machine_time())
            park_timeout(self, sequence);
        else
            deadline_insert(self, deadline, sequence);
    }
    return scheduler_leave(self);
}

/* park with a deadline. Out of line, as park_end is, so that call_park needs no
 * frame. */
__attribute__((noinline)) static struct executor *park_until(struct executor *self) {
    uint64_t seen, taken = announce(self, (uint32_t)self->x[REG_A0], false, &seen);
    return taken != 0 ? call_result(self, (int64_t)taken) : sleep(self, self->x[REG_A1]);
}

/* The rest of a park of one that was to end: rule 5 of state.h. */
__attribute__((cold, noinline)) static struct executor *park_end(struct executor *self) {
    executor_end(self);
    executor_put(self);
    return scheduler_next();
}

/* park(mask, deadline): sleep until one of the events in mask is pending.
 * Takes those events and returns them; -ETIMEDOUT, -EINVAL. */
LEAF struct executor *call_park(struct executor *self) {
    uint64_t mask = self->x[REG_A0], seen;
    if (mask == 0 || mask >> 32 != 0) return call_result(self, -EINVAL);
    if (self->x[REG_A1] != DEADLINE_NONE) return park_until(self);
    uint64_t taken = announce(self, (uint32_t)mask, true, &seen);
    if (taken != 0) return call_result(self, (int64_t)taken);
    /* What scheduler_release does when it has let go. */
    this_hart()->executor = NULL;
    if (UNLIKELY(seen & STATE_TERMINATED)) return park_end(self);
    if (UNLIKELY(reference_put(&self->references))) reap_executor(self);
    return scheduler_next();
}

/* What park_if and, with `swap`, park_and_swap have in common: announce the park
 * and look at, or swap, the word that the call names. */
static inline struct executor *park_on_word(struct executor *self, bool swap) {
    user_t address = user(self->x[REG_A0]);
    uint32_t operand = (uint32_t)self->x[REG_A1];
    if (address.raw % sizeof(uint32_t) != 0) return call_result(self, -EINVAL);
    /* The lock keeps the page there while we look. */
    lock_acquire(&self->space->lock, LOCK_SPACE);
    uint32_t *word = user_memory_at(self->space, address, PROT_READ | (swap ? PROT_WRITE : 0));
    if (word == NULL) {
        lock_release(&self->space->lock, LOCK_SPACE);
        return call_result(self, -EFAULT);
    }
    uint64_t seen, taken = announce(self, EVENT_WAKE, false, &seen);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t value = swap ? __atomic_exchange_n(word, operand, __ATOMIC_ACQ_REL)
                          : __atomic_load_n(word, __ATOMIC_RELAXED);
    lock_release(&self->space->lock, LOCK_SPACE);
    if (swap) self->x[REG_A1] = value;
    if (taken != 0) return call_result(self, (int64_t)taken);
    if (swap || value == operand) return sleep(self, self->x[REG_A2]);
    seen = state_load(self);
    do {
        if (!(seen & STATE_PARKED)) return scheduler_leave(self); /* the event has won */
    } while (!state_change(self, &seen, seen & ~STATE_PARKED));
    return call_result(self, -EAGAIN);
}

/* park_if(addr, expected, deadline): sleep while the aligned 32-bit word at
 * addr is `expected`, until EVENT_WAKE. Returns the event; -EAGAIN if the word
 * differs, -ETIMEDOUT, -EINVAL, -EFAULT. */
struct executor *call_park_if(struct executor *self) {
    return park_on_word(self, false);
}

/* park_and_swap(addr, value, deadline): put value into the aligned 32-bit word
 * at addr, then sleep until EVENT_WAKE. Returns the event, and the old value
 * in a1; -ETIMEDOUT (swapped all the same), -EINVAL, -EFAULT. */
struct executor *call_park_and_swap(struct executor *self) {
    return park_on_word(self, true);
}

/* unpark by a handle that this hart does not remember. */
__attribute__((noinline)) static struct executor *unpark_look_up(struct executor *self) {
    struct executor *named = call_executor(self, user(self->x[REG_A0]));
    if (named == NULL) return call_result(self, -EBADF);
    executor_unpark(named, (uint32_t)self->x[REG_A1]);
    executor_put(named);
    return call_result(self, 0);
}

/* unpark that has ended a park. */
LEAF __attribute__((noinline)) static struct executor *unpark_queue(struct executor *self,
                                                                    struct executor *woken) {
    scheduler_enqueue(woken);
    return call_result(self, 0);
}

/* unpark(executor, events): make events pending, and wake it if it waits for
 * one of them. -EINVAL, -EBADF. */
LEAF struct executor *call_unpark(struct executor *self) {
    uint64_t events = self->x[REG_A1];
    if (events == 0 || events >> 32 != 0) return call_result(self, -EINVAL);
    /* It stays as long as this hart is published: it takes no space's lock here. */
    struct executor *executor = handle_remembered(user(self->x[REG_A0]));
    if (UNLIKELY(executor == NULL)) return unpark_look_up(self);
    return post(executor, (uint32_t)events) ? unpark_queue(self, executor) : call_result(self, 0);
}

int executor_stop(struct executor *executor) {
    uint64_t seen = state_load(executor);
    do {
        if (seen & STATE_TERMINATED) return -ESRCH;
    } while (!state_change(executor, &seen, seen | STATE_STOPPED));
    if (seen & STATE_EXECUTING) executor_interrupt(executor);
    return 0;
}

/* 0 if an executor with this state word may be resumed. */
static int resume_error(const struct executor *executor, uint64_t state) {
    if (state & STATE_TERMINATED) return -ESRCH;
    if (!(state & STATE_STOPPED)) return -EBUSY;
    return __atomic_load_n(&executor->started, __ATOMIC_RELAXED) ? 0 : -EINVAL;
}

int executor_resume(struct executor *executor) {
    int error;
    uint64_t seen = state_load(executor);
    uint64_t next;
    /* The lock keeps a fault that strikes at once from being forgotten. */
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    do {
        error = resume_error(executor, seen);
        next = seen & ~STATE_STOPPED;
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (error == 0 && !state_change(executor, &seen, next));
    if (error == 0) executor->fault_cause = FAULT_NONE;
    lock_release(&executor->lock, LOCK_EXECUTOR);
    if (error == 0 && ((next ^ seen) & STATE_QUEUED)) {
        executor_get(executor);
        scheduler_enqueue(executor);
    }
    return error;
}
