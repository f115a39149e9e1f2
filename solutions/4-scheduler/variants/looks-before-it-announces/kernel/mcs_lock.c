/*
 * The MCS lock.
 */
#include "mcs_lock.h"
#include "compiler.h"
#include "lock.h"
#include "machine.h"

/*
 * A hart's node is in its hart page. The hart itself uses the page's fixed
 * address; whoever else comes to it does so by the linear one, `self`, which is
 * what stands in the lock and in the links.
 *
 * mcs_lock_next  written by its hart before it is in line, then once by the
 *                hart that comes in line behind it
 * mcs_lock_held  written by its hart before it is linked to the hart before it,
 *                then once by that one
 */

LEAF void mcs_lock_acquire(struct hart **lock) {
    struct hart *hart = this_hart(), *self = hart->self;
    lock_rank_enter(LOCK_SCHEDULER);
    __atomic_store_n(&hart->mcs_lock_next, NULL, __ATOMIC_RELAXED);
    /* Release: who swaps next writes our `next` after we have cleared it.
     * Acquire: of who left the lock free; and pairs with that release. */
    struct hart *before = __atomic_exchange_n(lock, self, __ATOMIC_ACQ_REL);
    if (before == NULL) return;
    /* Nobody clears `held` before finding us in the `next` before ours: the
     * release there publishes it. */
    __atomic_store_n(&hart->mcs_lock_held, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&before->mcs_lock_next, self, __ATOMIC_RELEASE);
    while (__atomic_load_n(&hart->mcs_lock_held, __ATOMIC_ACQUIRE) != 0) machine_relax();
}

LEAF void mcs_lock_release(struct hart **lock) {
    struct hart *hart = this_hart();
    struct hart *next = __atomic_load_n(&hart->mcs_lock_next, __ATOMIC_ACQUIRE);
    if (next == NULL) {
        struct hart *last = hart->self;
        if (__atomic_compare_exchange_n(lock, &last, NULL, false, CAS_ORDER, CAS_ORDER)) {
            lock_rank_leave(LOCK_SCHEDULER);
            return;
        }
        /* Somebody has swapped, and is about to link itself to us. */
        while ((next = __atomic_load_n(&hart->mcs_lock_next, __ATOMIC_ACQUIRE)) == NULL)
            machine_relax();
    }
    __atomic_store_n(&next->mcs_lock_held, 0, __ATOMIC_RELEASE);
    lock_rank_leave(LOCK_SCHEDULER);
}
