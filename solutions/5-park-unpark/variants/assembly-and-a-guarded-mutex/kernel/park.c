/*
 * Park and unpark. Other than the reference: the state word is changed by LR
 * and SC in assembly, between two full fences; a deadline that has passed is a
 * look that never parks; call_unpark takes a reference instead of the lock.
 * And in sync.c a mutex whose line is guarded by a spin lock.
 */
#include "park.h"
#include "call.h"
#include "deadline.h"
#include "machine.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"
#include "user_memory.h"

/* Change the word from *seen to `next`; if it is not *seen any more, false, and
 * *seen is what it is. */
static bool swap_state(struct executor *executor, uint64_t *seen, uint64_t next) {
    uint64_t found, failed;
    __asm__ volatile("   fence rw, rw\n"
                     "1: lr.d.aqrl %0, %2\n"
                     "   bne %0, %3, 2f\n"
                     "   sc.d.aqrl %1, %4, %2\n"
                     "   bnez %1, 1b\n"
                     "2: fence rw, rw\n"
                     : "=&r"(found), "=&r"(failed), "+A"(executor->state)
                     : "r"(*seen), "r"(next)
                     : "memory");
    bool changed = found == *seen;
    *seen = found;
    return changed;
}

/* The park in `seen` ends for that reason. */
static uint64_t park_over(uint64_t seen, uint64_t reason) {
    uint64_t next = (seen & ~STATE_PARKED) | reason;
    if (state_needs_queue(next)) next |= STATE_QUEUED;
    return next;
}

void executor_unpark(struct executor *executor, uint32_t events) {
    for (;;) {
        uint64_t seen = state_load(executor);
        uint64_t next = seen | (uint64_t)events << STATE_EVENTS_SHIFT;
        uint64_t mask = __atomic_load_n(&executor->wait_mask, __ATOMIC_ACQUIRE);
        bool ends = (seen & STATE_PARKED) != 0 && (next >> STATE_EVENTS_SHIFT & mask) != 0;
        if (ends) next = park_over(next, STATE_REASON_EVENT);
        uint64_t word = seen;
        if (!swap_state(executor, &word, next)) continue;
        if ((next & STATE_QUEUED) && !(seen & STATE_QUEUED)) {
            executor_get(executor);
            scheduler_enqueue(executor);
        }
        return;
    }
}

bool park_timeout(struct executor *executor, uint64_t sequence) {
    uint64_t seen = state_load(executor);
    while ((seen & (STATE_PARKED | STATE_SEQUENCE)) == (STATE_PARKED | sequence)) {
        uint64_t next = park_over(seen, STATE_REASON_TIMEOUT);
        if (swap_state(executor, &seen, next))
            return (next & STATE_QUEUED) != 0 && (seen & STATE_QUEUED) == 0;
    }
    return false;
}

/* Take the pending events of `mask`, and whatever reason there is. */
static uint32_t take(struct executor *executor, uint32_t mask) {
    uint64_t seen = state_load(executor);
    uint64_t clear = (uint64_t)mask << STATE_EVENTS_SHIFT | STATE_REASON;
    while (!swap_state(executor, &seen, seen & ~clear))
        ;
    return (uint32_t)(seen >> STATE_EVENTS_SHIFT) & mask;
}

void park_finish(struct executor *executor) {
    deadline_remove(executor);
    bool timeout = (state_load(executor) & STATE_REASON) == STATE_REASON_TIMEOUT;
    uint32_t taken = take(executor, timeout ? 0 : (uint32_t)executor->wait_mask);
    executor->x[REG_A0] = timeout ? (uint64_t)-ETIMEDOUT : taken;
}

/* `self` parks, unless an event of the mask is pending. Returns whether it has
 * parked, and in *sequence as what. */
static bool begin(struct executor *self, uint32_t mask, uint64_t *sequence) {
    __atomic_store_n(&self->wait_mask, mask, __ATOMIC_RELEASE);
    uint64_t seen = state_load(self);
    while ((seen >> STATE_EVENTS_SHIFT & mask) == 0) {
        *sequence = (seen + STATE_SEQUENCE_ONE) & STATE_SEQUENCE;
        uint64_t next = (seen & ~(STATE_SEQUENCE | STATE_REASON)) | *sequence | STATE_PARKED;
        if (swap_state(self, &seen, next)) return true;
    }
    return false;
}

static struct executor *fall_asleep(struct executor *self, uint64_t deadline, uint64_t sequence) {
    if (deadline != DEADLINE_NONE) deadline_insert(self, deadline, sequence);
    return scheduler_leave(self);
}

/* The result of a call that does not park: the events, or if there are none
 * `otherwise`. */
