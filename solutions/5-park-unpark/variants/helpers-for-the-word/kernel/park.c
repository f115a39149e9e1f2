/*
 * Park and unpark. Other than the reference: small functions compute words
 * (without, parked, unparked), and the park's number is kept from the step that
 * announced it; a deadline that has passed takes the park back as -EAGAIN does,
 * with no reason; call_unpark queues with the space's lock held; executor_stop
 * does nothing to one that is stopped. sync.c: mutex_lock tries from what it has
 * last seen, without a new load.
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

/* The events that are pending in this word. */
static inline uint32_t pending(uint64_t state) {
    return (uint32_t)(state >> STATE_EVENTS_SHIFT);
}

/* The word, with these events taken out of those that are pending. */
static inline uint64_t without(uint64_t state, uint32_t events) {
    return state & ~((uint64_t)events << STATE_EVENTS_SHIFT);
}

/* The word of an executor in its next park. The sequence number counts up in
 * its 20 bits and nowhere else. */
static inline uint64_t parked(uint64_t state) {
    uint64_t sequence = (state + STATE_SEQUENCE_ONE) & STATE_SEQUENCE;
    return (state & ~(STATE_SEQUENCE | STATE_REASON)) | sequence | STATE_PARKED;
}

/* The word of a parked executor whose park has ended for this reason. */
static inline uint64_t unparked(uint64_t state, uint64_t reason) {
    state = (state & ~STATE_PARKED) | reason;
    return state_needs_queue(state) ? state | STATE_QUEUED : state;
}

/*
 * Announce a park of `self`, which runs here, or take the events of the mask
 * that are pending: one or the other, in one step. Returns the events, or 0 if
 * `self` is parked; then *parked_as is the word that says so.
 *
 * The mask is stored before the step and loaded by executor_unpark behind the
 * load that found PARKED: the step's release pairs with that acquire.
 */
static uint32_t announce(struct executor *self, uint32_t mask, uint64_t *parked_as) {
    uint32_t taken;
    uint64_t next;
    __atomic_store_n(&self->wait_mask, mask, __ATOMIC_RELAXED);
    uint64_t seen = state_load(self);
    do {
        taken = pending(seen) & mask;
        next = taken != 0 ? without(seen, taken) : parked(seen);
    } while (!state_change(self, &seen, next));
    *parked_as = next;
    return taken;
}

void executor_unpark(struct executor *executor, uint32_t events) {
    uint64_t next;
    uint64_t seen = state_load(executor);
    do {
        next = seen | (uint64_t)events << STATE_EVENTS_SHIFT;
        /* The mask may be that of a later park than `seen`; then the change
         * fails, for the word has another sequence number. */
        if ((seen & STATE_PARKED) &&
            (pending(next) & __atomic_load_n(&executor->wait_mask, __ATOMIC_RELAXED)))
            next = unparked(next, STATE_REASON_EVENT);
    } while (!state_change(executor, &seen, next));

    /* Was it this step that has set QUEUED? */
    if (next & ~seen & STATE_QUEUED) {
        executor_get(executor);
        scheduler_enqueue(executor);
    }
}

bool park_timeout(struct executor *executor, uint64_t sequence) {
    uint64_t next;
    uint64_t seen = state_load(executor);
    do {
        if (!(seen & STATE_PARKED) || (seen & STATE_SEQUENCE) != sequence) return false;
        next = unparked(seen, STATE_REASON_TIMEOUT);
    } while (!state_change(executor, &seen, next));
    return next & ~seen & STATE_QUEUED;
}

void park_finish(struct executor *executor) {
    /* Whoever is in the heap has a deadline. (Not the other way round: a park
     * that ended before it slept leaves an old one.) */
    if (executor->deadline != DEADLINE_NONE) deadline_remove(executor);

    /* Events may come while we look, but the reason and the mask are ours. */
    uint32_t taken;
    uint64_t seen = state_load(executor);
    bool by_event = (seen & STATE_REASON) == STATE_REASON_EVENT;
    uint32_t mask = by_event ? (uint32_t)executor->wait_mask : 0;
    do {
        taken = pending(seen) & mask;
    } while (!state_change(executor, &seen, without(seen, taken) & ~STATE_REASON));
    call_result(executor, by_event ? (int64_t)taken : -ETIMEDOUT);
}

/* End the park that `self`, which runs here, has announced. False if it has
 * been ended already, and there is a reason. */
static bool cancel(struct executor *self) {
    uint64_t seen = state_load(self);
    do {
        if (!(seen & STATE_PARKED)) return false;
    } while (!state_change(self, &seen, seen & ~STATE_PARKED));
    return true;
}

/*
 * `self` is announced, in the park that `parked_as` tells of: sleep until it
 * ends, by an event or by its deadline. Returns who runs now.
 *
 * Only now does it get into the heap: if it got there before PARKED was set,
 * the deadline might pass in between, and find no park. It may already be
 * woken; then scheduler_leave finds that, and park_finish takes it out again.
 */
static struct executor *sleep(struct executor *self, uint64_t parked_as, uint64_t deadline) {
    if (deadline == DEADLINE_NONE)
        self->deadline = DEADLINE_NONE; /* it is not in the heap: see park_finish */
    else if (deadline > machine_time())
        deadline_insert(self, deadline, parked_as & STATE_SEQUENCE);
    else if (cancel(self))
        return call_result(self, -ETIMEDOUT);
    return scheduler_leave(self);
}

/* park(mask, deadline): sleep until one of the events in mask is pending.
 * Takes those events and returns them; -ETIMEDOUT, -EINVAL. */
