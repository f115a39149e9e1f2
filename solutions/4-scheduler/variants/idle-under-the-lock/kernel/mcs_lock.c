/*
 * The MCS lock, sequentially consistent throughout. See scheduler.c for what else
 * differs.
 */
#include "mcs_lock.h"
#include "compiler.h"
#include "lock.h"
#include "machine.h"

/* Wait for a word of this hart's page: until it is not `value`. */
static inline uint64_t wait_while(const uint64_t *word, uint64_t value) {
    uint64_t now;
    while ((now = __atomic_load_n(word, __ATOMIC_SEQ_CST)) == value) machine_relax();
    return now;
}

void mcs_lock_acquire(struct hart **lock) {
    struct hart *self = this_hart()->self;
    lock_rank_enter(LOCK_SCHEDULER);
    __atomic_store_n(&self->mcs_lock_held, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&self->mcs_lock_next, NULL, __ATOMIC_SEQ_CST);
    struct hart *before = __atomic_exchange_n(lock, self, __ATOMIC_SEQ_CST);
    if (before != NULL) {
        __atomic_store_n(&before->mcs_lock_next, self, __ATOMIC_SEQ_CST);
        wait_while(&self->mcs_lock_held, 1);
    }
}

void mcs_lock_release(struct hart **lock) {
    struct hart *self = this_hart()->self, *last = self;
    /* Try to leave it free at once: that succeeds if nobody has come. */
    if (!__atomic_compare_exchange_n(lock, &last, NULL, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        struct hart *next;
        while ((next = __atomic_load_n(&self->mcs_lock_next, __ATOMIC_SEQ_CST)) == NULL)
            machine_relax();
        __atomic_store_n(&next->mcs_lock_held, 0, __ATOMIC_SEQ_CST);
    }
    lock_rank_leave(LOCK_SCHEDULER);
}
