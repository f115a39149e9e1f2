/*
 * The end of a process. Executors at rest are ended one at a time: after each
 * the list is looked at anew, from its beginning.
 */
#include "exit.h"
#include "machine.h"
#include "page_alloc.h"
#include "reap.h"
#include "riscv/asid.h"
#include "state.h"
#include "unmap.h"

/* The lock is held. */
static void begin_teardown(struct space *space) {
    space->torn = SPACE_TO_TEAR_DOWN;
    reap_space(space);
}

/* Terminate executors until one is ours to end. It comes with a reference. */
static struct executor *terminate_next(struct space *space) {
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *e;
    for (e = space->executors; e != NULL; e = e->space_next) {
        if (!executor_get_unless_zero(e)) continue; /* on a reap list: ended there */
        if (executor_terminate(e)) break;
        executor_put(e);
    }
    if (space->executors == NULL && space->torn == SPACE_WHOLE) begin_teardown(space);
    lock_release(&space->lock, LOCK_SPACE);
    return e;
}

void space_exit(struct space *space) {
    space_get(space); /* for the teardown */
    if (__atomic_exchange_n(&space->alive, 0, __ATOMIC_ACQ_REL) == 0) {
        space_put(space);
        return;
    }
    for (struct executor *e; (e = terminate_next(space)) != NULL;) {
        executor_end(e);
        executor_put(e);
    }
}

void exit_leave(struct executor *executor) {
    struct space *space = executor->space;
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor *before = executor->space_previous, *after = executor->space_next;
    *(before != NULL ? &before->space_next : &space->executors) = after;
    if (after != NULL) after->space_previous = before;
    if (space->executors == NULL && !space_alive(space) && space->torn == SPACE_WHOLE)
        begin_teardown(space);
    lock_release(&space->lock, LOCK_SPACE);
}

bool exit_tear_down(struct space *space) {
    lock_acquire(&space->lock, LOCK_SPACE);
    if (space->teardown_at != user_end()) {
        space->teardown_at = unmap_range(space, space->teardown_at, user_end());
        if (space->teardown_at != user_end()) {
            lock_release(&space->lock, LOCK_SPACE);
            return false;
        }
    }
    struct page_table *root = space->root;
    space->root = NULL;
    space->torn = SPACE_TORN_DOWN;
    lock_release(&space->lock, LOCK_SPACE);
    /* Nobody but us has to do with these any more. */
    struct page_chain chain = {0};
    page_retire(root, &chain);
    page_free_chain(&chain);
    asid_free(space->asid);
    return true;
}
