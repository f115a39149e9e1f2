/*
 * The MCS lock.
 *
 *   lock ----------------------------------------+
 *                                                v
 *   hart 2 (holds)    hart 0 (waits)         hart 3 (waits)
 *   +------+------+   +------+------+        +------+------+
 *   | next | held |   | next | held |        | next | held |
 *   +--|---+------+   +--|---+------+        +------+------+
 *      +------------->   +---------------->
 *
 * Invariant: from the holder, the `next` pointers lead through all that wait,
 * in the order of their swaps, to the hart that `lock` names; but between a
 * hart's swap and its store into its predecessor's `next` the chain is open
 * there, and the predecessor, if it wants to hand over, waits for that store.
 *
 * `held` of a waiting hart is 1 until the lock is its own.
 *
 * Memory order:
 *   - A hart sets its `next` to 0 before the swap makes it visible to whoever
 *     comes behind: the swap is a release. It is an acquire too, for the case
 *     that the lock was free: it reads what the last holder's compare-and-swap
 *     released.
 *   - If there is a hart before it, it sets `held` before that one can see it:
 *     the store into the predecessor's `next` is a release and its load an
 *     acquire, so the predecessor's store of `held` comes after our own.
 *   - Handing over stores `held` with release, waiting loads it with acquire:
 *     what the holder did under the lock is seen by the next.
 *
 * Other harts follow pointers to our node: they are linear-map addresses.
 */
#include "mcs_lock.h"
#include "compiler.h"
#include "lock.h"
#include "machine.h"

LEAF void mcs_lock_acquire(struct hart **lock) {
    lock_rank_enter(LOCK_SCHEDULER);
    struct hart *self = this_hart();
    __atomic_store_n(&self->mcs_lock_next, NULL, __ATOMIC_RELAXED);
    struct hart *before = __atomic_exchange_n(lock, self->self, __ATOMIC_ACQ_REL);
    if (before == NULL) return;
    __atomic_store_n(&self->mcs_lock_held, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&before->mcs_lock_next, self->self, __ATOMIC_RELEASE);
    while (__atomic_load_n(&self->mcs_lock_held, __ATOMIC_ACQUIRE) != 0) machine_relax();
}

LEAF void mcs_lock_release(struct hart **lock) {
    lock_rank_leave(LOCK_SCHEDULER);
    struct hart *next = __atomic_load_n(&this_hart()->mcs_lock_next, __ATOMIC_ACQUIRE);
    if (next == NULL) {
        /* Nobody behind us, unless one comes just now. */
        struct hart *expected = this_hart()->self;
        if (__atomic_compare_exchange_n(lock, &expected, NULL, false, CAS_ORDER, CAS_ORDER)) return;
        while ((next = __atomic_load_n(&this_hart()->mcs_lock_next, __ATOMIC_ACQUIRE)) == NULL)
            machine_relax();
    }
    __atomic_store_n(&next->mcs_lock_held, 0, __ATOMIC_RELEASE);
}
