/*
 * The end of a process.
 *
 * space_exit clears `alive` first and takes the lock second; executor_create
 * looks at `alive` under the lock. So an executor is either in the list when
 * exit goes through it, or is refused.
 *
 * Every executor in the list leaves it in executor_end, once (state.h, rule
 * 5), whoever completes it: exit itself for one at rest, the hart that runs it
 * when the interrupt has brought it into the kernel, the hart that takes it
 * off the run queue, the hart that frees it. TERMINATED and EXECUTING stand in
 * one word, so exit and a dispatch can't miss each other: if the dispatch came
 * first, exit finds EXECUTING, and the hart in executor->hart; if exit came
 * first, the dispatch finds TERMINATED.
 *
 * Whoever finds the list empty, under the lock, with `alive` cleared, begins
 * the teardown: once, as `torn` says. No hart is in user mode in the space by
 * then, and none will be. One may be published there yet (shootdown.h), where it
 * let go of an executor that ended elsewhere, until something is unmapped.
 */
#include "exit.h"
#include "page_alloc.h"
#include "reap.h"
#include "riscv/asid.h"
#include "unmap.h"

/* The lock is held. The teardown begins when nobody is left. Acquire: a hart that
 * had the space on its reap list has looked at `torn` before it cleared `alive`. */
static void tear_down_if_last(struct space *space) {
    bool alive = __atomic_load_n(&space->alive, __ATOMIC_ACQUIRE);
    if (space->executors == NULL && !alive && space->torn == SPACE_WHOLE) {
        space->torn = SPACE_TO_TEAR_DOWN;
        reap_space(space);
    }
}

void space_exit(struct space *space) {
    /* A reference until it is torn down; before `alive` is cleared, as from
     * then on another hart may begin the teardown, which gives it back. */
    space_get(space);
    if (__atomic_exchange_n(&space->alive, 0, __ATOMIC_SEQ_CST) == 0) {
        space_put(space);
        return;
    }

    /* Executors at rest are ours to end, after the lock is given up. One
     * without references is on its way to the same end, by way of its reap
     * list, and may be gone as soon as we let go of the lock. */
    struct executor *ours = NULL;
    lock_acquire(&space->lock, LOCK_SPACE);
    for (struct executor *e = space->executors; e != NULL; e = e->space_next) {
        if (!executor_get_unless_zero(e)) continue;
        if (executor_terminate(e)) {
            e->next = ours;
            ours = e;
        } else {
            executor_put(e);
        }
    }
    tear_down_if_last(space);
    lock_release(&space->lock, LOCK_SPACE);

    while (ours != NULL) {
        struct executor *e = ours;
        ours = e->next;
        executor_end(e);
        executor_put(e);
    }
}

void exit_leave(struct executor *executor) {
    struct space *space = executor->space;
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *previous = executor->space_previous, *next = executor->space_next;
    *(previous != NULL ? &previous->space_next : &space->executors) = next;
    if (next != NULL) next->space_previous = previous;
    tear_down_if_last(space);
    lock_release(&space->lock, LOCK_SPACE);
}

bool exit_tear_down(struct space *space) {
    lock_acquire(&space->lock, LOCK_SPACE);
    space->teardown_at = unmap_range(space, space->teardown_at, user_end());
    bool done = space->teardown_at == user_end();
    if (done) {
        page_free(space->root);
        space->root = NULL;
        asid_free(space->asid);
        space->torn = SPACE_TORN_DOWN;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return done;
}
