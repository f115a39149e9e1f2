/*
 * The end of a process. `alive` is made 0 by lr and sc.
 */
#include "exit.h"
#include "machine.h"
#include "page_alloc.h"
#include "reap.h"
#include "riscv/asid.h"
#include "state.h"
#include "unmap.h"

/* True for the one that makes it 0. */
static bool clear_alive(uint32_t *alive) {
    uint64_t before, failed;
    asm volatile("1: lr.w.aqrl %0, (%2)\n"
                 "   beqz %0, 2f\n"
                 "   sc.w.rl %1, zero, (%2)\n"
                 "   bnez %1, 1b\n"
                 "2:"
                 : "=&r"(before), "=&r"(failed)
                 : "r"(alive)
                 : "memory");
    return before != 0;
}

/* The lock is held. */
static void look_if_empty(struct space *space) {
    if (space->executors != NULL || space_alive(space)) return;
    if (space->torn != SPACE_WHOLE) return;
    space->torn = SPACE_TO_TEAR_DOWN;
    reap_space(space);
}

void space_exit(struct space *space) {
    space_get(space);
    if (!clear_alive(&space->alive)) {
        space_put(space);
        return;
    }
    struct executor *first = NULL, **last = &first;
    lock_acquire(&space->lock, LOCK_SPACE);
    look_if_empty(space);
    for (struct executor *e = space->executors; e != NULL; e = e->space_next) {
        if (executor_get_unless_zero(e)) {
            if (executor_terminate(e)) {
                *last = e;
                last = &e->next;
            } else {
                executor_put(e);
            }
        }
    }
    *last = NULL;
    lock_release(&space->lock, LOCK_SPACE);
    while (first != NULL) {
        struct executor *e = first;
        first = e->next;
        executor_end(e);
        executor_put(e);
    }
}

void exit_leave(struct executor *executor) {
    struct space *space = executor->space;
    lock_acquire(&space->lock, LOCK_SPACE);
    struct executor **link = &space->executors;
    while (*link != executor) link = &(*link)->space_next;
    *link = executor->space_next;
    if (*link != NULL) (*link)->space_previous = executor->space_previous;
    look_if_empty(space);
    lock_release(&space->lock, LOCK_SPACE);
}

bool exit_tear_down(struct space *space) {
    bool done = false;
    lock_acquire(&space->lock, LOCK_SPACE);
    space->teardown_at = unmap_range(space, space->teardown_at, user_end());
    if (space->teardown_at >= user_end()) {
        asid_free(space->asid);
        struct page_chain chain = {0};
        page_retire(space->root, &chain);
        space->root = NULL;
        page_free_chain(&chain);
        space->torn = SPACE_TORN_DOWN;
        done = true;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return done;
}
