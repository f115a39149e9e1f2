/*
 * Faults of user programs.
 *
 * Differs from the reference: MAP_REPLACE notes nothing. It clears V in the old
 * entries, which so keep their addresses until after the shootdown (map.c); the
 * three user_memory functions are loops of their own, after one check of the
 * range; a handle must lack U to be one.
 *
 * An entry that was invalid when the hart walked may have become valid since,
 * and a hart may even remember that it was invalid: nobody flushes for that.
 * The fault it causes is spurious; flushing the one page is cheaper here, where
 * it is rare, than on every map.
 */
#include "fault.h"
#include "exit.h"
#include "machine.h"
#include "park.h"
#include "riscv/csr.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"

/* The right that an access which ended in a page fault wanted; 0 for causes that
 * are none. */
static pte_t right_wanted(uint64_t cause) {
    switch (cause) {
    case CAUSE_FETCH_PAGE_FAULT: return PTE_X;
    case CAUSE_LOAD_PAGE_FAULT: return PTE_R;
    case CAUSE_STORE_PAGE_FAULT: return PTE_W;
    default: return 0;
    }
}

/* Does the table, as it stands, permit the access? Then the hart remembers
 * something older, or looked a moment too early. */
static bool spurious(struct space *space, uint64_t cause, uint64_t address) {
    pte_t wanted = right_wanted(cause);
    if (wanted == 0 || address >= user_end()) return false;
    wanted |= PTE_V | PTE_U;
    lock_acquire(&space->lock, LOCK_SPACE);
    const pte_t *entry = page_table_walk(space->root, address);
    bool permitted = entry != NULL && (pte_load(entry) & wanted) == wanted;
    lock_release(&space->lock, LOCK_SPACE);
    return permitted;
}

/* Note what `self` did, and stop it. Its supervisor, with a reference; 0 if none
 * lives: then it is not stopped. */
static struct executor *record(struct executor *self, uint64_t cause, uint64_t address) {
    lock_acquire(&self->lock, LOCK_EXECUTOR);
    self->fault_cause = cause;
    self->fault_address = address;
    struct executor *supervisor = self->supervisor;
    if (supervisor != NULL && (state_load(supervisor) & STATE_TERMINATED)) supervisor = NULL;
    if (supervisor != NULL) executor_get(supervisor); /* the lock keeps that of self->supervisor */
    /* This hart holds EXECUTING: nobody has to be interrupted. */
    if (supervisor != NULL) __atomic_fetch_or(&self->state, STATE_STOPPED, __ATOMIC_ACQ_REL);
    lock_release(&self->lock, LOCK_EXECUTOR);
    return supervisor;
}

struct executor *fault(struct executor *self, uint64_t cause, uint64_t address) {
    struct space *space = self->space;
    if (spurious(space, cause, address)) {
        sfence_vma_asid(space->asid);
        return self;
    }
    struct executor *supervisor = record(self, cause, address);
    if (supervisor == NULL) {
        space_exit(space); /* self is started, and so holds a reference */
        return scheduler_leave(self);
    }
    bool released = scheduler_release(self);
    /* It has come to rest, and may be gone. */
    executor_unpark(supervisor, EVENT_CHILD);
    executor_put(supervisor);
    return released ? scheduler_next() : self;
}
