/*
 * usertests [deep] [NAME…]: does the kernel keep its promises? One small test
 * for each of its behaviours, seen from a program.
 *
 *   usertests            all tests
 *   usertests NAME…      those tests, or all of a part (memory, objects, …)
 *   usertests deep …     with more rounds, and what takes much time or memory
 *
 * Each test prints `name: ok`, or `name: FAILED` with the place and the check
 * that did not hold. The exit status is 0 only if all passed.
 *
 *   usertests_harness.h    what tests are made of
 *   usertests_memory.h     map, unmap, share
 *   usertests_objects.h    spaces, executors, faults, ends
 *   usertests_park.h       park, its relatives, unpark, the console
 *   usertests_schedule.h   turns, preemption
 *   usertests_library.h    threads, locks, heap
 *   usertests_spawn.h      program files, starting programs
 *   usertests_limits.h     no memory left, chains of spaces
 *
 * Each test runs in a thread, supervised by the main thread; how that makes
 * failures harmless stands in the harness. After each, whatever it has left
 * is ended and unmapped, and the number of free pages must be what it was
 * before. The kernel brings its counts up to date when a hart goes idle, so we
 * sleep a little and look again until they agree. So usertests wants to be
 * alone: pages that others take meanwhile look like a leak.
 */
#include "usertests_harness.h"
#include "usertests_memory.h"
#include "usertests_objects.h"
#include "usertests_park.h"
#include "usertests_schedule.h"
#include "usertests_library.h"
#include "usertests_spawn.h"
#include "usertests_limits.h"

struct part {
    const char *name;
    const struct test *tests;
    uint64_t count;
};

#define PART(name, tests)                                                                          \
    { name, tests, sizeof(tests) / sizeof(tests[0]) }

/* clang-format off: it does not know what a list in a macro is */
static const struct part parts[] = {
    PART("memory", memory_tests),     PART("objects", object_tests),  PART("park", park_tests),
    PART("schedule", schedule_tests), PART("library", library_tests), PART("spawn", spawn_tests),
    PART("limits", limit_tests),
};
/* clang-format on */

#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* A test may take this long before it counts as hanging. */
#define TEST_MS (3 * PATIENCE_MS)

bool deep;
static const char *current;   /* name of the test that runs */
static uint64_t pages_before; /* free before it */
static uint64_t passed, failed;

void check_failed(const char *file, int line, const char *text) {
    const char *base = file;
    for (const char *c = file; *c != 0; c++) {
        if (*c == '/') base = c + 1;
    }
    printf("%s: FAILED %s:%d %s\n", current, base, line, text);
    thread_exit(1);
}

static uint64_t free_pages(void) {
    const volatile struct info_page *info = info_page();
    uint64_t pages = info->pages_shared_free;

    for (uint64_t i = 0; i < info->hart_count; i++) pages += info->pages_cached[i];
    return pages;
}

/* Wait until as many pages are free as before. Returns false if that does not
 * come true. Long, as a hart tells its count when it ticks or goes idle, and
 * on a busy host that may take its time. */
static bool pages_come_back(void) {
    for (uint64_t pause = 1; pause <= 8192; pause *= 2) {
        sleep_ms(pause);
        if (free_pages() == pages_before) return true;
    }
    return false;
}

/* Count anew, when all is quiet: the same number ten times in a row. */
static void pages_count(void) {
    for (uint64_t same = 0; same < 10; same++) {
        if (free_pages() != pages_before) {
            pages_before = free_pages();
            same = 0;
        }
        sleep_ms(50);
    }
}

/* End what a test has left, and unmap it. */
static void clear_up(void) {
    struct executor_info info;

    for (uint64_t i = 0; i < WORKERS; i++) {
        destroy(handle(i));
        stop(handle(i));
    }
    for (uint64_t i = 0; i < WORKERS; i++) {
        while (inspect(handle(i), &info) == 0 &&
               (info.state & (STATE_EXECUTING | STATE_QUEUED)) != 0)
            yield();
    }
    unmap(SPACE_OWN, TEST_HANDLES, TEST_HANDLE_PAGES);
    unmap(SPACE_OWN, AREA, (AREA_END - AREA) >> PAGE_SHIFT);
}

/* The thread of a test. */
static int64_t test_thread(void *argument) {
    const struct test *test = argument;

    if (supervise(me(), HANDLE_SELF) < 0) return 1;
    test->run();
    return 0;
}

/* The thread of a test has faulted, or does not end: make it end. Its stack may
 * be the reason, so it gets the upper end again. */
static void test_give_up(struct thread *thread) {
    uint64_t executor = thread_handle(thread);

    stop(executor);
    while (start(executor, (uint64_t)thread_exit, (uint64_t)thread & ~15ul, 1) == -EBUSY) yield();
}

/* Wait until the thread of a test has ended. Returns what it returned. */
static int64_t test_wait(struct thread *thread) {
    struct executor_info info;
    uint64_t deadline = time_after(TEST_MS);
    int64_t result = 1;
    int64_t woken = 0;

    while (!child_settled(thread_handle(thread), &info) && woken >= 0)
        woken = park(EVENT_CHILD, deadline);
    if ((info.state & STATE_TERMINATED) == 0) {
        if (woken < 0)
            printf("%s: FAILED it does not end\n", current);
        else
            printf("%s: FAILED %s 0x%lx, pc 0x%lx\n", current, fault_name(info.fault_cause),
                   info.fault_address, info.pc);
        test_give_up(thread);
    }
    thread_join(thread, &result);
    return result;
}

static void test_run(const struct test *test) {
    struct thread *thread;
    int64_t result = 1;

    current = test->name;
    if (thread_create(test_thread, (void *)test, &thread) == 0)
        result = test_wait(thread);
    else
        printf("%s: FAILED no memory for its thread\n", current);
    clear_up();
    if (!pages_come_back()) {
        if (result == 0)
            printf("%s: FAILED %ld pages are lost\n", current, pages_before - free_pages());
        result = 1;
        pages_count();
    }
    if (result == 0) {
        printf("%s: ok\n", current);
        passed++;
    } else {
        failed++;
    }
}

/* Is the test, or its part, among the names? It is if there are none. */
static bool is_wanted(const struct part *part, const struct test *test, int count, char **names) {
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], part->name) == 0 || strcmp(names[i], test->name) == 0) return true;
    }
    return count == 0;
}

/* A name that is no test's and no part's, else NULL. */
static const char *unknown_name(int count, char **names) {
    for (int n = 0; n < count; n++) {
        bool known = false;

        for (uint64_t i = 0; i < PARTS; i++) {
            for (uint64_t j = 0; j < parts[i].count; j++)
                known |= is_wanted(&parts[i], &parts[i].tests[j], 1, &names[n]);
        }
        if (!known) return names[n];
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *unknown;
    int names = 1;

    if (argc > 1 && strcmp(argv[1], "deep") == 0) {
        deep = true;
        names = 2;
    }
    unknown = unknown_name(argc - names, argv + names);
    if (unknown != NULL) {
        printf("usertests: no test or part is called %s\n", unknown);
        return 1;
    }
    free(malloc(HEAP_BYTES)); /* the heap keeps its pages: let it have them now */
    pages_count();
    for (uint64_t i = 0; i < PARTS; i++) {
        for (uint64_t j = 0; j < parts[i].count; j++) {
            if (is_wanted(&parts[i], &parts[i].tests[j], argc - names, argv + names))
                test_run(&parts[i].tests[j]);
        }
    }
    printf("usertests: %lu passed, %lu failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
