/*
 * Objects without references. Executors are taken off their list all at once.
 */
#include "reap.h"
#include "exit.h"
#include "interrupt.h"
#include "machine.h"
#include "page_alloc.h"

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

static void free_executors(struct executor *list) {
    for (int i = 1; list != NULL; i++) {
        struct executor *executor = list;
        list = executor->next;
        if (executor_terminate(executor)) executor_end(executor);
        page_free(executor);
        if (i % 32 == 0) interrupt_serve();
    }
}

/* True if that was a slice of a teardown which is not the last. */
static bool work_on(struct space *space) {
    if (space->torn == SPACE_TORN_DOWN) {
        page_free(space);
        return false;
    }
    if (space->torn == SPACE_TO_TEAR_DOWN) {
        if (!exit_tear_down(space)) return true;
    } else {
        space_get(space);
        space_exit(space);
    }
    space_put(space);
    return false;
}

void reap_all(void) {
    struct hart *hart = this_hart();
    while (hart->reap_executors != NULL || hart->reap_spaces != NULL) {
        struct executor *executors = hart->reap_executors;
        hart->reap_executors = NULL;
        free_executors(executors);
        struct space *space = hart->reap_spaces;
        if (space != NULL) {
            hart->reap_spaces = space->next;
            if (work_on(space)) reap_space(space);
        }
        interrupt_serve();
    }
    hart->reap_due = 0;
}