struct executor *call_park(struct executor *self) {
    uint64_t mask = self->x[REG_A0];
    if (mask == 0 || mask >> 32 != 0) return call_result(self, -EINVAL);
    uint64_t parked_as;
    uint32_t taken = announce(self, (uint32_t)mask, &parked_as);
    if (taken != 0) return call_result(self, taken);
    return sleep(self, parked_as, self->x[REG_A1]);
}

/* park_if(addr, expected, deadline): sleep while the aligned 32-bit word at
 * addr is `expected`, until EVENT_WAKE. Returns the event; -EAGAIN if the word
 * differs, -ETIMEDOUT, -EINVAL, -EFAULT. */
struct executor *call_park_if(struct executor *self) {
    struct space *space = self->space;
    user_t address = user(self->x[REG_A0]);
    uint32_t expected = (uint32_t)self->x[REG_A1];
    if (address.raw % sizeof(uint32_t) != 0) return call_result(self, -EINVAL);

    /* The page is the program's as long as we hold the lock. */
    lock_acquire(&space->lock, LOCK_SPACE);
    const uint32_t *word = user_memory_at(space, address, PROT_READ);
    if (word == NULL) {
        lock_release(&space->lock, LOCK_SPACE);
        return call_result(self, -EFAULT);
    }
    uint64_t parked_as;
    uint32_t taken = announce(self, EVENT_WAKE, &parked_as);
    /* Announce, then look: a waker stores the word, then looks at our state
     * (unpark is a full barrier to it). One of us sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool differs = __atomic_load_n(word, __ATOMIC_RELAXED) != expected;
    lock_release(&space->lock, LOCK_SPACE);

    if (taken != 0) return call_result(self, taken);
    if (differs && cancel(self)) return call_result(self, -EAGAIN);
    return sleep(self, parked_as, self->x[REG_A2]);
}

/* park_and_swap(addr, value, deadline): put value into the aligned 32-bit word
 * at addr, then sleep until EVENT_WAKE. Returns the event, and the old value
 * in a1; -ETIMEDOUT (swapped all the same), -EINVAL, -EFAULT. */
struct executor *call_park_and_swap(struct executor *self) {
    struct space *space = self->space;
    user_t address = user(self->x[REG_A0]);
    uint32_t value = (uint32_t)self->x[REG_A1];
    if (address.raw % sizeof(uint32_t) != 0) return call_result(self, -EINVAL);

    lock_acquire(&space->lock, LOCK_SPACE);
    uint32_t *word = user_memory_at(space, address, PROT_READ | PROT_WRITE);
    if (word == NULL) {
        lock_release(&space->lock, LOCK_SPACE);
        return call_result(self, -EFAULT);
    }
    uint64_t parked_as;
    uint32_t taken = announce(self, EVENT_WAKE, &parked_as);
    /* Release: whoever sees the value finds the park. Acquire: for the program,
     * this may be the swap that takes something over. */
    uint32_t old = __atomic_exchange_n(word, value, __ATOMIC_ACQ_REL);
    lock_release(&space->lock, LOCK_SPACE);

    /* While the registers are ours: from scheduler_leave on they are not. */
    self->x[REG_A1] = old;
    if (taken != 0) return call_result(self, taken);
    return sleep(self, parked_as, self->x[REG_A2]);
}

/* unpark(executor, events): make events pending, and wake it if it waits for
 * one of them. -EINVAL, -EBADF. */
struct executor *call_unpark(struct executor *self) {
    struct space *space = self->space;
    uint64_t events = self->x[REG_A1];
    if (events == 0 || events >> 32 != 0) return call_result(self, -EINVAL);
    /* The lock keeps the handle, and the handle the executor. */
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *executor = handle_executor(space, user(self->x[REG_A0]));
    if (executor != NULL) executor_unpark(executor, (uint32_t)events);
    lock_release(&space->lock, LOCK_SPACE);
    return call_result(self, executor != NULL ? 0 : -EBADF);
}

int executor_stop(struct executor *executor) {
    uint64_t seen = state_load(executor);
    do {
        if (seen & STATE_TERMINATED) return -ESRCH;
        if (seen & STATE_STOPPED) return 0; /* whoever stopped it has seen to the rest */
    } while (!state_change(executor, &seen, seen | STATE_STOPPED));
    if (seen & STATE_EXECUTING) executor_interrupt(executor);
    return 0;
}

/* The step of executor_resume that takes STOPPED away. Returns 0, and in *queue
 * whether it has set QUEUED, or an error. */
static int take_stopped_away(struct executor *executor, bool *queue) {
    uint64_t next;
    uint64_t seen = state_load(executor);
    do {
        if (seen & STATE_TERMINATED) return -ESRCH;
        if (!(seen & STATE_STOPPED)) return -EBUSY;
        if (__atomic_load_n(&executor->started, __ATOMIC_RELAXED) == 0) return -EINVAL;
        next = seen & ~STATE_STOPPED;
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (!state_change(executor, &seen, next));
    *queue = next & ~seen & STATE_QUEUED;
    return 0;
}

int executor_resume(struct executor *executor) {
    /* Who has let it go forgets the cause before it can fault anew: `fault`
     * waits for the lock. */
    bool queue = false;
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    int error = take_stopped_away(executor, &queue);
    if (error == 0) executor->fault_cause = FAULT_NONE;
    lock_release(&executor->lock, LOCK_EXECUTOR);
    if (queue) {
        executor_get(executor);
        scheduler_enqueue(executor);
    }
    return error;
}
