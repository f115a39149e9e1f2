/*
 * Objects without references, one at a time, spaces first.
 */
#include "reap.h"
#include "exit.h"
#include "interrupt.h"
#include "machine.h"
#include "page_alloc.h"

void reap_executor(struct executor *executor) {
    this_hart()->reap_due = 1;
    executor->next = this_hart()->reap_executors;
    this_hart()->reap_executors = executor;
}

void reap_space(struct space *space) {
    this_hart()->reap_due = 1;
    space->next = this_hart()->reap_spaces;
    this_hart()->reap_spaces = space;
}

static void free_executor(struct hart *hart) {
    struct executor *executor = hart->reap_executors;
    hart->reap_executors = executor->next;
    if (executor_terminate(executor)) executor_end(executor);
    page_free(executor);
}

static void go_on_with(struct space *space) {
    switch (space->torn) {
    case SPACE_WHOLE:
        space_get(space);
        space_exit(space);
        space_put(space);
        break;
    case SPACE_TO_TEAR_DOWN:
        if (!exit_tear_down(space))
            reap_space(space);
        else
            space_put(space);
        break;
    default: page_free(space);
    }
}

void reap_all(void) {
    struct hart *hart = this_hart();
    uint64_t timer_at = hart->timer_at;
    do {
        struct space *space = hart->reap_spaces;
        if (space != NULL) {
            hart->reap_spaces = space->next;
            go_on_with(space);
        } else if (hart->reap_executors != NULL) {
            free_executor(hart);
        } else {
            hart->reap_due = 0;
            return;
        }
        interrupt_serve();
    } while (hart->timer_at == timer_at);
}
