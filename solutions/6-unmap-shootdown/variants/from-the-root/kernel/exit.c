/*
 * The end of a process.
 */
#include "exit.h"
#include "compiler.h"
#include "machine.h"
#include "page_alloc.h"
#include "reap.h"
#include "riscv/asid.h"
#include "state.h"
#include "unmap.h"

/*
 * The lock is held. When no executor is left in a space that has ended, its
 * teardown begins: once, on this hart. Both who clears `alive` and who leaves
 * the list come here, under the lock after their change; the later of the two
 * sees both.
 */
static void tear_down_if_left(struct space *space) {
    if (space->executors != NULL || space_alive(space) || space->torn != SPACE_WHOLE) return;
    space->torn = SPACE_TO_TEAR_DOWN;
    reap_space(space);
}

/*
 * The lock is held. Terminate what is in the list. Returns those that are ours
 * to end, linked by `next` (they are in no queue), with a reference each.
 */
static struct executor *terminate_all(struct space *space) {
    struct executor *ours = NULL;
    for (struct executor *e = space->executors; e != NULL; e = e->space_next) {
        /* Without references: a hart has it on its reap list, and ends it. It
         * must not find TERMINATED set by somebody who does not. */
        if (!executor_get_unless_zero(e)) continue;
        if (executor_terminate(e)) {
            e->next = ours;
            ours = e;
        } else {
            executor_put(e);
        }
    }
    return ours;
}

void space_exit(struct space *space) {
    /* For the teardown, which may begin, elsewhere, as soon as `alive` is 0. */
    space_get(space);
    uint32_t alive = 1;
    if (!__atomic_compare_exchange_n(&space->alive, &alive, 0, false, CAS_ORDER, CAS_ORDER)) {
        space_put(space); /* not the last: the caller has one */
        return;
    }
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *ours = terminate_all(space);
    tear_down_if_left(space);
    lock_release(&space->lock, LOCK_SPACE);
    while (ours != NULL) {
        struct executor *executor = ours;
        ours = executor->next;
        executor_end(executor);
        executor_put(executor); /* which may put it on a list, by `next` */
    }
}

void exit_leave(struct executor *executor) {
    struct space *space = executor->space;
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *next = executor->space_next, *previous = executor->space_previous;
    if (previous != NULL)
        previous->space_next = next;
    else
        space->executors = next;
    if (next != NULL) next->space_previous = previous;
    executor->space_next = executor->space_previous = NULL;
    tear_down_if_left(space);
    lock_release(&space->lock, LOCK_SPACE);
}

bool exit_tear_down(struct space *space) {
    lock_acquire(&space->lock, LOCK_SPACE);
    space->teardown_at = unmap_range(space, space->teardown_at, user_end());
    bool done = space->teardown_at == user_end();
    if (done) {
        /* All its executors have come to rest, so no hart has this root in
         * satp: it may go, and its number too. */
        struct page_chain chain = {0};
        page_retire(space->root, &chain);
        page_free_chain(&chain);
        space->root = NULL;
        asid_free(space->asid);
        space->torn = SPACE_TORN_DOWN;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return done;
}
