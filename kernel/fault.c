/*
 * Faults of user programs.
 *
 * An entry that was invalid when the hart walked may have become valid since,
 * and a hart may even remember that it was invalid: nobody flushes for that.
 * The fault it causes is spurious; flushing is cheaper here, where it is rare,
 * than on every map. It may have been an entry that points to a table, which the
 * flush of a single page need not reach: all of the space goes.
 */
#include "fault.h"
#include "exit.h"
#include "park.h"
#include "riscv/csr.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"

/* Does the table, as it stands now, permit what faulted? A handle, or a page
 * without the right, never does. */
static bool is_spurious(struct space *space, uint64_t cause, uint64_t address) {
    uint64_t right = cause == CAUSE_LOAD_PAGE_FAULT    ? PTE_R
                     : cause == CAUSE_STORE_PAGE_FAULT ? PTE_W
                     : cause == CAUSE_FETCH_PAGE_FAULT ? PTE_X
                                                       : 0;
    if (right == 0 || address >= user_end()) return false;
    lock_acquire(&space->lock, LOCK_SPACE);
    pte_t pte = page_table_load(space->root, address);
    lock_release(&space->lock, LOCK_SPACE);
    return (pte & (PTE_V | PTE_U | right)) == (PTE_V | PTE_U | right);
}

/* The supervisor, with a reference, unless it has ended or there is none. */
static struct executor *living_supervisor(struct executor *self) {
    struct executor *supervisor = self->supervisor;
    if (supervisor == NULL || (state_load(supervisor) & STATE_TERMINATED)) return NULL;
    executor_get(supervisor);
    return supervisor;
}

struct executor *fault(struct executor *self, uint64_t cause, uint64_t address) {
    if (is_spurious(self->space, cause, address)) {
        sfence_vma_asid(self->space->asid);
        return self;
    }
    lock_acquire(&self->lock, LOCK_EXECUTOR);
    self->fault_cause = cause;
    self->fault_address = address;
    struct executor *supervisor = living_supervisor(self);
    /* Under the lock: a resume that comes meanwhile forgets the fault, and so
     * must find STOPPED to clear with it. */
    if (supervisor != NULL) __atomic_fetch_or(&self->state, STATE_STOPPED, __ATOMIC_ACQ_REL);
    lock_release(&self->lock, LOCK_EXECUTOR);
    if (supervisor == NULL) {
        space_exit(self->space);
        return scheduler_leave(self);
    }
    /* It is told when it finds the executor at rest, and may start or resume
     * it at once. */
    bool released = scheduler_release(self);
    executor_unpark(supervisor, EVENT_CHILD);
    executor_put(supervisor);
    return released ? scheduler_next() : self;
}
