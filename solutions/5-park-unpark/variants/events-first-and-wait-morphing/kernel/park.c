/*
 * Park and unpark. Other than the reference: executor_unpark makes its events
 * pending in one step and looks for a park in another; single bits are changed
 * by fetch-and-or; one function does what the three calls share.
 * And in sync.c a signal moves a thread into the mutex's line.
 */
#include "park.h"
#include "call.h"
#include "compiler.h"
#include "deadline.h"
#include "handle.h"
#include "machine.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"
#include "user_memory.h"

#define IN_WORD(events) ((uint64_t)(events) << STATE_EVENTS_SHIFT)
#define OF_WORD(state)  ((uint32_t)((state) >> STATE_EVENTS_SHIFT))

static uint64_t clear_bits(struct executor *executor, uint64_t bits) {
    return __atomic_fetch_and(&executor->state, ~bits, __ATOMIC_SEQ_CST);
}

static uint64_t set_bits(struct executor *executor, uint64_t bits) {
    return __atomic_fetch_or(&executor->state, bits, __ATOMIC_SEQ_CST);
}

/* Who sends an event looks for a park afterwards, and who parks takes events
 * that are there: so after both there is no park with such an event. Two who
 * send may find the same park, and one of them ends it. */
void executor_unpark(struct executor *executor, uint32_t events) {
    uint64_t seen = set_bits(executor, IN_WORD(events)) | IN_WORD(events);
    uint64_t next;
    do {
        uint32_t mask;
        for (;;) {
            if (!(seen & STATE_PARKED)) return; /* who parks from now on finds the events */
            mask = (uint32_t)__atomic_load_n(&executor->wait_mask, __ATOMIC_ACQUIRE);
            if (OF_WORD(seen) & mask) break;
            /* It may be a later park's mask; not if the word is as it was. */
            uint64_t now = state_load(executor);
            if (now == seen) return;
            seen = now;
        }
        next = (seen & ~STATE_PARKED) | STATE_REASON_EVENT;
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (!state_change(executor, &seen, next));
    if (next & ~seen & STATE_QUEUED) {
        executor_get(executor);
        scheduler_enqueue(executor);
    }
}

bool park_timeout(struct executor *executor, uint64_t sequence) {
    uint64_t seen = state_load(executor);
    if (!(seen & STATE_PARKED) || (seen & STATE_SEQUENCE) != sequence) return false;
    uint64_t next = (seen & ~STATE_PARKED) | STATE_REASON_TIMEOUT;
    bool queue = state_needs_queue(next);
    if (!state_change(executor, &seen, next | (queue ? STATE_QUEUED : 0)))
        return park_timeout(executor, sequence);
    return queue;
}

void park_finish(struct executor *executor) {
    if (executor->deadline != DEADLINE_NONE) deadline_remove(executor);
    /* While it executes the reason is ours alone. */
    if ((state_load(executor) & STATE_REASON) == STATE_REASON_TIMEOUT) {
        clear_bits(executor, STATE_REASON);
        call_result(executor, -ETIMEDOUT);
        return;
    }
    uint32_t mask = (uint32_t)executor->wait_mask;
    uint64_t seen = clear_bits(executor, STATE_REASON | IN_WORD(mask));
    call_result(executor, OF_WORD(seen) & mask);
}

/* End our own park, if nobody has. */
static bool take_back(struct executor *self) {
    return (clear_bits(self, STATE_PARKED) & STATE_PARKED) != 0;
}

/* What the calls do with the program's word, once the park is announced. False
 * if there is no reason to sleep. */
typedef bool use_of_word(struct executor *self, uint32_t *word);

static bool is_as_expected(struct executor *self, uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED) == (uint32_t)self->x[REG_A1];
}

static bool swap(struct executor *self, uint32_t *word) {
    self->x[REG_A1] = __atomic_exchange_n(word, (uint32_t)self->x[REG_A1], __ATOMIC_SEQ_CST);
    return true;
}