static struct executor *look(struct executor *self, uint32_t mask, int64_t otherwise) {
    uint32_t taken = take(self, mask);
    return call_result(self, taken != 0 ? (int64_t)taken : otherwise);
}

static bool has_passed(uint64_t deadline) {
    return deadline != DEADLINE_NONE && deadline <= machine_time();
}

/* The program's word that call_park_if or call_park_and_swap names; its space
 * is locked then. 0: there is none, a0 says why, and nothing is locked. */
static uint32_t *lock_word(struct executor *self, uint64_t rights) {
    uint64_t va = self->x[REG_A0];
    if (va & 3) {
        call_result(self, -EINVAL);
        return NULL;
    }
    lock_acquire(&self->space->lock, LOCK_SPACE);
    uint32_t *word = user_memory_at(self->space, user(va), rights);
    if (word == NULL) {
        lock_release(&self->space->lock, LOCK_SPACE);
        call_result(self, -EFAULT);
    }
    return word;
}

struct executor *call_park(struct executor *self) {
    uint64_t mask = self->x[REG_A0], deadline = self->x[REG_A1];
    uint64_t sequence = 0;
    if (mask == 0 || mask > UINT32_MAX) return call_result(self, -EINVAL);
    if (has_passed(deadline) || !begin(self, (uint32_t)mask, &sequence))
        return look(self, (uint32_t)mask, -ETIMEDOUT);
    return fall_asleep(self, deadline, sequence);
}

struct executor *call_park_if(struct executor *self) {
    uint64_t deadline = self->x[REG_A2], sequence = 0;
    uint32_t *word = lock_word(self, PROT_READ);
    if (word == NULL) return self;
    bool parked = !has_passed(deadline) && begin(self, EVENT_WAKE, &sequence);
    bool same = __atomic_load_n(word, __ATOMIC_SEQ_CST) == (uint32_t)self->x[REG_A1];
    lock_release(&self->space->lock, LOCK_SPACE);
    if (!parked) return look(self, EVENT_WAKE, same ? -ETIMEDOUT : -EAGAIN);
    if (same) return fall_asleep(self, deadline, sequence);
    uint64_t seen = state_load(self);
    while (seen & STATE_PARKED) {
        if (swap_state(self, &seen, seen & ~STATE_PARKED)) return call_result(self, -EAGAIN);
    }
    park_finish(self);
    return self;
}

struct executor *call_park_and_swap(struct executor *self) {
    uint64_t deadline = self->x[REG_A2], sequence = 0;
    uint32_t *word = lock_word(self, PROT_READ | PROT_WRITE);
    if (word == NULL) return self;
    bool parked = !has_passed(deadline) && begin(self, EVENT_WAKE, &sequence);
    uint32_t old;
    __asm__ volatile("amoswap.w.aqrl %0, %2, %1"
                     : "=r"(old), "+A"(*word)
                     : "r"((uint32_t)self->x[REG_A1])
                     : "memory");
    lock_release(&self->space->lock, LOCK_SPACE);
    self->x[REG_A1] = old;
    return parked ? fall_asleep(self, deadline, sequence) : look(self, EVENT_WAKE, -ETIMEDOUT);
}

struct executor *call_unpark(struct executor *self) {
    uint64_t events = self->x[REG_A1];
    if (events == 0 || events > UINT32_MAX) return call_result(self, -EINVAL);
    struct executor *executor = call_executor(self, user(self->x[REG_A0]));
    if (executor == NULL) return call_result(self, -EBADF);
    executor_unpark(executor, (uint32_t)events);
    executor_put(executor);
    return call_result(self, 0);
}

int executor_stop(struct executor *executor) {
    uint64_t seen = state_load(executor);
    while (!(seen & STATE_TERMINATED)) {
        if (!swap_state(executor, &seen, seen | STATE_STOPPED)) continue;
        if (seen & STATE_EXECUTING) executor_interrupt(executor);
        return 0;
    }
    return -ESRCH;
}

static int resume_locked(struct executor *executor) {
    uint64_t seen = state_load(executor);
    uint64_t next;
    do {
        if (seen & STATE_TERMINATED) return -ESRCH;
        if (!(seen & STATE_STOPPED)) return -EBUSY;
        if (__atomic_load_n(&executor->started, __ATOMIC_ACQUIRE) == 0) return -EINVAL;
        next = seen & ~STATE_STOPPED;
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (!swap_state(executor, &seen, next));
    executor->fault_cause = FAULT_NONE;
    if (state_needs_queue(seen & ~STATE_STOPPED)) {
        executor_get(executor);
        scheduler_enqueue(executor);
    }
    return 0;
}

int executor_resume(struct executor *executor) {
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    int result = resume_locked(executor);
    lock_release(&executor->lock, LOCK_EXECUTOR);
    return result;
}
