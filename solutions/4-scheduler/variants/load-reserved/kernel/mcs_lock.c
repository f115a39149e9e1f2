/*
 * The MCS lock, its two atomic steps by load-reserved and store-conditional.
 */
#include "mcs_lock.h"
#include "lock.h"
#include "machine.h"

/* *lock = next if it is `is`, or in any case if `always`. What it was. */
static struct hart *change(struct hart **lock, bool always, struct hart *is, struct hart *next) {
    struct hart *was;
    uint64_t failed;
    __asm__ volatile("1: lr.d.aq %0, %2\n"
                     "   bnez %3, 2f\n"
                     "   bne %0, %4, 3f\n"
                     "2: sc.d.rl %1, %5, %2\n"
                     "   bnez %1, 1b\n"
                     "3:"
                     : "=&r"(was), "=&r"(failed), "+A"(*lock)
                     : "r"((uint64_t)always), "r"(is), "r"(next)
                     : "memory");
    return was;
}

void mcs_lock_acquire(struct hart **lock) {
    struct hart *self = this_hart()->self;
    lock_rank_enter(LOCK_SCHEDULER);
    __atomic_store_n(&self->mcs_lock_next, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&self->mcs_lock_held, 1, __ATOMIC_RELAXED);
    struct hart *before = change(lock, true, NULL, self);
    if (before != NULL) {
        __atomic_store_n(&before->mcs_lock_next, self, __ATOMIC_RELEASE);
        while (__atomic_load_n(&self->mcs_lock_held, __ATOMIC_RELAXED)) machine_relax();
    }
    /* What was done under the lock comes after what we have read of it. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

void mcs_lock_release(struct hart **lock) {
    struct hart *self = this_hart()->self;
    if (change(lock, false, self, NULL) != self) {
        struct hart *next;
        while ((next = __atomic_load_n(&self->mcs_lock_next, __ATOMIC_ACQUIRE)) == NULL)
            machine_relax();
        __atomic_store_n(&next->mcs_lock_held, 0, __ATOMIC_RELEASE);
    }
    lock_rank_leave(LOCK_SCHEDULER);
}
