/*
 * The first program of lab 4: more executors than harts take turns on all
 * harts. Some give up their hart, the others have to be preempted.
 */
#include "call.h"
#include "info.h"
#include "lab.h"
#include "print.h"
#include "thread.h"
#include "time.h"
#include <stdbool.h>

#define EACH_HART 3 /* executors */
#define ROUNDS    4 /* looks at how far they have come */
#define WORK_MS   2
#define MANY      (EACH_HART * 16)

static uint64_t turns[MANY]; /* of each executor, written by it alone */

/* Use the hart for so long, then give it up. More often, the harts would do
 * nothing but wait for the run queue's lock. */
static void work_then_yield(void) {
    uint64_t end = time_after(WORK_MS);
    while (time_now() < end) {
    }
    yield();
}

static int64_t take_turns(void *argument) {
    uint64_t *mine = argument;
    bool polite = (mine - turns) % 2 == 0;
    for (;;) {
        __atomic_store_n(mine, *mine + 1, __ATOMIC_RELAXED);
        if (polite) work_then_yield();
    }
    return 0;
}

/* Until each executor has had a turn since the last look: none starves. */
static void wait_for_all(uint64_t count, uint64_t *seen) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t now;
        while ((now = __atomic_load_n(&turns[i], __ATOMIC_RELAXED)) == seen[i]) work_then_yield();
        seen[i] = now;
    }
}

int main(void) {
    uint64_t seen[MANY] = {0}, count = info_page()->hart_count * EACH_HART;
    printf("%lu executors on %u hart%s; every second one never yields\n", count,
           info_page()->hart_count, info_page()->hart_count == 1 ? "" : "s");
    for (uint64_t i = 0; i < count; i++) {
        struct thread *thread;
        if (thread_create(take_turns, &turns[i], &thread) < 0) {
            printf("no memory for a thread\n");
            return 1;
        }
    }
    for (int round = 1; round <= ROUNDS; round++) {
        wait_for_all(count, seen);
        printf("round %d: all have had turns\n", round);
    }
    lab_done(4);
}
