/*
 * nomem CASE: one call that needs pages, for a debugger that denies them.
 *
 * A kernel must not lose a page when a call fails half-way for want of another.
 * Running out of memory at just the n-th page that a call takes can't be
 * arranged from a program. So the tests do it from outside: they stop the
 * machine when nomem_begin() is reached, let the n-th page_alloc() from there on
 * return nothing, and stop again at nomem_end(), where the call's result is in
 * a0. The machine should have one hart, so that nobody else takes pages.
 *
 *   without a CASE, it lists the cases
 *
 * What the call achieved is undone, and free pages are counted before and
 * after. The exit status is 0 if the result was 0 or -ENOMEM and no page was
 * lost.
 */
#include "call.h"
#include "info.h"
#include "names.h"
#include "print.h"
#include "string.h"
#include "time.h"

#define PROT_RW (PROT_READ | PROT_WRITE)

#define MANY  600  /* pages: more than a table of leaves holds */
#define NOTED 1200 /* pages: what they replace fills three pages of notes */

/* Nothing is in the table of the first; the second is in a table that exists,
 * as a page beside it is mapped. Handles go to the third and on. */
#define EMPTY   0x100000000ul
#define BESIDE  0x200000000ul
#define SOURCE  0x300000000ul
#define HANDLE  (USER_HANDLES + 0x40000000ul)
#define HANDLE2 (HANDLE + PAGE_SIZE)

/*
 * The tests stop at these two: the pages taken between them are those of the
 * call. They do nothing.
 */
__attribute__((noinline)) void nomem_begin(void) {
    __asm__ volatile("" : : : "memory");
}

__attribute__((noinline)) void nomem_end(int64_t result) {
    __asm__ volatile("" : : "r"(result) : "memory");
}

/* Of each case: what is there before, and the call. */

static int64_t prepare_nothing(void) {
    return 0;
}

static int64_t prepare_source(void) {
    return map(SPACE_OWN, SOURCE, MANY, PROT_RW, 0);
}

static int64_t prepare_old(void) {
    return map(SPACE_OWN, SOURCE, NOTED, PROT_RW, 0);
}

static int64_t prepare_space(void) {
    return create_space(HANDLE2);
}

static int64_t prepare_space_and_source(void) {
    int64_t error = create_space(HANDLE2);
    return error < 0 ? error : prepare_source();
}

static int64_t call_map_1(void) {
    return map(SPACE_OWN, BESIDE, 1, PROT_RW, 0);
}

static int64_t call_map_1_empty(void) {
    return map(SPACE_OWN, EMPTY, 1, PROT_RW, 0);
}

static int64_t call_map_many(void) {
    return map(SPACE_OWN, EMPTY, MANY, PROT_RW, 0);
}

static int64_t call_map_other(void) {
    return map(HANDLE2, EMPTY, 3, PROT_RW, 0);
}

static int64_t call_map_replace(void) {
    return map(SPACE_OWN, SOURCE, NOTED, PROT_RW, MAP_REPLACE);
}

static int64_t call_map_replace_part(void) {
    return map(SPACE_OWN, SOURCE - 300 * PAGE_SIZE, MANY, PROT_RW, MAP_REPLACE);
}

static int64_t call_share_1(void) {
    return share(SPACE_OWN, SOURCE, SPACE_OWN, BESIDE, 1, PROT_READ);
}

static int64_t call_share_many(void) {
    return share(SPACE_OWN, SOURCE, SPACE_OWN, EMPTY, MANY, PROT_READ);
}

static int64_t call_share_other(void) {
    return share(SPACE_OWN, SOURCE, HANDLE2, EMPTY, MANY, PROT_READ);
}

static int64_t call_create_space(void) {
    return create_space(BESIDE);
}

static int64_t call_create_space_empty(void) {
    return create_space(EMPTY);
}

static int64_t call_create_executor(void) {
    return create_executor(SPACE_OWN, BESIDE);
}

static int64_t call_create_executor_empty(void) {
    return create_executor(SPACE_OWN, EMPTY);
}

static int64_t call_create_executor_other(void) {
    return create_executor(HANDLE2, HANDLE);
}

static const struct nomem_case {
    const char *name;
    int64_t (*prepare)(void);
    int64_t (*call)(void);
} cases[] = {
    {"map-1", prepare_nothing, call_map_1},
    {"map-first-in-empty-table", prepare_nothing, call_map_1_empty},
    {"map-600", prepare_nothing, call_map_many},
    {"map-other-space", prepare_space, call_map_other},
    {"map-replace", prepare_old, call_map_replace},
    {"map-replace-part", prepare_source, call_map_replace_part},
    {"share", prepare_source, call_share_1},
    {"share-600", prepare_source, call_share_many},
    {"share-other-space", prepare_space_and_source, call_share_other},
    {"create-space", prepare_nothing, call_create_space},
    {"create-space-empty-table", prepare_nothing, call_create_space_empty},
    {"create-executor", prepare_nothing, call_create_executor},
    {"create-executor-empty-table", prepare_nothing, call_create_executor_empty},
    {"create-executor-other-space", prepare_space, call_create_executor_other},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

#define PAUSE_MS 20 /* in which an idle hart brings its count up to date */
#define PAUSES   10

static uint64_t free_pages(void) {
    uint64_t pages = info_page()->pages_shared_free;

    for (uint64_t i = 0; i < info_page()->hart_count; i++) pages += info_page()->pages_cached[i];
    return pages;
}

/* Free pages, when the count has stayed the same for a while. */
static uint64_t free_pages_settled(void) {
    uint64_t pages = free_pages();

    for (uint64_t pause = 0; pause < PAUSES / 2; pause++) {
        sleep_ms(PAUSE_MS);
        if (free_pages() != pages) pause = 0;
        pages = free_pages();
    }
    return pages;
}

/* How many pages fewer than `before` are free, and stay so? */
static int64_t pages_lost(uint64_t before) {
    for (uint64_t pause = 0; pause < PAUSES && free_pages() != before; pause++) sleep_ms(PAUSE_MS);
    return (int64_t)(before - free_pages());
}

/* Unmap all that a case may have mapped. */
static void undo(void) {
    unmap(SPACE_OWN, EMPTY, (SOURCE + (1ul << 32) - EMPTY) >> PAGE_SHIFT);
    unmap(SPACE_OWN, HANDLE, 2);
}

/* Run a case. Returns whether it went as it should. */
static bool case_run(const struct nomem_case *nomem_case) {
    uint64_t before = free_pages_settled();
    int64_t error = map(SPACE_OWN, BESIDE + PAGE_SIZE, 1, PROT_READ, 0);

    if (error == 0) error = nomem_case->prepare();
    if (error < 0) {
        printf("nomem: can't prepare for it: %s\n", error_name(error));
        undo();
        return false;
    }
    nomem_begin();
    int64_t result = nomem_case->call();
    nomem_end(result);
    undo();
    int64_t lost = pages_lost(before);
    printf("nomem: %s: %s, %ld pages lost\n", nomem_case->name,
           result < 0 ? error_name(result) : "done", lost);
    return (result == 0 || result == -ENOMEM) && lost == 0;
}

int main(int argc, char **argv) {
    for (uint64_t i = 0; argc == 2 && i < CASES; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) return case_run(&cases[i]) ? 0 : 1;
    }
    printf("usage: nomem CASE, one of\n");
    for (uint64_t i = 0; i < CASES; i++) printf("  %s\n", cases[i].name);
    return 1;
}
