/*
 * Objects without references.
 *
 * What may be on the list of spaces:
 *   - a space that was never started, has lost its last reference, and is
 *     alive: it exits now;
 *   - a space to be torn down: its exit holds a reference until that is done;
 *   - a space that is torn down and has lost its last reference: it is freed.
 * It is never there twice: the exit's reference keeps it from the list until
 * the teardown is done.
 */
#include "reap.h"
#include "exit.h"
#include "interrupt.h"
#include "machine.h"
#include "page_alloc.h"

void reap_executor(struct executor *executor) {
    executor->next = this_hart()->reap_executors;
    this_hart()->reap_executors = executor;
    this_hart()->reap_due = 1;
}

void reap_space(struct space *space) {
    space->next = this_hart()->reap_spaces;
    this_hart()->reap_spaces = space;
    this_hart()->reap_due = 1;
}

/* Free the first executor of the list. If it has not ended it sleeps for ever,
 * or was never started: it ends now. */
static void reap_one_executor(struct hart *hart) {
    struct executor *executor = hart->reap_executors;
    hart->reap_executors = executor->next;
    if (executor_terminate(executor)) executor_end(executor);
    page_free(executor);
}

/* One slice of work on the first space of the list. */
static void reap_one_space(struct hart *hart) {
    struct space *space = hart->reap_spaces;
    hart->reap_spaces = space->next;
    if (space->torn == SPACE_TO_TEAR_DOWN) {
        if (exit_tear_down(space))
            space_put(space);
        else
            reap_space(space);
    } else if (space->torn == SPACE_TORN_DOWN) {
        page_free(space);
    } else {
        /* The exit's own reference may be given back by another hart, with the
         * teardown, before we are done. */
        space_get(space);
        space_exit(space);
        space_put(space);
    }
}

void reap_all(void) {
    struct hart *hart = this_hart();
    uint64_t timer_at = hart->timer_at;
    while (hart->reap_due && hart->timer_at == timer_at) {
        if (hart->reap_executors != NULL)
            reap_one_executor(hart);
        else if (hart->reap_spaces != NULL)
            reap_one_space(hart);
        hart->reap_due = hart->reap_executors != NULL || hart->reap_spaces != NULL;
        interrupt_serve();
    }
}