/* Sleep until an event of `mask`, or until the deadline. */
static struct executor *park_for(struct executor *self, uint32_t mask, uint64_t deadline,
                                 use_of_word *use, uint32_t *word) {
    __atomic_store_n(&self->wait_mask, mask, __ATOMIC_RELAXED);
    uint64_t seen = state_load(self);
    uint64_t next;
    do {
        next = seen & ~IN_WORD(mask);
        if (next == seen) {
            uint64_t number = (seen & STATE_SEQUENCE) + STATE_SEQUENCE_ONE;
            next = (seen & ~(STATE_REASON | STATE_SEQUENCE)) | (number & STATE_SEQUENCE) |
                   STATE_PARKED;
        }
    } while (!state_change(self, &seen, next));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    bool sleeps = use == NULL || use(self, word);
    if (use != NULL) lock_release(&self->space->lock, LOCK_SPACE);
    self->deadline = DEADLINE_NONE;
    if (!(next & STATE_PARKED)) return call_result(self, OF_WORD(seen) & mask);
    if (!sleeps && take_back(self)) return call_result(self, -EAGAIN);
    if (sleeps && deadline != DEADLINE_NONE) {
        if (deadline > machine_time())
            deadline_insert(self, deadline, next & STATE_SEQUENCE);
        else if (take_back(self))
            return call_result(self, -ETIMEDOUT);
    }
    return scheduler_leave(self);
}

static struct executor *park_at_word(struct executor *self, uint64_t rights, use_of_word *use) {
    user_t address = user(self->x[REG_A0]);
    if (address.raw % sizeof(uint32_t) != 0) return call_result(self, -EINVAL);
    lock_acquire(&self->space->lock, LOCK_SPACE);
    uint32_t *word = user_memory_at(self->space, address, rights);
    if (word != NULL) return park_for(self, EVENT_WAKE, self->x[REG_A2], use, word);
    lock_release(&self->space->lock, LOCK_SPACE);
    return call_result(self, -EFAULT);
}

struct executor *call_park(struct executor *self) {
    uint64_t mask = self->x[REG_A0];
    if (mask == 0 || (uint32_t)mask != mask) return call_result(self, -EINVAL);
    return park_for(self, (uint32_t)mask, self->x[REG_A1], NULL, NULL);
}

struct executor *call_park_if(struct executor *self) {
    return park_at_word(self, PROT_READ, is_as_expected);
}

struct executor *call_park_and_swap(struct executor *self) {
    return park_at_word(self, PROT_READ | PROT_WRITE, swap);
}

struct executor *call_unpark(struct executor *self) {
    uint64_t events = self->x[REG_A1];
    lock_acquire(&self->space->lock, LOCK_SPACE);
    struct executor *executor = handle_executor(self->space, user(self->x[REG_A0]));
    int64_t result = executor == NULL                            ? -EBADF
                     : events == 0 || (uint32_t)events != events ? -EINVAL
                                                                 : 0;
    if (result == 0) executor_unpark(executor, (uint32_t)events);
    lock_release(&self->space->lock, LOCK_SPACE);
    return call_result(self, result);
}

/* Whoever has ended keeps the flag, and nobody looks at it. */
int executor_stop(struct executor *executor) {
    uint64_t seen = set_bits(executor, STATE_STOPPED);
    if (seen & STATE_TERMINATED) return -ESRCH;
    if (seen & STATE_EXECUTING) executor_interrupt(executor);
    return 0;
}

int executor_resume(struct executor *executor) {
    int result = 0;
    bool queue = false;
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    for (uint64_t seen = state_load(executor);;) {
        uint64_t next = seen & ~STATE_STOPPED;
        queue = state_needs_queue(next);
        if (seen & STATE_TERMINATED)
            result = -ESRCH;
        else if (next == seen)
            result = -EBUSY;
        else if (!__atomic_load_n(&executor->started, __ATOMIC_RELAXED))
            result = -EINVAL;
        else if (!state_change(executor, &seen, next | (queue ? STATE_QUEUED : 0)))
            continue;
        break;
    }
    if (result == 0) executor->fault_cause = FAULT_NONE;
    if (result == 0 && queue) executor_get(executor);
    lock_release(&executor->lock, LOCK_EXECUTOR);
    if (result == 0 && queue) scheduler_enqueue(executor);
    return result;
}
