/*
 * bench2: operations between two harts, for a debugger to count.
 *
 * Each is done once so that what it needs only the first time is there, then
 * several times between count_begin(), which tells its name, and count_end().
 * Between the two stands nothing but the operation. A debugger that stops at
 * both can count what either hart executes (grading/stag/interleave.py); one
 * name less, 0, tells it that no more come. Run without a debugger, it just
 * does it all.
 *
 * At count_begin() the partner on the other hart sleeps, or is in user mode in
 * our space and stays there.
 */
#include "call.h"
#include "info.h"
#include "print.h"
#include "thread.h"
#include "time.h"

#define COUNTS 2 /* of each operation */
#define PAGES  256

/* At first, until the shell sleeps too. Not in milliseconds: for the shell a
 * debugger makes those endless. */
#define SLEEP_TICKS 3000000

#define AREA 0x8000000ul /* where we map */

#define EVENT_PING (1u << 3)
#define EVENT_PONG (1u << 4)

static uint32_t spinning; /* the partner is, 1 or 0 */

/* Places to stop at. */
__attribute__((noinline)) static void count_begin(const char *name) {
    __asm__ volatile("" : : "r"(name) : "memory");
}

__attribute__((noinline)) static void count_end(void) {
    __asm__ volatile("" : : : "memory");
}

/* What can't fail unless the kernel is broken. */
static void must(int64_t result) {
    if (result >= 0) return;
    printf("bench2: a call failed: %ld\n", result);
    destroy(SPACE_OWN);
}

/* Answer each ping. */
static int64_t answer(void *argument) {
    uint64_t other = thread_handle(argument);

    while (park(EVENT_PING, DEADLINE_NONE) == EVENT_PING) unpark(other, EVENT_PONG);
    return 0;
}

/* Be in user mode. */
static int64_t spin(void *) {
    __atomic_store_n(&spinning, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&spinning, __ATOMIC_RELAXED) != 0)
        ;
    return 0;
}

/* Wait until the partner has gone to sleep. */
static void wait_parked(uint64_t partner) {
    struct executor_info info;

    do must(inspect(partner, &info));
    while (!(info.state & STATE_PARKED) || (info.state & STATE_EXECUTING));
}

/* The partner sleeps; we wake it, and sleep until it wakes us. */
static void count_wake(uint64_t partner) {
    for (uint64_t i = 0; i <= COUNTS; i++) {
        wait_parked(partner);
        if (i != 0) count_begin("wake_harts");
        unpark(partner, EVENT_PING);
        park(EVENT_PONG, DEADLINE_NONE);
        count_end();
    }
}

static void map_and_touch(uint64_t pages) {
    must(map(SPACE_OWN, AREA, pages, PROT_READ | PROT_WRITE, 0));
    for (uint64_t i = 0; i < pages; i++) *(volatile uint64_t *)(AREA + i * PAGE_SIZE) = i;
}

static void count_unmap(const char *name, uint64_t pages) {
    for (uint64_t i = 0; i <= COUNTS; i++) {
        map_and_touch(pages);
        if (i != 0) count_begin(name);
        unmap(SPACE_OWN, AREA, pages);
        count_end();
    }
}

static void count_replace(void) {
    map_and_touch(1);
    for (uint64_t i = 0; i <= COUNTS; i++) {
        if (i != 0) count_begin("replace_harts");
        must(map(SPACE_OWN, AREA, 1, PROT_READ | PROT_WRITE, MAP_REPLACE));
        count_end();
    }
    unmap(SPACE_OWN, AREA, 1);
}

int main(void) {
    struct thread *partner;

    if (info_page()->hart_count < 2) {
        printf("bench2: this machine has one hart; two are wanted\n");
        return 1;
    }
    for (uint64_t end = time_now() + SLEEP_TICKS; time_now() < end;) park(EVENT_PING, end);
    must(thread_create(answer, thread_self(), &partner));
    count_wake(thread_handle(partner));
    must(thread_create(spin, 0, &partner));
    while (__atomic_load_n(&spinning, __ATOMIC_RELAXED) == 0) yield();
    count_unmap("unmap_harts", 1);
    count_unmap("unmap_256_harts", PAGES);
    count_replace();
    count_begin(0);
    printf("bench2: done\n");
    return 0;
}
