/*
 * Objects without references.
 */
#include "reap.h"
#include "exit.h"
#include "interrupt.h"
#include "machine.h"
#include "page_alloc.h"

/* So many executors are freed before interrupts are served. */
enum { EXECUTORS_AT_A_TIME = 64 };

void reap_executor(struct executor *executor) {
    struct hart *hart = this_hart();
    executor->next = hart->reap_executors;
    hart->reap_executors = executor;
    hart->reap_due = 1;
}

void reap_space(struct space *space) {
    struct hart *hart = this_hart();
    space->next = hart->reap_spaces;
    hart->reap_spaces = space;
    hart->reap_due = 1;
}

/* Nobody refers to it: if it has not ended it never will by itself. */
static void free_executor(struct executor *executor) {
    if (executor_terminate(executor)) executor_end(executor);
    page_free(executor);
}

/*
 * One step with a space that was on the list. `torn` can be read without the
 * lock: this hart has put the space here, after it has begun the teardown, or
 * has dropped the last reference.
 */
static void work_on_space(struct space *space) {
    switch (space->torn) {
    case SPACE_WHOLE:
        /* Alive, without references. Somebody may start one of its executors
         * now that there is one again: exit terminates that, too. */
        space_get(space);
        space_exit(space);
        space_put(space);
        break;
    case SPACE_TO_TEAR_DOWN:
        if (exit_tear_down(space))
            space_put(space); /* the exit's; may bring it here once more */
        else
            reap_space(space);
        break;
    case SPACE_TORN_DOWN: page_free(space); break;
    }
}

void reap_all(void) {
    struct hart *hart = this_hart();
    uint64_t timer_at = hart->timer_at;
    while (hart->reap_executors != NULL || hart->reap_spaces != NULL) {
        if (hart->timer_at != timer_at) return; /* enough for now */
        for (int i = 0; i < EXECUTORS_AT_A_TIME && hart->reap_executors != NULL; i++) {
            struct executor *executor = hart->reap_executors;
            hart->reap_executors = executor->next;
            free_executor(executor);
        }
        struct space *space = hart->reap_spaces;
        if (space != NULL) {
            hart->reap_spaces = space->next;
            work_on_space(space);
        }
        interrupt_serve();
    }
    hart->reap_due = 0;
}
