/*
 * Objects without references. Executors are taken off their list 32 at a time, and
 * lie on a list of their own meanwhile.
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

/* Take up to 32 off the list. */
static struct executor *take_executors(struct hart *hart) {
    struct executor *first = hart->reap_executors, *last = first;
    if (first == NULL) return NULL;
    for (int i = 1; i < 32 && last->next != NULL; i++) last = last->next;
    hart->reap_executors = last->next;
    last->next = NULL;
    return first;
}

static void free_executors(struct executor *list) {
    while (list != NULL) {
        struct executor *executor = list;
        list = executor->next;
        if (executor_terminate(executor)) executor_end(executor);
        page_free(executor);
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
    uint64_t timer_at = hart->timer_at;
    while (hart->reap_executors != NULL || hart->reap_spaces != NULL) {
        free_executors(take_executors(hart));
        struct space *space = hart->reap_spaces;
        if (space != NULL) {
            hart->reap_spaces = space->next;
            if (work_on(space)) reap_space(space);
        }
        interrupt_serve();
        if (hart->timer_at != timer_at) break;
    }
    hart->reap_due = hart->reap_executors != NULL || hart->reap_spaces != NULL;
}
