/*
 * Executors: made, started, ended. (Stopping and parking: park.c.)
 */
#include "executor.h"
#include "compiler.h"
#include "console.h"
#include "deadline.h"
#include "exit.h"
#include "ipi.h"
#include "machine.h"
#include "page_alloc.h"
#include "park.h"
#include "reap.h"
#include "scheduler.h"
#include "space.h"
#include "state.h"

int executor_create(struct space *space, struct executor **result) {
    struct executor *executor = page_alloc();
    if (executor == NULL) return -ENOMEM;
    /* Nothing else is read before it is written. */
    blocks_zero(executor, offsetof(struct executor, references));
    executor->lock.held = 0;
    executor->supervisor = NULL;
    executor->fault_address = 0;
    executor->space_previous = NULL;
    executor->satp = space->satp;
    executor->space = space;
    executor->state = STATE_STOPPED;
    executor->references = 1;
    executor->fault_cause = FAULT_NONE;
    executor->deadline = DEADLINE_NONE;
    executor->status = STATUS_KILLED; /* unless it terminates by itself */

    lock_acquire(&space->lock, LOCK_SPACE);
    bool alive = space_alive(space);
    if (alive) {
        executor->space_next = space->executors;
        if (space->executors != NULL) space->executors->space_previous = executor;
        space->executors = executor;
        *result = executor;
    }
    lock_release(&space->lock, LOCK_SPACE);
    if (!alive) page_free(executor);
    return alive ? 0 : -ESRCH;
}

LEAF void executor_put(struct executor *executor) {
    if (UNLIKELY(reference_put(&executor->references))) reap_executor(executor);
}

void executor_interrupt(struct executor *executor) {
    /* Not set yet while `start` writes the registers of one that never ran:
     * then nobody needs an interrupt. */
    struct hart *hart = __atomic_load_n(&executor->hart, __ATOMIC_RELAXED);
    if (hart != NULL && hart != this_hart()->self) ipi_send(hart);
}

bool executor_terminate(struct executor *executor) {
    uint64_t before = __atomic_fetch_or(&executor->state, STATE_TERMINATED, __ATOMIC_ACQUIRE);
    if (before & STATE_EXECUTING) executor_interrupt(executor);
    return !(before & (STATE_TERMINATED | STATE_HELD));
}

/*
 * Give EXECUTING back, with its reference, and clear `clear` in the same step.
 * Queues the executor if it is runnable then, ends it if that was asked
 * meanwhile. Returns false if it has ended.
 */
static bool give_back(struct executor *executor, uint64_t clear) {
    uint64_t seen = state_load(executor);
    uint64_t next;
    do {
        next = seen & ~(STATE_EXECUTING | clear);
        if (state_needs_queue(next)) next |= STATE_QUEUED;
    } while (!state_change(executor, &seen, next));
    if (next & STATE_QUEUED) {
        scheduler_enqueue(executor);
        return true;
    }
    if (seen & STATE_TERMINATED) executor_end(executor);
    executor_put(executor);
    return !(seen & STATE_TERMINATED);
}

int executor_start(struct executor *executor, user_t pc, user_t sp, uint64_t argument) {
    /* Take EXECUTING, and its reference: the registers are ours. */
    uint64_t seen = state_load(executor);
    do {
        if (seen & STATE_TERMINATED) return -ESRCH;
        if ((seen & STATE_STOPPED) && (seen & STATE_EXECUTING)) return -EAGAIN;
        if (!(seen & STATE_STOPPED) || (seen & STATE_QUEUED)) return -EBUSY;
    } while (!state_change(executor, &seen, seen | STATE_EXECUTING));
    executor_get(executor);

    /* The first start makes it count as one that lives in its space. A space
     * without references is on its way out, and takes us with it; it stays in
     * memory until we have let go. */
    if (!executor->started && space_get_unless_zero(executor->space)) {
        __atomic_fetch_add(&executor->space->live, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&executor->started, 1, __ATOMIC_RELAXED);
    }
    bool counted = executor->started;
    deadline_remove(executor);
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    executor->fault_cause = FAULT_NONE;
    lock_release(&executor->lock, LOCK_EXECUTOR);
    executor->pc = pc.raw;
    executor->x[REG_SP] = sp.raw;
    executor->x[REG_A0] = argument;

    /* A park that it was stopped in is over. */
    uint64_t clear = STATE_PARKED | STATE_REASON | (counted ? STATE_STOPPED : 0);
    return give_back(executor, clear) && counted ? 0 : -ESRCH;
}

void executor_inspect(struct executor *executor, struct executor_info *info) {
    /* Registers of one at rest: EXECUTING keeps others from running it while
     * we read. Of one that has ended nobody writes any more; of one that runs,
     * or is about to, they change. */
    uint64_t seen = state_load(executor);
    bool taken = false;
    while (!taken && !(seen & (STATE_HELD | STATE_TERMINATED)))
        taken = state_change(executor, &seen, seen | STATE_EXECUTING);
    *info = (struct executor_info){.state = seen};
    if (!(seen & STATE_HELD)) {
        info->pc = executor->pc;
        for (int i = 0; i < 31; i++) info->x[i] = executor->x[i];
    }
    if (taken) {
        executor_get(executor);
        give_back(executor, 0);
    }
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    info->fault_cause = executor->fault_cause;
    info->fault_address = executor->fault_address;
    lock_release(&executor->lock, LOCK_EXECUTOR);
    info->status = __atomic_load_n(&executor->status, __ATOMIC_RELAXED);
}

void executor_end(struct executor *executor) {
    struct space *space = executor->space;
    exit_leave(executor);
    deadline_remove(executor);
    console_forget(executor);
    if (executor->started) {
        /* Relaxed: the lock in exit_leave has ordered what the others did there. */
        if (__atomic_sub_fetch(&space->live, 1, __ATOMIC_RELAXED) == 0) space_exit(space);
        space_put(space);
    }
    lock_acquire(&executor->lock, LOCK_EXECUTOR);
    struct executor *supervisor = executor->supervisor;
    executor->supervisor = NULL;
    lock_release(&executor->lock, LOCK_EXECUTOR);
    if (supervisor != NULL) {
        executor_unpark(supervisor, EVENT_CHILD);
        executor_put(supervisor);
    }
}
